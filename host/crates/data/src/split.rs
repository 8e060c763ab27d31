//! Rows to learn from and rows that are held out, chosen by a seed.
//!
//! The choice must be the same in every later version, since reports name only the seed and the share.

use hospes_core::random::SplitMix64;

use crate::labels::Labels;
use crate::set::DataSet;

impl DataSet {
    /// Splits the rows: some to learn from, and a share that is held out, in the file's order. Of each class the same share is held
    /// out, rounded to the nearest row. The same seed chooses the same rows.
    ///
    /// `share` is between 0 and 1. `None` if one of the parts would have no row.
    pub fn split(&self, share: f64, seed: u64) -> Option<(Self, Self)> {
        let mut groups: Vec<Vec<usize>> = match self.labels() {
            Some(Labels::Classes(classes)) => {
                let mut groups = vec![Vec::new(); classes.names().len()];
                for (row, class) in classes.of().iter().enumerate() {
                    groups[*class as usize].push(row);
                }
                groups
            }
            Some(Labels::Numbers(_)) | None => vec![(0..self.rows()).collect()],
        };
        let mut random = SplitMix64(seed);
        let (mut learned, mut held) = (Vec::new(), Vec::new());
        for group in &mut groups {
            random.shuffle(group);
            let count = (group.len() as f64 * share.clamp(0.0, 1.0)).round() as usize;
            let (out, rest) = group.split_at(count.min(group.len()));
            held.extend_from_slice(out);
            learned.extend_from_slice(rest);
        }
        if learned.is_empty() || held.is_empty() {
            return None;
        }
        learned.sort_unstable();
        held.sort_unstable();
        Some((self.select(&learned), self.select(&held)))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::labels::LabelKind;
    use crate::set::numbers;

    fn set(labels: Option<Labels>) -> DataSet {
        let values: Vec<f64> = (0..100).map(f64::from).collect();
        let columns = vec![numbers("x".into(), &values)];
        DataSet::new(Path::new("f"), columns, labels, Vec::new()).expect("fits")
    }

    fn seen(set: &DataSet) -> Vec<u8> {
        set.columns()[0].tensor.data().to_vec()
    }

    #[test]
    fn a_seed_chooses_the_same_rows_and_every_row_is_in_one_part() {
        let (learned, held) = set(None).split(0.2, 7).expect("both have rows");
        assert_eq!((learned.rows(), held.rows()), (80, 20));
        let (_, again) = set(None).split(0.2, 7).expect("both have rows");
        let (_, other) = set(None).split(0.2, 8).expect("both have rows");
        assert_eq!(seen(&held), seen(&again));
        assert_ne!(seen(&held), seen(&other));
        let mut all = [seen(&learned), seen(&held)].concat();
        let (chunks, _) = all.as_chunks_mut::<8>();
        chunks.sort_by(|a, b| f64::from_le_bytes(*a).total_cmp(&f64::from_le_bytes(*b)));
        assert_eq!(all, seen(&set(None)));
        assert!(set(None).split(0.0, 1).is_none() && set(None).split(1.0, 1).is_none());
    }

    #[test]
    fn each_class_has_the_same_share() {
        let whole: Vec<i64> = (0..100).map(|row| i64::from(row >= 90)).collect();
        let labels = Labels::of_whole(&whole, LabelKind::Auto).expect("classes");
        let (_, held) = set(Some(labels)).split(0.3, 1).expect("both have rows");
        let of = held.labels().and_then(Labels::classes).expect("classes").of().to_vec();
        assert_eq!((held.rows(), of.iter().filter(|class| **class == 1).count()), (30, 3));
    }
}
