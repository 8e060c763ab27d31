//! Records in a file. Each receipt has a header and a final byte, which distinguish an interrupted write from damage.
//!
//! A record contains the receipt's length and the length's complement (2 bytes each, little-endian), 8 bytes of the leaf's hash, the receipt,
//! and a line feed. After a crash, the last record can be too short, or followed by zeros from the file system. It was never released as
//! durable, so it is cut off. Any other mismatch is damage, and is never skipped.

use std::fs::File;
use std::io::{self, BufReader, Read as _};

use super::RECEIPT_BYTES_MAX;
use super::tree::{self, Hash, LEAF_PREFIX};

/// The beginning of the file.
pub(super) const MAGIC: &[u8] = b"hospes-receipts-2\n";

pub(super) const HEADER_BYTES: usize = 12;
const END: u8 = b'\n';

/// Why no more records can be read.
pub(super) enum Broken {
    Read(io::Error),
    /// The last record, which begins at this offset, is incomplete.
    Torn(u64),
    Damaged {
        offset: u64,
        reason: String,
    },
}

/// One checked record.
pub(super) struct Record {
    pub offset: u64,
    pub leaf: Hash,
    pub bytes: Vec<u8>,
}

/// Reads records in order.
pub(super) struct Records<'a> {
    file: BufReader<&'a File>,
    offset: u64,
    length: u64,
}

/// Appends a record with the bytes that `write` produces, and returns its leaf.
pub(super) fn append(records: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> Hash {
    let begin = records.len();
    // The last byte of the header serves as the leaf's prefix until the header is filled in.
    records.extend_from_slice(&[LEAF_PREFIX; HEADER_BYTES]);
    write(records);
    let leaf = tree::leaf_behind_prefix(&records[begin + HEADER_BYTES - 1..]);
    let (header, bytes) = records[begin..].split_at_mut(HEADER_BYTES);
    let length = u16::try_from(bytes.len());
    let length = length.expect("invariant: drafts that could be longer are refused");
    header[..2].copy_from_slice(&length.to_le_bytes());
    header[2..4].copy_from_slice(&(!length).to_le_bytes());
    header[4..].copy_from_slice(&leaf[..8]);
    records.push(END);
    leaf
}

/// The length of the receipt after a header; `None` if the header is incomplete.
pub(super) fn length_in(header: &[u8; HEADER_BYTES]) -> Option<usize> {
    let [a, b, c, d, ..] = *header;
    let length = u16::from_le_bytes([a, b]);
    let fits = (1..=RECEIPT_BYTES_MAX).contains(&usize::from(length));
    (u16::from_le_bytes([c, d]) == !length && fits).then_some(usize::from(length))
}

/// The leaf of a receipt, if header, receipt and end match. `rest` is what follows the header.
pub(super) fn check(header: &[u8; HEADER_BYTES], rest: &[u8]) -> Option<Hash> {
    let (end, bytes) = rest.split_last()?;
    let leaf = tree::leaf(bytes);
    (*end == END && header[4..] == leaf[..8]).then_some(leaf)
}

impl<'a> Records<'a> {
    /// The records of `file`, which is `length` bytes long and positioned after its [`MAGIC`].
    pub fn new(file: &'a File, length: u64) -> Self {
        Self { file: BufReader::new(file), offset: MAGIC.len() as u64, length }
    }

    /// The next record; `None` at the end of the file.
    pub fn next(&mut self) -> Result<Option<Record>, Broken> {
        let offset = self.offset;
        let left = self.length.saturating_sub(offset);
        if left == 0 {
            return Ok(None);
        }
        if left < HEADER_BYTES as u64 {
            return Err(Broken::Torn(offset));
        }
        let mut header = [0; HEADER_BYTES];
        self.file.read_exact(&mut header).map_err(Broken::Read)?;
        let Some(length) = length_in(&header) else {
            let torn = header[4..].iter().all(|byte| *byte == 0);
            return Err(self.broken(torn, "a record's length is cut off"));
        };
        let whole = HEADER_BYTES + length + 1;
        if left < whole as u64 {
            return Err(Broken::Torn(offset));
        }
        let mut bytes = vec![0; length + 1];
        self.file.read_exact(&mut bytes).map_err(Broken::Read)?;
        let Some(leaf) = check(&header, &bytes) else {
            let torn = bytes.last() == Some(&0);
            return Err(self.broken(torn, "a record does not match its checksum"));
        };
        bytes.pop();
        self.offset += whole as u64;
        Ok(Some(Record { offset, leaf, bytes }))
    }

    /// The error for a record that does not match. It is incomplete if it ends in zeros and only zeros follow.
    fn broken(&mut self, ends_in_zeros: bool, reason: &str) -> Broken {
        let offset = self.offset;
        match ends_in_zeros.then(|| self.only_zeros_follow()) {
            Some(Ok(true)) => Broken::Torn(offset),
            Some(Ok(false)) | None => Broken::Damaged { offset, reason: reason.to_owned() },
            Some(Err(error)) => Broken::Read(error),
        }
    }

    fn only_zeros_follow(&mut self) -> io::Result<bool> {
        let mut chunk = [0; 4096];
        loop {
            match self.file.read(&mut chunk)? {
                0 => return Ok(true),
                count if chunk.iter().take(count).any(|byte| *byte != 0) => return Ok(false),
                _ => {}
            }
        }
    }
}
