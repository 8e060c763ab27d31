//! The plugin's own resources.

use std::cell::Cell;

use super::exports::hospes::echo::counters::{
    Counter, CounterBorrow, Guest, GuestCounter, GuestScale, Pair,
};
use super::{Echo, Tensor};

/// The current number of a counter.
pub struct Position(Cell<i64>);

/// The unit of a scale, in bytes and at least one, and the number that it adds.
pub struct Unit {
    bytes: i64,
    zero: i64,
}

impl Guest for Echo {
    type Counter = Position;
    type Scale = Unit;

    fn join(Pair { left, right }: Pair) -> i64 {
        let right = right.map_or(0, |counter| counter.into_inner::<Position>().0.get());
        left.into_inner::<Position>().0.get().wrapping_add(right)
    }
}

impl GuestCounter for Position {
    fn new(start: i64) -> Self {
        Self(Cell::new(start))
    }

    fn add(&self, steps: Vec<i64>) -> i64 {
        steps.into_iter().for_each(|step| self.0.set(self.0.get().wrapping_add(step)));
        self.0.get()
    }

    fn sum(counters: Vec<CounterBorrow<'_>>) -> i64 {
        counters.iter().fold(0, |sum, counter| sum.wrapping_add(counter.get::<Position>().0.get()))
    }

    fn copy(&self) -> Counter {
        Counter::new(Self::new(self.0.get()))
    }
}

impl GuestScale for Unit {
    fn new(unit: Tensor, zero: CounterBorrow<'_>) -> Self {
        Self { bytes: (unit.data().len() as i64).max(1), zero: zero.get::<Position>().0.get() }
    }

    fn weigh(&self, v: &Tensor) -> i64 {
        self.zero.wrapping_add(v.data().len() as i64 / self.bytes)
    }
}
