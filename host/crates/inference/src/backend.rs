//! What computes models. One trait, one file a backend; backend crates are used nowhere else.

pub mod onnxruntime;
pub mod tract;

use std::fmt;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::signature::ModelSignature;
use hospes_core::tensor::Tensor;

/// A backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BackendKind {
    Onnxruntime,
    Tract,
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BackendKind::Onnxruntime => "onnxruntime",
            BackendKind::Tract => "tract",
        })
    }
}

/// Where a model must run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Device {
    Cpu,
    Gpu,
    /// The publisher does not mind.
    #[default]
    Any,
}

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
    #[error("no library was found; `hospes runtime install onnxruntime` brings one")]
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
    /// Which one it is.
    fn kind(&self) -> BackendKind;

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
    /// [`BackendError`]; any, soon after `stop` was told to stop, if the backend can be.
    fn run(&self, inputs: &[Option<Tensor>], stop: &Stop) -> Result<Vec<Tensor>, BackendError>;
}

/// Ends a computation from another thread, by the backend's own means.
#[derive(Default)]
pub struct Stop(Mutex<Stopping>);

#[derive(Default)]
enum Stopping {
    /// The backend has not said how.
    #[default]
    Unarmed,
    Armed(Box<dyn Fn() + Send>),
    Stopped,
}

impl Stop {
    /// How the computation can be ended. Called at once if it was to stop already.
    pub fn on_stop(&self, end: impl Fn() + Send + 'static) {
        let mut stopping = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*stopping, Stopping::Stopped) {
            drop(stopping);
            end();
        } else {
            *stopping = Stopping::Armed(Box::new(end));
        }
    }

    /// Ends the computation, now or when it has said how.
    pub fn stop(&self) {
        let mut stopping = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Stopping::Armed(end) = std::mem::replace(&mut *stopping, Stopping::Stopped) {
            drop(stopping);
            end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_s_message_is_one_short_line() {
        assert_eq!(one_line("a\nb\u{1b}[31mc"), "a b [31mc");
        assert_eq!(one_line(&"ä".repeat(5000)).chars().count(), MESSAGE_CHARS_MAX + 1);
    }
}
