//! Reads what a model writes: its answer, its reasoning and the tools that it calls, as they come.

use serde_json::{Value as Json, json};

/// How a model writes the calls of tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolFormat {
    /// `<tool_call>{"name": …, "arguments": …}</tool_call>`, as many as there are calls: Hermes, Qwen, SmolLM.
    Hermes,
    /// The whole answer is `{"name": …, "parameters": …}`, or several of them: Llama.
    Llama,
    /// `[TOOL_CALLS]`, then a list of calls, or names with `[ARGS]` and arguments: Mistral.
    Mistral,
}

impl ToolFormat {
    /// What stands before a call: a control token, if the model has it, and text.
    pub(super) fn opening(self) -> (&'static str, &'static str) {
        match self {
            Self::Hermes => (OPEN, "\n"),
            Self::Llama => ("", ""),
            Self::Mistral => (CALLS, ""),
        }
    }

    /// The schema of what follows, for a call of one of these tools.
    pub(super) fn schema(self, tools: &[(String, Json)]) -> Json {
        let arguments = match self {
            Self::Hermes | Self::Mistral => "arguments",
            Self::Llama => "parameters",
        };
        let calls = tools.iter().map(|(name, parameters)| {
            json!({
                "type": "object",
                "properties": { "name": { "const": name }, arguments: parameters },
                "required": ["name", arguments],
                "additionalProperties": false,
            })
        });
        let mut calls: Vec<_> = calls.collect();
        let call = if calls.len() == 1 { calls.remove(0) } else { json!({ "anyOf": calls }) };
        match self {
            Self::Mistral => {
                json!({ "type": "array", "items": call, "minItems": 1, "maxItems": 1 })
            }
            Self::Hermes | Self::Llama => call,
        }
    }
}

/// What has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// More of the answer.
    Text(String),
    /// More of the reasoning.
    Reasoning(String),
    /// A call of a tool, whole.
    Call {
        /// The tool.
        name: String,
        /// A JSON object.
        arguments: String,
    },
}

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";
const CALLS: &str = "[TOOL_CALLS]";
const ARGUMENTS: &str = "[ARGS]";
const PYTHON: &str = "<|python_tag|>";
const THINK: &str = "<think>";
const THOUGHT: &str = "</think>";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nothing but white space yet.
    Start,
    Answer,
    Reasoning,
    /// In a call, or what may become one.
    Call,
}

/// Reads one answer. What could be the beginning of something else is held back until that is certain.
#[derive(Debug)]
pub struct Reader {
    /// `None` if no tools may be called.
    tools: Option<ToolFormat>,
    /// The tools, for formats in which any JSON could be a call.
    names: Vec<String>,
    place: Place,
    /// Whether white space that comes first is none of what follows.
    fresh: bool,
    held: String,
}

impl Reader {
    /// For an answer that may call the tools with these names.
    pub fn new(tools: Option<ToolFormat>, names: Vec<String>) -> Self {
        Self { tools, names, place: Place::Start, fresh: false, held: String::new() }
    }

    /// For an answer of which everything from the beginning is a call, because the prompt ends with what stands before one.
    pub fn of_call(format: ToolFormat, names: Vec<String>) -> Self {
        Self { place: Place::Call, ..Self::new(Some(format), names) }
    }

    /// For an answer that begins in the midst of reasoning.
    pub fn of_reasoning(tools: Option<ToolFormat>, names: Vec<String>) -> Self {
        Self { place: Place::Reasoning, fresh: true, ..Self::new(tools, names) }
    }

    /// Whether it reads reasoning now.
    pub fn reasons(&self) -> bool {
        self.place == Place::Reasoning
    }

    /// More of the answer.
    pub fn push(&mut self, text: &str) -> Vec<Event> {
        self.held.push_str(text);
        let mut events = Vec::new();
        while self.step(&mut events) {}
        events
    }

    /// The answer has ended.
    pub fn end(mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while self.step(&mut events) {}
        let rest = std::mem::take(&mut self.held);
        match self.place {
            Place::Call => match self.calls(&rest) {
                Some(calls) => events.extend(calls),
                None => say(&mut events, self.written(&rest)),
            },
            Place::Reasoning if !rest.is_empty() => events.push(Event::Reasoning(rest)),
            Place::Start | Place::Answer | Place::Reasoning => say(&mut events, rest),
        }
        events
    }

    /// Reads on. Returns whether there may be more to read.
    fn step(&mut self, events: &mut Vec<Event>) -> bool {
        match self.place {
            Place::Start => self.start(),
            Place::Answer => self.answer(events),
            Place::Reasoning => self.reasoning(events),
            Place::Call => self.call(events),
        }
    }

    fn start(&mut self) -> bool {
        let begins = self.held.trim_start();
        if begins.is_empty() {
            return false;
        }
        if let Some(rest) = begins.strip_prefix(THINK) {
            (self.held, self.place) = (rest.to_owned(), Place::Reasoning);
            self.fresh = true;
            return true;
        }
        if self.tools == Some(ToolFormat::Llama) {
            if begins.starts_with('{') || begins.starts_with(PYTHON) {
                self.place = Place::Call;
                return true;
            }
            if PYTHON.starts_with(begins) {
                return false;
            }
        }
        if THINK.starts_with(begins) {
            return false;
        }
        if self.fresh {
            self.held = begins.to_owned();
        }
        self.place = Place::Answer;
        true
    }

    fn answer(&mut self, events: &mut Vec<Event>) -> bool {
        let opening = match self.tools {
            Some(ToolFormat::Hermes) => OPEN,
            Some(ToolFormat::Mistral) => CALLS,
            Some(ToolFormat::Llama) | None => {
                say(events, std::mem::take(&mut self.held));
                return false;
            }
        };
        if let Some((before, after)) = self.held.split_once(opening) {
            let (before, after) = (before.trim_end().to_owned(), after.to_owned());
            say(events, before);
            (self.held, self.place) = (after, Place::Call);
            return true;
        }
        let kept = begun(&self.held, opening);
        let certain = self.held.len() - kept;
        // White space before a call is none of the answer.
        let certain = self.held[..certain].trim_end().len();
        let rest = self.held.split_off(certain);
        say(events, std::mem::replace(&mut self.held, rest));
        false
    }

    fn reasoning(&mut self, events: &mut Vec<Event>) -> bool {
        if self.fresh {
            self.held = self.held.trim_start().to_owned();
        }
        let ended = self.held.split_once(THOUGHT);
        let ended = ended.map(|(thought, after)| (thought.trim_end().to_owned(), after.to_owned()));
        let ends = ended.is_some();
        let (thought, rest) = ended.unwrap_or_else(|| {
            let certain = self.held.len() - begun(&self.held, THOUGHT);
            let certain = self.held[..certain].trim_end().len();
            let (thought, rest) = self.held.split_at(certain);
            (thought.to_owned(), rest.to_owned())
        });
        self.held = rest;
        if !thought.is_empty() {
            self.fresh = false;
            events.push(Event::Reasoning(thought));
        }
        if ends {
            (self.place, self.fresh) = (Place::Start, true);
        }
        ends
    }

    fn call(&mut self, events: &mut Vec<Event>) -> bool {
        // The other formats have no end but that of the answer.
        if self.tools != Some(ToolFormat::Hermes) {
            return false;
        }
        let Some((call, after)) = self.held.split_once(CLOSE) else { return false };
        match self.calls(call) {
            Some(calls) => events.extend(calls),
            None => say(events, format!("{OPEN}{call}{CLOSE}")),
        }
        (self.held, self.place) = (after.trim_start().to_owned(), Place::Answer);
        true
    }

    /// What was read as a call and is none, as it was written.
    fn written(&self, rest: &str) -> String {
        let opening = match self.tools {
            Some(ToolFormat::Hermes) => OPEN,
            Some(ToolFormat::Mistral) => CALLS,
            Some(ToolFormat::Llama) | None => "",
        };
        format!("{opening}{rest}")
    }

    fn calls(&self, text: &str) -> Option<Vec<Event>> {
        let text = text.trim();
        match self.tools? {
            ToolFormat::Hermes => Some(vec![call(&serde_json::from_str(text).ok()?)?]),
            ToolFormat::Llama => {
                let text = text.strip_prefix(PYTHON).unwrap_or(text).trim_matches([';', ' ', '\n']);
                let calls = values(text, ';')?.iter().map(call).collect::<Option<Vec<_>>>()?;
                let known = |event: &Event| match event {
                    Event::Call { name, .. } => self.names.contains(name),
                    Event::Text(_) | Event::Reasoning(_) => false,
                };
                calls.iter().all(known).then_some(calls)
            }
            ToolFormat::Mistral if text.starts_with('[') => {
                let calls: Vec<Json> = serde_json::from_str(text).ok()?;
                calls.iter().map(call).collect()
            }
            ToolFormat::Mistral => named(text),
        }
        .filter(|calls| !calls.is_empty())
    }
}

/// Adds to the answer.
fn say(events: &mut Vec<Event>, text: String) {
    if !text.is_empty() {
        events.push(Event::Text(text));
    }
}

/// The bytes at the end of `text` that could be the beginning of `marker`.
fn begun(text: &str, marker: &str) -> usize {
    let most = marker.len() - 1;
    (1..=most.min(text.len())).rev().find(|n| text.ends_with(&marker[..*n])).unwrap_or(0)
}

/// JSON values, one after the other.
fn values(text: &str, between: char) -> Option<Vec<Json>> {
    let (mut values, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let mut stream = serde_json::Deserializer::from_str(rest).into_iter();
        values.push(stream.next()?.ok()?);
        rest = rest[stream.byte_offset()..].trim_start_matches([between, ' ', '\n']);
    }
    Some(values)
}

/// `name[ARGS]{…}`, one after the other.
fn named(text: &str) -> Option<Vec<Event>> {
    let (mut calls, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let (name, after) = rest.split_at(rest.find('{')?);
        let name = name.trim().trim_end_matches(ARGUMENTS).trim();
        let mut stream = serde_json::Deserializer::from_str(after).into_iter::<Json>();
        let arguments = stream.next()?.ok()?;
        rest = after[stream.byte_offset()..].trim_start().trim_start_matches(CALLS).trim_start();
        calls.push(Event::Call { name: name.to_owned(), arguments: arguments.to_string() });
    }
    calls
        .iter()
        .all(|call| !matches!(call, Event::Call { name, .. } if name.is_empty()))
        .then_some(calls)
}

fn call(json: &Json) -> Option<Event> {
    let name = json.get("name")?.as_str()?.to_owned();
    let arguments = match json.get("arguments").or_else(|| json.get("parameters")) {
        Some(arguments @ Json::Object(_)) => arguments.to_string(),
        // Some models write the object as a text.
        Some(Json::String(text)) => {
            serde_json::from_str::<serde_json::Map<_, _>>(text).ok()?;
            text.clone()
        }
        None | Some(Json::Null) => "{}".to_owned(),
        Some(_) => return None,
    };
    Some(Event::Call { name, arguments })
}

#[cfg(test)]
mod tests;
