//! Finds what a log that was restored from a backup has lost, as far as there is evidence.
//!
//! The surprise: a host that was restored several times has lost the end of several logs. These may begin at different places or at the same
//! place. Evidence of one lost log says nothing about the others, so the entries must lead to the signed roots.

use std::collections::BTreeMap;

use super::Log;
use crate::{Known, ReceiptError};

impl Log {
    /// Whether the log has lost entries that a checkpoint of it signs.
    ///
    /// # Errors
    /// [`ReceiptError::OtherLog`].
    pub fn has_lost(&self, checkpoint: &str) -> Result<bool, ReceiptError> {
        match self.check_holds(checkpoint) {
            Ok(()) => Ok(false),
            Err(ReceiptError::RolledBack { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Whether the log has the entry of this evidence.
    pub fn has(&self, known: &Known) -> bool {
        let state = self.shared.state();
        known.place().is_some_and(|(index, hash)| state.tree.leaf(index) == Some(*hash.as_bytes()))
    }

    /// The place at which the loss begins, if the evidence in `lost` is complete. For each checkpoint there must be a place in `restored` such
    /// that the log up to it, followed by the given entries alone, has the signed root. `None` if an entry is missing, or if entries of
    /// several lost logs have the same place.
    pub fn all_lost_from(&self, lost: &[Known], restored: &[u64]) -> Option<u64> {
        let mut entries = BTreeMap::new();
        for (index, hash) in lost.iter().filter(|known| !self.has(known)).filter_map(Known::place) {
            if entries.insert(index, hash).is_some_and(|other| other != hash) {
                return None;
            }
        }
        let beginnings: Vec<_> = {
            let state = self.shared.state();
            let places = restored.iter().filter(|place| entries.contains_key(place));
            places.filter_map(|place| Some((*place, state.tree.beginning(*place)?))).collect()
        };
        let mut roots = BTreeMap::new();
        for (place, mut tree) in beginnings {
            let shown = (place..).map_while(|index| entries.get(&index));
            roots.extend(shown.map(|hash| (tree.push(*hash.as_bytes()), place)));
        }
        let from = lost.iter().map(|known| roots.get(&(known.size(), known.root())).copied());
        from.collect::<Option<Vec<_>>>()?.into_iter().min()
    }
}
