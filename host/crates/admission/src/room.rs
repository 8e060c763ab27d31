//! Room for what stays loaded between calls: models and compiled code. It is limited in bytes and in memory mappings.
//!
//! Whoever loads something takes room for an estimate first, and then sets what it takes in fact. The room does not know what is loaded:
//! its user unloads something and asks again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What something loaded takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Bytes of memory that nothing else shares.
    pub bytes: u64,
    /// Memory mappings. A process may have `vm.max_map_count` of them.
    pub mappings: u64,
}

impl Footprint {
    /// The sum of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            mappings: self.mappings.saturating_add(other.mappings),
        }
    }

    fn without(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(other.bytes),
            mappings: self.mappings.saturating_sub(other.mappings),
        }
    }

    fn is_within(self, max: Self) -> bool {
        self.bytes <= max.bytes && self.mappings <= max.mappings
    }
}

/// Something that would not fit even if nothing else were loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it would take {} bytes in {} memory mappings, more than the {} (`inference.memory_bytes`) in {} (`inference.mappings_max`) \
     that everything loaded may have: raise the setting, or make the model smaller",
    .wanted.bytes, .wanted.mappings, .max.bytes, .max.mappings
)]
pub struct NeverFits {
    pub wanted: Footprint,
    pub max: Footprint,
}

/// The room. Clones share it.
#[derive(Debug, Clone)]
pub struct Room(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    max: Footprint,
    taken: Mutex<Footprint>,
}

/// Part of a room. Dropping it gives it back.
#[derive(Debug)]
pub struct Taken {
    room: Room,
    footprint: Footprint,
}

impl Room {
    /// Room for so much.
    pub fn new(max: Footprint) -> Self {
        Self(Arc::new(Shared { max, taken: Mutex::default() }))
    }

    /// How much there is in all.
    pub fn max(&self) -> Footprint {
        self.0.max
    }

    /// How much is taken.
    pub fn taken(&self) -> Footprint {
        *self.lock()
    }

    /// Takes room; `None` if there is not enough now.
    ///
    /// # Errors
    /// [`NeverFits`].
    pub fn take(&self, wanted: Footprint) -> Result<Option<Taken>, NeverFits> {
        if !wanted.is_within(self.0.max) {
            return Err(NeverFits { wanted, max: self.0.max });
        }
        let mut taken = self.lock();
        let all = taken.and(wanted);
        if !all.is_within(self.0.max) {
            return Ok(None);
        }
        *taken = all;
        Ok(Some(Taken { room: self.clone(), footprint: wanted }))
    }

    /// Whether more is taken than there is: something took more than its estimate.
    pub fn is_overfull(&self) -> bool {
        !self.taken().is_within(self.0.max)
    }

    /// Nothing panics while holding this lock.
    fn lock(&self) -> MutexGuard<'_, Footprint> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Replaces an estimate by what it takes in fact, even if that is more than there is.
    pub fn set(&mut self, actual: Footprint) {
        let mut taken = self.room.lock();
        *taken = taken.without(self.footprint).and(actual);
        self.footprint = actual;
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut taken = self.room.lock();
        *taken = taken.without(self.footprint);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: u64, mappings: u64) -> Footprint {
        Footprint { bytes, mappings }
    }

    #[test]
    fn bytes_and_mappings_are_both_limited_and_given_back() {
        let room = Room::new(of(100, 10));
        let first = room.take(of(60, 2)).expect("fits").expect("is free");
        assert!(room.take(of(41, 1)).expect("would fit").is_none(), "too many bytes");
        assert!(room.take(of(1, 9)).expect("would fit").is_none(), "too many mappings");
        let second = room.take(of(40, 8)).expect("fits").expect("is free");
        assert_eq!(room.taken(), of(100, 10));
        drop(first);
        assert_eq!(room.taken(), of(40, 8));
        drop(second);
        assert_eq!(room.taken(), Footprint::default());
        let never = room.take(of(101, 0)).expect_err("never");
        assert!(never.to_string().contains("`inference.memory_bytes`"), "{never}");
    }

    #[test]
    fn an_estimate_is_replaced_by_what_is_taken_in_fact() {
        let room = Room::new(of(100, 10));
        let mut taken = room.take(of(50, 1)).expect("fits").expect("is free");
        taken.set(of(120, 3));
        assert!(room.is_overfull());
        assert!(room.take(of(1, 1)).expect("would fit").is_none());
        taken.set(of(20, 3));
        assert_eq!((room.taken(), room.is_overfull()), (of(20, 3), false));
    }
}
