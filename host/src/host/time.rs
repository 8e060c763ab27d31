//! The last known time, kept across restarts: setting the clock back while the host is down reopens nothing.
//!
//! Receipts record the time of calls; this file covers times without calls. It is written now and then, and may be lost.

use std::io::Write as _;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};

/// The file in the data directory.
pub const FILE: &str = "clock";

/// A clock this far behind the last known time needs attention.
const BEHIND_MAX: SignedDuration = SignedDuration::from_hours(1);

/// The stored time, if the file holds one.
pub fn kept(data: &Path) -> Option<Result<Timestamp, jiff::Error>> {
    let bytes = std::fs::read(data.join(FILE)).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim().parse())
}

/// Whether a clock at `now` is so far behind the last known time that it needs attention.
pub fn is_behind(now: Timestamp, known: Timestamp) -> bool {
    known.duration_since(now) > BEHIND_MAX
}

/// The stored time, if any.
pub fn read(data: &Path, now: Timestamp) -> Option<Timestamp> {
    let path = data.join(FILE);
    let known = kept(data)?;
    match &known {
        Err(_) => tracing::warn!(
            "the file `{FILE}` in the data directory holds no time, so it is ignored"
        ),
        Ok(known) if is_behind(now, *known) => tracing::error!(
            %known, %now, path = %path.display(),
            "the clock is behind the time that this host knew last, so agreements are held to the later one: set the clock right; if the \
             later one was wrong, stop the host and delete this file"
        ),
        Ok(_) => {}
    }
    known.ok()
}

/// Stores the time.
pub(super) fn keep(data: &Path, now: Timestamp) {
    let write = || {
        let mut file = tempfile::NamedTempFile::new_in(data)?;
        writeln!(file, "{now}")?;
        file.persist(data.join(FILE)).map_err(|error| error.error)
    };
    if let Err(error) = write() {
        tracing::warn!(%error, "the time could not be stored");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_time_is_said_to_be_none() {
        let data = tempfile::tempdir().expect("a folder");
        assert!(kept(data.path()).is_none(), "nothing is kept yet");
        for text in [&b""[..], b"soon", b"\xff\xfe"] {
            std::fs::write(data.path().join(FILE), text).expect("writes");
            assert!(matches!(kept(data.path()), Some(Err(_))), "{text:?}");
        }
        keep(data.path(), Timestamp::UNIX_EPOCH);
        let known = kept(data.path()).and_then(Result::ok);
        assert_eq!(known, Some(Timestamp::UNIX_EPOCH));
    }
}
