//! What waits for the disk is done aside: not on the threads that serve, and by few at a time.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::problem::{Problem, ProblemKind};
use crate::host::Host;

/// Does something that reads or writes the disk, on a thread for such things. Once begun, it is done to its end, also when nobody waits
/// for it any more.
pub(super) async fn aside<T: Send + 'static>(
    host: &Arc<Host>,
    work: impl FnOnce(&Host) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    in_turn(&host.storing, host, work).await
}

/// The same for the operator, who waits for no turn of others.
pub(super) async fn aside_for_operator<T: Send + 'static>(
    host: &Arc<Host>,
    work: impl FnOnce(&Host) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    in_turn(&host.storing_for_operator, host, work).await
}

async fn in_turn<T: Send + 'static>(
    turns: &Arc<Semaphore>,
    host: &Arc<Host>,
    work: impl FnOnce(&Host) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let turn = Arc::clone(turns).acquire_owned().await;
    let turn = turn.map_err(|_| Problem::new(ProblemKind::Busy, "the host is stopping"))?;
    let host = Arc::clone(host);
    let done = tokio::task::spawn_blocking(move || {
        let done = work(&host);
        drop(turn);
        done
    });
    done.await.map_err(|error| Problem::internal(&error))?
}
