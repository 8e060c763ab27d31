//! Numbers in fewer bits: `real = (stored - zero) * scale`, as ONNX defines it (`DequantizeLinear`).

use crate::array::Array;

/// The largest stored weight. Two products of such weights with 255 may exceed 16 bits, where a processor without VNNI adds them up.
pub const FULL: i8 = 127;
/// The largest weight whose products with 255 never exceed 16 bits in pairs: exact on every processor, with a bit less.
pub const SAFE: i8 = 64;

/// Weights in 8 bits, symmetric, with a scale for each channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights8 {
    pub values: Vec<i8>,
    /// One for each index of the axis, greater than zero.
    pub scales: Vec<f32>,
}

/// Stores weights in 8 bits, with a scale for each index of `axis`. `floor` gives the smallest scale of a channel that may be used; 0 for
/// any.
pub fn weights8(array: &Array, axis: usize, max: i8, floor: impl Fn(usize) -> f32) -> Weights8 {
    let channels = array.dims.get(axis).copied().unwrap_or(1);
    let mut scales = vec![0.0_f32; channels];
    for (at, value) in array.values.iter().enumerate() {
        let scale = &mut scales[array.channel(axis, at)];
        *scale = scale.max(value.abs());
    }
    for (channel, scale) in scales.iter_mut().enumerate() {
        *scale = positive((*scale / f32::from(max)).max(floor(channel)));
    }
    let stored = array.values.iter().enumerate().map(|(at, value)| {
        let scale = scales[array.channel(axis, at)];
        (value / scale).round_ties_even().clamp(-f32::from(max), f32::from(max)) as i8
    });
    Weights8 { values: stored.collect(), scales }
}

/// A scale that may be divided by.
fn positive(scale: f32) -> f32 {
    if scale.is_normal() { scale } else { 1.0 }
}

/// The smallest and the largest number that a value was seen to have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    pub low: f32,
    pub high: f32,
}

impl Range {
    /// The range of these numbers; `None` if there is none, or one is not finite.
    pub fn of(values: &[f32]) -> Option<Self> {
        let mut range = Range { low: f32::INFINITY, high: f32::NEG_INFINITY };
        for value in values {
            if !value.is_finite() {
                return None;
            }
            range = Range { low: range.low.min(*value), high: range.high.max(*value) };
        }
        (!values.is_empty()).then_some(range)
    }

    /// The smallest range with both in it.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Range { low: self.low.min(other.low), high: self.high.max(other.high) }
    }

    /// Scale and zero for 8 bits without sign. Zero itself is always represented exactly, which padding needs.
    pub fn unsigned8(self) -> (f32, u8) {
        let (low, high) = (self.low.min(0.0), self.high.max(0.0));
        let scale = positive((high - low) / 255.0);
        (scale, (-low / scale).round_ties_even().clamp(0.0, 255.0) as u8)
    }
}

/// Blocks of a column in few bits, as `MatMulNBits` has them.
#[derive(Debug, Clone, PartialEq)]
pub struct Blocks {
    /// For each column, for each block, its bytes. Of 4 bits, the first number is in the lower half.
    pub bytes: Vec<u8>,
    /// For each column, for each block.
    pub scales: Vec<f32>,
}

/// Stores each column of a matrix (rows, columns) in blocks of `size` numbers with `bits` bits each: 4 or 8. The zero is in the middle.
pub fn blocks(matrix: &Array, bits: u32, size: usize) -> Option<Blocks> {
    let columns = matrix.transposed()?;
    let rows = columns.dims[1];
    let half = f32::from(1_u8 << (bits - 1));
    let (mut bytes, mut scales) = (Vec::new(), Vec::new());
    for column in columns.values.chunks(rows) {
        for block in column.chunks(size) {
            // The number that is farthest from zero becomes the end that has one more step.
            let farthest = block
                .iter()
                .copied()
                .fold(0.0_f32, |far, value| if value.abs() > far.abs() { value } else { far });
            let scale = -farthest / half;
            let scale = if scale.is_normal() { scale } else { 1.0 };
            let stored = |at: usize| {
                let value = block.get(at).copied().unwrap_or(0.0);
                (value / scale + half).round_ties_even().clamp(0.0, 2.0 * half - 1.0) as u8
            };
            match bits {
                4 => {
                    let pairs = (0..size).step_by(2);
                    bytes.extend(pairs.map(|at| stored(at) | stored(at + 1) << 4));
                }
                _ => bytes.extend((0..size).map(stored)),
            }
            scales.push(scale);
        }
    }
    Some(Blocks { bytes, scales })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matrix() -> impl Strategy<Value = Array> {
        (1_usize..5, 1_usize..40).prop_flat_map(|(columns, rows)| {
            proptest::collection::vec(-9.0_f32..9.0, rows * columns)
                .prop_map(move |values| Array { dims: vec![rows, columns], values })
        })
    }

    proptest! {
        #[test]
        fn weights_come_back_within_half_a_step(array in matrix(), axis in 0_usize..2, safe: bool) {
            let max = if safe { SAFE } else { FULL };
            let stored = weights8(&array, axis, max, |_| 0.0);
            for (at, (value, number)) in array.values.iter().zip(&stored.values).enumerate() {
                let scale = stored.scales[array.channel(axis, at)];
                prop_assert!((f32::from(*number) * scale - value).abs() <= scale * 0.5001);
                prop_assert!(number.unsigned_abs() <= max.unsigned_abs());
            }
        }

        #[test]
        fn values_come_back_within_half_a_step(low in -9.0_f32..9.0, width in 0.01_f32..9.0, part in 0.0_f32..1.0) {
            let range = Range { low, high: low + width };
            let (scale, zero) = range.unsigned8();
            let value = low + part * width;
            let stored = (value / scale + f32::from(zero)).round_ties_even().clamp(0.0, 255.0);
            // The zero is rounded too, so the ends may be off by another half.
            prop_assert!(((stored - f32::from(zero)) * scale - value).abs() <= scale * 1.001);
        }

        #[test]
        fn blocks_come_back_within_a_step(array in matrix(), bits in prop_oneof![Just(4_u32), Just(8)]) {
            let size = 16;
            let stored = blocks(&array, bits, size).expect("a matrix");
            let (rows, columns) = (array.dims[0], array.dims[1]);
            let per_column = rows.div_ceil(size);
            prop_assert_eq!(stored.scales.len(), columns * per_column);
            prop_assert_eq!(stored.bytes.len(), columns * per_column * size * bits as usize / 8);
            for column in 0..columns {
                for row in 0..rows {
                    let block = column * per_column + row / size;
                    let number = match bits {
                        4 => stored.bytes[(block * size + row % size) / 2] >> (row % 2 * 4) & 15,
                        _ => stored.bytes[block * size + row % size],
                    };
                    let half = f32::from(1_u8 << (bits - 1));
                    let scale = stored.scales[block];
                    let back = (f32::from(number) - half) * scale;
                    // Numbers opposite to the farthest one have one step less.
                    let value = array.values[row * columns + column];
                    prop_assert!((back - value).abs() <= scale.abs() * 1.001);
                }
            }
        }
    }

    #[test]
    fn a_channel_of_zeros_stays_zero() {
        let array = Array { dims: vec![2, 2], values: vec![0.0, 1.0, 0.0, -2.0] };
        let stored = weights8(&array, 1, FULL, |_| 0.0);
        assert_eq!(stored.values, [0, 64, 0, -127]);
        assert_eq!(stored.scales, [1.0, 2.0 / 127.0]);
    }

    #[test]
    fn zero_is_exact_and_ranges_grow() {
        let range = Range::of(&[3.0, 5.0]).expect("finite");
        assert_eq!(range.unsigned8(), (5.0 / 255.0, 0));
        let range = range.with(Range { low: -4.0, high: 0.0 });
        assert_eq!(range.unsigned8(), (9.0 / 255.0, 113));
        assert_eq!(Range::of(&[]), None);
        assert_eq!(Range::of(&[f32::NAN]), None);
    }
}
