//! A version's machine-readable description, stored compressed because versions are many and documents long.
//!
//! A document is a JSON object. Its first members depend on the caller (the host's public URL) and are added uncompressed: a gzip file may
//! mix compressed and uncompressed blocks (RFC 1951 section 3.2.4).

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use bytes::Bytes;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

use super::Deployment;
use crate::id::Digest;

/// Writes a version's document; `None` if it would exceed the number of bytes in the second argument.
pub type Describe = fn(&Deployment, usize) -> Option<Document>;

/// The beginning of a document sent unchanged.
pub const PLAIN: &str = "{";

/// A gzip header without a name or a time (RFC 1952 section 2.3).
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// Maximum size of an uncompressed block, in bytes.
const BLOCK_BYTES_MAX: usize = 0xffff;

/// A document. Clones share the data.
#[derive(Debug, Clone)]
pub struct Document {
    /// The compressed text after the opening brace.
    members: Bytes,
    /// Checksum and length of that text.
    crc: Arc<Crc>,
    length: usize,
    digest: Digest,
}

impl Document {
    /// Compresses `text`, a JSON object.
    pub fn new(text: &[u8]) -> Self {
        let members = text.strip_prefix(PLAIN.as_bytes());
        let members = members.expect("invariant: documents that the host writes are objects");
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        let written = encoder.write_all(members).and_then(|()| encoder.finish());
        let written = written.expect("invariant: writing to memory cannot fail");
        let mut crc = Crc::new();
        crc.update(members);
        let (crc, length) = (Arc::new(crc), members.len());
        Self { members: written.into(), crc, length, digest: Digest::of(text) }
    }

    /// As gzip, with `head` in place of the opening brace. Nothing is compressed for that.
    pub fn gzip(&self, head: &str) -> Bytes {
        let room = GZIP_HEADER.len() + head.len() + self.members.len() + 64;
        let mut file = Vec::with_capacity(room);
        file.extend_from_slice(&GZIP_HEADER);
        let mut crc = Crc::new();
        for block in head.as_bytes().chunks(BLOCK_BYTES_MAX) {
            let length = u16::try_from(block.len()).expect("invariant: a block is no longer");
            file.push(0); // not the last block, uncompressed
            file.extend_from_slice(&length.to_le_bytes());
            file.extend_from_slice(&(!length).to_le_bytes());
            file.extend_from_slice(block);
            crc.update(block);
        }
        crc.combine(&self.crc);
        file.extend_from_slice(&self.members);
        file.extend_from_slice(&crc.sum().to_le_bytes());
        file.extend_from_slice(&crc.amount().to_le_bytes());
        file.into()
    }

    /// Its stored size, in bytes.
    pub fn kept_bytes(&self) -> usize {
        self.members.len()
    }

    /// The text's size, in bytes.
    pub fn length(&self) -> usize {
        PLAIN.len() + self.length
    }

    /// The entity tag of the text with `head` in place of its opening brace: it changes when either does.
    pub fn tag(&self, head: &str) -> Digest {
        match head {
            PLAIN => self.digest,
            head => Digest::of(format!("{}{head}", self.digest).as_bytes()),
        }
    }

    /// The text with `head` in place of its opening brace.
    pub fn text(&self, head: &str) -> Bytes {
        let mut text = Vec::with_capacity(head.len() + self.length);
        text.extend_from_slice(head.as_bytes());
        let read = DeflateDecoder::new(self.members.as_ref()).read_to_end(&mut text);
        read.expect("invariant: what was compressed here is read here");
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn what_is_kept_is_what_was_written_behind_any_head() {
        let text = format!("{{\"a\":\"{}\"}}", "text ".repeat(10_000));
        let document = Document::new(text.as_bytes());
        assert_eq!(document.length(), text.len());
        let long = format!("{{\"servers\":\"{}\",", "x".repeat(3 * BLOCK_BYTES_MAX));
        for head in [PLAIN, "{\"servers\":[{\"url\":\"https://models.example\"}],", &long] {
            let wanted = format!("{head}{}", &text[1..]);
            assert_eq!(document.text(head), wanted.as_bytes());
            let mut read = String::new();
            let file = document.gzip(head);
            GzDecoder::new(file.as_ref()).read_to_string(&mut read).expect("a gzip file");
            assert_eq!(read, wanted);
            assert!(file.len() < head.len() + text.len() / 50 + 100, "{}", file.len());
        }
        assert_eq!(document.tag(PLAIN), Digest::of(text.as_bytes()));
        assert_ne!(document.tag(PLAIN), document.tag(&long));
    }
}
