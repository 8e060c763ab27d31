//! Rounding of released numbers.

use std::cmp::Ordering;
use std::io::Write as _;

use super::Controls;

/// Beyond these every number is an integer.
const F64_WHOLE: f64 = (1_u64 << 53) as f64;
const F32_WHOLE: f32 = (1_u32 << 24) as f32;

/// Maximum length of a number below [`F64_WHOLE`] with nine decimals.
const TEXT_BYTES: usize = 32;

impl Controls {
    pub(super) fn f64(&self, number: f64) -> f64 {
        let number = if number.is_subnormal() || number == 0.0 { 0.0 } else { number };
        if number.is_nan() {
            return f64::NAN;
        }
        match self.decimals {
            Some(digits) if number.abs() < F64_WHOLE => {
                rounded(number, digits).unwrap_or(0.0) + 0.0
            }
            Some(_) | None => number,
        }
    }

    pub(super) fn f32(&self, number: f32) -> f32 {
        let number = if number.is_subnormal() || number == 0.0 { 0.0 } else { number };
        if number.is_nan() {
            return f32::NAN;
        }
        match self.decimals {
            Some(digits) if number.abs() < F32_WHOLE => {
                rounded(number, digits).unwrap_or(0.0) + 0.0
            }
            Some(_) | None => number,
        }
    }
}

/// Rounds `number` to this many decimals (ties to even) and returns the nearest float, whose shortest form then has no more digits. Uses
/// text, because binary arithmetic is not always exact enough.
fn rounded<F: Copy + std::fmt::Display + std::str::FromStr>(number: F, digits: u8) -> Option<F> {
    let mut text = [0; TEXT_BYTES];
    let mut rest = text.as_mut_slice();
    write!(rest, "{number:.*}", usize::from(digits)).ok()?;
    let length = TEXT_BYTES - rest.len();
    std::str::from_utf8(&text[..length]).ok()?.parse().ok()
}

/// Descending; NaN is last.
pub(super) fn best_first(a: f64, b: f64) -> Ordering {
    let key = |number: f64| if number.is_nan() { f64::NEG_INFINITY } else { number };
    key(b).total_cmp(&key(a)).then(a.is_nan().cmp(&b.is_nan()))
}

/// The positions of the `most` largest, best first; among equals the earlier.
pub(super) fn best(scores: &[f64], most: usize) -> Vec<usize> {
    let mut positions: Vec<usize> = (0..scores.len()).collect();
    positions.sort_by(|a, b| best_first(scores[*a], scores[*b]).then(a.cmp(b)));
    positions.truncate(most);
    positions
}
