//! Every route on one screen, grouped by who calls it.

use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{Method, Request};
use hyper::body::Incoming;

use super::answer::Answer;
use super::problem::{Problem, ProblemKind};
use super::routes::methods;
use super::{
    Audience, admin, agreements, functions, grpc, health, market, negotiations, oip, openai,
    openapi, publish, receipts, wasi_http,
};
use crate::host::Host;

/// Longest path that is looked at, in bytes.
const PATH_BYTES_MAX: usize = 1024;

/// Parts of a path that are looked at. Every route has fewer.
const SEGMENTS_MAX: usize = 8;

/// Answers one request.
pub(super) async fn route(
    host: &Arc<Host>,
    audience: Audience,
    request: Request<Incoming>,
) -> Answer {
    let answered = match audience {
        Audience::Everybody => everybody(host, request).await,
        Audience::Operator => operator(host, request).await,
    };
    answered.unwrap_or_else(Problem::into_response)
}

async fn everybody(host: &Arc<Host>, request: Request<Incoming>) -> Result<Answer, Problem> {
    const GET: &Method = &Method::GET;
    const POST: &Method = &Method::POST;
    // A share of what hyper has read, not a copy of it.
    let target = request.uri().path_and_query().cloned();
    let path = target.as_ref().map_or("", PathAndQuery::path);
    let method = request.method().clone();
    if path.len() > PATH_BYTES_MAX {
        let detail = format!("the path is longer than {PATH_BYTES_MAX} bytes");
        return Err(Problem::new(ProblemKind::InvalidRequest, detail));
    }
    let mut parts = [""; SEGMENTS_MAX];
    match (&method, segments(path, &mut parts)) {
        // Consumers: calls by other protocols.
        (POST, [grpc::INFERENCE, method]) => Ok(grpc::inference(host, method, request).await),
        (POST, [grpc::HEALTH, _]) => Ok(grpc::health(host, request).await),
        (POST, [grpc::REFLECTION, _]) => Ok(grpc::reflection(request).await),
        (POST, [grpc::REFLECTION_ALPHA, _]) => Ok(grpc::reflection_alpha(request).await),
        (_, ["v1", rest @ ..]) => Ok(openai::route(host, rest, request).await),
        (_, ["v2", rest @ ..]) => Ok(oip::route(host, rest, request).await),

        // Tenants: everything but calls.
        (_, ["api", rest @ ..]) => tenants(host, rest, &method, request).await,

        // Consumers: requests for handlers of HTTP.
        (_, [publisher, model, "-", ..]) => {
            let below = path.splitn(5, '/').nth(4).unwrap_or_default();
            wasi_http::call(host, [publisher, model], below, request).await
        }

        // Consumers: calls.
        (POST, [publisher, model, function]) => {
            functions::call(host, [publisher, model, function], request).await
        }
        (GET, [publisher, model]) => functions::describe(host, publisher, model, &request),
        (GET, [publisher, model, "openapi.json"]) => {
            openapi::of_model(host, publisher, model, &request)
        }
        (GET, [_, _, "docs"]) => Ok(openapi::page()),

        // Load balancers.
        (GET, ["healthz"]) => Ok(health::live()),
        (GET, ["readyz"]) => health::ready(host),

        (_, segments) => Err(nothing_here(Audience::Everybody, &method, segments)),
    }
}

/// What is below `/api`.
async fn tenants(
    host: &Arc<Host>,
    segments: &[&str],
    method: &Method,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    const GET: &Method = &Method::GET;
    const POST: &Method = &Method::POST;
    match (method, segments) {
        // Everybody: the market.
        (GET, ["market"]) => market::list(host, &request),
        (GET, ["offers", id]) => market::show(host, id, &request),
        (GET, ["offers", id, "mandate"]) => market::mandate_of(host, id, &request),
        (POST, ["offers", id, "mandate"]) => market::mandate(host, id, request).await,
        (POST, ["offers", id, "simulate"]) => market::simulate(host, id, request).await,

        // Parties: a new key.
        (POST, ["successions"]) => publish::succeed(host, request).await,

        // Publishers.
        (POST, ["bundles"]) => publish::publish(host, request).await,
        (POST, ["offers"]) => market::publish(host, request).await,

        // Parties: negotiations, agreements and receipts.
        (POST, ["negotiations"]) => negotiations::begin(host, request).await,
        (GET, ["negotiations"]) => negotiations::list(host, &request),
        (GET, ["negotiations", id]) => negotiations::show(host, id, &request),
        (
            POST,
            ["negotiations", id, "request" | "offers" | "events" | "agreement" | "termination"],
        )
        | (POST, ["negotiations", id, "agreement", "verification"]) => {
            negotiations::step(host, id, request).await
        }
        (POST, ["agreements"]) => agreements::submit(host, request).await,
        (GET, ["agreements"]) => agreements::list(host, &request),
        (GET, ["agreements", id]) => agreements::show(host, id, &request),
        (GET, ["agreements", id, "events"]) => agreements::events(host, id, &request),
        (POST, ["agreements", id, "events"]) => agreements::event(host, id, request).await,
        (POST, ["agreements", id, "simulate"]) => agreements::simulate(host, id, request).await,
        (GET, ["receipts", call]) => receipts::prove(host, call, &request),
        (GET, ["receipts"]) => receipts::list(host, &request),
        (GET, ["openapi.json"]) => Ok(openapi::of_host()),
        (GET, ["docs"]) => Ok(openapi::page()),
        (GET, ["docs", part]) => openapi::asset(part),
        (GET, ["host"]) => health::identity(host),
        (GET, ["checkpoint"]) => receipts::checkpoint(host),

        (_, segments) => {
            let segments = [&["api"], segments].concat();
            Err(nothing_here(Audience::Everybody, method, &segments))
        }
    }
}

async fn operator(host: &Arc<Host>, request: Request<Incoming>) -> Result<Answer, Problem> {
    let path = request.uri().path().to_owned();
    let mut parts = [""; SEGMENTS_MAX];
    match (request.method(), segments(&path, &mut parts)) {
        (&Method::POST, ["accounts"]) => admin::open_account(host, request).await,
        (&Method::POST, ["agreements", id, "events"]) => {
            let id = (*id).to_owned();
            admin::operate(host, &id, request).await
        }
        (&Method::GET, ["status"]) => admin::status(host, &request),
        (&Method::GET, ["healthz"]) => Ok(health::live()),
        (&Method::GET, ["readyz"]) => health::ready(host),
        (method, segments) => Err(nothing_here(Audience::Operator, method, segments)),
    }
}

/// The first parts between the slashes. `OPTIONS *` and `CONNECT` have none, and no first slash either.
fn segments<'p, 's>(path: &'p str, parts: &'s mut [&'p str; SEGMENTS_MAX]) -> &'s [&'p str] {
    let path = path.strip_prefix('/').unwrap_or_default();
    let filled = parts.iter_mut().zip(path.split('/')).map(|(part, segment)| *part = segment);
    let count = filled.count();
    &parts[..count]
}

/// 405 where another method would do, 404 elsewhere.
fn nothing_here(audience: Audience, method: &Method, segments: &[&str]) -> Problem {
    match methods(audience, segments).as_slice() {
        [] => Problem::new(
            ProblemKind::NotFound,
            "there is nothing here; functions are called with POST /{publisher}/{model}/{function}",
        ),
        allowed => Problem::new(
            ProblemKind::MethodNotAllowed,
            format!("{method} does nothing here; use {}", allowed.join(" and ")),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_cut_into_parts_and_the_rest_of_a_long_one_is_not_looked_at() {
        let parts = |path| segments(path, &mut [""; SEGMENTS_MAX]).join(" ");
        assert_eq!(parts("/acme/digits/classify"), "acme digits classify");
        assert_eq!(parts("/acme//"), "acme  ");
        assert_eq!((parts("*"), parts("/")), (String::new(), String::new()));
        assert_eq!(parts("/1/2/3/4/5/6/7/8/9"), "1 2 3 4 5 6 7 8");
        let longest =
            super::super::routes::ROUTES.iter().map(|route| route.path.split('/').count());
        assert!(longest.max().is_some_and(|parts| parts <= SEGMENTS_MAX));
    }
}
