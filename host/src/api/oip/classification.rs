//! The classification extension: the best classes of each row as strings `value:index`, instead of a tensor of scores.

use std::cmp::Ordering;

use half::{bf16, f16};

use crate::tensor::{DataType, Tensor, pack_strings};

/// The `classes` best of each row of `scores`, best first. In a batch, each entry of the first dimension is a row; otherwise everything is
/// one row.
pub(super) fn classify(scores: &Tensor, classes: usize, is_batch: bool) -> Result<Tensor, String> {
    let values = read(scores)?;
    let (rows, batch) = match scores.shape().first() {
        Some(rows) if is_batch => (*rows, Some(*rows)),
        _ => (1, None),
    };
    let length = values.len().checked_div(rows).unwrap_or(0);
    let kept = classes.min(length);
    let mut texts = Vec::with_capacity(kept.saturating_mul(rows));
    for row in values.chunks(length.max(1)) {
        let mut order: Vec<usize> = (0..row.len()).collect();
        // Numbers before NaN; among equals the first.
        let better = |a: &usize, b: &usize| match (row[*a].is_nan(), row[*b].is_nan()) {
            (false, false) => {
                row[*b].partial_cmp(&row[*a]).unwrap_or(Ordering::Equal).then(a.cmp(b))
            }
            (a_is_nan, b_is_nan) => a_is_nan.cmp(&b_is_nan).then(a.cmp(b)),
        };
        order.sort_unstable_by(better);
        let is_float = scores.data_type().is_float();
        texts.extend(order.iter().take(kept).map(|place| match is_float {
            true => format!("{:.6}:{place}", row[*place]),
            false => format!("{}:{place}", row[*place]),
        }));
    }
    let shape = batch.into_iter().chain([kept]).collect();
    let data = pack_strings(texts.iter().map(String::as_bytes)).unwrap_or_default();
    Tensor::new(DataType::Bytes, shape, data).map_err(|error| error.to_string())
}

/// The numbers. 64-bit ones may lose digits beyond 2^53, which is good enough for ordering.
#[expect(clippy::cast_precision_loss, reason = "scores are ordered and shown, not computed with")]
fn read(tensor: &Tensor) -> Result<Vec<f64>, String> {
    fn map<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        bytes.as_chunks::<N>().0.iter().map(|chunk| number(*chunk)).collect()
    }
    let bytes = tensor.data();
    Ok(match tensor.data_type() {
        DataType::U8 => map(bytes, |[byte]| byte.into()),
        DataType::I8 => map(bytes, |byte| i8::from_le_bytes(byte).into()),
        DataType::U16 => map(bytes, |two| u16::from_le_bytes(two).into()),
        DataType::I16 => map(bytes, |two| i16::from_le_bytes(two).into()),
        DataType::U32 => map(bytes, |four| u32::from_le_bytes(four).into()),
        DataType::I32 => map(bytes, |four| i32::from_le_bytes(four).into()),
        DataType::U64 => map(bytes, |eight| u64::from_le_bytes(eight) as f64),
        DataType::I64 => map(bytes, |eight| i64::from_le_bytes(eight) as f64),
        DataType::F16 => map(bytes, |two| f16::from_le_bytes(two).into()),
        DataType::Bf16 => map(bytes, |two| bf16::from_le_bytes(two).into()),
        DataType::F32 => map(bytes, |four| f32::from_le_bytes(four).into()),
        DataType::F64 => map(bytes, f64::from_le_bytes),
        ty @ (DataType::Bool | DataType::Bytes) => {
            return Err(format!("classification is of scores, and the output is {ty}"));
        }
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn texts(tensor: &Tensor) -> Vec<String> {
        tensor.strings().map(|text| String::from_utf8_lossy(text).into_owned()).collect()
    }

    #[test]
    fn the_best_of_each_row_come_first() {
        let data: Vec<u8> = [0.25_f32, 0.5, 0.25, f32::NAN, -1.0, 3.0]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        let scores = Tensor::new(DataType::F32, vec![2, 3], Bytes::from(data)).expect("fits");
        let best = classify(&scores, 2, true).expect("numbers");
        assert_eq!(best.shape(), [2, 2]);
        assert_eq!(texts(&best), ["0.500000:1", "0.250000:0", "3.000000:2", "-1.000000:1"]);
        let all = classify(&scores, 100, false).expect("numbers");
        assert_eq!(all.shape(), [6]);
        assert_eq!(texts(&all)[5], "NaN:3");
    }

    #[test]
    fn what_has_no_order_is_refused() {
        let truths = Tensor::new(DataType::Bool, vec![1], Bytes::from_static(&[1])).expect("fits");
        assert!(classify(&truths, 1, false).is_err());
        let empty = Tensor::new(DataType::F32, vec![0], Bytes::new()).expect("fits");
        assert_eq!(classify(&empty, 3, false).expect("no classes").shape(), [0]);
    }
}
