//! A training between two epochs, in a file that is there whole or not at all.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use hospes_core::id::Digest;
use hospes_training::Event;
use serde::{Deserialize, Serialize};

/// All that the next epoch needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    pub head: Head,
    /// Weights, then what the rule remembers of them, then the best weights so far if there are any.
    pub numbers: Vec<Vec<f32>>,
}

/// The part that is text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// The digest of the settings and the data. A checkpoint of another training is refused.
    pub of: Digest,
    /// Epochs that are done.
    pub epochs: u32,
    pub events: Vec<Event>,
    /// The least loss on held-out rows, and how many epochs ago it was.
    pub best: Option<(f64, u32)>,
    lengths: Vec<usize>,
}

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("cannot use the checkpoint `{}`", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the checkpoint `{}` is damaged: start anew without `--resume`", path.display())]
    Damaged { path: PathBuf },
    #[error("the checkpoint `{}` is of other settings or other data: change them back, or start anew without `--resume`", path.display())]
    Other { path: PathBuf },
}

impl Head {
    pub fn new(of: Digest) -> Self {
        Self { of, epochs: 0, events: Vec::new(), best: None, lengths: Vec::new() }
    }
}

impl Checkpoint {
    /// The checkpoint of a training; `None` if there is no file.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn read(path: &Path, of: Digest) -> Result<Option<Self>, CheckpointError> {
        let failed = |source| CheckpointError::File { path: path.to_owned(), source };
        let damaged = || CheckpointError::Damaged { path: path.to_owned() };
        let mut bytes = Vec::new();
        match File::open(path) {
            Ok(mut file) => file.read_to_end(&mut bytes).map_err(failed)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(damaged)?;
        let head: Head = serde_json::from_slice(&bytes[..end]).map_err(|_| damaged())?;
        if head.of != of {
            return Err(CheckpointError::Other { path: path.to_owned() });
        }
        let (cells, rest) = bytes[end + 1..].as_chunks::<4>();
        let mut all = cells.iter().map(|cell| f32::from_le_bytes(*cell));
        let wanted = head.lengths.iter().copied().fold(0, usize::saturating_add);
        if !rest.is_empty() || wanted != cells.len() {
            return Err(damaged());
        }
        let numbers =
            head.lengths.iter().map(|length| all.by_ref().take(*length).collect()).collect();
        Ok(Some(Self { head, numbers }))
    }

    /// Writes it beside the old one, then in its place.
    ///
    /// # Errors
    /// [`CheckpointError::File`].
    pub fn write(mut self, path: &Path) -> Result<(), CheckpointError> {
        let failed = |source| CheckpointError::File { path: path.to_owned(), source };
        self.head.lengths = self.numbers.iter().map(Vec::len).collect();
        let mut bytes =
            serde_json::to_vec(&self.head).expect("invariant: numbers are finite, names are text");
        bytes.push(b'\n');
        for numbers in &self.numbers {
            bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        }
        let new = path.with_extension("new");
        let mut file = File::create(&new).map_err(failed)?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(failed)?;
        std::fs::rename(&new, path).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_read_as_it_was_written_and_others_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("c");
        let of = Digest::of(b"one");
        assert_eq!(Checkpoint::read(&path, of).expect("none"), None);
        let head = Head { epochs: 2, best: Some((0.1, 1)), ..Head::new(of) };
        let made = Checkpoint { head, numbers: vec![vec![1.0, f32::NAN], vec![], vec![-0.0]] };
        made.write(&path).expect("written");
        let read = Checkpoint::read(&path, of).expect("valid").expect("there");
        assert_eq!((read.head.epochs, read.head.best), (2, Some((0.1, 1))));
        assert_eq!(read.numbers[2][0].to_bits(), (-0.0_f32).to_bits());
        let other = Checkpoint::read(&path, Digest::of(b"two"));
        assert!(matches!(other, Err(CheckpointError::Other { .. })));
        let bytes = std::fs::read(&path).expect("there");
        for cut in [0, 10, bytes.len() - 1, bytes.len() - 4] {
            std::fs::write(&path, &bytes[..cut]).expect("written");
            assert!(
                matches!(Checkpoint::read(&path, of), Err(CheckpointError::Damaged { .. })),
                "{cut}"
            );
        }
    }
}
