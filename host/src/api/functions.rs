//! Typed invocation: `POST /{publisher}/{model}[@ref]/{function}`, and what a model's page says.
//!
//! A thin codec around `invoke`: it reads the request into a [`Call`] and renders the [`Invocation`]. It decides nothing.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::body::{self, Media};
use super::detached::Detached;
use super::health::json as json_answer;
use super::problem::{Problem, ProblemKind};
use super::router::Answer;
use crate::deployments::{Deployment, Reference, Target};
use crate::host::Host;
use crate::id::{CallId, Digest, IdError, ModelName};
use crate::invoke::{Call, Invocation, Payload, Timings, invoke};
use crate::outcome::Reply;
use crate::outputs::Form;
use crate::receipt::{Issued, Salt};
use crate::sandbox::{GuestFunction, Signature};

const AGREEMENT: HeaderName = HeaderName::from_static("hospes-agreement");
const PURPOSE: HeaderName = HeaderName::from_static("hospes-purpose");
const RECEIPT: HeaderName = HeaderName::from_static("hospes-receipt");
const SALT: HeaderName = HeaderName::from_static("hospes-salt");
const REMAINING: HeaderName = HeaderName::from_static("hospes-remaining");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Room for the values of an answer's own headers.
const HEADER_VALUES_BYTES: usize = 256;

/// Longest purpose that a caller may declare, in bytes.
const PURPOSE_BYTES_MAX: usize = 256;

/// `POST /{publisher}/{model}[@ref]/{function}`.
pub(super) async fn call(
    host: &Arc<Host>,
    path: [&str; 3],
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let (parts, body) = request.into_parts();
    // Before the body is read: strangers cannot make the host hold one. `invoke` asks again and decides.
    let credential = body::bearer(&parts.headers);
    host.auth.authenticate(credential)?;
    let target = target(path)?;
    let head = Head::read(&parts.headers)?;
    let api = &host.config().api;
    let bytes = body::read(&parts.headers, body, api.body_bytes_max, api.body_read_timeout).await?;
    let call = Call {
        id: CallId::new(host.clock().now()),
        credential: credential.map(Into::into),
        target,
        agreement: head.agreement,
        purpose: head.purpose,
        payload: match head.media {
            Media::Json => Payload::Json(bytes),
            Media::Octets => Payload::Octets(bytes),
        },
        form: head.form,
    };
    let invocation = Detached::new({
        let host = Arc::clone(host);
        async move { invoke(&host, call).await }
    });
    let invocation = invocation.await.map_err(|panic| Problem::internal(&panic))??;
    Ok(answer(invocation))
}

/// `GET /{publisher}/{model}`: a model that is listed, or that the caller may know of.
pub(super) fn describe(
    host: &Host,
    publisher: &str,
    model: &str,
    request: &Request<Incoming>,
) -> Result<Answer, Problem> {
    let caller = match body::bearer(request.headers()) {
        Some(key) => Some(host.auth.authenticate(Some(key))?),
        None => None,
    };
    let (model, reference) = model_name(publisher, model)?;
    let missing =
        || Problem::new(ProblemKind::NotFound, format!("there is no model `{model}` here"));
    if !host.may_know(caller.as_ref(), &model) {
        return Err(missing());
    }
    let deployment = host.deployments.version(&model, &reference)?;
    Ok(json_answer(StatusCode::OK, &description(&deployment)))
}

/// What the market and a model's page say about a version.
pub(super) fn description(deployment: &Deployment) -> Value {
    let manifest = deployment.manifest();
    json!({
        "model": deployment.model(),
        "version": deployment.version(),
        "digest": deployment.digest(),
        "publisher": deployment.publisher(),
        "summary": &manifest.summary,
        "licence": &manifest.licence,
        "functions": deployment.functions().iter().map(function).collect::<Vec<_>>(),
    })
}

fn function(function: &GuestFunction) -> Value {
    let signature = match function.signature() {
        Signature::Tensors => "(inputs: named tensors) -> named tensors".to_owned(),
        Signature::Values { params, result } => {
            let params = params.iter().map(|field| format!("{}: {}", field.name, field.ty));
            let params = params.collect::<Vec<_>>().join(", ");
            match result {
                Some(result) => format!("({params}) -> {result}"),
                None => format!("({params})"),
            }
        }
    };
    json!({"name": function.name(), "signature": signature})
}

/// What the headers of a call say.
struct Head {
    media: Media,
    form: Form,
    agreement: Option<Digest>,
    purpose: Option<Arc<str>>,
}

impl Head {
    fn read(headers: &HeaderMap) -> Result<Self, Problem> {
        let form = if body::wants_octets(headers) { Form::Octets } else { Form::Json };
        Ok(Self {
            media: body::media(headers)?,
            form,
            agreement: text(headers, &AGREEMENT)?
                .map(str::parse)
                .transpose()
                .map_err(|error: IdError| invalid(format!("`Hospes-Agreement`: {error}")))?,
            purpose: text(headers, &PURPOSE)?.map(purpose).transpose()?,
        })
    }
}

fn purpose(iri: &str) -> Result<Arc<str>, Problem> {
    let is_iri = iri.len() <= PURPOSE_BYTES_MAX
        && iri.split_once(':').is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty())
        && !iri.contains(char::is_whitespace);
    if is_iri {
        return Ok(iri.into());
    }
    Err(invalid(format!("`Hospes-Purpose` is an IRI of at most {PURPOSE_BYTES_MAX} bytes")))
}

/// A header that may be there once.
fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Problem> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            let value = value.to_str();
            value.map(Some).map_err(|_| invalid(format!("header `{name}` is not plain text")))
        }
        (Some(_), Some(_)) => Err(invalid(format!("header `{name}` is there twice"))),
    }
}

fn target([publisher, model, function]: [&str; 3]) -> Result<Target, Problem> {
    let (model, reference) = model_name(publisher, model)?;
    let function = function.parse().map_err(|error: IdError| not_a_name(&error))?;
    Ok(Target { model, reference, function })
}

fn model_name(publisher: &str, model: &str) -> Result<(ModelName, Reference), Problem> {
    let (label, reference) = match model.split_once('@') {
        None => (model, Reference::Latest),
        Some((label, reference)) => (label, reference.parse()?),
    };
    let publisher = publisher.parse().map_err(|error: IdError| not_a_name(&error))?;
    let label = label.parse().map_err(|error: IdError| not_a_name(&error))?;
    Ok((ModelName { publisher, label }, reference))
}

/// What cannot be a name cannot be there.
fn not_a_name(error: &IdError) -> Problem {
    Problem::new(ProblemKind::NotFound, error.to_string())
}

fn invalid(detail: String) -> Problem {
    Problem::new(ProblemKind::InvalidRequest, detail)
}

fn answer(invocation: Invocation) -> Answer {
    let Invocation { outcome, receipt, salt, timings } = invocation;
    let mut response = match outcome.result {
        Ok(Reply::Json(json)) => body_of(json.into(), "application/json"),
        Ok(Reply::Octets(bytes)) => body_of(bytes, "application/octet-stream"),
        Ok(Reply::RefusalJson(error)) => Problem::plugin_refused(&error).into_response(),
        Err(failure) => Problem::from(failure).into_response(),
    };
    accompany(response.headers_mut(), &receipt, &salt, &timings);
    response
}

fn body_of(bytes: Bytes, media: &'static str) -> Answer {
    let mut response = Response::new(Full::new(bytes));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

/// Which receipt the call has, how to open it, what remains, and where the time went.
fn accompany(headers: &mut HeaderMap, receipt: &Issued, salt: &Salt, timings: &Timings) {
    // Written on every call: one allocation holds all the values.
    let mut text = BytesMut::with_capacity(HEADER_VALUES_BYTES);
    let mut insert = |name: HeaderName, text: &mut BytesMut| {
        if let Ok(value) = HeaderValue::from_maybe_shared(text.split().freeze()) {
            headers.insert(name, value);
        }
    };
    let mut call = [0; CallId::TEXT_BYTES];
    text.extend_from_slice(receipt.call.encode(&mut call).as_bytes());
    insert(RECEIPT, &mut text);
    text.extend_from_slice(salt.to_hex().as_bytes());
    insert(SALT, &mut text);
    if let (Some(max), Some(used)) = (receipt.max, receipt.used) {
        put(&mut text, format_args!("{}", max.saturating_sub(used)));
        insert(REMAINING, &mut text);
    }
    let Timings { began, admitted, instantiated, ran, ended } = *timings;
    let spans = [
        ("admit", admitted - began),
        ("start", instantiated - admitted),
        ("run", ran - instantiated),
        ("settle", ended - ran),
    ];
    server_timing(spans, &mut text);
    insert(SERVER_TIMING, &mut text);
}

/// The spans in milliseconds, to the microsecond (W3C Server Timing). By integers: formatting floats takes as long as checking
/// the agreement.
fn server_timing(spans: [(&str, Duration); 4], text: &mut BytesMut) {
    for (index, (name, span)) in spans.into_iter().enumerate() {
        let micros = span.as_micros();
        let comma = if index == 0 { "" } else { ", " };
        put(text, format_args!("{comma}{name};dur={}.{:03}", micros / 1000, micros % 1000));
    }
}

fn put(text: &mut BytesMut, written: std::fmt::Arguments<'_>) {
    text.write_fmt(written).expect("invariant: a buffer grows for all that is written to it");
}
