//! How callers name a model's version and its function.

use std::fmt;
use std::str::FromStr;

use semver::Version;

use super::ResolveError;
use crate::id::{Digest, FunctionName, ModelName};

/// The version that a call wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// The highest version that is not a pre-release; if there are only pre-releases, the highest.
    Latest,
    /// Exactly this version.
    Version(Version),
    /// Exactly this bundle.
    Digest(Digest),
}

impl FromStr for Reference {
    type Err = ResolveError;

    /// Parses the part after the `@` of a model's name.
    fn from_str(text: &str) -> Result<Self, ResolveError> {
        if let Ok(digest) = text.parse() {
            return Ok(Reference::Digest(digest));
        }
        let version = text.strip_prefix('v').unwrap_or(text);
        version
            .parse()
            .map(Reference::Version)
            .map_err(|_| ResolveError::Reference(text.chars().take(80).collect()))
    }
}

/// The target of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub model: ModelName,
    pub reference: Reference,
    pub function: FunctionName,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reference {
            Reference::Latest => write!(f, "{}/{}", self.model, self.function),
            Reference::Version(version) => write!(f, "{}@{version}/{}", self.model, self.function),
            Reference::Digest(digest) => write!(f, "{}@{digest}/{}", self.model, self.function),
        }
    }
}
