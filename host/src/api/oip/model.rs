//! The model that a path or message names.

use std::sync::Arc;

use http::HeaderMap;

use super::{Problem, ProblemKind};
use crate::api::body;
use crate::api::calls::NoAnswer;
use crate::host::Host;
use crate::id::{FunctionName, ModelName};
use crate::invoke::InvokeError;
use crate::state::accounts::Caller;
use crate::state::deployments::{Deployment, Reference, ResolveError, Target};
use crate::visibility;

/// The function that serves named tensors (`hospes:plugin/inference`).
const FUNCTION: &str = "infer";

/// A model as a client names it.
#[derive(Debug, Clone)]
pub(in crate::api) struct Asked {
    /// As written: responses use the same name.
    pub(in crate::api) name: Box<str>,
    /// The version as written; `None` for the latest.
    version: Option<Box<str>>,
    model: Option<ModelName>,
}

impl Asked {
    /// Parses `{publisher}/{model}[/versions/{version}][/{action}]` into model and action. The name's slash may be `%2F`. `None` for
    /// another path.
    pub(super) fn read(host: &Host, segments: &[&str]) -> Option<(Self, String)> {
        let path = segments.join("/");
        let parts: Vec<&str> = path.split('/').collect();
        let (name, rest) = match parts.as_slice() {
            [publisher, label, rest @ ..] if !is_behind(label) => {
                (format!("{publisher}/{label}"), rest)
            }
            [label, rest @ ..] => ((*label).to_owned(), rest),
            [] => return None,
        };
        let (version, action) = match rest {
            [] => (None, ""),
            [action] if *action != "versions" => (None, *action),
            ["versions", version] => (Some(*version), ""),
            ["versions", version, action] => (Some(*version), *action),
            _ => return None,
        };
        Some((Self::named(host, &name, version), action.to_owned()))
    }

    /// The model with this name, and this version or the latest.
    pub(in crate::api) fn named(host: &Host, name: &str, version: Option<&str>) -> Self {
        let model = match name.contains('/') {
            true => name.parse().ok(),
            // A bare name means a model of the operator's default publisher, if there is one.
            false => host
                .config()
                .api
                .default_publisher
                .clone()
                .and_then(|publisher| Some(ModelName { publisher, label: name.parse().ok()? })),
        };
        let version = version.filter(|version| !version.is_empty()).map(Box::from);
        Self { name: name.into(), version, model }
    }

    /// The target of a tensor call.
    pub(in crate::api) fn target(&self) -> Result<Target, Problem> {
        let model = self.model.clone().ok_or_else(|| self.unknown())?;
        let reference = self.reference()?;
        let function: FunctionName =
            FUNCTION.parse().expect("invariant: the interface's function has a good name");
        Ok(Target { model, reference, function })
    }

    fn reference(&self) -> Result<Reference, Problem> {
        match &self.version {
            None => Ok(Reference::Latest),
            Some(version) => version.parse().map_err(|_| self.unknown()),
        }
    }

    /// The named version, if the caller may know of it.
    pub(in crate::api) fn find(
        &self,
        host: &Host,
        headers: &HeaderMap,
    ) -> Result<Arc<Deployment>, Problem> {
        let caller = match body::bearer(headers) {
            Some(key) => Some(host.auth.authenticate(Some(key))?),
            None => None,
        };
        let model = self.model.as_ref().ok_or_else(|| self.unknown())?;
        let found = visibility::version(host, caller.as_ref(), model, &self.reference()?);
        found.map_err(|error| self.refused(NoAnswer::Refused(InvokeError::Resolve(error))))
    }

    /// The model, if it is `publisher`'s. Does not reveal whether others exist.
    pub(in crate::api) fn own(&self, publisher: &Caller) -> Result<ModelName, Problem> {
        let own = self.model.clone().filter(|model| model.publisher == publisher.account().name);
        own.ok_or_else(|| self.unknown())
    }

    /// The error for a failed call, in the words that clients look for.
    pub(in crate::api) fn refused(&self, error: NoAnswer) -> Problem {
        match error {
            NoAnswer::Refused(InvokeError::Resolve(
                ResolveError::NoModel(_) | ResolveError::NoVersion { .. },
            )) => self.unknown(),
            NoAnswer::Refused(InvokeError::Resolve(ResolveError::NoFunction {
                functions, ..
            })) => {
                let (name, functions) = (&self.name, functions.join(", "));
                let detail = format!(
                    "model '{name}' does not take tensors: call its functions ({functions}) at /{name}/…"
                );
                Problem::new(ProblemKind::InvalidRequest, detail)
            }
            other => other.into(),
        }
    }

    fn unknown(&self) -> Problem {
        let (name, version) = (&self.name, self.version.as_ref());
        let version = version.map_or_else(String::new, |version| format!(" version {version}"));
        let detail = format!("Request for unknown model: '{name}'{version} is not found");
        Problem::new(ProblemKind::NotFound, detail)
    }
}

/// Whether a path segment follows a model's name, so that the name is a bare one.
fn is_behind(part: &str) -> bool {
    matches!(
        part,
        "versions" | "ready" | "config" | "stats" | "infer" | "generate" | "generate_stream"
    )
}
