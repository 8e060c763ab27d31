//! Routes requests to other protocols' fronts, HTTP handlers, and the host's own routes.

use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{Method, Request};
use hyper::body::Incoming;

use super::answer::Answer;
use super::path::{self, SEGMENTS_MAX};
use super::problem::{Problem, ProblemKind};
use super::{Audience, conformance, cors, grpc, methods, oip, openai, routes, wasi_http};
use crate::host::Host;

/// Answers one request.
pub(super) async fn route(
    host: &Arc<Host>,
    audience: Audience,
    request: Request<Incoming>,
) -> Answer {
    let page = cors::Page::of(host, audience, &request);
    // Also before CORS preflights: proxies read those like any other request.
    let sound =
        conformance::check_host(&request).and_then(|()| conformance::check_coding(&request));
    let preflight = || page.as_ref().and_then(|page| page.preflight(&request));
    let answered = match sound.map(|()| preflight()) {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => asked(host, audience, request).await,
        Err(problem) => Err(problem),
    };
    cors::readable(answered.unwrap_or_else(Problem::into_response), page)
}

/// Answers an HTTP request by method and path.
async fn asked(
    host: &Arc<Host>,
    audience: Audience,
    mut request: Request<Incoming>,
) -> Result<Answer, Problem> {
    // Shares hyper's buffer.
    let target = request.uri().path_and_query().cloned();
    let path = target.as_ref().map_or("", PathAndQuery::path);
    let decoded = path::decode(path)?;
    let mut parts = [""; SEGMENTS_MAX];
    let segments = path::segments(path, &decoded, &mut parts)?;
    // Consumers: requests to HTTP handlers, with any method.
    if let (Audience::Everybody, Some(model)) = (audience, path::handler(segments)) {
        return wasi_http::call(host, model, path::below_handler(path), request).await;
    }
    let method = request.method().clone();
    match method {
        Method::OPTIONS => return methods::options(audience, segments),
        Method::HEAD => *request.method_mut() = Method::GET,
        _ => {}
    }
    let answered = match audience {
        Audience::Everybody => everybody(host, segments, request).await,
        Audience::Operator => own(host, Audience::Operator, segments, request).await,
    };
    let answer = answered.unwrap_or_else(Problem::into_response);
    Ok(methods::finish(answer, &method, audience, segments))
}

async fn everybody(
    host: &Arc<Host>,
    segments: &[&str],
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    const POST: &Method = &Method::POST;
    match (request.method(), segments) {
        // Consumers: calls in other protocols.
        (POST, [grpc::INFERENCE, method]) => Ok(grpc::inference(host, method, request).await),
        (POST, [grpc::HEALTH, _]) => Ok(grpc::health(host, request).await),
        (POST, [grpc::REFLECTION, _]) => Ok(grpc::reflection(host, request).await),
        (POST, [grpc::REFLECTION_ALPHA, _]) => Ok(grpc::reflection_alpha(host, request).await),
        (_, ["v1", rest @ ..]) => Ok(openai::route(host, rest, request).await),
        (_, ["v2", rest @ ..]) => Ok(oip::route(host, rest, request).await),
        (_, segments) => own(host, Audience::Everybody, segments, request).await,
    }
}

/// The host's own routes.
async fn own(
    host: &Arc<Host>,
    audience: Audience,
    segments: &[&str],
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    match routes::find(audience, request.method(), segments) {
        Some((route, filled)) => route.answer(host, filled, request).await,
        None => Err(nothing_here(audience, request.method(), segments)),
    }
}

/// 405 if the path has a route with another method, otherwise 404.
fn nothing_here(audience: Audience, method: &Method, segments: &[&str]) -> Problem {
    match methods::of(audience, segments).as_slice() {
        [] => Problem::new(
            ProblemKind::NotFound,
            match audience {
                Audience::Everybody => {
                    "there is nothing here; functions are called with POST /{publisher}/{model}/{function}"
                }
                Audience::Operator => {
                    "there is nothing here; this is the operator's listener: GET /status says what runs, and functions are called at the public one"
                }
            },
        ),
        allowed => Problem::new(
            ProblemKind::MethodNotAllowed,
            format!("{method} is not allowed here; use {}", allowed.join(" and ")),
        ),
    }
}
