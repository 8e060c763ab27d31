//! What is known of the file without reading it, and how receipts are put at its end.

use std::collections::VecDeque;

use super::super::tree::{Hash, Tree};
use super::super::{ChainId, Draft, Receipt, record};
use crate::id::{ById, CallId, Digest, Party};

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
    spelled: Vec<Spelled>,
}

/// A receipt whose record is about to be written.
struct Spelled {
    call: CallId,
    caller: Party,
    publisher: Party,
    leaf: Hash,
    offset: u64,
    chain: ChainId,
    /// Where the chain was before.
    before: Option<Head>,
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

    /// Where the record of a receipt begins, and its leaf.
    pub(super) fn at(&self, index: u64) -> (u64, Hash) {
        let place = usize::try_from(index).ok();
        let offset = place.and_then(|place| self.offsets.get(place).copied());
        offset.zip(self.tree.leaf(index)).expect("invariant: every indexed receipt is in the log")
    }

    /// Gives each receipt that was taken its place in its chain and puts its record behind the others. It is in the log with
    /// [`State::keep_spelled`], and never was with [`State::drop_spelled`].
    pub(super) fn spell_taken(&mut self) {
        let mut taken = std::mem::take(&mut self.taken);
        let mut offset = self.end;
        for draft in taken.drain(..) {
            let head = self.head(&draft.chain);
            let receipt = draft.at(head.sequence, head.previous);
            let start = self.records.len();
            let leaf = record::append(&mut self.records, &receipt);
            let Receipt { call, caller, publisher, chain, .. } = receipt;
            let before = self.follow(&receipt, leaf);
            self.spelled.push(Spelled { call, caller, publisher, leaf, offset, chain, before });
            offset += (self.records.len() - start) as u64;
        }
        self.taken = taken;
    }

    /// The records are in the file.
    pub(super) fn keep_spelled(&mut self) {
        self.end += self.records.len() as u64;
        self.records.clear();
        let mut spelled = std::mem::take(&mut self.spelled);
        for Spelled { caller, publisher, leaf, offset, .. } in spelled.drain(..) {
            self.place(caller, publisher, leaf, offset);
        }
        self.spelled = spelled;
    }

    /// The records are not in the file. Gives back whose they were.
    pub(super) fn drop_spelled(&mut self) -> Vec<CallId> {
        self.records.clear();
        let heads = &mut self.heads;
        let dropped =
            self.spelled.drain(..).rev().map(|Spelled { call, chain, before, .. }| {
                match before {
                    Some(head) => heads.insert(chain, head),
                    None => heads.remove(&chain),
                };
                call
            });
        dropped.collect()
    }

    /// Takes over a receipt that is in the file.
    pub(super) fn enter(&mut self, receipt: &Receipt, leaf: Hash, offset: u64) {
        self.follow(receipt, leaf);
        self.place(receipt.caller, receipt.publisher, leaf, offset);
    }

    /// The chain goes on behind this receipt. Gives back where it was.
    fn follow(&mut self, receipt: &Receipt, leaf: Hash) -> Option<Head> {
        let previous = Digest::from_bytes(leaf);
        self.heads.insert(receipt.chain, Head { sequence: receipt.sequence + 1, previous })
    }

    fn place(&mut self, caller: Party, publisher: Party, leaf: Hash, offset: u64) {
        let index = self.tree.size();
        self.tree.push(leaf);
        self.offsets.push(offset);
        self.remember(caller, index);
        if publisher != caller {
            self.remember(publisher, index);
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
