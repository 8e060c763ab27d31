//! Loads models into workers.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;

use super::{Group, Wanted};
use crate::artefacts::Artefact;
use crate::footprint::Memory;
use crate::protocol::{Form, JobError};
use crate::remote::{Lease, LoadLoss, Loading, Loss, Worker};
use crate::signature::ModelSignature;
use crate::strikes::{Culprit, Owned};
use crate::{LOAD_TIMEOUT, ModelSource};
use hospes_core::backend::BackendKind;

/// What a worker is to load.
pub(super) struct Content {
    pub(super) source: ModelSource,
    /// The model, if it is in memory.
    pub(super) bytes: Option<Bytes>,
    /// What to load instead of it.
    pub(super) artefact: Option<Arc<Artefact>>,
}

impl Content {
    /// The file to load, its size and its form. Blocks.
    fn open(&self) -> io::Result<(OwnedFd, u64, Form)> {
        if let Some(artefact) = &self.artefact {
            let (bytes, form) = artefact.form();
            return Ok((artefact.open()?, bytes, form));
        }
        let file = match &self.bytes {
            Some(bytes) => in_memory(bytes)?,
            None => (self.source.reopen)()?,
        };
        let size = rustix::fs::fstat(&file)?.st_size;
        Ok((file, u64::try_from(size).unwrap_or_default(), Form::Model))
    }
}

pub(super) fn owned(source: &ModelSource) -> Owned {
    Owned { publisher: source.publisher.clone(), model: source.digest }
}

/// Loads a model into a worker, unless it is loaded or loading. If the caller leaves, loading continues, so that an impatient caller loses
/// only its own call.
pub(super) fn loading(wanted: &Wanted, worker: &Lease, content: Content) -> Loading {
    let key = wanted.key;
    let mut loadings = worker.loadings();
    if let Some(loading) = loadings.get(&key) {
        return loading.clone();
    }
    if let Some(signature) = worker.signature(&key) {
        return std::future::ready(Ok(signature)).boxed().shared();
    }
    let (group, worker) = (Arc::clone(&wanted.group), worker.clone());
    let loaded = tokio::spawn(async move {
        let loaded = load(&group, &worker, content, key.1).await;
        worker.loadings().remove(&key);
        // If all users have left meanwhile, the model is unloaded again.
        let wanted = group.wanted();
        if !wanted.contains_key(&key) {
            worker.unload(&key);
        }
        drop(wanted);
        loaded
    });
    let loaded =
        async move { loaded.await.unwrap_or_else(|panic| Err(LoadLoss::Lost(panic.to_string()))) };
    let loading = loaded.boxed().shared();
    loadings.insert(key, loading.clone());
    loading
}

/// Loads a model into a worker.
async fn load(
    group: &Group,
    worker: &Worker,
    content: Content,
    kind: BackendKind,
) -> Result<ModelSignature, LoadLoss> {
    let culprit = Culprit::loading(owned(&content.source));
    let _loading = worker.loading.lock().await;
    let alone = group.pool.strikes.standing(&culprit).alone;
    // Loading may take long, so other jobs run meanwhile, unless the model is a suspect.
    let _company = if alone { Some(worker.company(true).await) } else { None };
    let lost = |why: &dyn std::fmt::Display| LoadLoss::Lost(why.to_string());
    let key = (content.source.digest, kind);
    let shared_bytes = content.artefact.as_ref().map_or(0, |artefact| artefact.weights_bytes);
    let process = worker.process();
    let before = move || (content.open(), Memory::of(process));
    let before = tokio::task::spawn_blocking(before).await;
    let (opened, before) = before.unwrap_or_else(|panic| (Err(io::Error::other(panic)), None));
    let file = opened.map_err(|error| lost(&error))?;
    let loading = worker.load(key, &culprit, file);
    match tokio::time::timeout(LOAD_TIMEOUT, loading).await {
        Ok(Ok(signature)) => {
            let after = tokio::task::spawn_blocking(move || Memory::of(process)).await;
            if let (Some(before), Ok(Some(after))) = (before, after) {
                worker.measured(&key, after.since(&before, shared_bytes));
            }
            Ok(signature)
        }
        Ok(Err(Loss::Job(JobError::Backend(error)))) => Err(LoadLoss::Backend(error)),
        Ok(Err(Loss::Job(_))) => Err(LoadLoss::Lost("a malformed answer".into())),
        Ok(Err(Loss::Ended(how))) => Err(LoadLoss::Lost(how.to_string())),
        Ok(Err(Loss::Bystander)) => Err(LoadLoss::Bystander),
        Err(_elapsed) => {
            worker.end_for(&culprit, "not loading the model in time");
            Err(LoadLoss::Timeout)
        }
    }
}

/// A memory file from which a worker reads a model that is not on disk yet.
///
/// # Errors
/// If the system cannot create a memory file.
pub fn in_memory(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(rustix::fs::memfd_create("model", rustix::fs::MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}
