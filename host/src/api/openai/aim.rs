//! Which function of a model an endpoint calls, and whether the caller may: checked before a large body is parsed, and before a caller
//! learns what is wrong with a body.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;

use super::asked::Dialect;
use super::members::Refusal;
use super::told::piece;
use super::{Problem, named, refused, unknown};
use crate::admission::READ_HERE_BYTES_MAX;
use crate::api::calls::Front;
use crate::host::Host;
use crate::sandbox::FunctionType;
use crate::state::deployments::{Deployment, Target};
use crate::value::parse::without_bom;

/// What an endpoint calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Called {
    Embed,
    Rank,
    /// The next turn of a conversation, in either version of the interface.
    Turn,
    /// What follows a prompt, in either version of the interface.
    Prompt,
    /// The tokens of a conversation.
    Count,
}

/// The function of a version in which the next turn comes, and the one that goes on from prompts. Version 0.1 has no such function.
const COMPLETE: &str = "complete";
const GO_ON: &str = "go-on";

impl Called {
    /// The interface that a model must export.
    pub(super) fn interface(self) -> &'static str {
        match self {
            Called::Embed => super::embeddings::INTERFACE,
            Called::Rank => super::rerank::INTERFACE,
            Called::Turn | Called::Prompt => "hospes:plugin/chat",
            Called::Count => super::converse::SECOND,
        }
    }

    fn function(self, dialect: Dialect) -> &'static str {
        match self {
            Called::Embed => "embed",
            Called::Rank => "rank",
            Called::Prompt if dialect == Dialect::Second => GO_ON,
            Called::Turn | Called::Prompt => COMPLETE,
            Called::Count => "count",
        }
    }

    /// What a request for this model calls.
    ///
    /// # Errors
    /// If the name is no model's.
    pub(super) async fn aim(
        self,
        front: &Front<'_>,
        host: &Host,
        model: &str,
    ) -> Result<Aim, Problem> {
        let (name, reference) = named(host, model)?;
        front.awaken(&name, &reference).await;
        let live = front.version(&name, &reference);
        let dialect = live.as_ref().map_or(Dialect::Second, |live| spoken(live));
        let function = self.function(dialect).parse().map_err(|_| unknown(model))?;
        Ok(Aim { target: Target { model: name, reference, function }, dialect, live })
    }
}

/// The version of the interface `chat` that a model exports, if any.
fn spoken(live: &Deployment) -> Dialect {
    let is_second = live.functions().iter().any(|function| {
        matches!(function.name().as_str(), COMPLETE | GO_ON)
            && matches!(
                function.signature(),
                FunctionType::Stream { element, .. } if element == piece(Dialect::Second)
            )
    });
    if is_second { Dialect::Second } else { Dialect::First }
}

/// The function that a request calls.
pub(super) struct Aim {
    pub(super) target: Target,
    pub(super) dialect: Dialect,
    /// The version, if the caller may know of it.
    pub(super) live: Option<Arc<Deployment>>,
}

/// Rejects a body if its sender may not call the named model, after parsing only that name. A small body is parsed first and checked only
/// if something is wrong with it: see [`fault`].
pub(super) async fn permits(
    front: &Front<'_>,
    host: &Host,
    wire: &Bytes,
    called: Called,
) -> Result<(), Problem> {
    if wire.len() <= READ_HERE_BYTES_MAX {
        return Ok(());
    }
    // Other errors are reported when the body is parsed.
    let Some(model) = model_of(front, wire).await? else { return Ok(()) };
    let aim = called.aim(front, host, &model).await?;
    let permitted = front.permits(&aim.target).await;
    permitted.map_err(|error| refused(&model, called.interface(), error))
}

/// The error for a malformed body. Callers who may not call its model get the refusal instead.
pub(super) async fn fault(
    front: &Front<'_>,
    host: &Host,
    (wire, wrong): (&Bytes, Refusal),
    called: Called,
) -> Problem {
    let model = match model_of(front, wire).await {
        Ok(Some(model)) => model,
        Ok(None) => return wrong.into(),
        Err(problem) => return problem,
    };
    match called.aim(front, host, &model).await {
        Ok(aim) => refused(&model, called.interface(), front.fault(&aim.target, wrong).await),
        Err(problem) => problem,
    }
}

/// The model that a body names, if any.
async fn model_of(front: &Front<'_>, wire: &Bytes) -> Result<Option<String>, Problem> {
    #[derive(Deserialize)]
    struct Named {
        model: String,
    }
    let whole = wire.clone();
    let read = move || serde_json::from_slice::<Named>(without_bom(&whole)).ok();
    Ok(front.apart(wire.len(), read).await?.map(|named| named.model))
}
