//! The types of `hospes:plugin/language` and those of [`crate::language`], into each other.

use super::wit;
use crate::language::{
    About, Chosen, Failure, Finish, Grammar, Likely, Part, Piece, Refusal, Sampling, TextPiece,
    Totals, Until,
};

impl From<wit::Part> for Part {
    fn from(part: wit::Part) -> Self {
        match part {
            wit::Part::Text(text) => Part::Text(text),
            wit::Part::Special(name) => Part::Special(name),
            wit::Part::Tokens(tokens) => Part::Tokens(tokens),
        }
    }
}

impl From<wit::Sampling> for Sampling {
    fn from(how: wit::Sampling) -> Self {
        Self {
            temperature: how.temperature,
            top_k: how.top_k,
            top_p: how.top_p,
            min_p: how.min_p,
            repeat: how.repeat,
            frequency: how.frequency,
            presence: how.presence,
            seed: how.seed,
            bias: how.bias,
            grammar: how.grammar.map(Into::into),
            logprobs: how.logprobs,
        }
    }
}

impl From<wit::Grammar> for Grammar {
    fn from(grammar: wit::Grammar) -> Self {
        match grammar {
            wit::Grammar::Json => Grammar::Json,
            wit::Grammar::JsonSchema(schema) => Grammar::JsonSchema(schema),
            wit::Grammar::Regex(regex) => Grammar::Regex(regex),
            wit::Grammar::Lark(lark) => Grammar::Lark(lark),
        }
    }
}

impl From<wit::Until> for Until {
    fn from(until: wit::Until) -> Self {
        Self { max_tokens: until.max_tokens, stop: until.stop, stop_tokens: until.stop_tokens }
    }
}

impl From<Piece> for wit::Piece {
    fn from(piece: Piece) -> Self {
        match piece {
            Piece::Text(text) => wit::Piece::Text(text.into()),
            Piece::End(totals) => wit::Piece::End(totals.into()),
        }
    }
}

impl From<TextPiece> for wit::TextPiece {
    fn from(piece: TextPiece) -> Self {
        let logprobs = piece.logprobs.into_iter().map(Into::into).collect();
        Self { text: piece.text, tokens: piece.tokens, logprobs }
    }
}

impl From<Chosen> for wit::Chosen {
    fn from(chosen: Chosen) -> Self {
        let top = chosen.top.into_iter().map(Into::into).collect();
        Self { token: chosen.token.into(), top }
    }
}

impl From<Likely> for wit::Likely {
    fn from(likely: Likely) -> Self {
        Self { token: likely.token, logprob: likely.logprob, bytes: likely.bytes }
    }
}

impl From<Totals> for wit::Totals {
    fn from(totals: Totals) -> Self {
        let finish = match totals.finish {
            Finish::Stop => wit::Finish::Stop,
            Finish::Length => wit::Finish::Length,
            Finish::Deadline => wit::Finish::Deadline,
        };
        let Totals { prompt, cached, completion, .. } = totals;
        Self { prompt, cached, completion, finish }
    }
}

impl From<Failure> for wit::Failure {
    fn from(failure: Failure) -> Self {
        let why = match failure.why {
            Refusal::TooLong => wit::Refusal::TooLong,
            Refusal::TokensSpent => wit::Refusal::TokensSpent,
            Refusal::Busy => wit::Refusal::Busy,
            Refusal::BadGrammar => wit::Refusal::BadGrammar,
            Refusal::Deadline => wit::Refusal::Deadline,
            Refusal::Invalid => wit::Refusal::Invalid,
        };
        Self { why, text: failure.text }
    }
}

impl From<&About> for wit::About {
    fn from(about: &About) -> Self {
        Self {
            context: about.context,
            vocabulary: about.vocabulary,
            template: about.template.clone(),
            end: about.end.clone(),
            specials: about.specials.clone(),
        }
    }
}
