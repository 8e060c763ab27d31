//! Publishing a bundle, and changing an account's key.

use std::sync::Arc;

use http::{Request, StatusCode};
use hyper::body::Incoming;

use super::answer::{Answer, done, json};
use super::aside::{aside, asker};
use super::body;
use super::intake;
use super::openapi;
use super::problem::{Problem, ProblemKind};
use super::spool;
use crate::agreement::SignedSuccession;
use crate::deploy::{self, Published, Tried};
use crate::host::Host;
use crate::inference::{Joined, Trial};
use crate::operations;
use crate::wire::models;

/// `POST /api/successions`: replaces the account's key.
pub(super) async fn succeed(
    host: &Arc<Host>,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let (caller, bytes) = intake::signed(host, request).await?;
    // Verifying two signatures takes a turn too.
    aside(host, asker(&caller), move |host| {
        let succession = SignedSuccession::parse(&bytes)
            .map_err(|error| Problem::new(ProblemKind::InvalidRequest, error.to_string()))?;
        operations::check_not_aside(host, &succession.content().to)?;
        host.auth.succeed(&caller, succession.content())?;
        Ok(done(succession.content()))
    })
    .await
}

/// `POST /api/bundles`: publishes a signed bundle as a version of one of the caller's models.
pub(super) async fn publish(
    host: &Arc<Host>,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let (parts, body) = request.into_parts();
    // Before the body is read, so that unauthenticated clients cannot make the host store a bundle.
    let publisher = host.auth.authenticate(body::bearer(&parts.headers))?;
    let upload = host.uploads.begin(&publisher.account().name)?;
    let spooled = spool::receive(host, &publisher, &parts.headers, body).await?;
    // In a task of its own: if the publisher hangs up, the deployment still completes, and the upload counts until then.
    let deploying = tokio::spawn({
        let host = Arc::clone(host);
        async move {
            let _upload = upload;
            // Take the turn only now that the body has arrived.
            let _turn = host.lines.publishing.take(&asker(&publisher)).await?;
            let bytes = spooled.read().await?;
            let deployed = deploy::deploy(&host, &publisher, bytes, openapi::describe).await?;
            Ok::<_, Problem>(deployed)
        }
    });
    let deployed = deploying.await.map_err(|panic| Problem::internal(&panic))??;
    let Published { deployment, trials } = deployed;
    let published = models::Published {
        model: deployment.model().clone(),
        version: deployment.version().to_string(),
        digest: *deployment.digest(),
        functions: deployment.functions().iter().map(|one| one.name().clone()).collect(),
        models: trials.into_iter().map(tried).collect(),
    };
    Ok(json(StatusCode::CREATED, &published))
}

/// How a model did in its trial run.
fn tried(Tried { model, backend, trial }: Tried) -> models::Tried {
    let mut tried = models::Tried {
        name: model,
        backend: backend.to_string(),
        joined: trial.is_joined(),
        ..models::Tried::default()
    };
    match trial {
        Trial::Computed { took, joined } => {
            tried.computed_ms = Some(round(took.as_secs_f64() * 1e3));
            match joined {
                Joined::Undeclared => {}
                Joined::Measured { gain } => tried.batch_gain = Some(gain),
                Joined::Not(why) => tried.not_joined = Some(why),
            }
        }
        Trial::Inconclusive(reason) => tried.not_computed = Some(reason),
    }
    tried
}

/// Milliseconds with three decimals.
fn round(millis: f64) -> f64 {
    (millis * 1e3).round() / 1e3
}
