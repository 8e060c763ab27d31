//! Methods that work the same everywhere: `HEAD` wherever there is `GET`, `OPTIONS`, and `Allow` (RFC 9110 sections 9.3 and 10.2.1). HTTP
//! handlers answer these themselves.

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use hyper::body::Body as _;

use super::answer::{Answer, AnswerBody};
use super::problem::{Problem, ProblemKind};
use super::{Audience, grpc, oip, openai, routes};

/// The methods of a path, without duplicates; empty if the path does not exist.
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

/// The response to `OPTIONS`; for `*`, all methods of the host.
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

/// Finishes a response: drops the body for `HEAD`, and adds `Allow` to a 405.
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
