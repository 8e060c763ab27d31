//! Typed calls, `POST /{publisher}/{model}[@ref]/{function}`, and the description of a model.
//!
//! A thin codec around `invoke`: it parses the request into a call and renders the result. It decides nothing.

mod origin;

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Request, header};
use hyper::body::Incoming;

use super::answer::{Answer, answer_of, done};
use super::body::{self, Media};
use super::calls::{Done, Front};
use super::form;
use super::pieces::{Begun, Typed};
use super::problem::{Problem, ProblemKind};
use crate::admission::READ_HERE_BYTES_MAX;
use crate::call::{AnswerForm, Payload};
use crate::host::Host;
use crate::id::{IdError, ModelName};
use crate::outcome::Reply;
use crate::sandbox::{FunctionType, Prototype};
use crate::state::deployments::{Deployment, Reference, Target};
use crate::value::{Field, Type};
use crate::visibility;
use crate::wire::models::{self, Description};

/// `POST /{publisher}/{model}[@ref]/{function}`.
pub(super) async fn call(
    host: &Arc<Host>,
    path: [&str; 3],
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let (parts, body) = request.into_parts();
    let target = target(path)?;
    let front = Front::open(host, &parts.headers)?;
    front.awaken(&target.model, &target.reference).await;
    let media = match body::media(&parts.headers) {
        Ok(media) => media,
        Err(problem) => return Err(front.fault(&target, problem).await.into()),
    };
    front.permits_body(&target, &body).await?;
    let bytes = front.intake().read(&parts.headers, body).await?;
    let payload = match media {
        // A form is split here; the function's types parse everything else.
        Media::Form if bytes.len() > READ_HERE_BYTES_MAX => {
            let parts = parts.clone();
            front.apart(bytes.len(), move || payload(&parts, media, bytes)).await?
        }
        Media::Form | Media::Json | Media::Octets => payload(&parts, media, bytes),
    };
    let payload = match payload {
        Ok(payload) => payload,
        Err(problem) => return Err(front.fault(&target, problem).await.into()),
    };
    if let Some(element) = streamed(&front, &target) {
        let running = front.stream(target, payload, Arc::new(Typed));
        let begun = running.begin(Typed::media(&element), Typed::failed(&element)).await?;
        return Ok(match begun {
            Begun::Streams(answer) => answer,
            Begun::Done(done) => answer(done, Typed::media(&element)),
        });
    }
    let form =
        if body::wants_octets(&parts.headers) { AnswerForm::Octets } else { AnswerForm::Json };
    Ok(answer(front.call(target, payload, form).await?, "application/octet-stream"))
}

/// The arguments, from the body and the query. With a query, the input is the query, a line feed and the body. That is what is counted and
/// what the receipt commits to.
fn payload(parts: &Parts, media: Media, body: Bytes) -> Result<Payload, Problem> {
    let text = parts.uri.query().unwrap_or_default();
    let query = form::query(text)?;
    let is_typed = parts.headers.contains_key(header::CONTENT_TYPE);
    let wire = match query.is_empty() {
        true => body.clone(),
        false => [text.as_bytes(), b"\n", &body].concat().into(),
    };
    match media {
        Media::Json if query.is_empty() => Ok(Payload::Json(body)),
        // Only a query: `curl -X POST '…?text=hello'`.
        Media::Json if body.is_empty() && !is_typed => {
            Ok(Payload::Parts { wire, parts: query, body: None })
        }
        Media::Json => {
            let detail = "send the arguments in the query or in a JSON body, not in both";
            Err(Problem::new(ProblemKind::InvalidRequest, detail))
        }
        Media::Octets if query.is_empty() => Ok(Payload::Octets(body)),
        Media::Octets => Ok(Payload::Parts { wire, parts: query, body: Some(body) }),
        Media::Form => {
            let content_type = parts.headers.get(header::CONTENT_TYPE);
            let content_type = content_type.and_then(|value| value.to_str().ok());
            let mut parts = form::multipart(content_type.unwrap_or_default(), &body)?;
            parts.extend(query);
            Ok(Payload::Parts { wire, parts, body: None })
        }
    }
}

/// The type of the function's stream elements, if it returns a stream.
fn streamed(front: &Front<'_>, target: &Target) -> Option<Type> {
    let live = front.version(&target.model, &target.reference)?;
    let function = live.functions().iter().find(|function| *function.name() == target.function)?;
    match function.signature() {
        FunctionType::Stream { element, .. } => Some(element.clone()),
        FunctionType::Tensors | FunctionType::Values { .. } | FunctionType::Http(_) => None,
    }
}

/// `GET /{publisher}/{model}`: a model that is listed or that the caller may know of.
pub(super) fn describe(
    host: &Host,
    publisher: &str,
    model: &str,
    request: &Request<Incoming>,
) -> Result<Answer, Problem> {
    let deployment = known(host, publisher, model, request.headers())?;
    Ok(done(&description(&deployment)))
}

/// A model's version, if it is listed or the caller may know of it.
pub(super) fn known(
    host: &Host,
    publisher: &str,
    model: &str,
    headers: &HeaderMap,
) -> Result<Arc<Deployment>, Problem> {
    let caller = match body::bearer(headers) {
        Some(key) => Some(host.auth.authenticate(Some(key))?),
        None => None,
    };
    let (model, reference) = model_name(publisher, model)?;
    Ok(visibility::version(host, caller.as_ref(), &model, &reference)?)
}

/// A version's description, for the market and the model's page.
pub(super) fn description(deployment: &Deployment) -> Description {
    let manifest = deployment.manifest();
    Description {
        model: deployment.model().clone(),
        version: deployment.version().to_string(),
        digest: *deployment.digest(),
        publisher: deployment.publisher(),
        summary: manifest.summary.clone(),
        licence: manifest.licence.to_string(),
        functions: deployment.functions().iter().map(function).collect(),
        evaluations: origin::evaluations(manifest),
        derived_from: origin::derived_from(manifest),
        lineage: deployment
            .training()
            .map(|training| origin::lineage(training, manifest, deployment.publisher())),
        task: manifest.card.task.clone(),
        tags: manifest.card.tags.iter().take(origin::TAGS_MAX).cloned().collect(),
    }
}

fn function(function: &Prototype) -> models::Function {
    let signature = match function.signature() {
        FunctionType::Tensors => "(inputs: named tensors) -> named tensors".to_owned(),
        FunctionType::Values { params, result } => {
            let params = list(params);
            match result {
                Some(result) => format!("({params}) -> {result}"),
                None => format!("({params})"),
            }
        }
        FunctionType::Stream { params, element, .. } => {
            let params = list(params);
            format!("async ({params}) -> stream<{element}>")
        }
        FunctionType::Http(_) => {
            "(request of HTTP) -> response, at /{publisher}/{model}/-/…".to_owned()
        }
    };
    models::Function { name: function.name().clone(), signature }
}

/// Parameters as text. Those that do not fit are not shown.
fn list(params: &[Field]) -> String {
    /// Maximum length of one function's parameters as text, in bytes.
    const PARAMS_BYTES_MAX: usize = 4000;
    let mut text = String::new();
    for (index, field) in params.iter().enumerate() {
        if text.len() > PARAMS_BYTES_MAX {
            text.push_str(", …");
            break;
        }
        let separator = if index > 0 { ", " } else { "" };
        text.push_str(&format!("{separator}{}: {}", field.name, field.ty));
    }
    text
}

fn target([publisher, model, function]: [&str; 3]) -> Result<Target, Problem> {
    let (model, reference) = model_name(publisher, model)?;
    let function = function.parse().map_err(|error: IdError| not_a_name(&error))?;
    Ok(Target { model, reference, function })
}

pub(super) fn model_name(publisher: &str, model: &str) -> Result<(ModelName, Reference), Problem> {
    let (label, reference) = match model.split_once('@') {
        None => (model, Reference::Latest),
        Some((label, reference)) => (label, reference.parse()?),
    };
    let publisher = publisher.parse().map_err(|error: IdError| not_a_name(&error))?;
    let label = label.parse().map_err(|error: IdError| not_a_name(&error))?;
    Ok((ModelName { publisher, label }, reference))
}

/// An invalid name cannot exist.
fn not_a_name(error: &IdError) -> Problem {
    Problem::new(ProblemKind::NotFound, error.to_string())
}

fn answer(done: Done, media: &'static str) -> Answer {
    let mut response = match done.result {
        Ok(Reply::Json(json)) => answer_of(json.into(), "application/json"),
        Ok(reply) => match reply.into_answer() {
            Ok(bytes) => answer_of(bytes, media),
            Err(refusal) => Problem::plugin_refused(&refusal).into_response(),
        },
        Err(failure) => Problem::from(failure).into_response(),
    };
    done.papers.accompany(response.headers_mut());
    response
}
