//! The tokens of one call: taken from its agreement ahead of their computation, and counted for its receipt.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::inference::Tokens;
use crate::outcome::Spoken;

/// What a call's sequences have taken.
#[derive(Default)]
pub(in super::super) struct Meter {
    /// The agreement's tokens; `None` if nobody counts them.
    budget: Option<Arc<dyn Tokens>>,
    prompt: AtomicU64,
    cached: AtomicU64,
    completion: AtomicU64,
}

impl Meter {
    pub(in super::super) fn new(budget: Option<Arc<dyn Tokens>>) -> Arc<Self> {
        Arc::new(Self { budget, ..Self::default() })
    }

    /// Where the tokens of prompts are taken.
    pub(super) fn of_prompt(self: &Arc<Self>) -> Arc<dyn Tokens> {
        Arc::new(Share { meter: Arc::clone(self), of: |meter| &meter.prompt })
    }

    /// Where generated tokens are taken.
    pub(super) fn of_completion(self: &Arc<Self>) -> Arc<dyn Tokens> {
        Arc::new(Share { meter: Arc::clone(self), of: |meter| &meter.completion })
    }

    /// Some tokens of a prompt were in the cache.
    pub(super) fn cached(&self, tokens: u32) {
        self.cached.fetch_add(tokens.into(), Ordering::Relaxed);
    }

    /// The tokens so far. Complete when all sequences and streams are dropped: what they have not used is given back then.
    pub(in super::super) fn spoken(&self) -> Spoken {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Spoken {
            prompt: read(&self.prompt),
            cached: read(&self.cached),
            completion: read(&self.completion),
        }
    }
}

/// One kind of tokens.
struct Share {
    meter: Arc<Meter>,
    of: fn(&Meter) -> &AtomicU64,
}

impl Tokens for Share {
    fn take(&self, tokens: u64) -> bool {
        let taken = self.meter.budget.as_ref().is_none_or(|budget| budget.take(tokens));
        if taken {
            (self.of)(&self.meter).fetch_add(tokens, Ordering::Relaxed);
        }
        taken
    }

    fn give_back(&self, tokens: u64) {
        let count = (self.of)(&self.meter);
        let less = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
            Some(now.saturating_sub(tokens))
        });
        // Never more than was taken.
        let tokens = tokens.min(less.unwrap_or_default());
        if let Some(budget) = &self.meter.budget {
            budget.give_back(tokens);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    struct Budget(AtomicU64);

    impl Tokens for Budget {
        fn take(&self, tokens: u64) -> bool {
            self.0
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(tokens))
                .is_ok()
        }

        fn give_back(&self, tokens: u64) {
            self.0.fetch_add(tokens, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_call_takes_no_more_than_its_budget_and_counts_what_it_keeps() {
        let budget = Arc::new(Budget(AtomicU64::new(20)));
        let meter = Meter::new(Some(Arc::clone(&budget) as Arc<dyn Tokens>));
        let (prompt, completion) = (meter.of_prompt(), meter.of_completion());
        assert!(prompt.take(5));
        assert!(completion.take(15));
        assert!(!completion.take(1));
        completion.give_back(12);
        assert!(completion.take(12));
        completion.give_back(11);
        meter.cached(3);
        assert_eq!(meter.spoken(), Spoken { prompt: 5, cached: 3, completion: 4 });
        assert_eq!(budget.0.load(Ordering::Relaxed), 11);
    }

    #[test]
    fn nothing_that_was_not_taken_is_given_back() {
        let budget = Arc::new(Budget(AtomicU64::new(1)));
        let meter = Meter::new(Some(Arc::clone(&budget) as Arc<dyn Tokens>));
        meter.of_completion().give_back(7);
        assert_eq!(budget.0.load(Ordering::Relaxed), 1);
    }
}
