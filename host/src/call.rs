//! A call as every front hands it over: caller, target, arguments, and the wanted form of the response.
//!
//! [`arguments`] reads the arguments, [`http`] carries requests and responses of components that serve HTTP, and [`pieces`] passes streams
//! on. None of them depends on a front or decides whether the call is permitted.

pub mod arguments;
pub mod http;
pub mod pieces;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::admission::Priority;
use crate::id::{CallId, Digest};
use crate::outcome::Reply;
use crate::state::accounts::Credential;
use crate::state::deployments::{Function, Target};
use crate::stop::Stop;
use crate::tensor::Tensor;
use crate::value::{Type, Value};

use self::http::Exchange;
use pieces::Streaming;

/// One request to call a function.
#[derive(Debug)]
pub struct Call {
    /// Identifies the call in its receipt and in the log.
    pub id: CallId,
    /// The caller's credential.
    pub credential: Credential,
    pub target: Target,
    /// The agreement that the caller chose, if any.
    pub agreement: Option<Digest>,
    /// The purpose that the caller declares, as an IRI.
    pub purpose: Option<Arc<str>>,
    pub payload: Payload,
    /// The form of the response that the caller wants.
    pub form: AnswerForm,
    pub urgency: Urgency,
    /// Set when the caller has left: a call that waits need not begin.
    pub gone: Option<Arc<Stop>>,
    /// Set some time after the caller has left: then nobody can read the response, and a running call ends. `None` if this front's callers
    /// cannot leave.
    pub left: Option<Arc<Stop>>,
}

/// How urgent a call is to its caller.
#[derive(Debug, Clone, Copy, Default)]
pub struct Urgency {
    /// Its order among the calls of its account.
    pub priority: Priority,
    /// From when on its response is of no use.
    pub until: Option<Instant>,
}

impl Call {
    /// Waits until the caller has left.
    pub async fn abandoned(&self) {
        match &self.gone {
            Some(gone) => gone.wait().await,
            None => std::future::pending().await,
        }
    }
}

/// The arguments of a call, as received.
#[derive(Debug, Clone)]
pub enum Payload {
    /// A JSON object of parameters or named tensors, to be read by the function's types.
    Json(Bytes),
    /// The bytes of the only parameter or input.
    Octets(Bytes),
    /// Arguments by name, with an optional body of plain bytes.
    Parts { wire: Bytes, parts: Vec<Part>, body: Option<Bytes> },
    /// Named tensors that the front has parsed from `wire`.
    Tensors { wire: Bytes, tensors: Vec<(String, Tensor)> },
    /// Values that the front has parsed from `wire`, one per parameter.
    Values { wire: Bytes, values: Vec<Value> },
    /// A request for an HTTP handler. Its body arrives while the handler runs.
    Request(Arc<Exchange>),
}

/// One argument of a form or a query, as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub name: String,
    pub bytes: Bytes,
}

impl Payload {
    /// Text, to be read by the function's types.
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

    /// The bytes that the receipt commits to and that agreements limit. For an HTTP request, those received before the call.
    pub fn bytes(&self) -> &Bytes {
        match self {
            Payload::Json(bytes) | Payload::Octets(bytes) => bytes,
            Payload::Parts { wire, .. }
            | Payload::Tensors { wire, .. }
            | Payload::Values { wire, .. } => wire,
            Payload::Request(exchange) => exchange.head(),
        }
    }

    /// The number of bytes; `None` if unknown before they have arrived.
    pub fn length(&self) -> Option<u64> {
        match self {
            Payload::Request(exchange) => exchange.length(),
            payload => Some(payload.bytes().len() as u64),
        }
    }
}

/// The form of the response that the caller wants.
#[derive(Debug, Clone)]
pub enum AnswerForm {
    Json,
    /// Plain bytes of a `list<u8>` or of the only output tensor.
    Octets,
    /// In the format of the caller's protocol.
    Protocol(Arc<dyn Encoder>),
    /// As a stream.
    Stream(Arc<Streaming>),
    /// As an HTTP response.
    Response(Arc<Exchange>),
}

/// When each stage of a call ended.
#[derive(Debug, Clone, Copy)]
pub struct Timings {
    pub began: Instant,
    pub admitted: Instant,
    pub instantiated: Instant,
    pub ran: Instant,
    pub ended: Instant,
}

/// Writes responses in one protocol's format. It gets only what may leave the host, and its output is subject to the same limits as any
/// response.
pub trait Encoder: fmt::Debug + Send + Sync {
    /// Whether `function` can produce what the caller wants. Asked before it runs.
    ///
    /// # Errors
    /// What the caller wants and `function` lacks.
    fn suits(&self, function: &Function) -> Result<(), String>;

    /// The response to a caller of `function`. Not used for the plugin's own errors.
    ///
    /// # Errors
    /// Why the response cannot be sent in the wanted form.
    fn tensors(&self, function: &Function, outputs: Vec<(String, Tensor)>)
    -> Result<Reply, String>;

    /// The same for a value with its type.
    ///
    /// # Errors
    /// Why the response cannot be sent in the wanted form.
    fn value(&self, function: &Function, value: Option<(Value, &Type)>) -> Result<Reply, String>;
}
