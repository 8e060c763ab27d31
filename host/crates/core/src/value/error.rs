//! Why and where a body does not fit a function's parameters.

use std::fmt;

/// Maximum characters of a caller's text in a message.
const EXCERPT_CHARS_MAX: usize = 40;

/// Why a body does not fit a function's parameters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    #[error("the body cannot be read as JSON: {reason} at line {line}, column {column}")]
    Syntax { reason: String, line: usize, column: usize },
    #[error("{at}, not {seen}")]
    Kind { at: BodyPlace, seen: &'static str },
    #[error("{at}: `{seen}` is out of its range")]
    Range { at: BodyPlace, seen: String },
    #[error("{at}: `{seen}` is not an integer: write digits, without a fraction or an exponent")]
    NotInteger { at: BodyPlace, seen: String },
    #[error("{at}: `{seen}` is not a number: write one, or `NaN`, `Infinity`, `-Infinity`")]
    NotFloat { at: BodyPlace, seen: String },
    #[error("{at}: `{seen}` is not one character")]
    NotChar { at: BodyPlace, seen: String },
    #[error("{at}: the string is not base64: use the standard alphabet, with padding")]
    Base64 { at: BodyPlace },
    #[error("`{}` is not a member of `{}`: leave it out", at.pointer, at.expected)]
    UnknownMember { at: BodyPlace },
    #[error("`{}` is missing: add it, as `{}`", at.pointer, at.expected)]
    MissingMember { at: BodyPlace },
    #[error("`{}` appears twice: keep one", at.pointer)]
    DuplicateMember { at: BodyPlace },
    #[error("{at}: it has no `{seen}`")]
    UnknownName { at: BodyPlace, seen: String },
    #[error("{at}: `{seen}` appears twice: keep one")]
    DuplicateFlag { at: BodyPlace, seen: String },
    #[error("{at}: the object must have exactly one member, the case")]
    NotOneMember { at: BodyPlace },
    #[error("{at}: case `{case}` has a payload: write an object with the member `{case}`")]
    NoPayload { at: BodyPlace, case: String },
    #[error("{at}: case `{case}` has no payload: write the string `{case}`")]
    Payload { at: BodyPlace, case: String },
    #[error("{at}: {reason}")]
    Tensor { at: BodyPlace, reason: String },
    #[error("{at}: the array has {seen} elements, but needs {wanted}")]
    TooShort { at: BodyPlace, seen: usize, wanted: usize },
    #[error("{at}: the array has more than {wanted} elements")]
    TooLong { at: BodyPlace, wanted: usize },
    #[error(
        "{at}: the body has more than {max} values: send less at once, and numbers in separate lists"
    )]
    TooMany { at: BodyPlace, max: usize },
}

/// A place in a body, and the type expected there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyPlace {
    /// JSON pointer (RFC 6901) to the value, or to the member that should be there. Empty for the whole body.
    pub pointer: String,
    /// Its type in WIT style, truncated if long.
    pub expected: String,
}

impl fmt::Display for BodyPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pointer.as_str() {
            "" => write!(f, "the body takes `{}`", self.expected),
            pointer => write!(f, "`{pointer}` takes `{}`", self.expected),
        }
    }
}

impl ValueError {
    /// The place that does not fit, if the body is valid JSON.
    pub fn place(&self) -> Option<&BodyPlace> {
        match self {
            ValueError::Syntax { .. } => None,
            ValueError::Kind { at, .. }
            | ValueError::Range { at, .. }
            | ValueError::NotInteger { at, .. }
            | ValueError::NotFloat { at, .. }
            | ValueError::NotChar { at, .. }
            | ValueError::Base64 { at }
            | ValueError::UnknownMember { at }
            | ValueError::MissingMember { at }
            | ValueError::DuplicateMember { at }
            | ValueError::UnknownName { at, .. }
            | ValueError::DuplicateFlag { at, .. }
            | ValueError::NotOneMember { at }
            | ValueError::NoPayload { at, .. }
            | ValueError::Payload { at, .. }
            | ValueError::Tensor { at, .. }
            | ValueError::TooShort { at, .. }
            | ValueError::TooLong { at, .. }
            | ValueError::TooMany { at, .. } => Some(at),
        }
    }
}

impl From<serde_json::Error> for ValueError {
    fn from(error: serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        let text = error.to_string();
        // The message ends with the position, which is split off here.
        let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason);
        ValueError::Syntax { reason: reason.to_owned(), line, column }
    }
}

/// The start of a caller's text, printable.
pub(super) fn excerpt(text: &str) -> String {
    let mut short: String = text.chars().take(EXCERPT_CHARS_MAX).map(visible).collect();
    if text.chars().nth(EXCERPT_CHARS_MAX).is_some() {
        short.push('…');
    }
    short
}

fn visible(c: char) -> char {
    if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }
}
