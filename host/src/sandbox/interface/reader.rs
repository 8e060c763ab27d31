//! Reads the types of a function, into those that callers can send and get.

use wasmtime::component::ResourceType;
use wasmtime::component::types;

use super::{Handles, Resources};
use crate::value::{Case, Constructor, Field, Type};

/// Deepest nesting of types. Recursion over types is bounded by it.
const TYPE_DEPTH_MAX: usize = 32;

/// Most nodes in the types of one function.
const TYPE_NODES_MAX: usize = 10_000;

/// Where a type is read, which decides about handles.
#[derive(Clone, Copy)]
enum Place {
    /// Callers can make what is here.
    Params,
    /// Only what outlives the call can be here.
    Result,
    /// Nor can tensors: elements are handed on one by one, while the call goes on.
    Elements,
}

/// Reads the types of one function.
pub(super) struct TypeReader<'r> {
    resources: &'r Resources,
    nodes: usize,
    place: Place,
    handles: Handles,
}

impl<'r> TypeReader<'r> {
    /// Begins with the parameters.
    pub(super) fn of_params(resources: &'r Resources) -> Self {
        Self { resources, nodes: 0, place: Place::Params, handles: Handles::default() }
    }

    /// The type of what the function returns.
    pub(super) fn result(&mut self, ty: &types::Type) -> Result<Type, &'static str> {
        self.place = Place::Result;
        self.read(ty, 0)
    }

    /// The type of what the function's stream is of.
    pub(super) fn element(&mut self, ty: &types::Type) -> Result<Type, &'static str> {
        self.place = Place::Elements;
        self.read(ty, 0)
    }

    /// What of the types that were read are handles.
    pub(super) fn handles(self) -> Handles {
        self.handles
    }

    /// The function's parameters, each a name and a type.
    pub(super) fn params<'n>(
        &mut self,
        params: impl Iterator<Item = (&'n str, types::Type)>,
    ) -> Result<Vec<Field>, &'static str> {
        self.fields(params, 0)
    }

    fn fields<'n>(
        &mut self,
        fields: impl Iterator<Item = (&'n str, types::Type)>,
        depth: usize,
    ) -> Result<Vec<Field>, &'static str> {
        fields
            .map(|(name, ty)| self.read(&ty, depth).map(|ty| Field { name: name.into(), ty }))
            .collect()
    }

    /// The host's tensor, or a resource of the plugin's that the host can make.
    fn resource(&mut self, resource: &ResourceType, depth: usize) -> Result<Type, &'static str> {
        match (self.place, self.resources.is_tensor(resource)) {
            (Place::Params | Place::Result, true) => {
                self.handles.tensors = true;
                return Ok(Type::Tensor);
            }
            (Place::Params, false) => {}
            (Place::Result | Place::Elements, _) => {
                return Err("a resource in its answer, where it would be gone with the call");
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
        Ok(Type::Resource(Box::new(Constructor {
            resource: made.name.as_str().into(),
            position,
            params,
        })))
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
                self.fields(record.fields().map(|field| (field.name, field.ty)), next)?,
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
            // A result cannot borrow.
            types::Type::Own(resource) | types::Type::Borrow(resource) => {
                self.resource(resource, next)?
            }
            types::Type::Future(_) => return Err("a `future`"),
            types::Type::Stream(_) => return Err("a `stream`"),
            types::Type::ErrorContext => return Err("an `error-context`"),
        })
    }
}
