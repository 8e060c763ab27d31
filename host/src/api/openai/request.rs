//! What clients send for a conversation, and what a model gets of it.
//!
//! A member that would change the answer and cannot be honoured is refused; one that changes nothing here is ignored.

use serde::Deserialize;
use serde_json::Value as Json;

use crate::value::Value;

/// Most turns of a conversation, and most texts at which an answer ends (as OpenAI has it).
const MESSAGES_MAX: usize = 2048;
const STOPS_MAX: usize = 4;

/// A request, whichever of the two endpoints it is for.
#[derive(Debug)]
pub(super) struct Conversation {
    pub(super) model: String,
    pub(super) stream: bool,
    /// Whether the last event of a stream says how many tokens were used.
    pub(super) include_usage: bool,
    /// The arguments of `complete`.
    pub(super) values: Vec<Value>,
}

#[derive(Deserialize)]
struct Common {
    model: String,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
    #[serde(default)]
    max_tokens: Option<u32>,
    #[serde(default)]
    max_completion_tokens: Option<u32>,
    #[serde(default)]
    temperature: Option<f32>,
    #[serde(default)]
    top_p: Option<f32>,
    #[serde(default)]
    stop: Option<Stop>,
    #[serde(default)]
    seed: Option<i64>,
    #[serde(default)]
    n: Option<u32>,
    #[serde(default)]
    tools: Option<Vec<Json>>,
    #[serde(default)]
    functions: Option<Vec<Json>>,
    #[serde(default)]
    response_format: Option<Format>,
    #[serde(default)]
    logprobs: Option<Json>,
    #[serde(default)]
    frequency_penalty: Option<f32>,
    #[serde(default)]
    presence_penalty: Option<f32>,
    #[serde(default)]
    echo: Option<bool>,
    #[serde(default)]
    suffix: Option<String>,
    #[serde(default)]
    best_of: Option<u32>,
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

#[derive(Deserialize)]
struct Format {
    r#type: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Stop {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
struct ChatBody {
    messages: Vec<Message>,
    #[serde(flatten)]
    common: Common,
}

#[derive(Deserialize)]
struct Message {
    role: String,
    #[serde(default)]
    content: Option<Content>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    r#type: String,
    #[serde(default)]
    text: Option<String>,
}

#[derive(Deserialize)]
struct CompletionBody {
    prompt: String,
    #[serde(flatten)]
    common: Common,
}

/// Reads a request for `/v1/chat/completions`.
pub(super) fn chat(wire: &[u8]) -> Result<Conversation, String> {
    let ChatBody { messages, common } = serde_json::from_slice(wire)
        .map_err(|error| format!("the body is no request for a chat completion: {error}"))?;
    if messages.is_empty() || messages.len() > MESSAGES_MAX {
        let count = messages.len();
        return Err(format!("`messages` has {count} entries, it can have 1 to {MESSAGES_MAX}"));
    }
    let messages = messages.into_iter().enumerate();
    let messages = messages.map(|(index, message)| {
        turn(message).map_err(|error| format!("`/messages/{index}`: {error}"))
    });
    conversation(messages.collect::<Result<_, _>>()?, common)
}

/// Reads a request for `/v1/completions`: its prompt is what a user says.
pub(super) fn completion(wire: &[u8]) -> Result<Conversation, String> {
    let CompletionBody { prompt, common } = serde_json::from_slice(wire).map_err(|error| {
        format!("the body is no request for a completion of one prompt of text: {error}")
    })?;
    conversation(vec![message(USER, prompt)], common)
}

/// Places of the roles in the interface's `role`.
const SYSTEM: u32 = 0;
const USER: u32 = 1;
const ASSISTANT: u32 = 2;
const TOOL: u32 = 3;

fn turn(Message { role, content }: Message) -> Result<Value, String> {
    let role = match role.as_str() {
        "system" | "developer" => SYSTEM,
        "user" => USER,
        "assistant" => ASSISTANT,
        "tool" | "function" => TOOL,
        other => {
            return Err(format!(
                "there is no role `{}`",
                other.chars().take(40).collect::<String>()
            ));
        }
    };
    let text = match content {
        None => String::new(),
        Some(Content::Text(text)) => text,
        Some(Content::Parts(parts)) => {
            let mut whole = String::new();
            for part in parts {
                match part.text {
                    Some(text) if part.r#type == "text" => whole.push_str(&text),
                    _ => return Err("content can be text only".to_owned()),
                }
            }
            whole
        }
    };
    Ok(message(role, text))
}

fn message(role: u32, text: String) -> Value {
    Value::Record(vec![Value::Enum(role), Value::String(text.into())])
}

fn conversation(messages: Vec<Value>, common: Common) -> Result<Conversation, String> {
    check(&common)?;
    let stop = match common.stop {
        None => Vec::new(),
        Some(Stop::One(text)) => vec![text],
        Some(Stop::Many(texts)) => texts,
    };
    if stop.len() > STOPS_MAX {
        return Err(format!("`stop` has {} texts, it can have {STOPS_MAX}", stop.len()));
    }
    let option = |value: Option<Value>| Value::Option(value.map(Box::new));
    let stop = stop.into_iter().map(|text| Value::String(text.into())).collect();
    let options = Value::Record(vec![
        option(common.max_completion_tokens.or(common.max_tokens).map(Value::U32)),
        option(common.temperature.map(Value::F32)),
        option(common.top_p.map(Value::F32)),
        Value::List(stop),
        option(common.seed.map(Value::S64)),
    ]);
    Ok(Conversation {
        model: common.model,
        stream: common.stream.unwrap_or(false),
        include_usage: common.stream_options.is_some_and(|options| options.include_usage),
        values: vec![Value::List(messages), options],
    })
}

/// Refuses what the interface has no word for.
fn check(common: &Common) -> Result<(), String> {
    let wanted = |member: &str| format!("`{member}` is not supported by the models here");
    let is_set = |number: Option<f32>| number.is_some_and(|number| number != 0.0);
    if common.n.is_some_and(|n| n != 1) || common.best_of.is_some_and(|n| n != 1) {
        return Err("one answer is given: `n` can be 1".to_owned());
    }
    if common.tools.as_ref().is_some_and(|tools| !tools.is_empty()) {
        return Err(wanted("tools"));
    }
    if common.functions.as_ref().is_some_and(|functions| !functions.is_empty()) {
        return Err(wanted("functions"));
    }
    if common.response_format.as_ref().is_some_and(|format| format.r#type != "text") {
        return Err(wanted("response_format"));
    }
    if common.logprobs.as_ref().is_some_and(|value| !value.is_null() && *value != Json::Bool(false))
    {
        return Err(wanted("logprobs"));
    }
    if is_set(common.frequency_penalty) || is_set(common.presence_penalty) {
        return Err(wanted("frequency_penalty` or `presence_penalty"));
    }
    if common.echo == Some(true) || common.suffix.is_some() {
        return Err(wanted("echo` or `suffix"));
    }
    Ok(())
}
