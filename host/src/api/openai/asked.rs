//! What clients ask of a language model, whatever the endpoint, and the arguments that say so in each version of the interface `chat`.

use bytes::Bytes;

use super::members::Refusal;
use crate::value::Value;

/// The versions of `hospes:plugin/chat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// 0.1: turns of text, and text as the answer.
    First,
    /// 0.2: tools, reasoning, formats, several answers.
    Second,
}

/// A request, parsed.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) model: String,
    pub(super) speech: Speech,
    pub(super) options: Options,
    /// Why version 0.1 of the interface cannot say all of it, if it cannot.
    pub(super) newer: Option<Refusal>,
}

/// What the model goes on from.
#[derive(Debug)]
pub(super) enum Speech {
    /// The turns of a conversation.
    Turns(Vec<Turn>),
    /// Texts without turns.
    Prompts(Vec<Prompt>),
}

/// Who speaks, in the order of the interface's `role`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    System,
    User,
    Assistant,
    Tool,
}

/// One turn of a conversation.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) role: Role,
    pub(super) content: String,
    pub(super) reasoning: Option<String>,
    pub(super) calls: Vec<ToolCall>,
    /// The call that a tool's turn answers.
    pub(super) answers: Option<String>,
    pub(super) name: Option<String>,
}

impl Turn {
    /// A turn of text.
    pub(super) fn of(role: Role, content: String) -> Self {
        Self { role, content, reasoning: None, calls: Vec::new(), answers: None, name: None }
    }
}

/// A function that the assistant has asked for.
#[derive(Debug)]
pub(super) struct ToolCall {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: String,
}

/// What a completion goes on from.
#[derive(Debug)]
pub(super) enum Prompt {
    Text(String),
    Tokens(Vec<u32>),
}

/// A function that the assistant may ask for.
#[derive(Debug)]
pub(super) struct Tool {
    pub(super) name: String,
    pub(super) description: Option<String>,
    /// A JSON Schema.
    pub(super) parameters: Option<String>,
    pub(super) strict: bool,
}

/// Which tool the assistant asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum ToolChoice {
    #[default]
    Auto,
    None,
    Required,
    Named(String),
}

/// The form of the answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Format {
    #[default]
    Text,
    Json,
    Schema {
        name: String,
        schema: String,
        strict: bool,
    },
}

/// How to go on. `None` leaves it to the model.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) tokens_max: Option<u32>,
    pub(super) temperature: Option<f32>,
    pub(super) top_p: Option<f32>,
    pub(super) top_k: Option<u32>,
    pub(super) min_p: Option<f32>,
    pub(super) frequency_penalty: Option<f32>,
    pub(super) presence_penalty: Option<f32>,
    pub(super) stop: Vec<String>,
    pub(super) seed: Option<i64>,
    pub(super) logit_bias: Vec<(u32, f32)>,
    /// The likeliest tokens that are reported at each place.
    pub(super) logprobs: Option<u8>,
    pub(super) choices: u8,
    pub(super) tools: Vec<Tool>,
    pub(super) tool_choice: ToolChoice,
    pub(super) parallel_tool_calls: bool,
    pub(super) format: Format,
    pub(super) reasoning_effort: Option<String>,
    /// A JSON object.
    pub(super) template_values: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tokens_max: None,
            temperature: None,
            top_p: None,
            top_k: None,
            min_p: None,
            frequency_penalty: None,
            presence_penalty: None,
            stop: Vec::new(),
            seed: None,
            logit_bias: Vec::new(),
            logprobs: None,
            choices: 1,
            tools: Vec::new(),
            tool_choice: ToolChoice::Auto,
            parallel_tool_calls: true,
            format: Format::Text,
            reasoning_effort: None,
            template_values: None,
        }
    }
}

impl Speech {
    /// How many prompts there are; a conversation is one.
    pub(super) fn count(&self) -> usize {
        match self {
            Speech::Turns(_) => 1,
            Speech::Prompts(prompts) => prompts.len(),
        }
    }

    /// The arguments of the guest's function.
    ///
    /// # Errors
    /// What version 0.1 of the interface cannot say.
    pub(super) fn arguments(
        self,
        options: Options,
        newer: Option<Refusal>,
        dialect: Dialect,
    ) -> Result<Vec<Value>, Refusal> {
        match (dialect, newer, self) {
            (Dialect::First, Some(refusal), _) => Err(refusal),
            (Dialect::First, None, Speech::Turns(turns)) => {
                let turns = turns.into_iter().map(|turn| first_turn(turn.role, turn.content));
                Ok(vec![Value::List(turns.collect()), options.first()])
            }
            // This version has no prompts: a text becomes a user's turn.
            (Dialect::First, None, Speech::Prompts(prompts)) => {
                let turns = prompts.into_iter().filter_map(|prompt| match prompt {
                    Prompt::Text(text) => Some(first_turn(Role::User, text)),
                    Prompt::Tokens(_) => None,
                });
                Ok(vec![Value::List(turns.collect()), options.first()])
            }
            (Dialect::Second, _, Speech::Turns(turns)) => {
                let turns = turns.into_iter().map(Turn::second);
                Ok(vec![Value::List(turns.collect()), options.second()])
            }
            (Dialect::Second, _, Speech::Prompts(prompts)) => {
                let prompts = prompts.into_iter().map(Prompt::second);
                Ok(vec![Value::List(prompts.collect()), options.second()])
            }
        }
    }
}

fn first_turn(role: Role, content: String) -> Value {
    Value::Record(vec![Value::Enum(role as u32), text(content)])
}

impl Turn {
    fn second(self) -> Value {
        let Self { role, content, reasoning, calls, answers, name } = self;
        let calls = calls.into_iter().map(|ToolCall { id, name, arguments }| {
            Value::Record(vec![text(id), text(name), text(arguments)])
        });
        Value::Record(vec![
            Value::Enum(role as u32),
            text(content),
            option(reasoning.map(text)),
            Value::List(calls.collect()),
            option(answers.map(text)),
            option(name.map(text)),
        ])
    }
}

impl Prompt {
    fn second(self) -> Value {
        let (case, value) = match self {
            Prompt::Text(prompt) => (0, text(prompt)),
            Prompt::Tokens(tokens) => {
                let bytes: Vec<u8> = tokens.into_iter().flat_map(u32::to_le_bytes).collect();
                (1, Value::Packed(Bytes::from(bytes)))
            }
        };
        Value::Variant(case, Some(Box::new(value)))
    }
}

impl Options {
    fn first(self) -> Value {
        Value::Record(vec![
            option(self.tokens_max.map(Value::U32)),
            option(self.temperature.map(Value::F32)),
            option(self.top_p.map(Value::F32)),
            texts(self.stop),
            option(self.seed.map(Value::S64)),
        ])
    }

    fn second(self) -> Value {
        let bias = self.logit_bias.into_iter();
        let bias =
            bias.map(|(token, bias)| Value::Tuple(vec![Value::U32(token), Value::F32(bias)]));
        let tools = self.tools.into_iter().map(|Tool { name, description, parameters, strict }| {
            let (description, parameters) = (description.map(text), parameters.map(text));
            let strict = Value::Bool(strict);
            Value::Record(vec![text(name), option(description), option(parameters), strict])
        });
        let tool_choice = match self.tool_choice {
            ToolChoice::Auto => Value::Variant(0, None),
            ToolChoice::None => Value::Variant(1, None),
            ToolChoice::Required => Value::Variant(2, None),
            ToolChoice::Named(name) => Value::Variant(3, Some(Box::new(text(name)))),
        };
        let format = match self.format {
            Format::Text => Value::Variant(0, None),
            Format::Json => Value::Variant(1, None),
            Format::Schema { name, schema, strict } => {
                let schema = Value::Record(vec![text(name), text(schema), Value::Bool(strict)]);
                Value::Variant(2, Some(Box::new(schema)))
            }
        };
        Value::Record(vec![
            option(self.tokens_max.map(Value::U32)),
            option(self.temperature.map(Value::F32)),
            option(self.top_p.map(Value::F32)),
            option(self.top_k.map(Value::U32)),
            option(self.min_p.map(Value::F32)),
            option(self.frequency_penalty.map(Value::F32)),
            option(self.presence_penalty.map(Value::F32)),
            texts(self.stop),
            option(self.seed.map(Value::S64)),
            Value::List(bias.collect()),
            option(self.logprobs.map(Value::U8)),
            Value::U8(self.choices),
            Value::List(tools.collect()),
            tool_choice,
            Value::Bool(self.parallel_tool_calls),
            format,
            option(self.reasoning_effort.map(text)),
            option(self.template_values.map(text)),
        ])
    }
}

fn text(text: String) -> Value {
    Value::String(text.into())
}

fn texts(texts: Vec<String>) -> Value {
    Value::List(texts.into_iter().map(text).collect())
}

fn option(value: Option<Value>) -> Value {
    Value::Option(value.map(Box::new))
}
