//! Tensors: a name, a type, dimensions, and elements.

use std::borrow::Cow;

use bytes::Bytes;
use half::{bf16, f16};

use super::types::{Size, Type};
use super::{Entry, Verbatim};
use crate::schema::{STRING, element_bits};

/// A tensor (`TensorProto`).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tensor {
    pub name: String,
    pub element: ElementType,
    pub dims: Vec<i64>,
    pub data: Data,
    pub doc: String,
    pub metadata: Vec<Entry>,
    /// Which part of a larger tensor it is, as it was read.
    pub(crate) segment: Verbatim,
}

/// A tensor's elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// Numbers, little-endian, in row-major order. Those of less than a byte share bytes.
    Bytes(Bytes),
    Texts(Vec<Bytes>),
    /// In another file: `location`, and perhaps `offset` and `length` in bytes.
    Outside(Vec<Entry>),
}

/// A tensor of which only elements other than zero are listed (`SparseTensorProto`).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SparseTensor {
    /// Its name is the name of the whole.
    pub values: Tensor,
    pub indices: Tensor,
    pub dims: Vec<i64>,
}

/// The type of elements (`TensorProto.DataType`), by its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ElementType(pub i32);

impl ElementType {
    pub const UNDEFINED: Self = Self(0);
    pub const FLOAT: Self = Self(1);
    pub const UINT8: Self = Self(2);
    pub const INT8: Self = Self(3);
    pub const UINT16: Self = Self(4);
    pub const INT16: Self = Self(5);
    pub const INT32: Self = Self(6);
    pub const INT64: Self = Self(7);
    pub const STRING: Self = Self(8);
    pub const BOOL: Self = Self(9);
    pub const FLOAT16: Self = Self(10);
    pub const DOUBLE: Self = Self(11);
    pub const UINT32: Self = Self(12);
    pub const UINT64: Self = Self(13);
    pub const BFLOAT16: Self = Self(16);
    pub const UINT4: Self = Self(21);
    pub const INT4: Self = Self(22);

    /// Its name in ONNX.
    pub fn name(self) -> &'static str {
        const NAMES: [&str; 29] = [
            "UNDEFINED",
            "FLOAT",
            "UINT8",
            "INT8",
            "UINT16",
            "INT16",
            "INT32",
            "INT64",
            "STRING",
            "BOOL",
            "FLOAT16",
            "DOUBLE",
            "UINT32",
            "UINT64",
            "COMPLEX64",
            "COMPLEX128",
            "BFLOAT16",
            "FLOAT8E4M3FN",
            "FLOAT8E4M3FNUZ",
            "FLOAT8E5M2",
            "FLOAT8E5M2FNUZ",
            "UINT4",
            "INT4",
            "FLOAT4E2M1",
            "FLOAT8E8M0",
            "UINT2",
            "INT2",
            "FLOAT6E2M3",
            "FLOAT6E3M2",
        ];
        let name = usize::try_from(self.0).ok().and_then(|number| NAMES.get(number).copied());
        name.unwrap_or("an unknown type")
    }

    /// Bits of an element; `None` for texts and unknown types.
    pub fn bits(self) -> Option<u64> {
        element_bits(u64::try_from(self.0).ok()?)
    }

    pub(super) fn is_text(self) -> bool {
        u64::try_from(self.0).is_ok_and(|number| number == STRING)
    }
}

/// A type of Rust that elements of a tensor may be read as.
pub trait Element: bytemuck::Pod {
    /// The type in ONNX.
    const TYPE: ElementType;
}

macro_rules! elements {
    ($($rust:ty: $onnx:ident),+ $(,)?) => {$(
        impl Element for $rust {
            const TYPE: ElementType = ElementType::$onnx;
        }
    )+};
}

elements! {
    f32: FLOAT, u8: UINT8, i8: INT8, u16: UINT16, i16: INT16, i32: INT32, i64: INT64, f16: FLOAT16,
    f64: DOUBLE, u32: UINT32, u64: UINT64, bf16: BFLOAT16,
}

/// Why a tensor's elements cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    #[error("tensor `{name}` has elements of type {found}, not {wanted}")]
    Type { name: String, found: &'static str, wanted: &'static str },
    #[error("tensor `{name}` has {found} bytes, and its shape asks for {wanted}: export it again")]
    Length { name: String, found: u64, wanted: u64 },
    #[error("the elements of tensor `{name}` are in another file: put them into the model first")]
    Outside { name: String },
}

impl Default for Data {
    fn default() -> Self {
        Data::Bytes(Bytes::new())
    }
}

impl Tensor {
    /// A tensor of these elements. The dimensions are not checked against them here; [`crate::Model::write`] does.
    pub fn new<T: Element>(name: impl Into<String>, dims: &[i64], elements: &[T]) -> Self {
        let little: Cow<'_, [u8]> = little_endian(elements);
        let data = Data::Bytes(Bytes::from(little.into_owned()));
        Self { name: name.into(), element: T::TYPE, dims: dims.to_vec(), data, ..Self::default() }
    }

    /// A tensor of these bytes, for types that Rust does not have (BOOL, INT4, …).
    pub fn of_bytes(
        name: impl Into<String>,
        element: ElementType,
        dims: &[i64],
        bytes: impl Into<Bytes>,
    ) -> Self {
        let data = Data::Bytes(bytes.into());
        Self { name: name.into(), element, dims: dims.to_vec(), data, ..Self::default() }
    }

    /// A tensor of texts.
    pub fn of_texts(name: impl Into<String>, dims: &[i64], texts: &[&str]) -> Self {
        let texts = texts.iter().map(|text| Bytes::copy_from_slice(text.as_bytes())).collect();
        Self {
            name: name.into(),
            element: ElementType::STRING,
            dims: dims.to_vec(),
            data: Data::Texts(texts),
            ..Self::default()
        }
    }

    /// The number of elements that its dimensions ask for; `None` if that cannot be counted.
    pub fn count(&self) -> Option<u64> {
        let sizes = self.dims.iter().map(|size| u64::try_from(*size).ok());
        sizes.into_iter().try_fold(1_u64, |product, size| product.checked_mul(size?))
    }

    /// Its type and shape.
    pub fn ty(&self) -> Type {
        let sizes: Vec<Size> = self.dims.iter().map(|size| Size::Fixed(*size)).collect();
        Type::tensor(self.element, &sizes)
    }

    /// Its elements, without copying them where they are aligned.
    ///
    /// # Errors
    /// [`TensorError`] if they are of another type, are not as many as the shape asks for, or are in another file.
    pub fn elements<T: Element>(&self) -> Result<Cow<'_, [T]>, TensorError> {
        if self.element != T::TYPE {
            let (found, wanted) = (self.element.name(), T::TYPE.name());
            return Err(TensorError::Type { name: self.quoted(), found, wanted });
        }
        let bytes = self.bytes()?;
        if cfg!(target_endian = "big") {
            let mut elements = bytemuck::pod_collect_to_vec::<u8, T>(bytes);
            swap_bytes(&mut elements);
            return Ok(Cow::Owned(elements));
        }
        Ok(match bytemuck::try_cast_slice(bytes) {
            Ok(elements) => Cow::Borrowed(elements),
            Err(_) => Cow::Owned(bytemuck::pod_collect_to_vec(bytes)),
        })
    }

    /// Its elements as bytes.
    ///
    /// # Errors
    /// [`TensorError`] as for [`Tensor::elements`].
    pub fn bytes(&self) -> Result<&[u8], TensorError> {
        let bytes = match &self.data {
            Data::Bytes(bytes) => bytes,
            Data::Outside(_) => return Err(TensorError::Outside { name: self.quoted() }),
            Data::Texts(_) => {
                let found = self.element.name();
                return Err(TensorError::Type { name: self.quoted(), found, wanted: "a number" });
            }
        };
        let bits = self.count().zip(self.element.bits());
        let wanted = bits.and_then(|(count, bits)| count.checked_mul(bits));
        let wanted = wanted.map_or(u64::MAX, |bits| bits.div_ceil(8));
        let found = bytes.len() as u64;
        if found != wanted {
            return Err(TensorError::Length { name: self.quoted(), found, wanted });
        }
        Ok(bytes)
    }

    fn quoted(&self) -> String {
        crate::refused::quoted(&self.name)
    }
}

impl SparseTensor {
    pub(super) fn tensors_mut(&mut self) -> [&mut Tensor; 2] {
        [&mut self.values, &mut self.indices]
    }
}

fn little_endian<T: Element>(elements: &[T]) -> Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        return Cow::Borrowed(bytemuck::cast_slice(elements));
    }
    let mut swapped = elements.to_vec();
    swap_bytes(&mut swapped);
    Cow::Owned(bytemuck::cast_slice(&swapped).to_vec())
}

fn swap_bytes<T: Element>(elements: &mut [T]) {
    let width = size_of::<T>();
    for element in bytemuck::cast_slice_mut::<T, u8>(elements).chunks_exact_mut(width) {
        element.reverse();
    }
}
