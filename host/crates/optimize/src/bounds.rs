//! Bounds on shares from counts: Clopper and Pearson (1934), which hold whatever the share is.

/// How many halvings of an interval are enough for an `f64`.
const HALVINGS: usize = 60;

/// The largest share that would give at most `hits` of `rows` with probability `risk`: above it with that probability at most.
pub fn upper(hits: usize, rows: usize, risk: f64) -> f64 {
    if hits >= rows {
        return 1.0;
    }
    solve(|share| at_most(hits, rows, share) > risk)
}

/// The smallest share that would give at least `hits` of `rows` with probability `risk`.
pub fn lower(hits: usize, rows: usize, risk: f64) -> f64 {
    if hits == 0 {
        return 0.0;
    }
    solve(|share| 1.0 - at_most(hits - 1, rows, share) < risk)
}

/// The largest share for which `holds`, which then does not hold for larger ones.
fn solve(holds: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if holds(middle) { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

/// The probability of at most `hits` of `rows`, each with probability `share`.
fn at_most(hits: usize, rows: usize, share: f64) -> f64 {
    if share <= 0.0 {
        return 1.0;
    }
    if share >= 1.0 {
        return if hits >= rows { 1.0 } else { 0.0 };
    }
    let (win, lose) = (share.ln(), (-share).ln_1p());
    // The logarithm of the binomial coefficient grows with each term.
    let (mut coefficient, mut sum) = (0.0, 0.0);
    for count in 0..=hits {
        sum += (coefficient + count as f64 * win + (rows - count) as f64 * lose).exp();
        coefficient += ((rows - count) as f64 / (count + 1) as f64).ln();
    }
    sum.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_the_tables() {
        // Without a hit: 1 - risk^(1/rows).
        assert!((upper(0, 300, 0.05) - (1.0 - 0.05_f64.powf(1.0 / 300.0))).abs() < 1e-12);
        // Two-sided 95 % of 8 of 100 (R, `binom.test(8, 100)`).
        assert!((lower(8, 100, 0.025) - 0.035_171_56).abs() < 1e-7);
        assert!((upper(8, 100, 0.025) - 0.151_557_6).abs() < 1e-6);
        assert_eq!((lower(0, 9, 0.05), upper(9, 9, 0.05)), (0.0, 1.0));
    }
}
