//! The protocol between a host and an inference worker. Version 6.
//!
//! There are two connections. Messages are packets in [postcard](https://postcard.jamesmunns.com/wire-format) encoding.
//!
//! - Control connection: the host sends [`Order`]s, the worker sends [`Report`]s.
//! - Work connection: the host sends [`Job`]s, and free threads of the worker take them. The worker answers each job with one [`Done`], even
//!   if it skips the job.
//!
//! Messages do not contain tensors. Tensors are in the windows of the shared memory ([`Layout`]), one after the other, as their [`Head`]s
//! describe.
//!
//! The worker answers `Setup` with `Ready`, and `Load` with `Loaded` or `NotLoaded`. It does not answer `Cancel` itself: a running job ends
//! early if it can, and a job that has not begun gets its `Done` at once. On an unexpected message, the receiver closes the connection. A
//! worker then exits.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Caller;
use super::backend::{BackendError, Call};
use super::signature::ModelSignature;
use hospes_core::backend::BackendKind;
use hospes_core::id::CallId;
use hospes_core::tensor::{DataType, Tensor};
use hospes_worker::files::Name;
use hospes_worker::{Confinement, Limits};

/// Host and worker must have the same version.
pub const VERSION: u32 = 6;

/// Alignment of tensors in bytes: enough for every element type.
const ALIGNMENT: usize = 64;

/// Extra bytes in a part of a window for the padding between tensors.
const SLACK_BYTES: usize = 64 << 10;

/// Maximum time until a call's deadline. Longer times are cut to this.
const LEFT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A control message from the host.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// The first message. The file of the shared memory comes with it.
    Setup(Setup),
    /// Loads a model from the file that comes with this message.
    Load { model: u32, backend: BackendKind, bytes: u64, form: Form },
    /// Gives the backend's library the file that comes with this message, by this name.
    Offer { name: Name },
    /// Unloads a model after its running jobs have ended.
    Unload { model: u32 },
    /// Stops a job that was sent before, in this window. If it has not begun, the worker skips it.
    Cancel { job: u64, window: u32 },
    /// A job in a window for newcomers.
    First(Job),
}

/// What a model's file contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Form {
    /// A publisher's model.
    Model,
    /// The same. The backend also writes it in its optimised form to the files that were offered.
    Written,
    /// The weights that the backend maps, and after so many bytes the model's signature and its optimised form.
    Mapped { weights_bytes: u64 },
}

/// A worker's settings.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Setup {
    pub version: u32,
    /// Threads for the jobs of the work connection. There is one more for each window for newcomers.
    pub threads: u32,
    pub layout: Layout,
    pub limits: Limits,
    /// Possible paths of ONNX Runtime's library, in order.
    pub libraries: Vec<PathBuf>,
}

/// A control message from the worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum Report {
    Ready { version: u32, backends: Vec<Offered>, confinement: Confinement },
    Loaded { model: u32, signature: ModelSignature },
    NotLoaded { model: u32, error: BackendError },
}

/// A backend's description, or why the worker cannot use it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Offered {
    pub kind: BackendKind,
    pub usable: Result<String, BackendError>,
}

/// A computation. The host has written its inputs to the window; the worker writes its outputs there.
#[derive(Debug, Serialize, Deserialize)]
pub struct Job {
    pub job: u64,
    pub model: u32,
    pub window: u32,
    pub call: JobCall,
    /// In the order of the model's signature. `None` for an absent optional input.
    pub inputs: Vec<Option<Head>>,
}

/// The call that a job is part of: [`Call`] as it is sent to the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobCall {
    pub id: Option<[u8; 16]>,
    /// An opaque number that tells accounts apart.
    pub account: u64,
    /// Nanoseconds from sending the job to the call's deadline. An `Instant` cannot be sent to another process.
    pub left_nanos: u64,
}

impl JobCall {
    /// The message for a call that is sent now.
    pub fn of(call: &Call) -> Self {
        let left = call.deadline.saturating_duration_since(Instant::now());
        Self {
            id: call.id.map(|id| *id.as_bytes()),
            account: call.caller.number,
            left_nanos: u64::try_from(left.as_nanos()).unwrap_or(u64::MAX),
        }
    }

    /// The call of a message that was received now.
    pub fn received(self) -> Call {
        let left = Duration::from_nanos(self.left_nanos).min(LEFT_MAX);
        let id = self.id.map(CallId::from_bytes);
        Call { id, caller: Caller::new(self.account), ..Call::of_nobody(Instant::now() + left) }
    }
}

/// The result of a job.
#[derive(Debug, Serialize, Deserialize)]
pub struct Done {
    pub job: u64,
    /// Computing time, in nanoseconds.
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
    /// The model or window does not exist.
    Unknown,
}

/// The description of a tensor in a window.
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

/// The layout of the shared memory. Each window has a part for inputs and a part for outputs. After all windows comes one byte for each
/// window, which says whether its job has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// All windows.
    pub windows: u32,
    /// How many of them, the last ones, are for newcomers.
    pub newcomers: u32,
    /// Size in bytes of each of the two parts of a window.
    pub part_bytes: usize,
}

impl Layout {
    /// Windows for tensors of `tensor_bytes_max` bytes.
    pub fn new(windows: u32, tensor_bytes_max: usize) -> Self {
        let part = tensor_bytes_max.saturating_add(SLACK_BYTES).next_multiple_of(SLACK_BYTES);
        Self { windows, newcomers: 0, part_bytes: part }
    }

    /// The same with so many more windows, for newcomers.
    #[must_use]
    pub fn and_for_newcomers(self, count: u32) -> Self {
        Self { windows: self.windows.saturating_add(count), newcomers: count, ..self }
    }

    /// The number of the first window for newcomers.
    pub fn first(&self) -> u32 {
        self.windows.saturating_sub(self.newcomers)
    }

    /// Total size in bytes; `None` on overflow.
    pub fn bytes(&self) -> Option<usize> {
        let windows = usize::try_from(self.windows).ok()?;
        self.part_bytes.checked_mul(2)?.checked_mul(windows)?.checked_add(windows)
    }

    /// The offset of a window's inputs.
    pub fn inputs(&self, window: u32) -> usize {
        self.part_bytes.saturating_mul(2).saturating_mul(window as usize)
    }

    /// The offset of a window's outputs.
    pub fn outputs(&self, window: u32) -> usize {
        self.inputs(window).saturating_add(self.part_bytes)
    }

    /// The offset of the byte that says whether a window's job has begun.
    pub fn mark(&self, window: u32) -> usize {
        self.inputs(self.windows).saturating_add(window as usize)
    }

    /// The offset of each tensor in its part; `None` if they do not fit.
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
        let call = Call::of_nobody(Instant::now() + left);
        let call = Call { id, caller: Caller::new(3), ..call };
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
        assert_eq!(
            Layout { windows: u32::MAX, newcomers: 0, part_bytes: usize::MAX }.bytes(),
            None
        );
    }
}
