//! Figures of numbers: agreement, explained variance, errors, cosines, quantiles.

use hospes_core::random::SplitMix64;
use serde::{Deserialize, Serialize};

use crate::interval::{Interval, wilson};

/// How often two models answer the same. Without labels, this is all that can be said: it is not accuracy.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    pub same: u64,
    pub rows: u64,
    pub share: f64,
    pub interval: Interval,
}

impl Agreement {
    /// Compares two lists of classes; `None` if they differ in length or are empty.
    pub fn of(first: &[u32], second: &[u32], confidence: f64) -> Option<Self> {
        if first.len() != second.len() || first.is_empty() {
            return None;
        }
        let same = first.iter().zip(second).filter(|(a, b)| a == b).count() as u64;
        let rows = first.len() as u64;
        let interval = wilson(same, rows, confidence);
        Some(Self { same, rows, share: same as f64 / rows as f64, interval })
    }
}

/// The coefficient of determination: the share of the truth's variance that predictions explain. `None` if the truth has no variance or the
/// lists differ in length.
pub fn r2(truth: &[f64], predicted: &[f64]) -> Option<f64> {
    let rows: Vec<usize> = (0..truth.len()).collect();
    if truth.len() == predicted.len() { r2_of(truth, predicted, &rows) } else { None }
}

fn r2_of(truth: &[f64], predicted: &[f64], rows: &[usize]) -> Option<f64> {
    let mean = rows.iter().map(|row| truth[*row]).sum::<f64>() / rows.len() as f64;
    let total: f64 = rows.iter().map(|row| (truth[*row] - mean).powi(2)).sum();
    let left: f64 = rows.iter().map(|row| (truth[*row] - predicted[*row]).powi(2)).sum();
    (total > 0.0).then(|| 1.0 - left / total)
}

/// How often rows are drawn again for an interval.
const RESAMPLES: usize = 1_000;

/// An interval of [`r2`] by the bootstrap (Efron and Tibshirani, 1993, section 13.3): rows are drawn again with replacement, and the middle of the
/// values is kept. Intervals by formula assume normal errors. The same seed gives the same interval. `None` as for [`r2`].
pub fn r2_interval(
    truth: &[f64],
    predicted: &[f64],
    confidence: f64,
    seed: u64,
) -> Option<Interval> {
    r2(truth, predicted)?;
    let values = resampled(truth.len(), seed, |rows| r2_of(truth, predicted, rows));
    let outside = (1.0 - confidence) / 2.0;
    let (low, high) = (quantile(&values, outside)?, quantile(&values, 1.0 - outside)?);
    Some(Interval { low, high })
}

/// How much less of the truth's variance a second model explains than a first one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct R2Loss {
    /// R2 of the second.
    pub value: f64,
    pub loss: f64,
    /// The most that may be lost, with the confidence that was asked for.
    pub bound: f64,
}

/// Compares the R2 of two models on the same rows. The bound is by the same bootstrap as [`r2_interval`], which draws rows for both at once: rows
/// that are hard for both widen it less. `None` as for [`r2`].
pub fn r2_loss(
    truth: &[f64],
    (first, second): (&[f64], &[f64]),
    confidence: f64,
    seed: u64,
) -> Option<R2Loss> {
    let value = r2(truth, second)?;
    let loss = r2(truth, first)? - value;
    let lost = |rows: &[usize]| Some(r2_of(truth, first, rows)? - r2_of(truth, second, rows)?);
    let bound = quantile(&resampled(truth.len(), seed, lost), confidence)?;
    Some(R2Loss { value, loss, bound: bound.max(loss) })
}

/// A value of rows that are drawn again and again, with replacement.
fn resampled(count: usize, seed: u64, of: impl Fn(&[usize]) -> Option<f64>) -> Vec<f64> {
    let mut random = SplitMix64(seed);
    let mut rows = vec![0; count];
    let mut values = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        for row in &mut rows {
            *row = random.below(count);
        }
        // All rows may be the same one.
        values.extend(of(&rows));
    }
    values
}

/// The mean of the errors' sizes; `None` of no rows.
pub fn mean_absolute_error(truth: &[f64], predicted: &[f64]) -> Option<f64> {
    mean(truth.iter().zip(predicted).map(|(a, b)| (a - b).abs()))
}

/// The root of the mean of the squared errors; `None` of no rows.
pub fn root_mean_square_error(truth: &[f64], predicted: &[f64]) -> Option<f64> {
    mean(truth.iter().zip(predicted).map(|(a, b)| (a - b).powi(2))).map(f64::sqrt)
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (count, sum) = values.fold((0_u64, 0.0), |(count, sum), value| (count + 1, sum + value));
    (count > 0).then(|| sum / count as f64)
}

/// The cosine of the angle between two vectors; `None` if one has no direction or they differ in length. Two zero vectors are the same: 1.
pub fn cosine(first: &[f32], second: &[f32]) -> Option<f64> {
    if first.len() != second.len() {
        return None;
    }
    let (mut product, mut one, mut two) = (0.0, 0.0, 0.0);
    for (a, b) in first.iter().zip(second) {
        let (a, b) = (f64::from(*a), f64::from(*b));
        product += a * b;
        one += a * a;
        two += b * b;
    }
    if one == 0.0 && two == 0.0 {
        return Some(1.0);
    }
    let cosine = product / (one * two).sqrt();
    cosine.is_finite().then(|| cosine.clamp(-1.0, 1.0))
}

/// How far apart [`farthest`] may find the same answers, computed by two programs: rounding moves them by less.
pub const ROUNDING: f64 = 1e-5;

/// Where two lists of numbers are farthest apart.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Apart {
    /// Relative to the second list's number where that is above 1.
    pub difference: f64,
    pub at: usize,
}

/// Compares numbers with those that are expected. Both may be missing (NaN) or the same infinity; otherwise such are infinitely far apart. `None`
/// if the lists differ in length.
pub fn farthest(seen: &[f64], expected: &[f64]) -> Option<Apart> {
    let mut worst = Apart::default();
    for (at, (one, other)) in seen.iter().zip(expected).enumerate() {
        let same = one == other || one.is_nan() && other.is_nan();
        let difference = if same { 0.0 } else { (one - other).abs() / other.abs().max(1.0) };
        let difference = if difference.is_nan() { f64::INFINITY } else { difference };
        if difference > worst.difference {
            worst = Apart { difference, at };
        }
    }
    (seen.len() == expected.len()).then_some(worst)
}

/// The value below which the share `p` of the values lies, interpolated between neighbours as NumPy does by default (Hyndman and Fan's type
/// 7). NaN is left out. `None` of no values.
pub fn quantile(values: &[f64], p: f64) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let place = p.clamp(0.0, 1.0) * last as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(last);
    let part = place - place.floor();
    Some(if part == 0.0 {
        sorted[below]
    } else {
        sorted[below] + (sorted[above] - sorted[below]) * part
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_numbers_are_the_known_ones() {
        // The example of sklearn.metrics.r2_score, mean_absolute_error and mean_squared_error.
        let (truth, predicted) = ([3.0, -0.5, 2.0, 7.0], [2.5, 0.0, 2.0, 8.0]);
        assert!((r2(&truth, &predicted).expect("varies") - 0.948_608_137_044_967_9).abs() < 1e-12);
        assert_eq!(mean_absolute_error(&truth, &predicted), Some(0.5));
        assert_eq!(root_mean_square_error(&truth, &predicted), Some(0.375_f64.sqrt()));
        assert_eq!(
            (r2(&[1.0, 1.0], &[1.0, 2.0]), r2(&[1.0], &[]), r2(&[], &[])),
            (None, None, None)
        );
    }

    #[test]
    fn an_interval_holds_the_value_and_depends_on_the_seed_only() {
        let truth: Vec<f64> = (0..200).map(f64::from).collect();
        let predicted: Vec<f64> =
            (0..200).map(|row| f64::from(row + (row * 37) % 41 - 20)).collect();
        let value = r2(&truth, &predicted).expect("varies");
        let interval = r2_interval(&truth, &predicted, 0.95, 7).expect("varies");
        assert!(interval.low < value && value < interval.high, "{value} in {interval:?}");
        assert_eq!(r2_interval(&truth, &predicted, 0.95, 7), Some(interval));
        assert_ne!(r2_interval(&truth, &predicted, 0.95, 8), Some(interval));
        assert_eq!(r2_interval(&[1.0, 1.0], &[1.0, 2.0], 0.95, 7), None);
    }

    #[test]
    fn a_second_model_of_numbers_is_compared_with_the_first_on_the_same_rows() {
        let truth: Vec<f64> = (0..200).map(f64::from).collect();
        let moved = |by: i32| -> Vec<f64> {
            (0..200).map(|row| f64::from(row + (row * 37) % (2 * by + 1) - by)).collect()
        };
        let (near, far) = (moved(5), moved(60));
        let of = |first: &[f64], second: &[f64]| {
            r2_loss(&truth, (first, second), 0.95, 7).expect("varies")
        };
        let same = of(&near, &near);
        assert_eq!((same.loss, same.bound), (0.0, 0.0));
        let worse = of(&near, &far);
        assert!(worse.loss > 0.1 && worse.bound > worse.loss && worse.bound < 1.0, "{worse:?}");
        let better = of(&far, &near);
        assert!(better.loss < -0.1 && better.bound < 0.0, "{better:?}");
        assert_eq!(r2_loss(&[1.0, 1.0], (&[1.0, 1.0], &[1.0, 2.0]), 0.95, 7), None);
    }

    #[test]
    fn cosines_and_quantiles_are_those_of_numpy() {
        assert_eq!(cosine(&[1.0, 0.0], &[1.0, 1.0]), Some(1.0 / 2.0_f64.sqrt()));
        assert_eq!(cosine(&[1.0, 2.0], &[-2.0, -4.0]), Some(-1.0));
        assert_eq!(cosine(&[0.0], &[0.0]), Some(1.0));
        assert_eq!(
            (cosine(&[0.0], &[1.0]), cosine(&[1.0], &[]), cosine(&[f32::NAN], &[1.0])),
            (None, None, None)
        );
        // numpy.quantile([1, 2, 3, 4], [0, .25, .5, .95, 1])
        let of = |p| quantile(&[4.0, 1.0, f64::NAN, 3.0, 2.0], p).expect("values");
        let seen = [0.0, 0.25, 0.5, 0.95, 1.0].map(of);
        assert!(seen.iter().zip([1.0, 1.75, 2.5, 3.85, 4.0]).all(|(a, b)| (a - b).abs() < 1e-12));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn the_farthest_numbers_are_found_whatever_they_are() {
        let of = |one: &[f64], other: &[f64]| farthest(one, other).map(|it| (it.difference, it.at));
        assert_eq!(of(&[1.0, 0.5, 300.0], &[1.0, 0.25, 200.0]), Some((0.5, 2)), "relative");
        assert_eq!(of(&[1.0, 0.5], &[1.0, 0.25]), Some((0.25, 1)), "absolute below 1");
        let infinite = Some((f64::INFINITY, 0));
        assert_eq!(of(&[f64::NAN], &[1.0]), infinite);
        assert_eq!((of(&[1.0], &[f64::NAN]), of(&[1.0], &[f64::INFINITY])), (infinite, infinite));
        let missing = [f64::NAN, f64::INFINITY];
        assert_eq!(of(&missing, &missing), Some((0.0, 0)));
        assert_eq!((of(&[1.0], &[]), of(&[], &[])), (None, Some((0.0, 0))));
    }

    #[test]
    fn agreement_counts_equal_answers() {
        let agreement = Agreement::of(&[1, 2, 3, 4], &[1, 2, 3, 5], 0.95).expect("rows");
        assert_eq!((agreement.same, agreement.rows, agreement.share), (3, 4, 0.75));
        assert!(
            Agreement::of(&[], &[], 0.95).is_none() && Agreement::of(&[1], &[], 0.95).is_none()
        );
    }
}
