//! Backends run models. All implement one trait, each in a file of its own. No other file uses a backend's crate.

pub mod onnxruntime;
pub mod tract;

mod context;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use context::{Call, Context, Stop};

use super::signature::ModelSignature;
use hospes_core::backend::{BackendKind, Device};
use hospes_core::tensor::Tensor;

/// A backend's properties. A new backend is a kind in `hospes-core`, a row here and a module below.
pub(crate) struct Row {
    pub(crate) kind: BackendKind,
    /// The Open Inference Protocol's `platform` in the metadata of its models.
    pub(crate) platform: &'static str,
    /// Its device: the processor or a GPU.
    pub(crate) device: Device,
    /// Whether it may run trusted publishers' models in the host's process.
    pub(crate) in_host: bool,
    /// Whether it is a native library that the operator provides.
    pub(crate) is_library: bool,
    /// Opens the backend, in any process. Opening it again returns the open one.
    pub(crate) open: fn(&Needs<'_>) -> Result<Arc<dyn Backend>, BackendError>,
    /// The first half of opening, in a worker that can still open files.
    pub(crate) map: fn(&Needs<'_>) -> Result<Begin, BackendError>,
}

/// The backends, in order of preference.
pub(crate) static TABLE: [Row; BackendKind::ALL.len()] = [
    Row {
        kind: BackendKind::Onnxruntime,
        platform: "onnxruntime_onnx",
        device: Device::Cpu,
        in_host: true,
        is_library: true,
        open: onnxruntime::open,
        map: onnxruntime::map,
    },
    Row {
        kind: BackendKind::Tract,
        platform: "tract_onnx",
        device: Device::Cpu,
        in_host: true,
        is_library: false,
        open: tract::open,
        map: tract::map,
    },
];

/// A backend's row.
pub(crate) fn row(kind: BackendKind) -> &'static Row {
    &TABLE[kind as usize]
}

impl Row {
    /// Whether the backend supports this device.
    pub(crate) fn runs_on(&self, device: Device) -> bool {
        device == Device::Any || device == self.device
    }
}

/// What opening a backend requires.
pub(crate) struct Needs<'n> {
    /// Possible paths of ONNX Runtime's library, in order.
    pub(crate) libraries: &'n [PathBuf],
    /// Threads that run one model concurrently.
    pub(crate) threads: NonZeroUsize,
    /// The same with those for newcomers, which are worth a copy of a model's state, but not one of its weights.
    pub(crate) all_threads: NonZeroUsize,
}

/// The second half of opening. It may start threads but does not open files.
pub(crate) type Begin = Box<dyn FnOnce() -> Result<Arc<dyn Backend>, BackendError>>;

/// A publisher's choice. An unavailable device or backend is an error, never a silent fallback.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Placement {
    pub backend: Option<BackendKind>,
    pub device: Device,
}

/// A backend's description, or why it is not usable.
#[derive(Debug, Clone)]
pub struct BackendStatus {
    pub kind: BackendKind,
    pub usable: Result<String, BackendError>,
}

/// Why a backend failed. A native library's message is passed on as one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum BackendError {
    #[error("no library was found; `hospes runtime install onnxruntime` installs one")]
    NoLibrary,
    #[error("{0}")]
    Library(String),
    #[error("{0}")]
    Failed(String),
    #[error("{0}")]
    Unsupported(String),
    /// A defect of the backend: it fails for all inputs.
    #[error("{0}")]
    Defect(String),
    #[error("the backend panicked")]
    Panicked,
}

/// Maximum length of ONNX Runtime's message, in characters. It begins with places in its source and ends with the reason.
const ONNXRUNTIME_CHARS_MAX: usize = 1000;
/// Maximum length of tract's message, in characters. It begins with the reason and ends with a dump of the model.
const TRACT_CHARS_MAX: usize = 300;

/// A library's message as one line of at most so many characters. It may contain names from the model.
fn one_line(message: &str, chars_max: usize) -> String {
    let mut chars = message.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut line: String = chars.by_ref().take(chars_max).collect();
    if chars.next().is_some() {
        line.push('…');
    }
    line
}

/// Loads models.
pub trait Backend: Send + Sync {
    /// The backend's description for operators: the library's path, or that it is built in.
    fn describe(&self) -> String;

    /// Loads an ONNX model. Blocks.
    ///
    /// # Errors
    /// [`BackendError`].
    fn load(&self, source: Source<'_>) -> Result<Box<dyn Model>, BackendError>;
}

/// What a backend loads.
#[derive(Debug)]
pub enum Source<'m> {
    /// A publisher's model.
    Model(&'m [u8]),
    /// The same. The backend also writes it in its optimised form, and the weights as its kernels need them, to the two files of
    /// [`hospes_worker::files`].
    Written(&'m [u8]),
    /// A model in its optimised form, whose weights the backend maps from the file of weights there.
    Mapped { model: &'m [u8], signature: ModelSignature },
}

/// A loaded model.
pub trait Model: Send + Sync {
    fn signature(&self) -> &ModelSignature;

    /// Computes the outputs, in the signature's order. Blocks. `inputs` are in the signature's order, with `None` for an absent optional
    /// one.
    ///
    /// # Errors
    /// [`BackendError`]. A backend that can be stopped returns any error soon after the context's [`Stop`] was triggered.
    fn run(
        &self,
        inputs: &[Option<Tensor>],
        context: &Context<'_>,
    ) -> Result<Vec<Tensor>, BackendError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_backend_has_its_row() {
        for kind in BackendKind::ALL {
            assert_eq!(row(kind).kind, kind);
            assert_ne!(row(kind).device, Device::Any, "a backend knows where it computes");
        }
    }

    #[test]
    fn a_library_s_message_is_one_short_line() {
        assert_eq!(one_line("a\nb\u{1b}[31mc", 20), "a b [31mc");
        assert_eq!(one_line(&"ä".repeat(5000), 300).chars().count(), 301);
    }
}
