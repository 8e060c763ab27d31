//! From a conversation to a prompt: what the template is given, and what the answer begins with.

use minijinja::Value;
use serde_json::{Map, Value as Json, json};

use super::request::{self, Tools};
use super::template::{Guard, Template};
use super::{
    Assistant, Message, Options, Prompt, Reader, Refusal, Role, TemplateError, ToolCall, ToolFormat,
};
use crate::language::{self, About, Grammar, Part};

/// A prompt, and how its answers are read.
pub(super) struct Prepared {
    pub(super) parts: Vec<Part>,
    pub(super) grammar: Option<Grammar>,
    /// The request's member that the grammar comes from.
    pub(super) of_grammar: &'static str,
    reads: Reads,
    /// What makes the names of calls different from those of other conversations.
    pub(super) hash: u64,
}

enum Reads {
    /// Everything is text.
    Text,
    Answer {
        tools: Option<ToolFormat>,
        names: Vec<String>,
        in_reasoning: bool,
    },
    Call {
        format: ToolFormat,
        names: Vec<String>,
    },
}

impl Prepared {
    /// The prompt of a conversation.
    pub(super) fn of<A: Assistant>(
        messages: &[Message],
        options: &Options,
    ) -> Result<Self, Refusal> {
        if messages.is_empty() {
            return Err(Refusal::invalid("nobody has said anything", Some("messages")));
        }
        let about = language::describe(A::MODEL)?;
        let source = A::TEMPLATE.or(about.template.as_deref()).ok_or_else(|| {
            Refusal::unsupported("the model has no chat template", Some("messages"))
        })?;
        let template = Template::new(source, &about.specials)?;
        let tools = Tools::of(options, A::TOOLS)?;
        let values = Values { guard: template.guard(), source, tools: &tools };
        let mut parts = template.render(values.all::<A>(messages, options)?)?;
        let names = tools.names();
        let in_reasoning = match parts.last() {
            Some(Part::Text(text)) => text.trim_end().ends_with("<think>"),
            Some(Part::Special(_) | Part::Tokens(_)) | None => false,
        };
        let reads = match tools.forced {
            Some(format) => {
                open_call(&mut parts, format, &about);
                Reads::Call { format, names }
            }
            None => Reads::Answer { tools: tools.format(), names, in_reasoning },
        };
        let (grammar, of_grammar) = request::grammar(options, &tools)?;
        let hash =
            messages.iter().fold(HASH, |hash, message| fnv(hash, message.content.as_bytes()));
        Ok(Self { parts, grammar, of_grammar, reads, hash })
    }

    /// A prompt as it is.
    pub(super) fn as_it_is(prompt: Prompt, options: &Options) -> Result<Self, Refusal> {
        let (grammar, of_grammar) = request::grammar(options, &Tools::default())?;
        let part = match prompt {
            Prompt::Text(text) => Part::Text(text),
            Prompt::Tokens(tokens) => Part::Tokens(tokens),
        };
        Ok(Self { parts: vec![part], grammar, of_grammar, reads: Reads::Text, hash: HASH })
    }

    /// What reads one answer; `None` if all of it is text.
    pub(super) fn reader(&self) -> Option<Reader> {
        Some(match &self.reads {
            Reads::Text => return None,
            Reads::Answer { tools, names, in_reasoning: true } => {
                Reader::of_reasoning(*tools, names.clone())
            }
            Reads::Answer { tools, names, .. } => Reader::new(*tools, names.clone()),
            Reads::Call { format, names } => Reader::of_call(*format, names.clone()),
        })
    }
}

const HASH: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a: only makes names different.
pub(super) fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Writes what stands before a call, so that the model has to call.
fn open_call(parts: &mut Vec<Part>, format: ToolFormat, about: &About) {
    let (name, text) = format.opening();
    let mut text = text.to_owned();
    if about.specials.iter().any(|special| special == name) {
        parts.push(Part::Special(name.to_owned()));
    } else {
        text.insert_str(0, name);
    }
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
}

/// Tells a model about tools if its template does not. The words are those of Qwen's template, with which several models were trained.
const TOOLS_BEFORE: &str = "\n\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n\
    You are provided with function signatures within <tools></tools> XML tags:\n<tools>";
const TOOLS_AFTER: &str = "\n</tools>\n\nFor each function call, return a json object with function name and arguments within \
    <tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call>";

/// Makes the values of a template.
struct Values<'a> {
    guard: &'a Guard,
    source: &'a str,
    tools: &'a Tools,
}

impl Values<'_> {
    fn all<A: Assistant>(&self, messages: &[Message], options: &Options) -> Result<Value, Refusal> {
        let mut values = Map::new();
        if let Some(more) = &options.template_values {
            let more: Map<String, Json> = serde_json::from_str(more).map_err(|_| {
                Refusal::invalid("it is not a JSON object", Some("chat_template_kwargs"))
            })?;
            values.extend(more);
        }
        if let Some(effort) = &options.reasoning_effort {
            values.insert("reasoning_effort".to_owned(), Json::String(effort.clone()));
        }
        let mut all: Vec<(String, Value)> = Vec::new();
        for (name, value) in &values {
            all.push((name.clone(), self.guard.json(value)?));
        }
        let tells = self.source.contains("tools");
        let mut spoken = Vec::with_capacity(messages.len() + 1);
        if !tells && !self.tools.list.is_empty() && messages[0].role != Role::System {
            spoken.push(self.message(Role::System, &Self::told("", self.tools), None)?);
        }
        for (place, message) in messages.iter().enumerate() {
            let tell = place == 0 && !tells && message.role == Role::System;
            let content = match tell && !self.tools.list.is_empty() {
                true => Self::told(&message.content, self.tools),
                false => message.content.clone(),
            };
            spoken.push(self.message(message.role, &content, Some(message))?);
        }
        all.push(("messages".to_owned(), Value::from(spoken)));
        if tells && !self.tools.list.is_empty() {
            all.push(("tools".to_owned(), self.guard.json(&Json::Array(self.tools.described()))?));
        }
        all.push(("add_generation_prompt".to_owned(), Value::from(true)));
        all.push(("bos_token".to_owned(), Value::from(A::BEGIN_AND_END.0)));
        all.push(("eos_token".to_owned(), Value::from(A::BEGIN_AND_END.1)));
        Ok(Value::from_pairs(all))
    }

    fn told(content: &str, tools: &Tools) -> String {
        let tools = tools.described();
        let tools: String = tools.iter().map(|tool| format!("\n{tool}")).collect();
        format!("{content}{TOOLS_BEFORE}{tools}{TOOLS_AFTER}").trim_start().to_owned()
    }

    fn message(
        &self,
        role: Role,
        content: &str,
        message: Option<&Message>,
    ) -> Result<Value, TemplateError> {
        let role = match role {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        };
        let mut members = vec![("role", Value::from(role)), ("content", self.guard.text(content)?)];
        if let Some(message) = message {
            let texts = [
                ("reasoning_content", &message.reasoning),
                ("tool_call_id", &message.tool_call_id),
                ("name", &message.name),
            ];
            for (name, text) in texts {
                if let Some(text) = text {
                    members.push((name, self.guard.text(text)?));
                }
            }
            if !message.tool_calls.is_empty() {
                let calls = message.tool_calls.iter().map(|call| self.call(call));
                let calls = calls.collect::<Result<Vec<_>, _>>()?;
                members.push(("tool_calls", Value::from(calls)));
            }
        }
        Ok(Value::from_pairs(members))
    }

    fn call(&self, call: &ToolCall) -> Result<Value, TemplateError> {
        let arguments = serde_json::from_str(&call.arguments);
        let arguments: Json = arguments.unwrap_or_else(|_| Json::String(call.arguments.clone()));
        let function = json!({ "name": call.name, "arguments": arguments });
        self.guard.json(&json!({ "id": call.id, "type": "function", "function": function }))
    }
}

#[cfg(test)]
mod tests;
