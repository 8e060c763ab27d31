//! The Open Inference Protocol over HTTP: `/v2/…`, as KServe specifies it and Triton extends it.
//!
//! A thin codec around `invoke`. Errors are `{"error": "…"}`, responses have a length and no chunks, data is flat, and `Content-Type` is
//! ignored: existing clients send and expect this.

mod classification;
pub(super) mod encode;
mod generate;
mod infer;
pub(super) mod metadata;
pub(super) mod model;
pub(super) mod repository;
pub(super) mod request;

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::json;

use super::answer::{Answer, answer_of, json_answer};
use super::problem::{Problem, ProblemKind, SAYING_MORE};
use crate::host::Host;
use model::Asked;

/// Answers `/v2/…`; `segments` follow `/v2`.
pub(super) async fn route(
    host: &Arc<Host>,
    segments: &[&str],
    request: Request<Incoming>,
) -> Answer {
    const GET: &Method = &Method::GET;
    const POST: &Method = &Method::POST;
    let method = request.method().clone();
    let answered = match (&method, segments) {
        (GET, []) => Ok(metadata::server()),
        (GET, ["health", "live"]) => Ok(metadata::live()),
        (GET, ["health", "ready"]) => Ok(metadata::ready(host)),
        (GET, ["models"]) => metadata::names(host, &request).await,
        (GET, ["models", "stats"]) => metadata::all_statistics(host, &request).await,
        (POST, ["repository", "index"]) => repository::index(host, request).await,
        (POST, ["repository", "models", rest @ .., "load"]) => {
            repository::load(host, rest, request).await
        }
        (POST, ["repository", "models", rest @ .., "unload"]) => {
            repository::unload(host, rest, request).await
        }
        (_, ["models", rest @ ..]) => match Asked::read(host, rest) {
            Some((asked, action)) => on_model(host, &asked, &action, request).await,
            None => Err(not_found()),
        },
        (_, segments) => Err(elsewhere(segments)),
    };
    answered.unwrap_or_else(error)
}

/// The methods of a path under `/v2`.
pub(super) fn methods(segments: &[&str]) -> &'static [&'static str] {
    match segments {
        ["repository", "index"] | ["repository", "models", .., "load" | "unload"] => &["POST"],
        ["models", .., "infer" | "generate" | "generate_stream"] => &["POST"],
        [] | ["health", "live" | "ready"] | ["models", ..] => &["GET"],
        _ => &[],
    }
}

async fn on_model(
    host: &Arc<Host>,
    asked: &Asked,
    action: &str,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    match (request.method(), action) {
        (&Method::POST, "infer") => infer::infer(host, asked, request).await,
        (&Method::POST, "generate") => generate::generate(host, asked, request).await,
        (&Method::POST, "generate_stream") => generate::stream(host, asked, request).await,
        (&Method::GET, "") => metadata::model(host, asked, &request),
        (&Method::GET, "ready") => metadata::model_ready(host, asked, &request),
        (&Method::GET, "config") => metadata::config(host, asked, &request),
        (&Method::GET, "stats") => metadata::statistics(host, asked, &request),
        (_, "" | "ready" | "config" | "stats" | "infer" | "generate" | "generate_stream") => {
            Err(wrong_method())
        }
        _ => Err(not_found()),
    }
}

fn elsewhere(segments: &[&str]) -> Problem {
    match segments {
        [] | ["health", "live" | "ready"] | ["repository", "index"] => wrong_method(),
        ["repository", "models", .., "load" | "unload"] => wrong_method(),
        _ => not_found(),
    }
}

/// The texts that clients have seen so far.
fn not_found() -> Problem {
    Problem::new(ProblemKind::NotFound, "Not Found")
}

fn wrong_method() -> Problem {
    Problem::new(ProblemKind::MethodNotAllowed, "Method Not Allowed")
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(ProblemKind::InvalidRequest, detail)
}

/// A problem in the protocol's format: the same status and headers, and one member.
fn error(problem: Problem) -> Answer {
    let (parts, detail) = problem.into_parts();
    let (mut error, body) = json_answer(parts.status, &json!({ "error": detail })).into_parts();
    for name in SAYING_MORE {
        if let Some(value) = parts.headers.get(&name) {
            error.headers.insert(name, value.clone());
        }
    }
    Response::from_parts(error, body)
}

/// An empty response of success.
fn done() -> Answer {
    let mut answer = answer_of(bytes::Bytes::new(), "application/json");
    *answer.status_mut() = StatusCode::OK;
    answer
}
