//! Grammars that a generation must match, by llguidance. What it cannot do is an error that names it, never a grammar that allows more.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::{Matcher, ParserFactory};
use toktrie::{ApproximateTokEnv, SimpleVob, TokEnv, TokRxInfo, TokTrie};

use super::text::Text;
use hospes_core::language::{Failure, Grammar, Refusal};

/// Maximum bytes of a grammar.
pub const GRAMMAR_BYTES_MAX: usize = 256 << 10;
/// Maximum characters of a grammar's error that are passed on.
const ERROR_CHARS_MAX: usize = 300;

/// Compiles grammars for a model's tokens.
pub struct Grammars {
    factory: ParserFactory,
}

impl Grammars {
    /// Reads the tokens, which takes a quarter of a second for 50,000.
    ///
    /// # Errors
    /// What is wrong with the tokens.
    pub fn new(text: &Text) -> Result<Self, String> {
        let vocabulary = u32::try_from(text.vocabulary()).unwrap_or(u32::MAX);
        let end = text.end().first().copied().unwrap_or_default();
        // A control token cannot be a part of text. The marker keeps it out of every grammar.
        let word = |token: u32| match (text.is_control(token), text.name(token)) {
            (true, name) => {
                let mut word = vec![TokTrie::SPECIAL_TOKEN_MARKER];
                word.extend_from_slice(name.unwrap_or("<?>").as_bytes());
                word
            }
            (false, _) => text.bytes(token).to_vec(),
        };
        let words: Vec<Vec<u8>> = (0..vocabulary).map(word).collect();
        let trie = TokTrie::from(&TokRxInfo::new(vocabulary, end), &words);
        let trie = trie.with_eos_tokens(text.end());
        let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory =
            ParserFactory::new_simple(&environment).map_err(|error| error.to_string())?;
        factory.quiet();
        Ok(Self { factory })
    }

    /// Compiles a grammar.
    ///
    /// # Errors
    /// [`Refusal::BadGrammar`] with what it cannot do.
    pub fn compile(&self, grammar: &Grammar) -> Result<Matching, Failure> {
        let bytes = match grammar {
            Grammar::Json => 0,
            Grammar::JsonSchema(text) | Grammar::Regex(text) | Grammar::Lark(text) => text.len(),
        };
        if bytes > GRAMMAR_BYTES_MAX {
            return Err(bad(&format!("it has {bytes} bytes, more than {GRAMMAR_BYTES_MAX}")));
        }
        let grammar = match grammar {
            Grammar::Json => TopLevelGrammar::from_tagged_str("json_object", ""),
            Grammar::JsonSchema(text) => TopLevelGrammar::from_tagged_str("json_schema", text),
            Grammar::Regex(text) => TopLevelGrammar::from_tagged_str("regex", text),
            Grammar::Lark(text) => TopLevelGrammar::from_tagged_str("lark", text),
        };
        let grammar = grammar.map_err(|error| bad(&error.to_string()))?;
        let parser = catch_unwind(AssertUnwindSafe(|| self.factory.create_parser(grammar)));
        let parser = parser.map_err(|_panic| bad("it cannot be compiled"))?;
        let parser = parser.map_err(|error| bad(&error.to_string()))?;
        let matcher = Matcher::new(Ok(parser));
        match matcher.get_error() {
            Some(error) => Err(bad(&error)),
            None => Ok(Matching { matcher }),
        }
    }
}

/// A generation's place in its grammar.
pub struct Matching {
    matcher: Matcher,
}

/// The tokens that may come next.
pub struct Allowed(SimpleVob);

impl Allowed {
    pub fn has(&self, token: usize) -> bool {
        token < self.0.len() && self.0.get(token)
    }
}

impl Matching {
    /// The tokens that may come next: at its end only those that end a turn.
    ///
    /// # Errors
    /// [`Refusal::BadGrammar`] if it grows beyond the library's limits.
    pub fn allowed(&mut self) -> Result<Allowed, Failure> {
        let mask = self.matcher.compute_mask_or_eos().map_err(|error| bad(&error.to_string()))?;
        Ok(Allowed(mask))
    }

    /// Takes a token that was allowed. Returns whether the text is complete and nothing can follow.
    ///
    /// # Errors
    /// [`Refusal::BadGrammar`].
    pub fn take(&mut self, token: u32) -> Result<bool, Failure> {
        self.matcher.consume_token(token).map_err(|error| bad(&error.to_string()))?;
        Ok(self.matcher.is_stopped())
    }
}

impl std::fmt::Debug for Matching {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Matching")
    }
}

impl std::fmt::Debug for Grammars {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Grammars")
    }
}

fn bad(why: &str) -> Failure {
    let why: String = why.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let why: String = why.chars().take(ERROR_CHARS_MAX).collect();
    Failure { why: Refusal::BadGrammar, text: format!("the grammar cannot be used: {why}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::tests::text;

    fn grammars() -> Grammars {
        Grammars::new(&text()).expect("tokens")
    }

    /// How many of a text's bytes a grammar accepts, and whether it is complete then.
    fn accepted(matching: &mut Matching, text: &str) -> (usize, bool) {
        let mut complete = false;
        for (at, byte) in text.bytes().enumerate() {
            if !matching.allowed().expect("a mask").has(byte.into()) {
                return (at, complete);
            }
            complete = matching.take(byte.into()).expect("it was allowed");
        }
        (text.len(), complete)
    }

    #[test]
    fn a_schema_allows_what_it_says_and_nothing_else() {
        let schema = r#"{"type":"object","properties":{"name":{"enum":["add","sub"]},
            "x":{"type":"integer"}},"required":["name","x"],"additionalProperties":false}"#;
        let grammar = Grammar::JsonSchema(schema.into());
        let grammars = grammars();
        let call = r#"{"name": "add", "x": 12}"#;
        let mut matching = grammars.compile(&grammar).expect("a schema");
        assert_eq!(accepted(&mut matching, call), (call.len(), true));
        let mut matching = grammars.compile(&grammar).expect("a schema");
        assert_eq!(accepted(&mut matching, "Sure, here").0, 0);
        let mut matching = grammars.compile(&grammar).expect("a schema");
        let allowed = matching.allowed().expect("a mask");
        assert!(!allowed.has(256) && !allowed.has(257), "no control token, and no end yet");
        let wrong = r#"{"name": "mul"#;
        assert_eq!(accepted(&mut matching, wrong).0, wrong.len() - 3);
    }

    #[test]
    fn json_regular_expressions_and_lark_are_understood() {
        let grammars = grammars();
        let mut json = grammars.compile(&Grammar::Json).expect("json");
        assert_eq!(accepted(&mut json, r#"{"a":[1,{"b":null}]}"#), (20, true));
        let mut regex = grammars.compile(&Grammar::Regex("[ab]{2}c".into())).expect("a regex");
        assert_eq!(accepted(&mut regex, "abc"), (3, true));
        let lark = Grammar::Lark("start: \"yes\" | \"no\"".into());
        let mut lark = grammars.compile(&lark).expect("lark");
        assert_eq!(accepted(&mut lark, "no"), (2, true));
    }

    #[test]
    fn what_it_cannot_do_is_an_error_that_names_the_key() {
        let grammars = grammars();
        for (key, schema) in [
            ("unevaluatedProperties", r#"{"type":"object","unevaluatedProperties":false}"#),
            ("uniqueItems", r#"{"type":"array","items":{"type":"integer"},"uniqueItems":true}"#),
            ("$defs", r##"{"$ref":"#/$defs/none"}"##),
        ] {
            let failure = grammars.compile(&Grammar::JsonSchema(schema.into())).expect_err(key);
            assert_eq!(failure.why, Refusal::BadGrammar);
            assert!(failure.text.contains(key.trim_start_matches('$')), "{failure}");
        }
        let look_ahead = grammars.compile(&Grammar::Regex("(?=a)b".into()));
        assert_eq!(look_ahead.expect_err("look-ahead").why, Refusal::BadGrammar);
        let long = Grammar::Lark(" ".repeat(GRAMMAR_BYTES_MAX + 1));
        assert_eq!(grammars.compile(&long).expect_err("long").why, Refusal::BadGrammar);
    }
}
