//! The tokens with a meaning of their own, from the four files that may name them.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use serde::Deserialize;

use super::settings::Settings;
use crate::error::CheckpointError;

/// One token or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Ids {
    One(u32),
    Several(Vec<u32>),
}

impl Ids {
    fn all(&self) -> &[u32] {
        match self {
            Self::One(id) => std::slice::from_ref(id),
            Self::Several(ids) => ids,
        }
    }
}

/// `generation_config.json`.
#[derive(Debug, Deserialize)]
pub(super) struct Generation {
    eos_token_id: Option<Ids>,
}

/// `tokenizer_config.json`.
#[derive(Debug, Deserialize)]
pub(super) struct TokenizerSettings {
    bos_token: Option<Named>,
    eos_token: Option<Named>,
    chat_template: Option<Template>,
}

/// A token, by its text.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Named {
    Text(String),
    Whole { content: String },
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Template {
    One(String),
    Several(Vec<NamedTemplate>),
}

#[derive(Debug, Deserialize)]
struct NamedTemplate {
    name: String,
    template: String,
}

impl TokenizerSettings {
    /// The chat template. Of several, the one called `default`.
    pub(super) fn template(&self) -> Option<String> {
        match self.chat_template.as_ref()? {
            Template::One(text) => Some(text.clone()),
            Template::Several(all) => {
                let default = all.iter().find(|one| one.name == "default");
                default.map(|one| one.template.clone())
            }
        }
    }
}

/// The ids of added tokens, by their texts.
pub(super) struct Tokens(HashMap<String, u32>);

#[derive(Deserialize)]
struct File<'a> {
    #[serde(borrow, default)]
    added_tokens: Vec<Added<'a>>,
}

#[derive(Deserialize)]
struct Added<'a> {
    id: u32,
    #[serde(borrow)]
    content: Cow<'a, str>,
}

impl Tokens {
    pub(super) fn read(tokenizer: &str, path: &Path) -> Result<Self, CheckpointError> {
        let wrong = |source| CheckpointError::Json { path: path.to_owned(), source };
        let file: File<'_> = serde_json::from_str(tokenizer).map_err(wrong)?;
        let added = file.added_tokens.into_iter();
        Ok(Self(added.map(|added| (added.content.into_owned(), added.id)).collect()))
    }

    fn id(&self, token: &Named) -> Option<u32> {
        let (Named::Text(text) | Named::Whole { content: text }) = token;
        self.0.get(text).copied()
    }
}

/// The token at the beginning of texts, and those that end a turn.
pub(super) fn ends(
    settings: &Settings,
    (generation, said): (Option<&Generation>, Option<&TokenizerSettings>),
    tokens: &Tokens,
) -> Result<(Option<u32>, Vec<u32>), CheckpointError> {
    let bos = match said {
        Some(said) => said.bos_token.as_ref().and_then(|token| tokens.id(token)),
        None => settings.bos_token_id,
    };
    let listed =
        [generation.and_then(|one| one.eos_token_id.as_ref()), settings.eos_token_id.as_ref()];
    let listed = listed.into_iter().flatten().flat_map(|ids| ids.all().iter().copied());
    let named = said.and_then(|said| said.eos_token.as_ref()).and_then(|token| tokens.id(token));
    let mut seen = BTreeSet::new();
    let ends: Vec<u32> = listed.chain(named).filter(|id| seen.insert(*id)).collect();
    if ends.is_empty() { Err(CheckpointError::NoEnd) } else { Ok((bos, ends)) }
}
