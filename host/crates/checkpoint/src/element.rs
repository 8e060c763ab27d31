//! The types of others' weights: how many bytes they take, and their values. The blocks are those of ggml (`ggml-quants.c`).

use half::{bf16, f16};

use super::kquants;

/// How a tensor is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
}

impl Element {
    /// That of a number in GGUF's list of tensors.
    pub(super) const fn of_gguf(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::Q4_0,
            3 => Self::Q4_1,
            6 => Self::Q5_0,
            7 => Self::Q5_1,
            8 => Self::Q8_0,
            10 => Self::Q2K,
            11 => Self::Q3K,
            12 => Self::Q4K,
            13 => Self::Q5K,
            14 => Self::Q6K,
            30 => Self::BF16,
            _ => return None,
        })
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q2K => "Q2_K",
            Self::Q3K => "Q3_K",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
        }
    }

    /// Weights of a block.
    pub(super) const fn weights(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => 32,
            Self::Q2K | Self::Q3K | Self::Q4K | Self::Q5K | Self::Q6K => kquants::WEIGHTS,
        }
    }

    /// Bytes of a block.
    pub(super) const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q2K => 84,
            Self::Q3K => 110,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }

    /// Bytes of a row; `None` if it is not whole blocks.
    pub(super) fn row_bytes(self, columns: u64) -> Option<u64> {
        let blocks = columns.checked_div(self.weights() as u64)?;
        let whole = columns.is_multiple_of(self.weights() as u64);
        if whole { blocks.checked_mul(self.bytes() as u64) } else { None }
    }

    /// Appends the values of whole blocks to `out`.
    pub(super) fn values(self, bytes: &[u8], out: &mut Vec<f32>) {
        for block in bytes.chunks_exact(self.bytes()) {
            match self {
                Self::F32 => out.extend(block.first_chunk().map(|four| f32::from_le_bytes(*four))),
                Self::F16 => out.extend(half(block)),
                Self::BF16 => {
                    out.extend(block.first_chunk().map(|two| bf16::from_le_bytes(*two).to_f32()));
                }
                Self::Q4_0 | Self::Q8_0 => {
                    if let Some((scale, codes)) = self.codes(block) {
                        let zero = if self == Self::Q4_0 { 8.0 } else { 128.0 };
                        out.extend(codes.map(|code| scale * (f32::from(code) - zero)));
                    }
                }
                Self::Q4_1 => out.extend(small(block, None, 1)),
                Self::Q5_0 => out.extend(small(block, Some(2), 0)),
                Self::Q5_1 => out.extend(small(block, Some(4), 1)),
                Self::Q2K => kquants::q2(block, out),
                Self::Q3K => kquants::q3(block, out),
                Self::Q4K => kquants::q4(block, out),
                Self::Q5K => kquants::q5(block, out),
                Self::Q6K => kquants::q6(block, out),
            }
        }
    }

    /// The scale and the codes of a block of `Q4_0` or `Q8_0`, from 0: 8 or 128 is zero. `None` for other types.
    pub(super) fn codes(self, block: &[u8]) -> Option<(f32, [u8; 32])> {
        let scale = half(block)?;
        let rest = block.get(2..)?;
        match self {
            Self::Q4_0 => Some((scale, nibbles(rest.first_chunk()?))),
            Self::Q8_0 => {
                Some((scale, rest.first_chunk::<32>()?.map(|code| code.wrapping_add(128))))
            }
            _ => None,
        }
    }
}

/// The half-precision number that bytes begin with.
pub(super) fn half(bytes: &[u8]) -> Option<f32> {
    bytes.first_chunk().map(|two| f16::from_le_bytes(*two).to_f32())
}

/// The lower nibbles come first, then the upper ones.
fn nibbles(bytes: &[u8; 16]) -> [u8; 32] {
    let mut codes = [0; 32];
    let (low, high) = codes.split_at_mut(16);
    for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
        (*low, *high) = (byte & 15, byte >> 4);
    }
    codes
}

/// The values of a block with 4 or 5 bits. `high` is the place of the fifth bits; `offset` says whether the block has its own minimum, or
/// the middle code is zero.
fn small(block: &[u8], high: Option<usize>, offset: u8) -> impl Iterator<Item = f32> {
    let part = |from: usize| block.get(from..).unwrap_or_default();
    let scale = half(block).unwrap_or_default();
    let minimum = if offset == 1 { half(part(2)).unwrap_or_default() } else { 0.0 };
    let bits =
        high.and_then(|at| part(at).first_chunk()).map_or(0, |four| u32::from_le_bytes(*four));
    let codes = nibbles(part(block.len().saturating_sub(16)).first_chunk().unwrap_or(&[0; 16]));
    let zero = if offset == 1 { 0.0 } else { 16.0 };
    codes.into_iter().enumerate().map(move |(place, code)| {
        let fifth = (bits >> place & 1) as u8;
        scale * (f32::from(code | fifth << 4) - zero) + minimum
    })
}
