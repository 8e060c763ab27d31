//! What describes a version to programs, in the form in which it is kept: compressed, for versions are many and documents are long.

use std::io::{Read as _, Write as _};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use super::Deployment;
use crate::id::Digest;

/// Writes the document of a version; none if it would have more bytes than the second argument says.
pub type Describe = fn(&Deployment, usize) -> Option<Document>;

/// A document.
#[derive(Debug)]
pub struct Document {
    gzip: Bytes,
    length: usize,
    digest: Digest,
}

impl Document {
    /// Keeps `text`.
    pub fn new(text: &[u8]) -> Self {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let written = encoder.write_all(text).and_then(|()| encoder.finish());
        let gzip = written.expect("invariant: writing to memory cannot fail");
        Self { gzip: gzip.into(), length: text.len(), digest: Digest::of(text) }
    }

    /// As gzip has it. Nothing is copied.
    pub fn gzip(&self) -> Bytes {
        self.gzip.clone()
    }

    /// Bytes of the text.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Of the text: it changes when the text does.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The text.
    pub fn text(&self) -> Bytes {
        let mut text = Vec::with_capacity(self.length);
        let read = GzDecoder::new(self.gzip.as_ref()).read_to_end(&mut text);
        read.expect("invariant: what was compressed here is read here");
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_what_was_written() {
        let text = "text ".repeat(10_000);
        let document = Document::new(text.as_bytes());
        assert_eq!(document.text(), text.as_bytes());
        assert_eq!(document.length(), text.len());
        assert!(document.gzip().len() < text.len() / 50, "{}", document.gzip().len());
    }
}
