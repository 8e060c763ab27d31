//! Random numbers that are the same on every machine and in every release.
//!
//! Each use has a stream of its own, made from the seed and what it is for. So a training that resumes needs no state of a generator.

use hospes_core::random::SplitMix64;

/// A stream of random numbers.
pub struct Random(SplitMix64);

/// What a stream is for.
#[derive(Clone, Copy)]
pub enum Use {
    /// The first weights of a parameter.
    Weights { parameter: u64 },
    /// The order of the rows in an epoch.
    Order { epoch: u64 },
    /// The changes of a picture in an epoch.
    Change { epoch: u64, row: u64 },
}

impl Random {
    pub fn new(seed: u64, of: Use) -> Self {
        let (kind, one, two) = match of {
            Use::Weights { parameter } => (1, parameter, 0),
            Use::Order { epoch } => (2, epoch, 0),
            Use::Change { epoch, row } => (3, epoch, row),
        };
        let mixed = [seed, kind, one, two]
            .into_iter()
            .fold(0, |state, part| SplitMix64(state ^ part).draw());
        Self(SplitMix64(mixed))
    }

    pub fn next(&mut self) -> u64 {
        self.0.draw()
    }

    /// A number below `bound`, which is above 0.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound)
    }

    /// A number from -1 to 1.
    pub fn symmetric(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        self.0.shuffle(items);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_and_numbers_stay_in_their_range() {
        let mut one = Random::new(1, Use::Order { epoch: 1 });
        let mut two = Random::new(1, Use::Order { epoch: 2 });
        assert_ne!(one.next(), two.next());
        assert!((0..1000).all(|_| one.below(7) < 7 && one.symmetric().abs() <= 1.0));
    }
}
