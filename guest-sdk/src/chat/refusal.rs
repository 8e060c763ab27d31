//! Why a conversation is refused, as the hosts' fronts read it.

use serde_json::json;

use super::TemplateError;
use crate::language;

/// A refusal's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The request is wrong.
    Invalid,
    /// The prompt does not fit into the model's context.
    ContextLengthExceeded,
    /// The plugin or its model cannot do this.
    Unsupported,
    /// The agreement permits no more tokens.
    TokensSpent,
    /// The model has no room now.
    Busy,
    /// There is no time left.
    Deadline,
}

impl Code {
    fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::ContextLengthExceeded => "context_length_exceeded",
            Self::Unsupported => "unsupported",
            Self::TokensSpent => "tokens_spent",
            Self::Busy => "busy",
            Self::Deadline => "deadline",
        }
    }
}

/// A refusal. As a text it is the JSON object that `hospes:plugin/chat` describes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its kind.
    pub code: Code,
    /// The reason, for people.
    pub message: String,
    /// The member of the request that it is about, by its name in OpenAI's API.
    pub param: Option<&'static str>,
}

impl Refusal {
    /// Something about the request is wrong.
    pub fn invalid(message: impl Into<String>, param: Option<&'static str>) -> Self {
        Self { code: Code::Invalid, message: message.into(), param }
    }

    /// Something cannot be done here.
    pub fn unsupported(message: impl Into<String>, param: Option<&'static str>) -> Self {
        Self { code: Code::Unsupported, message: message.into(), param }
    }

    /// The same about a member of the request.
    #[must_use]
    pub fn about(self, param: &'static str) -> Self {
        Self { param: Some(param), ..self }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for String {
    fn from(refusal: Refusal) -> Self {
        let Refusal { code, message, param } = refusal;
        match param {
            Some(param) => json!({ "code": code.name(), "message": message, "param": param }),
            None => json!({ "code": code.name(), "message": message }),
        }
        .to_string()
    }
}

impl From<TemplateError> for Refusal {
    fn from(error: TemplateError) -> Self {
        let code = match error {
            TemplateError::Marked | TemplateError::Refused(_) => Code::Invalid,
            TemplateError::Template(_) => Code::Unsupported,
            TemplateError::TooLong => Code::ContextLengthExceeded,
        };
        Self { code, message: error.to_string(), param: Some("messages") }
    }
}

impl From<language::Failure> for Refusal {
    fn from(failure: language::Failure) -> Self {
        let code = match failure.why {
            language::Refusal::TooLong => Code::ContextLengthExceeded,
            language::Refusal::TokensSpent => Code::TokensSpent,
            language::Refusal::Busy => Code::Busy,
            language::Refusal::Deadline => Code::Deadline,
            language::Refusal::BadGrammar | language::Refusal::Invalid => Code::Invalid,
        };
        Self { code, message: failure.text, param: None }
    }
}
