//! `/v1/completions`: its requests and responses.

use std::sync::{Mutex, MutexGuard};

use serde_json::value::RawValue;
use serde_json::{Value as Json, json};

use super::asked::{Asked, Prompt, Speech};
use super::converse::{Frame, suits};
use super::gathered::{Gathered, used};
use super::members::{
    MemberRules, Members, Plain, Refusal, Rule, each, is_list, missing, unexpected,
};
use super::options::{COMMON, common, streaming};
use super::told::{Chosen, Course, Piece, Usage};
use crate::api::pieces::event;
use crate::call::pieces::PieceEncoder;
use crate::state::deployments::Function;
use crate::value::parse::without_bom;
use crate::value::{Type, Value};

/// Maximum answers of a request, to all its prompts.
const ANSWERS_MAX: usize = 128;

/// Maximum tokens of a prompt.
const TOKENS_MAX: usize = 1 << 20;

/// Maximum alternatives of a token, as in OpenAI's API.
const ALTERNATIVES_MAX: u8 = 5;

const COMPLETION: MemberRules = &[
    ("prompt", Rule::Read),
    ("best_of", Rule::Only(&[Plain::One])),
    ("echo", Rule::Newer(&[Plain::False])),
    ("logprobs", Rule::Newer(&[Plain::False])),
    ("suffix", Rule::Only(&[Plain::Empty])),
];

/// A request for what follows a prompt.
#[derive(Debug)]
pub(super) struct Completion {
    pub(super) asked: Asked,
    pub(super) stream: bool,
    /// Whether the last event of a stream reports the usage.
    pub(super) include_usage: bool,
    /// Whether answers begin with their prompts.
    pub(super) echo: bool,
}

/// Parses a request.
pub(super) fn completion(wire: &[u8]) -> Result<Completion, Refusal> {
    let members = Members::read(without_bom(wire), &[COMPLETION, COMMON])?;
    let raw = members.raw("prompt").ok_or_else(|| missing("prompt"))?;
    let prompts = prompts(raw)?;
    let mut options = common(&members)?;
    options.logprobs = likely(&members)?;
    let answers = prompts.len() * usize::from(options.choices);
    if answers > ANSWERS_MAX {
        let detail = format!(
            "`prompt` and `n` ask for {answers} answers, a request can ask for {ANSWERS_MAX}"
        );
        return Err(Refusal::of("prompt", detail));
    }
    let echo = members.get("echo", "true or false")?.unwrap_or(false);
    let has_tokens = prompts.iter().any(|prompt| matches!(prompt, Prompt::Tokens(_)));
    if echo && has_tokens {
        let detail = "`echo` needs a `prompt` of text: the host does not turn tokens into text";
        return Err(Refusal::of("echo", detail));
    }
    if echo && options.logprobs.is_some() {
        let detail = "`echo` and `logprobs` are not supported together: the prompt's own log probabilities are not known";
        return Err(Refusal::of("echo", detail));
    }
    let newer = members.newer().or_else(|| beyond_first(&prompts));
    let model = members.need("model", "a text")?;
    let (stream, include_usage) = streaming(&members)?;
    let asked = Asked { model, speech: Speech::Prompts(prompts), options, newer };
    Ok(Completion { asked, stream, include_usage, echo })
}

/// Why version 0.1 of the interface, which takes a user's turn, cannot go on from these prompts.
fn beyond_first(prompts: &[Prompt]) -> Option<Refusal> {
    let detail = match prompts {
        [Prompt::Text(_)] => return None,
        [Prompt::Tokens(_), ..] => {
            "`prompt` is a text or an array of one text: tokens of another tokenizer mean nothing to this model"
        }
        _ => {
            "this model gives one answer: `prompt` can be a list of one text; send a request for each"
        }
    };
    Some(Refusal::of("prompt", detail))
}

/// A text, the tokens of one, or a list of either.
fn prompts(raw: &RawValue) -> Result<Vec<Prompt>, Refusal> {
    let mut prompts = Vec::new();
    if !is_list(raw) {
        prompts.push(Prompt::Text(text(raw)?));
        return Ok(prompts);
    }
    let first = raw.get()[1..].trim_start();
    if first.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
        prompts.push(Prompt::Tokens(tokens(raw)?));
        return Ok(prompts);
    }
    each("prompt", raw, |index, element| {
        if index == ANSWERS_MAX {
            let detail = format!("`prompt` has more than {ANSWERS_MAX} entries");
            return Err(Refusal::of("prompt", detail));
        }
        prompts.push(match is_list(element) {
            true => Prompt::Tokens(tokens(element)?),
            false => Prompt::Text(text(element)?),
        });
        Ok(())
    })?;
    match prompts.is_empty() {
        true => Err(Refusal::of("prompt", "`prompt` is an empty list")),
        false => Ok(prompts),
    }
}

fn text(raw: &RawValue) -> Result<String, Refusal> {
    let expected = "a text, a list of token ids, or a list of these";
    serde_json::from_str(raw.get()).map_err(|_| unexpected("prompt", expected, raw))
}

fn tokens(raw: &RawValue) -> Result<Vec<u32>, Refusal> {
    let mut tokens = Vec::new();
    each("prompt", raw, |index, element| {
        if index == TOKENS_MAX {
            return Err(Refusal::of(
                "prompt",
                format!("a prompt has more than {TOKENS_MAX} tokens"),
            ));
        }
        let token = serde_json::from_str(element.get());
        tokens.push(token.map_err(|_| unexpected("prompt", "made of token ids", element))?);
        Ok(())
    })?;
    Ok(tokens)
}

/// The number of alternatives that are reported for each token.
fn likely(members: &Members<'_>) -> Result<Option<u8>, Refusal> {
    let Some(raw) = members.raw("logprobs") else { return Ok(None) };
    // Clients that take it for the chats' member send false.
    if raw.get() == "false" {
        return Ok(None);
    }
    let expected = format!("a number of tokens from 0 to {ALTERNATIVES_MAX}");
    match serde_json::from_str(raw.get()) {
        Ok(number @ 0..=ALTERNATIVES_MAX) => Ok(Some(number)),
        Ok(_) | Err(_) => Err(unexpected("logprobs", &expected, raw)),
    }
}

/// Serialises the pieces of one response.
#[derive(Debug)]
pub(super) struct Encode {
    frame: Frame,
    stream: bool,
    include_usage: bool,
    /// Whether the client wants log probabilities.
    logprobs: bool,
    told: Mutex<Told>,
}

/// The response so far.
#[derive(Debug)]
struct Told {
    course: Course,
    answers: Vec<Answer>,
}

#[derive(Debug)]
struct Answer {
    /// The prompt, if the answer begins with it and has not begun.
    echo: Option<String>,
    /// Characters that were sent.
    offset: usize,
    /// What is sent as a whole.
    gathered: Gathered,
}

impl Encode {
    /// `echoes` has the prompt of every answer that begins with it.
    pub(super) fn new(
        frame: Frame,
        (stream, include_usage): (bool, bool),
        logprobs: bool,
        course: Course,
        echoes: Vec<Option<String>>,
    ) -> Self {
        let answers = echoes.into_iter();
        let answers = answers.map(|echo| Answer { echo, offset: 0, gathered: Gathered::default() });
        let told = Mutex::new(Told { course, answers: answers.collect() });
        Self { frame, stream, include_usage, logprobs, told }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn chunk(&self, choices: Json, usage: Option<Usage>) -> Vec<u8> {
        let mut chunk = self.frame.begin("cmpl", "text_completion");
        chunk["choices"] = choices;
        if self.include_usage {
            chunk["usage"] = usage.map_or(Json::Null, used);
        }
        event(chunk.to_string().as_bytes())
    }

    /// One entry of `choices`.
    fn part(
        &self,
        choice: usize,
        (text, offset): (&str, usize),
        chosen: &[Chosen],
        finish: Option<&str>,
    ) -> Json {
        let probable = match self.logprobs && !chosen.is_empty() {
            true => logprobs(chosen, offset),
            false => Json::Null,
        };
        json!({"index": choice, "text": text, "logprobs": probable, "finish_reason": finish})
    }
}

/// The tokens of a text with their log probabilities, as completions have them; the text begins at character `offset` of the answer.
fn logprobs(chosen: &[Chosen], mut offset: usize) -> Json {
    let (mut tokens, mut numbers, mut tops, mut offsets) = (vec![], vec![], vec![], vec![]);
    for Chosen { token, top } in chosen {
        tokens.push(json!(token.text));
        numbers.push(json!(token.logprob));
        let top = top.iter().map(|likely| (likely.text.clone(), json!(likely.logprob)));
        tops.push(Json::Object(top.collect()));
        offsets.push(json!(offset));
        offset += token.text.chars().count();
    }
    json!({"tokens": tokens, "token_logprobs": numbers, "top_logprobs": tops, "text_offset": offsets})
}

impl PieceEncoder for Encode {
    fn suits(&self, function: &Function) -> Result<(), String> {
        suits(&self.frame, function)
    }

    fn piece(&self, value: &Value, element: &Type) -> Result<Vec<u8>, String> {
        let mut told = self.told();
        let Some(piece) = told.course.take(value, element)? else { return Ok(Vec::new()) };
        if matches!(piece, Piece::Reasoning(_) | Piece::Call { .. } | Piece::Arguments { .. }) {
            return Err("the plugin's answer is not a text".to_owned());
        }
        let choice = piece.choice();
        let Some(answer) = told.answers.get_mut(choice) else { return Ok(Vec::new()) };
        if !self.stream {
            answer.gathered.add(piece);
            return Ok(Vec::new());
        }
        let mut out = Vec::new();
        if let Some(echo) = answer.echo.take() {
            answer.offset += echo.chars().count();
            out = self.chunk(json!([self.part(choice, (&echo, 0), &[], None)]), None);
        }
        let part = match &piece {
            Piece::Text(text) => {
                let offset = answer.offset;
                answer.offset += text.text.chars().count();
                self.part(choice, (&text.text, offset), &text.logprobs, None)
            }
            Piece::End { finish, .. } => {
                self.part(choice, ("", answer.offset), &[], Some(finish.reason()))
            }
            Piece::Reasoning(_) | Piece::Call { .. } | Piece::Arguments { .. } => return Ok(out),
        };
        out.extend(self.chunk(json!([part]), None));
        Ok(out)
    }

    fn end(&self) -> Result<Vec<u8>, String> {
        let told = self.told();
        let usage = told.course.end()?;
        if !self.stream {
            let mut whole = self.frame.begin("cmpl", "text_completion");
            let answers = told.answers.iter().enumerate().map(|(choice, answer)| {
                let gathered = &answer.gathered;
                let text = format!("{}{}", answer.echo.as_deref().unwrap_or(""), gathered.text);
                self.part(choice, (&text, 0), &gathered.logprobs, gathered.reason())
            });
            whole["choices"] = answers.collect();
            whole["usage"] = used(usage);
            return Ok(whole.to_string().into_bytes());
        }
        let mut out = Vec::new();
        if self.include_usage {
            out.extend(self.chunk(json!([]), Some(usage)));
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
        Ok(out)
    }
}
