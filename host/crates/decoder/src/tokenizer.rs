//! Checks a `tokenizer.json`: its size, its kind and its tokens' ids. Does not tokenise.

use std::borrow::Cow;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::refused::TokenizerRefused;

/// Maximum size of a `tokenizer.json` in bytes.
pub const TOKENIZER_BYTES_MAX: usize = 64 << 20;
/// Maximum characters of a token in an error.
const QUOTED_CHARS_MAX: usize = 40;

#[derive(Deserialize)]
struct File<'a> {
    #[serde(borrow)]
    model: Model<'a>,
    #[serde(borrow, default)]
    added_tokens: Vec<Added<'a>>,
}

#[derive(Deserialize)]
struct Model<'a> {
    /// Some writers leave it out.
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    vocab: Vocabulary<'a>,
}

#[derive(Deserialize)]
struct Added<'a> {
    id: u64,
    #[serde(borrow)]
    content: Cow<'a, str>,
}

/// Tokens with their ids.
struct Vocabulary<'a>(Vec<(Cow<'a, str>, u64)>);

impl<'de: 'a, 'a> Deserialize<'de> for Vocabulary<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(VocabularyVisitor).map(Self)
    }
}

struct VocabularyVisitor;

impl<'de> Visitor<'de> for VocabularyVisitor {
    type Value = Vec<(Cow<'de, str>, u64)>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("tokens with ids, or with scores")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some((Text(token), id)) = map.next_entry()? {
            all.push((token, id));
        }
        Ok(all)
    }

    /// Unigram: a token's id is its place.
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some((Text(token), IgnoredAny)) = list.next_element()? {
            all.push((token, all.len() as u64));
        }
        Ok(all)
    }
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Checks a tokenizer for a model with this vocabulary. Returns its text.
pub(super) fn check(bytes: &[u8], vocabulary: u32) -> Result<&str, TokenizerRefused> {
    if bytes.len() > TOKENIZER_BYTES_MAX {
        return Err(TokenizerRefused::TooLarge { bytes: bytes.len() });
    }
    let text = std::str::from_utf8(bytes).map_err(|_| TokenizerRefused::NotText)?;
    let File { model, added_tokens } =
        serde_json::from_str(text).map_err(TokenizerRefused::Json)?;
    let kind = model.kind.as_deref().unwrap_or("BPE");
    if !matches!(kind, "BPE" | "Unigram") {
        return Err(TokenizerRefused::Model { found: quoted(kind) });
    }
    let Vocabulary(tokens) = model.vocab;
    if tokens.is_empty() {
        return Err(TokenizerRefused::Empty);
    }
    let count = tokens.len().max(added_tokens.len());
    if count > vocabulary as usize {
        return Err(TokenizerRefused::TooMany { count, vocabulary });
    }
    let below = |token: &str, id: u64| {
        let outside = || TokenizerRefused::Id { token: quoted(token), id, vocabulary };
        u32::try_from(id).ok().filter(|id| *id < vocabulary).ok_or_else(outside)
    };
    let mut seen = vec![false; vocabulary as usize];
    for (token, id) in &tokens {
        let id = below(token, *id)?;
        // `below` has checked that there is a place.
        let place = seen.get_mut(id as usize);
        if place.is_some_and(|seen| std::mem::replace(seen, true)) {
            return Err(TokenizerRefused::Twice { id });
        }
    }
    added_tokens.iter().try_for_each(|added| below(&added.content, added.id).map(drop))?;
    Ok(text)
}

fn quoted(text: &str) -> String {
    text.chars().take(QUOTED_CHARS_MAX).flat_map(char::escape_default).collect()
}
