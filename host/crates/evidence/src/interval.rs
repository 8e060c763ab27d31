//! Intervals around a share of rows.

use serde::{Deserialize, Serialize};

use crate::special::{beta_quantile, normal_quantile};

/// An interval: the lowest and the highest value that the data leave plausible.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

/// Wilson's score interval of a share (Wilson, JASA 22, 1927). It is right on average, also for shares near 0 and 1.
///
/// `hits` of `rows`; `confidence` such as 0.95. Of no rows, everything is plausible: 0 to 1.
pub fn wilson(hits: u64, rows: u64, confidence: f64) -> Interval {
    if rows == 0 {
        return Interval { low: 0.0, high: 1.0 };
    }
    let (n, z) = (rows as f64, normal_quantile(0.5 + confidence / 2.0));
    let share = hits as f64 / n;
    let scale = 1.0 + z * z / n;
    let centre = (share + z * z / (2.0 * n)) / scale;
    let half = z / scale * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    Interval { low: (centre - half).max(0.0), high: (centre + half).min(1.0) }
}

/// The exact interval of a share (Clopper and Pearson, Biometrika 26, 1934). It never holds the true share less often than it says, so gates
/// use it.
///
/// `hits` of `rows`; `confidence` such as 0.95. Of no rows, everything is plausible: 0 to 1.
pub fn clopper_pearson(hits: u64, rows: u64, confidence: f64) -> Interval {
    let outside = (1.0 - confidence) / 2.0;
    Interval { low: lower_bound(hits, rows, outside), high: upper_bound(hits, rows, outside) }
}

/// The exact upper bound of a share, which is above it except with probability `outside`.
pub(crate) fn upper_bound(hits: u64, rows: u64, outside: f64) -> f64 {
    if hits >= rows {
        return 1.0;
    }
    beta_quantile(1.0 - outside, hits as f64 + 1.0, (rows - hits) as f64)
}

/// The exact lower bound.
pub(crate) fn lower_bound(hits: u64, rows: u64, outside: f64) -> f64 {
    if hits == 0 {
        return 0.0;
    }
    beta_quantile(outside, hits as f64, (rows.saturating_sub(hits)) as f64 + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(interval: Interval, low: f64, high: f64) {
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(near(interval.low, low) && near(interval.high, high), "{interval:?}");
    }

    #[test]
    fn intervals_are_those_of_scipy() {
        for (hits, rows, wilson_low, wilson_high, exact_low, exact_high) in SCIPY {
            close(wilson(hits, rows, 0.95), wilson_low, wilson_high);
            close(clopper_pearson(hits, rows, 0.95), exact_low, exact_high);
        }
    }

    #[test]
    fn no_rows_say_nothing() {
        close(wilson(0, 0, 0.95), 0.0, 1.0);
        close(clopper_pearson(0, 0, 0.95), 0.0, 1.0);
    }

    /// `scipy.stats.binomtest(hits, rows).proportion_ci(0.95, method)` of scipy 1.17.1, for `wilson` and `exact`.
    const SCIPY: [(u64, u64, f64, f64, f64, f64); 5] = [
        (
            90,
            100,
            0.825_634_338_495_086_5,
            0.944_770_862_939_324_9,
            0.823_777_402_259_824_7,
            0.950_995_310_778_514_1,
        ),
        (0, 20, 0.0, 0.161_125_158_052_819_35, 0.0, 0.168_433_470_983_085_48),
        (20, 20, 0.838_874_841_947_180_8, 1.0, 0.831_566_529_016_914_5, 1.0),
        (
            9050,
            10_000,
            0.899_096_572_676_611_7,
            0.910_592_388_643_140_3,
            0.899_084_542_120_499_2,
            0.910_678_359_237_456_5,
        ),
        (
            1,
            3,
            0.061_491_944_720_396_26,
            0.792_340_399_197_952_3,
            0.008_403_758_659_612_647,
            0.905_700_675_949_286_6,
        ),
    ];
}
