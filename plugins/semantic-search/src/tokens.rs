//! BERT's tokenizer for uncased models: cleans a text, splits it into words, and words into pieces of the vocabulary.
//!
//! Names of special tokens in a text, such as `[CLS]`, are ordinary text, so that a text cannot insert special tokens.

use unicode_general_category::{GeneralCategory, get_general_category};
use unicode_normalization::UnicodeNormalization as _;

use crate::vocabulary::{piece, word};

/// Maximum tokens of a text, including the two around it, as in the model's training. Further tokens are cut.
pub(crate) const TOKENS_MAX: usize = 256;

/// Longer words, in characters, become the unknown token.
const WORD_CHARS_MAX: usize = 100;

const UNKNOWN: i64 = 100;
const START: i64 = 101;
const END: i64 = 102;

/// The tokens of a text.
pub(crate) fn of(text: &str) -> Vec<i64> {
    let mut tokens = vec![START];
    for word in words(text) {
        if tokens.len() >= TOKENS_MAX {
            break;
        }
        pieces(&word, &mut tokens);
    }
    tokens.truncate(TOKENS_MAX - 1);
    tokens.push(END);
    tokens
}

/// The words of a text. Each punctuation mark and each Chinese character is a word of its own.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    // These characters are enough for more tokens than are kept, so the rest changes nothing.
    for c in text.chars().filter(|c| !is_dropped(*c)) {
        if is_chinese(c) {
            finish(&mut word, &mut words);
            word.push(c);
            finish(&mut word, &mut words);
            continue;
        }
        for plain in std::iter::once(c).nfd().filter(|c| !is_mark(*c)).flat_map(char::to_lowercase)
        {
            if plain.is_whitespace() {
                finish(&mut word, &mut words);
            } else if is_punctuation(plain) {
                finish(&mut word, &mut words);
                word.push(plain);
                finish(&mut word, &mut words);
            } else {
                word.push(plain);
            }
        }
        if words.len() >= TOKENS_MAX {
            break;
        }
    }
    finish(&mut word, &mut words);
    words
}

fn finish(word: &mut String, words: &mut Vec<String>) {
    if !word.is_empty() {
        words.push(std::mem::take(word));
    }
}

/// Splits a word into the longest pieces of the vocabulary, from its start. Returns the unknown token if that fails.
fn pieces(text: &str, tokens: &mut Vec<i64>) {
    let before = tokens.len();
    if text.chars().count() > WORD_CHARS_MAX {
        tokens.push(UNKNOWN);
        return;
    }
    let mut start = 0;
    while start < text.len() {
        let ends = text[start..].char_indices().map(|(at, c)| start + at + c.len_utf8()).rev();
        let look = |end: usize| {
            let part = &text[start..end];
            if start == 0 { word(part) } else { piece(part) }
        };
        match ends.into_iter().find_map(|end| look(end).map(|id| (end, id))) {
            Some((end, id)) => {
                tokens.push(id);
                start = end;
            }
            None => {
                tokens.truncate(before);
                tokens.push(UNKNOWN);
                return;
            }
        }
    }
}

/// Control characters, and the replacement character.
fn is_dropped(c: char) -> bool {
    use GeneralCategory::{Control, Format, PrivateUse, Unassigned};
    let is_other = matches!(get_general_category(c), Control | Format | PrivateUse | Unassigned);
    c == '\0' || c == '\u{fffd}' || (is_other && !matches!(c, '\t' | '\n' | '\r'))
}

/// Accents, after they were separated from their letters.
fn is_mark(c: char) -> bool {
    get_general_category(c) == GeneralCategory::NonspacingMark
}

fn is_punctuation(c: char) -> bool {
    use GeneralCategory::{
        ClosePunctuation, ConnectorPunctuation, DashPunctuation, FinalPunctuation,
        InitialPunctuation, OpenPunctuation, OtherPunctuation,
    };
    c.is_ascii_punctuation()
        || matches!(
            get_general_category(c),
            ClosePunctuation
                | ConnectorPunctuation
                | DashPunctuation
                | FinalPunctuation
                | InitialPunctuation
                | OpenPunctuation
                | OtherPunctuation
        )
}

/// The blocks of unified ideographs that BERT splits.
fn is_chinese(c: char) -> bool {
    matches!(
        u32::from(c),
        0x4e00..=0x9fff
            | 0x3400..=0x4dbf
            | 0x20000..=0x2a6df
            | 0x2a700..=0x2b73f
            | 0x2b740..=0x2b81f
            | 0x2b920..=0x2ceaf
            | 0xf900..=0xfaff
            | 0x2f800..=0x2fa1f
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The result of the package `tokenizers` for the same texts, with the model's own tokenizer.json.
    const KNOWN: &str = include_str!("../tests/tokens.json");

    #[test]
    fn every_known_text_has_its_tokens() {
        let known: Vec<(String, Vec<i64>)> = serde_json::from_str(KNOWN).expect("a list of pairs");
        assert!(known.len() > 20);
        for (text, tokens) in known {
            assert_eq!(of(&text), tokens, "{text:?}");
        }
    }

    #[test]
    fn a_text_is_cut_and_says_nothing_special() {
        assert_eq!(of(&"word ".repeat(10_000)).len(), TOKENS_MAX);
        assert_eq!(of("").len(), 2);
        assert!(of("[CLS]").len() > 3);
    }
}
