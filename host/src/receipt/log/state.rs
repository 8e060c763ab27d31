//! What is known of the file without reading it, and how receipts are put at its end.

use std::collections::VecDeque;

use super::super::tree::{Hash, Tree};
use super::super::{ChainId, Draft, Receipt, record};
use crate::id::{ById, Digest, Party};

/// Latest receipts of a party that are remembered.
const RECENT_MAX: usize = 1000;

/// What is known of the file. Per receipt some 150 bytes.
#[derive(Default)]
pub(super) struct State {
    pub(super) tree: Tree,
    pub(super) offsets: Vec<u64>,
    pub(super) heads: ById<ChainId, Head>,
    pub(super) recent: ById<Party, VecDeque<u64>>,
    /// Where the next record begins.
    pub(super) end: u64,
    /// Receipts that are being written, and their records. Empty between writes; kept for their room.
    pub(super) taken: Vec<Draft>,
    pub(super) records: Vec<u8>,
}

/// Where a chain goes on.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub(super) sequence: u64,
    pub(super) previous: Digest,
}

impl State {
    pub(super) fn head(&self, chain: &ChainId) -> Head {
        let first = Head { sequence: 0, previous: Digest::from_bytes([0; 32]) };
        self.heads.get(chain).copied().unwrap_or(first)
    }

    /// Gives each receipt that was taken its place in its chain and puts its record behind the others.
    pub(super) fn spell_taken(&mut self) {
        let mut taken = std::mem::take(&mut self.taken);
        for draft in taken.drain(..) {
            let head = self.head(&draft.chain);
            let receipt = draft.at(head.sequence, head.previous);
            let before = self.records.len();
            let leaf = record::append(&mut self.records, &receipt);
            let offset = self.end;
            self.end += (self.records.len() - before) as u64;
            self.enter(&receipt, leaf, offset);
        }
        self.taken = taken;
    }

    /// Takes over a receipt that is in the file, or is about to be.
    pub(super) fn enter(&mut self, receipt: &Receipt, leaf: Hash, offset: u64) {
        let index = self.tree.size();
        self.tree.push(leaf);
        self.offsets.push(offset);
        let previous = Digest::from_bytes(leaf);
        let next = Head { sequence: receipt.sequence + 1, previous };
        self.heads.insert(receipt.chain, next);
        self.remember(receipt.caller, index);
        if receipt.publisher != receipt.caller {
            self.remember(receipt.publisher, index);
        }
    }

    fn remember(&mut self, party: Party, index: u64) {
        let recent = self.recent.entry(party).or_default();
        if recent.len() == RECENT_MAX {
            recent.pop_front();
        }
        recent.push_back(index);
    }

    /// Why a receipt that was read does not follow those before it.
    pub(super) fn misplaced(&self, receipt: &Receipt) -> Option<String> {
        let head = self.head(&receipt.chain);
        if receipt.sequence == u64::MAX
            || (receipt.sequence, receipt.previous) != (head.sequence, head.previous)
        {
            let (chain, seen) = (&receipt.chain, receipt.sequence);
            return Some(format!("receipt {seen} of {chain} does not follow the one before it"));
        }
        None
    }
}
