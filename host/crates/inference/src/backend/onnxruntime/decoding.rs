//! Runs of a decoder's graph that the host has written: weights stay where they are, and keys and values are changed in place.
//!
//! `ort` copies what is bound as an input and lets nothing be both an input and an output. The library does neither, so this talks to the
//! library itself.

use std::ffi::{CString, c_char};
use std::ptr;

use ort::AsPointer as _;
use ort::memory::MemoryInfo;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::sys;

use super::{FORMAT, OnnxRuntime, failed};
use crate::backend::BackendError;

/// A weight of the graph, where it lies. It is there until the process ends, as long as the library may read it.
#[derive(Debug, Clone)]
pub(crate) struct Weight {
    pub(crate) name: String,
    pub(crate) shape: Vec<i64>,
    pub(crate) numbers: Numbers,
}

/// A weight's elements, little-endian.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Numbers {
    F32(&'static [u8]),
    U8(&'static [u8]),
}

/// A graph with its weights.
pub(crate) struct Decoding {
    session: Session,
    memory: MemoryInfo<'static>,
    inputs: Vec<CString>,
    outputs: Vec<CString>,
}

/// A tensor in memory that is borrowed for a run.
pub(crate) enum Borrowed<'b> {
    F32(&'b mut [f32]),
    I32(&'b mut [i32]),
}

/// A tensor of the library, over memory of ours.
struct Value(ptr::NonNull<sys::OrtValue>);

impl Drop for Value {
    fn drop(&mut self) {
        // SAFETY: this owns the value, and nobody uses it afterwards.
        unsafe { (ort::api().ReleaseValue)(self.0.as_ptr()) };
    }
}

impl Decoding {
    /// Loads a graph. `inputs` and `outputs` are the names in the order in which [`Decoding::run`] gets them.
    pub(crate) fn load(
        runtime: &OnnxRuntime,
        graph: &[u8],
        weights: &[Weight],
        [inputs, outputs]: [Vec<String>; 2],
    ) -> Result<Self, BackendError> {
        let memory = MemoryInfo::default();
        let builder = || -> ort::Result<_> {
            Ok(Session::builder(&runtime.library.environment)?
                .with_optimization_level(GraphOptimizationLevel::All)?
                .with_intra_threads(1)?
                .with_inter_threads(1)?
                .with_intra_op_spinning(false)?
                .with_config_entry(FORMAT.0, FORMAT.1)?)
        };
        let mut builder = builder().map_err(failed)?;
        let values = weights.iter().map(|weight| {
            let (bytes, kind) = match weight.numbers {
                Numbers::F32(bytes) => (bytes, FLOAT),
                Numbers::U8(bytes) => (bytes, UINT8),
            };
            // The library only reads weights.
            value(&memory, (bytes.as_ptr().cast_mut().cast(), bytes.len()), &weight.shape, kind)
        });
        let values = values.collect::<Result<Vec<Value>, BackendError>>()?;
        let names = weights.iter().map(|weight| name(&weight.name));
        let names = names.collect::<Result<Vec<CString>, BackendError>>()?;
        let pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        let raw: Vec<*const sys::OrtValue> =
            values.iter().map(|value| value.0.as_ptr().cast_const()).collect();
        let add = ort::api().AddExternalInitializers;
        // SAFETY: both lists have as many elements as weights, and live until the call returns. The library keeps the values itself.
        // Their memory is there until the process ends.
        let status = unsafe { add(builder.ptr_mut(), pointers.as_ptr(), raw.as_ptr(), raw.len()) };
        check(status)?;
        let session = builder.commit_from_memory(graph).map_err(failed)?;
        let named = |names: Vec<String>| -> Result<Vec<CString>, BackendError> {
            names.iter().map(|one| name(one)).collect()
        };
        Ok(Self { session, memory, inputs: named(inputs)?, outputs: named(outputs)? })
    }

    /// Runs the graph. `inputs` are read; `outputs` are written; `both` are the last of the inputs and of the outputs, in the same order,
    /// and are changed in place.
    pub(crate) fn run(
        &mut self,
        inputs: Vec<(Borrowed<'_>, &[i64])>,
        outputs: Vec<(Borrowed<'_>, &[i64])>,
        both: Vec<(Borrowed<'_>, &[i64])>,
    ) -> Result<(), BackendError> {
        let made = |list: Vec<(Borrowed<'_>, &[i64])>| {
            let values = list.into_iter().map(|(borrowed, shape)| self.borrow(borrowed, shape));
            values.collect::<Result<Vec<Value>, BackendError>>()
        };
        let (read, written, changed) = (made(inputs)?, made(outputs)?, made(both)?);
        if read.len() + changed.len() != self.inputs.len()
            || written.len() + changed.len() != self.outputs.len()
        {
            return Err(BackendError::Failed("the graph has other inputs or outputs".into()));
        }
        let names = |names: &[CString]| -> Vec<*const c_char> {
            names.iter().map(|name| name.as_ptr()).collect()
        };
        let (input_names, output_names) = (names(&self.inputs), names(&self.outputs));
        let pointer = |value: &Value| value.0.as_ptr();
        let input_values: Vec<*const sys::OrtValue> =
            read.iter().chain(&changed).map(|value| pointer(value).cast_const()).collect();
        let mut output_values: Vec<*mut sys::OrtValue> =
            written.iter().chain(&changed).map(pointer).collect();
        let run = ort::api().Run;
        // SAFETY: the lists have as many elements as names, and live until the call returns; so does the memory of all values, which
        // nothing else uses meanwhile: `Borrowed` has it exclusively. The library writes to outputs that are there, and makes no others.
        let status = unsafe {
            run(
                self.session.ptr_mut(),
                ptr::null(),
                input_names.as_ptr(),
                input_values.as_ptr(),
                input_values.len(),
                output_names.as_ptr(),
                output_names.len(),
                output_values.as_mut_ptr(),
            )
        };
        check(status)
    }

    fn borrow(&self, borrowed: Borrowed<'_>, shape: &[i64]) -> Result<Value, BackendError> {
        let (data, kind) = match borrowed {
            Borrowed::F32(numbers) => ((numbers.as_mut_ptr().cast(), size_of_val(numbers)), FLOAT),
            Borrowed::I32(numbers) => ((numbers.as_mut_ptr().cast(), size_of_val(numbers)), INT32),
        };
        value(&self.memory, data, shape, kind)
    }
}

type Kind = sys::ONNXTensorElementDataType;
const FLOAT: Kind = Kind::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
const UINT8: Kind = Kind::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8;
const INT32: Kind = Kind::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32;

/// A tensor over memory. The library checks that the shape needs no more than there is.
fn value(
    memory: &MemoryInfo<'_>,
    (data, bytes): (*mut std::ffi::c_void, usize),
    shape: &[i64],
    kind: Kind,
) -> Result<Value, BackendError> {
    let make = ort::api().CreateTensorWithDataAsOrtValue;
    let mut made = ptr::null_mut();
    // SAFETY: the library keeps the address. All who call this keep the memory for as long as the value is used.
    let status = unsafe {
        make(memory.ptr(), data, bytes, shape.as_ptr(), shape.len(), kind, &raw mut made)
    };
    check(status)?;
    let made = ptr::NonNull::new(made);
    made.map(Value).ok_or_else(|| BackendError::Failed("the library made no tensor".into()))
}

fn check(status: sys::OrtStatusPtr) -> Result<(), BackendError> {
    // SAFETY: the library has just returned `status`, and nothing else owns it.
    unsafe { ort::Error::result_from_status(status) }.map_err(failed::<()>)
}

fn name(name: &str) -> Result<CString, BackendError> {
    CString::new(name).map_err(|_| BackendError::Failed("a name has a zero byte".into()))
}
