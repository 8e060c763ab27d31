//! Converts a function's types into those that callers can send and receive.

use std::sync::Arc;

use wasmtime::component::ResourceType;
use wasmtime::component::types;

use super::pool::Pool;
use super::{Handles, Refused, Resources};
use crate::value::{Case, Constructor, Field, Type};

/// Maximum nesting of types. Bounds recursion over types.
const TYPE_DEPTH_MAX: usize = 32;

/// Maximum nodes in one function's types, counted at each use, because each use must be parsed in requests.
const TYPE_NODES_MAX: usize = 10_000;

/// The position of a type, which decides the permitted handles.
#[derive(Clone, Copy)]
enum Place {
    /// Parameters: callers can construct resources here.
    Params,
    /// Results: only what outlives the call.
    Result,
    /// Stream elements: no tensors either, because elements leave while the call runs.
    Elements,
}

/// Reads one function's types into its bundle's pool.
pub(super) struct TypeReader<'r> {
    resources: &'r Resources,
    pool: &'r mut Pool,
    nodes: usize,
    place: Place,
    handles: Handles,
}

impl<'r> TypeReader<'r> {
    /// Starts with the parameters.
    pub(super) fn of_params(resources: &'r Resources, pool: &'r mut Pool) -> Self {
        let (place, handles) = (Place::Params, Handles::default());
        Self { resources, pool, nodes: 0, place, handles }
    }

    /// The type of what the function returns.
    pub(super) fn result(&mut self, ty: &types::Type) -> Result<Type, Refused> {
        self.place = Place::Result;
        self.read(ty, 0)
    }

    /// The element type of the function's stream.
    pub(super) fn element(&mut self, ty: &types::Type) -> Result<Type, Refused> {
        self.place = Place::Elements;
        self.read(ty, 0)
    }

    /// The handles among the types read.
    pub(super) fn handles(self) -> Handles {
        self.handles
    }

    /// The function's parameters, by name and type.
    pub(super) fn params<'n>(
        &mut self,
        params: impl Iterator<Item = (&'n str, types::Type)>,
    ) -> Result<Arc<[Field]>, Refused> {
        self.fields(params, 0)
    }

    fn fields<'n>(
        &mut self,
        fields: impl Iterator<Item = (&'n str, types::Type)>,
        depth: usize,
    ) -> Result<Arc<[Field]>, Refused> {
        let fields = fields.map(|(name, ty)| {
            let ty = self.read(&ty, depth)?;
            Ok(Field { name: self.pool.name(name)?, ty })
        });
        let fields = fields.collect::<Result<Vec<_>, Refused>>()?;
        Ok(self.pool.fields(fields)?)
    }

    /// The host's tensor, or a plugin's resource that the host can construct.
    fn resource(&mut self, resource: &ResourceType, depth: usize) -> Result<Type, Refused> {
        match (self.place, self.resources.is_tensor(resource)) {
            (Place::Params | Place::Result, true) => {
                self.handles.tensors = true;
                return Ok(Type::Tensor);
            }
            (Place::Params, false) => {}
            (Place::Result | Place::Elements, _) => {
                return Err("a resource in its result, which would not outlive the call".into());
            }
        }
        let made = self.resources.made(resource);
        let made = made.ok_or("a resource that has no constructor, or one that may fail")?;
        let known = &mut self.handles.constructors;
        let position = known.iter().position(|index| *index == made.index);
        let position = position.unwrap_or_else(|| {
            known.push(made.index);
            known.len() - 1
        });
        let params = self.fields(made.ty.params(), depth)?;
        let resource = self.pool.name(&made.name)?;
        Ok(Type::Resource(self.pool.constructor(Constructor { resource, position, params })?))
    }

    fn read(&mut self, ty: &types::Type, depth: usize) -> Result<Type, Refused> {
        self.nodes += 1;
        if depth > TYPE_DEPTH_MAX {
            return Err("a type nested more than 32 deep".into());
        }
        if self.nodes > TYPE_NODES_MAX {
            return Err("types with more than 10000 parts".into());
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
            types::Type::List(list) => Type::List(self.shared(&list.ty(), next)?),
            types::Type::Record(record) => Type::Record(
                self.fields(record.fields().map(|field| (field.name, field.ty)), next)?,
            ),
            types::Type::Tuple(tuple) => {
                let types = tuple.types().map(|ty| self.read(&ty, next));
                let types = types.collect::<Result<Vec<_>, Refused>>()?;
                Type::Tuple(self.pool.tuple(types)?)
            }
            types::Type::Variant(variant) => {
                let cases = variant.cases().map(|case| {
                    let ty = case.ty.map(|ty| self.read(&ty, next)).transpose()?;
                    Ok(Case { name: self.pool.name(case.name)?, ty })
                });
                let cases = cases.collect::<Result<Vec<_>, Refused>>()?;
                Type::Variant(self.pool.cases(cases)?)
            }
            types::Type::Enum(names) => Type::Enum(self.pool.names(names.names())?),
            types::Type::Option(option) => Type::Option(self.shared(&option.ty(), next)?),
            types::Type::Result(result) => Type::Result {
                ok: result.ok().map(|ty| self.shared(&ty, next)).transpose()?,
                err: result.err().map(|ty| self.shared(&ty, next)).transpose()?,
            },
            types::Type::Flags(flags) => Type::Flags(self.pool.names(flags.names())?),
            types::Type::Map(_) => return Err("a `map`".into()),
            types::Type::FixedLengthList(_) => return Err("a list of fixed length".into()),
            // A result cannot borrow.
            types::Type::Own(resource) | types::Type::Borrow(resource) => {
                self.resource(resource, next)?
            }
            types::Type::Future(_) => return Err("a `future`".into()),
            types::Type::Stream(_) => return Err("a `stream`".into()),
            types::Type::ErrorContext => return Err("an `error-context`".into()),
        })
    }

    fn shared(&mut self, ty: &types::Type, depth: usize) -> Result<Arc<Type>, Refused> {
        let ty = self.read(ty, depth)?;
        Ok(self.pool.share(ty)?)
    }
}
