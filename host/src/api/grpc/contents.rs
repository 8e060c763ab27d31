//! Converts tensor elements in message fields to the tensor's bytes. Nothing is narrowed: out-of-range values are rejected.

use bytes::Bytes;

use super::messages::InferTensorContents;
use crate::tensor::{DataType, pack_strings};

/// The bytes of a tensor of type `ty`.
pub(super) fn bytes(ty: DataType, contents: &InferTensorContents) -> Result<Bytes, String> {
    check_only(ty, contents)?;
    Ok(match ty {
        DataType::Bool => contents.bool_contents.iter().map(|value| u8::from(*value)).collect(),
        DataType::I8 => narrow::<_, i8, 1>(ty, &contents.int_contents, i8::to_le_bytes)?,
        DataType::I16 => narrow::<_, i16, 2>(ty, &contents.int_contents, i16::to_le_bytes)?,
        DataType::I32 => wide(&contents.int_contents, i32::to_le_bytes),
        DataType::I64 => wide(&contents.int64_contents, i64::to_le_bytes),
        DataType::U8 => narrow::<_, u8, 1>(ty, &contents.uint_contents, u8::to_le_bytes)?,
        DataType::U16 => narrow::<_, u16, 2>(ty, &contents.uint_contents, u16::to_le_bytes)?,
        DataType::U32 => wide(&contents.uint_contents, u32::to_le_bytes),
        DataType::U64 => wide(&contents.uint64_contents, u64::to_le_bytes),
        DataType::F32 => wide(&contents.fp32_contents, f32::to_le_bytes),
        DataType::F64 => wide(&contents.fp64_contents, f64::to_le_bytes),
        DataType::Bytes => pack_strings(contents.bytes_contents.iter().map(Bytes::as_ref))
            .ok_or("an element is longer than 4 GiB")?,
        DataType::F16 | DataType::Bf16 => {
            return Err(format!("elements of {ty} are sent as raw_input_contents"));
        }
    })
}

/// Rejects contents in a field of another type: they would be lost.
fn check_only(ty: DataType, contents: &InferTensorContents) -> Result<(), String> {
    let fields = [
        ("bool_contents", contents.bool_contents.len(), matches!(ty, DataType::Bool)),
        (
            "int_contents",
            contents.int_contents.len(),
            matches!(ty, DataType::I8 | DataType::I16 | DataType::I32),
        ),
        ("int64_contents", contents.int64_contents.len(), matches!(ty, DataType::I64)),
        (
            "uint_contents",
            contents.uint_contents.len(),
            matches!(ty, DataType::U8 | DataType::U16 | DataType::U32),
        ),
        ("uint64_contents", contents.uint64_contents.len(), matches!(ty, DataType::U64)),
        ("fp32_contents", contents.fp32_contents.len(), matches!(ty, DataType::F32)),
        ("fp64_contents", contents.fp64_contents.len(), matches!(ty, DataType::F64)),
        ("bytes_contents", contents.bytes_contents.len(), matches!(ty, DataType::Bytes)),
    ];
    match fields.iter().find(|(_, length, is_of)| *length > 0 && !is_of) {
        Some((field, ..)) => Err(format!("{field} cannot hold elements of {ty}")),
        None => Ok(()),
    }
}

fn wide<T: Copy, const N: usize>(values: &[T], bytes: fn(T) -> [u8; N]) -> Bytes {
    values.iter().flat_map(|value| bytes(*value)).collect()
}

fn narrow<T: Copy + std::fmt::Display, U: TryFrom<T>, const N: usize>(
    ty: DataType,
    values: &[T],
    bytes: fn(U) -> [u8; N],
) -> Result<Bytes, String> {
    let mut data = Vec::with_capacity(values.len() * N);
    for value in values {
        let narrow = U::try_from(*value).map_err(|_| format!("`{value}` is not a {ty}"))?;
        data.extend_from_slice(&bytes(narrow));
    }
    Ok(data.into())
}
