//! Beginnings that were computed before: keys and values of whole blocks of tokens, within one scope.
//!
//! A block's key is a hash over its scope, all tokens before it and its own. So a beginning is found only by who computed it, and only if
//! every token is the same.

use std::collections::{BTreeMap, HashMap};

use super::cache::Saved;

/// Tokens of a block.
pub const BLOCK: usize = 32;

type Key = [u8; 32];

/// The blocks. The longest unused ones are forgotten first.
#[derive(Debug)]
pub struct Prefixes {
    bytes_max: usize,
    bytes: usize,
    blocks: HashMap<Key, Entry>,
    /// Keys by the time of their last use.
    used: BTreeMap<u64, Key>,
    now: u64,
}

#[derive(Debug)]
struct Entry {
    saved: Saved,
    used: u64,
}

impl Prefixes {
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: 0, blocks: HashMap::new(), used: BTreeMap::new(), now: 0 }
    }

    /// Gives the blocks that a sequence begins with to `restore`, in order, with the place of each. Returns how many tokens they are.
    pub fn restore(
        &mut self,
        scope: &[u8; 32],
        tokens: &[u32],
        mut restore: impl FnMut(usize, &[f32]),
    ) -> usize {
        let mut found = Vec::new();
        for key in keys(scope, tokens) {
            let Some(entry) = self.blocks.get(&key) else { break };
            restore(found.len() * BLOCK, &entry.saved);
            found.push(key);
        }
        // The first is used last: a chain is forgotten from its end.
        for key in found.iter().rev() {
            self.touch(key);
        }
        found.len() * BLOCK
    }

    /// Remembers the whole blocks of a sequence. `save` gives a block's keys and values.
    pub fn insert(
        &mut self,
        scope: &[u8; 32],
        tokens: &[u32],
        mut save: impl FnMut(std::ops::Range<usize>) -> Saved,
    ) {
        let keys: Vec<Key> = keys(scope, tokens).collect();
        for (block, key) in keys.iter().enumerate() {
            if self.blocks.contains_key(key) {
                continue;
            }
            let saved = save(block * BLOCK..(block + 1) * BLOCK);
            let size = size_of_val(&*saved);
            if size > self.bytes_max {
                return;
            }
            self.bytes += size;
            self.blocks.insert(*key, Entry { saved, used: 0 });
        }
        for key in keys.iter().rev() {
            self.touch(key);
        }
        while self.bytes > self.bytes_max {
            let Some((_, key)) = self.used.pop_first() else { return };
            if let Some(entry) = self.blocks.remove(&key) {
                self.bytes -= size_of_val(&*entry.saved);
            }
        }
    }

    fn touch(&mut self, key: &Key) {
        let Some(entry) = self.blocks.get_mut(key) else { return };
        self.used.remove(&entry.used);
        self.now += 1;
        entry.used = self.now;
        self.used.insert(self.now, *key);
    }
}

/// The keys of a sequence's whole blocks.
fn keys(scope: &[u8; 32], tokens: &[u32]) -> impl Iterator<Item = Key> {
    let mut chain = *scope;
    tokens.chunks_exact(BLOCK).map(move |block| {
        let mut hasher = blake3::Hasher::new_keyed(&chain);
        block.iter().for_each(|token| {
            hasher.update(&token.to_le_bytes());
        });
        chain = *hasher.finalize().as_bytes();
        chain
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: [u8; 32] = [1; 32];
    const OTHER: [u8; 32] = [2; 32];
    /// Numbers of a block, and its bytes.
    const NUMBERS: usize = 8;
    const BYTES: usize = NUMBERS * 4;

    fn tokens(count: u32) -> Vec<u32> {
        (0..count).collect()
    }

    fn insert(prefixes: &mut Prefixes, scope: &[u8; 32], tokens: &[u32]) {
        prefixes.insert(scope, tokens, |block| vec![block.start as f32; NUMBERS].into());
    }

    fn found(prefixes: &mut Prefixes, scope: &[u8; 32], tokens: &[u32]) -> usize {
        prefixes.restore(scope, tokens, |at, saved| assert_eq!(saved, [at as f32; NUMBERS]))
    }

    #[test]
    fn a_beginning_is_found_in_its_scope_only_and_as_far_as_it_is_the_same() {
        let mut prefixes = Prefixes::new(100 * BYTES);
        insert(&mut prefixes, &ONE, &tokens(100));
        assert_eq!(found(&mut prefixes, &ONE, &tokens(100)), 96);
        assert_eq!(found(&mut prefixes, &ONE, &tokens(70)), 64);
        assert_eq!(found(&mut prefixes, &OTHER, &tokens(100)), 0, "of another account");
        let mut other = tokens(100);
        other[40] = 7;
        assert_eq!(found(&mut prefixes, &ONE, &other), 32);
        other[0] = 7;
        assert_eq!(found(&mut prefixes, &ONE, &other), 0);
    }

    #[test]
    fn the_longest_unused_is_forgotten_first_and_from_its_end() {
        let mut prefixes = Prefixes::new(4 * BYTES);
        insert(&mut prefixes, &ONE, &tokens(64));
        insert(&mut prefixes, &OTHER, &tokens(64));
        assert_eq!(found(&mut prefixes, &ONE, &tokens(64)), 64);
        insert(&mut prefixes, &[3; 32], &tokens(32));
        assert_eq!(found(&mut prefixes, &OTHER, &tokens(64)), 32, "its end is gone");
        assert_eq!(found(&mut prefixes, &ONE, &tokens(64)), 64);
        assert_eq!(prefixes.bytes, 4 * BYTES);
        let mut none = Prefixes::new(BYTES - 1);
        insert(&mut none, &ONE, &tokens(64));
        assert_eq!((none.bytes, none.blocks.len()), (0, 0));
    }
}
