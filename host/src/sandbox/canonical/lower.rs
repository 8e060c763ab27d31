//! From a [`Value`] into a guest: as core values, or into its memory.

use std::mem::MaybeUninit;

use wasmtime::component::__internal::wasmtime_environ::component::VariantInfo;
use wasmtime::component::__internal::{InterfaceType, LowerContext};
use wasmtime::component::{Lower, Resource, ResourceType};
use wasmtime::{Result, ValRaw, bail, format_err};

use super::{FLAT_PARAMS_MAX, packed_width};
use crate::sandbox::wasi_nn::GuestTensor;
use crate::value::Value;

/// Lowers the arguments of a call to a function whose parameters are the tuple `ty`.
pub(super) fn arguments<T>(
    values: &[Value],
    cx: &mut LowerContext<'_, T>,
    ty: InterfaceType,
) -> Result<[ValRaw; FLAT_PARAMS_MAX]> {
    let types = cx.types;
    let InterfaceType::Tuple(index) = ty else { bail!("parameters are a tuple") };
    let tuple = &types[index];
    let mut flat = Flat { slots: [ValRaw::u64(0); FLAT_PARAMS_MAX], used: 0 };
    if tuple.abi.flat_count(FLAT_PARAMS_MAX).is_some() {
        for (value, ty) in pairs(values, &tuple.types)? {
            flatten(value, cx, ty, &mut flat)?;
        }
    } else {
        let at = cx.realloc(0, 0, tuple.abi.align32, tuple.abi.size32 as usize)?;
        let mut offset = 0;
        for (value, ty) in pairs(values, &tuple.types)? {
            let field = types.canonical_abi(&ty).next_field32(&mut offset);
            store(value, cx, ty, at + field as usize)?;
        }
        flat.push(ValRaw::u64(at as u64))?;
    }
    Ok(flat.slots)
}

/// Core values, filled from the first. The rest are zero.
struct Flat {
    slots: [ValRaw; FLAT_PARAMS_MAX],
    used: usize,
}

impl Flat {
    fn push(&mut self, value: ValRaw) -> Result<()> {
        let slot =
            self.slots.get_mut(self.used).ok_or_else(|| format_err!("too many parameters"))?;
        *slot = value;
        self.used += 1;
        Ok(())
    }
}

/// Appends `value` to the core values. Floats and small integers inside a variant share slots with wider ones, so slots hold zero-extended
/// 64-bit values, which all of them read correctly.
fn flatten<T>(
    value: &Value,
    cx: &mut LowerContext<'_, T>,
    ty: InterfaceType,
    flat: &mut Flat,
) -> Result<()> {
    let types = cx.types;
    match (value, ty) {
        (Value::Bool(v), InterfaceType::Bool) => flat.push(ValRaw::u32(u32::from(*v))),
        (Value::S8(v), InterfaceType::S8) => flat.push(ValRaw::i32(i32::from(*v))),
        (Value::U8(v), InterfaceType::U8) => flat.push(ValRaw::u32(u32::from(*v))),
        (Value::S16(v), InterfaceType::S16) => flat.push(ValRaw::i32(i32::from(*v))),
        (Value::U16(v), InterfaceType::U16) => flat.push(ValRaw::u32(u32::from(*v))),
        (Value::S32(v), InterfaceType::S32) => flat.push(ValRaw::i32(*v)),
        (Value::U32(v), InterfaceType::U32) => flat.push(ValRaw::u32(*v)),
        (Value::S64(v), InterfaceType::S64) => flat.push(ValRaw::i64(*v)),
        (Value::U64(v), InterfaceType::U64) => flat.push(ValRaw::u64(*v)),
        (Value::F32(v), InterfaceType::Float32) => flat.push(ValRaw::u64(v.to_bits().into())),
        (Value::F64(v), InterfaceType::Float64) => flat.push(ValRaw::u64(v.to_bits())),
        (Value::Char(v), InterfaceType::Char) => flat.push(ValRaw::u32(u32::from(*v))),
        (Value::String(text), InterfaceType::String) => {
            let mut pair = MaybeUninit::<[ValRaw; 2]>::uninit();
            let text: &str = text;
            text.linear_lower_to_flat(cx, ty, &mut pair)?;
            #[expect(unsafe_code, reason = "wasmtime's own strings know every encoding")]
            // SAFETY: `linear_lower_to_flat` guarantees on success that it has written everything.
            let [at, length] = unsafe { pair.assume_init() };
            flat.push(at)?;
            flat.push(length)
        }
        (Value::Handle(number), InterfaceType::Own(_) | InterfaceType::Borrow(_)) => {
            flat.push(ValRaw::u32(handle(*number, cx, ty)?))
        }
        (Value::Packed(_) | Value::List(_), InterfaceType::List(index)) => {
            let (at, length) = list(value, cx, types[index].element)?;
            flat.push(ValRaw::u64(at as u64))?;
            flat.push(ValRaw::u64(length as u64))
        }
        (Value::Record(values), InterfaceType::Record(index)) => {
            let fields: Vec<_> = types[index].fields.iter().map(|field| field.ty).collect();
            pairs(values, &fields)?.try_for_each(|(value, ty)| flatten(value, cx, ty, flat))
        }
        (Value::Tuple(values), InterfaceType::Tuple(index)) => pairs(values, &types[index].types)?
            .try_for_each(|(value, ty)| flatten(value, cx, ty, flat)),
        (Value::Flags(bits), InterfaceType::Flags(_)) => flat.push(ValRaw::u32(word(bits)?)),
        (
            Value::Variant(..) | Value::Enum(_) | Value::Option(_) | Value::Result(_),
            InterfaceType::Variant(_)
            | InterfaceType::Enum(_)
            | InterfaceType::Option(_)
            | InterfaceType::Result(_),
        ) => {
            let start = flat.used;
            let Some(slots) = types.canonical_abi(&ty).flat_count(FLAT_PARAMS_MAX) else {
                bail!("too many parameters")
            };
            let case = Case::of(value, cx, ty)?;
            flat.push(ValRaw::u32(case.tag))?;
            if let Some((payload, ty)) = case.payload {
                flatten(payload, cx, ty, flat)?;
            }
            flat.used = start + slots;
            Ok(())
        }
        _ => mismatch(),
    }
}

/// Writes `value` to the guest's memory at `at`, which is aligned and large enough.
fn store<T>(
    value: &Value,
    cx: &mut LowerContext<'_, T>,
    ty: InterfaceType,
    at: usize,
) -> Result<()> {
    let types = cx.types;
    match (value, ty) {
        (Value::Bool(v), InterfaceType::Bool) => put(cx, at, [u8::from(*v)]),
        (Value::S8(v), InterfaceType::S8) => put(cx, at, v.to_le_bytes()),
        (Value::U8(v), InterfaceType::U8) => put(cx, at, v.to_le_bytes()),
        (Value::S16(v), InterfaceType::S16) => put(cx, at, v.to_le_bytes()),
        (Value::U16(v), InterfaceType::U16) => put(cx, at, v.to_le_bytes()),
        (Value::S32(v), InterfaceType::S32) => put(cx, at, v.to_le_bytes()),
        (Value::U32(v), InterfaceType::U32) => put(cx, at, v.to_le_bytes()),
        (Value::S64(v), InterfaceType::S64) => put(cx, at, v.to_le_bytes()),
        (Value::U64(v), InterfaceType::U64) => put(cx, at, v.to_le_bytes()),
        (Value::F32(v), InterfaceType::Float32) => put(cx, at, v.to_le_bytes()),
        (Value::F64(v), InterfaceType::Float64) => put(cx, at, v.to_le_bytes()),
        (Value::Char(v), InterfaceType::Char) => put(cx, at, u32::from(*v).to_le_bytes()),
        (Value::String(text), InterfaceType::String) => {
            let text: &str = text;
            text.linear_lower_to_memory(cx, ty, at)
        }
        (Value::Handle(number), InterfaceType::Own(_) | InterfaceType::Borrow(_)) => {
            let index = handle(*number, cx, ty)?;
            put(cx, at, index.to_le_bytes())
        }
        (Value::Packed(_) | Value::List(_), InterfaceType::List(index)) => {
            let (pointer, length) = list(value, cx, types[index].element)?;
            put(cx, at, u32::try_from(pointer)?.to_le_bytes())?;
            put(cx, at + 4, u32::try_from(length)?.to_le_bytes())
        }
        (Value::Record(values), InterfaceType::Record(index)) => {
            let fields: Vec<_> = types[index].fields.iter().map(|field| field.ty).collect();
            store_fields(values, cx, &fields, at)
        }
        (Value::Tuple(values), InterfaceType::Tuple(index)) => {
            store_fields(values, cx, &types[index].types, at)
        }
        (Value::Flags(bits), InterfaceType::Flags(index)) => {
            let bytes = word(bits)?.to_le_bytes();
            put_slice(cx, at, &bytes[..(types[index].abi.size32 as usize).min(bytes.len())])
        }
        (
            Value::Variant(..) | Value::Enum(_) | Value::Option(_) | Value::Result(_),
            InterfaceType::Variant(_)
            | InterfaceType::Enum(_)
            | InterfaceType::Option(_)
            | InterfaceType::Result(_),
        ) => {
            let case = Case::of(value, cx, ty)?;
            put_slice(cx, at, &case.tag.to_le_bytes()[..usize::from(case.info.size)])?;
            match case.payload {
                Some((payload, ty)) => {
                    store(payload, cx, ty, at + case.info.payload_offset32 as usize)
                }
                None => Ok(()),
            }
        }
        _ => mismatch(),
    }
}

fn store_fields<T>(
    values: &[Value],
    cx: &mut LowerContext<'_, T>,
    fields: &[InterfaceType],
    at: usize,
) -> Result<()> {
    let types = cx.types;
    let mut offset = 0;
    pairs(values, fields)?.try_for_each(|(value, ty)| {
        let field = types.canonical_abi(&ty).next_field32(&mut offset);
        store(value, cx, ty, at + field as usize)
    })
}

/// Copies a list into newly allocated guest memory. Returns its address and length.
fn list<T>(
    value: &Value,
    cx: &mut LowerContext<'_, T>,
    element: InterfaceType,
) -> Result<(usize, usize)> {
    let types = cx.types;
    let abi = types.canonical_abi(&element);
    match (value, packed_width(element)) {
        (Value::Packed(bytes), Some(width)) => {
            let at = cx.realloc(0, 0, abi.align32, bytes.len())?;
            put_slice(cx, at, bytes)?;
            Ok((at, bytes.len() / width))
        }
        (Value::List(values), None) => {
            let stride = abi.size32 as usize;
            let bytes = values.len().checked_mul(stride);
            let bytes = bytes.ok_or_else(|| format_err!("a list is too long"))?;
            let at = cx.realloc(0, 0, abi.align32, bytes)?;
            for (index, value) in values.iter().enumerate() {
                store(value, cx, element, at + index * stride)?;
            }
            Ok((at, values.len()))
        }
        _ => mismatch(),
    }
}

/// The guest's index of a handle: to the tensor with this index in the call's table, or to its own resource with this number.
fn handle<T>(number: u32, cx: &mut LowerContext<'_, T>, ty: InterfaceType) -> Result<u32> {
    let is_tensor = |cx: &LowerContext<'_, T>, table| {
        cx.resource_type(table) == ResourceType::host::<GuestTensor>()
    };
    match ty {
        InterfaceType::Own(table) if !is_tensor(cx, table) => {
            return cx.guest_resource_lower_own(table, number);
        }
        InterfaceType::Borrow(table) if !is_tensor(cx, table) => {
            return cx.guest_resource_lower_borrow(table, number);
        }
        _ => {}
    }
    let mut index = MaybeUninit::<ValRaw>::uninit();
    // Wasmtime compares the resource's type with the function's.
    Resource::<GuestTensor>::new_own(number).linear_lower_to_flat(cx, ty, &mut index)?;
    #[expect(unsafe_code, reason = "wasmtime's own resources know the tables")]
    // SAFETY: `linear_lower_to_flat` guarantees on success that it has written it.
    let index = unsafe { index.assume_init() };
    Ok(index.get_u32())
}

/// One case of a variant, with its payload.
struct Case<'v> {
    tag: u32,
    payload: Option<(&'v Value, InterfaceType)>,
    info: VariantInfo,
}

impl<'v> Case<'v> {
    fn of<T>(value: &'v Value, cx: &LowerContext<'_, T>, ty: InterfaceType) -> Result<Self> {
        let types = cx.types;
        let (tag, payload, ty, info) = match (value, ty) {
            (Value::Variant(tag, payload), InterfaceType::Variant(index)) => {
                let Some((_, ty)) = types[index].cases.get_index(*tag as usize) else {
                    return mismatch();
                };
                (*tag, payload.as_deref(), *ty, &types[index].info)
            }
            (Value::Enum(tag), InterfaceType::Enum(index)) => {
                (*tag, None, None, &types[index].info)
            }
            (Value::Option(payload), InterfaceType::Option(index)) => {
                let ty = payload.is_some().then_some(types[index].ty);
                (u32::from(payload.is_some()), payload.as_deref(), ty, &types[index].info)
            }
            (Value::Result(Ok(payload)), InterfaceType::Result(index)) => {
                (0, payload.as_deref(), types[index].ok, &types[index].info)
            }
            (Value::Result(Err(payload)), InterfaceType::Result(index)) => {
                (1, payload.as_deref(), types[index].err, &types[index].info)
            }
            _ => return mismatch(),
        };
        let payload = match (payload, ty) {
            (Some(payload), Some(ty)) => Some((payload, ty)),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return mismatch(),
        };
        Ok(Self { tag, payload, info: info.clone() })
    }
}

fn pairs<'v>(
    values: &'v [Value],
    types: &'v [InterfaceType],
) -> Result<impl Iterator<Item = (&'v Value, InterfaceType)>> {
    if values.len() != types.len() {
        return mismatch();
    }
    Ok(values.iter().zip(types.iter().copied()))
}

/// The bits of `flags`: the component model has at most 32 of them.
fn word(bits: &[u32]) -> Result<u32> {
    match bits {
        [] => Ok(0),
        [word] => Ok(*word),
        _ => mismatch(),
    }
}

fn put<T, const N: usize>(cx: &mut LowerContext<'_, T>, at: usize, bytes: [u8; N]) -> Result<()> {
    put_slice(cx, at, &bytes)
}

fn put_slice<T>(cx: &mut LowerContext<'_, T>, at: usize, bytes: &[u8]) -> Result<()> {
    let end = at.checked_add(bytes.len());
    let room = end.and_then(|end| cx.as_slice_mut().get_mut(at..end));
    room.ok_or_else(|| format_err!("beyond the end of memory"))?.copy_from_slice(bytes);
    Ok(())
}

/// Unreachable from outside: the function's own types parsed the values.
fn mismatch<T>() -> Result<T> {
    bail!("a value does not fit the function's type")
}
