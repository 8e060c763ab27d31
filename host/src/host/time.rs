//! The time that was present last, kept over a restart: a clock that is set back while the host is down reopens nothing either.
//!
//! Receipts say the same of calls; this file says it of times without calls. It is written now and then, and its loss is no error.

use std::io::Write as _;
use std::path::Path;

use jiff::Timestamp;

/// The file in the data directory.
const FILE: &str = "clock";

/// The time that is kept, if one is.
pub(super) fn read(data: &Path) -> Option<Timestamp> {
    let text = std::fs::read_to_string(data.join(FILE)).ok()?;
    let known = text.trim().parse();
    if known.is_err() {
        tracing::warn!(
            "the file `{FILE}` in the data directory holds no time, so it is passed over"
        );
    }
    known.ok()
}

/// Keeps the time.
pub(super) fn keep(data: &Path, now: Timestamp) {
    let write = || {
        let mut file = tempfile::NamedTempFile::new_in(data)?;
        writeln!(file, "{now}")?;
        file.persist(data.join(FILE)).map_err(|error| error.error)
    };
    if let Err(error) = write() {
        tracing::warn!(%error, "the time could not be kept");
    }
}
