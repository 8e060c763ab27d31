//! Writes a model's file. The same model gives the same bytes.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::config::Config;
use super::container::{ALIGNMENT, CONFIG, Element, FILE_BYTES_MAX, METADATA, PADDING};
use super::decoder::{BLOCKS, SCALES, TEMPLATE, TEMPLATE_BYTES_MAX, TOKENIZER};
use super::parts::{Part, Shape, parts};
use super::quantise::Encoded;
use super::refused::{ConfigRefused, TokenizerRefused};
use super::tensor::{BLOCK, Kind};
use super::tokenizer;

/// Where the weights come from. Each is asked for once, in the order of [`parts`], so that only one is in memory.
pub trait Weights {
    type Error: Error + 'static;

    /// How a matrix will be stored. A quantised one has rows of whole blocks.
    fn kind(&self, part: &Part) -> Kind;

    /// A matrix, stored as [`Weights::kind`] says; a vector, as f32 without scales.
    ///
    /// # Errors
    /// If it cannot be read.
    fn part(&mut self, part: &Part) -> Result<Encoded, Self::Error>;
}

/// Why a model could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError<E: Error + 'static> {
    #[error("the model's config is refused")]
    Config(#[from] ConfigRefused),
    #[error("the model's tokenizer is refused")]
    Tokenizer(#[from] TokenizerRefused),
    #[error("the chat template has {bytes} bytes, more than the {TEMPLATE_BYTES_MAX} allowed")]
    TemplateTooLarge { bytes: usize },
    #[error(transparent)]
    Weights(E),
    #[error("tensor `{name}` has {found} bytes instead of {wanted}")]
    Size { name: String, found: usize, wanted: u64 },
    #[error(
        "the model would have {bytes} bytes, more than the {FILE_BYTES_MAX} that a bundle can hold: quantise it, e.g. with `--quantise q4`"
    )]
    TooLarge { bytes: u64 },
    #[error("cannot write the model")]
    Io(#[from] io::Error),
}

/// Writes a model.
///
/// # Errors
/// [`WriteError`]. `out` may then contain part of a model.
pub fn write<W: Weights>(
    config: &Config,
    (tokenizer, template): (&str, Option<&str>),
    weights: &mut W,
    out: &mut impl Write,
) -> Result<u64, WriteError<W::Error>> {
    config.check()?;
    tokenizer::check(tokenizer.as_bytes(), config.vocabulary)?;
    if let Some(template) = template.filter(|template| template.len() > TEMPLATE_BYTES_MAX) {
        return Err(WriteError::TemplateTooLarge { bytes: template.len() });
    }
    let parts = parts(config);
    let mut places = Places::default();
    for part in &parts {
        places.add_part(part, weights.kind(part));
    }
    let texts = [Some((TOKENIZER, tokenizer)), template.map(|text| (TEMPLATE, text))];
    let texts: Vec<_> = texts.into_iter().flatten().collect();
    for (name, text) in &texts {
        places.add((*name).to_owned(), Element::U8, &[text.len() as u64]);
    }
    let header = places.header(config);
    let total = header.len() as u64 + places.end;
    if total > FILE_BYTES_MAX {
        return Err(WriteError::TooLarge { bytes: total });
    }
    out.write_all(&header)?;
    let mut data = Data { places: places.sizes.into(), out };
    for part in &parts {
        let Encoded { data: numbers, scales } = weights.part(part).map_err(WriteError::Weights)?;
        data.put(&part.name, &numbers)?;
        if !scales.is_empty() {
            data.put(&part.name, &scales)?;
        }
    }
    for (name, text) in &texts {
        data.put(name, text.as_bytes())?;
    }
    Ok(total)
}

/// Where tensors will lie.
#[derive(Default)]
struct Places {
    header: Map<String, Value>,
    /// The sizes of the tensors, and what fills up after each.
    sizes: Vec<(u64, u64)>,
    end: u64,
}

impl Places {
    fn add_part(&mut self, part: &Part, kind: Kind) {
        let (name, count) = (part.name.clone(), |columns: u64| columns / BLOCK as u64);
        match (part.shape, kind) {
            (Shape::Vector(size), _) => self.add(name, Element::F32, &[size.into()]),
            (Shape::Matrix { rows, columns }, Kind::Q8 | Kind::Q4) => {
                let (rows, count) = (u64::from(rows), count(columns.into()));
                let blocks = [rows, count, kind.block_bytes() as u64];
                self.add(format!("{name}{BLOCKS}"), Element::U8, &blocks);
                self.add(format!("{name}{SCALES}"), Element::F32, &[rows, count]);
            }
            (Shape::Matrix { rows, columns }, Kind::F32 | Kind::F16 | Kind::BF16) => {
                let element = match kind {
                    Kind::F16 => Element::F16,
                    Kind::BF16 => Element::BF16,
                    Kind::F32 | Kind::Q8 | Kind::Q4 => Element::F32,
                };
                self.add(name, element, &[rows.into(), columns.into()]);
            }
        }
    }

    fn add(&mut self, name: String, element: Element, shape: &[u64]) {
        // The config bounds all sizes, so products fit.
        let size = shape.iter().product::<u64>() * element.bytes();
        let fill = size.next_multiple_of(ALIGNMENT) - size;
        self.entry(name, element, shape, size);
        if fill > 0 {
            let name = format!("{PADDING}{}", self.sizes.len());
            self.entry(name, Element::U8, &[fill], fill);
        }
        self.sizes.push((size, fill));
    }

    fn entry(&mut self, name: String, element: Element, shape: &[u64], size: u64) {
        let offsets = [self.end, self.end + size];
        let entry = json!({"dtype": element.name(), "shape": shape, "data_offsets": offsets});
        self.header.insert(name, entry);
        self.end += size;
    }

    /// The file's beginning, up to its data.
    fn header(&mut self, config: &Config) -> Vec<u8> {
        let config = serde_json::to_string(config).expect("invariant: a checked config is finite");
        let metadata = BTreeMap::from([(CONFIG, config), ("format", "pt".to_owned())]);
        self.header.insert(METADATA.to_owned(), json!(metadata));
        let mut json = serde_json::to_vec(&self.header).expect("invariant: names are strings");
        let whole = (8 + json.len()).next_multiple_of(ALIGNMENT as usize);
        json.resize(whole - 8, b' ');
        [&(json.len() as u64).to_le_bytes()[..], &json].concat()
    }
}

/// The file's rest.
struct Data<'w, O> {
    places: std::collections::VecDeque<(u64, u64)>,
    out: &'w mut O,
}

impl<O: Write> Data<'_, O> {
    fn put<E: Error>(&mut self, name: &str, bytes: &[u8]) -> Result<(), WriteError<E>> {
        let (wanted, fill) = self.places.pop_front().unwrap_or_default();
        if bytes.len() as u64 != wanted {
            return Err(WriteError::Size { name: name.to_owned(), found: bytes.len(), wanted });
        }
        self.out.write_all(bytes)?;
        // Less than `ALIGNMENT`. Space, so that a text stays a text.
        self.out.write_all(&[b' '; ALIGNMENT as usize][..fill as usize])?;
        Ok(())
    }
}
