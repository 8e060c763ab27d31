//! Values of the component model and their types: callers send them as JSON, guests take and return them.
//!
//! Independent of any WebAssembly runtime: the host's `sandbox` builds the types and transfers the values.
//!
//! In JSON:
//!
//! | type | JSON |
//! |---|---|
//! | `bool` | `true`, `false` |
//! | `s8` to `u32` | a number without fraction and exponent |
//! | `s64`, `u64` | the same, or a string of its digits; written as a number: readers of doubles lose digits past 2^53 |
//! | `f32`, `f64` | a number, or `"NaN"`, `"Infinity"`, `"-Infinity"`; the payload of a NaN is not kept, the sign of a zero is |
//! | `char`, `string` | a string; for `char`, of one Unicode scalar value |
//! | `list<u8>` | base64 (RFC 4648, section 4, padded), or an array of numbers; written as base64 |
//! | `list`, `tuple` | an array |
//! | `record` | an object; a member whose type is an `option` may be left out |
//! | `option<T>` | `null`, or what it holds; if `T` is an `option` itself, `{"some": …}`, so that the two can be told apart |
//! | `result` | `{"ok": …}` or `{"err": …}`, with `null` where there is no payload |
//! | `variant` | `{"case": payload}`, or `"case"` where there is no payload |
//! | `enum` | a string |
//! | `flags` | an array of strings, each at most once |
//! | a resource of the plugin's | an object of what its constructor takes: it is made for the call, and gone with it |
//! | `tensor` of `wasi:nn` | `{"datatype": "FP32", "shape": [2], "data": [1, 2]}`, as in [`tensor::json`](crate::tensor::json) |
//!
//! The surprise: a list of numbers is not a list of values but one buffer of bytes, as in a guest's memory.

mod error;
pub mod kept;
pub mod parse;
#[cfg(test)]
mod tests;
mod text;
pub mod write;

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use error::{BodyPlace, ValueError};

use crate::tensor::Tensor;

/// A type of the component model that callers can send and receive. Cheap to clone: types share their parts.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(from = "kept::Read")]
pub enum Type {
    Bool,
    S8,
    U8,
    S16,
    U16,
    S32,
    U32,
    S64,
    U64,
    F32,
    F64,
    Char,
    String,
    List(Arc<Type>),
    Record(Arc<[Field]>),
    Tuple(Arc<[Type]>),
    Variant(Arc<[Case]>),
    Enum(Arc<[Arc<str>]>),
    Option(Arc<Type>),
    Result {
        ok: Option<Arc<Type>>,
        err: Option<Arc<Type>>,
    },
    Flags(Arc<[Arc<str>]>),
    /// The host's own resource `tensor` of `wasi:nn`: the function uses a handle, the caller the tensor itself.
    Tensor,
    /// A resource that the plugin defines: the caller sends its constructor's arguments, and the function gets a handle.
    Resource(Arc<Constructor>),
}

/// How to construct a plugin's resource.
#[derive(Debug, Clone, PartialEq)]
pub struct Constructor {
    /// The resource's name.
    pub resource: Arc<str>,
    /// The index of its constructor among those that the function's values need.
    pub position: usize,
    pub params: Arc<[Field]>,
}

/// A record's member or a function's parameter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Field {
    #[serde(with = "kept::text")]
    pub name: Arc<str>,
    pub ty: Type,
}

/// A case of a variant, with the type of its payload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    #[serde(with = "kept::text")]
    pub name: Arc<str>,
    pub ty: Option<Type>,
}

/// A value. Its meaning depends on its [`Type`]: members, cases and flags are identified by position.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Bool(bool),
    S8(i8),
    U8(u8),
    S16(i16),
    U16(u16),
    S32(i32),
    U32(u32),
    S64(i64),
    U64(u64),
    F32(f32),
    F64(f64),
    Char(char),
    String(Box<str>),
    /// A list of numbers, each as little-endian bytes of its type's width.
    Packed(Bytes),
    /// A list of anything but numbers.
    List(Vec<Value>),
    /// The members, in the order of the type.
    Record(Vec<Value>),
    Tuple(Vec<Value>),
    /// The position of the case, and its payload.
    Variant(u32, Option<Box<Value>>),
    /// The position of the name.
    Enum(u32),
    Option(Option<Box<Value>>),
    Result(Result<Option<Box<Value>>, Option<Box<Value>>>),
    /// One bit per flag, the first in the lowest bit of the first word. Types of up to 32 flags have one word.
    Flags(Vec<u32>),
    Tensor(Tensor),
    /// A plugin's resource to be constructed: its constructor's position and arguments.
    Unmade(usize, Vec<Value>),
    /// A resource passed into or out of a guest: a tensor's index in the call's table, or the guest's own number for its resource
    /// (component model, "representation").
    Handle(u32),
}

impl Type {
    /// Whether it is `list<u8>`: bytes have their own JSON forms.
    pub fn is_bytes(&self) -> bool {
        matches!(self, Type::List(element) if **element == Type::U8)
    }

    /// Bytes per element in a [`Value::Packed`], if lists of this type are packed.
    pub const fn packed_width(&self) -> Option<usize> {
        match self {
            Type::S8 | Type::U8 => Some(1),
            Type::S16 | Type::U16 => Some(2),
            Type::S32 | Type::U32 | Type::F32 => Some(4),
            Type::S64 | Type::U64 | Type::F64 => Some(8),
            _ => None,
        }
    }
}

impl Value {
    /// Adds the tensors in the value to `found`. They share their bytes.
    pub fn tensors(&self, found: &mut Vec<Tensor>) {
        match self {
            Value::Tensor(tensor) => found.push(tensor.clone()),
            Value::List(values)
            | Value::Record(values)
            | Value::Tuple(values)
            | Value::Unmade(_, values) => {
                values.iter().for_each(|value| value.tensors(found));
            }
            Value::Variant(_, Some(value))
            | Value::Option(Some(value))
            | Value::Result(Ok(Some(value)) | Err(Some(value))) => value.tensors(found),
            _ => {}
        }
    }

    /// Applies `each` to every tensor and tensor handle in the value.
    ///
    /// # Errors
    /// The first error of `each`.
    pub fn each_tensor<E>(
        &mut self,
        each: &mut impl FnMut(&mut Value) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Value::Tensor(_) | Value::Handle(_) => each(self),
            Value::List(values)
            | Value::Record(values)
            | Value::Tuple(values)
            | Value::Unmade(_, values) => {
                values.iter_mut().try_for_each(|value| value.each_tensor(each))
            }
            Value::Variant(_, Some(value))
            | Value::Option(Some(value))
            | Value::Result(Ok(Some(value)) | Err(Some(value))) => value.each_tensor(each),
            _ => Ok(()),
        }
    }

    /// Whether the value is one of type `ty`.
    pub fn is_of(&self, ty: &Type) -> bool {
        let payload = |value: &Option<Box<Value>>, ty: Option<&Type>| match (value, ty) {
            (None, None) => true,
            (Some(value), Some(ty)) => value.is_of(ty),
            (None, Some(_)) | (Some(_), None) => false,
        };
        match (self, ty) {
            (Value::Bool(_), Type::Bool)
            | (Value::S8(_), Type::S8)
            | (Value::U8(_), Type::U8)
            | (Value::S16(_), Type::S16)
            | (Value::U16(_), Type::U16)
            | (Value::S32(_), Type::S32)
            | (Value::U32(_), Type::U32)
            | (Value::S64(_), Type::S64)
            | (Value::U64(_), Type::U64)
            | (Value::F32(_), Type::F32)
            | (Value::F64(_), Type::F64)
            | (Value::Char(_), Type::Char)
            | (Value::String(_), Type::String)
            | (Value::Tensor(_), Type::Tensor) => true,
            (Value::Packed(bytes), Type::List(element)) => {
                element.packed_width().is_some_and(|width| bytes.len().is_multiple_of(width))
            }
            (Value::List(values), Type::List(element)) => {
                element.packed_width().is_none() && values.iter().all(|value| value.is_of(element))
            }
            (Value::Record(values), Type::Record(fields)) => {
                are_of(values, fields.iter().map(|field| &field.ty))
            }
            (Value::Tuple(values), Type::Tuple(types)) => are_of(values, types.iter()),
            (Value::Unmade(position, values), Type::Resource(constructor)) => {
                let types = constructor.params.iter().map(|param| &param.ty);
                *position == constructor.position && are_of(values, types)
            }
            (Value::Variant(case, value), Type::Variant(cases)) => {
                cases.get(*case as usize).is_some_and(|case| payload(value, case.ty.as_ref()))
            }
            (Value::Enum(case), Type::Enum(names)) => (*case as usize) < names.len(),
            (Value::Option(value), Type::Option(ty)) => {
                value.as_ref().is_none_or(|value| value.is_of(ty))
            }
            (Value::Result(Ok(value)), Type::Result { ok, .. }) => payload(value, ok.as_deref()),
            (Value::Result(Err(value)), Type::Result { err, .. }) => payload(value, err.as_deref()),
            (Value::Flags(words), Type::Flags(names)) => {
                words.len() == names.len().div_ceil(32).max(1)
            }
            _ => false,
        }
    }
}

/// Whether there is exactly one value per type, of that type.
fn are_of<'t>(values: &[Value], types: impl ExactSizeIterator<Item = &'t Type>) -> bool {
    values.len() == types.len() && values.iter().zip(types).all(|(value, ty)| value.is_of(ty))
}

/// Appends a number to a packed list. Anything else is not appended.
fn pack(number: &Value, out: &mut Vec<u8>) {
    match number {
        Value::S8(v) => out.extend(v.to_le_bytes()),
        Value::U8(v) => out.push(*v),
        Value::S16(v) => out.extend(v.to_le_bytes()),
        Value::U16(v) => out.extend(v.to_le_bytes()),
        Value::S32(v) => out.extend(v.to_le_bytes()),
        Value::U32(v) => out.extend(v.to_le_bytes()),
        Value::S64(v) => out.extend(v.to_le_bytes()),
        Value::U64(v) => out.extend(v.to_le_bytes()),
        Value::F32(v) => out.extend(v.to_le_bytes()),
        Value::F64(v) => out.extend(v.to_le_bytes()),
        _ => {}
    }
}

/// The number of type `ty` at the start of `bytes`, part of a packed list.
fn unpack(ty: &Type, bytes: &[u8]) -> Option<Value> {
    Some(match ty {
        Type::S8 => Value::S8(i8::from_le_bytes(*bytes.first_chunk()?)),
        Type::U8 => Value::U8(*bytes.first()?),
        Type::S16 => Value::S16(i16::from_le_bytes(*bytes.first_chunk()?)),
        Type::U16 => Value::U16(u16::from_le_bytes(*bytes.first_chunk()?)),
        Type::S32 => Value::S32(i32::from_le_bytes(*bytes.first_chunk()?)),
        Type::U32 => Value::U32(u32::from_le_bytes(*bytes.first_chunk()?)),
        Type::S64 => Value::S64(i64::from_le_bytes(*bytes.first_chunk()?)),
        Type::U64 => Value::U64(u64::from_le_bytes(*bytes.first_chunk()?)),
        Type::F32 => Value::F32(f32::from_le_bytes(*bytes.first_chunk()?)),
        Type::F64 => Value::F64(f64::from_le_bytes(*bytes.first_chunk()?)),
        _ => return None,
    })
}
