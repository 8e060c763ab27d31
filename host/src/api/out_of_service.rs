//! The operator's routes for versions that failed to load (list, retry, withdraw) and for records that were set aside (list, read, remove).

use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;
use semver::Version;
use serde_json::json;

use super::admin::check_operator;
use super::answer::{Answer, answer_of, done};
use super::aside::aside;
use super::intake;
use super::problem::{Problem, ProblemKind};
use super::query::{Asked, Form, Value, query};
use crate::admission::Asker;
use crate::deploy;
use crate::host::Host;
use crate::id::ModelName;
use crate::operations;
use crate::receipt::Deed;
use crate::state::accounts::Cause;
use crate::state::deployments::Reference;
use crate::state::withdrawals::Withdrawal;
use crate::store::Aside;
use crate::wire::operations::{
    BrokenVersion, OutOfService, RecordAside, RemoveRecord, RemovedRecord, Retried, TakenAway,
    WhichVersion,
};

/// Maximum size of a request here, in bytes.
const BODY_BYTES_MAX: u64 = 4096;

/// The versions out of service, with the reason.
pub(super) fn list(host: &Host) -> Vec<BrokenVersion> {
    let broken =
        host.deployments.out_of_service().into_iter().map(|(published, reason)| BrokenVersion {
            publisher: published.model().publisher.clone(),
            model: published.model().clone(),
            version: published.version().to_string(),
            digest: published.digest().copied(),
            reason: reason.to_string(),
        });
    broken.collect()
}

/// Records that could not be read when the host started.
pub(super) fn records(host: &Host) -> Vec<RecordAside> {
    let aside = host.store.all_aside().into_iter();
    let shown =
        |Aside { table, key, reason }| RecordAside { kind: table.name().to_owned(), key, reason };
    aside.map(shown).collect()
}

/// `GET /out-of-service`.
pub(super) fn show(host: &Host, request: &Request<Incoming>) -> Result<Answer, Problem> {
    check_operator(host, request.headers())?;
    Ok(done(&OutOfService { out_of_service: list(host), records: records(host) }))
}

/// A kind of record, as `/out-of-service` lists it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RecordKind(String);

impl Value for RecordKind {
    const FORM: Form = Form::Text { pattern: "^[a-z]+$", example: "offers" };

    fn read(_: &str, text: &str) -> Result<Self, Problem> {
        Ok(Self(text.to_owned()))
    }
}

/// A record's key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RecordKey(String);

impl Value for RecordKey {
    const FORM: Form = Form::Text { pattern: "^.+$", example: "acme" };

    fn read(_: &str, text: &str) -> Result<Self, Problem> {
        Ok(Self(text.to_owned()))
    }
}

query! {
    /// The wanted record.
    WhichRecord {
        /// Its kind.
        kind: RecordKind,
        /// Its key.
        key: RecordKey,
    }
}

/// `GET /out-of-service/record?kind=…&key=…`: the bytes of a record that was set aside.
pub(super) async fn record(
    host: &Arc<Host>,
    asked: Asked<'_, WhichRecord>,
    request: &Request<Incoming>,
) -> Result<Answer, Problem> {
    check_operator(host, request.headers())?;
    let WhichRecord { kind: RecordKind(kind), key: RecordKey(key) } = asked.read()?;
    aside(host, Asker::Operator, move |host| {
        let record = operations::record_aside(host, &kind, &key)?;
        Ok(answer_of(record.into(), "application/octet-stream"))
    })
    .await
}

/// `POST /out-of-service/remove`: removes a record that was set aside.
pub(super) async fn remove(
    host: &Arc<Host>,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let RemoveRecord { kind, key, digest, reason } =
        intake::from_operator(host, request, BODY_BYTES_MAX).await?;
    aside(host, Asker::Operator, move |host| {
        let frozen = operations::remove_record(host, (&kind, &key), &digest, &reason)?;
        Ok(done(&RemovedRecord { kind, key, digest, removed: true, frozen }))
    })
    .await
}

/// `POST /out-of-service/retry`: loads such a version again, and reports whether it succeeded.
pub(super) async fn retry(host: &Arc<Host>, request: Request<Incoming>) -> Result<Answer, Problem> {
    let (model, version) = which(host, request).await?;
    let (model, version) = aside(host, Asker::Operator, move |host| {
        operations::note_version(host, Deed::RetryVersion, &model, &version)?;
        Ok((model, version))
    })
    .await?;
    deploy::retry(host, &model, &version).await.map_err(|error| {
        if let Some(withdrawn) = withdrawn(host, &model, &version) {
            return withdrawn;
        }
        let reason = host.deployments.published(&model, &Reference::Version(version.clone()));
        let reason = reason.ok().and_then(|published| published.out_of_service());
        Problem::from(error).with("reason", json!(reason.as_deref()))
    })?;
    Ok(done(&Retried { model, version: version.to_string(), live: true }))
}

/// `POST /out-of-service/withdraw`: withdraws such a version, also across restarts. Its publisher may load it again.
pub(super) async fn withdraw(
    host: &Arc<Host>,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let (model, version) = which(host, request).await?;
    aside(host, Asker::Operator, move |host| {
        operations::note_version(host, Deed::TakeOutVersion, &model, &version)?;
        deploy::take_out(host, &model, &version)
            .map_err(|error| withdrawn(host, &model, &version).unwrap_or_else(|| error.into()))?;
        Ok(done(&TakenAway { model, version: version.to_string(), withdrawn: true }))
    })
    .await
}

/// The error for a version that is not out of service because it is withdrawn: it says which command puts it back.
fn withdrawn(host: &Host, model: &ModelName, version: &Version) -> Option<Problem> {
    let gone = host.deployments.withdrawn_of(model);
    if !gone.iter().any(|(gone, _)| gone == version) {
        return None;
    }
    let detail = match host.withdrawals.why_out(model, version) {
        Some(Withdrawal { what, cause: Cause { at, reason } }) => format!(
            "`{model}@{version}` is withdrawn: the operator withdrew `{what}` at {at} ({reason}); \
             `hospes admin reinstate {what}` puts it back"
        ),
        None => format!(
            "`{model}@{version}` is withdrawn: its publisher puts the model back with \
             `POST /v2/repository/models/{model}/load`"
        ),
    };
    Some(Problem::new(ProblemKind::Conflict, detail))
}

async fn which(host: &Host, request: Request<Incoming>) -> Result<(ModelName, Version), Problem> {
    let WhichVersion { model, version } =
        intake::from_operator(host, request, BODY_BYTES_MAX).await?;
    let version = version.parse().map_err(|error: semver::Error| {
        Problem::new(ProblemKind::InvalidRequest, format!("`version`: {error}"))
    })?;
    Ok((model, version))
}
