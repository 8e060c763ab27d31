//! Receipts that are in the log, found again.

use super::*;

impl Log {
    /// The receipt of a call.
    ///
    /// # Errors
    /// [`ReceiptError::Read`], [`ReceiptError::Damaged`] if the file has changed since it was opened.
    pub fn find(&self, call: &CallId) -> Result<Option<Receipt>, ReceiptError> {
        let index = self.shared.place(call);
        index.map(|index| self.shared.read(index)).transpose()
    }

    /// The latest receipts of a party, as caller or as publisher, the newest first: `limit` at most, and 1000 at most.
    ///
    /// # Errors
    /// As [`Log::find`].
    pub fn recent(&self, party: &Party, limit: usize) -> Result<Vec<Receipt>, ReceiptError> {
        self.recent_places(party).into_iter().take(limit).map(|index| self.at(index)).collect()
    }

    /// Where the latest receipts of a party are in the log, the newest first; 1000 at most.
    pub fn recent_places(&self, party: &Party) -> Vec<u64> {
        let written = self.shared.written();
        let state = self.shared.state();
        let indices = state.recent.get(party).into_iter().flatten().rev().copied();
        indices.filter(|index| *index < written).collect()
    }

    /// The receipts under an agreement, the newest first, `limit` at most: all of them, or those before the one of call `before`.
    ///
    /// # Errors
    /// [`ReceiptError::NotFound`] if call `before` is not one of them; as [`Log::find`].
    pub fn under(
        &self,
        agreement: &Digest,
        before: Option<&CallId>,
        limit: usize,
    ) -> Result<Vec<Receipt>, ReceiptError> {
        let written = match before {
            None => self.shared.written(),
            Some(call) => self.place_of(call).ok_or(ReceiptError::NotFound(*call))?,
        };
        let indices: Vec<u64> = {
            let state = self.shared.state();
            let all = state.chains.get(&ChainId::Agreement(*agreement));
            let all = all.map_or(&[][..], Vec::as_slice);
            let end = all.partition_point(|index| *index < written);
            if let Some(call) = before
                && all.get(end) != Some(&written)
            {
                return Err(ReceiptError::NotFound(*call));
            }
            all[..end].iter().rev().take(limit).copied().collect()
        };
        indices.into_iter().map(|index| self.at(index)).collect()
    }

    /// Where the receipt of a call is in the log, if it is.
    pub fn place_of(&self, call: &CallId) -> Option<u64> {
        self.shared.place(call)
    }

    /// The receipt at a place that this log has named.
    ///
    /// # Errors
    /// As [`Log::find`].
    pub fn at(&self, index: u64) -> Result<Receipt, ReceiptError> {
        self.shared.read(index)
    }
}
