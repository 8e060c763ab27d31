//! Lets the model speak: one sequence for each answer, and their pieces into one stream.

use std::rc::Rc;

use futures::lock::Mutex;
use wit_bindgen::{StreamReader, StreamWriter};

use super::bindings::wit_stream;
use super::prompt::{Prepared, fnv};
use super::{
    ArgumentsPiece, Assistant, Chosen, EndPiece, Event, Finish, Likely, Options, Piece, Reader,
    Refusal, TextPiece, ToolPiece, Usage, request,
};
use crate::language::{self, Sequence};

/// Sequences that a host gives one call.
const ANSWERS_MAX: usize = 16;

/// Begins all answers to all prompts, or none.
pub(super) async fn speak<A: Assistant>(
    prompts: Vec<Prepared>,
    options: &Options,
) -> Result<StreamReader<Piece>, Refusal> {
    let choices = request::choices(options)?;
    let open = prompts.len().saturating_mul(choices.into());
    if open == 0 || open > ANSWERS_MAX {
        let wanted = format!("{open} answers are wanted; one request may have 1 to {ANSWERS_MAX}");
        return Err(Refusal::invalid(wanted, Some("prompt")));
    }
    let mut answers = Vec::with_capacity(open);
    for (prompt, prepared) in prompts.iter().enumerate() {
        begin::<A>((prompt, prepared), (choices, options), &mut answers).await?;
    }
    let (writer, reader) = wit_stream::new();
    let read = vec![Used::default(); prompts.len()];
    let all = Rc::new(Mutex::new(All { writer, read, used: Used::default(), open }));
    for answer in answers {
        wit_bindgen::spawn_local(answer.run(Rc::clone(&all)));
    }
    Ok(reader)
}

/// Begins the answers to one prompt.
async fn begin<A: Assistant>(
    (prompt, prepared): (usize, &Prepared),
    (choices, options): (u8, &Options),
    answers: &mut Vec<Answer>,
) -> Result<(), Refusal> {
    let first = language::open(A::MODEL)?;
    first.append(&prepared.parts).map_err(|failure| Refusal::from(failure).about("messages"))?;
    let mut sequences = Vec::with_capacity(choices.into());
    for _ in 1..choices {
        sequences.push(first.fork()?);
    }
    sequences.push(first);
    for sequence in sequences {
        // At most ANSWERS_MAX.
        let choice = answers.len() as u8;
        let how = request::sampling::<A>(options, prepared.grammar.clone(), choice);
        let pieces = sequence.generate(how, request::until(options)).await;
        let pieces = pieces.map_err(|failure| match failure.why {
            language::Refusal::BadGrammar => Refusal::from(failure).about(prepared.of_grammar),
            _ => Refusal::from(failure),
        })?;
        answers.push(Answer {
            choice,
            prompt,
            pieces,
            _sequence: sequence,
            reader: prepared.reader(),
            logprobs: Vec::new(),
            calls: 0,
            hash: fnv(prepared.hash, &[choice]),
            used: Used::default(),
        });
    }
    Ok(())
}

/// What all answers share.
struct All {
    writer: StreamWriter<Piece>,
    /// What was read of each prompt: once, for all answers to it.
    read: Vec<Used>,
    used: Used,
    /// Answers that have not ended.
    open: usize,
}

#[derive(Default, Clone, Copy)]
struct Used {
    prompt: u32,
    cached: u32,
    completion: u32,
    reasoning: u32,
}

/// One answer.
struct Answer {
    choice: u8,
    /// Which of the prompts it answers.
    prompt: usize,
    pieces: StreamReader<language::Piece>,
    /// It lives as long as its pieces come.
    _sequence: Sequence,
    reader: Option<Reader>,
    /// Those of tokens whose text is held back.
    logprobs: Vec<Chosen>,
    /// Tools called so far.
    calls: u32,
    hash: u64,
    used: Used,
}

impl Answer {
    async fn run(mut self, all: Rc<Mutex<All>>) {
        while let Some(piece) = self.pieces.next().await {
            let (pieces, ended) = match piece {
                language::Piece::Text(text) => (self.text(text), false),
                language::Piece::End(totals) => (self.end(totals), true),
            };
            let mut all = all.lock().await;
            for piece in pieces {
                // The caller has left. Dropping the pieces ends the generation.
                if all.writer.write_one(piece).await.is_some() {
                    return;
                }
            }
            if ended {
                self.account(&mut all).await;
                return;
            }
        }
    }

    fn text(&mut self, piece: language::TextPiece) -> Vec<Piece> {
        self.logprobs.extend(piece.logprobs.into_iter().map(chosen));
        let Some(mut reader) = self.reader.take() else {
            return self.pieces(vec![Event::Text(piece.text)]);
        };
        if reader.reasons() {
            self.used.reasoning += piece.tokens;
        }
        let events = reader.push(&piece.text);
        self.reader = Some(reader);
        self.pieces(events)
    }

    fn end(&mut self, totals: language::Totals) -> Vec<Piece> {
        let events = self.reader.take().map(Reader::end).unwrap_or_default();
        let mut pieces = self.pieces(events);
        self.used.prompt = totals.prompt;
        self.used.cached = totals.cached;
        self.used.completion = totals.completion;
        let finish = match totals.finish {
            language::Finish::Stop if self.calls > 0 => Finish::ToolCalls,
            language::Finish::Stop => Finish::Stop,
            language::Finish::Length | language::Finish::Deadline => Finish::Length,
        };
        pieces.push(Piece::End(EndPiece { choice: self.choice, finish }));
        pieces
    }

    fn pieces(&mut self, events: Vec<Event>) -> Vec<Piece> {
        let mut pieces = Vec::with_capacity(events.len());
        for event in events {
            match event {
                Event::Text(text) => pieces.push(Piece::Text(self.piece(text))),
                Event::Reasoning(text) => pieces.push(Piece::Reasoning(self.piece(text))),
                Event::Call { name, arguments } => {
                    let (choice, call) = (self.choice, self.calls);
                    self.calls += 1;
                    let id = identifier(fnv(self.hash, &call.to_le_bytes()));
                    pieces.push(Piece::ToolCall(ToolPiece { choice, call, id, name }));
                    pieces.push(Piece::Arguments(ArgumentsPiece { choice, call, text: arguments }));
                }
            }
        }
        pieces
    }

    fn piece(&mut self, text: String) -> TextPiece {
        TextPiece { choice: self.choice, text, logprobs: std::mem::take(&mut self.logprobs) }
    }

    /// Adds to what all have used. The last answer reports it.
    async fn account(&self, all: &mut All) {
        let read = &mut all.read[self.prompt];
        read.prompt = read.prompt.max(self.used.prompt);
        read.cached = read.cached.max(self.used.cached);
        all.used.completion += self.used.completion;
        all.used.reasoning += self.used.reasoning;
        all.open -= 1;
        if all.open == 0 {
            let Used { completion, reasoning, .. } = all.used;
            let usage = Usage {
                prompt_tokens: all.read.iter().map(|read| read.prompt).sum(),
                cached_tokens: all.read.iter().map(|read| read.cached).sum(),
                completion_tokens: completion,
                reasoning_tokens: reasoning,
            };
            all.writer.write_one(Piece::Usage(usage)).await;
        }
    }
}

fn chosen(chosen: language::Chosen) -> Chosen {
    Chosen { token: likely(chosen.token), top: chosen.top.into_iter().map(likely).collect() }
}

fn likely(likely: language::Likely) -> Likely {
    let text = String::from_utf8_lossy(&likely.bytes).into_owned();
    Likely { text, bytes: likely.bytes, logprob: likely.logprob }
}

/// Nine letters and digits, as some models' templates want them.
fn identifier(mut hash: u64) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let digit = |_| {
        let digit = DIGITS[(hash % 62) as usize];
        hash /= 62;
        char::from(digit)
    };
    (0..9).map(digit).collect()
}
