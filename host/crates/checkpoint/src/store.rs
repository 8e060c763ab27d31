//! A checkpoint that is understood: settings, texts, and where each weight lies.

use std::collections::BTreeMap;

use hospes_decoder::{Config, Part, Shape};

use super::element::Element;
use super::error::CheckpointError;
use super::source::Source;

/// A language model as others store it. Its weights are still where they were.
pub struct Checkpoint {
    pub(super) config: Config,
    pub(super) tokenizer: String,
    pub(super) template: Option<String>,
    pub(super) told: Told,
    pub(super) sources: Vec<Box<dyn Source>>,
    /// By the names that [`Part`]s have.
    pub(super) entries: BTreeMap<String, Entry>,
    /// What people should know, one line each.
    pub(super) notes: Vec<String>,
}

/// What a checkpoint says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    pub name: Option<String>,
    /// As an SPDX expression, as far as the author kept to it.
    pub licence: Option<String>,
    pub languages: Vec<String>,
    pub tags: Vec<String>,
    /// Its kind and its size, in a few words.
    pub summary: String,
}

/// A tensor's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its file.
    pub(super) source: usize,
    pub(super) offset: u64,
    pub(super) element: Element,
    /// The outermost size first; at most two.
    pub(super) shape: Vec<u64>,
    /// The size of a head, if each head's rows are interleaved.
    pub(super) interleaved: Option<u32>,
}

impl Entry {
    pub(super) fn columns(&self) -> u64 {
        self.shape.last().copied().unwrap_or(1)
    }

    /// What it takes in its file; `None` if no file has so many.
    pub(super) fn bytes(&self) -> Option<u64> {
        let rows =
            self.shape.iter().rev().skip(1).try_fold(1_u64, |all, one| all.checked_mul(*one))?;
        self.element.row_bytes(self.columns())?.checked_mul(rows)
    }

    /// Where in its file a row is that the decoder has at `row`. In GGUF files of Llama, the two halves of a head alternate.
    pub(super) fn place(&self, row: usize) -> usize {
        let Some(size) = self.interleaved.map(|size| size as usize) else { return row };
        let (head, within) = (row / size, row % size);
        let (half, pair) = (within / (size / 2), within % (size / 2));
        head * size + pair * 2 + half
    }
}

impl Checkpoint {
    /// Its settings, as a decoder has them.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The text of its `tokenizer.json`.
    pub fn tokenizer(&self) -> &str {
        &self.tokenizer
    }

    /// Its chat template, in Jinja.
    pub fn template(&self) -> Option<&str> {
        self.template.as_deref()
    }

    /// What it says about itself.
    pub fn told(&self) -> &Told {
        &self.told
    }

    /// What people should know, one line each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What its weights take.
    pub fn weights_bytes(&self) -> u64 {
        self.entries.values().filter_map(Entry::bytes).sum()
    }

    /// Checks that its tensors are exactly those that its settings demand.
    pub(super) fn check(&self) -> Result<(), CheckpointError> {
        self.config.check()?;
        let parts = hospes_decoder::parts(&self.config);
        for part in &parts {
            let found = &self.entry(part)?.shape;
            let wanted = match part.shape {
                Shape::Matrix { rows, columns } => vec![rows.into(), columns.into()],
                Shape::Vector(size) => vec![u64::from(size)],
            };
            if *found != wanted {
                let (name, found) = (part.name.clone(), found.clone());
                return Err(CheckpointError::Shape { name, found, wanted });
            }
        }
        let known: std::collections::BTreeSet<&str> =
            parts.iter().map(|part| part.name.as_str()).collect();
        match self.entries.keys().find(|name| !known.contains(name.as_str())) {
            Some(name) => Err(CheckpointError::UnknownTensor { name: name.clone() }),
            None => Ok(()),
        }
    }

    pub(super) fn entry(&self, part: &Part) -> Result<&Entry, CheckpointError> {
        let missing = || CheckpointError::NoTensor { name: part.name.clone() };
        self.entries.get(&part.name).ok_or_else(missing)
    }

    /// A tensor's bytes, as they are in its file.
    pub(super) fn read(&self, entry: &Entry) -> Result<Vec<u8>, CheckpointError> {
        // Readers have compared it with the file's size.
        let size = entry.bytes().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or_default();
        let mut bytes = vec![0; size];
        if let Some(source) = self.sources.get(entry.source) {
            source.fill(entry.offset, &mut bytes).map_err(CheckpointError::Read)?;
        }
        Ok(bytes)
    }
}
