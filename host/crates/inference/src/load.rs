//! Where and from what a model is loaded: once per digest, backend and place.

use std::io;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;

use super::artefacts::{Artefacts, Found, Mapped, Subject};
use super::backend::{BackendError, Model, Placement, Source, TABLE, row};
use super::executor::Executor;
use super::graph::{Graph, Known};
use super::pool::{RemoteModel, Together};
use super::{
    Inference, KeptWorker, Key, LOAD_TIMEOUT, LoadError, ModelSource, Place, Settings, Slot,
    footprint,
};
use hospes_admission::{Footprint, Taken};
use hospes_config::Isolation;
use hospes_core::backend::BackendKind;
use hospes_onnx::{self as onnx, ModelFacts};

/// What a session of a model takes: so many times its file's bytes, since weights are unpacked and packed again, and so many bytes more.
/// Files of floats have taken about twice their bytes, those of integers six times.
const SESSION_BYTES_TIMES: u64 = 2;
const SESSION_BYTES: u64 = 1 << 20;

/// Memory mappings of a session.
pub(super) const SESSION_MAPPINGS: u64 = 4;

impl Inference {
    /// Loads a model, or returns the loaded one. A model is loaded once per digest, backend and place.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn load(
        &self,
        source: ModelSource,
        placement: Placement,
    ) -> Result<Arc<Graph>, LoadError> {
        self.load_into(source, placement, None).await
    }

    /// The same in room that the caller has taken for [`Inference::estimate`]. The room is given back when nobody uses the model any more,
    /// or at once if the model is loaded already.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn load_into(
        &self,
        source: ModelSource,
        placement: Placement,
        room: Option<Taken>,
    ) -> Result<Arc<Graph>, LoadError> {
        let kind = self.choose(placement)?;
        let key = (self.place(&source, kind), source.digest, kind);
        let slot = self.slot(&key);
        let mut loaded = slot.lock().await;
        if let Some(graph) = loaded.upgrade() {
            return Ok(graph);
        }
        let facts = walk(source.bytes.clone(), kind).await?;
        let (tensor_bytes_max, footprint) =
            (self.settings.tensor_bytes_max.get(), self.estimate(source.bytes.len() as u64));
        let known = Known { kind, facts, tensor_bytes_max, footprint };
        let graph = match &key.0 {
            Place::Worker(together) => {
                let group = self.pool.group(together.clone());
                let mapped = self.mapped(&source, kind, &known.facts).await;
                Graph::remote(RemoteModel::load(group, source, kind, mapped).await?, known)
            }
            Place::Here => {
                let held = footprint::estimate(source.bytes.len(), self.settings.threads);
                let model = self.load_here(source, kind).await?;
                Graph::here((model, held), Arc::clone(self.executor()?), known)
            }
        };
        let graph = Arc::new(graph.within(room));
        *loaded = Arc::downgrade(&graph);
        Ok(graph)
    }

    /// A model that is loaded. Waits for it if it is being loaded.
    ///
    /// # Errors
    /// [`LoadError`] if it cannot be loaded here at all.
    pub async fn loaded(
        &self,
        source: &ModelSource,
        placement: Placement,
    ) -> Result<Option<Arc<Graph>>, LoadError> {
        let kind = self.choose(placement)?;
        let slot = self.slot(&(self.place(source, kind), source.digest, kind));
        let loaded = slot.lock().await.upgrade();
        Ok(loaded)
    }

    /// Keeps the worker that a model would be loaded into, even if the worker's other models are unloaded to make room for it.
    pub fn keep_worker(&self, source: &ModelSource, placement: Placement) -> KeptWorker {
        let place = self.choose(placement).ok().map(|kind| self.place(source, kind));
        KeptWorker(match place {
            Some(Place::Worker(together)) => Some(self.pool.group(together)),
            Some(Place::Here) | None => None,
        })
    }

    /// What a model of so many bytes takes when it is loaded.
    pub fn estimate(&self, bytes: u64) -> Footprint {
        let sessions = self.settings.threads.get() as u64;
        Footprint {
            bytes: bytes
                .saturating_mul(SESSION_BYTES_TIMES)
                .saturating_add(SESSION_BYTES)
                .saturating_mul(sessions),
            mappings: SESSION_MAPPINGS * sessions,
        }
    }

    /// What a model is loaded from instead of its own file. If that can be made, it is, for the next time.
    async fn mapped(
        &self,
        source: &ModelSource,
        kind: BackendKind,
        facts: &ModelFacts,
    ) -> Option<Mapped> {
        let artefacts = self.artefacts_for(kind)?;
        match artefacts.find(source).await {
            Found::Ready(mapped) => Some(mapped),
            Found::Plain => None,
            Found::Missing(_) => {
                let (artefacts, source) = (Arc::clone(artefacts), source.clone());
                let (facts, tensor_bytes_max) = (facts.clone(), self.settings.tensor_bytes_max);
                tokio::spawn(async move {
                    let subject = Subject::of(source, kind, &facts, tensor_bytes_max.get()).await;
                    artefacts.make(subject).await;
                });
                None
            }
        }
    }

    /// Makes what a model is loaded from in little memory and time, unless it exists. Whatever fails, the model can be loaded.
    pub async fn prepare(&self, source: &ModelSource, placement: Placement) {
        let Ok(kind) = self.choose(placement) else { return };
        let Some(artefacts) = self.artefacts_for(kind) else { return };
        if !matches!(self.place(source, kind), Place::Worker(_)) {
            return;
        }
        if !matches!(artefacts.find(source).await, Found::Missing(_)) {
            return;
        }
        // A model that is refused is refused when it is loaded.
        let Ok(facts) = walk(source.bytes.clone(), kind).await else { return };
        let tensor_bytes_max = self.settings.tensor_bytes_max.get();
        artefacts.make(Subject::of(source.clone(), kind, &facts, tensor_bytes_max).await).await;
    }

    fn artefacts_for(&self, kind: BackendKind) -> Option<&Arc<Artefacts>> {
        let artefacts = self.artefacts.as_ref()?.as_ref().ok()?;
        (kind == BackendKind::Onnxruntime).then_some(artefacts)
    }

    fn slot(&self, key: &Key) -> Slot {
        let mut slots = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        // If nobody else holds the model, it is not loading.
        slots.retain(|_, slot| {
            Arc::get_mut(slot).is_none_or(|free| free.get_mut().strong_count() > 0)
        });
        Arc::clone(slots.entry(key.clone()).or_default())
    }

    pub(super) fn place(&self, source: &ModelSource, kind: BackendKind) -> Place {
        let publisher = source.publisher.clone();
        let is_trusted = || row(kind).in_host && self.settings.trusted.contains(&publisher);
        match self.settings.isolation {
            Isolation::None if is_trusted() => Place::Here,
            Isolation::None | Isolation::Publisher => Place::Worker(Together::Publisher(publisher)),
            Isolation::Model => Place::Worker(Together::Model(publisher, source.digest)),
        }
    }

    async fn load_here(
        &self,
        source: ModelSource,
        kind: BackendKind,
    ) -> Result<Box<dyn Model>, LoadError> {
        let open = || (row(kind).open)(&self.settings.needs());
        let backend = self.here[kind as usize].get_or_init(open).clone();
        let backend = backend.map_err(|source| LoadError::Backend { kind, source })?;
        let loading =
            tokio::task::spawn_blocking(move || backend.load(Source::Model(&source.bytes)));
        match tokio::time::timeout(LOAD_TIMEOUT, loading).await {
            Ok(Ok(model)) => model.map_err(|source| LoadError::Backend { kind, source }),
            Ok(Err(_panic)) => Err(LoadError::Panicked { kind }),
            Err(_elapsed) => Err(LoadError::Timeout { kind }),
        }
    }

    fn executor(&self) -> Result<&Arc<Executor>, LoadError> {
        if let Some(executor) = self.executor.get() {
            return Ok(executor);
        }
        let Settings { threads, queue_length_max, .. } = self.settings;
        let started = Executor::start(threads, queue_length_max, Arc::clone(&self.pool.figures));
        let failed = |error: io::Error| LoadError::Threads(error.to_string());
        Ok(self.executor.get_or_init({
            let started = Arc::new(started.map_err(failed)?);
            || started
        }))
    }

    /// The operator's choice, then the publisher's, then the first usable one in the table, among those that support the required device.
    pub(super) fn choose(&self, placement: Placement) -> Result<BackendKind, LoadError> {
        let mut rows = TABLE.iter().filter(|row| row.runs_on(placement.device)).peekable();
        if rows.peek().is_none() {
            return Err(LoadError::NoDevice { device: placement.device });
        }
        let named = match (self.settings.backend.only(), placement.backend) {
            (Some(allowed), Some(wanted)) if wanted != allowed => {
                return Err(LoadError::NotAllowed { wanted, allowed });
            }
            (allowed, wanted) => allowed.or(wanted),
        };
        let mut refused = LoadError::NoDevice { device: placement.device };
        for row in rows.filter(|row| named.is_none_or(|kind| row.kind == kind)) {
            match self.usable(row.kind) {
                Ok(kind) => return Ok(kind),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    fn usable(&self, kind: BackendKind) -> Result<BackendKind, LoadError> {
        match self.status.iter().find(|status| status.kind == kind).map(|status| &status.usable) {
            Some(Ok(_)) => Ok(kind),
            Some(Err(BackendError::NoLibrary)) => {
                Err(LoadError::Unusable { kind, reason: BackendError::NoLibrary.to_string() })
            }
            // Publishers see this error. Library paths and errors are for the operator only.
            Some(Err(error)) => {
                tracing::error!(%error, "the library is not usable");
                let reason = "its library does not load; the operator's log says why".into();
                Err(LoadError::Unusable { kind, reason })
            }
            None => Err(LoadError::Unusable { kind, reason: "workers do not have it".into() }),
        }
    }
}

/// Checks a model before a backend sees it.
async fn walk(bytes: Bytes, kind: BackendKind) -> Result<ModelFacts, LoadError> {
    let walked = tokio::task::spawn_blocking(move || onnx::check(&bytes)).await;
    Ok(walked.map_err(|_panic| LoadError::Panicked { kind })??)
}
