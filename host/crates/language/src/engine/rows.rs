//! Which sequences have rows, and where.

use super::{Engine, Forward};
use crate::prefix::BLOCK;
use crate::sequence::{Kept, Stage};

/// How far behind, in units of cost, a caller must be to take the row of another that is being computed. Moving it costs about as much.
const TAKE_COST: u64 = 256;

impl<F: Forward> Engine<F> {
    /// Gives rows to sequences that need one, the lowest counter first.
    pub(super) fn admit(&mut self) {
        let wanting = self.sequences.iter().filter(|(_, sequence)| {
            sequence.row().is_none() && matches!(sequence.stage(), Stage::Prefill | Stage::Decode)
        });
        let mut wanting: Vec<(u64, u64, u32)> = wanting
            .map(|(id, sequence)| (self.fair.counter(sequence.caller), sequence.caller, *id))
            .collect();
        wanting.sort_unstable();
        for (_, caller, id) in wanting {
            let Some(row) = self.room(caller) else { return };
            self.enter(id, row);
        }
    }

    /// A row for a caller: a free one, or that of the longest idle, or that of a caller who is far ahead.
    fn room(&mut self, caller: u64) -> Option<usize> {
        if let Some(row) = self.rows.iter().position(Option::is_none) {
            return Some(row);
        }
        let there = || {
            let ids = self.rows.iter().flatten();
            ids.filter_map(|id| self.sequences.get(id).map(|sequence| (*id, sequence)))
        };
        let idle = there()
            .filter(|(_, sequence)| matches!(sequence.stage(), Stage::Idle | Stage::Stalled))
            .min_by_key(|(_, sequence)| sequence.used);
        let ahead = || {
            let most =
                there().max_by_key(|(id, sequence)| (self.fair.counter(sequence.caller), *id));
            most.filter(|(_, other)| self.fair.is_behind(caller, other.caller, TAKE_COST))
        };
        let (id, _) = idle.or_else(ahead)?;
        self.leave(id)
    }

    /// Puts a sequence into a free row.
    fn enter(&mut self, id: u32, row: usize) {
        let Some(sequence) = self.sequences.get_mut(&id) else { return };
        if let Kept::Saved(saved) = std::mem::replace(&mut sequence.kept, Kept::Row(row)) {
            self.saved_bytes -= size_of_val(&*saved);
            self.forward.cache().restore(row, 0, &saved);
        }
        self.rows[row] = Some(id);
    }

    /// Takes a sequence out of its row.
    fn leave(&mut self, id: u32) -> Option<usize> {
        let sequence = self.sequences.get_mut(&id)?;
        let row = sequence.row()?;
        self.rows[row] = None;
        sequence.kept = Kept::Nothing;
        let cache = self.forward.cache();
        let bytes = sequence.computed * cache.shape().token() * size_of::<f32>();
        if sequence.computed > 0 && self.saved_bytes + bytes <= self.settings.saved_bytes_max {
            sequence.kept = Kept::Saved(cache.save(row, 0..sequence.computed));
            self.saved_bytes += bytes;
        } else {
            (sequence.computed, sequence.prefilled, sequence.looked) = (0, 0, false);
        }
        Some(row)
    }

    /// Moves these sequences to the first rows.
    pub(super) fn gather(&mut self, ids: &[u32]) {
        let count = ids.len();
        let is_one = |id: Option<u32>| id.is_some_and(|id| ids.contains(&id));
        for to in 0..count {
            if is_one(self.rows[to]) {
                continue;
            }
            let mut others = count..self.rows.len();
            let Some(from) = others.find(|row| is_one(self.rows[*row])) else { return };
            let computed = |row: usize| {
                let sequence = self.rows[row].and_then(|id| self.sequences.get(&id));
                sequence.map_or(0, |sequence| sequence.computed)
            };
            let (moved, displaced) = (computed(from), computed(to));
            match displaced {
                0 => self.forward.cache().copy(from, to, moved),
                _ => self.forward.cache().swap(from, to, moved.max(displaced)),
            }
            self.rows.swap(from, to);
            for row in [from, to] {
                if let Some(sequence) = self.rows[row].and_then(|id| self.sequences.get_mut(&id)) {
                    sequence.kept = Kept::Row(row);
                }
            }
        }
    }

    /// Looks up the beginning of a sequence that is about to be computed.
    pub(super) fn look_up(&mut self, id: u32) {
        let Some(sequence) = self.sequences.get_mut(&id) else { return };
        let (Some(row), false, Some(scope)) = (sequence.row(), sequence.looked, sequence.scope)
        else {
            return;
        };
        sequence.looked = true;
        // Two tokens are left to compute: a single one would be computed differently.
        let tokens =
            sequence.tokens.get(..sequence.tokens.len().saturating_sub(2)).unwrap_or_default();
        let (computed, cache) = (sequence.computed, self.forward.cache());
        // What was generated is not replaced: it was computed differently.
        if sequence.prefilled < computed {
            return;
        }
        let found = self.prefixes.restore(&scope, tokens, |at, saved| {
            if at + BLOCK > computed {
                cache.restore(row, at, saved);
            }
        });
        if found > computed {
            sequence.cached += found - computed;
            (sequence.computed, sequence.prefilled) = (found, found);
        }
    }

    /// Remembers the beginning of a sequence in a row.
    pub(super) fn remember(&mut self, id: u32, row: usize) {
        let Some(sequence) = self.sequences.get(&id) else { return };
        let Some(scope) = sequence.scope else { return };
        let tokens = sequence.tokens.get(..sequence.prefilled).unwrap_or_default();
        let cache = self.forward.cache();
        self.prefixes.insert(&scope, tokens, |block| cache.save(row, block));
    }
}
