//! What is known of a published version without loading it: enough for the market, its page, its documents and the check of a call.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use semver::Version;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use super::{Describe, Document, Statistics};
use crate::admission::Footprint;
use crate::backend::BackendKind;
use crate::bundle::Manifest;
use crate::bundle::provenance::TrainingSummary;
use crate::capability::Capabilities;
use crate::id::{Digest, ModelName, Party};
use crate::inference::{Graph, ModelSignature, Speaker};
use crate::sandbox::{CallLimits, FunctionType, Prototype};
use crate::stop::Stop;
use crate::telemetry::Allowance;

/// What is known of a published version without its code and its models. It stays when they are unloaded.
pub struct Deployment {
    pub(crate) model: ModelName,
    pub(crate) version: Version,
    pub(crate) digest: Digest,
    pub(crate) published_at: Option<Timestamp>,
    pub(crate) publisher: Party,
    pub(crate) manifest: Manifest,
    /// The training that its bundle's provenance describes.
    pub(crate) training: Option<TrainingSummary>,
    /// The functions, as their callers see them.
    pub(crate) functions: Box<[Prototype]>,
    /// What of the host its component could reach.
    pub(crate) imports: Capabilities,
    /// Its models, in the manifest's order.
    pub(crate) models: Box<[DescribedModel]>,
    /// Its language models, in the manifest's order.
    pub(crate) decoders: Box<[DescribedDecoder]>,
    /// Whether the bundle is a model without code.
    pub(crate) codeless: bool,
    pub(crate) statistics: Arc<Statistics>,
    /// Ends its running calls when the operator withdraws it.
    pub(crate) stop: Arc<Stop>,
    /// How much its code may log.
    pub(crate) log: Arc<Allowance>,
    /// SHA-256 of its component's code.
    pub(crate) component: Digest,
    /// Its machine-readable description, once built; `None` if too large.
    pub(crate) document: OnceCell<Option<Document>>,
}

impl Deployment {
    /// `publisher/model`.
    pub fn model(&self) -> &ModelName {
        &self.model
    }

    /// The version number.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// The bundle's digest, which agreements name.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// When it was published; `None` if its record is older than hosts that write it down.
    pub fn published_at(&self) -> Option<Timestamp> {
        self.published_at
    }

    /// The party that signed the bundle.
    pub fn publisher(&self) -> Party {
        self.publisher
    }

    /// The publisher's description.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The training that its bundle's provenance describes, signed by who ran it.
    pub fn training(&self) -> Option<&TrainingSummary> {
        self.training.as_ref()
    }

    /// What of the host its component could reach: what it imports.
    pub fn imports(&self) -> Capabilities {
        self.imports
    }

    /// The models that its code may load.
    pub fn models(&self) -> &[DescribedModel] {
        &self.models
    }

    /// The language models that its code may speak with.
    pub fn decoders(&self) -> &[DescribedDecoder] {
        &self.decoders
    }

    /// Whether the bundle is a model without code: tensors go to the model unchanged.
    pub fn is_codeless(&self) -> bool {
        self.codeless
    }

    /// The tensors of its tensor function, if that function can serve only one model.
    pub fn tensors(&self) -> Option<&ModelSignature> {
        match &*self.models {
            [only] => Some(&only.signature),
            _ => None,
        }
    }

    /// Whether the first dimension of its tensors is a batch of any size.
    pub fn batches(&self) -> bool {
        let along_the_first =
            matches!(self.manifest.models.as_slice(), [model] if model.batch_axis == Some(0));
        let open = |signature: &ModelSignature| {
            signature.inputs.iter().all(|input| matches!(input.shape.as_deref(), Some([None, ..])))
        };
        along_the_first && self.tensors().is_some_and(open)
    }

    /// The function from named tensors to named tensors, if it has one.
    pub fn tensor_function(&self) -> Option<&Prototype> {
        let mut functions = self.functions().iter();
        functions.find(|function| *function.signature() == FunctionType::Tensors)
    }

    /// The HTTP handler, if it has one.
    pub fn handler(&self) -> Option<&Prototype> {
        let mut functions = self.functions().iter();
        functions.find(|function| matches!(function.signature(), FunctionType::Http(_)))
    }

    /// Ends its running calls.
    pub fn stop(&self) -> &Arc<Stop> {
        &self.stop
    }

    /// How much its code may log.
    pub fn log(&self) -> &Arc<Allowance> {
        &self.log
    }

    /// Whether callers cannot tell it from the other, so that one can stand for both.
    pub fn looks_like(&self, other: &Self) -> bool {
        self.digest == other.digest
            && self.functions == other.functions
            && self.imports == other.imports
            && self.models.len() == other.models.len()
            && self.models.iter().zip(&*other.models).all(|(one, other)| one.looks_like(other))
            && self.decoders == other.decoders
    }

    /// This description in place of an older one of the same version: its statistics go on, and who ends its calls ends all of them.
    pub fn after(self, older: &Self) -> Self {
        let (statistics, stop) = (Arc::clone(&older.statistics), Arc::clone(&older.stop));
        Self { statistics, stop, ..self }
    }

    /// The digests of the bundle and of its parts.
    pub fn digests(&self) -> impl Iterator<Item = &Digest> {
        let models = self.manifest.models.iter().map(|model| &model.sha256);
        [&self.digest, &self.component].into_iter().chain(models)
    }

    /// Statistics of its calls since the host started.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// The version's machine-readable description. `describe` builds it for the first request, unless publishing has built it. `None` if it
    /// would exceed `bytes_max`.
    pub async fn document(
        self: &Arc<Self>,
        describe: Describe,
        bytes_max: usize,
    ) -> Option<&Document> {
        let made = self.document.get_or_init(|| async {
            let deployment = Arc::clone(self);
            let making = tokio::task::spawn_blocking(move || describe(&deployment, bytes_max));
            making.await.unwrap_or(None)
        });
        made.await.as_ref()
    }

    /// The callable functions, with their types.
    pub fn functions(&self) -> &[Prototype] {
        &self.functions
    }

    /// The host's `limits`, narrowed to what the bundle asks for.
    pub fn narrow(&self, limits: CallLimits) -> CallLimits {
        let wanted = &self.manifest.limits;
        let memory = wanted.memory_bytes.and_then(|bytes| usize::try_from(bytes).ok());
        let deadline = wanted
            .deadline_ms
            .and_then(|millis| limits.began.checked_add(Duration::from_millis(millis)));
        CallLimits {
            memory_bytes_max: memory
                .map_or(limits.memory_bytes_max, |m| m.min(limits.memory_bytes_max)),
            deadline: deadline.map_or(limits.deadline, |deadline| deadline.min(limits.deadline)),
            ..limits
        }
    }
}

/// A model of a version, as it was when it was last loaded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DescribedModel {
    /// The name by which the code loads it.
    pub name: String,
    pub backend: BackendKind,
    pub signature: ModelSignature,
    /// Its inputs that have a value of their own, which not every backend lets callers replace.
    pub initialised: Vec<String>,
    /// Bytes of memory and memory mappings that it took.
    pub private_bytes: u64,
    pub mappings: u64,
}

impl DescribedModel {
    /// A loaded model.
    pub fn of(name: String, graph: &Graph) -> Self {
        let Footprint { bytes, mappings } = graph.footprint();
        Self {
            name,
            backend: graph.backend(),
            signature: graph.signature().clone(),
            initialised: graph.facts().initialised().to_vec(),
            private_bytes: bytes,
            mappings,
        }
    }

    /// What it took when it was last loaded.
    pub fn footprint(&self) -> Footprint {
        Footprint { bytes: self.private_bytes, mappings: self.mappings }
    }

    /// Whether callers cannot tell it from the other.
    fn looks_like(&self, other: &Self) -> bool {
        let of = |one: &Self| (one.name.clone(), one.backend, one.initialised.clone());
        of(self) == of(other) && self.signature == other.signature
    }
}

/// A language model of a version, as it was when it was last loaded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DescribedDecoder {
    /// The name by which the code speaks with it.
    pub name: String,
    pub backend: BackendKind,
    /// Most tokens of a sequence.
    pub context: u32,
    /// Bytes of memory and memory mappings that it takes.
    pub private_bytes: u64,
    pub mappings: u64,
}

impl DescribedDecoder {
    /// A loaded one.
    pub fn of(name: String, speaker: &Speaker) -> Self {
        let Footprint { bytes, mappings } = speaker.footprint();
        Self {
            name,
            backend: speaker.backend(),
            context: speaker.about().context,
            private_bytes: bytes,
            mappings,
        }
    }

    /// What it took when it was last loaded.
    pub fn footprint(&self) -> Footprint {
        Footprint { bytes: self.private_bytes, mappings: self.mappings }
    }
}
