//! The tools that an assistant may ask for, which one it asks for, and the form of its answer, as the endpoints for chats and for responses
//! write them.

use serde_json::value::RawValue;

use super::asked::{Format, Options, Tool, ToolChoice};
use super::members::{MemberRules, Members, Refusal, Rule, each, unexpected};
use super::options::{nested, object};

/// Maximum tools of a request, and maximum characters of a name, as in OpenAI's API.
const TOOLS_MAX: usize = 128;
const NAME_CHARS_MAX: usize = 64;

/// A tool of a chat: the function is a member of its own.
const TOOL: MemberRules =
    &[("type", Rule::Read), ("function", Rule::Read), ("cache_control", Rule::Ignored)];

const FUNCTION: MemberRules = &[
    ("name", Rule::Read),
    ("description", Rule::Read),
    ("parameters", Rule::Read),
    ("strict", Rule::Read),
];

/// A tool of a response: its members are those of the function. The other types have other members, which are not read.
const FLAT: MemberRules = &[
    ("type", Rule::Read),
    ("name", Rule::Read),
    ("description", Rule::Read),
    ("parameters", Rule::Read),
    ("strict", Rule::Read),
];

const NAMED: MemberRules = &[("type", Rule::Read), ("function", Rule::Read)];
const NAMED_FLAT: MemberRules = &[("type", Rule::Read), ("name", Rule::Read)];
const ONLY_NAME: MemberRules = &[("name", Rule::Read)];

const PLAIN_FORMAT: MemberRules = &[("type", Rule::Read)];

const FORMAT: MemberRules = &[("type", Rule::Read), ("json_schema", Rule::Read)];

const SCHEMA: MemberRules = &[
    ("name", Rule::Read),
    ("description", Rule::Ignored),
    ("schema", Rule::Read),
    ("strict", Rule::Read),
];

const FORMAT_FLAT: MemberRules = &[
    ("type", Rule::Read),
    ("name", Rule::Read),
    ("description", Rule::Ignored),
    ("schema", Rule::Read),
    ("strict", Rule::Read),
];

/// The way in which an endpoint writes these objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Chats: `{"type": "function", "function": {"name": …}}`.
    Nested,
    /// Responses: `{"type": "function", "name": …}`. Tools of other types are left out: its clients always send some.
    Flat,
}

/// Reads `tools`, `tool_choice` and `parallel_tool_calls`.
pub(super) fn read(
    members: &Members<'_>,
    style: Style,
    options: &mut Options,
) -> Result<(), Refusal> {
    if let Some(list) = members.raw("tools") {
        each("tools", list, |index, raw| {
            let tool = tool(raw, style);
            let tool = tool.map_err(|refusal| refusal.at(&format!("/tools/{index}")));
            options.tools.extend(tool.map_err(|refusal| refusal.within("tools"))?);
            check(&options.tools)
        })?;
    }
    let parallel = members.get("parallel_tool_calls", "true or false")?;
    options.parallel_tool_calls = parallel.unwrap_or(true);
    if let Some(raw) = members.raw("tool_choice") {
        options.tool_choice = choice(raw, style)?;
    }
    let is_there = |name: &String| options.tools.iter().any(|tool| tool.name == *name);
    let wrong = match &options.tool_choice {
        ToolChoice::Auto | ToolChoice::None => None,
        ToolChoice::Required if options.tools.is_empty() => {
            Some("`tool_choice` is `required`, but there is no function in `tools`".to_owned())
        }
        ToolChoice::Named(name) if !is_there(name) => {
            Some(format!("`tool_choice` names `{name}`, which is no function in `tools`"))
        }
        ToolChoice::Required | ToolChoice::Named(_) => None,
    };
    wrong.map_or(Ok(()), |wrong| Err(Refusal::of("tool_choice", wrong)))
}

/// Whether another tool may follow: checked after each, so that no more are kept.
fn check(tools: &[Tool]) -> Result<(), Refusal> {
    let Some((last, before)) = tools.split_last() else { return Ok(()) };
    if tools.len() > TOOLS_MAX {
        let detail = format!("`tools` has more than {TOOLS_MAX} functions");
        return Err(Refusal::of("tools", detail));
    }
    match before.iter().any(|tool| tool.name == last.name) {
        true => Err(Refusal::of("tools", format!("`tools` has `{}` twice", last.name))),
        false => Ok(()),
    }
}

/// A function; `None` for a tool that the endpoint leaves out.
fn tool(raw: &RawValue, style: Style) -> Result<Option<Tool>, Refusal> {
    let kind = kind(raw)?;
    if kind != "function" {
        return match style {
            Style::Flat => Ok(None),
            Style::Nested => {
                let detail = format!("only tools of type `function` are supported, not `{kind}`");
                Err(Refusal::of("type", detail))
            }
        };
    }
    let text = raw.get().as_bytes();
    let function = match style {
        Style::Flat => Members::read(text, &[FLAT])?,
        Style::Nested => nested(&Members::read(text, &[TOOL])?, "function", FUNCTION)?,
    };
    Ok(Some(Tool {
        name: name(&function)?,
        description: function.get("description", "a text")?,
        parameters: object(&function, "parameters")?,
        strict: function.get("strict", "true or false")?.unwrap_or(false),
    }))
}

/// The type of an object, whatever its other members are.
pub(super) fn kind(raw: &RawValue) -> Result<String, Refusal> {
    #[derive(serde::Deserialize)]
    struct Typed {
        r#type: String,
    }
    match serde_json::from_str::<Typed>(raw.get()) {
        Ok(typed) => Ok(typed.r#type.chars().take(NAME_CHARS_MAX).collect()),
        Err(_) => Err(unexpected("type", "a text in an object", raw)),
    }
}

/// The name of a function or of a schema.
fn name(members: &Members<'_>) -> Result<String, Refusal> {
    let name: String = members.need("name", "a text")?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match (1..=NAME_CHARS_MAX).contains(&name.len()) && name.chars().all(is_plain) {
        true => Ok(name),
        false => {
            let detail = format!(
                "`name` has 1 to {NAME_CHARS_MAX} letters, digits, `_` and `-`, unlike `{}`",
                name.chars().take(NAME_CHARS_MAX).collect::<String>()
            );
            Err(Refusal::of("name", detail))
        }
    }
}

fn choice(raw: &RawValue, style: Style) -> Result<ToolChoice, Refusal> {
    let expected = "`none`, `auto`, `required`, or a function";
    let wrong = || unexpected("tool_choice", expected, raw);
    if let Ok(word) = serde_json::from_str::<String>(raw.get()) {
        return match word.as_str() {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            "required" => Ok(ToolChoice::Required),
            _ => Err(wrong()),
        };
    }
    if !kind(raw).is_ok_and(|kind| kind == "function") {
        return Err(wrong());
    }
    let text = raw.get().as_bytes();
    let named = match style {
        Style::Flat => Members::read(text, &[NAMED_FLAT]).and_then(|members| name(&members)),
        Style::Nested => Members::read(text, &[NAMED])
            .and_then(|members| nested(&members, "function", ONLY_NAME))
            .and_then(|members| name(&members)),
    };
    named.map(ToolChoice::Named).map_err(|refusal| refusal.within("tool_choice"))
}

/// The form of the answer: `response_format` of a chat, `format` of a response's `text`.
pub(super) fn format(raw: &RawValue, member: &str, style: Style) -> Result<Format, Refusal> {
    let text = raw.get().as_bytes();
    let read = || match kind(raw)?.as_str() {
        "text" => Members::read(text, &[PLAIN_FORMAT]).map(|_| Format::Text),
        "json_object" => Members::read(text, &[PLAIN_FORMAT]).map(|_| Format::Json),
        "json_schema" => match style {
            Style::Flat => schema(&Members::read(text, &[FORMAT_FLAT])?),
            Style::Nested => {
                schema(&nested(&Members::read(text, &[FORMAT])?, "json_schema", SCHEMA)?)
            }
        },
        other => {
            let detail = format!("`type` is `text`, `json_object` or `json_schema`, not `{other}`");
            Err(Refusal::of("type", detail))
        }
    };
    read().map_err(|refusal| refusal.within(member))
}

fn schema(members: &Members<'_>) -> Result<Format, Refusal> {
    let schema = object(members, "schema")?;
    Ok(Format::Schema {
        name: name(members)?,
        // Without a schema, any object.
        schema: schema.unwrap_or_else(|| r#"{"type":"object"}"#.to_owned()),
        strict: members.get("strict", "true or false")?.unwrap_or(false),
    })
}
