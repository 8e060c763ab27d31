//! `GET /v1/models` and `GET /v1/models/{publisher}/{model}`.

use std::ops::ControlFlow;
use std::sync::Arc;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::{Answer, Problem, named, unknown};
use crate::api::answer::json_answer;
use crate::api::aside::{aside, asker};
use crate::api::body;
use crate::api::paging::ModelPage;
use crate::host::Host;
use crate::state::accounts::Caller;
use crate::state::deployments::{After, Deployment};
use crate::visibility;

/// The interfaces that OpenAI's endpoints call.
const INTERFACES: [&str; 4] = [
    super::embeddings::INTERFACE,
    super::converse::FIRST,
    super::converse::SECOND,
    super::rerank::INTERFACE,
];

/// The models that the caller may know of and that an endpoint can call, each once, whatever its versions.
pub(super) async fn list(host: &Arc<Host>, request: &Request<Incoming>) -> Result<Answer, Problem> {
    let caller = caller(host, request)?;
    let page = ModelPage::read(request.uri().query())?;
    aside(host, asker(caller.as_ref()), move |host| {
        let (mut models, mut last, mut next) = (Vec::<Value>::new(), None, None);
        host.deployments.visit(page.after.as_ref(), |published| {
            let live = published.deployment().filter(|live| {
                last.as_ref() != Some(live.model())
                    && serves(live)
                    && visibility::may_know(host, caller.as_ref(), live.release())
            });
            let Some(live) = live else { return ControlFlow::Continue(()) };
            if models.len() == page.limit {
                next = last.clone().map(|model| After { model, version: None });
                return ControlFlow::Break(());
            }
            models.push(model(&live));
            last = Some(live.model().clone());
            ControlFlow::Continue(())
        });
        let list = json!({"object": "list", "data": models, "has_more": next.is_some()});
        Ok(page.link(json_answer(StatusCode::OK, &list), "/v1/models", next.as_ref()))
    })
    .await
}

/// One of them. The slash of its name may be `%2F`.
pub(super) fn show(
    host: &Host,
    segments: &[&str],
    request: &Request<Incoming>,
) -> Result<Answer, Problem> {
    let name = segments.join("/");
    let caller = caller(host, request)?;
    let (known, reference) = named(host, &name)?;
    let found = visibility::version(host, caller.as_ref(), &known, &reference).ok();
    let found = found.filter(|live| serves(live));
    let live = found.ok_or_else(|| unknown(&name))?;
    Ok(json_answer(StatusCode::OK, &model(&live)))
}

fn caller(host: &Host, request: &Request<Incoming>) -> Result<Option<Caller>, Problem> {
    let key = body::bearer(request.headers());
    Ok(key.map(|key| host.auth.authenticate(Some(key))).transpose()?)
}

fn serves(live: &Deployment) -> bool {
    let exports = live.manifest().functions.iter().map(|function| function.export.as_str());
    exports.into_iter().any(|export| {
        INTERFACES.iter().any(|interface| {
            export.strip_prefix(interface).is_some_and(|rest| rest.starts_with('#'))
        })
    })
}

fn model(live: &Deployment) -> Value {
    // Hosts did not always write down when a version was published.
    let created = live.published_at().map_or(0, |at| at.as_second());
    let mut model = json!({
        "id": live.model(),
        "object": "model",
        "created": created,
        "owned_by": live.model().publisher,
    });
    // The least that all its language models have.
    if let Some(context) = live.decoders().iter().map(|decoder| decoder.context).min() {
        model["context_length"] = json!(context);
    }
    model
}
