//! Responses of `/v1/chat/completions`.

use std::sync::{Mutex, MutexGuard};

use serde_json::{Value as Json, json};

use super::converse::{Frame, suits};
use super::gathered::{Gathered, logprobs, used};
use super::told::{Course, Piece, Usage};
use crate::api::pieces::event;
use crate::call::pieces::PieceEncoder;
use crate::state::deployments::Function;
use crate::value::{Type, Value};

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

#[derive(Debug, Default)]
struct Answer {
    began: bool,
    /// What is sent as a whole.
    gathered: Gathered,
}

impl Encode {
    pub(super) fn new(
        frame: Frame,
        (stream, include_usage): (bool, bool),
        logprobs: bool,
        course: (Course, usize),
    ) -> Self {
        let (course, answers) = course;
        let answers = std::iter::repeat_with(Answer::default).take(answers).collect();
        let told = Mutex::new(Told { course, answers });
        Self { frame, stream, include_usage, logprobs, told }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn chunk(&self, choices: Json, usage: Option<Usage>) -> Vec<u8> {
        let mut chunk = self.frame.begin("chatcmpl", "chat.completion.chunk");
        chunk["choices"] = choices;
        if self.include_usage {
            chunk["usage"] = usage.map_or(Json::Null, used);
        }
        event(chunk.to_string().as_bytes())
    }

    /// The event for a piece.
    fn part(&self, piece: &Piece) -> Vec<u8> {
        let mut probable = None;
        let (choice, delta, finish) = match piece {
            Piece::Text(text) => {
                probable = Some(&text.logprobs);
                (text.choice, json!({"content": text.text}), None)
            }
            Piece::Reasoning(text) => (text.choice, json!({"reasoning_content": text.text}), None),
            Piece::Call { choice, call, id, name } => {
                let id = self.frame.call_id(id, *choice, *call);
                let call = json!({
                    "index": call,
                    "id": id,
                    "type": "function",
                    "function": {"name": name, "arguments": ""},
                });
                (*choice, json!({"tool_calls": [call]}), None)
            }
            Piece::Arguments { choice, call, text } => {
                let call = json!({"index": call, "function": {"arguments": text}});
                (*choice, json!({"tool_calls": [call]}), None)
            }
            Piece::End { choice, finish } => (*choice, json!({}), Some(finish.reason())),
        };
        let mut part = json!({"index": choice, "delta": delta, "finish_reason": finish});
        if self.logprobs {
            part["logprobs"] = probable
                .map_or(Json::Null, |all| json!({"content": logprobs(all), "refusal": null}));
        }
        self.chunk(json!([part]), None)
    }

    /// The first event of an answer, which says who speaks.
    fn opening(&self, choice: usize) -> Vec<u8> {
        let delta = json!({"role": "assistant", "content": ""});
        self.chunk(json!([{"index": choice, "delta": delta, "finish_reason": null}]), None)
    }

    /// An answer as a whole.
    fn message(&self, choice: usize, answer: &Gathered) -> Json {
        let calls = answer.calls.iter().zip(0..).map(|(call, place)| {
            json!({
                "id": self.frame.call_id(&call.id, choice, place),
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            })
        });
        let calls: Vec<_> = calls.collect();
        let content = match answer.text.is_empty() && !calls.is_empty() {
            true => Json::Null,
            false => json!(answer.text),
        };
        let mut message = json!({"role": "assistant", "content": content, "refusal": null});
        if !calls.is_empty() {
            message["tool_calls"] = json!(calls);
        }
        if !answer.reasoning.is_empty() {
            message["reasoning_content"] = json!(answer.reasoning);
        }
        let probable = match self.logprobs {
            true => json!({"content": logprobs(&answer.logprobs), "refusal": null}),
            false => Json::Null,
        };
        json!({"index": choice, "message": message, "logprobs": probable, "finish_reason": answer.reason()})
    }
}

impl PieceEncoder for Encode {
    fn suits(&self, function: &Function) -> Result<(), String> {
        suits(&self.frame, function)
    }

    fn piece(&self, value: &Value, element: &Type) -> Result<Vec<u8>, String> {
        let mut told = self.told();
        let Some(piece) = told.course.take(value, element)? else { return Ok(Vec::new()) };
        let choice = piece.choice();
        let Some(answer) = told.answers.get_mut(choice) else { return Ok(Vec::new()) };
        if !self.stream {
            answer.gathered.add(piece);
            return Ok(Vec::new());
        }
        let mut out = match std::mem::replace(&mut answer.began, true) {
            true => Vec::new(),
            false => self.opening(choice),
        };
        out.extend(self.part(&piece));
        Ok(out)
    }

    fn end(&self) -> Result<Vec<u8>, String> {
        let told = self.told();
        let usage = told.course.end()?;
        if !self.stream {
            let mut whole = self.frame.begin("chatcmpl", "chat.completion");
            let answers = told.answers.iter().enumerate();
            whole["choices"] =
                answers.map(|(choice, answer)| self.message(choice, &answer.gathered)).collect();
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
