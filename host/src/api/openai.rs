//! OpenAI's API, `/v1/…`, for models that export the matching interfaces of `hospes:plugin`. A model is `publisher/model` or
//! `publisher/model@version`.
//!
//! Tables in `request` and `embeddings` list every member and its meaning: none is silently ignored.

mod chat;
mod embeddings;
mod members;
mod models;
mod request;

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;

use self::members::Refusal;
use super::answer::{Answer, answer_of, json_answer};
use super::calls::{Done, Front, NoAnswer};
use super::problem::{Problem, ProblemKind, SAYING_MORE};
use crate::admission::READ_HERE_BYTES_MAX;
use crate::host::Host;
use crate::id::ModelName;
use crate::invoke::InvokeError;
use crate::state::deployments::{Reference, ResolveError, Target};
use crate::value::parse::without_bom;

/// Answers `/v1/…`; `segments` follow `/v1`.
pub(super) async fn route(
    host: &Arc<Host>,
    segments: &[&str],
    request: Request<Incoming>,
) -> Answer {
    let method = request.method().clone();
    let answered = match (&method, segments) {
        (&Method::GET, ["models"]) => models::list(host, &request).await,
        (&Method::GET, ["models", rest @ ..]) => models::show(host, rest, &request),
        (&Method::POST, ["embeddings"]) => embeddings::embed(host, request).await,
        (&Method::POST, ["chat", "completions"]) => chat::chat(host, request).await,
        (&Method::POST, ["completions"]) => chat::complete(host, request).await,
        (_, ["models", ..] | ["embeddings"] | ["chat", "completions"] | ["completions"]) => {
            Err(Problem::new(ProblemKind::MethodNotAllowed, "this method is not allowed here"))
        }
        _ => Err(Problem::new(ProblemKind::NotFound, "there is no such endpoint here")),
    };
    answered.unwrap_or_else(error)
}

/// The methods of a path under `/v1`.
pub(super) fn methods(segments: &[&str]) -> &'static [&'static str] {
    match segments {
        ["models", ..] => &["GET"],
        ["embeddings"] | ["chat", "completions"] | ["completions"] => &["POST"],
        _ => &[],
    }
}

/// A problem in OpenAI's error format, with the same status and headers.
fn error(problem: Problem) -> Answer {
    let status = problem.kind().parts().1;
    let body = error_json(&problem);
    let (parts, _) = problem.into_parts();
    let (mut error, body) = json_answer(status, &body).into_parts();
    for name in SAYING_MORE {
        if let Some(value) = parts.headers.get(&name) {
            error.headers.insert(name, value.clone());
        }
    }
    Response::from_parts(error, body)
}

fn error_json(problem: &Problem) -> serde_json::Value {
    let (code, status, _) = problem.kind().parts();
    let class = match status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        status if status.is_server_error() => "api_error",
        _ => "invalid_request_error",
    };
    let param = problem.member("param");
    json!({"error": {"message": problem.detail(), "type": class, "param": param, "code": code}})
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(ProblemKind::InvalidRequest, detail)
}

/// The address of `function` of the model with this name.
fn target(host: &Host, model: &str, function: &str) -> Result<Target, Problem> {
    let (name, reference) = named(host, model)?;
    let function = function.parse().map_err(|_| unknown(model))?;
    Ok(Target { model: name, reference, function })
}

/// The model and its version. A bare name means a model of the operator's default publisher, if there is one.
fn named(host: &Host, model: &str) -> Result<(ModelName, Reference), Problem> {
    let (name, reference) = match model.split_once('@') {
        None => (model, Reference::Latest),
        Some((name, reference)) => (name, reference.parse()?),
    };
    let name = match name.contains('/') {
        true => name.parse().ok(),
        false => host
            .config()
            .api
            .default_publisher
            .clone()
            .and_then(|publisher| Some(ModelName { publisher, label: name.parse().ok()? })),
    };
    Ok((name.ok_or_else(|| unknown(model))?, reference))
}

/// Rejects a body if its sender may not call the named model, after parsing only that name. A small body is parsed first and checked only
/// if something is wrong with it: see [`fault`].
async fn permits(
    front: &Front<'_>,
    host: &Host,
    wire: &Bytes,
    (interface, function): (&str, &str),
) -> Result<(), Problem> {
    if wire.len() <= READ_HERE_BYTES_MAX {
        return Ok(());
    }
    // Other errors are reported when the body is parsed.
    let Some(model) = model_of(front, wire).await? else { return Ok(()) };
    let target = target(host, &model, function)?;
    front.permits(&target).await.map_err(|error| refused(&model, interface, error))
}

/// The error for a malformed body. Callers who may not call its model get the refusal instead.
async fn fault(
    front: &Front<'_>,
    host: &Host,
    (wire, wrong): (&Bytes, Refusal),
    (interface, function): (&str, &str),
) -> Problem {
    let model = match model_of(front, wire).await {
        Ok(Some(model)) => model,
        Ok(None) => return wrong.into(),
        Err(problem) => return problem,
    };
    match target(host, &model, function) {
        Ok(target) => refused(&model, interface, front.fault(&target, wrong).await),
        Err(problem) => problem,
    }
}

/// The model that a body names, if any.
async fn model_of(front: &Front<'_>, wire: &Bytes) -> Result<Option<String>, Problem> {
    #[derive(Deserialize)]
    struct Named {
        model: String,
    }
    let whole = wire.clone();
    let read = move || serde_json::from_slice::<Named>(without_bom(&whole)).ok();
    Ok(front.apart(wire.len(), read).await?.map(|named| named.model))
}

fn unknown(model: &str) -> Problem {
    let model: String = model.chars().take(200).collect();
    let detail = format!("The model `{model}` does not exist or you do not have access to it.");
    Problem::new(ProblemKind::NotFound, detail)
}

/// The error for a failed call; `interface` is what the endpoint requires of a model.
fn refused(model: &str, interface: &str, error: NoAnswer) -> Problem {
    match error {
        NoAnswer::Refused(InvokeError::Resolve(
            ResolveError::NoModel(_) | ResolveError::NoVersion { .. },
        )) => unknown(model),
        NoAnswer::Refused(InvokeError::Resolve(ResolveError::NoFunction { .. })) => {
            invalid(format!(
                "The model `{model}` does not export `{interface}`, which this endpoint calls."
            ))
        }
        other => other.into(),
    }
}

/// The response of a call that ran.
fn answer(done: Done, media: &'static str) -> Answer {
    let mut answer = match done.result {
        Ok(reply) => match reply.into_answer() {
            Ok(bytes) => answer_of(bytes, media),
            Err(refusal) => error(Problem::plugin_refused(&refusal)),
        },
        Err(failure) => error(Problem::from(failure)),
    };
    done.papers.accompany(answer.headers_mut());
    answer
}
