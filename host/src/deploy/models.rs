//! A bundle's models: loaded into their backends and tried out before callers can reach them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::{DeployError, Publication, Tried, space};
use crate::bundle::{Encoding, ModelSpec, VerifiedBundle};
use crate::host::Host;
use crate::id::{AccountName, Digest};
use crate::inference::{
    Graph, LoadError, ModelSource, Placement, Speaker, TrialTime, file_in_memory,
};
use crate::sandbox::Graphs;
use crate::state::deployments::{Deployment, Natives};

/// The models of a bundle that is being deployed.
pub(super) struct Models<'b> {
    bundle: &'b VerifiedBundle,
    publisher: AccountName,
    unkept: Unkept,
}

/// Weights that may not be on disk yet: a worker that restarts before then must load them again. Dropped with [`Models`].
#[derive(Clone, Default)]
struct Unkept(Arc<Mutex<HashMap<Digest, Bytes>>>);

impl Unkept {
    fn get(&self, digest: &Digest) -> Option<Bytes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
    }
}

impl Drop for Models<'_> {
    fn drop(&mut self) {
        self.unkept.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl<'b> Models<'b> {
    pub(super) fn of(publication: &Publication, bundle: &'b VerifiedBundle) -> Self {
        let weights = bundle.manifest().models.iter();
        let weights = weights.map(|model| (model.sha256, bundle.model(model))).collect();
        let unkept = Unkept(Arc::new(Mutex::new(weights)));
        Self { bundle, publisher: publication.model.publisher.clone(), unkept }
    }

    fn source(&self, host: &Host, model: &ModelSpec) -> ModelSource {
        let (registry, unkept, digest) = (host.registry.clone(), self.unkept.clone(), model.sha256);
        let reopen = move || match unkept.get(&digest) {
            Some(bytes) => file_in_memory(&bytes),
            None => registry.open_model(&digest).map(Into::into),
        };
        ModelSource {
            digest,
            publisher: self.publisher.clone(),
            bytes: self.bundle.model(model),
            reopen: Arc::new(reopen),
        }
    }

    /// Makes the forms in which their weights are mapped, so that they are loaded from those. Weights of decoders are mapped as they are.
    pub(super) async fn prepare(&self, host: &Host) {
        let models = self.bundle.manifest().models.iter();
        for model in models.filter(|model| model.encoding != Encoding::Decoder) {
            host.inference.prepare(&self.source(host, model), placement(model)).await;
        }
    }

    /// Loads them, once per digest and publisher. `known` says what they took before.
    pub(super) async fn load(
        &self,
        host: &Host,
        known: Option<&Deployment>,
    ) -> Result<Natives, DeployError> {
        let (mut graphs, mut speakers) = (HashMap::new(), HashMap::new());
        for model in &self.bundle.manifest().models {
            let name = model.name.as_str().into();
            match model.encoding {
                Encoding::Decoder => {
                    let speaker = self.load_decoder(host, model, known).await?;
                    speakers.insert(name, speaker);
                }
                Encoding::Onnx => {
                    graphs.insert(name, self.load_graph(host, model, known).await?);
                }
            }
        }
        Ok(Natives { graphs: Arc::new(graphs), speakers: Arc::new(speakers) })
    }

    async fn load_graph(
        &self,
        host: &Host,
        model: &ModelSpec,
        known: Option<&Deployment>,
    ) -> Result<Arc<Graph>, DeployError> {
        let (source, placement) = (self.source(host, model), placement(model));
        if let Some(graph) =
            host.inference.loaded(&source, placement).await.map_err(refused(model))?
        {
            return Ok(graph);
        }
        let mut known = known.into_iter().flat_map(|known| known.models());
        let known = known.find(|known| known.name == model.name.as_str());
        let wanted =
            known.map_or_else(|| host.inference.estimate(model.bytes), |known| known.footprint());
        let _kept = host.inference.keep_worker(&source, placement);
        let room = space::take(host, wanted).await?;
        host.inference.load_into(source, placement, Some(room)).await.map_err(refused(model))
    }

    async fn load_decoder(
        &self,
        host: &Host,
        model: &ModelSpec,
        known: Option<&Deployment>,
    ) -> Result<Speaker, DeployError> {
        let (source, placement) = (self.source(host, model), placement(model));
        let inference = &host.inference;
        if let Some(speaker) =
            inference.loaded_decoder(&source, placement).await.map_err(refused(model))?
        {
            return Ok(speaker);
        }
        let mut known = known.into_iter().flat_map(|known| known.decoders());
        let wanted = match known.find(|known| known.name == model.name.as_str()) {
            Some(known) => known.footprint(),
            None => inference.estimate_decoder(&source).map_err(refused(model))?,
        };
        let room = space::take(host, wanted).await?;
        inference.load_decoder_into(source, placement, Some(room)).await.map_err(refused(model))
    }

    /// Computes each model before callers can reach it: a model that would fail every call does not go live. Models that these backends
    /// have already computed are skipped.
    pub(super) async fn try_out(
        &self,
        host: &Host,
        Natives { graphs, speakers }: &Natives,
        before: &Backends,
    ) -> Result<Vec<Tried>, DeployError> {
        let time = TrialTime::begin(host.config().sandbox.deadline);
        let mut tried = Vec::new();
        for spec in &self.bundle.manifest().models {
            let (model, name) = (spec.name.to_string(), spec.name.as_str());
            let (graph, speaker) = (graphs.get(name), speakers.get(name));
            let backend = graph.map(|graph| graph.backend());
            let Some(backend) = backend.or(speaker.map(Speaker::backend)) else { continue };
            if before.get(&model).is_some_and(|before| *before == backend.to_string()) {
                continue;
            }
            let tried_out = match (graph, speaker) {
                (Some(graph), _) => {
                    let how = (time, spec.batch_axis);
                    host.inference.try_out(graph, self.source(host, spec), how).await
                }
                (None, Some(speaker)) => host.inference.try_out_decoder(speaker, time).await,
                (None, None) => continue,
            };
            match tried_out {
                Ok(trial) => tried.push(Tried { model, backend, trial }),
                Err(source) => return Err(DeployError::Trial { model, backend, source }),
            }
        }
        tried.sort_by(|one, other| one.model.cmp(&other.model));
        Ok(tried)
    }

    /// Joins computations of those models for which a trial has shown that it is worthwhile.
    pub(super) fn join(&self, graphs: &Graphs, joined: &BTreeSet<String>) {
        for spec in &self.bundle.manifest().models {
            let is_joined = joined.contains(spec.name.as_str());
            let graph = graphs.get(spec.name.as_str()).filter(|_| is_joined);
            if let (Some(graph), Some(axis)) = (graph, spec.batch_axis) {
                graph.join_along(axis);
            }
        }
    }
}

/// The models whose computations are joined, according to the trial run.
pub(super) fn joined(tried: &[Tried]) -> BTreeSet<String> {
    let joined = tried.iter().filter(|tried| tried.trial.is_joined());
    joined.map(|tried| tried.model.clone()).collect()
}

/// The backends that computed the models in the trial run, by model name.
pub(super) type Backends = BTreeMap<String, String>;

/// Results of the trial run.
pub(super) fn backends(tried: &[Tried]) -> Backends {
    tried.iter().map(|tried| (tried.model.clone(), tried.backend.to_string())).collect()
}

/// The publisher's choice of backend for a model.
fn placement(model: &ModelSpec) -> Placement {
    Placement { backend: model.backend, device: model.device }
}

fn refused(model: &ModelSpec) -> impl Fn(LoadError) -> DeployError {
    let model = model.name.to_string();
    move |source| DeployError::Model { model: model.clone(), source }
}
