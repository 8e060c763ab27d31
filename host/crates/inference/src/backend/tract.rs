//! tract is written in Rust, memory-safe and always built in. It suits models that nobody has vetted.
//!
//! It needs concrete shapes, so a model has a plan for each set of shapes that callers send. The latest few plans are kept. tract has no
//! tensors of strings or bfloat16, and treats an input with a default value in the model (an initialiser) as a constant.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use half::f16;
use tract_onnx::prelude::{
    Datum, DatumType, Framework as _, InferenceFact, InferenceModel, InferenceModelExt as _,
    IntoRunnable as _, TVec, TypedSimplePlan,
};
use tract_onnx::tract_hir::infer::Factoid as _;

use super::{
    Backend, BackendError, Begin, Context, Model, Needs, Source, TRACT_CHARS_MAX, one_line,
};
use crate::signature::{ModelSignature, OutputSpec, TensorSpec};
use hospes_core::tensor::{DataType, Tensor};

/// Maximum plans kept for one model. Making a plan takes as long as loading the model.
const PLANS_MAX: usize = 8;

/// The backend.
pub struct Tract;

/// tract has nothing to open.
pub(super) fn open(_needs: &Needs<'_>) -> Result<Arc<dyn Backend>, BackendError> {
    Ok(Arc::new(Tract))
}

/// As [`open`].
pub(super) fn map(_needs: &Needs<'_>) -> Result<Begin, BackendError> {
    Ok(Box::new(|| Ok(Arc::new(Tract))))
}

impl Backend for Tract {
    fn describe(&self) -> String {
        "built in".into()
    }

    fn load(&self, source: Source<'_>) -> Result<Box<dyn Model>, BackendError> {
        let Source::Model(model) = source else {
            return Err(BackendError::Unsupported("`tract` maps no weights".into()));
        };
        // Exporters write inner shapes that contradict the concrete shapes of a call. tract infers them itself.
        let reader =
            tract_onnx::onnx().with_ignore_value_info(true).with_ignore_output_shapes(true);
        let model = reader.model_for_read(&mut &*model).map_err(|error| failed(&error))?;
        let signature = signature(&model).map_err(|error| failed(&error))??;
        let loaded = Loaded { model, signature, plans: Mutex::default() };
        loaded.check()?;
        Ok(Box::new(loaded))
    }
}

fn failed(error: &tract_onnx::prelude::TractError) -> BackendError {
    let whole = format!("{error:#}");
    let text = one_line(&whole, TRACT_CHARS_MAX);
    // tract cannot follow every length that depends on values. Each computation that reaches such a length fails.
    if whole.contains("SymbolScope") {
        let text = format!("tract cannot follow a shape that depends on values: {text}");
        return BackendError::Defect(text);
    }
    BackendError::Failed(text)
}

type Plan = Arc<TypedSimplePlan>;
type Shapes = Vec<Vec<usize>>;

struct Loaded {
    model: InferenceModel,
    signature: ModelSignature,
    /// In order of use, the latest last.
    plans: Mutex<Vec<(Shapes, Plan)>>,
}

impl Loaded {
    /// Makes a plan with one element for each open dimension, so that loading rejects a model that cannot run at all.
    fn check(&self) -> Result<(), BackendError> {
        let shape =
            |spec: &TensorSpec| spec.shape.iter().flatten().map(|size| size.unwrap_or(1)).collect();
        self.plan(&self.signature.inputs.iter().map(shape).collect::<Shapes>()).map(drop)
    }

    fn plan(&self, shapes: &Shapes) -> Result<Plan, BackendError> {
        let mut plans = self.plans.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let plan = match plans.iter().position(|(known, _)| known == shapes) {
            Some(index) => plans.remove(index).1,
            None => {
                // The lock is held meanwhile, so that two callers with the same new shapes make only one plan.
                let plan = self.make(shapes).map_err(|error| failed(&error))?;
                if plans.len() == PLANS_MAX {
                    plans.remove(0);
                }
                plan
            }
        };
        plans.push((shapes.clone(), Arc::clone(&plan)));
        Ok(plan)
    }

    fn make(&self, shapes: &Shapes) -> tract_onnx::prelude::TractResult<Plan> {
        let mut model = self.model.clone();
        for (index, (spec, shape)) in self.signature.inputs.iter().zip(shapes).enumerate() {
            let known =
                datum_type(spec.data_type).map_or_else(InferenceFact::any, InferenceFact::dt);
            model.set_input_fact(index, known.with_shape(shape.as_slice()))?;
        }
        model.into_optimized()?.into_runnable()
    }
}

impl Model for Loaded {
    fn signature(&self) -> &ModelSignature {
        &self.signature
    }

    /// tract cannot be stopped.
    fn run(
        &self,
        inputs: &[Option<Tensor>],
        context: &Context<'_>,
    ) -> Result<Vec<Tensor>, BackendError> {
        let shapes = inputs.iter().flatten().map(|tensor| tensor.shape().to_vec()).collect();
        let plan = self.plan(&shapes)?;
        // The last chance to stop: tract cannot be stopped while it computes. Making the plan may have taken long.
        if context.stop.is_stopped() {
            return Err(BackendError::Failed("the computation was cancelled".into()));
        }
        let values = inputs.iter().flatten().map(|tensor| input(tensor).map(Into::into));
        let values = values.collect::<Result<TVec<_>, _>>()?;
        let outputs = plan.run(values).map_err(|error| failed(&error))?;
        outputs.iter().map(|value| output(value)).collect()
    }
}

fn signature(
    model: &InferenceModel,
) -> tract_onnx::prelude::TractResult<Result<ModelSignature, BackendError>> {
    let size = |size: &tract_onnx::tract_hir::infer::DimFact| {
        size.concretize()
            .and_then(|dim| dim.to_i64().ok())
            .and_then(|size| usize::try_from(size).ok())
    };
    let mut inputs = Vec::new();
    for outlet in model.input_outlets()? {
        let name = model.node(outlet.node).name.clone();
        let fact = model.outlet_fact(*outlet)?;
        let Some(data_type) = fact.datum_type.concretize().and_then(data_type) else {
            let text =
                format!("input `{name}` is {}, which tract does not take", fact.format_dt_shape());
            return Ok(Err(BackendError::Unsupported(text)));
        };
        if fact.shape.rank().concretize().is_none() {
            let text = format!("input `{name}` may have any number of dimensions");
            return Ok(Err(BackendError::Unsupported(text)));
        }
        let shape = Some(fact.shape.dims().map(size).collect());
        inputs.push(TensorSpec { name, data_type, shape, optional: false });
    }
    let mut outputs = Vec::new();
    for outlet in model.output_outlets()? {
        let name = model.outlet_label(*outlet).unwrap_or(&model.node(outlet.node).name).to_owned();
        let fact = model.outlet_fact(*outlet)?;
        let is_known = fact.shape.rank().concretize().is_some();
        let shape = is_known.then(|| fact.shape.dims().map(size).collect());
        let data_type = fact.datum_type.concretize().and_then(data_type);
        outputs.push(OutputSpec { name, data_type, shape });
    }
    Ok(Ok(ModelSignature { inputs, outputs }))
}

/// `None` if tract has no such type.
fn datum_type(ty: DataType) -> Option<DatumType> {
    match ty {
        DataType::Bool => Some(DatumType::Bool),
        DataType::U8 => Some(DatumType::U8),
        DataType::U16 => Some(DatumType::U16),
        DataType::U32 => Some(DatumType::U32),
        DataType::U64 => Some(DatumType::U64),
        DataType::I8 => Some(DatumType::I8),
        DataType::I16 => Some(DatumType::I16),
        DataType::I32 => Some(DatumType::I32),
        DataType::I64 => Some(DatumType::I64),
        DataType::F16 => Some(DatumType::F16),
        DataType::F32 => Some(DatumType::F32),
        DataType::F64 => Some(DatumType::F64),
        DataType::Bf16 | DataType::Bytes => None,
    }
}

fn data_type(ty: DatumType) -> Option<DataType> {
    DataType::ALL.into_iter().find(|known| datum_type(*known) == Some(ty))
}

fn input(tensor: &Tensor) -> Result<tract_onnx::prelude::Tensor, BackendError> {
    fn copy<T: Datum + bytemuck::Pod>(
        tensor: &Tensor,
    ) -> Result<tract_onnx::prelude::Tensor, BackendError> {
        let elements = bytemuck::pod_collect_to_vec::<u8, T>(tensor.data());
        tract_onnx::prelude::Tensor::from_shape(tensor.shape(), &elements)
            .map_err(|error| failed(&error))
    }
    match tensor.data_type() {
        DataType::Bool => {
            let elements: Vec<bool> = tensor.data().iter().map(|byte| *byte != 0).collect();
            tract_onnx::prelude::Tensor::from_shape(tensor.shape(), &elements)
                .map_err(|error| failed(&error))
        }
        DataType::U8 => copy::<u8>(tensor),
        DataType::U16 => copy::<u16>(tensor),
        DataType::U32 => copy::<u32>(tensor),
        DataType::U64 => copy::<u64>(tensor),
        DataType::I8 => copy::<i8>(tensor),
        DataType::I16 => copy::<i16>(tensor),
        DataType::I32 => copy::<i32>(tensor),
        DataType::I64 => copy::<i64>(tensor),
        DataType::F16 => copy::<f16>(tensor),
        DataType::F32 => copy::<f32>(tensor),
        DataType::F64 => copy::<f64>(tensor),
        DataType::Bf16 | DataType::Bytes => Err(BackendError::Unsupported(format!(
            "tract has no tensors of {}",
            tensor.data_type()
        ))),
    }
}

fn output(value: &tract_onnx::prelude::Tensor) -> Result<Tensor, BackendError> {
    // tract keeps values computed from shapes as symbols. Callers get them as numbers.
    let value = if value.datum_type() == DatumType::TDim {
        value.cast_to::<i64>().map_err(|error| failed(&error))?
    } else {
        std::borrow::Cow::Borrowed(value)
    };
    let ty = value.datum_type();
    let data_type = data_type(ty).ok_or_else(|| {
        BackendError::Unsupported(format!("an output has elements of type {ty:?}"))
    })?;
    let data = Bytes::copy_from_slice(value.as_bytes());
    Tensor::new(data_type, value.shape().to_vec(), data)
        .map_err(|error| BackendError::Failed(error.to_string()))
}
