//! Who is next: virtual token counters, so that callers share a model by what they take of it.
//!
//! A caller's counter grows by what its tokens cost, divided by its weight. The lowest is next. A caller that comes back is lifted to the
//! lowest of those who are there: waiting earns nothing. The gap between two callers that both always want more is then bounded
//! (arXiv 2401.00588).

use std::collections::HashMap;
use std::num::NonZeroU32;

/// Cost of a prompt's token, in units.
pub const PROMPT_COST: u64 = 1;
/// Cost of a generated token, in units. Measured with SmolLM2-135M: 2.4 ms for a prompt's token, 4 to 15 ms for a generated one.
pub const GENERATED_COST: u64 = 4;
/// A unit for a caller of weight 1. Weights divide it, so it is large.
const SCALE: u64 = 1 << 16;
/// Callers without work whose counters are kept.
const GONE_MAX: usize = 4096;

/// The counters.
#[derive(Debug, Default)]
pub struct Fair {
    callers: HashMap<u64, Counter>,
    /// The counter of the last caller that left when nobody else was there.
    floor: u64,
}

#[derive(Debug, Default)]
struct Counter {
    units: u64,
    /// How many of its sequences want to be computed.
    active: usize,
}

impl Fair {
    /// A sequence of this caller wants to be computed.
    pub fn enter(&mut self, caller: u64) {
        let lowest = self.lowest().unwrap_or(self.floor);
        let counter = self.callers.entry(caller).or_default();
        if counter.active == 0 {
            counter.units = counter.units.max(lowest);
        }
        counter.active += 1;
    }

    /// A sequence of this caller wants nothing more.
    pub fn leave(&mut self, caller: u64) {
        let Some(counter) = self.callers.get_mut(&caller) else { return };
        counter.active = counter.active.saturating_sub(1);
        if counter.active == 0 {
            let units = counter.units;
            if self.lowest().is_none() {
                self.floor = self.floor.max(units);
            }
            self.forget();
        }
    }

    /// Counts what a caller of this weight took, in units of cost.
    pub fn charge(&mut self, caller: u64, weight: NonZeroU32, cost: u64) {
        let units = cost.saturating_mul(SCALE) / u64::from(weight.get());
        let counter = self.callers.entry(caller).or_default();
        counter.units = counter.units.saturating_add(units.max(1));
    }

    /// A caller's counter. Lower is earlier.
    pub fn counter(&self, caller: u64) -> u64 {
        self.callers.get(&caller).map_or(self.floor, |counter| counter.units)
    }

    /// Whether `caller` is so far behind `other` that it should take its place: by more than this cost.
    pub fn is_behind(&self, caller: u64, other: u64, cost: u64) -> bool {
        let margin = cost.saturating_mul(SCALE);
        self.counter(caller).saturating_add(margin) < self.counter(other)
    }

    fn lowest(&self) -> Option<u64> {
        let active = self.callers.values().filter(|counter| counter.active > 0);
        active.map(|counter| counter.units).min()
    }

    /// Forgets callers without work whose counters say nothing, and the lowest if there are too many.
    fn forget(&mut self) {
        let lowest = self.lowest().unwrap_or(self.floor);
        self.callers.retain(|_, counter| counter.active > 0 || counter.units > lowest);
        let gone = self.callers.iter().filter(|(_, counter)| counter.active == 0);
        if gone.clone().count() > GONE_MAX
            && let Some(caller) =
                gone.min_by_key(|(_, counter)| counter.units).map(|(caller, _)| *caller)
        {
            self.callers.remove(&caller);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONE: NonZeroU32 = NonZeroU32::MIN;
    /// Most tokens of a prompt, and of an answer, in the schedules.
    const PROMPT_MAX: u64 = 64;
    const ANSWER_MAX: u64 = 32;
    const ROWS: usize = 4;

    /// A caller that always has another request.
    struct Backlogged {
        caller: u64,
        /// Prompts and answers that it asks for, over and over.
        sizes: Vec<(u64, u64)>,
        next: usize,
        served: u64,
    }

    /// A request that has a row.
    struct Running {
        of: usize,
        prompt: u64,
        answer: u64,
    }

    /// Serves them as the engine does: rows and prompts by the lowest counter, then a token for everybody. Returns the largest gap.
    fn largest_gap(callers: &mut [Backlogged], steps: usize) -> u64 {
        let mut fair = Fair::default();
        let mut rows: Vec<Running> = Vec::new();
        callers.iter().for_each(|caller| fair.enter(caller.caller));
        let mut gap = 0;
        for _ in 0..steps {
            while rows.len() < ROWS {
                let lowest = (0..callers.len()).min_by_key(|of| fair.counter(callers[*of].caller));
                let of = lowest.expect("there are callers");
                let (prompt, answer) =
                    callers[of].sizes[callers[of].next % callers[of].sizes.len()];
                callers[of].next += 1;
                // Admission charges the prompt, as the paper does.
                fair.charge(callers[of].caller, ONE, prompt * PROMPT_COST);
                callers[of].served += prompt * PROMPT_COST;
                rows.push(Running { of, prompt, answer });
            }
            for row in &mut rows {
                row.prompt = 0;
                row.answer -= 1;
                fair.charge(callers[row.of].caller, ONE, GENERATED_COST);
                callers[row.of].served += GENERATED_COST;
            }
            rows.retain(|row| row.answer > 0);
            let served = callers.iter().map(|caller| caller.served);
            let (low, high) = (served.clone().min(), served.max());
            gap = gap.max(high.expect("some") - low.expect("some"));
        }
        gap
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn callers_that_always_want_more_stay_within_the_bound(
            sizes in prop::collection::vec(
                prop::collection::vec((1..=PROMPT_MAX, 1..=ANSWER_MAX), 1..5),
                2..6,
            ),
        ) {
            let callers = sizes.into_iter().enumerate();
            let mut callers: Vec<Backlogged> = callers
                .map(|(caller, sizes)| Backlogged { caller: caller as u64, sizes, next: 0, served: 0 })
                .collect();
            let gap = largest_gap(&mut callers, 400);
            // The most that can be under way at a time.
            let batch = ROWS as u64 * (PROMPT_MAX * PROMPT_COST + ANSWER_MAX * GENERATED_COST);
            let bound = 2 * (PROMPT_MAX * PROMPT_COST).max(batch);
            prop_assert!(gap <= bound, "{gap} > {bound}");
        }
    }

    #[test]
    fn who_comes_back_is_lifted_to_the_lowest_and_earns_nothing_by_waiting() {
        let mut fair = Fair::default();
        fair.enter(1);
        fair.charge(1, ONE, 1000);
        fair.enter(2);
        assert_eq!(fair.counter(2), fair.counter(1), "no credit for not having been there");
        fair.charge(2, ONE, 5);
        assert!(fair.counter(1) < fair.counter(2));
        fair.leave(1);
        fair.charge(2, ONE, 100);
        fair.enter(1);
        assert_eq!(fair.counter(1), fair.counter(2), "nor for having left");
    }

    #[test]
    fn when_all_have_left_nobody_s_debt_is_lost_and_nobody_is_behind() {
        let mut fair = Fair::default();
        fair.enter(1);
        fair.charge(1, ONE, 50);
        fair.leave(1);
        fair.enter(2);
        assert!(fair.counter(2) >= fair.counter(1), "the newcomer begins where the last one was");
        assert!(!fair.is_behind(1, 2, 1) && !fair.is_behind(2, 1, 1));
    }

    #[test]
    fn a_weight_of_two_takes_twice_as_much_for_the_same_counter() {
        let mut fair = Fair::default();
        fair.enter(1);
        fair.enter(2);
        fair.charge(1, ONE, 10);
        fair.charge(2, NonZeroU32::new(2).expect("not zero"), 20);
        assert_eq!(fair.counter(1), fair.counter(2));
    }

    #[test]
    fn of_callers_that_are_gone_only_so_many_are_remembered() {
        let mut fair = Fair::default();
        fair.enter(u64::MAX);
        for caller in 0..2 * GONE_MAX as u64 {
            fair.enter(caller);
            fair.charge(caller, ONE, 1);
            fair.leave(caller);
        }
        assert!(fair.callers.len() <= GONE_MAX + 2, "{}", fair.callers.len());
    }
}
