//! What is known of the file without reading it: places, chains, and what is still to be written.

use std::collections::VecDeque;
use std::task::Waker;

use super::super::tree::{Hash, Tree};
use super::super::{ChainId, Receipt};
use crate::id::{ById, CallId, Digest, Party};

/// Latest receipts of a party that are remembered.
const RECENT_MAX: usize = 1000;

/// What is known of the file. Per receipt some 150 bytes.
#[derive(Default)]
pub(super) struct State {
    pub(super) tree: Tree,
    pub(super) offsets: Vec<u64>,
    pub(super) calls: ById<CallId, u64>,
    pub(super) heads: ById<ChainId, Head>,
    pub(super) recent: ById<Party, VecDeque<u64>>,
    /// Where the next record begins, once those that wait are written.
    pub(super) end: u64,
    /// Records that have their place and are not in the file yet.
    pub(super) pending: Vec<u8>,
    /// Receipts that are in the file: those from here on wait, or were lost when a write failed.
    pub(super) written: u64,
    /// Those who wait for them; the first of them writes.
    pub(super) waiting: Vec<Waker>,
    pub(super) has_writer: bool,
    /// Why nothing is written any more.
    pub(super) stopped: Option<String>,
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

    pub(super) fn wake_all(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }

    /// Takes over a receipt that is in the file, or is about to be.
    pub(super) fn enter(&mut self, receipt: &Receipt, leaf: Hash, offset: u64) {
        let index = self.tree.size();
        self.tree.push(leaf);
        self.offsets.push(offset);
        self.calls.insert(receipt.call, index);
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
        if self.calls.contains_key(&receipt.call) {
            return Some(format!("call `{}` has a receipt already", receipt.call));
        }
        if receipt.sequence == u64::MAX
            || (receipt.sequence, receipt.previous) != (head.sequence, head.previous)
        {
            let (chain, seen) = (&receipt.chain, receipt.sequence);
            return Some(format!("receipt {seen} of {chain} does not follow the one before it"));
        }
        None
    }
}
