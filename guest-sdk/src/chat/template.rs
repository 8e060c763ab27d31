//! Chat templates: from a conversation to the parts of a prompt.
//!
//! A template is the model's own Jinja text. It joins what users said with control tokens into one text, so afterwards nothing
//! would tell the two apart. Therefore everything that comes from outside is guarded first ([`Guard`]): a mark, which no text may
//! contain, breaks whatever could become a part of a control token. The rendered text is then searched for control tokens, and the
//! marks are removed.

use std::collections::BTreeSet;
use std::io::{self, Write};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value, from_args};
use minijinja::{Environment, Error, ErrorKind, State};
use minijinja_contrib::pycompat;
use serde::Serialize;
use serde_json::Value as Json;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

use crate::language::Part;

/// Breaks control tokens in texts from outside. The last private-use character, which no text needs.
const MARK: char = '\u{10FFFD}';

/// Steps of a template.
const FUEL: u64 = 2_000_000;

/// Bytes of a prompt.
const PROMPT_BYTES_MAX: usize = 4 << 20;

/// Why a conversation has no prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateError {
    /// A text has the private-use character U+10FFFD.
    Marked,
    /// The template refuses the conversation, and why.
    Refused(String),
    /// The template itself is wrong.
    Template(String),
    /// The prompt has more than 4 MiB.
    TooLong,
}

impl std::fmt::Display for TemplateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Marked => f.write_str(
                "a text has the private-use character U+10FFFD, which is reserved: remove it",
            ),
            Self::Refused(why) => write!(f, "the model's chat template refuses this: {why}"),
            Self::Template(why) => write!(f, "the model's chat template does not work: {why}"),
            Self::TooLong => {
                write!(f, "the prompt has more than {PROMPT_BYTES_MAX} bytes: say less")
            }
        }
    }
}

impl std::error::Error for TemplateError {}

/// Guards texts from outside against becoming control tokens.
#[derive(Debug)]
pub struct Guard {
    specials: Vec<String>,
    /// Each control token has one of these.
    edges: BTreeSet<char>,
    /// Each control token begins with one of these.
    begins: BTreeSet<char>,
}

impl Guard {
    /// For a model with these control tokens.
    pub fn new(specials: &[String]) -> Self {
        let mut specials: Vec<_> =
            specials.iter().filter(|name| !name.is_empty()).cloned().collect();
        // The longest is found first where one begins like another.
        specials.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        let mut edges = BTreeSet::new();
        for name in &specials {
            let is_word = |c: char| c.is_alphanumeric() || c.is_whitespace();
            let only_words = name.chars().all(is_word);
            edges.extend(name.chars().filter(|c| only_words || !is_word(*c)));
        }
        let begins = specials.iter().filter_map(|name| name.chars().next()).collect();
        Self { specials, edges, begins }
    }

    /// A text that is said.
    pub fn text(&self, text: &str) -> Result<Value, TemplateError> {
        // A template could put its own delimiters around all of it.
        let whole = text.trim();
        let inside = !whole.is_empty() && self.specials.iter().any(|name| name.contains(whole));
        self.mark(text, inside).map(Value::from)
    }

    /// JSON from outside, such as the parameters of a tool. Its words keep their names, because templates ask for them.
    pub fn json(&self, json: &Json) -> Result<Value, TemplateError> {
        self.marked(json, 0)
    }

    fn marked(&self, json: &Json, depth: usize) -> Result<Value, TemplateError> {
        if depth > JSON_DEPTH_MAX {
            return Err(TemplateError::Refused(format!(
                "JSON nested deeper than {JSON_DEPTH_MAX}"
            )));
        }
        Ok(match json {
            Json::Null => Value::from(()),
            Json::Bool(truth) => Value::from(*truth),
            Json::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(number), _) => Value::from(number),
                (None, Some(number)) => Value::from(number),
                (None, None) => Value::from(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Value::from(self.mark(text, false)?),
            Json::Array(items) => {
                let items = items.iter().map(|item| self.marked(item, depth + 1));
                Value::from(items.collect::<Result<Vec<_>, _>>()?)
            }
            Json::Object(members) => {
                let members = members.iter().map(|(name, value)| {
                    Ok((self.mark(name, false)?, self.marked(value, depth + 1)?))
                });
                Value::from_pairs(members.collect::<Result<Vec<_>, TemplateError>>()?)
            }
        })
    }

    fn mark(&self, text: &str, everywhere: bool) -> Result<String, TemplateError> {
        if text.contains(MARK) {
            return Err(TemplateError::Marked);
        }
        let mut marked = String::with_capacity(text.len() + 16);
        for c in text.chars() {
            marked.push(c);
            if everywhere || self.edges.contains(&c) {
                marked.push(MARK);
            }
        }
        Ok(marked)
    }

    /// The parts of a rendered text: the control tokens that the template itself wrote, and the texts between them.
    fn parts(&self, rendered: &str) -> Vec<Part> {
        let (mut parts, mut text) = (Vec::new(), String::new());
        let mut rest = rendered;
        while let Some(c) = rest.chars().next() {
            let special = self.begins.contains(&c).then(|| self.special(rest)).flatten();
            if let Some(name) = special {
                if !text.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut text)));
                }
                parts.push(Part::Special(name.clone()));
                rest = &rest[name.len()..];
                continue;
            }
            if c != MARK {
                text.push(c);
            }
            rest = &rest[c.len_utf8()..];
        }
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        parts
    }

    fn special(&self, rest: &str) -> Option<&String> {
        self.specials.iter().find(|name| rest.starts_with(name.as_str()))
    }
}

/// How deep JSON from outside may nest.
const JSON_DEPTH_MAX: usize = 64;

/// A model's chat template, ready to use.
pub struct Template {
    environment: Environment<'static>,
    guard: Guard,
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Template").field("guard", &self.guard).finish_non_exhaustive()
    }
}

const NAME: &str = "chat";

impl Template {
    /// The template with this text, for a model with these control tokens.
    ///
    /// # Errors
    /// [`TemplateError::Template`] if the text is not Jinja.
    pub fn new(source: &str, specials: &[String]) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        // As the libraries do for which templates are written.
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.expect("invariant: only the defaults of white space change"));
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(method);
        environment.add_function("raise_exception", raise);
        environment.add_filter("tojson", to_json);
        environment
            .add_template_owned(NAME, source.to_owned())
            .map_err(|error| TemplateError::Template(error.to_string()))?;
        Ok(Self { environment, guard: Guard::new(specials) })
    }

    /// What guards the texts of a conversation.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// The prompt for `values`, whose texts have been guarded.
    ///
    /// # Errors
    /// [`TemplateError`].
    pub fn render(&self, values: Value) -> Result<Vec<Part>, TemplateError> {
        let template = self.environment.get_template(NAME);
        let template = template.map_err(|error| TemplateError::Template(error.to_string()))?;
        let mut out = Bounded(Vec::new());
        match template.render_captured_to(values, &mut out) {
            Ok(_) => {}
            Err(_) if out.0.len() >= PROMPT_BYTES_MAX => return Err(TemplateError::TooLong),
            Err(error) => return Err(refused(&error)),
        }
        let text = String::from_utf8(out.0);
        let text = text.map_err(|_| TemplateError::Template("it does not write text".into()))?;
        Ok(self.guard.parts(&text))
    }
}

fn refused(error: &Error) -> TemplateError {
    match (error.kind(), error.detail()) {
        (ErrorKind::InvalidOperation, Some(detail)) if detail.starts_with(RAISED) => {
            TemplateError::Refused(detail[RAISED.len()..].replace(MARK, ""))
        }
        (ErrorKind::OutOfFuel, _) => {
            TemplateError::Template(format!("it takes more than {FUEL} steps"))
        }
        _ => TemplateError::Template(error.to_string().replace(MARK, "")),
    }
}

/// Keeps what is written up to a limit.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = PROMPT_BYTES_MAX - self.0.len();
        self.0.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if bytes.len() > room { Err(io::Error::other("too long")) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Begins the errors that templates raise themselves.
const RAISED: &str = "raised: ";

fn raise(why: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, format!("{RAISED}{why}")))
}

/// Methods of Python's strings, lists and mappings. Comparisons do not see the marks.
fn method(
    state: &mut State<'_, '_>,
    value: &Value,
    name: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    if let (Some(text), "startswith" | "endswith") = (value.as_str(), name) {
        let (affix,): (&str,) = from_args(arguments)?;
        let text = text.replace(MARK, "");
        let has =
            if name == "startswith" { text.starts_with(affix) } else { text.ends_with(affix) };
        return Ok(Value::from(has));
    }
    pycompat::unknown_method_callback(state, value, name, arguments)
}

/// JSON as Python writes it, which models were trained with.
fn to_json(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    // Others only say how Python escapes and sorts.
    let _: Option<Value> = options.get("ensure_ascii")?;
    let _: Option<Value> = options.get("sort_keys")?;
    options.assert_all_used()?;
    let mut out = Vec::new();
    let written = match indent {
        Some(spaces) => {
            let spaces = " ".repeat(spaces.min(INDENT_MAX));
            let formatter = PrettyFormatter::with_indent(spaces.as_bytes());
            value.serialize(&mut Serializer::with_formatter(&mut out, formatter))
        }
        None => value.serialize(&mut Serializer::with_formatter(&mut out, Python)),
    };
    let bad =
        |error: &dyn std::fmt::Display| Error::new(ErrorKind::BadSerialization, error.to_string());
    written.map_err(|error| bad(&error))?;
    String::from_utf8(out).map(Value::from).map_err(|error| bad(&error))
}

/// Spaces before a member of JSON.
const INDENT_MAX: usize = 16;

/// A space after each comma and colon.
struct Python;

impl Formatter for Python {
    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }
}

#[cfg(test)]
mod tests;
