//! What a model says of itself: the names of its classes, and how its columns code texts (`hospes train` writes both), and the backend that
//! computes it best (`hospes optimize`).

use bytes::Bytes;
use hospes_core::backend::BackendKind;
use hospes_onnx::Model;
use serde::{Deserialize, Serialize};

/// The metadata with a JSON list of texts: the classes in the order of the scores.
const CLASSES: &str = "hospes.classes";

/// The metadata with a JSON list of columns, in the order of the input.
const COLUMNS: &str = "hospes.columns";

/// The metadata with the name of a backend.
pub const BACKEND_METADATA: &str = "hospes.backend";

/// What a model says of itself. Empty if it says nothing that can be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// The classes, in the order of the scores.
    pub classes: Vec<String>,
    /// The columns, in the order of the input.
    pub columns: Vec<ToldColumn>,
    /// The backend that computes it best.
    pub backend: Option<BackendKind>,
}

/// A column of a model's input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldColumn {
    pub name: String,
    /// The texts that it may have: the model takes the place of one, from 0. Empty if it is a number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<String>,
}

impl Told {
    /// What a model in memory says.
    pub(super) fn of(model: &Model) -> Self {
        let backend = model.metadata(BACKEND_METADATA).and_then(BackendKind::named);
        Self { classes: list(model, CLASSES), columns: list(model, COLUMNS), backend }
    }

    /// What the bytes of a model say.
    pub(super) fn of_bytes(bytes: &Bytes) -> Self {
        Model::read(bytes.clone()).map(|model| Self::of(&model)).unwrap_or_default()
    }

    /// Whether it says nothing of its numbers.
    pub fn is_empty(&self) -> bool {
        self.classes.is_empty() && self.columns.is_empty()
    }
}

fn list<T: for<'de> Deserialize<'de>>(model: &Model, key: &str) -> Vec<T> {
    let text = model.names(key).unwrap_or_default();
    serde_json::from_str(text).unwrap_or_default()
}
