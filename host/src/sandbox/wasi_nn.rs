//! The host side of `wasi:nn` (0.2.0-rc-2024-10-28): the only bridge between guests and native inference.
//!
//! Our own, because the reference host computes synchronously, holds one lock per graph, and a guest can make it panic. `load` from guest
//! bytes is denied: it would pass untrusted bytes to a native parser. `load-by-name` sees only the guest's own bundle. A tensor that a
//! guest only passes on is never copied.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::component::Resource;

use super::bindings::wasi::nn::errors::{self, ErrorCode};
use super::bindings::wasi::nn::graph::{self, ExecutionTarget, GraphEncoding};
use super::bindings::wasi::nn::inference;
use super::bindings::wasi::nn::tensor::{self, TensorType};
use super::context::CallState;
use super::limits::LimitReached;
use super::slice;
use crate::inference::{ComputeError, ErrorClass, Graph, WORKERS_WAIT};
use crate::outcome::GuestFailure;
use crate::tensor::{DataType, Tensor, TensorError};
use crate::value::Value;

/// A tensor with a guest handle.
pub enum GuestTensor {
    /// Its parts are consistent.
    Sound(Tensor),
    /// Its parts are inconsistent. The constructor cannot report that, so its use does.
    Defective { dimensions: Vec<u32>, ty: TensorType, data: Vec<u8>, why: TensorError },
}

/// A model that a guest has loaded by name.
pub struct GuestGraph(Arc<Graph>);

/// A guest's execution context. It keeps nothing between computations.
pub struct GuestContext(Arc<Graph>);

/// An error as a guest sees it.
pub struct GuestError {
    code: ErrorCode,
    data: String,
}

/// `wasi:nn` errors are values for the guest; only its own limits end the call.
type GuestResult<T> = wasmtime::Result<Result<T, Resource<GuestError>>>;

impl GuestTensor {
    fn byte_length(&self) -> usize {
        match self {
            GuestTensor::Sound(tensor) => tensor.data().len(),
            GuestTensor::Defective { data, .. } => data.len(),
        }
    }
}

impl CallState {
    /// Gives the guest a handle to `tensor`.
    pub(super) fn push_tensor(
        &mut self,
        tensor: GuestTensor,
    ) -> wasmtime::Result<Resource<GuestTensor>> {
        self.hold_tensor(tensor.byte_length())?;
        Ok(self.table.push(tensor)?)
    }

    /// Takes a tensor back from the guest.
    pub(super) fn take_tensor(
        &mut self,
        handle: Resource<GuestTensor>,
    ) -> wasmtime::Result<GuestTensor> {
        let tensor = self.table.delete(handle)?;
        self.release_tensor(tensor.byte_length());
        Ok(tensor)
    }

    /// Puts a tensor argument into the call's table.
    pub(super) fn hand_in(&mut self, value: &mut Value) -> wasmtime::Result<()> {
        if let Value::Tensor(tensor) = value {
            let handle = self.push_tensor(GuestTensor::Sound(tensor.clone()))?;
            *value = Value::Handle(handle.rep());
        }
        Ok(())
    }

    /// Takes the tensor behind a returned handle out of the call's table.
    pub(super) fn take_out(&mut self, value: &mut Value) -> wasmtime::Result<()> {
        if let Value::Handle(number) = value {
            match self.take_tensor(Resource::new_own(*number))? {
                GuestTensor::Sound(tensor) => *value = Value::Tensor(tensor),
                GuestTensor::Defective { why, .. } => {
                    return Err(wasmtime::format_err!("the answer is not a tensor: {why}"));
                }
            }
        }
        Ok(())
    }

    fn refuse<T>(&mut self, code: ErrorCode, data: impl Into<String>) -> GuestResult<T> {
        Ok(Err(self.table.push(GuestError { code, data: data.into() })?))
    }

    /// Takes the input tensors of a computation; their handles are consumed in any case.
    fn take_inputs(
        &mut self,
        handles: Vec<(String, Resource<GuestTensor>)>,
    ) -> wasmtime::Result<Result<Vec<(String, Tensor)>, String>> {
        let mut inputs = Vec::with_capacity(handles.len());
        let mut defect = None;
        for (name, handle) in handles {
            match self.take_tensor(handle)? {
                GuestTensor::Sound(tensor) => inputs.push((name, tensor)),
                GuestTensor::Defective { why, .. } => {
                    defect = Some(format!("input `{name}`: {why}"));
                }
            }
        }
        Ok(defect.map_or(Ok(inputs), Err))
    }
}

impl tensor::Host for CallState {}

impl tensor::HostTensor for CallState {
    fn new(
        &mut self,
        dimensions: Vec<u32>,
        ty: TensorType,
        data: Vec<u8>,
    ) -> wasmtime::Result<Resource<GuestTensor>> {
        self.check_started()?;
        let shape = dimensions.iter().map(|size| *size as usize).collect();
        // `Bytes` shares the allocation, so a defective tensor returns its bytes without a copy.
        let data = Bytes::from(data);
        let tensor = match Tensor::new(data_type(ty), shape, data.clone()) {
            Ok(tensor) => GuestTensor::Sound(tensor),
            Err(why) => GuestTensor::Defective { dimensions, ty, data: data.into(), why },
        };
        self.push_tensor(tensor)
    }

    fn dimensions(&mut self, handle: Resource<GuestTensor>) -> wasmtime::Result<Vec<u32>> {
        match self.table.get(&handle)? {
            GuestTensor::Sound(tensor) => tensor
                .shape()
                .iter()
                .map(|size| u32::try_from(*size).map_err(wasmtime::Error::new))
                .collect(),
            GuestTensor::Defective { dimensions, .. } => Ok(dimensions.clone()),
        }
    }

    fn ty(&mut self, handle: Resource<GuestTensor>) -> wasmtime::Result<TensorType> {
        match self.table.get(&handle)? {
            GuestTensor::Sound(tensor) => tensor_type(tensor.data_type()),
            GuestTensor::Defective { ty, .. } => Ok(*ty),
        }
    }

    async fn data(&mut self, handle: Resource<GuestTensor>) -> wasmtime::Result<Vec<u8>> {
        let bytes = self.table.get(&handle)?.byte_length();
        self.hold_copy(bytes)?;
        if slice::is_too_much_here(bytes) {
            slice::make_room().await;
        }
        match self.table.get(&handle)? {
            GuestTensor::Sound(tensor) => Ok(tensor.data().to_vec()),
            GuestTensor::Defective { data, .. } => Ok(data.clone()),
        }
    }

    fn drop(&mut self, handle: Resource<GuestTensor>) -> wasmtime::Result<()> {
        self.take_tensor(handle).map(drop)
    }
}

impl graph::Host for CallState {
    fn load(
        &mut self,
        _builder: Vec<Vec<u8>>,
        _encoding: GraphEncoding,
        _target: ExecutionTarget,
    ) -> GuestResult<Resource<GuestGraph>> {
        self.check_started()?;
        self.refuse(
            ErrorCode::Security,
            "models are loaded from the signed bundle only: pack the model and use `load-by-name`",
        )
    }

    fn load_by_name(&mut self, name: String) -> GuestResult<Resource<GuestGraph>> {
        self.check_started()?;
        match self.graphs.get(name.as_str()) {
            Some(graph) => {
                let graph = Arc::clone(graph);
                Ok(Ok(self.table.push(GuestGraph(graph))?))
            }
            None => {
                let mut names: Vec<_> =
                    self.graphs.keys().map(|name| format!("`{name}`")).collect();
                names.sort_unstable();
                let names = names.join(", ");
                self.refuse(ErrorCode::NotFound, format!("this bundle's models are: {names}"))
            }
        }
    }
}

impl graph::HostGraph for CallState {
    fn init_execution_context(
        &mut self,
        handle: Resource<GuestGraph>,
    ) -> GuestResult<Resource<GuestContext>> {
        let graph = Arc::clone(&self.table.get(&handle)?.0);
        Ok(Ok(self.table.push(GuestContext(graph))?))
    }

    fn drop(&mut self, handle: Resource<GuestGraph>) -> wasmtime::Result<()> {
        Ok(self.table.delete(handle).map(drop)?)
    }
}

impl inference::Host for CallState {}

impl inference::HostGraphExecutionContext for CallState {
    async fn compute(
        &mut self,
        handle: Resource<GuestContext>,
        inputs: Vec<(String, Resource<GuestTensor>)>,
    ) -> GuestResult<Vec<(String, Resource<GuestTensor>)>> {
        let graph = Arc::clone(&self.table.get(&handle)?.0);
        let inputs = match self.take_inputs(inputs)? {
            Ok(inputs) => inputs,
            Err(defect) => return self.refuse(ErrorCode::InvalidArgument, defect),
        };
        if let Some(gate) = &self.context.gate {
            gate.admit(&inputs).map_err(LimitReached::Gate)?;
        }
        match self.ends().bound(graph.compute(inputs, self.computes_for())).await? {
            Err(error) if error.class() == ErrorClass::Lost => Err(lost(&error).into()),
            // It would only wait for its end.
            Err(error) if error.class() == ErrorClass::Late => Err(LimitReached::Deadline.into()),
            Err(error) => self.refuse(error_code(&error), error.to_string()),
            Ok(outputs) => outputs
                .into_iter()
                .map(|(name, tensor)| Ok((name, self.push_tensor(GuestTensor::Sound(tensor))?)))
                .collect::<wasmtime::Result<Vec<_>>>()
                .map(Ok),
        }
    }

    fn drop(&mut self, handle: Resource<GuestContext>) -> wasmtime::Result<()> {
        Ok(self.table.delete(handle).map(drop)?)
    }
}

impl errors::Host for CallState {}

impl errors::HostError for CallState {
    fn code(&mut self, handle: Resource<GuestError>) -> wasmtime::Result<ErrorCode> {
        Ok(self.table.get(&handle)?.code)
    }

    fn data(&mut self, handle: Resource<GuestError>) -> wasmtime::Result<String> {
        Ok(self.table.get(&handle)?.data.clone())
    }

    fn drop(&mut self, handle: Resource<GuestError>) -> wasmtime::Result<()> {
        Ok(self.table.delete(handle).map(drop)?)
    }
}

fn data_type(ty: TensorType) -> DataType {
    match ty {
        TensorType::Fp16 => DataType::F16,
        TensorType::Fp32 => DataType::F32,
        TensorType::Fp64 => DataType::F64,
        TensorType::Bf16 => DataType::Bf16,
        TensorType::U8 => DataType::U8,
        TensorType::I32 => DataType::I32,
        TensorType::I64 => DataType::I64,
    }
}

/// The name that `wasi:nn` has for a type. It has none for most integers and for strings: a guest can pass such tensors
/// on, but not look at their type.
fn tensor_type(ty: DataType) -> wasmtime::Result<TensorType> {
    match ty {
        DataType::F16 => Ok(TensorType::Fp16),
        DataType::F32 => Ok(TensorType::Fp32),
        DataType::F64 => Ok(TensorType::Fp64),
        DataType::Bf16 => Ok(TensorType::Bf16),
        DataType::U8 | DataType::Bool => Ok(TensorType::U8),
        DataType::I32 => Ok(TensorType::I32),
        DataType::I64 => Ok(TensorType::I64),
        DataType::U16
        | DataType::U32
        | DataType::U64
        | DataType::I8
        | DataType::I16
        | DataType::Bytes => Err(wasmtime::format_err!("wasi:nn has no name for type {ty}")),
    }
}

fn error_code(error: &ComputeError) -> ErrorCode {
    match error.class() {
        ErrorClass::InvalidArgument => ErrorCode::InvalidArgument,
        ErrorClass::TooLarge => ErrorCode::TooLarge,
        ErrorClass::Busy | ErrorClass::Late | ErrorClass::Runtime | ErrorClass::Lost => {
            ErrorCode::RuntimeError
        }
        ErrorClass::Unsupported => ErrorCode::UnsupportedOperation,
    }
}

/// A lost computation ends the call: a retry would crash the next worker too.
fn lost(error: &ComputeError) -> LimitReached {
    let reason = error.to_string();
    LimitReached::Sink(match error {
        ComputeError::BackedOff { wait } => GuestFailure::ComputationPaused { reason, wait: *wait },
        ComputeError::Workers { .. } => {
            GuestFailure::ComputationPaused { reason, wait: WORKERS_WAIT }
        }
        _ => GuestFailure::ComputationLost { reason },
    })
}
