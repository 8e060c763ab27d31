//! ONNX Runtime, the fastest backend. A worker loads its native library at start.
//!
//! The surprise: `ort` runs a session for one caller at a time, so a model has a session for each inference thread. Each session holds the
//! weights anew: the library shares only those that it maps from a file.

#[expect(unsafe_code, reason = "`ort` changes no tensor in place; the library does")]
mod decoding;
#[expect(unsafe_code, reason = "`ort` has no byte strings; the library does")]
mod strings;

use std::borrow::Cow;
use std::fmt::Debug;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use bytes::Bytes;
use half::{bf16, f16};
use ort::environment::{Environment, EnvironmentBuilder};
use ort::logging::LogLevel;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{RunOptions, Session, SessionInputValue, SessionInputs};
use ort::value::{
    DynValue, Outlet, PrimitiveTensorElementType, TensorElementType, TensorRef, ValueType,
};
use tracing::Level;

pub(crate) use decoding::{Borrowed, Decoding, Numbers, Weight};

use super::{
    Backend, BackendError, Begin, Context, Model, Needs, ONNXRUNTIME_CHARS_MAX, Source, one_line,
};
use crate::signature::{ModelSignature, OutputSpec, Sizes, TensorSpec};
use hospes_core::tensor::{self, DataType, Tensor};
use hospes_onnx::{self as onnx, ModelFacts};
use hospes_telemetry as telemetry;
use hospes_worker::files::{self, Name};
use hospes_worker::memory::give_back_heap;

/// The library that this process has loaded. A process can load only one, and never unloads it.
static LIBRARY: Mutex<Option<Library>> = Mutex::new(None);

#[derive(Clone)]
struct Library {
    path: PathBuf,
    environment: Environment,
}

/// Makes the library reject its own model format, which the host does not check.
const FORMAT: (&str, &str) = ("session.load_model_format", "ONNX");

/// Where the library looks for weights outside a model. Publishers' models have none, but by default it would look in the working directory.
/// For them it is a folder under a device, where no file can exist.
const EXTERNAL_DATA: &str = "session.model_external_initializers_file_folder_path";

/// The name of the file for the weights of a model that is written.
const WRITTEN_WEIGHTS: &str = "session.optimized_model_external_initializers_file_name";

/// Smaller tensors stay in the model: each part of the file takes at least a page, and a mapping.
const WRITTEN_BYTES_MIN: (&str, &str) =
    ("session.optimized_model_external_initializers_min_size_in_bytes", "1024");

/// Makes the library write the weights as it has packed them for this processor, too.
const WRITE_PACKED: &str = "session.save_external_prepacked_constant_initializers";

/// After a run with inputs of this many bytes, the arena returns what it does not need.
const LARGE_BYTES: usize = 16 << 20;

/// Makes the arena of the processor's memory do that.
const SHRINK: (&str, &str) = ("memory.enable_memory_arena_shrinkage", "cpu:0");

/// The library mapped into this process. It has not started threads or opened files yet.
struct Mapped {
    path: PathBuf,
    builder: EnvironmentBuilder,
}

/// ONNX Runtime.
pub struct OnnxRuntime {
    library: Library,
    threads: NonZeroUsize,
    all_threads: NonZeroUsize,
}

impl OnnxRuntime {
    /// Loads the first of `libraries` that exists. `threads` threads can run a model at the same time.
    ///
    /// # Errors
    /// [`BackendError::NoLibrary`] if none exists, [`BackendError::Library`] if it does not load.
    pub fn find(libraries: &[PathBuf], threads: NonZeroUsize) -> Result<Self, BackendError> {
        let path = libraries.iter().find(|path| path.is_file()).ok_or(BackendError::NoLibrary)?;
        let mut loaded = LIBRARY.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let library = match &*loaded {
            Some(library) if library.path == *path => library.clone(),
            Some(library) => {
                let (path, has) = (path.display(), library.path.display());
                return Err(BackendError::Library(format!(
                    "`{path}` cannot be loaded: this process has already loaded `{has}`"
                )));
            }
            None => loaded.insert(Mapped::open(path)?.library()?).clone(),
        };
        Ok(Self { library, threads, all_threads: threads })
    }
}

/// Opens the library, or returns the open one.
pub(super) fn open(needs: &Needs<'_>) -> Result<Arc<dyn Backend>, BackendError> {
    let found = OnnxRuntime::find(needs.libraries, needs.threads)?;
    Ok(Arc::new(OnnxRuntime { all_threads: needs.all_threads, ..found }))
}

/// Maps the library. The process must not have loaded one.
pub(super) fn map(needs: &Needs<'_>) -> Result<Begin, BackendError> {
    let begin = begin(needs)?;
    Ok(Box::new(move || Ok(Arc::new(begin()?))))
}

/// The same for who needs more of it than a backend does.
pub(crate) fn begin(
    needs: &Needs<'_>,
) -> Result<impl FnOnce() -> Result<OnnxRuntime, BackendError> + use<>, BackendError> {
    let path = needs.libraries.iter().find(|path| path.is_file());
    let mapped = Mapped::open(path.ok_or(BackendError::NoLibrary)?)?;
    let (threads, all_threads) = (needs.threads, needs.all_threads);
    Ok(move || Ok(OnnxRuntime { library: mapped.library()?, threads, all_threads }))
}

impl Mapped {
    fn open(path: &Path) -> Result<Self, BackendError> {
        let builder = ort::init_from(path).map_err(|error| does_not_load(path, &error))?;
        Ok(Self { path: path.into(), builder })
    }

    fn library(self) -> Result<Library, BackendError> {
        let Self { path, builder } = self;
        let builder = builder.with_telemetry(false).with_logger(Arc::new(log));
        let environment = builder.build().map_err(|error| does_not_load(&path, &error))?;
        environment.set_log_level(LogLevel::Error);
        Ok(Library { path, environment })
    }
}

fn does_not_load(path: &Path, error: &dyn std::fmt::Display) -> BackendError {
    BackendError::Library(format!("`{}` does not load: {error}", path.display()))
}

/// The library's messages go through the host's log, because they contain names and text from models.
fn log(level: LogLevel, _category: &str, _id: &str, _place: &str, message: &str) {
    let level = match level {
        LogLevel::Verbose => Level::TRACE,
        LogLevel::Info => Level::DEBUG,
        LogLevel::Warning => Level::INFO,
        LogLevel::Error | LogLevel::Fatal => Level::WARN,
    };
    telemetry::foreign_line("onnxruntime", level, message);
}

impl Backend for OnnxRuntime {
    fn describe(&self) -> String {
        self.library.path.display().to_string()
    }

    fn load(&self, source: Source<'_>) -> Result<Box<dyn Model>, BackendError> {
        // Checked again, because nothing else in a worker's process has checked the model.
        let check =
            |model| onnx::check(model).map_err(|error| BackendError::Failed(error.to_string()));
        let (sessions, signature) = match source {
            Source::Model(model) => {
                let facts = check(model)?;
                let make = || self.inside()?.commit_from_memory(model);
                let sessions = sessions(self.threads, make)?;
                let signature = signature(&sessions, &facts)?;
                (sessions, signature)
            }
            Source::Written(model) => {
                let facts = check(model)?;
                let session = self.writing().and_then(|mut it| it.commit_from_memory(model));
                let sessions = vec![session.map_err(failed)?];
                let signature = signature(&sessions, &facts)?;
                (sessions, signature)
            }
            Source::Mapped { model, signature } => {
                let make = || self.mapping()?.commit_from_memory(model);
                let sessions = sessions(self.all_threads, make)?;
                (sessions, signature)
            }
        };
        let sessions = sessions.into_iter().map(Mutex::new).collect();
        // Loading has allocated more than the model keeps.
        give_back_heap();
        Ok(Box::new(Loaded { sessions, next: AtomicUsize::new(0), signature, _trim: Trim }))
    }
}

fn signature(sessions: &[Session], facts: &ModelFacts) -> Result<ModelSignature, BackendError> {
    let session = sessions.first().ok_or(BackendError::Panicked)?;
    let (inputs, outputs) = (session.inputs().iter(), session.outputs().iter());
    let required = inputs.map(|input| spec(input.name(), input.dtype(), facts));
    let optional = optional(session, facts).into_iter().map(Ok);
    Ok(ModelSignature {
        inputs: required.chain(optional).collect::<Result<_, _>>()?,
        outputs: outputs.map(|output| output_spec(output, facts)).collect::<Result<_, _>>()?,
    })
}

/// A session for each of so many threads.
fn sessions(
    threads: NonZeroUsize,
    make: impl Fn() -> ort::Result<Session>,
) -> Result<Vec<Session>, BackendError> {
    (0..threads.get()).map(|_| make().map_err(failed)).collect()
}

impl OnnxRuntime {
    /// What all sessions have in common. Each has one thread: the executor's threads use the cores, and do not wait for each other.
    fn builder(&self, level: GraphOptimizationLevel) -> ort::Result<SessionBuilder> {
        let builder = Session::builder(&self.library.environment)?
            .with_optimization_level(level)?
            .with_intra_threads(1)?
            .with_inter_threads(1)?
            .with_intra_op_spinning(false)?
            // Weights do not make the arena grow, which keeps what computations need.
            .with_device_allocated_initializers()?
            .with_config_entry(FORMAT.0, FORMAT.1)?;
        Ok(builder)
    }

    /// For a model that has its weights inside.
    fn inside(&self) -> ort::Result<SessionBuilder> {
        let builder = self.builder(GraphOptimizationLevel::All)?;
        Ok(builder.with_config_entry(EXTERNAL_DATA, "/dev/null/none")?)
    }

    /// For one that is to be written in its optimised form.
    fn writing(&self) -> ort::Result<SessionBuilder> {
        Ok(self
            .inside()?
            .with_optimized_model_path(Name::Model.path())?
            .with_config_entry(WRITTEN_WEIGHTS, Name::Weights.text())?
            .with_config_entry(WRITTEN_BYTES_MIN.0, WRITTEN_BYTES_MIN.1)?
            .with_config_entry(WRITE_PACKED, "1")?)
    }

    /// For one in its optimised form.
    fn mapping(&self) -> ort::Result<SessionBuilder> {
        let builder = self.builder(GraphOptimizationLevel::Disable)?;
        Ok(builder.with_config_entry(EXTERNAL_DATA, files::FOLDER)?)
    }
}

/// Returns a model's memory to the system when it is unloaded. The library's allocator would keep it.
struct Trim;

impl Drop for Trim {
    fn drop(&mut self) {
        give_back_heap();
    }
}

/// A model with its sessions.
struct Loaded {
    sessions: Vec<Mutex<Session>>,
    /// The session to try first.
    next: AtomicUsize,
    signature: ModelSignature,
    /// Dropped after the sessions: fields are dropped in order.
    _trim: Trim,
}

impl Loaded {
    /// A free session. Waits for one if more threads compute than there are sessions.
    fn session(&self) -> MutexGuard<'_, Session> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        for turn in 0..self.sessions.len() {
            match self.sessions[first.wrapping_add(turn) % self.sessions.len()].try_lock() {
                Ok(session) => return session,
                Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        let session = &self.sessions[first % self.sessions.len()];
        session.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Model for Loaded {
    fn signature(&self) -> &ModelSignature {
        &self.signature
    }

    fn run(
        &self,
        inputs: &[Option<Tensor>],
        context: &Context<'_>,
    ) -> Result<Vec<Tensor>, BackendError> {
        let mut options = RunOptions::new().map_err(failed)?;
        let bytes = inputs.iter().flatten().map(|tensor| tensor.data().len());
        if bytes.fold(0, usize::saturating_add) >= LARGE_BYTES {
            options.set(SHRINK.0, SHRINK.1).map_err(failed)?;
        }
        let options = Arc::new(options);
        let terminate = Arc::clone(&options);
        // If the flag cannot be set, the host kills the process a little later.
        context.stop.on_stop(move || drop(terminate.terminate()));
        let named = self.signature.inputs.iter().zip(inputs);
        let named = named.filter_map(|(spec, tensor)| Some((&*spec.name, tensor.as_ref()?)));
        let values = named.map(|(name, tensor)| Ok((Cow::Borrowed(name), input(tensor)?)));
        let values = values.collect::<Result<Vec<_>, BackendError>>()?;
        let mut session = self.session();
        let values: SessionInputs<'_, '_> = SessionInputs::ValueMap(values);
        let outputs = session.run_with_options(values, &options).map_err(failed)?;
        outputs.values().map(|value| output(&value)).collect()
    }
}

/// The native library's own message, without what the crate adds.
#[expect(clippy::needless_pass_by_value, reason = "it is handed to `map_err`")]
fn failed<R>(error: ort::Error<R>) -> BackendError {
    let whole = error.to_string();
    let text = one_line(&whole, ONNXRUNTIME_CHARS_MAX);
    if whole.contains("NOT_IMPLEMENTED") || whole.contains("Not yet implemented") {
        BackendError::Unsupported(text)
    } else {
        BackendError::Failed(text)
    }
}

fn spec(name: &str, ty: &ValueType, facts: &ModelFacts) -> Result<TensorSpec, BackendError> {
    let ValueType::Tensor { ty, shape, .. } = ty else {
        return Err(BackendError::Unsupported(format!("input `{name}` is not a tensor")));
    };
    let data_type = data_type(*ty).ok_or_else(|| {
        BackendError::Unsupported(format!("input `{name}` has elements of type {ty:?}"))
    })?;
    let shape = sizes(name, shape, facts);
    Ok(TensorSpec { name: name.into(), data_type, shape, optional: false })
}

/// The inputs with a default value in the model. Callers cannot set those that have unsupported types.
fn optional(session: &Session, facts: &ModelFacts) -> Vec<TensorSpec> {
    let initialisers = session.overridable_initializers();
    if initialisers.len() > onnx::INITIALISED_INPUTS_MAX {
        return Vec::new();
    }
    let specs =
        initialisers.iter().filter_map(|input| spec(input.name(), input.dtype(), facts).ok());
    specs.map(|spec| TensorSpec { optional: true, ..spec }).collect()
}

/// The library reports an unknown shape in the same way as the shape of a single element.
fn sizes(name: &str, shape: &[i64], facts: &ModelFacts) -> Option<Sizes> {
    let is_known = !shape.is_empty() || !facts.is_unranked(name);
    is_known.then(|| shape.iter().map(|size| usize::try_from(*size).ok()).collect())
}

fn output_spec(output: &Outlet, facts: &ModelFacts) -> Result<OutputSpec, BackendError> {
    let tensor = match output.dtype() {
        ValueType::Tensor { ty, shape, .. } => data_type(*ty).zip(Some(shape)),
        _ => None,
    };
    match tensor {
        Some((data_type, shape)) => Ok(OutputSpec {
            name: output.name().into(),
            data_type: Some(data_type),
            shape: sizes(output.name(), shape, facts),
        }),
        None => {
            let text = format!(
                "output `{}` is {}, not a tensor that can be passed on",
                output.name(),
                output.dtype()
            );
            Err(BackendError::Unsupported(text))
        }
    }
}

fn data_type(ty: TensorElementType) -> Option<DataType> {
    Some(match ty {
        TensorElementType::Bool => DataType::Bool,
        TensorElementType::Uint8 => DataType::U8,
        TensorElementType::Uint16 => DataType::U16,
        TensorElementType::Uint32 => DataType::U32,
        TensorElementType::Uint64 => DataType::U64,
        TensorElementType::Int8 => DataType::I8,
        TensorElementType::Int16 => DataType::I16,
        TensorElementType::Int32 => DataType::I32,
        TensorElementType::Int64 => DataType::I64,
        TensorElementType::Float16 => DataType::F16,
        TensorElementType::Bfloat16 => DataType::Bf16,
        TensorElementType::Float32 => DataType::F32,
        TensorElementType::Float64 => DataType::F64,
        TensorElementType::String => DataType::Bytes,
        _ => return None,
    })
}

fn input(tensor: &Tensor) -> Result<SessionInputValue<'_>, BackendError> {
    match tensor.data_type() {
        DataType::Bool => {
            let elements: Vec<bool> = tensor.data().iter().map(|byte| *byte != 0).collect();
            let owned = ort::value::Tensor::from_array((tensor.shape(), elements));
            owned.map(Into::into).map_err(failed)
        }
        DataType::U8 => view::<u8>(tensor),
        DataType::U16 => view::<u16>(tensor),
        DataType::U32 => view::<u32>(tensor),
        DataType::U64 => view::<u64>(tensor),
        DataType::I8 => view::<i8>(tensor),
        DataType::I16 => view::<i16>(tensor),
        DataType::I32 => view::<i32>(tensor),
        DataType::I64 => view::<i64>(tensor),
        DataType::F16 => view::<f16>(tensor),
        DataType::Bf16 => view::<bf16>(tensor),
        DataType::F32 => view::<f32>(tensor),
        DataType::F64 => view::<f64>(tensor),
        DataType::Bytes => strings::input(tensor).map(Into::into),
    }
}

/// The tensor's own bytes if they are aligned, otherwise an aligned copy.
fn view<T>(tensor: &Tensor) -> Result<SessionInputValue<'_>, BackendError>
where
    T: PrimitiveTensorElementType + bytemuck::Pod + Debug + 'static,
{
    let value = match bytemuck::try_cast_slice::<u8, T>(tensor.data()) {
        Ok(elements) => TensorRef::from_array_view((tensor.shape(), elements)).map(Into::into),
        Err(_) => {
            let elements = bytemuck::pod_collect_to_vec::<u8, T>(tensor.data());
            ort::value::Tensor::from_array((tensor.shape(), elements)).map(Into::into)
        }
    };
    value.map_err(failed)
}

fn output(value: &DynValue) -> Result<Tensor, BackendError> {
    let unsupported = || BackendError::Unsupported(format!("an output is {}", value.dtype()));
    let ty = value.dtype().tensor_type().and_then(data_type).ok_or_else(unsupported)?;
    let shape: Option<Vec<usize>> =
        value.shape().iter().map(|size| usize::try_from(*size).ok()).collect();
    let shape = shape.ok_or_else(unsupported)?;
    // For a tensor without elements, the library may return a null address.
    let count = tensor::count(&shape).ok_or_else(unsupported)?;
    let data = if count == 0 { Bytes::new() } else { data(ty, value, count)? };
    Tensor::new(ty, shape, data).map_err(|error| BackendError::Failed(error.to_string()))
}

fn data(ty: DataType, value: &DynValue, count: usize) -> Result<Bytes, BackendError> {
    fn copy<T>(value: &DynValue) -> Result<Bytes, BackendError>
    where
        T: PrimitiveTensorElementType + bytemuck::NoUninit,
    {
        let (_, elements) = value.try_extract_tensor::<T>().map_err(failed)?;
        Ok(Bytes::copy_from_slice(bytemuck::cast_slice(elements)))
    }
    match ty {
        DataType::Bool => copy::<bool>(value),
        DataType::U8 => copy::<u8>(value),
        DataType::U16 => copy::<u16>(value),
        DataType::U32 => copy::<u32>(value),
        DataType::U64 => copy::<u64>(value),
        DataType::I8 => copy::<i8>(value),
        DataType::I16 => copy::<i16>(value),
        DataType::I32 => copy::<i32>(value),
        DataType::I64 => copy::<i64>(value),
        DataType::F16 => copy::<f16>(value),
        DataType::Bf16 => copy::<bf16>(value),
        DataType::F32 => copy::<f32>(value),
        DataType::F64 => copy::<f64>(value),
        DataType::Bytes => strings::output(value, count),
    }
}
