//! Views of weights: where they lie, how they are stored, and their values.

use half::{bf16, f16};

/// Weights of a row that share a scale.
pub const BLOCK: usize = 32;

/// How a matrix is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    F32,
    F16,
    BF16,
    Q8,
    Q4,
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::Q8 => "q8",
            Self::Q4 => "q4",
        }
    }

    /// The width of a quantised weight.
    pub const fn bits(self) -> Option<u32> {
        match self {
            Self::Q8 => Some(8),
            Self::Q4 => Some(4),
            Self::F32 | Self::F16 | Self::BF16 => None,
        }
    }

    /// Bytes of a block's weights, without its scale. Only quantised kinds have blocks.
    pub(super) const fn block_bytes(self) -> usize {
        match self {
            Self::Q4 => BLOCK / 2,
            Self::F32 | Self::F16 | Self::BF16 | Self::Q8 => BLOCK,
        }
    }
}

/// A matrix's bytes, all little-endian and row by row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage<'b> {
    F32(&'b [u8]),
    F16(&'b [u8]),
    BF16(&'b [u8]),
    /// A weight is `scale * (byte - zero)`, where zero is 128 if there are no zero points.
    Q8(Blocks<'b>),
    /// A weight is `scale * (nibble - zero)`, where zero is 8 if there are no zero points. The lower nibble comes first.
    Q4(Blocks<'b>),
}

/// Quantised weights in the layout of `MatMulNBits` with a block size of 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocks<'b> {
    /// u8, `[rows, columns / 32, 4 * bits]`.
    pub blocks: &'b [u8],
    /// f32, `[rows, columns / 32]`.
    pub scales: &'b [u8],
    /// u8: for 8 bits `[rows, columns / 32]`, for 4 bits `[rows, (columns / 32 + 1) / 2]`, the lower nibble first.
    pub zero_points: Option<&'b [u8]>,
}

/// A matrix of weights. It multiplies from the left: `y = W x`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matrix<'b> {
    /// The name in Hugging Face's models.
    pub name: String,
    /// Sizes of answers.
    pub rows: usize,
    /// Sizes of what it multiplies.
    pub columns: usize,
    pub storage: Storage<'b>,
}

/// A vector of f32 weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vector<'b> {
    /// The name in Hugging Face's models.
    pub name: String,
    /// f32, little-endian.
    pub bytes: &'b [u8],
}

impl Vector<'_> {
    pub fn values(&self) -> impl Iterator<Item = f32> {
        floats(self.bytes)
    }
}

impl Storage<'_> {
    pub fn kind(&self) -> Kind {
        match self {
            Self::F32(_) => Kind::F32,
            Self::F16(_) => Kind::F16,
            Self::BF16(_) => Kind::BF16,
            Self::Q8(_) => Kind::Q8,
            Self::Q4(_) => Kind::Q4,
        }
    }

    /// What it takes in bytes, with scales and zero points.
    pub fn bytes(&self) -> usize {
        match self {
            Self::F32(bytes) | Self::F16(bytes) | Self::BF16(bytes) => bytes.len(),
            Self::Q8(all) | Self::Q4(all) => {
                all.blocks.len() + all.scales.len() + all.zero_points.map_or(0, <[u8]>::len)
            }
        }
    }
}

impl Matrix<'_> {
    /// Writes a row's values into `out`, as many as there are columns. A row that the matrix does not have gives nothing.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        let columns = out.len().min(self.columns);
        let out = out.get_mut(..columns).unwrap_or_default();
        let (columns, start) = (self.columns, row * self.columns);
        match &self.storage {
            Storage::F32(bytes) => fill(out, floats(bytes.get(start * 4..).unwrap_or_default())),
            Storage::F16(bytes) => {
                let rest = bytes.get(start * 2..).unwrap_or_default();
                fill(out, pairs(rest).map(|pair| f16::from_le_bytes(pair).to_f32()));
            }
            Storage::BF16(bytes) => {
                let rest = bytes.get(start * 2..).unwrap_or_default();
                fill(out, pairs(rest).map(|pair| bf16::from_le_bytes(pair).to_f32()));
            }
            Storage::Q8(blocks) => blocks.row(Kind::Q8, row, columns, out),
            Storage::Q4(blocks) => blocks.row(Kind::Q4, row, columns, out),
        }
    }
}

impl Blocks<'_> {
    fn row(&self, kind: Kind, row: usize, columns: usize, out: &mut [f32]) {
        let (count, size) = (columns / BLOCK, kind.block_bytes());
        let first = row * count;
        let blocks = self.blocks.chunks_exact(size).skip(first).take(count);
        let scales = floats(self.scales.get(first * 4..).unwrap_or_default());
        for (index, ((block, scale), out)) in
            blocks.zip(scales).zip(out.chunks_exact_mut(BLOCK)).enumerate()
        {
            let zero = self.zero(kind, row, index, count);
            let value = |code: u8| scale * (f32::from(code) - f32::from(zero));
            if kind == Kind::Q4 {
                fill(out, block.iter().flat_map(|byte| [value(byte & 15), value(byte >> 4)]));
            } else {
                fill(out, block.iter().map(|byte| value(*byte)));
            }
        }
    }

    /// The code of zero in a block of a row with `count` blocks.
    fn zero(&self, kind: Kind, row: usize, index: usize, count: usize) -> u8 {
        let at = |place: usize| self.zero_points.and_then(|all| all.get(place)).copied();
        match kind {
            Kind::Q4 => match at(row * count.div_ceil(2) + index / 2) {
                Some(both) if index.is_multiple_of(2) => both & 15,
                Some(both) => both >> 4,
                None => 8,
            },
            Kind::F32 | Kind::F16 | Kind::BF16 | Kind::Q8 => at(row * count + index).unwrap_or(128),
        }
    }
}

fn fill(out: &mut [f32], values: impl Iterator<Item = f32>) {
    for (place, value) in out.iter_mut().zip(values) {
        *place = value;
    }
}

fn pairs(bytes: &[u8]) -> impl Iterator<Item = [u8; 2]> {
    bytes.as_chunks::<2>().0.iter().copied()
}

/// Little-endian numbers.
pub(super) fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four))
}

/// The first number of these bytes that is not finite.
pub(super) fn not_finite(kind: Kind, bytes: &[u8]) -> Option<(usize, f32)> {
    let wrong = |(_, value): &(usize, f32)| !value.is_finite();
    match kind {
        Kind::F16 => {
            pairs(bytes).map(|pair| f16::from_le_bytes(pair).to_f32()).enumerate().find(wrong)
        }
        Kind::BF16 => {
            pairs(bytes).map(|pair| bf16::from_le_bytes(pair).to_f32()).enumerate().find(wrong)
        }
        Kind::F32 | Kind::Q8 | Kind::Q4 => floats(bytes).enumerate().find(wrong),
    }
}
