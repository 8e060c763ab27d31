//! The items of a request's `input` as turns of a conversation: messages, calls of functions with their outputs, and reasoning.

use serde_json::value::RawValue;

use super::super::asked::{Role, ToolCall, Turn};
use super::super::members::{
    MemberRules, Members, Refusal, Rule, each, is_list, missing, unexpected,
};
use super::super::request::MESSAGES_MAX;
use super::super::tools::kind;

/// Common to all items. Clients send back what they got.
const COMMON: MemberRules =
    &[("type", Rule::Read), ("id", Rule::Ignored), ("status", Rule::Ignored)];

const MESSAGE: MemberRules = &[
    ("role", Rule::Read),
    ("content", Rule::Read),
    ("phase", Rule::Ignored),
    ("end_turn", Rule::Ignored),
];

/// OpenAI's client for Python sends back what it has parsed.
const CALL: MemberRules = &[
    ("call_id", Rule::Read),
    ("name", Rule::Read),
    ("arguments", Rule::Read),
    ("parsed_arguments", Rule::Ignored),
];

const OUTPUT: MemberRules = &[("call_id", Rule::Read), ("output", Rule::Read)];

const REASONING: MemberRules = &[
    ("content", Rule::Read),
    ("summary", Rule::Read),
    // Of another host: it means nothing to this one.
    ("encrypted_content", Rule::Ignored),
];

/// A part of a message or of an output. Anything but text is rejected by type.
const PART: MemberRules = &[
    ("type", Rule::Read),
    ("text", Rule::Read),
    ("annotations", Rule::Ignored),
    ("logprobs", Rule::Ignored),
    ("parsed", Rule::Ignored),
    ("image_url", Rule::Read),
    ("file_id", Rule::Read),
    ("file_data", Rule::Read),
    ("file_url", Rule::Read),
    ("filename", Rule::Read),
    ("detail", Rule::Read),
    ("input_audio", Rule::Read),
    ("refusal", Rule::Read),
];

/// Types of parts that are texts.
const TEXTS: [&str; 5] = ["input_text", "output_text", "text", "reasoning_text", "summary_text"];

/// Adds the turns of `input`, a text or a list of items. Returns why version 0.1 of the interface cannot say them, if it cannot.
pub(super) fn read(input: &RawValue, turns: &mut Vec<Turn>) -> Result<Option<Refusal>, Refusal> {
    if !is_list(input) {
        let text: Result<String, _> = serde_json::from_str(input.get());
        let text = text.map_err(|_| unexpected("input", "a text or a list of items", input))?;
        turns.push(Turn::of(Role::User, text));
        return Ok(None);
    }
    let mut reader = Reader { turns, reasoning: None, newer: None };
    let mut count = 0;
    each("input", input, |index, item| {
        if index == MESSAGES_MAX {
            return Err(wrong_count(&format!("more than {MESSAGES_MAX}")));
        }
        count = index + 1;
        let read = reader.item(item).map_err(|refusal| refusal.at(&format!("/input/{index}")));
        read.map_err(|refusal| refusal.within("input"))
    })?;
    if count == 0 {
        return Err(wrong_count("no"));
    }
    Ok(reader.newer)
}

fn wrong_count(seen: &str) -> Refusal {
    let detail = format!("`input` has {seen} items, it can have 1 to {MESSAGES_MAX}");
    Refusal::of("input", detail)
}

struct Reader<'t> {
    turns: &'t mut Vec<Turn>,
    /// What goes before the assistant's next turn.
    reasoning: Option<String>,
    newer: Option<Refusal>,
}

impl Reader<'_> {
    fn item(&mut self, raw: &RawValue) -> Result<(), Refusal> {
        // Messages need no type.
        let kind = kind(raw).unwrap_or_else(|_| "message".to_owned());
        let text = raw.get().as_bytes();
        match kind.as_str() {
            "message" => self.message(&Members::read(text, &[COMMON, MESSAGE])?),
            "function_call" => self.call(&Members::read(text, &[COMMON, CALL])?),
            "function_call_output" => self.output(&Members::read(text, &[COMMON, OUTPUT])?),
            "reasoning" => self.reason(&Members::read(text, &[COMMON, REASONING])?),
            "item_reference" => {
                let detail = "an `item_reference` is not supported: this host stores no items; send the item itself";
                Err(Refusal::of("type", detail))
            }
            other => {
                let detail = format!("items of type `{other}` are not supported");
                Err(Refusal::of("type", detail))
            }
        }
    }

    fn message(&mut self, members: &Members<'_>) -> Result<(), Refusal> {
        let role: String = members.need("role", "a text")?;
        let role = match role.as_str() {
            "system" | "developer" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            other => {
                let other: String = other.chars().take(40).collect();
                return Err(Refusal::of("role", format!("there is no role `{other}`")));
            }
        };
        let content = members.raw("content").ok_or_else(|| missing("content"))?;
        let mut turn = Turn::of(role, text("content", content)?);
        if role == Role::Assistant {
            turn.reasoning = self.reasoning.take();
        }
        self.turns.push(turn);
        Ok(())
    }

    /// A call belongs to the assistant's turn before it.
    fn call(&mut self, members: &Members<'_>) -> Result<(), Refusal> {
        self.beyond("items of type `function_call` are not supported by this model");
        let call = ToolCall {
            id: members.get("call_id", "a text")?.unwrap_or_default(),
            name: members.need("name", "a text")?,
            arguments: members.get("arguments", "a text")?.unwrap_or_default(),
        };
        if self.reasoning.is_none()
            && let Some(turn) = self.turns.last_mut()
            && turn.role == Role::Assistant
        {
            turn.calls.push(call);
            return Ok(());
        }
        let reasoning = self.reasoning.take();
        let turn = Turn::of(Role::Assistant, String::new());
        self.turns.push(Turn { reasoning, calls: vec![call], ..turn });
        Ok(())
    }

    fn output(&mut self, members: &Members<'_>) -> Result<(), Refusal> {
        self.beyond("items of type `function_call_output` are not supported by this model");
        let output = members.raw("output").ok_or_else(|| missing("output"))?;
        let turn = Turn::of(Role::Tool, text("output", output)?);
        let answers = members.get("call_id", "a text")?;
        self.turns.push(Turn { answers, ..turn });
        Ok(())
    }

    fn reason(&mut self, members: &Members<'_>) -> Result<(), Refusal> {
        let content = match members.raw("content") {
            Some(content) => text("content", content)?,
            None => String::new(),
        };
        if !content.is_empty() {
            self.beyond("items of type `reasoning` are not supported by this model");
            self.reasoning.get_or_insert_default().push_str(&content);
        }
        Ok(())
    }

    fn beyond(&mut self, detail: &str) {
        self.newer.get_or_insert_with(|| Refusal::of("input", format!("`input`: {detail}")));
    }
}

/// A text, whole or in parts.
fn text(name: &str, raw: &RawValue) -> Result<String, Refusal> {
    if !is_list(raw) {
        return serde_json::from_str(raw.get())
            .map_err(|_| unexpected(name, "a text or a list of parts", raw));
    }
    let mut whole = String::new();
    each(name, raw, |_, part| {
        let part = Members::read(part.get().as_bytes(), &[PART])?;
        let kind: String = part.need("type", "a text")?;
        if !TEXTS.contains(&kind.as_str()) {
            return Err(Refusal::of(name, format!("`{name}` can be text only")));
        }
        whole.push_str(&part.need::<String>("text", "a text")?);
        Ok(())
    })?;
    Ok(whole)
}
