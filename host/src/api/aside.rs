//! What waits for the disk, or looks through much, is done aside: not on the threads that serve, by few at a time, in fair turns.

use std::sync::Arc;

use super::problem::Problem;
use crate::admission::Asker;
use crate::host::Host;
use crate::state::accounts::Caller;

/// In whose name something is done: the caller's, or a stranger's.
pub(super) fn asker<'c>(caller: impl Into<Option<&'c Caller>>) -> Asker {
    let caller: Option<&Caller> = caller.into();
    caller.map_or(Asker::Stranger, |caller| Asker::Account(caller.account().name.clone()))
}

/// Does something that reads or writes the disk, on a thread for such things. Once begun, it is done to its end, also when nobody waits
/// for it any more.
pub(super) async fn aside<T: Send + 'static>(
    host: &Arc<Host>,
    asker: Asker,
    work: impl FnOnce(&Host) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let turn = host.lines.storing.take(&asker).await?;
    let host = Arc::clone(host);
    let done = tokio::task::spawn_blocking(move || {
        let done = work(&host);
        drop(turn);
        done
    });
    done.await.map_err(|error| Problem::internal(&error))?
}
