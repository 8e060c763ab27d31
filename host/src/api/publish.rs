//! `POST /api/bundles`: publishes a signed bundle as a version of one of the caller's models.

use std::sync::Arc;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use serde_json::json;

use super::body;
use super::health::json as json_answer;
use super::problem::{Problem, ProblemKind};
use super::router::Answer;
use crate::deploy;
use crate::host::Host;

pub(super) async fn publish(
    host: &Arc<Host>,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let (parts, body) = request.into_parts();
    // Before the body is read: strangers cannot make the host hold a bundle.
    let publisher = host.auth.authenticate(body::bearer(&parts.headers))?;
    let Ok(_turn) = host.publishing.try_acquire() else {
        let detail = "another bundle is being published; try again shortly";
        return Err(Problem::new(ProblemKind::Busy, detail));
    };
    let config = host.config();
    let bytes_max = config.bundle.bundle_bytes_max;
    let bytes =
        body::read(&parts.headers, body, bytes_max, config.api.publish_read_timeout).await?;
    // In a task of its own: a publisher that hangs up does not leave a bundle half deployed.
    let deploying = tokio::spawn({
        let host = Arc::clone(host);
        async move { deploy::deploy(&host, &publisher, bytes).await }
    });
    let deployment = deploying.await.map_err(|panic| Problem::internal(&panic))??;
    Ok(json_answer(
        StatusCode::CREATED,
        &json!({
            "model": deployment.model(),
            "version": deployment.version(),
            "digest": deployment.digest(),
            "functions": deployment.functions().iter().map(|f| f.name()).collect::<Vec<_>>(),
        }),
    ))
}
