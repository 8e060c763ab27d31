//! The agreements' documents, on disk: calls need only their compiled form. Documents are read to explain a denial, to show them, and to
//! compare others with them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

use super::AgreementsError;
use crate::agreement::{Agreement, Proposal};
use crate::id::Digest;
use crate::store::{Store, Table};

/// Number of recently read documents in the cache.
const READ_MAX: usize = 32;

/// Size of their envelopes in bytes. In memory a document takes about five times as much.
const READ_BYTES_MAX: usize = 2 << 20;

/// Reads documents and caches the last few.
pub(super) struct Documents {
    store: Arc<Store>,
    /// Latest first, with the size of their envelopes.
    latest: Mutex<VecDeque<(Digest, Arc<Agreement>, usize)>>,
}

/// Does long work while other tasks leave this thread, if it is a serving thread.
fn away<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => block_in_place(work),
        Ok(_) | Err(_) => work(),
    }
}

impl Documents {
    pub fn new(store: Arc<Store>) -> Arc<Self> {
        Arc::new(Self { store, latest: Mutex::default() })
    }

    /// The stored envelope.
    ///
    /// # Errors
    /// [`AgreementsError::NotFound`], [`AgreementsError::Store`].
    pub fn envelope(&self, id: &Digest) -> Result<Vec<u8>, AgreementsError> {
        let kept = self.store.get(Table::Agreements, &id.to_string())?;
        kept.ok_or(AgreementsError::NotFound(*id))
    }

    /// The document. Its signatures were verified when it was submitted and when the host started.
    ///
    /// # Errors
    /// [`AgreementsError::NotFound`], [`AgreementsError::Store`], [`AgreementsError::Damaged`] if it has changed since.
    pub fn agreement(&self, id: &Digest) -> Result<Arc<Agreement>, AgreementsError> {
        match self.known(id) {
            Some(known) => Ok(known),
            // The caller may be a denied call: others must not wait for the disk or a large document.
            None => away(|| self.read(id)),
        }
    }

    fn read(&self, id: &Digest) -> Result<Arc<Agreement>, AgreementsError> {
        let envelope = self.envelope(id)?;
        let damaged = |source: AgreementsError| AgreementsError::Damaged {
            key: id.to_string(),
            source: Box::new(source),
        };
        let (seen, agreement) =
            Proposal::document_of(&envelope).map_err(|error| damaged(error.into()))?;
        if seen != *id {
            return Err(damaged(AgreementsError::NotFound(*id)));
        }
        let agreement = Arc::new(agreement);
        self.keep(*id, &agreement, envelope.len());
        Ok(agreement)
    }

    fn known(&self, id: &Digest) -> Option<Arc<Agreement>> {
        let mut read = self.latest.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let place = read.iter().position(|(known, ..)| known == id)?;
        let found = read.remove(place)?;
        let agreement = Arc::clone(&found.1);
        read.push_front(found);
        Some(agreement)
    }

    fn keep(&self, id: Digest, agreement: &Arc<Agreement>, bytes: usize) {
        let mut read = self.latest.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        read.push_front((id, Arc::clone(agreement), bytes));
        while read.len() > READ_MAX
            || (read.len() > 1
                && read.iter().map(|(.., bytes)| bytes).sum::<usize>() > READ_BYTES_MAX)
        {
            read.pop_back();
        }
    }
}
