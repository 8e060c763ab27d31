//! `POST /v2/models/{model}/infer`.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Request};
use hyper::body::Incoming;

use super::encode::Encode;
use super::model::Asked;
use super::request::{self, InferRequest};
use super::{Answer, Problem, error, invalid};
use crate::admission::Priority;
use crate::api::answer::answer_of;
use crate::api::calls::{Done, Front};
use crate::api::compression;
use crate::call::{AnswerForm, Payload};
use crate::host::Host;
use crate::outcome::Reply;

/// Length of the JSON before binary tensors, in bytes.
pub(super) const HEADER_LENGTH: HeaderName =
    HeaderName::from_static("inference-header-content-length");

/// Answers one request.
pub(super) async fn infer(
    host: &Arc<Host>,
    asked: &Asked,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let (parts, body) = request.into_parts();
    let front = Front::open(host, &parts.headers)?;
    let target = asked.target()?;
    let accepted = compression::Coding::accepted(&parts.headers);
    let head = head_length(parts.headers.get(&HEADER_LENGTH))?;
    front.permits_body(&target, &body).await.map_err(|error| asked.refused(error))?;
    // Where the tensors begin is known in advance, so they are aligned for reading without a copy.
    let aligned = head.unwrap_or(0);
    let wire = front.intake().read_aligned(&parts.headers, body, aligned).await?;
    let (payload, form, urgency) = if head == Some(0) {
        let encode = Encode::all_binary(&asked.name);
        let urgency = (None, Priority::default());
        (Payload::Octets(wire), AnswerForm::Protocol(Arc::new(encode)), urgency)
    } else {
        let text = head.unwrap_or(wire.len());
        let (name, whole) = (asked.name.clone(), wire.clone());
        let read = front.apart(text, move || request::read(&name, &whole, head)).await;
        let read = match read? {
            Ok(read) => read,
            Err(error) => {
                let fault = front.fault(&target, invalid(error.to_string())).await;
                return Err(asked.refused(fault));
            }
        };
        let InferRequest { tensors, encode, patience, priority } = read;
        let urgency = (patience, priority);
        (Payload::Tensors { wire, tensors }, AnswerForm::Protocol(Arc::new(encode)), urgency)
    };
    let done = front.urgent(urgency).call(target, payload, form).await;
    let done = done.map_err(|error| asked.refused(error))?;
    Ok(compression::deflate(answer(done), accepted).await)
}

/// The header's value, if present.
fn head_length(value: Option<&HeaderValue>) -> Result<Option<usize>, Problem> {
    let Some(value) = value else { return Ok(None) };
    let number = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    let wrong = || {
        let seen = String::from_utf8_lossy(value.as_bytes()).chars().take(40).collect::<String>();
        invalid(format!("`Inference-Header-Content-Length` is a number of bytes, not `{seen}`"))
    };
    number.map(Some).ok_or_else(wrong)
}

fn answer(done: Done) -> Answer {
    let mut answer = match done.result {
        Ok(Reply::Encoded { bytes, head: Some(head) }) => {
            let mut answer = answer_of(bytes, "application/octet-stream");
            answer.headers_mut().insert(HEADER_LENGTH, head.into());
            answer
        }
        Ok(reply) => match reply.into_answer() {
            Ok(bytes) => answer_of(bytes, "application/json"),
            Err(refusal) => error(Problem::plugin_refused(&refusal)),
        },
        Err(failure) => error(Problem::from(failure)),
    };
    done.papers.accompany(answer.headers_mut());
    answer
}
