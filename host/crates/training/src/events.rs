//! What a trainer says while it trains: JSON lines, or metrics that are read from what it prints.
//!
//! A trainer's words are foreign: they are bounded, and what is not an event is kept in the log only. Events have no time, so that a
//! training that is repeated with the same seed leaves the same file.

use std::collections::BTreeMap;

use regex::Regex;
use serde::{Deserialize, Serialize};

use crate::recipe::RecipeError;

/// Longest line that is read as an event.
pub const LINE_BYTES_MAX: usize = 64 * 1024;
/// Most events that are kept.
pub const EVENTS_MAX: usize = 200_000;
/// Most metrics of an event, and longest name of one.
const METRICS_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 64;

/// Something that a trainer said.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Event {
    /// The epoch that it is about, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// Numbers by their names, such as `loss` and `accuracy`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, f64>,
    /// How much is done, from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A metric of a recipe and how it is found in a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PatternText {
    pub name: String,
    /// A regular expression whose first group is the number.
    pub regex: String,
}

/// The same, compiled.
#[derive(Debug, Clone)]
pub struct Pattern {
    name: String,
    regex: Regex,
}

impl PatternText {
    /// Compiles it.
    ///
    /// # Errors
    /// [`RecipeError::Pattern`].
    pub fn compile(&self) -> Result<Pattern, RecipeError> {
        let refused = |why: String| RecipeError::Pattern {
            name: self.name.clone(),
            regex: self.regex.clone(),
            why,
        };
        let size = regex::RegexBuilder::new(&self.regex).size_limit(1 << 20).build();
        let regex = size.map_err(|error| refused(error.to_string().replace('\n', " ")))?;
        if regex.captures_len() < 2 {
            return Err(refused("it needs a group for the number, as in `loss=([0-9.]+)`".into()));
        }
        if !is_name(&self.name) {
            return Err(refused(
                "the name must have 1 to 64 bytes and no control characters".into(),
            ));
        }
        Ok(Pattern { name: self.name.clone(), regex })
    }
}

impl Event {
    /// A line of JSON as an event; `None` if it is none.
    pub fn of_json(line: &str) -> Option<Self> {
        if line.len() > LINE_BYTES_MAX {
            return None;
        }
        let mut event: Self = serde_json::from_str(line).ok()?;
        event.progress = event.progress.filter(|part| (0.0..=1.0).contains(part));
        event.metrics.retain(|name, value| is_name(name) && value.is_finite());
        let is_small = event.metrics.len() <= METRICS_MAX;
        is_small.then_some(event)
    }

    /// The metrics in a line that was printed; `None` if there are none.
    pub fn of_log(line: &str, patterns: &[Pattern]) -> Option<Self> {
        if line.len() > LINE_BYTES_MAX {
            return None;
        }
        let metrics: BTreeMap<String, f64> = patterns
            .iter()
            .filter_map(|Pattern { name, regex }| {
                let number = regex.captures(line)?.get(1)?.as_str().parse::<f64>().ok()?;
                number.is_finite().then(|| (name.clone(), number))
            })
            .collect();
        (!metrics.is_empty()).then(|| Self { metrics, ..Self::default() })
    }
}

fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
}

/// All that was said.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Events {
    said: Vec<Event>,
    /// The last value of each metric, also of events that are not kept.
    last: BTreeMap<String, f64>,
    /// How many more there were than are kept.
    pub dropped: u64,
}

impl Events {
    /// Keeps an event.
    pub fn push(&mut self, event: Event) {
        self.last.extend(event.metrics.clone());
        if self.said.len() < EVENTS_MAX {
            self.said.push(event);
        } else {
            self.dropped += 1;
        }
    }

    pub fn all(&self) -> &[Event] {
        &self.said
    }

    /// The last value of each metric.
    pub fn last(&self) -> BTreeMap<String, f64> {
        self.last.clone()
    }

    /// The values of each metric in order, with the epochs that they belong to. Where a trainer names no epoch, they are counted. An epoch
    /// before the last one is there already: a trainer that kept its weights has said its figures again.
    pub fn curves(&self) -> BTreeMap<String, Vec<(f64, f64)>> {
        let mut curves: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        let mut last = None;
        for event in &self.said {
            if event.epoch.is_some() && event.epoch < last {
                continue;
            }
            last = event.epoch.or(last);
            for (name, value) in &event.metrics {
                let curve = curves.entry(name.clone()).or_default();
                let at =
                    event.epoch.or(event.step).map_or(curve.len() as f64 + 1.0, |at| at as f64);
                curve.push((at, *value));
            }
        }
        curves
    }

    /// The JSON lines of `events.jsonl`.
    pub fn lines(&self) -> String {
        let line = |event| {
            serde_json::to_string(event).expect("invariant: numbers are finite, names are text")
                + "\n"
        };
        self.said.iter().map(line).collect()
    }
}
