//! `ANY /{publisher}/{model}[@ref]/-/…`: requests to components that answer HTTP themselves.
//!
//! The handler sees the path after the `-`, and the prefix in `X-Forwarded-Prefix`. Both bodies are streamed.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};

use super::answer::{Answer, AnswerBody};
use super::body;
use super::calls::{Done, Front, reading};
use super::functions::model_name;
use super::pieces::Begun;
use super::problem::{Problem, ProblemKind};
use super::public;
use crate::call::http::Exchange;
use crate::config::BaseUrl;
use crate::host::Host;
use crate::id::FunctionName;
use crate::state::deployments::Target;

const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// The handler's function name (`wasi:http`), if no version is found that tells.
const FUNCTION: &str = "handle";

/// Pages come from publishers, not the site: browsers keep them in an origin of their own.
const SANDBOX: HeaderValue = HeaderValue::from_static("sandbox allow-scripts allow-forms");

/// Passes a request to a model's handler; `below` is the path after `/{publisher}/{model}/-/`.
pub(super) async fn call(
    host: &Arc<Host>,
    [publisher, label]: [&str; 2],
    below: &str,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let (mut parts, body) = request.into_parts();
    let front = Front::open(host, &parts.headers)?;
    let (model, reference) = model_name(publisher, label)?;
    front.awaken(&model, &reference).await;
    let live = front.version(&model, &reference);
    let named = live.and_then(|live| live.handler().map(|handler| handler.name().clone()));
    let function = named.unwrap_or_else(default_name);
    let target = Target { model, reference, function };
    if let Err(problem) = body::check_declared(&body, host.config().api.body_bytes_max) {
        return Err(front.fault(&target, problem).await.into());
    }
    let prefix = format!("/{publisher}/{label}/-");
    inward(host, &mut parts, &prefix, below)?;
    let length = body.size_hint().exact();
    let body = front.intake().flow(body)?;
    let (exchange, taken) = Exchange::new(parts, body, length, reading(host.config()));
    let running = front.exchange(target, (Arc::clone(&exchange), taken));
    let trailers = {
        let exchange = Arc::clone(&exchange);
        move || exchange.take_trailers()
    };
    Ok(match running.begin_with(|_| None, trailers).await? {
        Begun::Streams(answer) => outward(answer, &exchange),
        Begun::Done(done) => whole(done, &exchange),
    })
}

fn default_name() -> FunctionName {
    FUNCTION.parse().expect("invariant: the interface's function has a good name")
}

/// The request as the handler sees it.
fn inward(host: &Host, parts: &mut Parts, prefix: &str, below: &str) -> Result<(), Problem> {
    let invalid = |what: &str| Problem::new(ProblemKind::InvalidRequest, what.to_owned());
    let query = parts.uri.query().map_or_else(String::new, |query| format!("?{query}"));
    let path: PathAndQuery =
        format!("/{below}{query}").parse().map_err(|_| invalid("the path is not valid in HTTP"))?;
    let outside = public::url(host, &parts.headers, &parts.extensions);
    let authority = match (&outside, parts.uri.authority()) {
        (Some(url), _) => url.authority().parse::<Authority>(),
        (None, Some(authority)) => Ok(authority.clone()),
        (None, None) => {
            let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
            host.unwrap_or("localhost").parse()
        }
    };
    let authority = authority.map_err(|_| invalid("the header `Host` is not valid in HTTP"))?;
    let is_tls = outside
        .as_ref()
        .map_or_else(|| host.config().api.tls_certificate.is_some(), BaseUrl::is_tls);
    let scheme = if is_tls { Scheme::HTTPS } else { Scheme::HTTP };
    let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build();
    parts.uri = uri.map_err(|_| invalid("the path is not valid in HTTP"))?;
    let prefix = format!("{}{prefix}", outside.as_ref().map_or("", BaseUrl::prefix));
    let prefix =
        HeaderValue::from_str(&prefix).map_err(|_| invalid("the path is not valid in HTTP"))?;
    // What else is said of the way here is for the host, or made up.
    let said = |name: &HeaderName| {
        let name = name.as_str();
        name == "forwarded" || name == "x-real-ip" || name.starts_with("x-forwarded-")
    };
    let said: Vec<_> = parts.headers.keys().filter(|name| said(name)).cloned().collect();
    for name in said {
        parts.headers.remove(name);
    }
    parts.headers.insert(FORWARDED_PREFIX, prefix);
    Ok(())
}

/// A response with the handler's status and headers.
fn outward(mut answer: Answer, exchange: &Exchange) -> Answer {
    let ours = std::mem::take(answer.headers_mut());
    if let Some(head) = exchange.take_head() {
        *answer.status_mut() = head.status;
        *answer.headers_mut() = head.headers;
    }
    answer.headers_mut().append(header::CONTENT_SECURITY_POLICY, SANDBOX);
    answer.headers_mut().extend(ours);
    answer
}

/// A complete body with its trailers.
fn body_of(bytes: Bytes, trailers: HeaderMap) -> AnswerBody {
    if trailers.is_empty() {
        return bytes.into();
    }
    let frames = [Frame::data(bytes), Frame::trailers(trailers)].map(Ok);
    AnswerBody::Pieces(StreamBody::new(stream::iter(frames)).boxed_unsync())
}

/// The response of a call that ended before any of it was sent.
fn whole(done: Done, exchange: &Exchange) -> Answer {
    let mut answer = match done.result {
        Ok(reply) => match reply.into_rest() {
            Ok(rest) => outward(Answer::new(body_of(rest, exchange.take_trailers())), exchange),
            Err(refusal) => Problem::plugin_refused(&refusal).into_response(),
        },
        Err(failure) => Problem::from(failure).into_response(),
    };
    done.papers.accompany(answer.headers_mut());
    answer
}
