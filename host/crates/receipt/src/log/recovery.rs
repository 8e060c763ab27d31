//! Recovery of a stopped log when the disk accepts writes again.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::super::record;
use super::queue::Cure;
use super::state::State;
use super::{Shared, unpoisoned};

impl Shared {
    /// Accepts calls again, if that is possible now.
    pub(super) fn recover(&self) {
        let _nothing_is_synced = unpoisoned(self.flushing.lock());
        let state = self.state();
        let Some(cure) = self.queue().cure() else {
            if self.reserve.is_low() {
                self.reserve.keep(&self.file, state.end);
            }
            return;
        };
        let mended = match cure {
            Cure::Cut => self.file.set_len(state.end),
            Cure::WriteAgain => self.write_again(&state),
            Cure::Restart => return,
        };
        match mended {
            Ok(()) if self.reserve.renew(&self.file, state.end) => {
                self.queue().resume();
                tracing::info!("receipts are written again");
            }
            Ok(()) => {}
            Err(error) => tracing::warn!(%error, "receipts cannot be written yet"),
        }
    }

    /// Rewrites in place what was not synced, and syncs it.
    fn write_again(&self, state: &State) -> io::Result<()> {
        // The log's own file handle can only append.
        let file = File::options().write(true).open(&self.path)?;
        for index in self.signed().size..state.tree.size() {
            let (offset, wanted) = state.at(index);
            let (header, bytes) = self.read_record(offset)?;
            if record::check(&header, &bytes) != Some(wanted) {
                return Err(io::Error::other("a receipt is not the one that was written"));
            }
            file.write_all_at(&[&header[..], &bytes].concat(), offset)?;
        }
        file.sync_data()
    }
}
