//! What a host and an inference worker say to each other. Version 4.
//!
//! Two connections, each of packets in [postcard](https://postcard.jamesmunns.com/wire-format)'s encoding. On the one that steers, the host sends [`Order`]s
//! and the worker [`Report`]s; on the one of work, the host sends [`Job`]s, which the worker's threads take as they are free, and the
//! worker answers each with one [`Done`], also what it skips. Tensors are not in the messages: they lie in the windows of the shared memory
//! ([`Layout`]), one after the other, as their [`Head`]s say.
//!
//! The worker answers with `Ready` to `Setup`, with `Loaded` or `NotLoaded` to `Load`, and has no answer of its own to
//! `Cancel`: a job that runs ends earlier, if it can, and the `Done` of one that has not begun comes at once. Whoever gets a message that does not belong here ends the connection, and the worker its process.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Caller;
use super::backend::{BackendError, Call};
use super::signature::ModelSignature;
use hospes_core::backend::BackendKind;
use hospes_core::id::CallId;
use hospes_core::tensor::{DataType, Tensor};
use hospes_worker::{Confinement, Limits};

/// Both sides must have the same.
pub const VERSION: u32 = 4;

/// Bytes at whose multiples tensors begin, so that every type of element is aligned.
const ALIGNMENT: usize = 64;

/// Room in a window for what alignment wastes.
const SLACK_BYTES: usize = 64 << 10;

/// Longest time until a call's deadline that is read: any longer one is none.
const LEFT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// From the host, to steer.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// The first message, with the shared memory.
    Setup(Setup),
    /// Loads a model from the file that comes with it.
    Load { model: u32, backend: BackendKind, bytes: u64 },
    /// Forgets a model; what computes with it ends first.
    Unload { model: u32 },
    /// Ends a job of this window if it has begun, and skips it otherwise. It was sent before.
    Cancel { job: u64, window: u32 },
}

/// How a worker is to work.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Setup {
    pub version: u32,
    pub threads: u32,
    pub layout: Layout,
    pub limits: Limits,
    /// Where ONNX Runtime's library may be, in order.
    pub libraries: Vec<PathBuf>,
}

/// To the host, about the worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum Report {
    Ready { version: u32, backends: Vec<Offered>, confinement: Confinement },
    Loaded { model: u32, signature: ModelSignature },
    NotLoaded { model: u32, error: BackendError },
}

/// A backend that the worker has, or why not.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Offered {
    pub kind: BackendKind,
    pub usable: Result<String, BackendError>,
}

/// A computation. Its inputs are in the window already, its outputs go there.
#[derive(Debug, Serialize, Deserialize)]
pub struct Job {
    pub job: u64,
    pub model: u32,
    pub window: u32,
    pub call: JobCall,
    /// Those of the model's signature; none where an optional one was left out.
    pub inputs: Vec<Option<Head>>,
}

/// The call that a job is part of, as its backend is told ([`Call`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobCall {
    pub id: Option<[u8; 16]>,
    /// A number that only tells accounts apart.
    pub account: u64,
    /// Nanoseconds until nobody waits for it any more, when the job was sent: the two processes share no instants.
    pub left_nanos: u64,
}

impl JobCall {
    /// A call as it is sent now.
    pub fn of(call: &Call) -> Self {
        let left = call.deadline.saturating_duration_since(Instant::now());
        Self {
            id: call.id.map(|id| *id.as_bytes()),
            account: call.caller.number,
            left_nanos: u64::try_from(left.as_nanos()).unwrap_or(u64::MAX),
        }
    }

    /// The call, where it has just been received.
    pub fn received(self) -> Call {
        let left = Duration::from_nanos(self.left_nanos).min(LEFT_MAX);
        let id = self.id.map(CallId::from_bytes);
        Call { id, caller: Caller::new(self.account), deadline: Instant::now() + left }
    }
}

/// What became of a job.
#[derive(Debug, Serialize, Deserialize)]
pub struct Done {
    pub job: u64,
    /// Time that it computed, in nanoseconds.
    pub nanos: u64,
    pub result: Result<Vec<Head>, JobError>,
}

/// Why a job has no outputs.
#[derive(Debug, Serialize, Deserialize)]
pub enum JobError {
    Backend(BackendError),
    /// The outputs are larger than the window.
    TooLarge {
        bytes: u64,
    },
    Cancelled,
    /// The host named something that is not there.
    Unknown,
}

/// A tensor in a window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub data_type: DataType,
    pub shape: Vec<usize>,
    pub bytes: usize,
}

impl Head {
    pub fn of(tensor: &Tensor) -> Self {
        Self {
            data_type: tensor.data_type(),
            shape: tensor.shape().to_vec(),
            bytes: tensor.data().len(),
        }
    }
}

/// Where things are in the shared memory: for each window a part for inputs and one for outputs, and behind all windows a byte
/// for each that says whether its job has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    pub windows: u32,
    /// Bytes of the part for inputs, and of the part for outputs.
    pub part_bytes: usize,
}

impl Layout {
    /// Windows for tensors of `tensor_bytes_max` bytes.
    pub fn new(windows: u32, tensor_bytes_max: usize) -> Self {
        let part = tensor_bytes_max.saturating_add(SLACK_BYTES).next_multiple_of(SLACK_BYTES);
        Self { windows, part_bytes: part }
    }

    /// Bytes of all of it; none if they cannot be counted.
    pub fn bytes(&self) -> Option<usize> {
        let windows = usize::try_from(self.windows).ok()?;
        self.part_bytes.checked_mul(2)?.checked_mul(windows)?.checked_add(windows)
    }

    /// Where a window's inputs begin.
    pub fn inputs(&self, window: u32) -> usize {
        self.part_bytes.saturating_mul(2).saturating_mul(window as usize)
    }

    /// Where a window's outputs begin.
    pub fn outputs(&self, window: u32) -> usize {
        self.inputs(window).saturating_add(self.part_bytes)
    }

    /// Where the byte is that says whether a window's job has begun.
    pub fn mark(&self, window: u32) -> usize {
        self.inputs(self.windows).saturating_add(window as usize)
    }

    /// Where in its part each of some tensors lies; none if they do not fit.
    pub fn places<'h>(&self, heads: impl IntoIterator<Item = &'h Head>) -> Option<Vec<usize>> {
        let mut at = 0_usize;
        let heads = heads.into_iter();
        let mut places = Vec::with_capacity(heads.size_hint().0);
        for head in heads {
            places.push(at);
            let end = at.checked_add(head.bytes).filter(|end| *end <= self.part_bytes)?;
            at = end.checked_next_multiple_of(ALIGNMENT)?;
        }
        Some(places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(bytes: usize) -> Head {
        Head { data_type: DataType::U8, shape: vec![bytes], bytes }
    }

    #[test]
    fn a_call_s_deadline_is_as_far_away_where_it_is_received() {
        let left = Duration::from_secs(5);
        let id = Some(CallId::from_bytes([7; 16]));
        let call = Call { id, caller: Caller::new(3), deadline: Instant::now() + left };
        let received = JobCall::of(&call).received();
        assert_eq!((received.id, received.caller), (call.id, call.caller));
        assert!(received.deadline >= call.deadline);
        assert!(received.deadline < call.deadline + left, "the message took no seconds");
        let late = JobCall::of(&Call::of_nobody(Instant::now()));
        assert_eq!((late.id, late.left_nanos), (None, 0));
        let far = JobCall { left_nanos: u64::MAX, ..late }.received();
        assert!(far.deadline <= Instant::now() + LEFT_MAX, "nothing overflows");
    }

    #[test]
    fn tensors_are_aligned_and_stay_within_their_part() {
        let layout = Layout::new(2, 1000);
        let heads = [head(1), head(64), head(900)];
        assert_eq!(layout.places(&heads), Some(vec![0, 64, 128]));
        assert_eq!(layout.places(&[head(layout.part_bytes)]), Some(vec![0]));
        assert_eq!(layout.places(&[head(layout.part_bytes + 1)]), None);
        assert_eq!(layout.places(&[head(usize::MAX), head(usize::MAX)]), None);
        assert_eq!(layout.outputs(1), 3 * layout.part_bytes);
        assert_eq!(layout.mark(1) + 1, layout.bytes().expect("countable"));
        assert_eq!(Layout { windows: u32::MAX, part_bytes: usize::MAX }.bytes(), None);
    }
}
