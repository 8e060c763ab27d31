//! Finding receipts in the log.

use super::*;

impl Log {
    /// The receipt of a call.
    ///
    /// # Errors
    /// [`ReceiptError::Read`], or [`ReceiptError::Damaged`] if the file has changed since it was opened.
    pub fn find(&self, call: &CallId) -> Result<Option<Receipt>, ReceiptError> {
        let index = self.shared.place(call);
        index.map(|index| self.shared.read(index)).transpose()
    }

    /// The latest receipts of a party as caller or publisher, newest first: at most `limit`, and at most 1000.
    ///
    /// # Errors
    /// As [`Log::find`].
    pub fn recent(&self, party: &Party, limit: usize) -> Result<Vec<Receipt>, ReceiptError> {
        self.recent_places(party).into_iter().take(limit).map(|index| self.at(index)).collect()
    }

    /// The places of a party's latest receipts, newest first; at most 1000.
    pub fn recent_places(&self, party: &Party) -> Vec<u64> {
        let written = self.shared.written();
        let state = self.shared.state();
        let indices = state.recent.get(party).into_iter().flatten().rev().copied();
        indices.filter(|index| *index < written).collect()
    }

    /// At most `limit` receipts under an agreement, newest first. With `before`, only those older than that call.
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

    /// The place of a call's receipt, if it is in the log.
    pub fn place_of(&self, call: &CallId) -> Option<u64> {
        self.shared.place(call)
    }

    /// The receipt at a place that this log has returned.
    ///
    /// # Errors
    /// As [`Log::find`].
    pub fn at(&self, index: u64) -> Result<Receipt, ReceiptError> {
        self.shared.read(index)
    }
}
