//! Answers that are sent as a whole, and the parts of the response that the endpoints share.

use serde_json::{Value as Json, json};

use super::told::{Chosen, Finish, Likely, Piece, Usage};

/// One answer so far.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) text: String,
    pub(super) reasoning: String,
    pub(super) calls: Vec<Asking>,
    pub(super) logprobs: Vec<Chosen>,
    pub(super) finish: Option<Finish>,
}

/// A call that the assistant asks for.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: String,
}

impl Gathered {
    /// Adds a piece of this answer.
    pub(super) fn add(&mut self, piece: Piece) {
        match piece {
            Piece::Text(text) => {
                self.text.push_str(&text.text);
                self.logprobs.extend(text.logprobs);
            }
            Piece::Reasoning(text) => self.reasoning.push_str(&text.text),
            Piece::Call { id, name, .. } => {
                self.calls.push(Asking { id, name, arguments: String::new() });
            }
            Piece::Arguments { text, .. } => {
                if let Some(call) = self.calls.last_mut() {
                    call.arguments.push_str(&text);
                }
            }
            Piece::End { finish, .. } => self.finish = Some(finish),
        }
    }

    pub(super) fn reason(&self) -> Option<&'static str> {
        self.finish.map(Finish::reason)
    }
}

/// The tokens of a chat or a completion.
pub(super) fn used(usage: Usage) -> Json {
    let mut used = json!({
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.total(),
    });
    if let Some((cached, reasoning)) = usage.details {
        used["prompt_tokens_details"] = json!({"cached_tokens": cached});
        used["completion_tokens_details"] = json!({"reasoning_tokens": reasoning});
    }
    used
}

/// The tokens of a text with their log probabilities, as chats and responses have them.
pub(super) fn logprobs(chosen: &[Chosen]) -> Vec<Json> {
    let entry = |likely: &Likely| {
        json!({
            "token": likely.text,
            "logprob": likely.logprob,
            "bytes": likely.bytes.to_vec(),
        })
    };
    let whole = |chosen: &Chosen| {
        let mut token = entry(&chosen.token);
        token["top_logprobs"] = chosen.top.iter().map(entry).collect();
        token
    };
    chosen.iter().map(whole).collect()
}
