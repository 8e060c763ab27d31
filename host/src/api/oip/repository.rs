//! The model repository extension: listing, unloading and loading models. Publishing is separate.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderMap, Request, StatusCode};
use hyper::body::Incoming;
use semver::Version;
use serde::Deserialize;
use serde_json::json;
use tokio::task::block_in_place;

use super::metadata::known;
use super::model::Asked;
use super::{Answer, Problem, done, invalid, not_found};
use crate::admission::Asker;
use crate::api::answer::json_answer;
use crate::api::aside::{aside, asker};
use crate::api::body;
use crate::api::intake::{self, Intake};
use crate::api::paging::ModelPage;
use crate::deploy;
use crate::host::Host;
use crate::id::ModelName;
use crate::operations;
use crate::receipt::Deed;
use crate::state::accounts::Caller;
use crate::state::deployments::After;

/// Maximum size of a request here, in bytes.
const BODY_BYTES_MAX: u64 = 64 << 10;

#[derive(Default, Deserialize)]
#[serde(expecting = "an object")]
struct Index {
    #[serde(default)]
    ready: bool,
}

/// `POST /v2/repository/index`. The body may be empty.
pub(super) async fn index(host: &Arc<Host>, request: Request<Incoming>) -> Result<Answer, Problem> {
    let (parts, body) = request.into_parts();
    let caller = caller(host, &parts.headers)?;
    let intake = match &caller {
        Some(caller) => Intake::document(host, caller, BODY_BYTES_MAX),
        None => Intake::anybody(host, &parts.extensions, BODY_BYTES_MAX),
    };
    let bytes = intake.read_json(&parts.headers, body).await?;
    let wanted: Index = match bytes.is_empty() {
        true => Index::default(),
        false => serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))?,
    };
    let page = ModelPage::read(parts.uri.query())?;
    aside(host, asker(caller.as_ref()), move |host| {
        let (models, next) = entries(host, caller.as_ref(), &page, wanted.ready);
        let models = models.into_iter().map(|entry| {
            let Entry { name, version, state, reason } = entry;
            json!({"name": name, "version": version, "state": state, "reason": reason})
        });
        let answer = json_answer(StatusCode::OK, &models.collect());
        Ok(page.link(answer, "/v2/repository/index", next.as_ref()))
    })
    .await
}

/// The caller, if authenticated.
fn caller(host: &Host, headers: &HeaderMap) -> Result<Option<Caller>, Problem> {
    Ok(body::bearer(headers).map(|key| host.auth.authenticate(Some(key))).transpose()?)
}

/// One version of a model that the caller may know of.
pub(in crate::api) struct Entry {
    pub(in crate::api) name: String,
    pub(in crate::api) version: String,
    pub(in crate::api) state: &'static str,
    pub(in crate::api) reason: &'static str,
}

/// One page of the live versions, for their publisher also the unloaded ones, ordered by name and version, and where the next page begins.
pub(in crate::api) fn entries(
    host: &Host,
    caller: Option<&Caller>,
    page: &ModelPage,
    only_ready: bool,
) -> (Vec<Entry>, Option<After>) {
    let (live, more) = known(host, caller, page);
    let live = live.iter().map(|live| ((live.model().clone(), live.version().clone()), true));
    let mut all: BTreeMap<(ModelName, Version), bool> = live.collect();
    if let Some(publisher) = caller.filter(|_| !only_ready) {
        let own = host.deployments.withdrawn_by(&publisher.account().name).into_iter();
        let is_before = |(model, version): &(ModelName, Version)| {
            page.after.as_ref().is_some_and(|after| {
                let is_before = |last: &Version| (model, version) <= (&after.model, last);
                after.version.as_ref().map_or(*model <= after.model, is_before)
            })
        };
        // Versions after the page's last live one belong to a later page.
        let end = more.is_some().then(|| all.last_key_value().map(|(last, _)| last.clone()));
        let end = end.flatten();
        let own = own.filter(|one| !is_before(one) && end.as_ref().is_none_or(|end| one < end));
        for one in own {
            all.entry(one).or_insert(false);
        }
    }
    let is_more = more.is_some() || all.len() > page.limit;
    let entries: Vec<_> = all.into_iter().take(page.limit).collect();
    let next = entries.last().filter(|_| is_more).map(|((model, version), _)| After {
        model: model.clone(),
        version: Some(version.clone()),
    });
    let entries = entries.into_iter().map(|((model, version), is_live)| Entry {
        name: model.to_string(),
        version: version.to_string(),
        state: if is_live { "READY" } else { "UNAVAILABLE" },
        reason: if is_live { "" } else { "unloaded" },
    });
    (entries.collect(), next)
}

/// `POST /v2/repository/models/{model}/load`: puts the versions of one of the caller's models back into service.
pub(super) async fn load(
    host: &Arc<Host>,
    model: &[&str],
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let (asked, publisher) = asked(host, model, request).await?;
    let model = asked.own(&publisher)?;
    load_in_turn(host, &publisher, model).await.map_err(|error| failed_to_load(&asked, error))?;
    Ok(done())
}

/// Loads in a task of its own, in turn: if the publisher hangs up, the load still completes.
pub(in crate::api) async fn load_in_turn(
    host: &Arc<Host>,
    publisher: &Caller,
    model: ModelName,
) -> Result<(), Problem> {
    let account = publisher.account().name.clone();
    host.loads.count(&account)?;
    let loading = tokio::spawn({
        let host = Arc::clone(host);
        async move {
            let _turn = host.lines.publishing.take(&Asker::Account(account)).await?;
            block_in_place(|| note(&host, &model, Deed::LoadModel))?;
            Ok::<_, Problem>(deploy::load(&host, &model).await?)
        }
    });
    loading.await.map_err(|panic| Problem::internal(&panic))?
}

/// Unloads a model, under the rate limit of loading.
pub(in crate::api) async fn unload_now(
    host: &Arc<Host>,
    publisher: &Caller,
    model: ModelName,
) -> Result<(), Problem> {
    host.loads.count(&publisher.account().name)?;
    aside(host, asker(publisher), move |host| {
        note(host, &model, Deed::UnloadModel)?;
        Ok(deploy::unload(host, &model)?)
    })
    .await
}

/// Logs the publisher's action beforehand: consumers may have been promised notice.
fn note(host: &Host, model: &ModelName, deed: Deed) -> Result<(), Problem> {
    let noted = operations::note_model(host, &model.publisher, deed, model);
    noted.map_err(|error| Problem::internal(&error))
}

/// The words that clients look for.
pub(in crate::api) fn failed_to_load(asked: &Asked, problem: Problem) -> Problem {
    let detail = format!("failed to load '{}', {}", asked.name, problem.detail());
    problem.saying(detail)
}

/// `POST /v2/repository/models/{model}/unload`: unloads all versions of one of the caller's models. Running calls end; the versions stay
/// published, also across restarts.
pub(super) async fn unload(
    host: &Arc<Host>,
    model: &[&str],
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let (asked, publisher) = asked(host, model, request).await?;
    let model = asked.own(&publisher)?;
    unload_now(host, &publisher, model).await?;
    Ok(done())
}

/// The model and the caller. Bodies contain parameters of other servers' loaders, none of which applies here.
async fn asked(
    host: &Arc<Host>,
    model: &[&str],
    request: Request<Incoming>,
) -> Result<(Asked, Caller), Problem> {
    let (publisher, bytes) = intake::document(host, request, BODY_BYTES_MAX).await?;
    check_parameters(&bytes)?;
    match Asked::read(host, model) {
        Some((asked, action)) if action.is_empty() => Ok((asked, publisher)),
        _ => Err(not_found()),
    }
}

fn check_parameters(body: &[u8]) -> Result<(), Problem> {
    #[derive(Deserialize)]
    #[serde(expecting = "an object")]
    struct Load {
        #[serde(default)]
        parameters: serde_json::Map<String, serde_json::Value>,
    }
    if body.is_empty() {
        return Ok(());
    }
    let load: Load = serde_json::from_slice(body).map_err(|error| invalid(error.to_string()))?;
    load.parameters.keys().try_for_each(|name| check_parameter(name))
}

/// Rejects parameters that would change a model: it is signed.
pub(in crate::api) fn check_parameter(name: &str) -> Result<(), Problem> {
    if name == "unload_dependents" {
        return Ok(());
    }
    let name: String = name.chars().take(80).collect();
    Err(invalid(format!(
        "parameter '{name}' is not supported: what a model is was signed by its publisher; publish a new version"
    )))
}
