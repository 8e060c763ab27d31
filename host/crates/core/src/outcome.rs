//! The outcome of a call, shared by the sandbox, the output controls, the receipts and the fronts.

use std::time::Duration;

use crate::tensor::Tensor;
use crate::value::Value;

/// What a guest returned, or how it failed, and what it used either way.
#[derive(Debug)]
pub struct Outcome<T> {
    pub result: Result<T, GuestFailure>,
    pub used: Used,
    /// What had already been sent when the call failed: the beginning of a stream.
    pub released: bytes::Bytes,
}

/// A guest's result, unchanged.
#[derive(Debug)]
pub enum Answer {
    /// The function's result. For a `result`, the payload of `ok`.
    Value(Option<Value>),
    /// The payload of `err`, if the function returns a `result`: the plugin's own, typed error.
    Refusal(Option<Value>),
    /// Named output tensors of `hospes:plugin/inference`.
    Tensors(Vec<(String, Tensor)>),
    /// A stream, whose elements have been sent.
    Streamed,
}

/// A guest's result, serialised and cleared for release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Json(Vec<u8>),
    /// The payload of `err`.
    RefusalJson(Vec<u8>),
    Octets(bytes::Bytes),
    /// In the format of the caller's protocol. The first `head` bytes describe the rest, if there are two parts.
    Encoded {
        bytes: bytes::Bytes,
        head: Option<usize>,
    },
    /// A finished stream: all of it, and the part that the caller does not have yet.
    Streamed {
        bytes: bytes::Bytes,
        rest: bytes::Bytes,
    },
}

impl Reply {
    /// The bytes for the caller, as the receipt commits to them.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Reply::Json(bytes) | Reply::RefusalJson(bytes) => bytes,
            Reply::Octets(bytes) | Reply::Encoded { bytes, .. } | Reply::Streamed { bytes, .. } => {
                bytes
            }
        }
    }
}

/// The payload of `err`, in JSON.
pub struct RefusalJson(pub Vec<u8>);

impl Reply {
    /// The bytes, unless the plugin returned an error.
    ///
    /// # Errors
    /// The plugin's error.
    pub fn into_answer(self) -> Result<bytes::Bytes, RefusalJson> {
        match self {
            Reply::Json(bytes) => Ok(bytes.into()),
            Reply::RefusalJson(bytes) => Err(RefusalJson(bytes)),
            Reply::Octets(bytes) | Reply::Encoded { bytes, .. } | Reply::Streamed { bytes, .. } => {
                Ok(bytes)
            }
        }
    }

    /// The bytes that the caller does not have yet, unless the plugin returned an error.
    ///
    /// # Errors
    /// The plugin's error.
    pub fn into_rest(self) -> Result<bytes::Bytes, RefusalJson> {
        match self {
            Reply::Streamed { rest, .. } => Ok(rest),
            whole => whole.into_answer(),
        }
    }
}

/// What a call used, as measured by the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// From the start to the end of the guest's code.
    pub wall: Duration,
    /// Peak memory of the guest, in bytes.
    pub memory_bytes: u64,
    /// Tokens of language models.
    pub spoken: Spoken,
}

/// The tokens that a call's sequences have taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spoken {
    pub prompt: u64,
    /// Of the prompt's, those that were in the cache.
    pub cached: u64,
    pub completion: u64,
}

/// How a guest failed. This is data, not an error of the host: the call ran and is metered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GuestFailure {
    #[error("the plugin trapped: {reason}")]
    Trap { reason: String },
    #[error("the plugin did not end within {} ms", allowed.as_millis())]
    Deadline { allowed: Duration },
    #[error("the plugin needed more than the {max} bytes of memory allowed")]
    MemoryLimit { max: usize },
    #[error(
        "the plugin needed memory that is not free: all calls together have {max} bytes, and one account a part of them (`admission.memory_bytes_max`); try again shortly"
    )]
    HostMemory { max: usize },
    #[error("the plugin needed a table of more than {max} elements")]
    TableLimit { max: usize },
    #[error("the plugin used up its stack: it recurses too deeply")]
    StackOverflow,
    #[error("the plugin held more than {max} handles to host resources at once")]
    HandleLimit { max: usize },
    #[error("{reason}")]
    TensorLimit { reason: String },
    #[error("the plugin passed more than {max} bytes to the host in one call")]
    HostcallLimit { max: usize },
    #[error("the plugin computed for longer than the {} ms that the agreement allows", allowed.as_millis())]
    CpuTime { allowed: Duration },
    #[error("the request is larger than the {max} bytes allowed, headers included")]
    InputTooLarge { max: u64 },
    #[error("{reason}")]
    InputTooSlow { reason: String },
    #[error("the request could not be stored: {reason}")]
    InputUnkept { reason: String },
    /// What still runs then has a second to end in order.
    #[error("the caller disconnected before the response ended")]
    Disconnected,
    #[error(
        "the caller did not read the response, or read it too slowly (`api.body_bytes_per_second_min`)"
    )]
    Unread,
    #[error("the agreement was suspended or ended while the call ran")]
    Stopped,
    #[error("the agreement does not allow what the plugin did: {reason}")]
    Terms { reason: String },
    #[error("the agreement's output controls cannot be applied to the response: {reason}")]
    OutputUncontrolled { reason: String },
    #[error("the response is {bytes} bytes, more than the {max} that {limit} allows")]
    OutputTooLarge { bytes: u64, max: u64, limit: OutputLimit },
    #[error("the response cannot be sent in the requested form: {reason}")]
    OutputUnsendable { reason: String },
    #[error("{reason}")]
    ComputationLost { reason: String },
    #[error("{reason}")]
    ComputationPaused { reason: String, wait: Duration },
}

impl GuestFailure {
    /// The same without anything from the guest. If an agreement controls output, a failure's numbers and texts are a covert channel too.
    #[must_use]
    pub fn without_details(self) -> Self {
        match self {
            GuestFailure::Trap { .. } => {
                GuestFailure::Trap { reason: "details are withheld".into() }
            }
            GuestFailure::TensorLimit { .. } => {
                GuestFailure::TensorLimit { reason: "the call's tensors are too large".into() }
            }
            GuestFailure::OutputTooLarge { max, limit, .. } => {
                GuestFailure::OutputTooLarge { bytes: max.saturating_add(1), max, limit }
            }
            GuestFailure::Terms { .. } => {
                GuestFailure::Terms { reason: "details are withheld".into() }
            }
            GuestFailure::ComputationLost { .. } => {
                GuestFailure::ComputationLost { reason: "the computation was lost".into() }
            }
            GuestFailure::ComputationPaused { wait, .. } => GuestFailure::ComputationPaused {
                reason: "the model is not computed for a while".into(),
                wait,
            },
            GuestFailure::Deadline { .. }
            | GuestFailure::MemoryLimit { .. }
            | GuestFailure::HostMemory { .. }
            | GuestFailure::TableLimit { .. }
            | GuestFailure::StackOverflow
            | GuestFailure::HandleLimit { .. }
            | GuestFailure::HostcallLimit { .. }
            | GuestFailure::CpuTime { .. }
            | GuestFailure::InputTooLarge { .. }
            | GuestFailure::InputTooSlow { .. }
            | GuestFailure::InputUnkept { .. }
            | GuestFailure::Disconnected
            | GuestFailure::Unread
            | GuestFailure::Stopped
            | GuestFailure::OutputUncontrolled { .. }
            | GuestFailure::OutputUnsendable { .. } => self,
        }
    }

    /// A stable name, for receipts and metrics.
    pub const fn code(&self) -> &'static str {
        match self {
            GuestFailure::Trap { .. } => "trap",
            GuestFailure::Deadline { .. } => "deadline",
            GuestFailure::MemoryLimit { .. } => "memory-limit",
            GuestFailure::HostMemory { .. } => "host-memory",
            GuestFailure::TableLimit { .. } => "table-limit",
            GuestFailure::StackOverflow => "stack-overflow",
            GuestFailure::HandleLimit { .. } => "handle-limit",
            GuestFailure::TensorLimit { .. } => "tensor-limit",
            GuestFailure::HostcallLimit { .. } => "hostcall-limit",
            GuestFailure::CpuTime { .. } => "cpu-time",
            GuestFailure::InputTooLarge { .. } => "input-too-large",
            GuestFailure::InputTooSlow { .. } => "input-too-slow",
            GuestFailure::InputUnkept { .. } => "input-unkept",
            GuestFailure::Disconnected => "disconnected",
            GuestFailure::Unread => "unread",
            GuestFailure::Stopped => "stopped",
            GuestFailure::Terms { .. } => "terms",
            GuestFailure::OutputUncontrolled { .. } => "output-uncontrolled",
            GuestFailure::OutputTooLarge { .. } => "output-too-large",
            GuestFailure::OutputUnsendable { .. } => "output-unsendable",
            GuestFailure::ComputationLost { .. } => "computation-lost",
            GuestFailure::ComputationPaused { .. } => "computation-paused",
        }
    }
}

/// Which limit bounds the size of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputLimit {
    /// The agreement's `hospes:outputBytes`.
    Agreement,
    /// The host's `api.response_bytes_max`.
    Host,
}

impl std::fmt::Display for OutputLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            OutputLimit::Agreement => "the agreement",
            OutputLimit::Host => "`api.response_bytes_max`",
        })
    }
}
