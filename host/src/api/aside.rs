//! Runs work that waits for the disk or scans a lot outside the serving threads: few at a time, in fair turns.

use std::sync::Arc;

use super::problem::Problem;
use crate::admission::Asker;
use crate::host::Host;
use crate::state::accounts::Caller;

/// Whose turn the work takes: the caller's or an unauthenticated client's.
pub(super) fn asker<'c>(caller: impl Into<Option<&'c Caller>>) -> Asker {
    let caller: Option<&Caller> = caller.into();
    caller.map_or(Asker::Stranger, |caller| Asker::Account(caller.account().name.clone()))
}

/// Runs disk work on a blocking thread. Once begun, it runs to its end even if nobody waits for it.
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
