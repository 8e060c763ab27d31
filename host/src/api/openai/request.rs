//! Parses conversations from clients into a model's arguments.
//!
//! The tables below list every member of OpenAI's API. `host/docs/calling.md` says the same to users.

use serde_json::value::RawValue;

use super::members::{
    MemberRules, Members, Plain, Refusal, Rule, each, is_list, missing, unexpected,
};
use crate::value::Value;
use crate::value::parse::without_bom;

/// Maximum turns of a conversation, and maximum stop sequences (as in OpenAI's API).
const MESSAGES_MAX: usize = 2048;
const STOPS_MAX: usize = 4;

/// Common to both endpoints.
const COMMON: MemberRules = &[
    ("model", Rule::Read),
    ("stream", Rule::Read),
    ("stream_options", Rule::Read),
    ("max_tokens", Rule::Read),
    ("max_completion_tokens", Rule::Read),
    ("temperature", Rule::Read),
    ("top_p", Rule::Read),
    ("stop", Rule::Read),
    ("seed", Rule::Read),
    ("n", Rule::Only(&[Plain::One])),
    ("frequency_penalty", Rule::Only(&[Plain::Zero])),
    ("presence_penalty", Rule::Only(&[Plain::Zero])),
    ("logit_bias", Rule::Only(&[Plain::Empty])),
    // Nothing is stored, so nothing can be retrieved later.
    ("store", Rule::Only(&[Plain::False])),
    ("user", Rule::Ignored),
    ("metadata", Rule::Ignored),
    ("service_tier", Rule::Ignored),
    ("safety_identifier", Rule::Ignored),
    ("prompt_cache_key", Rule::Ignored),
    ("prompt_cache_retention", Rule::Ignored),
];

const CHAT: MemberRules = &[
    ("messages", Rule::Read),
    ("audio", Rule::Only(&[])),
    ("function_call", Rule::Only(&[Plain::Text("none"), Plain::Text("auto")])),
    ("functions", Rule::Only(&[Plain::Empty])),
    ("logprobs", Rule::Only(&[Plain::False])),
    ("top_logprobs", Rule::Only(&[Plain::Zero])),
    ("modalities", Rule::Only(&[Plain::List("text")])),
    ("reasoning_effort", Rule::Only(&[Plain::Text("none")])),
    ("response_format", Rule::Only(&[Plain::Type("text")])),
    ("tool_choice", Rule::Only(&[Plain::Text("none"), Plain::Text("auto")])),
    ("tools", Rule::Only(&[Plain::Empty])),
    ("verbosity", Rule::Only(&[Plain::Text("medium")])),
    ("web_search_options", Rule::Only(&[])),
    // Tools, which are not supported, and hints for faster responses.
    ("parallel_tool_calls", Rule::Ignored),
    ("prediction", Rule::Ignored),
];

const COMPLETION: MemberRules = &[
    ("prompt", Rule::Read),
    ("best_of", Rule::Only(&[Plain::One])),
    ("echo", Rule::Only(&[Plain::False])),
    ("logprobs", Rule::Only(&[Plain::False])),
    ("suffix", Rule::Only(&[Plain::Empty])),
];

const STREAM_OPTIONS: MemberRules =
    &[("include_usage", Rule::Read), ("include_obfuscation", Rule::Ignored)];

const MESSAGE: MemberRules = &[
    ("role", Rule::Read),
    ("content", Rule::Read),
    ("name", Rule::Read),
    ("tool_call_id", Rule::Ignored),
    ("annotations", Rule::Only(&[Plain::Empty])),
    ("audio", Rule::Only(&[])),
    ("function_call", Rule::Only(&[])),
    ("refusal", Rule::Only(&[])),
    ("tool_calls", Rule::Only(&[Plain::Empty])),
];

/// A part of a turn. Anything but text is rejected by type.
const PART: MemberRules = &[
    ("type", Rule::Read),
    ("text", Rule::Read),
    ("file", Rule::Read),
    ("image_url", Rule::Read),
    ("input_audio", Rule::Read),
    ("refusal", Rule::Read),
    ("cache_control", Rule::Ignored),
];

/// A request to either endpoint.
#[derive(Debug)]
pub(super) struct Conversation {
    pub(super) model: String,
    pub(super) stream: bool,
    /// Whether the last event of a stream reports the token usage.
    pub(super) include_usage: bool,
    /// The arguments of `complete`.
    pub(super) values: Vec<Value>,
}

/// Parses a request for `/v1/chat/completions`.
pub(super) fn chat(wire: &[u8]) -> Result<Conversation, Refusal> {
    let members = Members::read(without_bom(wire), &[CHAT, COMMON])?;
    let list = members.raw("messages").ok_or_else(|| missing("messages"))?;
    let mut messages = Vec::new();
    each("messages", list, |index, message| {
        if index == MESSAGES_MAX {
            return Err(wrong_count(&format!("more than {MESSAGES_MAX}")));
        }
        let turn = turn(message).map_err(|refusal| refusal.at(&format!("/messages/{index}")))?;
        messages.push(turn);
        Ok(())
    })?;
    match messages.is_empty() {
        true => Err(wrong_count("no")),
        false => conversation(messages, &members),
    }
}

fn wrong_count(seen: &str) -> Refusal {
    let detail = format!("`messages` has {seen} entries, it can have 1 to {MESSAGES_MAX}");
    Refusal::of("messages", detail)
}

/// Parses a request for `/v1/completions`: its prompt becomes a user message.
pub(super) fn completion(wire: &[u8]) -> Result<Conversation, Refusal> {
    let members = Members::read(without_bom(wire), &[COMPLETION, COMMON])?;
    let prompt = members.raw("prompt").ok_or_else(|| missing("prompt"))?;
    conversation(vec![message(USER, one_prompt(prompt)?)], &members)
}

/// A prompt's text, or the only text of a list.
fn one_prompt(prompt: &RawValue) -> Result<String, Refusal> {
    if !is_list(prompt) {
        return text("prompt", prompt);
    }
    let mut only = None;
    each("prompt", prompt, |index, element| {
        if index > 0 {
            let detail =
                "one answer is given: `prompt` can be a list of one text; send a request for each";
            return Err(Refusal::of("prompt", detail));
        }
        only = Some(text("prompt", element)?);
        Ok(())
    })?;
    only.ok_or_else(|| Refusal::of("prompt", "`prompt` is an empty list"))
}

/// A text. Numbers would be tokens.
pub(super) fn text(name: &str, raw: &RawValue) -> Result<String, Refusal> {
    if raw.get().starts_with(['[', '-']) || raw.get().starts_with(|c: char| c.is_ascii_digit()) {
        let detail = format!(
            "`{name}` is a text or an array of texts: tokens of another tokenizer mean nothing to this model"
        );
        return Err(Refusal::of(name, detail));
    }
    serde_json::from_str(raw.get()).map_err(|_| unexpected(name, "a text", raw))
}

/// Places of the roles in the interface's `role`.
const SYSTEM: u32 = 0;
const USER: u32 = 1;
const ASSISTANT: u32 = 2;
const TOOL: u32 = 3;

fn turn(raw: &RawValue) -> Result<Value, Refusal> {
    let members = Members::read(raw.get().as_bytes(), &[MESSAGE])?;
    let role: String = members.need("role", "a text")?;
    let role = match role.as_str() {
        "system" | "developer" => SYSTEM,
        "user" => USER,
        "assistant" => ASSISTANT,
        "tool" | "function" => TOOL,
        other => {
            let other: String = other.chars().take(40).collect();
            return Err(Refusal::of("role", format!("there is no role `{other}`")));
        }
    };
    // A tool's message says which tool answers, as the previous turn did.
    if role != TOOL && members.raw("name").is_some() {
        let detail = "`name` is not supported by the models here: they are not told who speaks";
        return Err(Refusal::of("name", detail));
    }
    let content = match members.raw("content") {
        None => String::new(),
        Some(content) if is_list(content) => parts(content)?,
        Some(content) => serde_json::from_str(content.get())
            .map_err(|_| unexpected("content", "a text", content))?,
    };
    Ok(message(role, content))
}

/// The texts of a turn in parts.
fn parts(content: &RawValue) -> Result<String, Refusal> {
    let mut whole = String::new();
    each("content", content, |_, part| {
        let part = Members::read(part.get().as_bytes(), &[PART])?;
        let kind: String = part.need("type", "a text")?;
        if kind != "text" {
            return Err(Refusal::of("content", "content can be text only"));
        }
        whole.push_str(&part.need::<String>("text", "a text")?);
        Ok(())
    })?;
    Ok(whole)
}

fn message(role: u32, text: String) -> Value {
    Value::Record(vec![Value::Enum(role), Value::String(text.into())])
}

fn conversation(messages: Vec<Value>, members: &Members<'_>) -> Result<Conversation, Refusal> {
    let tokens = match most(members, "max_completion_tokens")? {
        Some(tokens) => Some(tokens),
        None => most(members, "max_tokens")?,
    };
    let include_usage = match members.raw("stream_options") {
        None => None,
        Some(options) => Members::read(options.get().as_bytes(), &[STREAM_OPTIONS])
            .and_then(|options| options.get("include_usage", "true or false"))
            .map_err(|refusal| refusal.at("/stream_options"))?,
    };
    let option = |value: Option<Value>| Value::Option(value.map(Box::new));
    let options = Value::Record(vec![
        option(tokens.map(Value::U32)),
        option(members.get("temperature", "a number")?.map(Value::F32)),
        option(members.get("top_p", "a number")?.map(Value::F32)),
        Value::List(stops(members)?),
        option(members.get("seed", "a whole number")?.map(Value::S64)),
    ]);
    Ok(Conversation {
        model: members.need("model", "a text")?,
        stream: members.get("stream", "true or false")?.unwrap_or(false),
        include_usage: include_usage.unwrap_or(false),
        values: vec![Value::List(messages), options],
    })
}

/// Maximum tokens of the response; `None` for the model's maximum, which some clients write as -1.
fn most(members: &Members<'_>, name: &str) -> Result<Option<u32>, Refusal> {
    let expected = "a number of tokens, or -1 for no limit";
    let Some(number) = members.get::<i64>(name, expected)? else { return Ok(None) };
    match u32::try_from(number) {
        Ok(number) => Ok(Some(number)),
        Err(_) if number == -1 => Ok(None),
        Err(_) => Err(Refusal::of(name, format!("`{name}` is {expected}, not `{number}`"))),
    }
}

/// The stop sequences.
fn stops(members: &Members<'_>) -> Result<Vec<Value>, Refusal> {
    let Some(stop) = members.raw("stop") else { return Ok(Vec::new()) };
    let read = |raw: &RawValue| {
        let read: Result<String, _> = serde_json::from_str(raw.get());
        read.map_err(|_| unexpected("stop", "a text or a list of texts", raw))
    };
    let mut texts = Vec::new();
    if is_list(stop) {
        each("stop", stop, |index, element| {
            if index == STOPS_MAX {
                let detail = format!("`stop` has more than {STOPS_MAX} texts");
                return Err(Refusal::of("stop", detail));
            }
            texts.push(Value::String(read(element)?.into()));
            Ok(())
        })?;
    } else {
        texts.push(Value::String(read(stop)?.into()));
    }
    Ok(texts)
}
