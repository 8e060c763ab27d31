//! `/v1/responses`: its requests. Nothing is stored: a request has the whole conversation, and the response says `"store": false`.

mod encode;
mod items;
mod output;

use serde_json::{Value as Json, json};

use super::asked::{Asked, Format, Options, Role, Speech, Tool, ToolChoice, Turn};
use super::members::{MemberRules, Members, Plain, Refusal, Rule, each, missing};
use super::options::{alternatives, effort, most, nested, number};
use super::tools::{self, Style};
use crate::value::parse::without_bom;

pub(super) use encode::Encode;

const MEMBERS: MemberRules = &[
    ("model", Rule::Read),
    ("input", Rule::Read),
    ("instructions", Rule::Read),
    ("stream", Rule::Read),
    ("max_output_tokens", Rule::Read),
    ("temperature", Rule::Read),
    ("top_p", Rule::Read),
    ("top_logprobs", Rule::Newer(&[Plain::Zero])),
    ("tools", Rule::Read),
    ("tool_choice", Rule::Read),
    ("parallel_tool_calls", Rule::Read),
    ("text", Rule::Read),
    ("reasoning", Rule::Read),
    ("metadata", Rule::Read),
    ("include", Rule::Read),
    ("previous_response_id", Rule::Read),
    ("conversation", Rule::Read),
    ("background", Rule::Only(&[Plain::False])),
    ("truncation", Rule::Only(&[Plain::Text("disabled")])),
    ("prompt", Rule::Only(&[])),
    ("context_management", Rule::Only(&[Plain::Empty])),
    // Nothing is stored, which the response says.
    ("store", Rule::Ignored),
    // Only of the tools that a host runs itself, of which there are none.
    ("max_tool_calls", Rule::Ignored),
    ("stream_options", Rule::Ignored),
    ("user", Rule::Ignored),
    ("service_tier", Rule::Ignored),
    ("safety_identifier", Rule::Ignored),
    ("prompt_cache_key", Rule::Ignored),
    ("prompt_cache_retention", Rule::Ignored),
    ("client_metadata", Rule::Ignored),
];

const TEXT: MemberRules =
    &[("format", Rule::Read), ("verbosity", Rule::Only(&[Plain::Text("medium")]))];

const REASONING: MemberRules = &[
    ("effort", Rule::Newer(&[Plain::Text("none")])),
    // Reasoning is sent as it is, not in a summary.
    ("summary", Rule::Ignored),
    ("generate_summary", Rule::Ignored),
];

/// What asks for log probabilities in `include`. The other entries are about tools and storage that there are not.
const WITH_LOGPROBS: &str = "message.output_text.logprobs";

/// A request for a response.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) asked: Asked,
    pub(super) stream: bool,
    /// The members of the request that the response repeats.
    pub(super) repeated: Json,
}

/// Parses a request.
pub(super) fn read(wire: &[u8]) -> Result<Wanted, Refusal> {
    let members = Members::read(without_bom(wire), &[MEMBERS])?;
    for name in ["previous_response_id", "conversation"] {
        if members.raw(name).is_some() {
            let detail = format!(
                "`{name}` is not supported: this host stores no responses; send the whole conversation in `input`"
            );
            return Err(Refusal::of(name, detail));
        }
    }
    let mut newer = members.newer();
    let mut turns = Vec::new();
    let instructions: Option<String> = members.get("instructions", "a text")?;
    if let Some(text) = &instructions {
        turns.push(Turn::of(Role::System, text.clone()));
    }
    let input = members.raw("input").ok_or_else(|| missing("input"))?;
    let beyond = items::read(input, &mut turns)?;
    newer = newer.or(beyond);
    let (options, beyond) = options(&members)?;
    newer = newer.or(beyond);
    let repeated = repeated(&members, instructions.as_deref(), &options)?;
    let model = members.need("model", "a text")?;
    let stream: Option<bool> = members.get("stream", "true or false")?;
    let asked = Asked { model, speech: Speech::Turns(turns), options, newer };
    Ok(Wanted { asked, stream: stream.unwrap_or(false), repeated })
}

/// The options, and why version 0.1 of the interface cannot honour them, if it cannot.
fn options(members: &Members<'_>) -> Result<(Options, Option<Refusal>), Refusal> {
    let mut options = Options {
        tokens_max: most(members, "max_output_tokens")?,
        temperature: number(members, "temperature", 0.0..=2.0)?,
        top_p: number(members, "top_p", 0.0..=1.0)?,
        ..Options::default()
    };
    tools::read(members, Style::Flat, &mut options)?;
    let mut newer = None;
    let mut beyond = |name: &str| {
        let detail = format!(
            "`{name}` is not supported by this model, which exports version 0.1 of its interface: leave it out"
        );
        newer.get_or_insert_with(|| Refusal::of(name, detail));
    };
    if !options.tools.is_empty() {
        beyond("tools");
    }
    if members.raw("text").is_some()
        && let Some(raw) = nested(members, "text", TEXT)?.raw("format")
    {
        options.format = tools::format(raw, "text", Style::Flat)?;
        if options.format != Format::Text {
            beyond("text");
        }
    }
    if members.raw("reasoning").is_some() {
        let reasoning = nested(members, "reasoning", REASONING)?;
        let wanted = effort(&reasoning, "effort");
        options.reasoning_effort = wanted.map_err(|refusal| refusal.within("reasoning"))?;
        if reasoning.newer().is_some() {
            beyond("reasoning");
        }
    }
    options.logprobs = logprobs(members)?;
    if options.logprobs.is_some() {
        beyond("include");
    }
    Ok((options, newer))
}

fn logprobs(members: &Members<'_>) -> Result<Option<u8>, Refusal> {
    let mut wanted = false;
    if let Some(list) = members.raw("include") {
        each("include", list, |_, entry| {
            wanted |= serde_json::from_str::<String>(entry.get()).is_ok_and(|e| e == WITH_LOGPROBS);
            Ok(())
        })?;
    }
    let top = alternatives(members)?;
    Ok(match top {
        Some(top) if top > 0 || wanted => Some(top),
        _ => wanted.then_some(0),
    })
}

/// What the response repeats of the request: what was used, which is not all that was sent.
fn repeated(
    members: &Members<'_>,
    instructions: Option<&str>,
    options: &Options,
) -> Result<Json, Refusal> {
    let tool = |tool: &Tool| {
        json!({
            "type": "function",
            "name": tool.name,
            "description": tool.description,
            "parameters": tool.parameters.as_deref().and_then(parsed),
            "strict": tool.strict,
        })
    };
    let tool_choice = match &options.tool_choice {
        ToolChoice::Auto => json!("auto"),
        ToolChoice::None => json!("none"),
        ToolChoice::Required => json!("required"),
        ToolChoice::Named(name) => json!({"type": "function", "name": name}),
    };
    let format = match &options.format {
        Format::Text => json!({"type": "text"}),
        Format::Json => json!({"type": "json_object"}),
        Format::Schema { name, schema, strict } => {
            let schema = parsed(schema);
            json!({"type": "json_schema", "name": name, "schema": schema, "strict": strict})
        }
    };
    let metadata: Option<serde_json::Map<String, Json>> = members.get("metadata", "an object")?;
    Ok(json!({
        "background": false,
        "instructions": instructions,
        "max_output_tokens": options.tokens_max,
        "metadata": metadata.unwrap_or_default(),
        "parallel_tool_calls": options.parallel_tool_calls,
        "previous_response_id": null,
        "reasoning": {"effort": options.reasoning_effort, "summary": null},
        "store": false,
        // As they were sent: the model gets fewer digits.
        "temperature": members.get::<f64>("temperature", "a number")?,
        "text": {"format": format},
        "tool_choice": tool_choice,
        "tools": options.tools.iter().map(tool).collect::<Vec<_>>(),
        "top_logprobs": options.logprobs.unwrap_or(0),
        "top_p": members.get::<f64>("top_p", "a number")?,
        "truncation": "disabled",
    }))
}

/// A schema, which was JSON in the request.
fn parsed(schema: &str) -> Option<Json> {
    serde_json::from_str(schema).ok()
}
