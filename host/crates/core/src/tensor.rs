//! Tensors: type, shape and bytes, checked for consistency once.
//!
//! Elements are little-endian in row-major order, as in the Open Inference Protocol's binary extension and `wasi:nn`. An element of
//! [`DataType::Bytes`] is a four-byte length and then its bytes. Cloning a tensor shares its data.

pub mod few;
pub mod json;
pub mod npy;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Maximum dimensions of a tensor.
pub const RANK_MAX: usize = 8;

/// Element types: those of the Open Inference Protocol, which include those of `wasi:nn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DataType {
    Bool,
    U8,
    U16,
    U32,
    U64,
    I8,
    I16,
    I32,
    I64,
    F16,
    Bf16,
    F32,
    F64,
    /// Byte strings with individual lengths.
    Bytes,
}

impl DataType {
    /// Every type.
    pub const ALL: [DataType; 14] = [
        DataType::Bool,
        DataType::U8,
        DataType::U16,
        DataType::U32,
        DataType::U64,
        DataType::I8,
        DataType::I16,
        DataType::I32,
        DataType::I64,
        DataType::F16,
        DataType::Bf16,
        DataType::F32,
        DataType::F64,
        DataType::Bytes,
    ];

    /// Bytes per element; `None` if elements have individual lengths.
    pub const fn size(self) -> Option<usize> {
        match self {
            DataType::Bool | DataType::U8 | DataType::I8 => Some(1),
            DataType::U16 | DataType::I16 | DataType::F16 | DataType::Bf16 => Some(2),
            DataType::U32 | DataType::I32 | DataType::F32 => Some(4),
            DataType::U64 | DataType::I64 | DataType::F64 => Some(8),
            DataType::Bytes => None,
        }
    }

    /// Whether elements are floating-point numbers.
    pub const fn is_float(self) -> bool {
        matches!(self, DataType::F16 | DataType::Bf16 | DataType::F32 | DataType::F64)
    }

    /// The name in the Open Inference Protocol ("Tensor Data Types").
    pub const fn name(self) -> &'static str {
        match self {
            DataType::Bool => "BOOL",
            DataType::U8 => "UINT8",
            DataType::U16 => "UINT16",
            DataType::U32 => "UINT32",
            DataType::U64 => "UINT64",
            DataType::I8 => "INT8",
            DataType::I16 => "INT16",
            DataType::I32 => "INT32",
            DataType::I64 => "INT64",
            DataType::F16 => "FP16",
            DataType::Bf16 => "BF16",
            DataType::F32 => "FP32",
            DataType::F64 => "FP64",
            DataType::Bytes => "BYTES",
        }
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DataType {
    type Err = TensorError;

    fn from_str(text: &str) -> Result<Self, TensorError> {
        let named = DataType::ALL.into_iter().find(|ty| ty.name() == text);
        named.ok_or_else(|| TensorError::DataType(text.chars().take(20).collect()))
    }
}

/// Why the parts are inconsistent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    #[error(
        "`{0}` is not a data type: write one such as `FP32`, `INT64`, `UINT8`, `BOOL` or `BYTES`"
    )]
    DataType(String),
    #[error("the shape has {rank} dimensions, more than the {RANK_MAX} allowed")]
    Rank { rank: usize },
    #[error("shape {shape:?} has more elements than can be counted")]
    Shape { shape: Vec<usize> },
    #[error("{elements} elements of {data_type} are {expected} bytes, not {seen}")]
    Size { data_type: DataType, elements: usize, expected: usize, seen: usize },
    #[error("byte {value} is not a BOOL: it must be 0 or 1")]
    Bool { value: u8 },
    #[error("the BYTES element at byte {offset} does not end within the data")]
    BytesCut { offset: usize },
    #[error("the data holds {seen} BYTES elements, not {expected}")]
    BytesCount { expected: usize, seen: usize },
}

/// A tensor. Only [`Tensor::new`] makes one.
#[derive(Clone, PartialEq, Eq)]
pub struct Tensor {
    data_type: DataType,
    shape: Box<[usize]>,
    data: Bytes,
}

impl Tensor {
    /// Builds a tensor. A shape without dimensions is a single element.
    ///
    /// # Errors
    /// [`TensorError`] if the parts are inconsistent.
    pub fn new(data_type: DataType, shape: Vec<usize>, data: Bytes) -> Result<Self, TensorError> {
        if shape.len() > RANK_MAX {
            return Err(TensorError::Rank { rank: shape.len() });
        }
        let elements = count(&shape).ok_or_else(|| TensorError::Shape { shape: shape.clone() })?;
        match data_type.size() {
            Some(size) => {
                let expected = elements.checked_mul(size);
                let expected =
                    expected.ok_or_else(|| TensorError::Shape { shape: shape.clone() })?;
                if data.len() != expected {
                    let seen = data.len();
                    return Err(TensorError::Size { data_type, elements, expected, seen });
                }
            }
            None => check_strings(elements, &data)?,
        }
        if data_type == DataType::Bool
            && let Some(value) = data.iter().copied().find(|byte| *byte > 1)
        {
            return Err(TensorError::Bool { value });
        }
        Ok(Self { data_type, shape: shape.into(), data })
    }

    /// The type of the elements.
    pub fn data_type(&self) -> DataType {
        self.data_type
    }

    /// The size of each dimension.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// The elements of a [`DataType::Bytes`] tensor; `None` for other types.
    pub fn strings(&self) -> impl Iterator<Item = &[u8]> {
        let data = if self.data_type == DataType::Bytes { self.data.as_ref() } else { &[] };
        Strings { data, offset: 0 }.map_while(Result::ok)
    }

    /// The elements as numbers; `None` for [`DataType::Bytes`]. Whole numbers beyond 2^53 are rounded.
    pub fn numbers(&self) -> Option<Vec<f64>> {
        let data = &self.data;
        Some(match self.data_type {
            DataType::Bool | DataType::U8 => data.iter().map(|n| f64::from(*n)).collect(),
            DataType::I8 => data.iter().map(|n| f64::from(n.cast_signed())).collect(),
            DataType::U16 => each(data, |bytes| u16::from_le_bytes(bytes).into()),
            DataType::I16 => each(data, |bytes| i16::from_le_bytes(bytes).into()),
            DataType::U32 => each(data, |bytes| u32::from_le_bytes(bytes).into()),
            DataType::I32 => each(data, |bytes| i32::from_le_bytes(bytes).into()),
            DataType::U64 => each(data, |bytes| u64::from_le_bytes(bytes) as f64),
            DataType::I64 => each(data, |bytes| i64::from_le_bytes(bytes) as f64),
            DataType::F16 => each(data, |bytes| half::f16::from_le_bytes(bytes).into()),
            DataType::Bf16 => each(data, |bytes| half::bf16::from_le_bytes(bytes).into()),
            DataType::F32 => each(data, |bytes| f32::from_le_bytes(bytes).into()),
            DataType::F64 => each(data, f64::from_le_bytes),
            DataType::Bytes => return None,
        })
    }
}

fn each<const WIDTH: usize>(data: &[u8], read: impl Fn([u8; WIDTH]) -> f64) -> Vec<f64> {
    data.as_chunks().0.iter().map(|bytes| read(*bytes)).collect()
}

/// Shows a tensor without its elements: they are the caller's, and may be many.
impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({}{:?}, {} bytes)", self.data_type, self.shape, self.data.len())
    }
}

/// The number of elements of a shape; `None` on overflow.
pub fn count(shape: &[usize]) -> Option<usize> {
    // A zero dimension makes the count zero, whatever the others are.
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size))
}

/// Serialises byte strings as the data of a [`DataType::Bytes`] tensor. `None` if one exceeds 4 GiB.
pub fn pack_strings<'s>(strings: impl IntoIterator<Item = &'s [u8]>) -> Option<Bytes> {
    let mut data = Vec::new();
    for string in strings {
        data.extend_from_slice(&u32::try_from(string.len()).ok()?.to_le_bytes());
        data.extend_from_slice(string);
    }
    Some(data.into())
}

fn check_strings(expected: usize, data: &[u8]) -> Result<(), TensorError> {
    let mut seen = 0;
    for string in (Strings { data, offset: 0 }) {
        string?;
        seen += 1;
    }
    if seen == expected { Ok(()) } else { Err(TensorError::BytesCount { expected, seen }) }
}

struct Strings<'t> {
    data: &'t [u8],
    offset: usize,
}

impl<'t> Iterator for Strings<'t> {
    type Item = Result<&'t [u8], TensorError>;

    fn next(&mut self) -> Option<Self::Item> {
        let left = self.data.get(self.offset..).filter(|left| !left.is_empty())?;
        let cut = TensorError::BytesCut { offset: self.offset };
        let string = left.split_first_chunk::<4>().and_then(|(length, rest)| {
            rest.get(..usize::try_from(u32::from_le_bytes(*length)).ok()?)
        });
        match string {
            Some(string) => {
                self.offset += 4 + string.len();
                Some(Ok(string))
            }
            None => {
                self.offset = self.data.len();
                Some(Err(cut))
            }
        }
    }
}
