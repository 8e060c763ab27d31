//! What every path does with methods that are the same everywhere: `HEAD` wherever there is `GET`, `OPTIONS`, and `Allow` (RFC 9110
//! sections 9.3 and 10.2.1). Handlers of HTTP are asked themselves.

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use hyper::body::Body as _;

use super::answer::{Answer, AnswerBody};
use super::problem::{Problem, ProblemKind};
use super::{Audience, grpc, oip, openai, routes};

/// The methods that do something at a path, each once; none where there is nothing.
pub(super) fn of(audience: Audience, segments: &[&str]) -> Vec<&'static str> {
    let mut methods = match (audience, segments) {
        (Audience::Everybody, ["v1", rest @ ..]) => openai::methods(rest).to_vec(),
        (Audience::Everybody, ["v2", rest @ ..]) => oip::methods(rest).to_vec(),
        (Audience::Everybody, [service, _]) if grpc::SERVICES.contains(service) => vec!["POST"],
        (audience, segments) => routes::methods(audience, segments),
    };
    methods.sort_unstable();
    methods.dedup();
    methods
}

/// The value of `Allow`.
fn allowed(methods: &[&'static str]) -> HeaderValue {
    let head = methods.contains(&"GET").then_some("HEAD");
    let all: Vec<_> = methods.iter().copied().chain(head).chain(["OPTIONS"]).collect();
    HeaderValue::from_str(&all.join(", ")).unwrap_or(HeaderValue::from_static("OPTIONS"))
}

/// The answer to `OPTIONS`; of `*`, what there is anywhere.
pub(super) fn options(audience: Audience, segments: &[&str]) -> Result<Answer, Problem> {
    let methods = match segments {
        [] => vec!["GET", "POST"],
        segments => of(audience, segments),
    };
    if methods.is_empty() {
        return Err(Problem::new(ProblemKind::NotFound, "there is nothing here"));
    }
    let mut answer = Answer::new(AnswerBody::from(Bytes::new()));
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer.headers_mut().insert(header::ALLOW, allowed(&methods));
    Ok(answer)
}

/// What leaves: without its body if only the head was asked for, and with `Allow` where another method would do.
pub(super) fn finish(
    mut answer: Answer,
    method: &Method,
    audience: Audience,
    segments: &[&str],
) -> Answer {
    if answer.status() == StatusCode::METHOD_NOT_ALLOWED {
        let allowed = allowed(&of(audience, segments));
        answer.headers_mut().insert(header::ALLOW, allowed);
    }
    if *method != Method::HEAD {
        return answer;
    }
    if let Some(length) = answer.body().size_hint().exact() {
        answer.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    }
    answer.map(|_| Bytes::new().into())
}
