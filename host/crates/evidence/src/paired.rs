//! Two models on the same rows: how much worse the second may be.

use serde::{Deserialize, Serialize};

use crate::interval::{lower_bound, upper_bound};

/// What two models did on the same rows: only rows on which one is right and the other wrong tell them apart (McNemar, Psychometrika 12, 1947).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paired {
    /// Rows that both were asked.
    pub rows: u64,
    /// Rows that the first had right and the second wrong.
    pub lost: u64,
    /// Rows that the first had wrong and the second right.
    pub won: u64,
}

impl Paired {
    /// Counts the rows of two models: for each row, whether the first and the second were right.
    pub fn count(rows: impl IntoIterator<Item = (bool, bool)>) -> Self {
        let mut paired = Self::default();
        for (first, second) in rows {
            paired.rows += 1;
            paired.lost += u64::from(first && !second);
            paired.won += u64::from(!first && second);
        }
        paired
    }

    /// The loss that was seen: the accuracy of the first model less that of the second. Negative if the second is better; 0 of no rows.
    pub fn loss(&self) -> f64 {
        if self.rows == 0 { 0.0 } else { (self.lost as f64 - self.won as f64) / self.rows as f64 }
    }

    /// The largest loss that the rows leave plausible: the true one is at most this with the given confidence, such as 0.95, whatever it is.
    ///
    /// It is the exact upper bound of the share of lost rows less the exact lower bound of the share of won rows, each of which may fail in
    /// half of the cases that the confidence leaves. Bounds that are given the number of rows that differ are narrower, but say that no loss
    /// is possible when no row differs. Of no rows, everything may be lost: 1.
    pub fn loss_upper_bound(&self, confidence: f64) -> f64 {
        let outside = (1.0 - confidence) / 2.0;
        let lost = upper_bound(self.lost, self.rows, outside);
        lost - lower_bound(self.won, self.rows, outside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_answers_still_leave_a_loss_possible() {
        let bound = Paired { rows: 2000, lost: 0, won: 0 }.loss_upper_bound(0.95);
        // No event in n rows: 1 - 0.025^(1/n), the rule of three at 97.5 %.
        assert!((bound - (1.0 - 0.025_f64.powf(1.0 / 2000.0))).abs() < 1e-12, "{bound}");
        assert_eq!(Paired::default().loss_upper_bound(0.95), 1.0);
    }

    #[test]
    fn rows_are_counted() {
        let rows = [(true, true), (true, false), (false, true), (false, false), (true, false)];
        let paired = Paired::count(rows);
        assert_eq!(paired, Paired { rows: 5, lost: 2, won: 1 });
        assert!((paired.loss() - 0.2).abs() < 1e-15);
    }

    #[test]
    fn the_bound_holds_for_every_true_loss() {
        // For 12 rows all outcomes are summed exactly: the bound fails in at most 5 % of the cases.
        let (rows, confidence) = (12_u64, 0.95);
        let factorial = |n: u64| (1..=n).map(|k| k as f64).product::<f64>();
        for (p_lost, p_won) in [(0.05, 0.0), (0.1, 0.1), (0.3, 0.1), (0.02, 0.3), (0.6, 0.2)] {
            let mut failed = 0.0;
            for lost in 0..=rows {
                for won in 0..=rows - lost {
                    let same = rows - lost - won;
                    let ways = factorial(rows) / factorial(lost) / factorial(won) / factorial(same);
                    let each = f64::powi;
                    let probability = ways
                        * each(p_lost, lost as i32)
                        * each(p_won, won as i32)
                        * each(1.0 - p_lost - p_won, same as i32);
                    let bound = Paired { rows, lost, won }.loss_upper_bound(confidence);
                    failed += if bound < p_lost - p_won { probability } else { 0.0 };
                }
            }
            assert!(failed <= 0.05, "{p_lost} {p_won}: {failed}");
        }
    }
}
