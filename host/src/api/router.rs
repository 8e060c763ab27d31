//! Every route on one screen, grouped by who calls it.

use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{Method, Request};
use hyper::body::Incoming;

use super::answer::Answer;
use super::path::{self, SEGMENTS_MAX};
use super::problem::{Problem, ProblemKind};
use super::{
    Audience, account, admin, agreements, backup, conformance, cors, functions, grpc, health,
    market, methods, negotiations, offers, oip, openai, openapi, operations, out_of_service,
    publish, receipts, wasi_http,
};
use crate::host::Host;

/// Answers one request.
pub(super) async fn route(
    host: &Arc<Host>,
    audience: Audience,
    request: Request<Incoming>,
) -> Answer {
    let page = cors::Page::of(host, audience, &request);
    // Before a browser's first question is answered too: whoever is in front reads that like any other.
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

/// Answers a request that is one of HTTP, by its method and its path.
async fn asked(
    host: &Arc<Host>,
    audience: Audience,
    mut request: Request<Incoming>,
) -> Result<Answer, Problem> {
    // A share of what hyper has read, not a copy of it.
    let target = request.uri().path_and_query().cloned();
    let path = target.as_ref().map_or("", PathAndQuery::path);
    let decoded = path::decode(path)?;
    let mut parts = [""; SEGMENTS_MAX];
    let segments = path::segments(path, &decoded, &mut parts)?;
    // Consumers: requests for handlers of HTTP, whatever their method.
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
        Audience::Operator => operator(host, segments, request).await,
    };
    let answer = answered.unwrap_or_else(Problem::into_response);
    Ok(methods::finish(answer, &method, audience, segments))
}

async fn everybody(
    host: &Arc<Host>,
    segments: &[&str],
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    const GET: &Method = &Method::GET;
    const POST: &Method = &Method::POST;
    let method = request.method().clone();
    match (&method, segments) {
        // Consumers: calls by other protocols.
        (POST, [grpc::INFERENCE, method]) => Ok(grpc::inference(host, method, request).await),
        (POST, [grpc::HEALTH, _]) => Ok(grpc::health(host, request).await),
        (POST, [grpc::REFLECTION, _]) => Ok(grpc::reflection(host, request).await),
        (POST, [grpc::REFLECTION_ALPHA, _]) => Ok(grpc::reflection_alpha(host, request).await),
        (_, ["v1", rest @ ..]) => Ok(openai::route(host, rest, request).await),
        (_, ["v2", rest @ ..]) => Ok(oip::route(host, rest, request).await),

        // Tenants: everything but calls.
        (_, ["api", rest @ ..]) => tenants(host, rest, &method, request).await,

        // Consumers: calls.
        (POST, [publisher, model, function]) => {
            functions::call(host, [publisher, model, function], request).await
        }
        (GET, [publisher, model]) => functions::describe(host, publisher, model, &request),
        (GET, [publisher, model, "openapi.json"]) => {
            openapi::of_model(host, publisher, model, &request).await
        }
        (GET, [_, _, "docs"]) => Ok(openapi::page(request.uri().path())),

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
        (GET, ["market"]) => market::list(host, &request).await,
        (GET, ["offers", id]) => market::show(host, id, &request),
        (GET, ["offers", id, "mandate"]) => market::mandate_of(host, id, &request).await,
        (POST, ["offers", id, "mandate"]) => market::mandate(host, id, request).await,
        (POST, ["offers", id, "simulate"]) => market::simulate(host, id, request).await,

        // Parties: their account, and a new key.
        (GET, ["account"]) => account::show(host, &request).await,
        (POST, ["account", "keys", id, "revocation"]) => account::revoke(host, id, request).await,
        (POST, ["successions"]) => publish::succeed(host, request).await,

        // Publishers.
        (POST, ["bundles"]) => publish::publish(host, request).await,
        (POST, ["offers"]) => market::publish(host, request).await,
        (GET, ["offers"]) => offers::list(host, &request).await,
        (POST, ["offers", id, "withdrawal"]) => offers::withdraw(host, id, request).await,
        (POST, ["offers", id, "replacement"]) => offers::replace(host, id, request).await,

        // Parties: negotiations, agreements and receipts.
        (POST, ["negotiations"]) => negotiations::begin(host, request).await,
        (GET, ["negotiations"]) => negotiations::list(host, &request),
        (GET, ["negotiations", id]) => negotiations::show(host, id, &request).await,
        (
            POST,
            ["negotiations", id, "request" | "offers" | "events" | "agreement" | "termination"],
        )
        | (POST, ["negotiations", id, "agreement", "verification"]) => {
            negotiations::step(host, id, request).await
        }
        (POST, ["agreements"]) => agreements::submit(host, request).await,
        (GET, ["agreements"]) => agreements::list(host, &request).await,
        (GET, ["agreements", id]) => agreements::show(host, id, &request).await,
        (GET, ["agreements", id, "events"]) => agreements::events(host, id, &request).await,
        (POST, ["agreements", id, "events"]) => agreements::event(host, id, request).await,
        (POST, ["agreements", id, "simulate"]) => agreements::simulate(host, id, request).await,
        (GET, ["receipts", call]) => receipts::prove(host, call, &request).await,
        (GET, ["receipts"]) => receipts::list(host, &request).await,
        (GET, ["openapi.json"]) => openapi::of_host(host, &request).await,
        (GET, ["docs"]) => Ok(openapi::page(request.uri().path())),
        (GET, ["docs", part]) => openapi::asset(part, request.headers()),
        (GET, ["host"]) => health::identity(host),
        (GET, ["checkpoint"]) => receipts::checkpoint(host),
        (GET, ["log", "consistency"]) => receipts::consistency(host, &request),

        (_, segments) => {
            let segments = [&["api"], segments].concat();
            Err(nothing_here(Audience::Everybody, method, &segments))
        }
    }
}

async fn operator(
    host: &Arc<Host>,
    segments: &[&str],
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    match (request.method(), segments) {
        (&Method::POST, ["accounts"]) => admin::open_account(host, request).await,
        (&Method::GET, ["accounts"]) => operations::accounts(host, &request).await,
        (&Method::GET, ["accounts", name]) => operations::account(host, name, &request),
        (&Method::POST, ["actions"]) => operations::act(host, request).await,
        (&Method::GET, ["actions"]) => operations::log(host, &request).await,
        (&Method::GET, ["withdrawals"]) => operations::withdrawals(host, &request),
        (&Method::POST, ["agreements", id, "events"]) => admin::operate(host, id, request).await,
        (&Method::GET, ["out-of-service"]) => out_of_service::show(host, &request),
        (&Method::POST, ["out-of-service", "retry"]) => out_of_service::retry(host, request).await,
        (&Method::POST, ["out-of-service", "withdraw"]) => {
            out_of_service::withdraw(host, request).await
        }
        (&Method::GET, ["backup"]) => backup::make(host, &request).await,
        (&Method::POST, ["lost"]) => backup::show_lost(host, request).await,
        (&Method::GET, ["status"]) => admin::status(host, &request).await,
        (&Method::GET, ["healthz"]) => Ok(health::live()),
        (&Method::GET, ["readyz"]) => health::ready(host),
        (method, segments) => Err(nothing_here(Audience::Operator, method, segments)),
    }
}

/// 405 where another method would do, 404 elsewhere.
fn nothing_here(audience: Audience, method: &Method, segments: &[&str]) -> Problem {
    match methods::of(audience, segments).as_slice() {
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
