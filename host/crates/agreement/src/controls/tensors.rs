//! The projection of named tensors.

use bytes::Bytes;
use half::{bf16, f16};

use super::number::best;
use super::{ControlError, Controls};
use hospes_core::tensor::{DataType, Tensor};

pub(super) fn project(
    controls: &Controls,
    outputs: Vec<(String, Tensor)>,
) -> Result<Vec<(String, Tensor)>, ControlError> {
    let mut released = Vec::with_capacity(outputs.len());
    for (name, tensor) in outputs {
        let named = controls.names(&name);
        if controls.fields.is_some() && !named {
            continue;
        }
        if let Some(tensor) = one(controls, &tensor, named)? {
            released.push((name, tensor));
        }
    }
    if released.is_empty() { Err(ControlError::Nothing) } else { Ok(released) }
}

/// The projection of one tensor; `None` if it is dropped.
fn one(controls: &Controls, tensor: &Tensor, named: bool) -> Result<Option<Tensor>, ControlError> {
    match tensor.data_type() {
        _ if !controls.restricts() => Ok(Some(tensor.clone())),
        DataType::Bool => Ok(Some(tensor.clone())),
        DataType::U8
        | DataType::U16
        | DataType::U32
        | DataType::U64
        | DataType::I8
        | DataType::I16
        | DataType::I32
        | DataType::I64
        | DataType::Bytes => Ok(named.then(|| tensor.clone())),
        DataType::F16 | DataType::Bf16 | DataType::F32 | DataType::F64 => numbers(controls, tensor),
    }
}

fn numbers(controls: &Controls, tensor: &Tensor) -> Result<Option<Tensor>, ControlError> {
    let scores = read(controls, tensor);
    let shape = tensor.shape().to_vec();
    let wide = tensor.data_type() == DataType::F64;
    let Some((most, row)) = controls.ranked().zip(shape.last().copied()) else {
        // A single number is a score that ranks nothing.
        return if controls.label_only { Ok(None) } else { write(wide, shape, &scores).map(Some) };
    };
    let row = row.max(1);
    if controls.label_only {
        let kept = most.min(row);
        let positions: Vec<u8> = scores
            .chunks(row)
            .flat_map(|row| best(row, kept))
            .flat_map(|place| i64::try_from(place).unwrap_or(i64::MAX).to_le_bytes())
            .collect();
        let mut shape = shape;
        if let Some(last) = shape.last_mut() {
            *last = kept.min(*last);
        }
        return Ok(Some(Tensor::new(DataType::I64, shape, Bytes::from(positions))?));
    }
    let mut masked = vec![f64::NEG_INFINITY; scores.len()];
    for (from, to) in scores.chunks(row).zip(masked.chunks_mut(row)) {
        for place in best(from, most) {
            to[place] = from[place];
        }
    }
    write(wide, shape, &masked).map(Some)
}

/// The elements, as released.
fn read(controls: &Controls, tensor: &Tensor) -> Vec<f64> {
    let data = tensor.data();
    let narrow = |number: f32| f64::from(controls.f32(number));
    match tensor.data_type() {
        DataType::F16 => {
            let halves = data.chunks_exact(2).filter_map(|two| two.try_into().ok());
            halves.map(|two| narrow(f16::from_le_bytes(two).to_f32())).collect()
        }
        DataType::Bf16 => {
            let halves = data.chunks_exact(2).filter_map(|two| two.try_into().ok());
            halves.map(|two| narrow(bf16::from_le_bytes(two).to_f32())).collect()
        }
        DataType::F32 => {
            let singles = data.chunks_exact(4).filter_map(|four| four.try_into().ok());
            singles.map(|four| narrow(f32::from_le_bytes(four))).collect()
        }
        _ => {
            let doubles = data.chunks_exact(8).filter_map(|eight| eight.try_into().ok());
            doubles.map(|eight| controls.f64(f64::from_le_bytes(eight))).collect()
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "what came from an f32 goes back into one")]
fn write(wide: bool, shape: Vec<usize>, numbers: &[f64]) -> Result<Tensor, ControlError> {
    let narrow = |number: f64| if number.is_nan() { f32::NAN } else { number as f32 };
    let (ty, bytes): (_, Vec<u8>) = if wide {
        (DataType::F64, numbers.iter().flat_map(|number| number.to_le_bytes()).collect())
    } else {
        (DataType::F32, numbers.iter().flat_map(|number| narrow(*number).to_le_bytes()).collect())
    };
    Ok(Tensor::new(ty, shape, Bytes::from(bytes))?)
}
