//! Places for workers. Their number is limited, and no publisher can take all of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hospes_admission::may_take_more;
use hospes_core::id::AccountName;

/// The places.
#[derive(Debug)]
pub(super) struct Seats(Mutex<State>);

#[derive(Debug)]
struct State {
    free: usize,
    /// Places per publisher.
    taken: HashMap<AccountName, usize>,
}

/// A place for one worker. Dropping it frees the place.
#[must_use]
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    publisher: AccountName,
}

impl Seats {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { free: most, taken: HashMap::new() })))
    }

    /// A free place, if the publisher has fewer than three times as many places as are free.
    pub(super) fn take(self: &Arc<Self>, publisher: &AccountName) -> Option<Seat> {
        let mut state = self.state();
        if !state.has_for(publisher) {
            return None;
        }
        state.free -= 1;
        state.enter(publisher);
        Some(Seat { seats: Arc::clone(self), publisher: publisher.clone() })
    }

    /// Whether there is a free place that the publisher may take.
    pub(super) fn has_for(&self, publisher: &AccountName) -> bool {
        self.state().has_for(publisher)
    }

    /// Whether `publisher` may take a place of `other`: if both are the same, or `other` has more places.
    pub(super) fn gives(&self, other: &AccountName, publisher: &AccountName) -> bool {
        let state = self.state();
        let of = |name| state.taken.get(name).copied().unwrap_or(0);
        other == publisher || of(other) > of(publisher)
    }

    /// Nothing panics while holding this lock.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.state().free
    }
}

impl State {
    fn has_for(&self, publisher: &AccountName) -> bool {
        let own = self.taken.get(publisher).copied().unwrap_or(0);
        may_take_more(own, self.free)
    }

    fn enter(&mut self, publisher: &AccountName) {
        *self.taken.entry(publisher.clone()).or_default() += 1;
    }

    fn leave(&mut self, publisher: &AccountName) {
        let Some(count) = self.taken.get_mut(publisher) else { return };
        *count -= 1;
        if *count == 0 {
            self.taken.remove(publisher);
        }
    }
}

impl Seat {
    /// Transfers the place to another publisher.
    pub(super) fn pass_to(mut self, publisher: &AccountName) -> Self {
        let mut state = self.seats.state();
        state.leave(&self.publisher);
        state.enter(publisher);
        drop(state);
        self.publisher = publisher.clone();
        self
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.seats.state();
        state.free += 1;
        state.leave(&self.publisher);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publisher_leaves_places_to_others_and_gives_them_back() {
        let (acme, zoe, yan) = ("acme", "zoe", "yan");
        let [acme, zoe, yan] = [acme, zoe, yan].map(|name| name.parse().expect("a name"));
        let seats = Seats::new(8);
        let mut own: Vec<Seat> = std::iter::from_fn(|| seats.take(&acme)).collect();
        assert_eq!((own.len(), seats.free()), (6, 2), "three quarters of all");
        let mut others =
            vec![seats.take(&zoe).expect("there are two"), seats.take(&yan).expect("one")];
        assert!(seats.take(&zoe).is_none() && seats.free() == 0);
        assert!(seats.gives(&acme, &zoe) && !seats.gives(&zoe, &acme) && !seats.gives(&zoe, &yan));
        assert!(seats.gives(&zoe, &zoe));
        others.push(own.remove(0).pass_to(&zoe));
        assert_eq!(seats.state().taken.get(&zoe), Some(&2));
        drop((own, others));
        assert!(seats.free() == 8 && seats.state().taken.is_empty());
    }

    #[test]
    fn where_there_is_one_place_anybody_gets_it() {
        let acme = "acme".parse().expect("a name");
        let seats = Seats::new(1);
        let seat = seats.take(&acme).expect("it is free");
        assert!(seats.take(&acme).is_none());
        drop(seat);
        assert!(seats.take(&acme).is_some());
    }
}
