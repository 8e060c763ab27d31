//! How much may be made of a file, whatever its size: a few bytes can stand for many nodes.

use super::error::{ConvertError, refused, unsupported};
use super::trees::TREE_NODES_MAX;

/// Maximum numbers, texts, lists and objects of an XGBoost file. In memory each takes 32 bytes or more; a node of a tree has about 12.
pub const VALUES_MAX: usize = 100_000_000;

/// What a reader may make.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    values_max: usize,
    nodes_max: usize,
    nodes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self::of(VALUES_MAX, TREE_NODES_MAX)
    }
}

impl Budget {
    pub(crate) fn of(values_max: usize, nodes_max: usize) -> Self {
        Self { values_max, nodes_max, nodes: 0 }
    }

    /// Maximum values of a document.
    pub(crate) fn values_max(&self) -> usize {
        self.values_max
    }

    /// The refusal of a document with more.
    pub(crate) fn too_many_values(&self, what: &str) -> ConvertError {
        let what = format!("{what} has more than {} values", self.values_max);
        refused(what, "train one with fewer or smaller trees")
    }

    /// Counts nodes, of all trees together, before they are made.
    ///
    /// # Errors
    /// [`ConvertError::Unsupported`] if there are too many.
    pub(crate) fn nodes(&mut self, count: usize) -> Result<(), ConvertError> {
        self.nodes = self.nodes.saturating_add(count);
        if self.nodes > self.nodes_max {
            let max = self.nodes_max;
            let what = format!("an ensemble of more than {max} nodes");
            let fix = "train one with fewer or smaller trees, or fewer categories";
            return Err(unsupported(what, "all trees", fix));
        }
        Ok(())
    }
}

/// At most how many values a JSON text has, without reading it: each but the first comes after one of these bytes.
pub(crate) fn json_values(text: &[u8]) -> usize {
    1 + text.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{' | b':')).count()
}
