//! Makes an artefact, in a worker of its own, and proves it there.
//!
//! The worker loads the publisher's model, writes its optimised form, and loads that too. Both compute the same generated inputs, and every
//! output must be equal to the last bit. If the worker crashes, nobody else is harmed.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Artefact, copy};
use crate::backend::{BackendError, Call};
use crate::graph::ComputeError;
use crate::pool::{Pool, in_memory};
use crate::protocol::{Form, JobError};
use crate::remote::{Loss, RemoteError, Task, Worker};
use crate::samples::{Fill, Samples};
use crate::strikes::{Culprit, Owned};
use crate::{Caller, ModelSignature, ModelSource, WorkerStartError, accepted};
use hospes_core::backend::BackendKind;
use hospes_core::id::Digest;
use hospes_core::tensor::Tensor;
use hospes_onnx::{self as onnx, ALIGNMENT, Accepted, ModelFacts, RelayError};
use hospes_worker::files::Name;

/// Maximum time for all of it.
const MAKE_TIMEOUT: Duration = Duration::from_secs(60);

/// Maximum bytes of an optimised model without its weights.
const MODEL_BYTES_MAX: u64 = 64 << 20;

/// What kernels need: they crash where weights are not aligned like this.
const KERNEL_ALIGNMENT: u64 = 64;

/// The inputs that are compared: the size of open dimensions, and the content.
const COMPARED: [(usize, Fill); 7] = [
    (1, Fill::Varied),
    (1, Fill::Ones),
    (1, Fill::Zeros),
    (2, Fill::Places),
    (3, Fill::Varied),
    (16, Fill::Varied),
    (64, Fill::Ones),
];

/// The model of which an artefact is made.
pub(crate) struct Subject {
    pub(crate) source: ModelSource,
    pub(crate) kind: BackendKind,
    pub(crate) tensor_bytes_max: usize,
    /// Categories that the model lists.
    pub(crate) accepted: Vec<Accepted>,
}

impl Subject {
    /// The subject of a model with these facts.
    pub(crate) async fn of(
        source: ModelSource,
        kind: BackendKind,
        facts: &ModelFacts,
        tensor_bytes_max: usize,
    ) -> Self {
        let accepted = accepted(facts, source.bytes.clone()).await;
        Self { source, kind, tensor_bytes_max, accepted }
    }
}

/// Why a model has no artefact.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Start(#[from] WorkerStartError),
    #[error("a memory file failed: {0}")]
    System(#[from] io::Error),
    #[error("it was not made and tried within {} s", MAKE_TIMEOUT.as_secs())]
    Slow,
    #[error("its {bytes} bytes are more than the {max} of `inference.artefact_bytes_max`")]
    TooLarge { bytes: u64, max: u64 },
    #[error("the library could not {what}: {error}")]
    Library { what: &'static str, error: BackendError },
    #[error("the process that was to {what} ended by {how}")]
    Ended { what: &'static str, how: String },
    #[error("what the library has written is not sound: {0}")]
    Unsound(#[from] RelayError),
    #[error("it has no weights worth mapping")]
    Nothing,
    #[error("its inputs or outputs would be others")]
    Signature,
    #[error("it cannot be tried: {0}")]
    Inputs(String),
    #[error("it computed none of the generated inputs, so there is nothing to compare")]
    NotComputed,
    #[error("it computes output `{output}` differently")]
    Differs { output: String },
}

impl Failure {
    /// Whether it would be the same another time.
    pub(super) fn is_lasting(&self) -> bool {
        !matches!(self, Self::Start(_) | Self::System(_) | Self::Slow | Self::TooLarge { .. })
    }
}

/// Makes the artefact of this key.
pub(super) async fn make(
    pool: &Pool,
    key: Digest,
    subject: Subject,
    bytes_max: u64,
) -> Result<Artefact, Failure> {
    let making = async {
        let worker = pool.maker(&subject.source.publisher, bytes_max).await?;
        let owned =
            Owned { publisher: subject.source.publisher.clone(), model: subject.source.digest };
        Making { worker, culprit: Culprit::computing(owned, Caller::NOBODY.number), subject }
            .run(key, bytes_max)
            .await
    };
    tokio::time::timeout(MAKE_TIMEOUT, making).await.unwrap_or(Err(Failure::Slow))
}

/// A worker that makes one artefact. Dropping it ends the process.
struct Making {
    worker: Arc<Worker>,
    culprit: Culprit,
    subject: Subject,
}

impl Making {
    async fn run(&self, key: Digest, bytes_max: u64) -> Result<Artefact, Failure> {
        let [plain, written] = [&b"plain"[..], b"written"].map(Digest::of);
        let signature = self.load(plain, "load it", self.model(Form::Model)?).await?;
        let (model, weights) = (memory_file("model")?, memory_file("weights")?);
        self.worker.offer(Name::Model, model.as_fd());
        self.worker.offer(Name::Weights, weights.as_fd());
        self.load(written, "write it", self.model(Form::Written)?).await?;
        self.worker.unload(&(written, self.subject.kind));
        let head = postcard::to_allocvec(&signature).map_err(io::Error::other)?;
        let laid_out = move || lay_out(key, (model, weights), head, bytes_max);
        let laid_out = tokio::task::spawn_blocking(laid_out).await;
        let artefact = laid_out.unwrap_or_else(|panic| Err(io::Error::other(panic).into()))?;
        let (bytes, form) = artefact.form();
        let mapped = self.load(key, "map it", (artefact.open()?, bytes, form)).await?;
        if mapped != signature {
            return Err(Failure::Signature);
        }
        self.compare(&signature, (plain, key)).await?;
        Ok(artefact)
    }

    fn model(&self, form: Form) -> io::Result<(OwnedFd, u64, Form)> {
        let bytes = &self.subject.source.bytes;
        Ok((in_memory(bytes)?, bytes.len() as u64, form))
    }

    async fn load(
        &self,
        name: Digest,
        what: &'static str,
        file: (OwnedFd, u64, Form),
    ) -> Result<ModelSignature, Failure> {
        let loaded = self.worker.load((name, self.subject.kind), &self.culprit, file).await;
        loaded.map_err(|loss| match loss {
            Loss::Job(JobError::Backend(error)) => Failure::Library { what, error },
            Loss::Job(_) => Failure::Ended { what, how: "a malformed answer".into() },
            Loss::Ended(how) => Failure::Ended { what, how: how.to_string() },
            Loss::Bystander => Failure::Ended { what, how: "being ended by others".into() },
        })
    }

    /// Compares what two loaded models compute.
    async fn compare(
        &self,
        signature: &ModelSignature,
        (plain, mapped): (Digest, Digest),
    ) -> Result<(), Failure> {
        let samples = Samples {
            signature,
            tensor_bytes_max: self.subject.tensor_bytes_max,
            accepted: &self.subject.accepted,
        };
        let mut computed = 0;
        for (attempt, (open, fill)) in COMPARED.into_iter().enumerate() {
            let invented = samples.invent(open, fill, attempt == 0);
            let invented = invented.map_err(|error| Failure::Inputs(error.to_string()))?;
            let Some(inputs) = invented else { continue };
            let inputs =
                signature.bind(inputs).map_err(|error| Failure::Inputs(error.to_string()))?;
            let one = self.compute(plain, &inputs).await?;
            let other = self.compute(mapped, &inputs).await?;
            match (one, other) {
                (Ok(one), Ok(other)) => {
                    computed += 1;
                    same(signature, &one, &other)?;
                }
                // Both reject these inputs.
                (Err(_), Err(_)) => {}
                (Ok(_), Err(_)) | (Err(_), Ok(_)) => {
                    return Err(Failure::Differs { output: "all".into() });
                }
            }
        }
        if computed == 0 { Err(Failure::NotComputed) } else { Ok(()) }
    }

    async fn compute(
        &self,
        name: Digest,
        inputs: &[Option<Tensor>],
    ) -> Result<Result<Vec<Tensor>, ComputeError>, Failure> {
        let what = "compute it";
        let ended = |how: &str| Failure::Ended { what, how: how.into() };
        let key = (name, self.subject.kind);
        let model = self.worker.model(&key).ok_or_else(|| ended("losing a model"))?;
        let call = Call::of_nobody(Instant::now() + MAKE_TIMEOUT);
        let wish = call.wish(None);
        let task = Task { model, call, wish, culprit: &self.culprit, alone: false, axis: None };
        match self.worker.compute(task, inputs).await {
            Ok((outputs, _nanos)) => Ok(Ok(outputs)),
            Err(RemoteError::NotBegun | RemoteError::Alone { .. }) => Err(ended("an unknown end")),
            Err(RemoteError::Compute(ComputeError::Lost { how })) => Err(ended(&how)),
            Err(RemoteError::Compute(error)) => Ok(Err(error)),
        }
    }
}

/// Whether outputs are equal to the last bit.
fn same(signature: &ModelSignature, one: &[Tensor], other: &[Tensor]) -> Result<(), Failure> {
    let differs = |at: usize| {
        let output = signature.outputs.get(at).map(|output| output.name.clone());
        Failure::Differs { output: output.unwrap_or_default() }
    };
    if one.len() != other.len() {
        return Err(differs(one.len().min(other.len())));
    }
    match one.iter().zip(other).position(|(one, other)| one != other) {
        Some(at) => Err(differs(at)),
        None => Ok(()),
    }
}

/// A file for the worker to write.
fn memory_file(name: &str) -> io::Result<File> {
    let file = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC)?;
    Ok(File::from(file))
}

/// Makes an artefact of what a worker has written. The worker may still change it, so each byte is read once.
fn lay_out(
    key: Digest,
    (model, weights): (File, File),
    mut head: Vec<u8>,
    bytes_max: u64,
) -> Result<Artefact, Failure> {
    let too_large = |bytes, max| Err(Failure::TooLarge { bytes, max });
    let (model_bytes, weights_bytes) = (model.metadata()?.len(), weights.metadata()?.len());
    if model_bytes > MODEL_BYTES_MAX {
        return too_large(model_bytes, MODEL_BYTES_MAX);
    }
    let mut written = vec![0; usize::try_from(model_bytes).unwrap_or_default()];
    model.read_exact_at(&mut written, 0)?;
    let relaid = onnx::relay(&written, Name::Weights.text(), weights_bytes)?;
    if relaid.parts.is_empty() {
        return Err(Failure::Nothing);
    }
    if relaid.parts.iter().any(|part| part.to % KERNEL_ALIGNMENT != 0) {
        return Err(io::Error::other("a part is not aligned").into());
    }
    head.extend(relaid.model);
    let sizes = (relaid.weights_bytes, head.len() as u64);
    let bytes = sizes.0.saturating_add(sizes.1);
    if bytes > bytes_max {
        return too_large(bytes, bytes_max);
    }
    Artefact::write(key, sizes, |file| {
        for part in &relaid.parts {
            copy((&weights, part.from), part.bytes, (file, part.to), |_| {})?;
        }
        Ok(file.write_all_at(&head, sizes.0)?)
    })
}

const _: () = assert!(ALIGNMENT.is_multiple_of(KERNEL_ALIGNMENT));
