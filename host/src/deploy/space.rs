//! Room in memory for what is about to be loaded: if there is none, the versions that were not called for longest are unloaded.

use std::time::{Duration, Instant};

use super::DeployError;
use crate::admission::{Footprint, Taken};
use crate::host::Host;

/// How long a load waits for running calls to end if they use all that is loaded.
const WAIT_MAX: Duration = Duration::from_millis(500);

/// How often it looks again.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Takes room for something.
///
/// # Errors
/// [`DeployError::NeverFits`]; [`DeployError::NoRoom`] if running calls use all that is loaded.
pub(super) async fn take(host: &Host, wanted: Footprint) -> Result<Taken, DeployError> {
    let began = Instant::now();
    loop {
        if let Some(taken) = host.room.take(wanted)? {
            return Ok(taken);
        }
        if host.deployments.unload_one() {
            continue;
        }
        if began.elapsed() >= WAIT_MAX {
            return Err(DeployError::NoRoom { bytes: host.room.max().bytes });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Unloads versions until no more is taken than there is, if something took more than its estimate.
pub(super) fn tidy(host: &Host) {
    while host.room.is_overfull() && host.deployments.unload_one() {}
}
