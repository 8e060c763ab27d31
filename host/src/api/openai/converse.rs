//! `POST /v1/chat/completions`, `/v1/completions` and `/v1/responses`: one path for all that a language model is asked, for models that
//! export either version of `hospes:plugin/chat`. `/v1/responses/input_tokens` counts what a request would take.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use hyper::body::Incoming;
use serde_json::{Value as Json, json};

use super::aim::{Aim, Called, fault, permits};
use super::asked::{Asked, Dialect, Prompt, Speech};
use super::completion::{self, Completion};
use super::members::Refusal;
use super::request::{self, Chat};
use super::responses::{self, Wanted};
use super::told::{Course, piece};
use super::{Answer, Problem, Said, answer, chat, error_json, refused};
use crate::api::calls::{Front, NoAnswer};
use crate::api::pieces::{Begun, EVENTS, event};
use crate::call::pieces::PieceEncoder;
use crate::call::{AnswerForm, Encoder, Payload};
use crate::host::Host;
use crate::id::CallId;
use crate::outcome::Reply;
use crate::sandbox::FunctionType;
use crate::state::deployments::{Deployment, Function};
use crate::tensor::Tensor;
use crate::value::{Type, Value};

/// The exports that a chat model needs, either of them (`wit/`).
pub(super) const FIRST: &str = "hospes:plugin/chat@0.1.0";
pub(super) const SECOND: &str = "hospes:plugin/chat@0.2.0";

/// Digits of a version's digest in `system_fingerprint`.
const FINGERPRINT_DIGITS: usize = 16;

const JSON: &str = "application/json";

/// Answers one request for a turn of a conversation.
pub(super) async fn chat(host: &Arc<Host>, request: Request<Incoming>) -> Result<Answer, Problem> {
    let (call, Chat { asked, stream, include_usage }) =
        Conversing::read(host, request, Called::Turn, request::chat).await?;
    let (call, frame, course) = call.prepare(&asked).await?;
    let (streaming, logprobs) = ((stream, include_usage), asked.options.logprobs.is_some());
    let answers = usize::from(asked.options.choices);
    let encode = chat::Encode::new(frame, streaming, logprobs, (course, answers));
    call.stream(asked, stream, Arc::new(encode), failed).await
}

/// Answers one request for what follows a prompt.
pub(super) async fn complete(
    host: &Arc<Host>,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let (call, Completion { asked, stream, include_usage, echo }) =
        Conversing::read(host, request, Called::Prompt, completion::completion).await?;
    let (call, frame, course) = call.prepare(&asked).await?;
    let (streaming, logprobs) = ((stream, include_usage), asked.options.logprobs.is_some());
    let echoes = echoes(&asked, echo);
    let encode = completion::Encode::new(frame, streaming, logprobs, course, echoes);
    call.stream(asked, stream, Arc::new(encode), failed).await
}

/// For every answer its prompt, if answers begin with them.
fn echoes(asked: &Asked, echo: bool) -> Vec<Option<String>> {
    let choices = usize::from(asked.options.choices);
    let Speech::Prompts(prompts) = &asked.speech else { return vec![None; choices] };
    let texts = prompts.iter().map(|prompt| match prompt {
        Prompt::Text(text) => echo.then(|| text.clone()),
        Prompt::Tokens(_) => None,
    });
    texts.flat_map(|text| std::iter::repeat_n(text, choices)).collect()
}

/// Answers one request for a response.
pub(super) async fn respond(
    host: &Arc<Host>,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let (call, Wanted { asked, stream, repeated }) =
        Conversing::read(host, request, Called::Turn, responses::read).await?;
    let (call, frame, course) = call.prepare(&asked).await?;
    let encode = Arc::new(responses::Encode::new(frame, stream, repeated, course));
    let failing = Arc::clone(&encode);
    call.stream(asked, stream, encode, move |problem| Some(failing.failed(problem))).await
}

/// Answers one request for the number of tokens that a response would take.
pub(super) async fn count(host: &Arc<Host>, request: Request<Incoming>) -> Result<Answer, Problem> {
    let (call, Wanted { asked, .. }) =
        Conversing::read(host, request, Called::Count, responses::read).await?;
    let Conversing { front, wire, .. } = call;
    let Asked { model, speech, options, .. } = asked;
    let aim = Called::Count.aim(&front, host, &model).await?;
    let values = speech.arguments(options, None, Dialect::Second).map_err(Problem::from)?;
    let encode = AnswerForm::Protocol(Arc::new(Count(model.clone())));
    let done = front.call(aim.target, Payload::Values { wire, values }, encode).await;
    let done = done.map_err(|error| refused(&model, SECOND, error))?;
    Ok(answer(done, JSON, Said::Code))
}

/// The error in a stream that fails after it has begun.
fn failed(problem: &Problem) -> Option<Bytes> {
    Some(event(error_json(problem).to_string().as_bytes()).into())
}

/// A call of a language model, whose request has been read.
struct Conversing<'h> {
    host: &'h Arc<Host>,
    front: Front<'h>,
    wire: Bytes,
    called: Called,
}

impl<'h> Conversing<'h> {
    /// Reads a request and parses it with `parse`.
    async fn read<T: Send + 'static>(
        host: &'h Arc<Host>,
        request: Request<Incoming>,
        called: Called,
        parse: fn(&[u8]) -> Result<T, Refusal>,
    ) -> Result<(Self, T), Problem> {
        let (parts, body) = request.into_parts();
        let front = Front::open(host, &parts.headers)?;
        let wire = front.intake().read(&parts.headers, body).await?;
        permits(&front, host, &wire, called).await?;
        let whole = wire.clone();
        match front.apart(wire.len(), move || parse(&whole)).await? {
            Ok(asked) => Ok((Self { host, front, wire, called }, asked)),
            Err(wrong) => Err(fault(&front, host, (&wire, wrong), called).await),
        }
    }

    /// Finds out which function is called, and with it the response's frame and course.
    async fn prepare(self, asked: &Asked) -> Result<(Aimed<'h>, Frame, Course), Problem> {
        let Self { host, front, wire, called } = self;
        let Aim { target, dialect, live } = called.aim(&front, host, &asked.model).await?;
        let answers = asked.speech.count() * usize::from(asked.options.choices);
        let course = Course::new(dialect, answers, host.config().api.response_bytes_max);
        let frame = Frame {
            id: front.id(),
            model: asked.model.clone(),
            created: host.clock().now().as_second(),
            dialect,
            fingerprint: live.as_ref().map(|live| fingerprint(live)),
        };
        let aim = Aim { target, dialect, live };
        Ok((Aimed { front, wire, aim }, frame, course))
    }
}

/// A call whose function is known.
struct Aimed<'h> {
    front: Front<'h>,
    wire: Bytes,
    aim: Aim,
}

impl Aimed<'_> {
    /// Makes the call.
    async fn stream(
        self,
        asked: Asked,
        stream: bool,
        encode: Arc<dyn PieceEncoder>,
        failed: impl Fn(&Problem) -> Option<Bytes> + Send + 'static,
    ) -> Result<Answer, Problem> {
        let Self { front, wire, aim } = self;
        let Aim { target, dialect, .. } = aim;
        let interface = Called::Turn.interface();
        let Asked { model, speech, options, newer } = asked;
        let values = match speech.arguments(options, newer, dialect) {
            Ok(values) => values,
            Err(wrong) => {
                return Err(refused(&model, interface, front.fault(&target, wrong).await));
            }
        };
        let running = front.stream(target, Payload::Values { wire, values }, encode);
        let begun: Result<Begun, NoAnswer> = running.begin(EVENTS, failed).await;
        let said = if dialect == Dialect::Second { Said::Code } else { Said::Words };
        match begun.map_err(|error| refused(&model, interface, error))? {
            Begun::Streams(answer) => Ok(answer),
            Begun::Done(done) => Ok(answer(done, if stream { EVENTS } else { JSON }, said)),
        }
    }
}

/// What all the parts of one response have in common.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) id: CallId,
    pub(super) model: String,
    pub(super) created: i64,
    pub(super) dialect: Dialect,
    /// What computes the answer: clients compare it before they expect a seed to repeat an answer.
    fingerprint: Option<String>,
}

impl Frame {
    /// The common beginning of responses.
    pub(super) fn begin(&self, prefix: &str, object: &str) -> Json {
        let id = format!("{prefix}-{}", self.id);
        let mut frame =
            json!({"id": id, "object": object, "created": self.created, "model": self.model});
        if let (Dialect::Second, Some(fingerprint)) = (self.dialect, &self.fingerprint) {
            frame["system_fingerprint"] = json!(fingerprint);
        }
        frame
    }

    /// The id of a call of a tool, for plugins that give none.
    pub(super) fn call_id(&self, id: &str, choice: usize, call: u32) -> String {
        match id.is_empty() {
            true => format!("call_{}_{choice}_{call}", self.id),
            false => id.to_owned(),
        }
    }
}

/// The version's digest, and the backends that compute its models.
fn fingerprint(live: &Deployment) -> String {
    let digest = live.digest().to_string();
    let digits = digest.rsplit(':').next().unwrap_or_default();
    let mut fingerprint = format!("fp_{}", digits.get(..FINGERPRINT_DIGITS).unwrap_or(digits));
    let models = live.models().iter().map(|model| model.backend);
    let decoders = live.decoders().iter().map(|decoder| decoder.backend);
    let mut backends: Vec<_> = models.chain(decoders).map(|backend| backend.to_string()).collect();
    backends.sort_unstable();
    backends.dedup();
    for backend in backends {
        fingerprint.push('_');
        fingerprint.push_str(&backend);
    }
    fingerprint
}

/// Whether a function answers with the pieces of the interface.
pub(super) fn suits(frame: &Frame, function: &Function) -> Result<(), String> {
    match function.signature().signature() {
        FunctionType::Stream { element, fallible: true, .. } if element == piece(frame.dialect) => {
            Ok(())
        }
        _ => {
            let model = &frame.model;
            Err(format!("The model `{model}` exports neither `{SECOND}` nor `{FIRST}`."))
        }
    }
}

/// Writes the number of tokens of a request for a response, for the model with this name.
#[derive(Debug)]
struct Count(String);

impl Encoder for Count {
    fn suits(&self, function: &Function) -> Result<(), String> {
        match function.signature().signature() {
            FunctionType::Values { result: Some(Type::Result { ok: Some(ok), .. }), .. }
                if **ok == Type::U32 =>
            {
                Ok(())
            }
            _ => Err(format!("The model `{}` does not export `{SECOND}`.", self.0)),
        }
    }

    fn tensors(&self, _: &Function, _: Vec<(String, Tensor)>) -> Result<Reply, String> {
        Err("the function answers with tensors, not with a number".to_owned())
    }

    fn value(&self, _: &Function, value: Option<(Value, &Type)>) -> Result<Reply, String> {
        let Some((Value::U32(tokens), _)) = value else {
            return Err(
                "the agreement does not let out what an answer of this endpoint needs".to_owned()
            );
        };
        let counted = json!({"object": "response.input_tokens", "input_tokens": tokens});
        Ok(Reply::Encoded { bytes: counted.to_string().into(), head: None })
    }
}
