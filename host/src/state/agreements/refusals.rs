//! Limits the explanations and receipts of refused calls per account: an explanation costs time, and a receipt stays forever.
//!
//! Beyond the first limit a refusal is not explained; beyond the second it has no receipt. Both are counted per account, in bounded memory.
//! The operator's log reports now and then how many there were.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::id::{ById, Party};

/// Explained refusals per account: a burst, then one per interval.
const EXPLAINED: Pace = Pace { burst: 1000, each: Duration::from_millis(20) };

/// Refusals per account under its own agreements that get a receipt.
const UNDER_AGREEMENTS: Pace = Pace { burst: 100, each: Duration::from_secs(10) };

/// Refusals per account without an agreement of its own that get a receipt.
const WITHOUT: Pace = Pace { burst: 1, each: Duration::from_secs(60) };

/// How often refusals without a receipt are logged.
const SAID_EACH: Duration = Duration::from_secs(60);

struct Pace {
    burst: u32,
    each: Duration,
}

/// A leaky bucket: when it will be full again.
#[derive(Default)]
struct Bucket(Option<Instant>);

impl Bucket {
    fn take(&mut self, pace: &Pace, now: Instant) -> bool {
        let full = self.0.map_or(now, |full| full.max(now)) + pace.each;
        let has_room = full.duration_since(now) <= pace.each * pace.burst;
        if has_room {
            self.0 = Some(full);
        }
        has_room
    }
}

#[derive(Default)]
struct Refused {
    explained: Bucket,
    under_agreements: Bucket,
    without: Bucket,
    /// Since they were last logged.
    without_receipt: u64,
    said: Option<Instant>,
}

/// Counts refusals per account.
#[derive(Default)]
pub struct Refusals(Mutex<ById<Party, Refused>>);

impl Refusals {
    /// Whether one more refusal of this account is explained.
    pub fn explains(&self, account: &Party) -> bool {
        self.of(account, |refused, now| refused.explained.take(&EXPLAINED, now))
    }

    /// Whether one more refusal of this account gets a receipt.
    pub fn has_receipt(&self, account: &Party, under_agreement: bool) -> bool {
        self.of(account, |refused, now| {
            let has_receipt = if under_agreement {
                refused.under_agreements.take(&UNDER_AGREEMENTS, now)
            } else {
                refused.without.take(&WITHOUT, now)
            };
            if !has_receipt {
                refused.without_receipt += 1;
                let first = *refused.said.get_or_insert(now);
                if now.duration_since(first) >= SAID_EACH {
                    let count = std::mem::take(&mut refused.without_receipt);
                    tracing::info!(%account, count, "refused calls left no receipts");
                    refused.said = Some(now);
                }
            }
            has_receipt
        })
    }

    fn of<T>(&self, account: &Party, change: impl FnOnce(&mut Refused, Instant) -> T) -> T {
        let mut accounts = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        change(accounts.entry(*account).or_default(), Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_its_burst_and_is_refilled() {
        let mut bucket = Bucket::default();
        let pace = Pace { burst: 3, each: Duration::from_secs(10) };
        let now = Instant::now();
        let taken = |bucket: &mut Bucket, after: u64| {
            (0..5).filter(|_| bucket.take(&pace, now + Duration::from_secs(after))).count()
        };
        assert_eq!(taken(&mut bucket, 0), 3);
        assert_eq!(taken(&mut bucket, 9), 0);
        assert_eq!(taken(&mut bucket, 10), 1);
        assert_eq!(taken(&mut bucket, 1000), 3);
    }
}
