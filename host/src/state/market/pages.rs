//! Pages of the market as everybody sees them: made once, and again when something has changed.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use crate::id::Digest;
use crate::state::deployments::Document;

/// Bytes of compressed pages that are kept.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// Pages that are kept.
const KEPT_MAX: usize = 64;

/// Which page: the offer before it, and how many offers it has at most.
pub type Which = (Option<Digest>, usize);

/// What a page was made from: it changes whenever the page could.
pub type Stamp = [u64; 3];

/// Pages, all of the same time.
#[derive(Default)]
pub struct Pages(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    stamp: Stamp,
    pages: HashMap<Which, Document>,
    bytes: usize,
}

impl Pages {
    /// The page as it was made from what is there now, if it was.
    pub fn find(&self, which: &Which, stamp: Stamp) -> Option<Document> {
        let kept = self.lock();
        kept.pages.get(which).filter(|_| kept.stamp == stamp).cloned()
    }

    /// Keeps a page, and forgets those that were made from something older, or all when there is no room. What was made from something
    /// older than those is not kept.
    pub fn keep(&self, which: Which, stamp: Stamp, page: &Document) {
        let bytes = page.kept_bytes();
        let mut kept = self.lock();
        // Each part only grows: one that is smaller is from before.
        if kept.stamp.iter().zip(&stamp).any(|(kept, made)| kept > made) {
            return;
        }
        let is_full = kept.pages.len() >= KEPT_MAX || kept.bytes + bytes > KEPT_BYTES_MAX;
        if kept.stamp != stamp || is_full {
            *kept = Kept { stamp, ..Kept::default() };
        }
        if bytes <= KEPT_BYTES_MAX && kept.pages.insert(which, page.clone()).is_none() {
            kept.bytes += bytes;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_of_one_time_and_bounded() {
        let pages = Pages::default();
        let page = Document::new(b"{}");
        pages.keep((None, 1), [1, 0, 0], &page);
        assert!(pages.find(&(None, 1), [1, 0, 0]).is_some());
        assert!(pages.find(&(None, 2), [1, 0, 0]).is_none());
        assert!(pages.find(&(None, 1), [2, 0, 0]).is_none(), "something has changed");
        pages.keep((None, 2), [2, 0, 0], &page);
        assert!(pages.find(&(None, 1), [2, 0, 0]).is_none());
        pages.keep((None, 3), [1, 0, 9], &page);
        assert!(pages.find(&(None, 3), [1, 0, 9]).is_none(), "it comes too late");
        assert!(pages.find(&(None, 2), [2, 0, 0]).is_some());
        for limit in 0..3 * KEPT_MAX {
            pages.keep((None, limit), [2, 0, 0], &page);
            assert!(pages.lock().pages.len() <= KEPT_MAX);
        }
        assert!(pages.find(&(None, 3 * KEPT_MAX - 1), [2, 0, 0]).is_some());
    }
}
