//! From a guest to a [`Value`]. Everything from the guest is checked: pointers, lengths, tags, text.
//!
//! Host allocations for it count against the call's `sandbox.hostcall_bytes_max`.

use bytes::Bytes;
use wasmtime::component::__internal::wasmtime_environ::component::VariantInfo;
use wasmtime::component::__internal::{InterfaceType, LiftContext};
use wasmtime::component::{Lift, Resource, ResourceType};
use wasmtime::{Result, ValRaw, bail, format_err};

use super::{FLAT_RESULTS_MAX, packed_width};
use crate::sandbox::wasi_nn::GuestTensor;
use crate::value::Value;

/// Lifts the result of a function whose results are the tuple `ty`: none or one.
pub(super) fn result(
    cx: &mut LiftContext<'_>,
    ty: InterfaceType,
    src: &[ValRaw; FLAT_RESULTS_MAX],
) -> Result<Option<Value>> {
    let types = cx.types;
    let InterfaceType::Tuple(index) = ty else { bail!("results are a tuple") };
    let tuple = &types[index];
    let [ty] = &*tuple.types else {
        return if tuple.types.is_empty() { Ok(None) } else { bail!("several results") };
    };
    if tuple.abi.flat_count(FLAT_RESULTS_MAX).is_some() {
        return unflatten(cx, *ty, src[0]).map(Some);
    }
    let at = src[0].get_u32() as usize;
    let abi = types.canonical_abi(ty);
    let bytes = part(cx.memory(), at, abi.size32 as usize, abi.align32)?;
    load(cx, *ty, bytes).map(Some)
}

/// Lifts a value that fits one core value.
fn unflatten(cx: &mut LiftContext<'_>, ty: InterfaceType, src: ValRaw) -> Result<Value> {
    let types = cx.types;
    Ok(match ty {
        InterfaceType::Bool => Value::Bool(src.get_u32() != 0),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the canonical ABI drops the upper bits"
        )]
        InterfaceType::S8 => Value::S8(src.get_i32() as i8),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the canonical ABI drops the upper bits"
        )]
        InterfaceType::U8 => Value::U8(src.get_u32() as u8),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the canonical ABI drops the upper bits"
        )]
        InterfaceType::S16 => Value::S16(src.get_i32() as i16),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the canonical ABI drops the upper bits"
        )]
        InterfaceType::U16 => Value::U16(src.get_u32() as u16),
        InterfaceType::S32 => Value::S32(src.get_i32()),
        InterfaceType::U32 => Value::U32(src.get_u32()),
        InterfaceType::S64 => Value::S64(src.get_i64()),
        InterfaceType::U64 => Value::U64(src.get_u64()),
        InterfaceType::Float32 => Value::F32(f32::from_bits(src.get_f32())),
        InterfaceType::Float64 => Value::F64(f64::from_bits(src.get_f64())),
        InterfaceType::Char => Value::Char(char::try_from(src.get_u32())?),
        InterfaceType::Own(_) => handle(cx, ty, src.get_u32())?,
        InterfaceType::Flags(index) => {
            Value::Flags(vec![src.get_u32() & mask(types[index].names.len())])
        }
        InterfaceType::Record(index) => {
            let fields = types[index].fields.iter().map(|field| field.ty);
            Value::Record(unflatten_fields(cx, fields, src)?)
        }
        InterfaceType::Tuple(index) => {
            Value::Tuple(unflatten_fields(cx, types[index].types.iter().copied(), src)?)
        }
        InterfaceType::Variant(_)
        | InterfaceType::Enum(_)
        | InterfaceType::Option(_)
        | InterfaceType::Result(_) => {
            // A payload with a core value would make the variant take two, so payloads here have none.
            let nothing = |cx: &mut LiftContext<'_>, ty| unflatten(cx, ty, ValRaw::u64(0));
            case(cx, ty, src.get_u32(), nothing)?
        }
        _ => return unsupported(),
    })
}

/// Lifts fields that together fit one core value: at most one of them is not empty.
fn unflatten_fields(
    cx: &mut LiftContext<'_>,
    fields: impl Iterator<Item = InterfaceType>,
    src: ValRaw,
) -> Result<Vec<Value>> {
    fields.map(|ty| unflatten(cx, ty, src)).collect()
}

/// Lifts a value from `bytes`, which have its type's size.
pub(in crate::sandbox) fn load(
    cx: &mut LiftContext<'_>,
    ty: InterfaceType,
    bytes: &[u8],
) -> Result<Value> {
    let types = cx.types;
    Ok(match ty {
        InterfaceType::Bool => Value::Bool(first::<1>(bytes)?[0] != 0),
        InterfaceType::S8 => Value::S8(i8::from_le_bytes(first(bytes)?)),
        InterfaceType::U8 => Value::U8(u8::from_le_bytes(first(bytes)?)),
        InterfaceType::S16 => Value::S16(i16::from_le_bytes(first(bytes)?)),
        InterfaceType::U16 => Value::U16(u16::from_le_bytes(first(bytes)?)),
        InterfaceType::S32 => Value::S32(i32::from_le_bytes(first(bytes)?)),
        InterfaceType::U32 => Value::U32(u32::from_le_bytes(first(bytes)?)),
        InterfaceType::S64 => Value::S64(i64::from_le_bytes(first(bytes)?)),
        InterfaceType::U64 => Value::U64(u64::from_le_bytes(first(bytes)?)),
        InterfaceType::Float32 => Value::F32(f32::from_le_bytes(first(bytes)?)),
        InterfaceType::Float64 => Value::F64(f64::from_le_bytes(first(bytes)?)),
        InterfaceType::Char => Value::Char(char::try_from(u32::from_le_bytes(first(bytes)?))?),
        // Wasmtime's own strings support every encoding and count what they copy.
        InterfaceType::String => Value::String(<Box<str>>::linear_lift_from_memory(cx, ty, bytes)?),
        InterfaceType::List(index) => list(cx, types[index].element, bytes)?,
        InterfaceType::Own(_) => handle(cx, ty, u32::from_le_bytes(first(bytes)?))?,
        InterfaceType::Flags(index) => {
            let word = unsigned(bytes, types[index].abi.size32 as usize)?;
            Value::Flags(vec![word & mask(types[index].names.len())])
        }
        InterfaceType::Record(index) => {
            let fields = types[index].fields.iter().map(|field| field.ty);
            Value::Record(load_fields(cx, fields, bytes)?)
        }
        InterfaceType::Tuple(index) => {
            Value::Tuple(load_fields(cx, types[index].types.iter().copied(), bytes)?)
        }
        InterfaceType::Variant(_)
        | InterfaceType::Enum(_)
        | InterfaceType::Option(_)
        | InterfaceType::Result(_) => {
            let info = info(cx, ty)?;
            let tag = unsigned(bytes, usize::from(info.size))?;
            let offset = info.payload_offset32 as usize;
            case(cx, ty, tag, |cx, payload| {
                let size = cx.types.canonical_abi(&payload).size32 as usize;
                load(cx, payload, part(bytes, offset, size, 1)?)
            })?
        }
        _ => return unsupported(),
    })
}

/// Takes what a guest's handle refers to: a tensor, by its index in the call's table, or a resource of the guest. The guest's resource is
/// never destructed: the call needs it to its end, and then the guest is gone.
fn handle(cx: &mut LiftContext<'_>, ty: InterfaceType, index: u32) -> Result<Value> {
    let InterfaceType::Own(table) = ty else { return unsupported() };
    if cx.resource_type(table) != ResourceType::host::<GuestTensor>() {
        let (representation, _, _) = cx.guest_resource_lift_own(table, index)?;
        return Ok(Value::Handle(representation));
    }
    // Wasmtime requires that the type was checked.
    let resource = Resource::<GuestTensor>::linear_lift_from_flat(cx, ty, &ValRaw::u32(index))?;
    Ok(Value::Handle(resource.rep()))
}

fn load_fields(
    cx: &mut LiftContext<'_>,
    fields: impl Iterator<Item = InterfaceType>,
    bytes: &[u8],
) -> Result<Vec<Value>> {
    let types = cx.types;
    let mut offset = 0;
    fields
        .map(|ty| {
            let abi = types.canonical_abi(&ty);
            let at = abi.next_field32(&mut offset) as usize;
            load(cx, ty, part(bytes, at, abi.size32 as usize, 1)?)
        })
        .collect()
}

/// Lifts a list from the pointer and length in `bytes`.
fn list(cx: &mut LiftContext<'_>, element: InterfaceType, bytes: &[u8]) -> Result<Value> {
    let at = u32::from_le_bytes(first(bytes)?) as usize;
    let length = u32::from_le_bytes(first(part(bytes, 4, 4, 1)?)?) as usize;
    let abi = cx.types.canonical_abi(&element);
    let (stride, align) = (abi.size32 as usize, abi.align32);
    let size = length.checked_mul(stride).ok_or_else(|| format_err!("a list is too long"))?;
    let content = part(cx.memory(), at, size, align)?;
    if packed_width(element).is_some() {
        cx.consume_fuel(size)?;
        return Ok(Value::Packed(Bytes::copy_from_slice(content)));
    }
    cx.consume_fuel_array(length, size_of::<Value>())?;
    let mut values = Vec::with_capacity(length);
    for index in 0..length {
        values.push(load(cx, element, part(content, index * stride, stride, 1)?)?);
    }
    Ok(Value::List(values))
}

/// Builds the case `tag` of a variant, with the payload that `load` reads for it.
fn case(
    cx: &mut LiftContext<'_>,
    ty: InterfaceType,
    tag: u32,
    mut load: impl FnMut(&mut LiftContext<'_>, InterfaceType) -> Result<Value>,
) -> Result<Value> {
    let types = cx.types;
    let invalid = || format_err!("the guest returned the tag {tag}, which its type does not have");
    let mut payload =
        |ty: Option<InterfaceType>| ty.map(|ty| load(cx, ty).map(Box::new)).transpose();
    Ok(match ty {
        InterfaceType::Variant(index) => {
            let (_, ty) = types[index].cases.get_index(tag as usize).ok_or_else(invalid)?;
            Value::Variant(tag, payload(*ty)?)
        }
        InterfaceType::Enum(index) => {
            if tag as usize >= types[index].names.len() {
                return Err(invalid());
            }
            Value::Enum(tag)
        }
        InterfaceType::Option(index) => match tag {
            0 => Value::Option(None),
            1 => Value::Option(payload(Some(types[index].ty))?),
            _ => return Err(invalid()),
        },
        InterfaceType::Result(index) => match tag {
            0 => Value::Result(Ok(payload(types[index].ok)?)),
            1 => Value::Result(Err(payload(types[index].err)?)),
            _ => return Err(invalid()),
        },
        _ => return unsupported(),
    })
}

fn info<'a>(cx: &LiftContext<'a>, ty: InterfaceType) -> Result<&'a VariantInfo> {
    let types = cx.types;
    match ty {
        InterfaceType::Variant(index) => Ok(&types[index].info),
        InterfaceType::Enum(index) => Ok(&types[index].info),
        InterfaceType::Option(index) => Ok(&types[index].info),
        InterfaceType::Result(index) => Ok(&types[index].info),
        _ => unsupported(),
    }
}

/// `size` bytes of `memory` from `at`, which must be a multiple of `align`.
fn part(memory: &[u8], at: usize, size: usize, align: u32) -> Result<&[u8]> {
    if !at.is_multiple_of(align as usize) {
        bail!("the guest returned a pointer that is not aligned");
    }
    at.checked_add(size)
        .and_then(|end| memory.get(at..end))
        .ok_or_else(|| format_err!("the guest returned a pointer beyond the end of its memory"))
}

fn first<const N: usize>(bytes: &[u8]) -> Result<[u8; N]> {
    bytes.first_chunk().copied().ok_or_else(|| format_err!("a value is cut short"))
}

/// The number in the first `size` bytes, at most four.
fn unsigned(bytes: &[u8], size: usize) -> Result<u32> {
    let mut word = [0; 4];
    let size = size.min(word.len());
    word[..size].copy_from_slice(part(bytes, 0, size, 1)?);
    Ok(u32::from_le_bytes(word))
}

/// The bits of `count` flags.
fn mask(count: usize) -> u32 {
    u32::try_from(count)
        .ok()
        .and_then(|count| 1_u32.checked_shl(count))
        .map_or(u32::MAX, |bit| bit - 1)
}

/// Unreachable from outside: such functions are rejected at deployment.
fn unsupported<T>() -> Result<T> {
    bail!("a type that cannot be called from outside")
}
