//! Writes a checkpoint as a decoder, and says what that costs in quality.

use std::io::Write;

use hospes_decoder::{
    BLOCK, Config, Encoded, Encoder, Kind, Loss, NotFinite, Part, Shape, Weights, WriteError,
    parts, write,
};

use super::element::Element;
use super::error::CheckpointError;
use super::store::{Checkpoint, Entry};

/// How matrices are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantise {
    F32,
    F16,
    /// 8 bits.
    Q8,
    /// 4 bits; 8 for the embedding and the matrix that gives the logits, on which answers depend most.
    Q4,
}

/// The result of [`Checkpoint::write`].
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// Size of the decoder in bytes.
    pub bytes: u64,
    pub cost: Cost,
}

/// What storing weights in another way costs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cost {
    /// What the checkpoint's weights took, in bytes.
    pub before: u64,
    /// What the decoder's take.
    pub after: u64,
    /// The largest error of a matrix: the root of its mean square, in relation to the weights.
    pub largest: f64,
    /// The matrix that has it, if one has an error.
    pub worst: Option<String>,
    /// The mean of all matrices' errors.
    pub mean: f64,
    /// How many matrices are stored in each way.
    pub kinds: Vec<(Kind, usize)>,
}

impl Checkpoint {
    /// Writes it as a decoder. Without `quantise`, as far as possible as it is: what this format does not have gets 8 bits.
    ///
    /// # Errors
    /// [`CheckpointError`]. `out` may then contain part of a decoder.
    pub fn write(
        &self,
        quantise: Option<Quantise>,
        out: &mut impl Write,
    ) -> Result<Written, CheckpointError> {
        let texts = (self.tokenizer.as_str(), self.template.as_deref());
        let mut writer = Writer { checkpoint: self, quantise, losses: Vec::new(), after: 0 };
        let bytes = write(&self.config, texts, &mut writer, out);
        let bytes = bytes.map_err(|error| match error {
            WriteError::Weights(error) => error,
            other => CheckpointError::Write(Box::new(other)),
        })?;
        Ok(Written { bytes, cost: writer.cost() })
    }

    fn kind(&self, part: &Part, quantise: Option<Quantise>) -> Kind {
        let Shape::Matrix { columns, .. } = part.shape else { return Kind::F32 };
        let kept = self.entries.get(&part.name).map_or(Kind::F32, |entry| kept(entry.element));
        let kind = match quantise {
            None => kept,
            Some(Quantise::F32) => Kind::F32,
            Some(Quantise::F16) => Kind::F16,
            Some(Quantise::Q8) => Kind::Q8,
            Some(Quantise::Q4) if is_end(&self.config, part) => Kind::Q8,
            Some(Quantise::Q4) => Kind::Q4,
        };
        let whole = columns.is_multiple_of(BLOCK as u32);
        if whole || kind.bits().is_none() { kind } else { Kind::F16 }
    }
}

/// Whether it turns tokens into states, or states into logits.
fn is_end(config: &Config, part: &Part) -> bool {
    let all = parts(config);
    let last = if config.tied { None } else { all.last() };
    all.first() == Some(part) || last == Some(part)
}

/// How a type is stored if nothing else is wanted.
fn kept(element: Element) -> Kind {
    match element {
        Element::F32 => Kind::F32,
        Element::F16 => Kind::F16,
        Element::BF16 => Kind::BF16,
        Element::Q4_0 => Kind::Q4,
        Element::Q4_1
        | Element::Q5_0
        | Element::Q5_1
        | Element::Q8_0
        | Element::Q2K
        | Element::Q3K
        | Element::Q4K
        | Element::Q5K
        | Element::Q6K => Kind::Q8,
    }
}

struct Writer<'c> {
    checkpoint: &'c Checkpoint,
    quantise: Option<Quantise>,
    losses: Vec<(String, Kind, Loss)>,
    after: u64,
}

impl Writer<'_> {
    fn cost(&self) -> Cost {
        let relative = || self.losses.iter().map(|(name, _, loss)| (name, loss.relative()));
        let worst = relative().max_by(|(_, one), (_, other)| one.total_cmp(other));
        let worst = worst.filter(|(_, error)| *error > 0.0);
        let count = self.losses.len().max(1) as f64;
        let kinds = [Kind::F32, Kind::F16, Kind::BF16, Kind::Q8, Kind::Q4].map(|kind| {
            (kind, self.losses.iter().filter(|(_, stored, _)| *stored == kind).count())
        });
        Cost {
            before: self.checkpoint.weights_bytes(),
            after: self.after,
            largest: worst.map_or(0.0, |(_, error)| error),
            worst: worst.map(|(name, _)| name.clone()),
            mean: relative().map(|(_, error)| error).sum::<f64>() / count,
            kinds: kinds.into_iter().filter(|(_, count)| *count > 0).collect(),
        }
    }
}

impl Weights for Writer<'_> {
    type Error = CheckpointError;

    fn kind(&self, part: &Part) -> Kind {
        self.checkpoint.kind(part, self.quantise)
    }

    fn part(&mut self, part: &Part) -> Result<Encoded, CheckpointError> {
        let kind = self.kind(part);
        let entry = self.checkpoint.entry(part)?;
        let bytes = self.checkpoint.read(entry)?;
        let (encoded, loss) = match part.shape {
            Shape::Matrix { .. } => matrix(part, kind, entry, &bytes)?,
            Shape::Vector(_) => (vector(part, entry, &bytes)?, Loss::default()),
        };
        if matches!(part.shape, Shape::Matrix { .. }) {
            self.losses.push((part.name.clone(), kind, loss));
        }
        self.after += (encoded.data.len() + encoded.scales.len()) as u64;
        Ok(encoded)
    }
}

fn matrix(
    part: &Part,
    kind: Kind,
    entry: &Entry,
    bytes: &[u8],
) -> Result<(Encoded, Loss), CheckpointError> {
    let columns = entry.columns();
    // Checked by the readers.
    let size = entry.element.row_bytes(columns).unwrap_or(1).max(1) as usize;
    let exact =
        matches!((entry.element, kind), (Element::Q8_0, Kind::Q8) | (Element::Q4_0, Kind::Q4));
    let mut encoder = Encoder::new(kind);
    let mut values = Vec::new();
    for row in 0..bytes.len() / size {
        let start = entry.place(row) * size;
        let stored = bytes.get(start..start + size).unwrap_or_default();
        if exact {
            let blocks = stored.chunks_exact(entry.element.bytes());
            let codes = blocks.filter_map(|block| entry.element.codes(block));
            for (index, (scale, codes)) in codes.enumerate() {
                if !scale.is_finite() {
                    let source = NotFinite { column: index * BLOCK, value: scale };
                    return Err(CheckpointError::NotFinite {
                        name: part.name.clone(),
                        row,
                        source,
                    });
                }
                encoder.push_codes(scale, &codes);
            }
            continue;
        }
        values.clear();
        entry.element.values(stored, &mut values);
        encoder.push(&values).map_err(|source| CheckpointError::NotFinite {
            name: part.name.clone(),
            row,
            source,
        })?;
    }
    Ok(encoder.finish())
}

/// A vector in f32, its numbers in the decoder's order.
fn vector(part: &Part, entry: &Entry, bytes: &[u8]) -> Result<Encoded, CheckpointError> {
    let mut values = Vec::new();
    entry.element.values(bytes, &mut values);
    let moved = (0..values.len()).map(|place| values.get(entry.place(place)).copied());
    let moved: Vec<f32> = moved.map(Option::unwrap_or_default).collect();
    let mut encoder = Encoder::new(Kind::F32);
    encoder.push(&moved).map_err(|source| CheckpointError::NotFinite {
        name: part.name.clone(),
        row: 0,
        source,
    })?;
    Ok(encoder.finish().0)
}
