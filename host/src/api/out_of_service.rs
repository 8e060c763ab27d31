//! The operator's routes for versions that were published and cannot be brought back: which and why, try again, take away.

use std::sync::Arc;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use semver::Version;
use serde::Deserialize;
use serde_json::{Value, json};

use super::admin::check_operator;
use super::answer::Answer;
use super::aside::aside;
use super::health::json as json_answer;
use super::intake::Intake;
use super::problem::{Problem, ProblemKind};
use crate::admission::Asker;
use crate::deploy;
use crate::host::Host;
use crate::id::ModelName;
use crate::operations;
use crate::receipt::Deed;
use crate::state::deployments::Reference;
use crate::store::Aside;

/// Most bytes of a request here.
const BODY_BYTES_MAX: u64 = 4096;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    model: ModelName,
    version: Version,
}

/// The versions that are out of service, with the reason.
pub(super) fn list(host: &Host) -> Value {
    let broken = host.deployments.out_of_service().into_iter().map(|(published, reason)| {
        json!({
            "publisher": published.model().publisher,
            "model": published.model(),
            "version": published.version(),
            "digest": published.digest(),
            "reason": &*reason,
        })
    });
    broken.collect()
}

/// Records that could not be read when the host started.
pub(super) fn records(host: &Host) -> Value {
    let aside = host.store.all_aside();
    aside.iter().map(|Aside { table, key, reason }| {
        json!({"kind": table.name(), "key": key, "reason": reason})
    }).collect()
}

/// `GET /out-of-service`.
pub(super) fn show(host: &Host, request: &Request<Incoming>) -> Result<Answer, Problem> {
    check_operator(host, request.headers())?;
    Ok(json_answer(
        StatusCode::OK,
        &json!({"out_of_service": list(host), "records": records(host)}),
    ))
}

/// `POST /out-of-service/retry`: loads such a version again, and says whether that went well.
pub(super) async fn retry(host: &Arc<Host>, request: Request<Incoming>) -> Result<Answer, Problem> {
    let Which { model, version } = which(host, request).await?;
    let (model, version) = aside(host, Asker::Operator, move |host| {
        operations::note_version(host, Deed::RetryVersion, &model, &version)?;
        Ok((model, version))
    })
    .await?;
    deploy::retry(host, &model, &version).await.map_err(|error| {
        let reason = host.deployments.published(&model, &Reference::Version(version.clone()));
        let reason = reason.ok().and_then(|published| published.out_of_service());
        Problem::from(error).with("reason", json!(reason.as_deref()))
    })?;
    Ok(json_answer(StatusCode::OK, &json!({"model": model, "version": version, "live": true})))
}

/// `POST /out-of-service/withdraw`: takes such a version away, also over a restart. Its publisher may put it back.
pub(super) async fn withdraw(
    host: &Arc<Host>,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let Which { model, version } = which(host, request).await?;
    aside(host, Asker::Operator, move |host| {
        operations::note_version(host, Deed::TakeOutVersion, &model, &version)?;
        deploy::take_out(host, &model, &version)?;
        let taken = json!({"model": model, "version": version, "withdrawn": true});
        Ok(json_answer(StatusCode::OK, &taken))
    })
    .await
}

async fn which(host: &Host, request: Request<Incoming>) -> Result<Which, Problem> {
    let (parts, body) = request.into_parts();
    check_operator(host, &parts.headers)?;
    let bytes = Intake::operator(host, BODY_BYTES_MAX).read_json(&parts.headers, body).await?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Problem::new(ProblemKind::InvalidRequest, error.to_string()))
}
