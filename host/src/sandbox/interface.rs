//! Reads a component's exported functions: where they are and what types they take.
//!
//! Only functions that the bundle's manifest declares are looked at; some toolchains export strays. What cannot be called
//! with JSON or tensors is refused when the bundle is deployed, not when it is called.

use wasmtime::Engine;
use wasmtime::component::types::{self, ComponentFunc, ComponentItem};
use wasmtime::component::{Component, ComponentExportIndex, ResourceType};

use super::http::Preview;
use super::stream::SIZES;
use super::{SandboxError, canonical};
use crate::id::FunctionName;
use crate::value::{Case, Field, Type};

/// The export that serves named tensors (`wit/plugin.wit`).
const INFERENCE_EXPORT: &str = "hospes:plugin/inference@0.1.0#infer";

/// The import that defines the resource `tensor`.
const TENSOR_INTERFACE: &str = "wasi:nn/tensor@0.2.0-rc-2024-10-28";

/// Deepest nesting of types. Recursion over types is bounded by it.
const TYPE_DEPTH_MAX: usize = 32;

/// Most nodes in the types of one function.
const TYPE_NODES_MAX: usize = 10_000;

/// A function that a bundle's manifest declares.
#[derive(Debug, Clone)]
pub struct Declared {
    /// What callers name it.
    pub name: FunctionName,
    /// Where the component exports it: `detect`, or `package:name/interface@version#detect`.
    pub export: String,
}

/// A function of a compiled component that can be called.
#[derive(Debug, Clone)]
pub struct GuestFunction {
    pub(super) name: FunctionName,
    pub(super) index: ComponentExportIndex,
    pub(super) signature: Signature,
    /// Whether there are tensors among its values.
    pub(super) hands_tensors: bool,
}

impl GuestFunction {
    /// What callers name it.
    pub fn name(&self) -> &FunctionName {
        &self.name
    }

    /// What it takes and gives.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Whether there are tensors among the values that it takes or gives.
    pub fn hands_tensors(&self) -> bool {
        self.hands_tensors
    }
}

/// What a function takes and gives.
#[derive(Debug, Clone, PartialEq)]
pub enum Signature {
    /// Named tensors, as handles: `hospes:plugin/inference`.
    Tensors,
    /// WIT values.
    Values { params: Vec<Field>, result: Option<Type> },
    /// An `async` function that answers with a stream of such elements, or, if `fallible`, refuses with a text.
    Stream { params: Vec<Field>, element: Type, fallible: bool },
    /// A request of HTTP and its response: a handler of `wasi:http`.
    Http(Preview),
}

impl Signature {
    /// The type of what a call answers with: for a `result`, the payload of its `ok`. None for tensors and for nothing.
    pub fn answer(&self) -> Option<&Type> {
        match self {
            Signature::Tensors
            | Signature::Stream { .. }
            | Signature::Http(_)
            | Signature::Values { result: None, .. } => None,
            Signature::Values { result: Some(Type::Result { ok, .. }), .. } => ok.as_deref(),
            Signature::Values { result: Some(other), .. } => Some(other),
        }
    }

    /// The type of what a call refuses with.
    pub fn refusal(&self) -> Option<&Type> {
        match self {
            Signature::Values { result: Some(Type::Result { err, .. }), .. } => err.as_deref(),
            Signature::Tensors | Signature::Stream { fallible: true, .. } => Some(&Type::String),
            Signature::Stream { .. } | Signature::Http(_) | Signature::Values { .. } => None,
        }
    }
}

/// Finds `declared` among the exports of `component`, which knows the host's tensors as `tensor`.
pub(super) fn function(
    engine: &Engine,
    component: &Component,
    tensor: Option<&ResourceType>,
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
    let unsupported = |what: &'static str| SandboxError::UnsupportedType {
        function: declared.name.clone(),
        what,
    };
    let (signature, hands_tensors) = if let Some(preview) = Preview::of_export(&declared.export) {
        check_handler(&ty, preview).map_err(unsupported)?;
        (Signature::Http(preview), false)
    } else if ty.async_() {
        (stream(&ty).map_err(unsupported)?, false)
    } else if declared.export == INFERENCE_EXPORT {
        check_inference(engine, &ty).map_err(unsupported)?;
        (Signature::Tensors, false)
    } else {
        values(&ty, tensor).map_err(unsupported)?
    };
    Ok(GuestFunction { name: declared.name, index, signature, hands_tensors })
}

/// The resource that a component knows the host's tensors as, if it imports them.
pub(super) fn tensor_of(engine: &Engine, component: &Component) -> Option<ResourceType> {
    let ty = component.component_type();
    let mut imports = ty.imports(engine);
    let (_, interface) = imports.find(|(name, _)| *name == TENSOR_INTERFACE)?;
    let ComponentItem::ComponentInstance(interface) = interface.ty else { return None };
    match interface.get_export(engine, "tensor")?.ty {
        ComponentItem::Resource(resource) => Some(resource),
        _ => None,
    }
}

/// The export's name promises a type; a component made by hand could break the promise.
fn check_inference(_engine: &Engine, ty: &ComponentFunc) -> Result<(), &'static str> {
    const WRONG: &str = "an `infer` that is not the one of `hospes:plugin/inference`";
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

/// As above, of a handler. What its resources are is checked when it is called.
fn check_handler(ty: &ComponentFunc, preview: Preview) -> Result<(), &'static str> {
    let params: Vec<_> = ty.params().map(|(_, ty)| ty).collect();
    let results: Vec<_> = ty.results().collect();
    let fits = match (preview, params.as_slice(), results.as_slice()) {
        (Preview::Two, [types::Type::Own(_), types::Type::Own(_)], []) => true,
        (Preview::Three, [types::Type::Own(_)], [types::Type::Result(_)]) => ty.async_(),
        _ => false,
    };
    if fits { Ok(()) } else { Err("a `handle` that is not the one of `wasi:http`") }
}

fn values(
    ty: &ComponentFunc,
    tensor: Option<&ResourceType>,
) -> Result<(Signature, bool), &'static str> {
    let mut reader = TypeReader { tensor: tensor.copied(), borrows: true, ..TypeReader::default() };
    let params = ty
        .params()
        .map(|(name, ty)| reader.read(&ty, 0).map(|ty| Field { name: name.into(), ty }))
        .collect::<Result<_, _>>()?;
    reader.borrows = false;
    let mut results = ty.results();
    let result = results.next().map(|ty| reader.read(&ty, 0)).transpose()?;
    match results.next() {
        None => Ok((Signature::Values { params, result }, reader.tensors > 0)),
        Some(_) => Err("several results"),
    }
}

fn stream(ty: &ComponentFunc) -> Result<Signature, &'static str> {
    const ANSWER: &str =
        "an `async` function that answers with neither `stream<T>` nor `result<stream<T>, string>`";
    let mut reader = TypeReader::default();
    let params = ty
        .params()
        .map(|(name, ty)| reader.read(&ty, 0).map(|ty| Field { name: name.into(), ty }))
        .collect::<Result<_, _>>()?;
    let results: Vec<_> = ty.results().collect();
    let (stream, fallible) = match results.as_slice() {
        [types::Type::Stream(stream)] => (stream.clone(), false),
        [types::Type::Result(result)] => match (result.ok(), result.err()) {
            (Some(types::Type::Stream(stream)), Some(types::Type::String)) => (stream, true),
            _ => return Err(ANSWER),
        },
        _ => return Err(ANSWER),
    };
    let element = stream.ty().ok_or("a stream of nothing")?;
    let element = reader.read(&element, 0)?;
    if element != Type::U8 && !SIZES.contains(&canonical::size(&element)) {
        return Err("a stream whose elements are larger than 64 bytes");
    }
    Ok(Signature::Stream { params, element, fallible })
}

#[derive(Default)]
struct TypeReader {
    nodes: usize,
    /// What the component knows the host's tensors as, if it does and they may be read.
    tensor: Option<ResourceType>,
    /// How many there were.
    tensors: usize,
    /// Whether a borrowed one will do: of parameters.
    borrows: bool,
}

impl TypeReader {
    /// Whether a resource is the host's tensor; then it is counted.
    fn is_tensor(&mut self, resource: &ResourceType) -> bool {
        let is_tensor = self.tensor.as_ref() == Some(resource);
        self.tensors += usize::from(is_tensor);
        is_tensor
    }

    fn read(&mut self, ty: &types::Type, depth: usize) -> Result<Type, &'static str> {
        self.nodes += 1;
        if depth > TYPE_DEPTH_MAX {
            return Err("a type nested more than 32 deep");
        }
        if self.nodes > TYPE_NODES_MAX {
            return Err("types of more than 10000 parts");
        }
        let next = depth + 1;
        Ok(match ty {
            types::Type::Bool => Type::Bool,
            types::Type::S8 => Type::S8,
            types::Type::U8 => Type::U8,
            types::Type::S16 => Type::S16,
            types::Type::U16 => Type::U16,
            types::Type::S32 => Type::S32,
            types::Type::U32 => Type::U32,
            types::Type::S64 => Type::S64,
            types::Type::U64 => Type::U64,
            types::Type::Float32 => Type::F32,
            types::Type::Float64 => Type::F64,
            types::Type::Char => Type::Char,
            types::Type::String => Type::String,
            types::Type::List(list) => Type::List(Box::new(self.read(&list.ty(), next)?)),
            types::Type::Record(record) => Type::Record(
                record
                    .fields()
                    .map(|field| {
                        let ty = self.read(&field.ty, next)?;
                        Ok(Field { name: field.name.into(), ty })
                    })
                    .collect::<Result<_, &'static str>>()?,
            ),
            types::Type::Tuple(tuple) => Type::Tuple(
                tuple
                    .types()
                    .map(|ty| self.read(&ty, next))
                    .collect::<Result<_, &'static str>>()?,
            ),
            types::Type::Variant(variant) => Type::Variant(
                variant
                    .cases()
                    .map(|case| {
                        let ty = case.ty.map(|ty| self.read(&ty, next)).transpose()?;
                        Ok(Case { name: case.name.into(), ty })
                    })
                    .collect::<Result<_, &'static str>>()?,
            ),
            types::Type::Enum(names) => Type::Enum(names.names().map(Into::into).collect()),
            types::Type::Option(option) => Type::Option(Box::new(self.read(&option.ty(), next)?)),
            types::Type::Result(result) => Type::Result {
                ok: result.ok().map(|ty| self.read(&ty, next).map(Box::new)).transpose()?,
                err: result.err().map(|ty| self.read(&ty, next).map(Box::new)).transpose()?,
            },
            types::Type::Flags(flags) => Type::Flags(flags.names().map(Into::into).collect()),
            types::Type::Map(_) => return Err("a `map`"),
            types::Type::FixedLengthList(_) => return Err("a list of fixed length"),
            types::Type::Own(resource) if self.is_tensor(resource) => Type::Tensor,
            types::Type::Borrow(resource) if self.borrows && self.is_tensor(resource) => {
                Type::Tensor
            }
            types::Type::Own(_) | types::Type::Borrow(_) => return Err("a resource of its own"),
            types::Type::Future(_) => return Err("a `future`"),
            types::Type::Stream(_) => return Err("a `stream`"),
            types::Type::ErrorContext => return Err("an `error-context`"),
        })
    }
}
