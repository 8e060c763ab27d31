//! OpenAI's API, `/v1/…`, for models that export the matching interfaces of `hospes:plugin`. A model is `publisher/model` or
//! `publisher/model@version`.
//!
//! The tables of each endpoint list every member and its meaning: none is silently ignored. `asked` is what they have in common and `told`
//! what models answer, whichever version of an interface they export.

mod aim;
mod asked;
mod chat;
mod completion;
mod converse;
mod embeddings;
mod gathered;
mod members;
mod models;
mod options;
mod request;
mod rerank;
mod responses;
mod told;
mod tools;

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;

use self::aim::{Called, fault, permits};
use super::answer::{Answer, answer_of, json_answer};
use super::calls::{Done, NoAnswer};
use super::problem::{Problem, ProblemKind, SAYING_MORE};
use crate::host::Host;
use crate::id::ModelName;
use crate::invoke::InvokeError;
use crate::outcome::RefusalJson;
use crate::state::deployments::{Reference, ResolveError};

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
        (&Method::POST, ["chat", "completions"]) => converse::chat(host, request).await,
        (&Method::POST, ["completions"]) => converse::complete(host, request).await,
        (&Method::POST, ["responses"]) => converse::respond(host, request).await,
        (&Method::POST, ["responses", "input_tokens"]) => converse::count(host, request).await,
        (&Method::POST, ["rerank"]) => rerank::rank(host, request).await,
        (_, segments) if methods(segments).is_empty() => {
            Err(Problem::new(ProblemKind::NotFound, "there is no such endpoint here"))
        }
        _ => Err(Problem::new(ProblemKind::MethodNotAllowed, "this method is not allowed here")),
    };
    answered.unwrap_or_else(error)
}

/// The methods of a path under `/v1`.
pub(super) fn methods(segments: &[&str]) -> &'static [&'static str] {
    match segments {
        ["models", ..] => &["GET"],
        ["chat", "completions"]
        | ["completions"]
        | ["responses"]
        | ["responses", "input_tokens"]
        | ["embeddings"]
        | ["rerank"] => &["POST"],
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

/// Member of a problem: the code that OpenAI's clients look for, where it is not the kind's.
const CODE: &str = "openai-code";

fn error_json(problem: &Problem) -> serde_json::Value {
    let (code, status, _) = problem.kind().parts();
    let code = problem.member(CODE).cloned().unwrap_or_else(|| code.into());
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
fn answer(done: Done, media: &'static str, said: Said) -> Answer {
    let mut answer = match done.result {
        Ok(reply) => match reply.into_answer() {
            Ok(bytes) => answer_of(bytes, media),
            Err(refusal) => error(said.problem(&refusal)),
        },
        Err(failure) => error(Problem::from(failure)),
    };
    done.papers.accompany(answer.headers_mut());
    answer
}

/// How a plugin refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    /// In words.
    Words,
    /// With a code, as version 0.2 of the interfaces says; otherwise in words.
    Code,
}

impl Said {
    fn problem(self, refusal: &RefusalJson) -> Problem {
        let coded = (self == Said::Code).then(|| coded(refusal)).flatten();
        coded.unwrap_or_else(|| Problem::plugin_refused(refusal))
    }
}

/// The problem of a refusal that is a JSON object in a text; `None` if it is something else.
fn coded(refusal: &RefusalJson) -> Option<Problem> {
    #[derive(Deserialize)]
    struct Coded {
        code: String,
        message: String,
        param: Option<String>,
    }
    let text: String = serde_json::from_slice(&refusal.0).ok()?;
    let Coded { code, message, param } = serde_json::from_str(&text).ok()?;
    let kind = match code.as_str() {
        "invalid" | "unsupported" | "context_length_exceeded" => ProblemKind::InvalidRequest,
        "tokens_spent" => ProblemKind::LimitReached,
        "busy" => ProblemKind::Busy,
        "deadline" => ProblemKind::PluginDeadline,
        _ => return None,
    };
    let problem = Problem::new(kind, message);
    let problem = match param {
        Some(param) => problem.with("param", param),
        None => problem,
    };
    Some(match code.as_str() {
        "unsupported" | "context_length_exceeded" => problem.with(CODE, code),
        _ => problem,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> serde_json::Value {
        let refusal = RefusalJson(json!(text).to_string().into_bytes());
        error_json(&Said::Code.problem(&refusal))["error"].clone()
    }

    #[test]
    fn a_refusal_with_a_known_code_is_an_error_of_openai_s() {
        let long =
            r#"{"code": "context_length_exceeded", "message": "too long", "param": "messages"}"#;
        let long = problem(long);
        assert_eq!(long["code"], "context_length_exceeded");
        assert_eq!(long["type"], "invalid_request_error");
        assert_eq!((&long["param"], &long["message"]), (&json!("messages"), &json!("too long")));
        let busy = problem(r#"{"code": "busy", "message": "later"}"#);
        assert_eq!((&busy["code"], &busy["type"]), (&json!("busy"), &json!("api_error")));
        let spent = problem(r#"{"code": "tokens_spent", "message": "none left"}"#);
        assert_eq!(spent["type"], "rate_limit_error");
        for words in ["no", r#"{"code": "other", "message": "x"}"#, "{}"] {
            let refused = problem(words);
            assert_eq!(
                (&refused["code"], &refused["message"]),
                (&json!("plugin-refused"), &json!(words))
            );
        }
    }
}
