//! Generated inputs for a model that nobody has called yet.

use bytes::Bytes;

use super::graph::ComputeError;
use super::signature::{ModelSignature, TensorSpec};
use super::trial::TrialError;
use hospes_core::tensor::{self, DataType, RANK_MAX, Tensor, TensorError, pack_strings};
use hospes_onnx::{Accepted, CATEGORY_BYTES_MAX, Category};

/// The attempts, in order: the size of open dimensions, and the content of the elements.
pub(super) const ATTEMPTS: [(usize, Fill); 6] = [
    (1, Fill::Ones),
    (1, Fill::Zeros),
    (2, Fill::Places),
    (3, Fill::Ones),
    (16, Fill::Places),
    (512, Fill::Ones),
];

/// Maximum input bytes of every attempt except the one with the fewest elements.
const LARGE_BYTES_MAX: usize = 16 << 20;

/// Most columns of an input that gets categories which the model lists. Wider ones get generated elements only.
const ACCEPTED_COLUMNS_MAX: usize = 4096;

/// The content of elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fill {
    Zeros,
    Ones,
    /// The index of the input, so that the end of a range is after its start.
    Places,
    /// Small numbers that differ from element to element.
    Varied,
}

/// A model's inputs, and what is known of their values.
pub(super) struct Samples<'m> {
    pub(super) signature: &'m ModelSignature,
    pub(super) tensor_bytes_max: usize,
    /// Categories that it lists.
    pub(super) accepted: &'m [Accepted],
}

impl Samples<'_> {
    /// Inputs of this kind; `None` if they would be large and are not required.
    pub(super) fn invent(
        &self,
        open: usize,
        fill: Fill,
        is_first: bool,
    ) -> Result<Option<Vec<(String, Tensor)>>, TrialError> {
        let mut bytes = 0_usize;
        let mut inputs = Vec::new();
        for (place, spec) in self.signature.required().enumerate() {
            let shape = smallest(spec, open);
            if shape.len() > RANK_MAX {
                return Err(TensorError::Rank { rank: shape.len() }.into());
            }
            let elements =
                tensor::count(&shape).ok_or_else(|| TensorError::Shape { shape: shape.clone() })?;
            bytes =
                bytes.saturating_add(elements.saturating_mul(spec.data_type.size().unwrap_or(5)));
            if bytes > self.tensor_bytes_max {
                let (what, max) = ("inputs", self.tensor_bytes_max);
                let error = ComputeError::TooLarge { what, bytes, max };
                return if is_first { Err(TrialError::Fails(error)) } else { Ok(None) };
            }
            if bytes > LARGE_BYTES_MAX && !is_first {
                return Ok(None);
            }
            let number = match fill {
                Fill::Zeros => 0,
                Fill::Ones => 1,
                Fill::Places | Fill::Varied => u8::try_from(place).unwrap_or(u8::MAX),
            };
            let mut values = self.accepted.iter().filter(|one| one.input == spec.name).peekable();
            let width = shape.last().copied().unwrap_or(1);
            // Texts make an input longer than its elements say, and the host holds it.
            let is_small = (1..=ACCEPTED_COLUMNS_MAX).contains(&width)
                && elements.saturating_mul(CATEGORY_BYTES_MAX) <= LARGE_BYTES_MAX;
            let data = if is_small && values.peek().is_some() {
                with_accepted(spec.data_type, number, elements, width, values)
            } else if fill == Fill::Varied {
                varied(spec.data_type, elements)
            } else {
                elements_of(spec.data_type, number, elements)
            };
            inputs.push((spec.name.clone(), Tensor::new(spec.data_type, shape, data)?));
        }
        Ok(Some(inputs))
    }
}

fn smallest(spec: &TensorSpec, open: usize) -> Vec<usize> {
    match &spec.shape {
        Some(sizes) => sizes.iter().map(|size| size.unwrap_or(open)).collect(),
        None => vec![open],
    }
}

/// The bytes of this many elements with this value.
fn elements_of(ty: DataType, number: u8, count: usize) -> Bytes {
    if ty == DataType::Bytes {
        let text = number.to_string();
        return pack_strings(std::iter::repeat_n(text.as_bytes(), count)).unwrap_or_default();
    }
    element(ty, number.into()).repeat(count).into()
}

/// Numbers below this are in every vocabulary, and so many of them have no pattern that a kernel could treat alike.
const VARIED_MAX: usize = 11;

/// So many small numbers that differ.
fn varied(ty: DataType, count: usize) -> Bytes {
    let numbers =
        (0..count).map(|place| place.wrapping_mul(31).wrapping_add(place / 7) % VARIED_MAX);
    if ty == DataType::Bytes {
        let texts: Vec<String> = numbers.map(|number| number.to_string()).collect();
        return pack_strings(texts.iter().map(String::as_bytes)).unwrap_or_default();
    }
    numbers.flat_map(|number| element(ty, number as i64)).collect()
}

/// The same for rows of `width` elements, some columns of which have values that the model lists.
fn with_accepted<'a>(
    ty: DataType,
    number: u8,
    count: usize,
    width: usize,
    accepted: impl Iterator<Item = &'a Accepted>,
) -> Bytes {
    let mut columns = vec![Category::Number(number.into()); width];
    for Accepted { column, category, .. } in accepted {
        match column {
            None => columns.fill(category.clone()),
            Some(column) => {
                if let Some(place) = columns.get_mut(*column) {
                    *place = category.clone();
                }
            }
        }
    }
    let columns: Vec<Vec<u8>> = columns
        .into_iter()
        .map(|category| match category {
            Category::Text(text) => text,
            Category::Number(number) if ty == DataType::Bytes => number.to_string().into_bytes(),
            Category::Number(number) => element(ty, number),
        })
        .collect();
    let elements = columns.iter().cycle().take(count).map(Vec::as_slice);
    if ty == DataType::Bytes {
        return pack_strings(elements).unwrap_or_default();
    }
    elements.flatten().copied().collect()
}

/// The bytes of one number, or of the nearest that the type has.
pub(super) fn element(ty: DataType, number: i64) -> Vec<u8> {
    /// Little-endian bytes of the nearest number of an integer type.
    macro_rules! integer {
        ($type:ty) => {{
            let (low, high) = (i128::from(<$type>::MIN), i128::from(<$type>::MAX));
            let number = i128::from(number).clamp(low, high);
            <$type>::try_from(number).unwrap_or_default().to_le_bytes().into()
        }};
    }
    match ty {
        DataType::Bool => vec![u8::from(number != 0)],
        DataType::U8 => integer!(u8),
        DataType::I8 => integer!(i8),
        DataType::U16 => integer!(u16),
        DataType::I16 => integer!(i16),
        DataType::U32 => integer!(u32),
        DataType::I32 => integer!(i32),
        DataType::U64 => integer!(u64),
        DataType::I64 => integer!(i64),
        DataType::F16 => half::f16::from_f64(number as f64).to_le_bytes().into(),
        DataType::Bf16 => half::bf16::from_f64(number as f64).to_le_bytes().into(),
        DataType::F32 => (number as f32).to_le_bytes().into(),
        DataType::F64 => (number as f64).to_le_bytes().into(),
        DataType::Bytes => Vec::new(),
    }
}
