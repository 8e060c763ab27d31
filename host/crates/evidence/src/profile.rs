//! A profile: how inputs and outputs are distributed on held-out rows. Monitoring compares later calls with it.
//!
//! It holds counts only, no row. Bins are fixed by the reference rows, so that later counts need no other state. A reference of few rows
//! makes drift of the sample look like drift of the data: with 500 rows, two of three quiet streams raised an alarm in simulation, with 2,000 one
//! of 25. So fewer are refused.

use std::collections::HashMap;

use hospes_core::id::Digest;
use serde::{Deserialize, Serialize};

use crate::measures::quantile;

/// The version of the format.
pub const PROFILE_FORMAT: u32 = 1;

/// Minimum rows of a profile.
pub const PROFILE_ROWS_MIN: u64 = 2_000;

/// Bins of numbers. They hold about the same number of reference rows each.
pub const BINS: usize = 10;

/// Maximum categories that are counted each on its own. The others are counted together.
pub const CATEGORIES_MAX: usize = 50;

/// Maximum distributions of the inputs, and of the outputs.
pub const FEATURES_MAX: usize = 256;

/// Why there is no profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    #[error(
        "a profile of {rows} rows would show drift where there is none: give at least {PROFILE_ROWS_MIN} held-out rows"
    )]
    Rows { rows: u64 },
    #[error("this profile has format {seen}, and this program reads {PROFILE_FORMAT}")]
    Format { seen: u32 },
    #[error("a profile holds at most {FEATURES_MAX} distributions of {side}, not {seen}")]
    Features { side: &'static str, seen: usize },
    #[error("distribution `{name}` counts {seen} rows of {rows}")]
    Counts { name: String, seen: u64, rows: u64 },
    #[error(
        "distribution `{name}` needs ascending edges, and a count more than edges or categories"
    )]
    Shape { name: String },
}

/// How inputs and outputs are distributed on held-out rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Parts")]
pub struct Profile {
    format: u32,
    data: Digest,
    rows: u64,
    inputs: Vec<Distribution>,
    outputs: Vec<Distribution>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    format: u32,
    data: Digest,
    rows: u64,
    inputs: Vec<Distribution>,
    outputs: Vec<Distribution>,
}

/// The distribution of one feature. All its counts together are the rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distribution {
    /// The input or output; with `[n]` for its nth element, `.mean` and `.deviation` for these of all its elements, `.class` for the place of
    /// the largest.
    pub name: String,
    #[serde(flatten)]
    pub counts: Counts,
    /// Rows without a value, or with one that is not a number.
    pub missing: u64,
}

/// Counts of rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Counts {
    /// Between edges: `counts[0]` is below the first edge, the last is at or above the last one.
    Bins { edges: Vec<f64>, counts: Vec<u64> },
    /// By category: the last count is that of all others.
    Categories { names: Vec<String>, counts: Vec<u64> },
}

impl Distribution {
    fn check(&self, rows: u64) -> Result<(), ProfileError> {
        let (is_formed, counts) = match &self.counts {
            Counts::Bins { edges, counts } => {
                let ascends = edges.windows(2).all(|pair| pair[0] < pair[1]);
                let finite = edges.iter().all(|edge| edge.is_finite());
                (ascends && finite && counts.len() == edges.len() + 1, counts)
            }
            Counts::Categories { names, counts } => {
                let few = names.len() <= CATEGORIES_MAX;
                (few && counts.len() == names.len() + 1, counts)
            }
        };
        if !is_formed {
            return Err(ProfileError::Shape { name: self.name.clone() });
        }
        let seen = counts.iter().fold(self.missing, |sum, count| sum.saturating_add(*count));
        let name = || self.name.clone();
        if seen == rows { Ok(()) } else { Err(ProfileError::Counts { name: name(), seen, rows }) }
    }
}

impl TryFrom<Parts> for Profile {
    type Error = ProfileError;

    fn try_from(parts: Parts) -> Result<Self, ProfileError> {
        if parts.format != PROFILE_FORMAT {
            return Err(ProfileError::Format { seen: parts.format });
        }
        Self::new(parts.data, parts.rows, parts.inputs, parts.outputs)
    }
}

impl Profile {
    /// A profile of the rows of a data set with this digest.
    ///
    /// # Errors
    /// [`ProfileError`].
    pub fn new(
        data: Digest,
        rows: u64,
        inputs: Vec<Distribution>,
        outputs: Vec<Distribution>,
    ) -> Result<Self, ProfileError> {
        if rows < PROFILE_ROWS_MIN {
            return Err(ProfileError::Rows { rows });
        }
        for (side, list) in [("inputs", &inputs), ("outputs", &outputs)] {
            if list.len() > FEATURES_MAX {
                return Err(ProfileError::Features { side, seen: list.len() });
            }
        }
        inputs.iter().chain(&outputs).try_for_each(|distribution| distribution.check(rows))?;
        Ok(Self { format: PROFILE_FORMAT, data, rows, inputs, outputs })
    }

    /// The digest of the data set.
    pub fn data(&self) -> Digest {
        self.data
    }

    /// How many rows were counted.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The inputs' distributions.
    pub fn inputs(&self) -> &[Distribution] {
        &self.inputs
    }

    /// The outputs' distributions.
    pub fn outputs(&self) -> &[Distribution] {
        &self.outputs
    }
}

/// Counts numbers in bins whose edges are their own quantiles. Equal edges become one, so a constant has two bins.
pub fn of_numbers(name: String, values: &[f64]) -> Distribution {
    let finite: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    let mut sorted = finite.clone();
    sorted.sort_unstable_by(f64::total_cmp);
    let mut edges: Vec<f64> = Vec::new();
    for bin in 1..BINS {
        let edge = quantile_of_sorted(&sorted, bin as f64 / BINS as f64);
        edges.extend(edge.filter(|edge| edges.last().is_none_or(|last| last < edge)));
    }
    let mut counts = vec![0; edges.len() + 1];
    for value in &finite {
        counts[edges.partition_point(|edge| edge <= value)] += 1;
    }
    let missing = (values.len() - finite.len()) as u64;
    Distribution { name, counts: Counts::Bins { edges, counts }, missing }
}

fn quantile_of_sorted(sorted: &[f64], p: f64) -> Option<f64> {
    let place = p * sorted.len().checked_sub(1)? as f64;
    let near = sorted.get(place.floor() as usize..=(place.ceil() as usize))?;
    quantile(near, place - place.floor())
}

/// Counts texts. The most frequent ones are counted each; empty texts are missing.
pub fn of_texts<'t>(name: String, values: impl IntoIterator<Item = &'t str>) -> Distribution {
    let mut seen: HashMap<&str, u64> = HashMap::new();
    for value in values {
        *seen.entry(value).or_default() += 1;
    }
    let missing = seen.remove("").unwrap_or_default();
    let mut sorted: Vec<(&str, u64)> = seen.into_iter().collect();
    sorted.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let rest = sorted.split_off(sorted.len().min(CATEGORIES_MAX));
    let names = sorted.iter().map(|(name, _)| (*name).to_owned()).collect();
    let others = rest.iter().map(|(_, count)| count).sum();
    let counts = sorted.into_iter().map(|(_, count)| count).chain([others]).collect();
    Distribution { name, counts: Counts::Categories { names, counts }, missing }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: u32) -> Vec<f64> {
        (0..count).map(f64::from).collect()
    }

    #[test]
    fn bins_hold_equal_shares_and_everything_is_counted() {
        let mut values = numbers(1000);
        values.push(f64::NAN);
        let seen = of_numbers("x".into(), &values);
        let Counts::Bins { edges, counts } = &seen.counts else { panic!("numbers") };
        assert_eq!(counts, &[100; 10]);
        assert!((edges[0] - 99.9).abs() < 1e-9 && (edges[8] - 899.1).abs() < 1e-9);
        assert_eq!(seen.missing, 1);
        let constant = of_numbers("c".into(), &[7.0; 5]);
        assert_eq!(constant.counts, Counts::Bins { edges: vec![7.0], counts: vec![0, 5] });
        let empty = of_numbers("e".into(), &[f64::NAN]);
        assert_eq!(
            (empty.counts, empty.missing),
            (Counts::Bins { edges: vec![], counts: vec![0] }, 1)
        );
    }

    #[test]
    fn rare_categories_are_counted_together() {
        let texts: Vec<String> = (0..60).map(|n| format!("c{n:02}")).collect();
        let values = texts.iter().map(String::as_str).chain(["c59", "", "c59"]);
        let seen = of_texts("t".into(), values);
        let Counts::Categories { names, counts } = &seen.counts else { panic!("texts") };
        assert_eq!((names[0].as_str(), counts[0], names.len(), counts[50]), ("c59", 3, 50, 10));
        assert_eq!(seen.missing, 1);
    }

    #[test]
    fn a_profile_is_written_and_read_and_few_rows_are_refused() {
        let data = Digest::of(b"data");
        let x = of_numbers("x".into(), &numbers(2000));
        let y = of_texts("y".into(), (0..2000).map(|row| if row % 3 == 0 { "a" } else { "b" }));
        let profile = Profile::new(data, 2000, vec![x.clone()], vec![y]).expect("enough");
        let json = serde_json::to_string(&profile).expect("JSON");
        assert_eq!(serde_json::from_str::<Profile>(&json).expect("its own"), profile);
        let of = |rows, x: Distribution| Profile::new(data, rows, vec![x], vec![]);
        assert_eq!(of(1999, x.clone()), Err(ProfileError::Rows { rows: 1999 }));
        assert!(matches!(of(2001, x.clone()), Err(ProfileError::Counts { seen: 2000, .. })));
        let many = Profile::new(data, 2000, vec![x; FEATURES_MAX + 1], vec![]);
        assert_eq!(many, Err(ProfileError::Features { side: "inputs", seen: 257 }));
        for (from, to, said) in [
            ("\"format\":1", "\"format\":2", "format 2"),
            ("\"rows\":2000", "\"rows\":1", "2000 held-out rows"),
            ("\"counts\":[200,", "\"counts\":[201,", "counts 2001 rows of 2000"),
            ("\"edges\":[199.9", "\"edges\":[999.9", "ascending edges"),
        ] {
            assert!(json.contains(from), "{json}");
            let error = serde_json::from_str::<Profile>(&json.replacen(from, to, 1));
            assert!(error.expect_err(said).to_string().contains(said), "{said}");
        }
    }
}
