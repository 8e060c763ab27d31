//! What waits for the disk is done aside: not on the threads that serve, and by few at a time.

use std::sync::Arc;

use super::problem::{Problem, ProblemKind};
use crate::host::Host;

/// Does something that reads or writes the disk, on a thread for such things. Once begun, it is done to its end, also when nobody waits
/// for it any more.
pub(super) async fn aside<T: Send + 'static>(
    host: &Arc<Host>,
    work: impl FnOnce(&Host) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let turn = Arc::clone(&host.storing).acquire_owned().await;
    let turn = turn.map_err(|_| Problem::new(ProblemKind::Busy, "the host is stopping"))?;
    let host = Arc::clone(host);
    let done = tokio::task::spawn_blocking(move || {
        let done = work(&host);
        drop(turn);
        done
    });
    done.await.map_err(|error| Problem::internal(&error))?
}
