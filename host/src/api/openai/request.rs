//! Parses requests for `/v1/chat/completions`.
//!
//! The tables list every member of OpenAI's API. `host/docs/calling.md` says the same to users.

use serde_json::value::RawValue;

use super::asked::{Asked, Options, Role, Speech, ToolCall, Turn};
use super::members::{
    MemberRules, Members, Plain, Refusal, Rule, each, is_list, missing, unexpected,
};
use super::options::{COMMON, alternatives, common, effort, nested, object, streaming};
use super::tools::{self, Style};
use crate::value::parse::without_bom;

/// Maximum turns of a conversation, and maximum calls of one turn.
pub(super) const MESSAGES_MAX: usize = 2048;
const CALLS_MAX: usize = 128;

const CHAT: MemberRules = &[
    ("messages", Rule::Read),
    ("audio", Rule::Only(&[])),
    ("function_call", Rule::Only(&[Plain::Text("none"), Plain::Text("auto")])),
    ("functions", Rule::Only(&[Plain::Empty])),
    ("logprobs", Rule::Newer(&[Plain::False])),
    ("top_logprobs", Rule::Newer(&[Plain::Zero])),
    ("modalities", Rule::Only(&[Plain::List("text")])),
    ("reasoning_effort", Rule::Newer(&[Plain::Text("none")])),
    ("response_format", Rule::Newer(&[Plain::Type("text")])),
    ("tool_choice", Rule::Newer(&[Plain::Text("none"), Plain::Text("auto")])),
    ("tools", Rule::Newer(&[Plain::Empty])),
    ("parallel_tool_calls", Rule::Read),
    ("verbosity", Rule::Only(&[Plain::Text("medium")])),
    ("web_search_options", Rule::Only(&[])),
    // Not in OpenAI's API.
    ("chat_template_kwargs", Rule::Newer(&[Plain::Empty])),
    // A hint for faster responses.
    ("prediction", Rule::Ignored),
];

const MESSAGE: MemberRules = &[
    ("role", Rule::Read),
    ("content", Rule::Read),
    ("name", Rule::Read),
    ("tool_call_id", Rule::Read),
    ("tool_calls", Rule::Newer(&[Plain::Empty])),
    // Two names for the same, neither in OpenAI's API.
    ("reasoning_content", Rule::Newer(&[Plain::Empty])),
    ("reasoning", Rule::Newer(&[Plain::Empty])),
    ("annotations", Rule::Only(&[Plain::Empty])),
    ("parsed", Rule::Ignored),
    ("audio", Rule::Only(&[])),
    ("function_call", Rule::Only(&[])),
    ("refusal", Rule::Only(&[])),
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

const CALL: MemberRules = &[
    ("id", Rule::Read),
    ("type", Rule::Read),
    ("function", Rule::Read),
    // Clients send back what they got from a stream.
    ("index", Rule::Ignored),
];

/// OpenAI's client for Python sends back what it has parsed.
const CALLED: MemberRules =
    &[("name", Rule::Read), ("arguments", Rule::Read), ("parsed_arguments", Rule::Ignored)];

/// A request for a turn of a conversation.
#[derive(Debug)]
pub(super) struct Chat {
    pub(super) asked: Asked,
    pub(super) stream: bool,
    /// Whether the last event of a stream reports the usage.
    pub(super) include_usage: bool,
}

/// Parses a request.
pub(super) fn chat(wire: &[u8]) -> Result<Chat, Refusal> {
    let members = Members::read(without_bom(wire), &[CHAT, COMMON])?;
    let list = members.raw("messages").ok_or_else(|| missing("messages"))?;
    let mut newer = members.newer();
    let mut turns = Vec::new();
    each("messages", list, |index, message| {
        if index == MESSAGES_MAX {
            return Err(wrong_count(&format!("more than {MESSAGES_MAX}")));
        }
        let at = |refusal: Refusal| refusal.at(&format!("/messages/{index}"));
        let (turn, not_in_first) = turn(message).map_err(at)?;
        newer = newer.take().or(not_in_first.map(at));
        turns.push(turn);
        Ok(())
    })?;
    if turns.is_empty() {
        return Err(wrong_count("no"));
    }
    let options = options(&members)?;
    let model = members.need("model", "a text")?;
    let (stream, include_usage) = streaming(&members)?;
    let asked = Asked { model, speech: Speech::Turns(turns), options, newer };
    Ok(Chat { asked, stream, include_usage })
}

fn wrong_count(seen: &str) -> Refusal {
    let detail = format!("`messages` has {seen} entries, it can have 1 to {MESSAGES_MAX}");
    Refusal::of("messages", detail)
}

fn options(members: &Members<'_>) -> Result<Options, Refusal> {
    let mut options = common(members)?;
    tools::read(members, Style::Nested, &mut options)?;
    if let Some(raw) = members.raw("response_format") {
        options.format = tools::format(raw, "response_format", Style::Nested)?;
    }
    options.reasoning_effort = effort(members, "reasoning_effort")?;
    options.template_values = object(members, "chat_template_kwargs")?;
    let (wanted, top) =
        (members.get("logprobs", "true or false")?.unwrap_or(false), alternatives(members)?);
    options.logprobs = match (wanted, top) {
        (true, top) => Some(top.unwrap_or(0)),
        (false, None | Some(0)) => None,
        (false, Some(_)) => {
            let detail = "`top_logprobs` needs `logprobs`: set it to true";
            return Err(Refusal::of("top_logprobs", detail));
        }
    };
    Ok(options)
}

/// A turn, and why version 0.1 of the interface cannot say it, if it cannot.
fn turn(raw: &RawValue) -> Result<(Turn, Option<Refusal>), Refusal> {
    let members = Members::read(raw.get().as_bytes(), &[MESSAGE])?;
    let role: String = members.need("role", "a text")?;
    let role = match role.as_str() {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" | "function" => Role::Tool,
        other => {
            let other: String = other.chars().take(40).collect();
            return Err(Refusal::of("role", format!("there is no role `{other}`")));
        }
    };
    let mut newer = members.newer();
    // A tool's message says which tool answers, as the previous turn did.
    if role != Role::Tool && members.raw("name").is_some() {
        let detail = "`name` is not supported by this model, which is not told who speaks";
        newer = newer.or_else(|| Some(Refusal::of("name", detail)));
    }
    let content = match members.raw("content") {
        None => String::new(),
        Some(content) if is_list(content) => parts(content)?,
        Some(content) => serde_json::from_str(content.get())
            .map_err(|_| unexpected("content", "a text", content))?,
    };
    let reasoning = match members.get("reasoning_content", "a text")? {
        Some(reasoning) => Some(reasoning),
        None => members.get("reasoning", "a text")?,
    };
    let turn = Turn {
        reasoning: reasoning.filter(|reasoning: &String| !reasoning.is_empty()),
        calls: calls(&members)?,
        answers: members.get("tool_call_id", "a text")?,
        name: members.get("name", "a text")?,
        ..Turn::of(role, content)
    };
    Ok((turn, newer))
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

/// What an assistant's turn asked of tools. Some clients send no ids.
fn calls(members: &Members<'_>) -> Result<Vec<ToolCall>, Refusal> {
    let mut calls = Vec::new();
    let Some(list) = members.raw("tool_calls") else { return Ok(calls) };
    each("tool_calls", list, |index, raw| {
        if index == CALLS_MAX {
            let detail = format!("`tool_calls` has more than {CALLS_MAX} entries");
            return Err(Refusal::of("tool_calls", detail));
        }
        let call = || {
            let call = Members::read(raw.get().as_bytes(), &[CALL])?;
            let kind: Option<String> = call.get("type", "`function`")?;
            if kind.is_some_and(|kind| kind != "function") {
                return Err(Refusal::of("type", "only calls of functions are supported"));
            }
            let function = nested(&call, "function", CALLED)?;
            Ok(ToolCall {
                id: call.get("id", "a text")?.unwrap_or_default(),
                name: function.need("name", "a text")?,
                arguments: function.get("arguments", "a text")?.unwrap_or_default(),
            })
        };
        calls.push(call().map_err(|refusal: Refusal| refusal.within("tool_calls"))?);
        Ok(())
    })?;
    Ok(calls)
}
