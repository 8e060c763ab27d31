//! Random numbers that are the same on every machine and in every release: SplitMix64 (Steele, Lea and Flood, 2014).
//!
//! Each use has a stream of its own, made from the seed and what it is for. So a training that resumes needs no state of a generator.

/// A stream of random numbers.
pub struct Random(u64);

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
        let mixed =
            [seed, kind, one, two].into_iter().fold(0, |state, part| Self(state ^ part).next());
        Self(mixed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is above 0.
    pub fn below(&mut self, bound: usize) -> usize {
        // The bias is below 2^-32 for all that is drawn here.
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// A number from -1 to 1.
    pub fn symmetric(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_the_published_one() {
        // The first outputs for the seed 1234567, from the reference implementation `splitmix64.c` of S. Vigna.
        let mut random = Random(1_234_567);
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn streams_differ_and_numbers_stay_in_their_range() {
        let mut one = Random::new(1, Use::Order { epoch: 1 });
        let mut two = Random::new(1, Use::Order { epoch: 2 });
        assert_ne!(one.next(), two.next());
        assert!((0..1000).all(|_| one.below(7) < 7 && one.symmetric().abs() <= 1.0));
    }
}
