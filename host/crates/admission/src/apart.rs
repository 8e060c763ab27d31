//! Parses callers' long documents on separate threads, which accounts share fairly.

use tokio::task::{JoinError, spawn_blocking};

use super::fair::{Asker, FairTurns};
use super::heavy::TurnError;
use hospes_core::id::AccountName;

/// Documents up to this size are parsed on the serving thread, because handing them to another thread would cost more.
pub const READ_HERE_BYTES_MAX: usize = 64 << 10;

/// Why a document was not parsed.
#[derive(Debug, thiserror::Error)]
pub enum ApartError {
    #[error(transparent)]
    Turn(#[from] TurnError),
    #[error("it could not be read: {0}")]
    Panicked(#[from] JoinError),
}

/// Parses documents for one caller.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'t> {
    pub turns: &'t FairTurns,
    pub account: &'t AccountName,
}

impl Reader<'_> {
    /// Runs `work` on a document of this size.
    ///
    /// # Errors
    /// [`ApartError`] if no turn came in time, or if it panicked.
    pub async fn apart<T: Send + 'static>(
        self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApartError> {
        if bytes <= READ_HERE_BYTES_MAX {
            return Ok(work());
        }
        let turn = self.turns.take(&Asker::Account(self.account.clone())).await?;
        let read = spawn_blocking(move || {
            // The work holds the turn, because the caller may leave.
            let _turn = turn;
            work()
        });
        Ok(read.await?)
    }
}

#[cfg(test)]
mod tests {
    use std::thread::current;
    use std::time::Duration;

    use super::super::fair::FairLine;
    use super::*;
    use hospes_core::id::ById;

    #[tokio::test]
    async fn a_small_document_is_read_where_it_came_in_and_a_large_one_elsewhere() {
        let turns = FairTurns::new(FairLine {
            turns: 1,
            each_max: 1,
            waiting_max: 8,
            wait_max: Duration::from_secs(30),
            expected: Duration::from_millis(1),
            weights: ById::default(),
        });
        let account = "acme".parse().expect("a name");
        let reader = Reader { turns: &turns, account: &account };
        let here = current().id();
        let read = |bytes| reader.apart(bytes, || current().id());
        assert_eq!(read(READ_HERE_BYTES_MAX).await.expect("no panic"), here);
        assert_ne!(read(READ_HERE_BYTES_MAX + 1).await.expect("no panic"), here);
        assert!(reader.apart(1 << 20, || panic!("by intent")).await.map(|(): ()| ()).is_err());
        assert_ne!(read(1 << 20).await.expect("the turn was given back"), here);
    }
}
