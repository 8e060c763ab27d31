//! The index of the file in memory, and how receipts are appended.

use std::collections::VecDeque;

use super::super::tree::{Hash, Tree};
use super::super::{Action, ChainId, Draft, Receipt, record};
use super::queue::Pending;
use hospes_core::id::{ById, CallId, Digest, Party};

/// Latest receipts remembered per party.
const RECENT_MAX: usize = 1000;

/// The index of the file. It takes about 160 bytes per receipt.
#[derive(Default)]
pub(super) struct State {
    pub(super) tree: Tree,
    pub(super) offsets: Vec<u64>,
    pub(super) heads: ById<ChainId, Head>,
    pub(super) recent: ById<Party, VecDeque<u64>>,
    /// The operator's actions in order, each with its place in the log.
    pub(super) actions: Vec<(u64, Action)>,
    action_head: Option<Head>,
    /// The places of a chain's receipts, in order.
    pub(super) chains: ById<ChainId, Vec<u64>>,
    /// The offset of the next record.
    pub(super) end: u64,
    /// Receipts that are being written, and their records. Both are empty between writes, and kept to reuse their memory.
    pub(super) taken: Vec<Pending>,
    pub(super) records: Vec<u8>,
    spelled: Vec<Spelled>,
}

/// A receipt or action about to be written.
struct Spelled {
    what: What,
    leaf: Hash,
    offset: u64,
    /// The previous head of its chain.
    before: Option<Head>,
}

enum What {
    Receipt { call: CallId, caller: Party, publisher: Party, chain: ChainId },
    Action(Box<Action>),
}

/// The head of a chain.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub(super) sequence: u64,
    pub(super) previous: Digest,
}

impl Head {
    const FIRST: Self = Self { sequence: 0, previous: Digest::from_bytes([0; 32]) };
}

impl State {
    pub(super) fn head(&self, chain: &ChainId) -> Head {
        self.heads.get(chain).copied().unwrap_or(Head::FIRST)
    }

    /// The offset of a receipt's record, and its leaf.
    pub(super) fn at(&self, index: u64) -> (u64, Hash) {
        let place = usize::try_from(index).ok();
        let offset = place.and_then(|place| self.offsets.get(place).copied());
        offset.zip(self.tree.leaf(index)).expect("invariant: every indexed receipt is in the log")
    }

    /// Gives the queued receipts and actions their numbers in their chains, and appends their records to the buffer.
    /// [`State::keep_spelled`] then makes them part of the log, or [`State::drop_spelled`] discards them.
    pub(super) fn spell_taken(&mut self) {
        let mut taken = std::mem::take(&mut self.taken);
        let mut offset = self.end;
        for pending in taken.drain(..) {
            let start = self.records.len();
            let (what, leaf, before) = match pending {
                Pending::Receipt(draft) => {
                    let head = self.head(&draft.chain);
                    let receipt = draft.at(head.sequence, head.previous);
                    let leaf = record::append(&mut self.records, |out| receipt.write_to(out));
                    let Draft { call, caller, publisher, chain, .. } = *receipt;
                    let before = self.follow(&receipt, leaf);
                    (What::Receipt { call, caller, publisher, chain }, leaf, before)
                }
                Pending::Action(new) => {
                    let head = self.action_head.unwrap_or(Head::FIRST);
                    let action = new.at(head.sequence, head.previous);
                    let leaf = record::append(&mut self.records, |out| action.write_to(out));
                    let before = self.follow_action(&action, leaf);
                    (What::Action(Box::new(action)), leaf, before)
                }
            };
            self.spelled.push(Spelled { what, leaf, offset, before });
            offset += (self.records.len() - start) as u64;
        }
        self.taken = taken;
    }

    /// Called when the records are in the file.
    pub(super) fn keep_spelled(&mut self) {
        self.end += self.records.len() as u64;
        self.records.clear();
        let mut spelled = std::mem::take(&mut self.spelled);
        for Spelled { what, leaf, offset, .. } in spelled.drain(..) {
            match what {
                What::Receipt { caller, publisher, chain, .. } => {
                    self.place(chain, [caller, publisher], leaf, offset);
                }
                What::Action(action) => self.place_action(*action, leaf, offset),
            }
        }
        self.spelled = spelled;
    }

    /// Called when the records could not be written. Returns the calls that they belong to.
    pub(super) fn drop_spelled(&mut self) -> Vec<CallId> {
        self.records.clear();
        let (heads, action_head) = (&mut self.heads, &mut self.action_head);
        let dropped = self.spelled.drain(..).rev().map(|Spelled { what, before, .. }| match what {
            What::Receipt { call, chain, .. } => {
                match before {
                    Some(head) => heads.insert(chain, head),
                    None => heads.remove(&chain),
                };
                call
            }
            What::Action(action) => {
                *action_head = before;
                action.id
            }
        });
        dropped.collect()
    }

    /// Indexes a receipt that is in the file.
    pub(super) fn enter(&mut self, receipt: &Receipt, leaf: Hash, offset: u64) {
        self.follow(receipt, leaf);
        self.place(receipt.chain, [receipt.caller, receipt.publisher], leaf, offset);
    }

    /// Makes this receipt the head of its chain. Returns the previous head.
    fn follow(&mut self, receipt: &Receipt, leaf: Hash) -> Option<Head> {
        let previous = Digest::from_bytes(leaf);
        self.heads.insert(receipt.chain, Head { sequence: receipt.sequence + 1, previous })
    }

    fn place(&mut self, chain: ChainId, [caller, publisher]: [Party; 2], leaf: Hash, offset: u64) {
        let index = self.tree.size();
        self.chains.entry(chain).or_default().push(index);
        self.tree.push(leaf);
        self.offsets.push(offset);
        self.remember(caller, index);
        if publisher != caller {
            self.remember(publisher, index);
        }
    }

    /// Indexes an action that is in the file.
    pub(super) fn enter_action(&mut self, action: Action, leaf: Hash, offset: u64) {
        self.follow_action(&action, leaf);
        self.place_action(action, leaf, offset);
    }

    /// Makes this action the head of its chain. Returns the previous head.
    fn follow_action(&mut self, action: &Action, leaf: Hash) -> Option<Head> {
        let previous = Digest::from_bytes(leaf);
        self.action_head.replace(Head { sequence: action.sequence + 1, previous })
    }

    fn place_action(&mut self, action: Action, leaf: Hash, offset: u64) {
        let index = self.tree.size();
        self.tree.push(leaf);
        self.offsets.push(offset);
        self.actions.push((index, action));
    }

    /// Whether the entry at this place is an action.
    pub(super) fn is_action(&self, index: u64) -> bool {
        self.actions.binary_search_by_key(&index, |(index, _)| *index).is_ok()
    }

    fn remember(&mut self, party: Party, index: u64) {
        let recent = self.recent.entry(party).or_default();
        if recent.len() == RECENT_MAX {
            recent.pop_front();
        }
        recent.push_back(index);
    }

    /// Why an action does not follow the earlier ones.
    pub(super) fn misplaced_action(&self, action: &Action) -> Option<String> {
        let head = self.action_head.unwrap_or(Head::FIRST);
        let seen = action.sequence;
        let fits = (seen, action.previous) == (head.sequence, head.previous) && seen < u64::MAX;
        (!fits).then(|| format!("action {seen} does not follow the one before it"))
    }

    /// Why a receipt does not follow the earlier ones.
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
