//! Reads a component's exported functions: their location and types.
//!
//! Only functions that the bundle's manifest declares are read; some toolchains export strays. A function that JSON and tensors cannot call
//! is rejected when the bundle is deployed.

mod pool;
mod reader;
mod resources;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wasmtime::Engine;
use wasmtime::component::types::{self, ComponentFunc, ComponentItem};
use wasmtime::component::{Component, ComponentExportIndex};

pub use self::pool::TypesExceed;
pub(super) use self::pool::{Pool, TypeLimits};
use self::reader::TypeReader;
pub(super) use self::resources::Resources;
use super::http::Preview;
use super::slice::Pace;
use super::stream::SIZES;
use super::{SandboxError, canonical};
use crate::id::FunctionName;
use crate::value::kept::fields;
use crate::value::{Field, Type};

/// The export that serves named tensors (`wit/plugin.wit`).
const INFERENCE_EXPORT: &str = "hospes:plugin/inference@0.1.0#infer";

/// A function that a bundle's manifest declares.
#[derive(Debug, Clone)]
pub struct Declared {
    /// The name for callers.
    pub name: FunctionName,
    /// The export: `detect`, or `package:name/interface@version#detect`.
    pub export: String,
}

/// A function as its callers see it. It is known without the function's code.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prototype {
    name: FunctionName,
    signature: FunctionType,
    /// Whether its parameters or results contain tensors.
    hands_tensors: bool,
}

impl Prototype {
    /// The name for callers.
    pub fn name(&self) -> &FunctionName {
        &self.name
    }

    /// Its signature.
    pub fn signature(&self) -> &FunctionType {
        &self.signature
    }

    /// Whether its parameters or results contain tensors.
    pub fn hands_tensors(&self) -> bool {
        self.hands_tensors
    }
}

/// A callable function of a compiled component.
#[derive(Debug, Clone)]
pub struct GuestFunction {
    pub(super) name: FunctionName,
    pub(super) index: ComponentExportIndex,
    pub(super) signature: FunctionType,
    pub(super) handles: Handles,
    /// How long its calls usually compute.
    pub(super) pace: Pace,
}

/// The handles among a function's values.
#[derive(Debug, Clone, Default)]
pub(super) struct Handles {
    /// Whether there are tensors.
    pub(super) tensors: bool,
    /// The constructors of the plugin's own resources among its parameters, by [`Constructor::position`](crate::value::Constructor).
    pub(super) constructors: Vec<ComponentExportIndex>,
}

impl GuestFunction {
    /// The name for callers.
    pub fn name(&self) -> &FunctionName {
        &self.name
    }

    /// What its callers see.
    pub fn prototype(&self) -> Prototype {
        Prototype {
            name: self.name.clone(),
            signature: self.signature.clone(),
            hands_tensors: self.handles.tensors,
        }
    }
}

/// A function's signature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FunctionType {
    /// Named tensors, as handles: `hospes:plugin/inference`.
    Tensors,
    /// WIT values.
    Values {
        #[serde(with = "fields")]
        params: Arc<[Field]>,
        result: Option<Type>,
    },
    /// An `async` function that returns a stream of such elements or, if `fallible`, an error text.
    Stream {
        #[serde(with = "fields")]
        params: Arc<[Field]>,
        element: Type,
        fallible: bool,
    },
    /// An HTTP request and its response: a handler of `wasi:http`.
    Http(Preview),
}

impl FunctionType {
    /// The type of a call's response: for a `result`, its `ok` payload. `None` for tensors and for functions without a result.
    pub fn answer(&self) -> Option<&Type> {
        match self {
            FunctionType::Tensors
            | FunctionType::Stream { .. }
            | FunctionType::Http(_)
            | FunctionType::Values { result: None, .. } => None,
            FunctionType::Values { result: Some(Type::Result { ok, .. }), .. } => ok.as_deref(),
            FunctionType::Values { result: Some(other), .. } => Some(other),
        }
    }

    /// The type of a call's error.
    pub fn refusal(&self) -> Option<&Type> {
        match self {
            FunctionType::Values { result: Some(Type::Result { err, .. }), .. } => err.as_deref(),
            FunctionType::Tensors | FunctionType::Stream { fallible: true, .. } => {
                Some(&Type::String)
            }
            FunctionType::Stream { .. } | FunctionType::Http(_) | FunctionType::Values { .. } => {
                None
            }
        }
    }
}

/// Why a function's types are not supported.
#[derive(Debug, Clone, Copy)]
pub(super) enum Refused {
    /// Because of a type among them.
    Type(&'static str),
    /// Because the bundle has too many.
    Exceed(TypesExceed),
}

impl From<&'static str> for Refused {
    fn from(what: &'static str) -> Self {
        Refused::Type(what)
    }
}

impl From<TypesExceed> for Refused {
    fn from(exceed: TypesExceed) -> Self {
        Refused::Exceed(exceed)
    }
}

/// Finds `declared` among the exports of `component`, which has `resources`. Its types go into `pool`.
pub(super) fn function(
    engine: &Engine,
    component: &Component,
    resources: &Resources,
    pool: &mut Pool,
    declared: Declared,
) -> Result<GuestFunction, SandboxError> {
    let missing = || SandboxError::NoExport { export: declared.export.clone() };
    let (item, index) = match declared.export.split_once('#') {
        None => component.get_export(None, declared.export.as_str()),
        Some((interface, function)) => component
            .get_export_index(None, interface)
            .and_then(|interface| component.get_export(Some(&interface), function)),
    }
    .ok_or_else(missing)?;
    let ComponentItem::ComponentFunc(ty) = item else { return Err(missing()) };
    let unsupported = |refused: Refused| match refused {
        Refused::Type(what) => {
            SandboxError::UnsupportedType { function: declared.name.clone(), what }
        }
        Refused::Exceed(exceed) => SandboxError::Types(exceed),
    };
    let (signature, handles) = if let Some(preview) = Preview::of_export(&declared.export) {
        check_handler(&ty, preview).map_err(|what| unsupported(what.into()))?;
        (FunctionType::Http(preview), Handles::default())
    } else if ty.async_() {
        stream(&ty, resources, pool).map_err(unsupported)?
    } else if declared.export == INFERENCE_EXPORT {
        check_inference(engine, &ty).map_err(|what| unsupported(what.into()))?;
        (FunctionType::Tensors, Handles::default())
    } else {
        values(&ty, resources, pool).map_err(unsupported)?
    };
    Ok(GuestFunction { name: declared.name, index, signature, handles, pace: Pace::default() })
}

/// The export's name promises a type; a handmade component could break the promise.
fn check_inference(_engine: &Engine, ty: &ComponentFunc) -> Result<(), &'static str> {
    const WRONG: &str = "an `infer` that is not `hospes:plugin/inference`'s";
    fn is_named_tensors(ty: &types::Type) -> bool {
        let types::Type::List(list) = ty else { return false };
        let types::Type::Tuple(tuple) = list.ty() else { return false };
        let parts: Vec<_> = tuple.types().collect();
        matches!(parts.as_slice(), [types::Type::String, types::Type::Own(_)])
    }
    let params: Vec<_> = ty.params().map(|(_, ty)| ty).collect();
    let results: Vec<_> = ty.results().collect();
    let ([inputs], [types::Type::Result(result)]) = (params.as_slice(), results.as_slice()) else {
        return Err(WRONG);
    };
    let outputs = result.ok().is_some_and(|ok| is_named_tensors(&ok));
    let error = matches!(result.err(), Some(types::Type::String));
    if is_named_tensors(inputs) && outputs && error { Ok(()) } else { Err(WRONG) }
}

/// The same for a handler. Its resources are checked when it is called.
fn check_handler(ty: &ComponentFunc, preview: Preview) -> Result<(), &'static str> {
    let params: Vec<_> = ty.params().map(|(_, ty)| ty).collect();
    let results: Vec<_> = ty.results().collect();
    let fits = match (preview, params.as_slice(), results.as_slice()) {
        (Preview::Two, [types::Type::Own(_), types::Type::Own(_)], []) => true,
        (Preview::Three, [types::Type::Own(_)], [types::Type::Result(_)]) => ty.async_(),
        _ => false,
    };
    if fits { Ok(()) } else { Err("a `handle` that is not `wasi:http`'s") }
}

fn values(
    ty: &ComponentFunc,
    resources: &Resources,
    pool: &mut Pool,
) -> Result<(FunctionType, Handles), Refused> {
    let mut reader = TypeReader::of_params(resources, pool);
    let params = reader.params(ty.params())?;
    let mut results = ty.results();
    let result = results.next().map(|ty| reader.result(&ty)).transpose()?;
    match results.next() {
        None => Ok((FunctionType::Values { params, result }, reader.handles())),
        Some(_) => Err("several results".into()),
    }
}

fn stream(
    ty: &ComponentFunc,
    resources: &Resources,
    pool: &mut Pool,
) -> Result<(FunctionType, Handles), Refused> {
    const ANSWER: &str =
        "an `async` function that returns neither `stream<T>` nor `result<stream<T>, string>`";
    let mut reader = TypeReader::of_params(resources, pool);
    let params = reader.params(ty.params())?;
    let results: Vec<_> = ty.results().collect();
    let (stream, fallible) = match results.as_slice() {
        [types::Type::Stream(stream)] => (stream.clone(), false),
        [types::Type::Result(result)] => match (result.ok(), result.err()) {
            (Some(types::Type::Stream(stream)), Some(types::Type::String)) => (stream, true),
            _ => return Err(ANSWER.into()),
        },
        _ => return Err(ANSWER.into()),
    };
    let element = stream.ty().ok_or("a stream of nothing")?;
    let element = reader.element(&element)?;
    if element != Type::U8 && !SIZES.contains(&canonical::size(&element)) {
        return Err("a stream whose elements are larger than 64 bytes".into());
    }
    Ok((FunctionType::Stream { params, element, fallible }, reader.handles()))
}
