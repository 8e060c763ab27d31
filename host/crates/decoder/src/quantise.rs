//! Turns rows of numbers into what a file stores, and measures what that loses.

use half::{bf16, f16};

use super::tensor::{BLOCK, Kind};

/// Scales that are tried for a block of 4 bits, as steps that the largest weight is from zero. The best one is kept.
const Q4_STEPS: [f32; 7] = [-8.0, -7.5, -7.0, 7.0, 7.5, 8.0, 8.5];

/// The bytes of a matrix.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded {
    /// Numbers, or the blocks of a quantised matrix without their scales.
    pub data: Vec<u8>,
    /// The blocks' scales. Empty if the matrix is not quantised.
    pub scales: Vec<u8>,
}

/// What a conversion loses.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Loss {
    /// Sum of the squares of the errors.
    pub errors: f64,
    /// Sum of the squares of the original weights.
    pub weights: f64,
}

impl Loss {
    /// The root of the mean squared error, in relation to that of the weights.
    pub fn relative(self) -> f64 {
        if self.weights > 0.0 { (self.errors / self.weights).sqrt() } else { 0.0 }
    }
}

/// A number that no file stores.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("it holds {value} in column {column}")]
pub struct NotFinite {
    pub column: usize,
    pub value: f32,
}

/// Stores a matrix row by row. Rows of quantised kinds are whole blocks.
#[derive(Debug)]
pub struct Encoder {
    kind: Kind,
    encoded: Encoded,
    loss: Loss,
}

impl Encoder {
    pub fn new(kind: Kind) -> Self {
        Self { kind, encoded: Encoded::default(), loss: Loss::default() }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`NotFinite`], also for a number that is too large for 16 bits.
    pub fn push(&mut self, row: &[f32]) -> Result<(), NotFinite> {
        let data = &mut self.encoded.data;
        let finite = |(column, value): (usize, f32)| match value.is_finite() {
            true => Ok(value),
            false => Err(NotFinite { column, value }),
        };
        row.iter().copied().enumerate().try_for_each(|one| finite(one).map(drop))?;
        self.loss.weights += row.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
        match self.kind {
            Kind::F32 => data.extend(row.iter().flat_map(|value| value.to_le_bytes())),
            Kind::F16 | Kind::BF16 => {
                for (column, value) in row.iter().copied().enumerate() {
                    let (bytes, stored) = match self.kind {
                        Kind::F16 => half_bytes(f16::from_f32(value)),
                        _ => brain_bytes(bf16::from_f32(value)),
                    };
                    finite((column, stored))?;
                    data.extend(bytes);
                    self.loss.errors += f64::from(stored - value).powi(2);
                }
            }
            Kind::Q8 | Kind::Q4 => {
                let blocks = row.as_chunks::<BLOCK>().0;
                blocks.iter().for_each(|block| self.push_block(block));
            }
        }
        Ok(())
    }

    fn push_block(&mut self, block: &[f32; BLOCK]) {
        let largest =
            block.iter().copied().fold(0.0, |a: f32, b| if b.abs() > a.abs() { b } else { a });
        let (scale, codes) = match self.kind {
            Kind::Q4 => {
                let tried = Q4_STEPS.map(|steps| coded(block, largest / steps, 8.0));
                let best = tried.into_iter().min_by(|(_, _, a), (_, _, b)| a.total_cmp(b));
                let (scale, codes, error) = best.expect("invariant: there are steps to try");
                self.loss.errors += error;
                (scale, codes)
            }
            Kind::F32 | Kind::F16 | Kind::BF16 | Kind::Q8 => {
                let (scale, codes, error) = coded(block, largest.abs() / 127.0, 128.0);
                self.loss.errors += error;
                (scale, codes)
            }
        };
        self.push_codes(scale, &codes);
    }

    /// Adds a block that is quantised already. Codes are from 0, and 8 or 128 is zero.
    pub fn push_codes(&mut self, scale: f32, codes: &[u8; BLOCK]) {
        self.encoded.scales.extend(scale.to_le_bytes());
        if self.kind == Kind::Q4 {
            let pairs = codes.as_chunks::<2>().0.iter();
            self.encoded.data.extend(pairs.map(|[low, high]| low & 15 | high << 4));
        } else {
            self.encoded.data.extend(codes);
        }
    }

    pub fn finish(self) -> (Encoded, Loss) {
        (self.encoded, self.loss)
    }
}

/// A block's codes with this scale, and the sum of the squares of the errors. `zero` is the code of zero, half of all codes.
fn coded(block: &[f32; BLOCK], scale: f32, zero: f32) -> (f32, [u8; BLOCK], f64) {
    // Too small to divide by: zeros.
    let inverse = if scale.is_normal() { scale.recip() } else { 0.0 };
    let scale = if inverse == 0.0 { 0.0 } else { scale };
    let mut error = 0.0;
    let codes = block.map(|value| {
        let code = (value * inverse + zero).round().clamp(0.0, zero * 2.0 - 1.0);
        error += f64::from(scale * (code - zero) - value).powi(2);
        // In 0..=255, checked by `clamp`.
        code as u8
    });
    (scale, codes, error)
}

fn half_bytes(value: f16) -> ([u8; 2], f32) {
    (value.to_le_bytes(), value.to_f32())
}

fn brain_bytes(value: bf16) -> ([u8; 2], f32) {
    (value.to_le_bytes(), value.to_f32())
}
