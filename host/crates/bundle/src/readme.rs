//! A model's `README.md` as Hugging Face has them: Markdown after a front matter in YAML, which says licence, data sets and results.
//!
//! The text is kept whole. What is known in the front matter becomes typed members of the manifest; the rest stays in the text. People wrote
//! both by hand, so an entry of another shape is passed over and noted, not refused. Results in it are what the publisher states.

mod results;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::layout::README_BYTES_MAX;
use super::lineage::Evaluation;
use super::manifest::{CARD_ENTRY_BYTES_MAX, CARD_LIST_MAX, Card};
use super::names::Licence;

/// Largest front matter, in bytes.
pub const FRONT_MATTER_BYTES_MAX: usize = 64 << 10;

/// Most lists and maps inside each other.
const DEPTH_MAX: usize = 16;
/// Most values, those that aliases repeat among them.
const NODES_MAX: usize = 20_000;
/// Most anchors, and most aliases. Cards that people write have none.
const ALIASES_MAX: usize = 64;

/// Why a README was refused.
#[derive(Debug, thiserror::Error)]
pub enum ReadmeError {
    #[error(
        "the README has {bytes} bytes, more than the {README_BYTES_MAX} allowed: shorten it, or link to the rest"
    )]
    TooLarge { bytes: usize },
    #[error("the README is not UTF-8 text: save it as UTF-8")]
    NotText(#[from] std::str::Utf8Error),
    #[error("the README's front matter has no end: write `---` on a line of its own after it")]
    NoEnd,
    #[error(
        "the README's front matter has {bytes} bytes, more than the {FRONT_MATTER_BYTES_MAX} allowed: move results into the text"
    )]
    FrontMatterTooLarge { bytes: usize },
    #[error(
        "the README's front matter is not YAML within the limits ({DEPTH_MAX} levels, {ALIASES_MAX} aliases): {reason}"
    )]
    Yaml { reason: String },
    #[error("the README's front matter is not a map of names and values: write `license: mit`")]
    NotAMap,
}

/// A README, read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Readme {
    /// The whole text.
    pub text: Bytes,
    /// The licence, if SPDX knows it.
    pub licence: Option<Licence>,
    /// The lists and the task; the texts are absent.
    pub card: Card,
    /// The results of `model-index`, as the publisher's own statement.
    pub evaluations: Vec<Evaluation>,
    /// What was passed over, one line each.
    pub notes: Vec<String>,
}

impl Readme {
    /// Reads a README. One without a front matter is only text.
    ///
    /// # Errors
    /// [`ReadmeError`].
    pub fn read(text: Bytes) -> Result<Self, ReadmeError> {
        if text.len() > README_BYTES_MAX {
            return Err(ReadmeError::TooLarge { bytes: text.len() });
        }
        let matter = front_matter(str::from_utf8(&text)?)?.map(parse).transpose()?;
        let mut readme = Self { text, ..Self::default() };
        if let Some(matter) = matter {
            readme.take(&matter);
        }
        Ok(readme)
    }

    fn take(&mut self, matter: &Map<String, Value>) {
        self.licence = self.take_licence(matter);
        self.card = Card {
            languages: self.list(matter, "language"),
            tags: self.list(matter, "tags"),
            datasets: self.list(matter, "datasets"),
            metrics: self.list(matter, "metrics"),
            base_models: self.list(matter, "base_model"),
            task: self.list(matter, "pipeline_tag").into_iter().next(),
            ..Card::default()
        };
        if let Some(index) = matter.get("model-index") {
            self.evaluations = results::read(index, &mut self.notes);
        }
    }

    fn take_licence(&mut self, matter: &Map<String, Value>) -> Option<Licence> {
        let stated = self.list(matter, "license");
        let spdx = |stated: &String| spdx(stated).and_then(|text| text.parse::<Licence>().ok());
        let known: Option<Vec<Licence>> = stated.iter().map(spdx).collect();
        match known.as_deref() {
            Some([]) => None,
            Some([licence]) => Some(licence.clone()),
            // More than one, or one that has no SPDX identifier, needs a person.
            Some([..]) | None => {
                let stated = stated.join("`, `");
                self.notes.push(format!(
                    "licence `{stated}` is not one SPDX identifier: state it with `--licence`"
                ));
                None
            }
        }
    }

    /// The texts of a member that is one text or a list of them.
    fn list(&mut self, matter: &Map<String, Value>, member: &str) -> Vec<String> {
        let entries = match matter.get(member) {
            None | Some(Value::Null) => return Vec::new(),
            Some(Value::Array(entries)) => &entries[..],
            Some(one) => std::slice::from_ref(one),
        };
        let mut list: Vec<String> = entries.iter().filter_map(line).collect();
        list.truncate(CARD_LIST_MAX);
        if list.len() < entries.len() {
            let left_out = entries.len() - list.len();
            self.notes.push(format!(
                "{left_out} of `{member}` left out: only {CARD_LIST_MAX} short texts are taken"
            ));
        }
        list
    }
}

/// A value as a short text of one line; `None` if it is not one.
fn line(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let short = !text.is_empty() && text.len() <= CARD_ENTRY_BYTES_MAX;
    (short && !text.chars().any(char::is_control)).then_some(text)
}

/// The YAML between the first line, `---`, and the next such line. `None` if the text does not begin with one.
fn front_matter(text: &str) -> Result<Option<&str>, ReadmeError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.split_inclusive('\n');
    let is_fence = |line: &str| line.trim_end() == "---";
    let Some(first) = lines.next().filter(|line| is_fence(line)) else { return Ok(None) };
    let mut end = first.len();
    for line in lines {
        if is_fence(line) {
            let yaml = text.get(first.len()..end).unwrap_or_default();
            if yaml.len() > FRONT_MATTER_BYTES_MAX {
                return Err(ReadmeError::FrontMatterTooLarge { bytes: yaml.len() });
            }
            return Ok(Some(yaml));
        }
        end += line.len();
    }
    Err(ReadmeError::NoEnd)
}

/// Reads YAML within bounds on depth, size and what aliases repeat.
fn parse(yaml: &str) -> Result<Map<String, Value>, ReadmeError> {
    const REASON_CHARS_MAX: usize = 300;
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_nodes: NODES_MAX,
            max_events: 2 * NODES_MAX,
            max_anchors: ALIASES_MAX,
            max_aliases: ALIASES_MAX,
            max_merge_keys: ALIASES_MAX,
            max_documents: 1,
            max_recorded_anchor_bytes: FRONT_MATTER_BYTES_MAX,
            max_recorded_anchor_events: NODES_MAX,
            max_total_scalar_bytes: FRONT_MATTER_BYTES_MAX,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: NODES_MAX,
            max_replay_stack_depth: DEPTH_MAX,
        },
        // `no` is Norwegian.
        strict_booleans: true,
        // A result that is not a number is passed over like any other text.
        non_finite_float_policy: serde_saphyr::options::NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    };
    let value: Value = serde_saphyr::from_str_with_options(yaml, options).map_err(|error| {
        let text = error.to_string();
        let shown = text.chars().take(REASON_CHARS_MAX).flat_map(char::escape_debug).collect();
        ReadmeError::Yaml { reason: shown }
    })?;
    match value {
        Value::Object(map) => Ok(map),
        Value::Null => Ok(Map::new()),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(ReadmeError::NotAMap)
        }
    }
}

/// The SPDX identifier of a licence as Hugging Face names it.
pub fn spdx(stated: &str) -> Option<&'static str> {
    const KNOWN: [(&str, &str); 37] = [
        ("apache-2.0", "Apache-2.0"),
        ("mit", "MIT"),
        ("afl-3.0", "AFL-3.0"),
        ("agpl-3.0", "AGPL-3.0-only"),
        ("artistic-2.0", "Artistic-2.0"),
        ("bsl-1.0", "BSL-1.0"),
        ("bsd-2-clause", "BSD-2-Clause"),
        ("bsd-3-clause", "BSD-3-Clause"),
        ("bsd-3-clause-clear", "BSD-3-Clause-Clear"),
        ("cc0-1.0", "CC0-1.0"),
        ("cc-by-2.0", "CC-BY-2.0"),
        ("cc-by-2.5", "CC-BY-2.5"),
        ("cc-by-3.0", "CC-BY-3.0"),
        ("cc-by-4.0", "CC-BY-4.0"),
        ("cc-by-sa-3.0", "CC-BY-SA-3.0"),
        ("cc-by-sa-4.0", "CC-BY-SA-4.0"),
        ("cc-by-nc-2.0", "CC-BY-NC-2.0"),
        ("cc-by-nc-3.0", "CC-BY-NC-3.0"),
        ("cc-by-nc-4.0", "CC-BY-NC-4.0"),
        ("cc-by-nd-4.0", "CC-BY-ND-4.0"),
        ("cc-by-nc-nd-3.0", "CC-BY-NC-ND-3.0"),
        ("cc-by-nc-nd-4.0", "CC-BY-NC-ND-4.0"),
        ("cc-by-nc-sa-2.0", "CC-BY-NC-SA-2.0"),
        ("cc-by-nc-sa-3.0", "CC-BY-NC-SA-3.0"),
        ("cc-by-nc-sa-4.0", "CC-BY-NC-SA-4.0"),
        ("ecl-2.0", "ECL-2.0"),
        ("epl-2.0", "EPL-2.0"),
        ("eupl-1.1", "EUPL-1.1"),
        ("eupl-1.2", "EUPL-1.2"),
        ("gpl-2.0", "GPL-2.0-only"),
        ("gpl-3.0", "GPL-3.0-only"),
        ("isc", "ISC"),
        ("lgpl-2.1", "LGPL-2.1-only"),
        ("lgpl-3.0", "LGPL-3.0-only"),
        ("mpl-2.0", "MPL-2.0"),
        ("unlicense", "Unlicense"),
        ("zlib", "Zlib"),
    ];
    let found = KNOWN.iter().find(|(name, spdx)| {
        stated.eq_ignore_ascii_case(name) || stated.eq_ignore_ascii_case(spdx)
    });
    found.map(|(_, spdx)| *spdx)
}
