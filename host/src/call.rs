//! A call as every front hands it over: who calls what, with which bytes, and how the answer is wanted.
//!
//! [`arguments`] reads what came, [`http`] carries the requests and responses of components that serve HTTP, and [`pieces`]
//! hands streams on. None of them knows a front, nor whether the call may be made.

pub mod arguments;
pub mod http;
pub mod pieces;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::id::{CallId, Digest};
use crate::outcome::Reply;
use crate::state::accounts::Credential;
use crate::state::deployments::{Function, Target};
use crate::stop::Stop;
use crate::tensor::Tensor;
use crate::value::{Type, Value};

use self::http::Exchange;
use pieces::Streaming;

/// One request to call a function, as every front hands it over.
#[derive(Debug)]
pub struct Call {
    /// Identifies the call in its receipt and in the log.
    pub id: CallId,
    /// What the caller has shown.
    pub credential: Credential,
    pub target: Target,
    /// Which of the caller's own agreements to use, if the caller chose one.
    pub agreement: Option<Digest>,
    /// The purpose that the caller declares, as an IRI.
    pub purpose: Option<Arc<str>>,
    pub payload: Payload,
    /// How the caller wants the answer.
    pub form: AnswerForm,
    /// Most time that the caller is willing to wait, from the start of the call.
    pub patience: Option<Duration>,
    /// Set some time after the caller has left: then nobody can read the answer, and what still runs ends. None if callers of this
    /// front do not leave.
    pub left: Option<Arc<Stop>>,
}

/// The arguments of a call, as they came.
#[derive(Debug, Clone)]
pub enum Payload {
    /// An object of the parameters, or named tensors, to be read by the function's types.
    Json(Bytes),
    /// The bytes of the only parameter or input.
    Octets(Bytes),
    /// Arguments by their names; a body of plain bytes beside them, if there is one.
    Parts { wire: Bytes, parts: Vec<Part>, body: Option<Bytes> },
    /// Named tensors that the front has read from `wire`.
    Tensors { wire: Bytes, tensors: Vec<(String, Tensor)> },
    /// Values that the front has read from `wire`, one a parameter.
    Values { wire: Bytes, values: Vec<Value> },
    /// A request for a handler of HTTP, whose body comes while the handler runs.
    Request(Arc<Exchange>),
}

/// One argument of a form or a query, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub name: String,
    pub bytes: Bytes,
}

impl Payload {
    /// Bytes that are text, to be read by the function's types.
    pub fn text_bytes(&self) -> usize {
        match self {
            Payload::Json(bytes) => bytes.len(),
            Payload::Parts { wire, .. } => wire.len(),
            Payload::Octets(_)
            | Payload::Tensors { .. }
            | Payload::Values { .. }
            | Payload::Request(_) => 0,
        }
    }

    /// The bytes that the receipt commits to and that agreements limit; of a request, those that are here before the call.
    pub fn bytes(&self) -> &Bytes {
        match self {
            Payload::Json(bytes) | Payload::Octets(bytes) => bytes,
            Payload::Parts { wire, .. }
            | Payload::Tensors { wire, .. }
            | Payload::Values { wire, .. } => wire,
            Payload::Request(exchange) => exchange.head(),
        }
    }

    /// How many bytes there are; none if that is not known before they have come.
    pub fn length(&self) -> Option<u64> {
        match self {
            Payload::Request(exchange) => exchange.length(),
            payload => Some(payload.bytes().len() as u64),
        }
    }
}

/// How the caller wants the answer.
#[derive(Debug, Clone)]
pub enum AnswerForm {
    Json,
    /// Plain bytes: of a `list<u8>`, or of the only output tensor.
    Octets,
    /// As the caller's protocol has it.
    Protocol(Arc<dyn Encoder>),
    /// In pieces, as they come.
    Stream(Arc<Streaming>),
    /// As the response of HTTP that it is.
    Response(Arc<Exchange>),
}

/// When the stages of a call were over.
#[derive(Debug, Clone, Copy)]
pub struct Timings {
    pub began: Instant,
    pub admitted: Instant,
    pub instantiated: Instant,
    pub ran: Instant,
    pub ended: Instant,
}

/// Writes answers as one protocol has them. It is asked with what may leave the host, and what it writes is held to the
/// limits like any other answer.
pub trait Encoder: fmt::Debug + Send + Sync {
    /// Whether answers of `function` can be what the caller wants. Asked before it runs.
    ///
    /// # Errors
    /// What the caller wants and the function does not have.
    fn suits(&self, function: &Function) -> Result<(), String>;

    /// The reply to a caller of `function`. The plugin's own refusals are not asked about.
    ///
    /// # Errors
    /// Why the answer cannot be sent as the caller wants it.
    fn tensors(&self, function: &Function, outputs: Vec<(String, Tensor)>)
    -> Result<Reply, String>;

    /// The same of a value, with its type.
    ///
    /// # Errors
    /// Why the answer cannot be sent as the caller wants it.
    fn value(&self, function: &Function, value: Option<(Value, &Type)>) -> Result<Reply, String>;
}
