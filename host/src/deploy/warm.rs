//! The trial run: a bundle that cannot start does not go live.

use std::sync::Arc;
use std::time::Instant;

use crate::admission::Priority;
use crate::host::Host;
use crate::id::CallId;
use crate::inference::{Caller, Meets};
use crate::outcome::GuestFailure;
use crate::sandbox::{CallContext, SandboxError};
use crate::state::deployments::Loaded;
use crate::stop::Stops;

/// Instantiates a new version once, within the limits and environment of a call.
///
/// # Errors
/// [`SandboxError`].
pub(super) async fn warm(host: &Host, loaded: &Loaded) -> Result<(), SandboxError> {
    let deployment = loaded.deployment();
    let tensor_bytes_max = host.config().inference.tensor_bytes_max.get();
    let limits = host.sandbox.call_limits(Instant::now(), tensor_bytes_max);
    let limits = deployment.narrow(limits);
    let context = CallContext {
        call: CallId::new(host.clock().now()),
        agreement: None,
        caller: Caller::NOBODY,
        priority: Priority::default(),
        meets: Meets::Nobody,
        account: deployment.model().publisher.clone(),
        input_bytes: 0,
        purpose: None,
        output_bytes_max: host.config().api.response_bytes_max,
        speakers: Arc::clone(loaded.speakers()),
        scope: None,
        gate: None,
        stop: Stops::default(),
        log: Arc::clone(deployment.log()),
        sink: None,
        responder: None,
    };
    let (guest, graphs) = (loaded.guest(), loaded.graphs());
    let instance = host.sandbox.instantiate(guest, graphs, limits, context).await?;
    match instance.start_failure() {
        None => Ok(()),
        // The host has none left, which is not the guest's fault.
        Some(GuestFailure::HostMemory { .. }) => Err(SandboxError::PoolExhausted),
        Some(failure) => Err(SandboxError::Start { failure }),
    }
}
