//! The model repository extension: what is here, and taking a model out of service and back. Publishing is not its business.

use std::sync::Arc;

use http::{HeaderMap, Request, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;

use super::metadata::known;
use super::model::Asked;
use super::{Answer, Problem, done, invalid, not_found};
use crate::api::body;
use crate::api::health::json as json_answer;
use crate::api::intake::Intake;
use crate::auth::Caller;
use crate::deploy;
use crate::host::Host;
use crate::id::ModelName;

/// Most bytes of a request here.
const BODY_BYTES_MAX: u64 = 64 << 10;

#[derive(Default, Deserialize)]
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
        None => Intake::anybody(host, BODY_BYTES_MAX),
    };
    let bytes = intake.read_json(&parts.headers, body).await?;
    let wanted: Index = match bytes.is_empty() {
        true => Index::default(),
        false => serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))?,
    };
    let models = entries(host, &parts.headers, wanted.ready)?;
    let models = models.into_iter().map(|entry| {
        json!({"name": entry.name, "version": entry.version, "state": entry.state, "reason": entry.reason})
    });
    Ok(json_answer(StatusCode::OK, &models.collect()))
}

/// Who asks, if they say so.
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

/// What is live, and to its publisher also what was taken out of service.
pub(in crate::api) fn entries(
    host: &Host,
    headers: &HeaderMap,
    only_ready: bool,
) -> Result<Vec<Entry>, Problem> {
    let mut entries: Vec<_> = known(host, headers)?
        .iter()
        .map(|live| Entry {
            name: live.model().to_string(),
            version: live.version().to_string(),
            state: "READY",
            reason: "",
        })
        .collect();
    if let Some(key) = body::bearer(headers).filter(|_| !only_ready) {
        let publisher = host.auth.authenticate(Some(key))?;
        let own = host.deployments.withdrawn().into_iter();
        let own = own.filter(|(model, _)| model.publisher == publisher.account().name);
        entries.extend(own.map(|(model, version)| Entry {
            name: model.to_string(),
            version: version.to_string(),
            state: "UNAVAILABLE",
            reason: "unloaded",
        }));
    }
    Ok(entries)
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

/// Loads in a task of its own, when its turn has come: a publisher that hangs up does not leave a model half loaded.
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
            let _turn = host.publishing.take(&account).await?;
            Ok::<_, Problem>(deploy::load(&host, &model).await?)
        }
    });
    loading.await.map_err(|panic| Problem::internal(&panic))?
}

/// Takes a model out of service, no more often than models are loaded.
pub(in crate::api) fn unload_now(
    host: &Host,
    publisher: &Caller,
    model: &ModelName,
) -> Result<(), Problem> {
    host.loads.count(&publisher.account().name)?;
    Ok(tokio::task::block_in_place(|| deploy::unload(host, model))?)
}

/// The words that clients look for.
pub(in crate::api) fn failed_to_load(asked: &Asked, problem: Problem) -> Problem {
    let detail = format!("failed to load '{}', {}", asked.name, problem.detail());
    problem.saying(detail)
}

/// `POST /v2/repository/models/{model}/unload`: takes all versions of one of the caller's models out of service. Running calls
/// end; what was published stays published, also after the host has started again.
pub(super) async fn unload(
    host: &Arc<Host>,
    model: &[&str],
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let (asked, publisher) = asked(host, model, request).await?;
    let model = asked.own(&publisher)?;
    unload_now(host, &publisher, &model)?;
    Ok(done())
}

/// The model and who asks. Bodies carry parameters of other servers' loaders; there are none here that could be set.
async fn asked(
    host: &Arc<Host>,
    model: &[&str],
    request: Request<Incoming>,
) -> Result<(Asked, Caller), Problem> {
    let (parts, body) = request.into_parts();
    let publisher = host.auth.authenticate(body::bearer(&parts.headers))?;
    let bytes =
        Intake::document(host, &publisher, BODY_BYTES_MAX).read_json(&parts.headers, body).await?;
    check_parameters(&bytes)?;
    match Asked::read(host, model) {
        Some((asked, action)) if action.is_empty() => Ok((asked, publisher)),
        _ => Err(not_found()),
    }
}

fn check_parameters(body: &[u8]) -> Result<(), Problem> {
    #[derive(Deserialize)]
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

/// Refuses what would change a model: it was signed as it is.
pub(in crate::api) fn check_parameter(name: &str) -> Result<(), Problem> {
    if name == "unload_dependents" {
        return Ok(());
    }
    let name: String = name.chars().take(80).collect();
    Err(invalid(format!(
        "parameter '{name}' is not supported: what a model is was signed by its publisher; publish a new version"
    )))
}
