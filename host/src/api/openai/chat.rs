//! `POST /v1/chat/completions` and `POST /v1/completions`, for models that export `hospes:plugin/chat`.

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http::Request;
use hyper::body::Incoming;
use serde_json::{Value as Json, json};

use super::request::{self, Conversation};
use super::{Answer, Problem, answer, error_json, fault, permits, refused, target};
use crate::api::calls::Front;
use crate::api::pieces::{Begun, EVENTS, event};
use crate::call::Payload;
use crate::call::pieces::PieceEncoder;
use crate::host::Host;
use crate::id::CallId;
use crate::sandbox::FunctionType;
use crate::state::deployments::Function;
use crate::value::{Case, Field, Type, Value};

/// The export that a chat model needs (`wit/plugin.wit`).
pub(super) const INTERFACE: &str = "hospes:plugin/chat@0.1.0";
const FUNCTION: &str = "complete";

/// The response's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Chat,
    Completion,
}

/// Answers one request for a turn of a conversation.
pub(super) async fn chat(host: &Arc<Host>, request: Request<Incoming>) -> Result<Answer, Problem> {
    converse(host, request, Shape::Chat).await
}

/// Answers one request for the continuation of a prompt.
pub(super) async fn complete(
    host: &Arc<Host>,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    converse(host, request, Shape::Completion).await
}

async fn converse(
    host: &Arc<Host>,
    request: Request<Incoming>,
    shape: Shape,
) -> Result<Answer, Problem> {
    let (parts, body) = request.into_parts();
    let front = Front::open(host, &parts.headers)?;
    let wire = front.intake().read(&parts.headers, body).await?;
    permits(&front, host, &wire, (INTERFACE, FUNCTION)).await?;
    let whole = wire.clone();
    let asked = front.apart(wire.len(), move || match shape {
        Shape::Chat => request::chat(&whole),
        Shape::Completion => request::completion(&whole),
    });
    let asked = match asked.await? {
        Ok(asked) => asked,
        Err(wrong) => {
            return Err(fault(&front, host, (&wire, wrong), (INTERFACE, FUNCTION)).await);
        }
    };
    let Conversation { model, stream, include_usage, values } = asked;
    let target = target(host, &model, FUNCTION)?;
    let encode = Arc::new(Encode {
        shape,
        id: front.id(),
        model: model.clone(),
        created: host.clock().now().as_second(),
        stream,
        include_usage,
        told: Mutex::default(),
    });
    let running = front.stream(target, Payload::Values { wire, values }, encode);
    let begun = running.begin(EVENTS, failed).await;
    match begun.map_err(|error| refused(&model, INTERFACE, error))? {
        Begun::Streams(answer) => Ok(answer),
        Begun::Done(done) => Ok(answer(done, if stream { EVENTS } else { "application/json" })),
    }
}

/// The error in a stream that fails after it has begun.
fn failed(problem: &Problem) -> Option<Bytes> {
    Some(event(error_json(problem).to_string().as_bytes()).into())
}

/// Serialises the pieces of one response.
#[derive(Debug)]
struct Encode {
    shape: Shape,
    id: CallId,
    model: String,
    created: i64,
    stream: bool,
    include_usage: bool,
    told: Mutex<Told>,
}

/// The response so far.
#[derive(Debug, Default)]
struct Told {
    began: bool,
    /// The text, if it is sent as a whole.
    text: String,
    summary: Option<Summary>,
}

#[derive(Debug, Clone, Copy)]
struct Summary {
    finish: &'static str,
    prompt: u32,
    completion: u32,
}

/// `piece` of the interface.
fn piece() -> Type {
    let field = |name: &str, ty| Field { name: name.into(), ty };
    let finish = Type::Enum(["stop", "length"].map(Arc::from).into());
    let summary = Type::Record(
        [
            field("finish", finish),
            field("prompt-tokens", Type::U32),
            field("completion-tokens", Type::U32),
        ]
        .into(),
    );
    Type::Variant(
        [
            Case { name: "text".into(), ty: Some(Type::String) },
            Case { name: "end".into(), ty: Some(summary) },
        ]
        .into(),
    )
}

impl PieceEncoder for Encode {
    fn suits(&self, function: &Function) -> Result<(), String> {
        match function.signature().signature() {
            FunctionType::Stream { element, fallible: true, .. } if *element == piece() => Ok(()),
            _ => Err(format!("The model `{}` does not export `{INTERFACE}`.", self.model)),
        }
    }

    fn piece(&self, value: &Value, element: &Type) -> Result<Vec<u8>, String> {
        if *element != piece() {
            return Err(
                "the agreement does not let out what an answer of this endpoint needs".to_owned()
            );
        }
        let mut told = self.told();
        match value {
            Value::Variant(0, Some(text)) => {
                let Value::String(text) = &**text else { return Err(wrong()) };
                if !self.stream {
                    told.text.push_str(text);
                    return Ok(Vec::new());
                }
                let mut out = Vec::new();
                if !std::mem::replace(&mut told.began, true) && self.shape == Shape::Chat {
                    let first = json!({"role": "assistant", "content": ""});
                    out = self
                        .chunk(&json!([{"index": 0, "delta": first, "finish_reason": null}]), None);
                }
                out.extend(self.chunk(&self.part(text, None), None));
                Ok(out)
            }
            Value::Variant(1, Some(summary)) => {
                told.summary = Some(read(summary).ok_or_else(wrong)?);
                Ok(Vec::new())
            }
            _ => Err(wrong()),
        }
    }

    fn end(&self) -> Result<Vec<u8>, String> {
        let told = self.told();
        let summary = told.summary.ok_or("the plugin did not say how its answer ended")?;
        if !self.stream {
            return Ok(self.whole(&told.text, summary).to_string().into_bytes());
        }
        let mut out = self.chunk(&self.part("", Some(summary.finish)), None);
        if self.include_usage {
            out.extend(self.chunk(&json!([]), Some(summary)));
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
        Ok(out)
    }
}

fn wrong() -> String {
    "a piece of the answer is not what its type says".to_owned()
}

fn read(summary: &Value) -> Option<Summary> {
    let Value::Record(members) = summary else { return None };
    let [Value::Enum(finish), Value::U32(prompt), Value::U32(completion)] = members.as_slice()
    else {
        return None;
    };
    let finish = *["stop", "length"].get(*finish as usize)?;
    Some(Summary { finish, prompt: *prompt, completion: *completion })
}

impl Encode {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The choices of an event: more text, or the finish reason.
    fn part(&self, text: &str, finish: Option<&str>) -> Json {
        match self.shape {
            Shape::Chat => {
                let delta = if finish.is_some() { json!({}) } else { json!({"content": text}) };
                json!([{"index": 0, "delta": delta, "finish_reason": finish}])
            }
            Shape::Completion => {
                json!([{"index": 0, "text": text, "logprobs": null, "finish_reason": finish}])
            }
        }
    }

    fn chunk(&self, choices: &Json, usage: Option<Summary>) -> Vec<u8> {
        let mut chunk = self.frame(match self.shape {
            Shape::Chat => "chat.completion.chunk",
            Shape::Completion => "text_completion",
        });
        chunk["choices"] = choices.clone();
        if self.include_usage {
            chunk["usage"] = usage.map_or(Json::Null, used);
        }
        event(chunk.to_string().as_bytes())
    }

    fn whole(&self, text: &str, summary: Summary) -> Json {
        let finish = summary.finish;
        let (object, choice) = match self.shape {
            Shape::Chat => (
                "chat.completion",
                json!({"index": 0, "message": {"role": "assistant", "content": text, "refusal": null}, "logprobs": null, "finish_reason": finish}),
            ),
            Shape::Completion => (
                "text_completion",
                json!({"index": 0, "text": text, "logprobs": null, "finish_reason": finish}),
            ),
        };
        let mut whole = self.frame(object);
        whole["choices"] = json!([choice]);
        whole["usage"] = used(summary);
        whole
    }

    /// The common beginning of responses.
    fn frame(&self, object: &str) -> Json {
        let id = match self.shape {
            Shape::Chat => format!("chatcmpl-{}", self.id),
            Shape::Completion => format!("cmpl-{}", self.id),
        };
        json!({"id": id, "object": object, "created": self.created, "model": self.model})
    }
}

fn used(summary: Summary) -> Json {
    let Summary { prompt, completion, .. } = summary;
    let total = u64::from(prompt) + u64::from(completion);
    json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total})
}
