//! What a model says, from the pieces of either version of the interface `chat`, checked: answers end, calls come in their order, and there
//! are no more bytes than a response may have.

mod types;

use bytes::Bytes;

pub(super) use types::piece;

use super::asked::Dialect;
use crate::value::{Type, Value};

/// What a piece counts for beside its texts: a guest cannot fill memory with empty ones.
const PIECE_BYTES: u64 = 64;

/// A piece of an answer.
#[derive(Debug)]
pub(super) enum Piece {
    Text(Text),
    Reasoning(Text),
    /// A call begins.
    Call {
        choice: usize,
        call: u32,
        id: String,
        name: String,
    },
    /// More of a call's arguments.
    Arguments {
        choice: usize,
        call: u32,
        text: String,
    },
    /// The last piece of one answer.
    End {
        choice: usize,
        finish: Finish,
    },
}

impl Piece {
    /// The answer that it belongs to.
    pub(super) fn choice(&self) -> usize {
        match self {
            Piece::Text(Text { choice, .. })
            | Piece::Reasoning(Text { choice, .. })
            | Piece::Call { choice, .. }
            | Piece::Arguments { choice, .. }
            | Piece::End { choice, .. } => *choice,
        }
    }
}

/// More of a text.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) choice: usize,
    pub(super) text: String,
    pub(super) logprobs: Vec<Chosen>,
}

/// A token, with the likeliest ones at its place.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) token: Likely,
    pub(super) top: Vec<Likely>,
}

#[derive(Debug)]
pub(super) struct Likely {
    pub(super) text: String,
    pub(super) bytes: Bytes,
    pub(super) logprob: f32,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finish {
    Stop,
    Length,
    Calls,
}

impl Finish {
    /// The word for it in `finish_reason`.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Finish::Stop => "stop",
            Finish::Length => "length",
            Finish::Calls => "tool_calls",
        }
    }
}

/// The tokens of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) prompt: u32,
    pub(super) completion: u32,
    /// Cached tokens of the prompt and reasoning tokens of the completion; version 0.1 of the interface does not say.
    pub(super) details: Option<(u32, u32)>,
}

impl Usage {
    pub(super) fn total(self) -> u64 {
        u64::from(self.prompt) + u64::from(self.completion)
    }
}

/// The state of one answer.
#[derive(Debug, Default, Clone)]
struct Progress {
    calls: u32,
    ended: bool,
}

/// The course of a model's answers.
#[derive(Debug)]
pub(super) struct Course {
    dialect: Dialect,
    answers: Vec<Progress>,
    usage: Option<Usage>,
    bytes: u64,
    bytes_max: u64,
}

impl Course {
    /// `answers` answers of together at most `bytes_max` bytes.
    pub(super) fn new(dialect: Dialect, answers: usize, bytes_max: u64) -> Self {
        let answers = vec![Progress::default(); answers];
        Self { dialect, answers, usage: None, bytes: 0, bytes_max }
    }

    /// The next piece; `None` if it is the last one, or a summary of which the caller sees nothing yet.
    ///
    /// # Errors
    /// What is wrong with it, for the caller.
    pub(super) fn take(&mut self, value: &Value, element: &Type) -> Result<Option<Piece>, String> {
        if element != piece(self.dialect) {
            return Err(
                "the agreement does not let out what an answer of this endpoint needs".to_owned()
            );
        }
        if self.usage.is_some() {
            return Err("the plugin went on after the end of its answer".to_owned());
        }
        let read = match self.dialect {
            Dialect::First => first(value),
            Dialect::Second => second(value),
        };
        let (piece, usage) = read.ok_or("a piece of the answer is not what its type says")?;
        self.usage = usage;
        if let Some(piece) = &piece {
            self.count(piece)?;
            self.follow(piece)?;
        }
        if usage.is_some() && self.answers.iter().any(|answer| !answer.ended) {
            return Err(NO_END.to_owned());
        }
        Ok(piece)
    }

    /// The tokens of it all.
    ///
    /// # Errors
    /// If the plugin has not come to an end.
    pub(super) fn end(&self) -> Result<Usage, String> {
        self.usage.ok_or_else(|| NO_END.to_owned())
    }

    fn count(&mut self, piece: &Piece) -> Result<(), String> {
        let likely = |likely: &Likely| likely.text.len() + likely.bytes.len();
        let texts = match piece {
            Piece::Text(text) | Piece::Reasoning(text) => {
                let tokens = text.logprobs.iter().flat_map(|chosen| {
                    std::iter::once(&chosen.token).chain(&chosen.top).map(likely)
                });
                text.text.len() + tokens.sum::<usize>()
            }
            Piece::Call { id, name, .. } => id.len() + name.len(),
            Piece::Arguments { text, .. } => text.len(),
            Piece::End { .. } => 0,
        };
        self.bytes = self.bytes.saturating_add(texts as u64).saturating_add(PIECE_BYTES);
        let max = self.bytes_max;
        match self.bytes > max {
            true => Err(format!("the answer has more than {max} bytes (`api.response_bytes_max`)")),
            false => Ok(()),
        }
    }

    /// Checks that the piece may come now.
    fn follow(&mut self, piece: &Piece) -> Result<(), String> {
        let answer = self.answers.get_mut(piece.choice());
        let answer = answer.ok_or("the plugin gave more answers than it was asked for")?;
        if answer.ended {
            return Err("the plugin went on after the end of its answer".to_owned());
        }
        match piece {
            Piece::Call { call, .. } if *call == answer.calls => answer.calls += 1,
            Piece::Arguments { call, .. } if call + 1 == answer.calls => {}
            Piece::Call { .. } | Piece::Arguments { .. } => {
                return Err("the plugin's calls of tools are out of order".to_owned());
            }
            Piece::End { .. } => answer.ended = true,
            Piece::Text(_) | Piece::Reasoning(_) => {}
        }
        Ok(())
    }
}

const NO_END: &str = "the plugin did not say how its answer ended";

type Read = Option<(Option<Piece>, Option<Usage>)>;

fn first(value: &Value) -> Read {
    match value {
        Value::Variant(0, Some(text)) => {
            let Value::String(text) = &**text else { return None };
            let text = Text { choice: 0, text: text.to_string(), logprobs: Vec::new() };
            Some((Some(Piece::Text(text)), None))
        }
        Value::Variant(1, Some(summary)) => {
            let [Value::Enum(finish), Value::U32(prompt), Value::U32(completion)] =
                record(summary)?
            else {
                return None;
            };
            let usage = Usage { prompt: *prompt, completion: *completion, details: None };
            Some((Some(Piece::End { choice: 0, finish: finish_of(*finish)? }), Some(usage)))
        }
        _ => None,
    }
}

fn second(value: &Value) -> Read {
    let Value::Variant(case, Some(payload)) = value else { return None };
    let piece = match (case, record(payload)?) {
        (0, [choice, text, logprobs]) => Piece::Text(text_piece(choice, text, logprobs)?),
        (1, [choice, text, logprobs]) => Piece::Reasoning(text_piece(choice, text, logprobs)?),
        (2, [Value::U8(choice), Value::U32(call), Value::String(id), Value::String(name)]) => {
            let (choice, call) = (usize::from(*choice), *call);
            Piece::Call { choice, call, id: id.to_string(), name: name.to_string() }
        }
        (3, [Value::U8(choice), Value::U32(call), Value::String(text)]) => {
            let (choice, call) = (usize::from(*choice), *call);
            Piece::Arguments { choice, call, text: text.to_string() }
        }
        (4, [Value::U8(choice), Value::Enum(finish)]) => {
            Piece::End { choice: usize::from(*choice), finish: finish_of(*finish)? }
        }
        (
            5,
            [Value::U32(prompt), Value::U32(cached), Value::U32(completion), Value::U32(reasoning)],
        ) => {
            let details = Some((*cached, *reasoning));
            let usage = Usage { prompt: *prompt, completion: *completion, details };
            return Some((None, Some(usage)));
        }
        _ => return None,
    };
    Some((Some(piece), None))
}

fn record(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Record(members) => Some(members),
        _ => None,
    }
}

fn finish_of(place: u32) -> Option<Finish> {
    [Finish::Stop, Finish::Length, Finish::Calls].get(place as usize).copied()
}

fn text_piece(choice: &Value, text: &Value, logprobs: &Value) -> Option<Text> {
    let (Value::U8(choice), Value::String(text), Value::List(logprobs)) = (choice, text, logprobs)
    else {
        return None;
    };
    let logprobs = logprobs.iter().map(|chosen| {
        let [token, Value::List(top)] = record(chosen)? else { return None };
        Some(Chosen {
            token: likely(token)?,
            top: top.iter().map(likely).collect::<Option<Vec<_>>>()?,
        })
    });
    Some(Text {
        choice: usize::from(*choice),
        text: text.to_string(),
        logprobs: logprobs.collect::<Option<Vec<_>>>()?,
    })
}

fn likely(value: &Value) -> Option<Likely> {
    let [Value::String(text), Value::Packed(bytes), Value::F32(logprob)] = record(value)? else {
        return None;
    };
    Some(Likely { text: text.to_string(), bytes: bytes.clone(), logprob: *logprob })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(choice: u8) -> Value {
        let members = vec![Value::U8(choice), Value::String("ab".into()), Value::List(Vec::new())];
        Value::Variant(0, Some(Box::new(Value::Record(members))))
    }

    fn call(call: u32) -> Value {
        let name = || Value::String("f".into());
        let members = vec![Value::U8(0), Value::U32(call), name(), name()];
        Value::Variant(2, Some(Box::new(Value::Record(members))))
    }

    fn arguments(call: u32) -> Value {
        let members = vec![Value::U8(0), Value::U32(call), Value::String("{}".into())];
        Value::Variant(3, Some(Box::new(Value::Record(members))))
    }

    fn end(choice: u8) -> Value {
        let members = vec![Value::U8(choice), Value::Enum(0)];
        Value::Variant(4, Some(Box::new(Value::Record(members))))
    }

    fn usage() -> Value {
        Value::Variant(5, Some(Box::new(Value::Record(vec![Value::U32(1); 4]))))
    }

    fn wrong(pieces: &[Value]) -> Option<String> {
        let mut course = Course::new(Dialect::Second, 2, 1000);
        let element = piece(Dialect::Second);
        let wrong = pieces.iter().find_map(|piece| course.take(piece, element).err());
        wrong.or_else(|| course.end().err())
    }

    #[test]
    fn answers_come_in_any_order_and_every_one_ends() {
        assert_eq!(
            wrong(&[text(1), text(0), end(1), call(0), arguments(0), end(0), usage()]),
            None
        );
        for (pieces, why) in [
            (vec![text(0), end(0), end(1)], "did not say how"),
            (vec![end(0), usage()], "did not say how"),
            (vec![text(2)], "more answers"),
            (vec![end(0), text(0)], "went on"),
            (vec![end(0), end(1), usage(), text(0)], "went on"),
            (vec![arguments(0)], "out of order"),
            (vec![call(1)], "out of order"),
            (vec![call(0), call(0)], "out of order"),
            (vec![call(0), call(1), arguments(0)], "out of order"),
            (vec![text(0); 16], "more than 1000 bytes"),
            (vec![Value::Bool(true)], "not what its type says"),
        ] {
            let said = wrong(&pieces).expect(why);
            assert!(said.contains(why), "{said} is not about: {why}");
        }
    }

    #[test]
    fn what_the_agreement_holds_back_is_no_answer() {
        let mut course = Course::new(Dialect::Second, 1, 1000);
        let said = course.take(&text(0), &Type::String).expect_err("another type");
        assert!(said.contains("does not let out"), "{said}");
    }
}
