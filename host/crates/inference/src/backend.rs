//! What computes models. One trait, one file a backend; backend crates are used nowhere else.

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

/// What the host and its workers know of a backend. A new one is a kind in `hospes-core`, a row here and a module below.
pub(crate) struct Row {
    pub(crate) kind: BackendKind,
    /// What the Open Inference Protocol calls a model that it computes (`platform` of a model's metadata).
    pub(crate) platform: &'static str,
    /// What it computes on: the processor or a GPU.
    pub(crate) device: Device,
    /// Whether it may compute trusted publishers' models in the host's own process.
    pub(crate) in_host: bool,
    /// Whether it is a native library, which the operator brings.
    pub(crate) is_library: bool,
    /// Opens it, in any process. A second time finds it open.
    pub(crate) open: fn(&Needs<'_>) -> Result<Arc<dyn Backend>, BackendError>,
    /// The first half of opening it, in a worker that has its files still.
    pub(crate) map: fn(&Needs<'_>) -> Result<Begin, BackendError>,
}

/// The backends, the one first that is taken where nobody says which.
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
    /// Whether a model that must run there can be computed by it.
    pub(crate) fn runs_on(&self, device: Device) -> bool {
        device == Device::Any || device == self.device
    }
}

/// What a backend needs to be opened.
pub(crate) struct Needs<'n> {
    /// Where ONNX Runtime's library may be, in order.
    pub(crate) libraries: &'n [PathBuf],
    /// Threads that compute one model at once.
    pub(crate) threads: NonZeroUsize,
}

/// The second half of opening a backend, which may start threads and opens no file.
pub(crate) type Begin = Box<dyn FnOnce() -> Result<Arc<dyn Backend>, BackendError>>;

/// What a publisher asks for. A device or backend that is not here is an error, never a silent replacement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Placement {
    pub backend: Option<BackendKind>,
    pub device: Device,
}

/// Whether a backend is usable: what it is, or why not.
#[derive(Debug, Clone)]
pub struct BackendStatus {
    pub kind: BackendKind,
    pub usable: Result<String, BackendError>,
}

/// Why a backend could not do something. The text of native libraries is passed on, in one line.
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
    /// The backend has a defect: it fails whatever values the model is given.
    #[error("{0}")]
    Defect(String),
    #[error("the backend panicked")]
    Panicked,
}

/// Most characters of a library's message that are passed on.
const MESSAGE_CHARS_MAX: usize = 1000;

/// A library's message in one line of bounded length: it may hold whatever names a model has.
fn one_line(message: &str) -> String {
    let mut chars = message.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut line: String = chars.by_ref().take(MESSAGE_CHARS_MAX).collect();
    if chars.next().is_some() {
        line.push('…');
    }
    line
}

/// Loads models.
pub trait Backend: Send + Sync {
    /// What it is, for operators: the library's path, or that it is built in.
    fn describe(&self) -> String;

    /// Loads an ONNX model. Blocks.
    ///
    /// # Errors
    /// [`BackendError`].
    fn load(&self, model: &[u8]) -> Result<Box<dyn Model>, BackendError>;
}

/// A loaded model.
pub trait Model: Send + Sync {
    /// What it takes and gives.
    fn signature(&self) -> &ModelSignature;

    /// Computes the outputs, in the signature's order. Blocks. `inputs` are those of the signature, in its order; none where an optional
    /// one was left out.
    ///
    /// # Errors
    /// [`BackendError`]; any, soon after the context's [`Stop`] was told to stop, if the backend can be.
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
        assert_eq!(one_line("a\nb\u{1b}[31mc"), "a b [31mc");
        assert_eq!(one_line(&"ä".repeat(5000)).chars().count(), MESSAGE_CHARS_MAX + 1);
    }
}
