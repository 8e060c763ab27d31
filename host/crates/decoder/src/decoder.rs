//! A model's file, checked: its config, views of its weights, its tokenizer, its template.

use std::collections::BTreeMap;

use super::config::Config;
use super::container::{Container, Element, Raw};
use super::parts::{EMBEDDING, HEAD, NORM, Shape, of_layer, parts};
use super::refused::DecoderRefused;
use super::tensor::{BLOCK, Blocks, Kind, Matrix, Storage, Vector, not_finite};
use super::tokenizer;

/// Maximum size of a chat template in bytes.
pub const TEMPLATE_BYTES_MAX: usize = 256 << 10;

pub(super) const TOKENIZER: &str = "tokenizer.json";
pub(super) const TEMPLATE: &str = "chat_template.jinja";
pub(super) const BLOCKS: &str = ".blocks";
pub(super) const SCALES: &str = ".scales";
pub(super) const ZERO_POINTS: &str = ".zero_points";

/// A decoder whose parts fit together. Only [`Decoder::read`] and [`Decoder::open`] make one.
#[derive(Debug)]
pub struct Decoder<'b> {
    config: Config,
    matrices: BTreeMap<String, Storage<'b>>,
    vectors: BTreeMap<String, &'b [u8]>,
    tokenizer: &'b str,
    template: Option<&'b str>,
}

/// A layer's weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer<'b> {
    /// Before the attention.
    pub input_norm: Vector<'b>,
    pub query: Matrix<'b>,
    pub key: Matrix<'b>,
    pub value: Matrix<'b>,
    /// Those of query, key and value, if the config says that they have one.
    pub biases: Option<[Vector<'b>; 3]>,
    /// Those of each head's query and key, if the config says so.
    pub head_norms: Option<[Vector<'b>; 2]>,
    pub output: Matrix<'b>,
    /// Before the feed-forward step.
    pub post_norm: Vector<'b>,
    pub gate: Matrix<'b>,
    pub up: Matrix<'b>,
    pub down: Matrix<'b>,
}

impl<'b> Decoder<'b> {
    /// Reads a model's file and checks all of it.
    ///
    /// # Errors
    /// [`DecoderRefused`]. Sizes are checked against the config before a number is looked at; then every number must be finite.
    pub fn read(bytes: &'b [u8]) -> Result<Self, DecoderRefused> {
        let decoder = Self::open(bytes)?;
        decoder.check_numbers()?;
        Ok(decoder)
    }

    /// Reads a file without looking at its numbers, which is quick and touches no page of weights. For files that [`Decoder::read`]
    /// has accepted before.
    ///
    /// # Errors
    /// [`DecoderRefused`].
    pub fn open(bytes: &'b [u8]) -> Result<Self, DecoderRefused> {
        let Container { config, mut tensors } = Container::read(bytes)?;
        let config: Config = serde_json::from_str(&config).map_err(DecoderRefused::ConfigJson)?;
        config.check()?;
        let (mut matrices, mut vectors) = (BTreeMap::new(), BTreeMap::new());
        for part in parts(&config) {
            match part.shape {
                Shape::Matrix { rows, columns } => {
                    let sizes = [rows.into(), columns.into()];
                    let storage = matrix(&mut tensors, &part.name, sizes)?;
                    matrices.insert(part.name, storage);
                }
                Shape::Vector(size) => {
                    let raw = take(&mut tensors, &part.name)?;
                    let bytes = exact(&part.name, &raw, Element::F32, &[size.into()])?;
                    vectors.insert(part.name, bytes);
                }
            }
        }
        let text = text(TOKENIZER, &take(&mut tensors, TOKENIZER)?)?;
        let tokenizer = tokenizer::check(text, config.vocabulary)?;
        let template = tensors.remove(TEMPLATE).map(|raw| template(&raw)).transpose()?;
        if let Some((name, _)) = tensors.pop_first() {
            return Err(DecoderRefused::Unknown { name });
        }
        Ok(Self { config, matrices, vectors, tokenizer, template })
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The text of its `tokenizer.json`.
    pub fn tokenizer(&self) -> &'b str {
        self.tokenizer
    }

    /// The chat template, in Jinja.
    pub fn template(&self) -> Option<&'b str> {
        self.template
    }

    /// A row for each token.
    pub fn embedding(&self) -> Matrix<'b> {
        self.matrix(EMBEDDING.to_owned(), self.config.vocabulary, self.config.hidden)
    }

    /// Gives the logits. The embedding, if the config says that they are tied.
    pub fn head(&self) -> Matrix<'b> {
        if self.config.tied {
            return self.embedding();
        }
        self.matrix(HEAD.to_owned(), self.config.vocabulary, self.config.hidden)
    }

    /// After the last layer.
    pub fn norm(&self) -> Vector<'b> {
        self.vector(NORM.to_owned())
    }

    /// A layer's weights; `None` after the last layer.
    pub fn layer(&self, layer: u32) -> Option<Layer<'b>> {
        if layer >= self.config.layers {
            return None;
        }
        let (hidden, wide) = (self.config.hidden, self.config.intermediate);
        let (query, kv) = (self.config.query_size(), self.config.kv_size());
        let vector = |rest: &str| self.vector(of_layer(layer, rest));
        let matrix = |rest: &str, rows, columns| self.matrix(of_layer(layer, rest), rows, columns);
        let biases = || ["q", "k", "v"].map(|one| vector(&format!("self_attn.{one}_proj.bias")));
        let norms = || ["q", "k"].map(|one| vector(&format!("self_attn.{one}_norm.weight")));
        Some(Layer {
            input_norm: vector("input_layernorm.weight"),
            query: matrix("self_attn.q_proj.weight", query, hidden),
            key: matrix("self_attn.k_proj.weight", kv, hidden),
            value: matrix("self_attn.v_proj.weight", kv, hidden),
            biases: self.config.qkv_bias.then(biases),
            head_norms: self.config.qk_norm.then(norms),
            output: matrix("self_attn.o_proj.weight", hidden, query),
            post_norm: vector("post_attention_layernorm.weight"),
            gate: matrix("mlp.gate_proj.weight", wide, hidden),
            up: matrix("mlp.up_proj.weight", wide, hidden),
            down: matrix("mlp.down_proj.weight", hidden, wide),
        })
    }

    /// Every layer's weights, in order.
    pub fn layers(&self) -> impl Iterator<Item = Layer<'b>> {
        (0..self.config.layers).filter_map(|layer| self.layer(layer))
    }

    fn matrix(&self, name: String, rows: u32, columns: u32) -> Matrix<'b> {
        let storage = *self.matrices.get(&name).expect("invariant: `open` found every part");
        Matrix { name, rows: rows as usize, columns: columns as usize, storage }
    }

    fn vector(&self, name: String) -> Vector<'b> {
        let bytes = self.vectors.get(&name).expect("invariant: `open` found every part");
        Vector { name, bytes }
    }

    fn check_numbers(&self) -> Result<(), DecoderRefused> {
        let finite = |name: String, kind, bytes| match not_finite(kind, bytes) {
            Some((element, value)) => Err(DecoderRefused::NotFinite { name, element, value }),
            None => Ok(()),
        };
        for (name, bytes) in &self.vectors {
            finite(name.clone(), Kind::F32, bytes)?;
        }
        for (name, storage) in &self.matrices {
            match storage {
                Storage::F32(bytes) | Storage::F16(bytes) | Storage::BF16(bytes) => {
                    finite(name.clone(), storage.kind(), bytes)?;
                }
                Storage::Q8(all) | Storage::Q4(all) => {
                    finite(format!("{name}{SCALES}"), Kind::F32, all.scales)?;
                }
            }
        }
        Ok(())
    }
}

fn take<'b>(
    tensors: &mut BTreeMap<String, Raw<'b>>,
    name: &str,
) -> Result<Raw<'b>, DecoderRefused> {
    tensors.remove(name).ok_or_else(|| DecoderRefused::Missing { name: name.to_owned() })
}

/// The bytes of a tensor of this type and shape.
fn exact<'b>(
    name: &str,
    raw: &Raw<'b>,
    element: Element,
    shape: &[u64],
) -> Result<&'b [u8], DecoderRefused> {
    let name = || name.to_owned();
    if raw.element != element {
        let (found, wanted) = (raw.element.name(), element.name());
        return Err(DecoderRefused::Type { name: name(), found, wanted });
    }
    if raw.shape != shape {
        let (found, wanted) = (raw.shape.clone(), shape.to_vec());
        return Err(DecoderRefused::Shape { name: name(), found, wanted });
    }
    Ok(raw.bytes)
}

/// A matrix, as numbers under its own name or as blocks under names that begin with it.
fn matrix<'b>(
    tensors: &mut BTreeMap<String, Raw<'b>>,
    name: &str,
    [rows, columns]: [u64; 2],
) -> Result<Storage<'b>, DecoderRefused> {
    if let Some(raw) = tensors.remove(name) {
        let of = |element| exact(name, &raw, element, &[rows, columns]);
        return Ok(match raw.element {
            Element::F32 => Storage::F32(of(Element::F32)?),
            Element::F16 => Storage::F16(of(Element::F16)?),
            Element::BF16 => Storage::BF16(of(Element::BF16)?),
            Element::U8 => {
                let (found, wanted) = (Element::U8.name(), "F32, F16 or BF16");
                return Err(DecoderRefused::Type { name: name.to_owned(), found, wanted });
            }
        });
    }
    let blocks_name = format!("{name}{BLOCKS}");
    let Some(raw) = tensors.remove(&blocks_name) else {
        return Err(DecoderRefused::Missing { name: name.to_owned() });
    };
    if !columns.is_multiple_of(BLOCK as u64) {
        return Err(DecoderRefused::Blocks { name: name.to_owned(), columns });
    }
    let count = columns / BLOCK as u64;
    let kind = match raw.shape.last() {
        Some(16) => Kind::Q4,
        _ => Kind::Q8,
    };
    let size = kind.block_bytes() as u64;
    let blocks = exact(&blocks_name, &raw, Element::U8, &[rows, count, size])?;
    let scales_name = format!("{name}{SCALES}");
    let raw = take(tensors, &scales_name)?;
    let scales = exact(&scales_name, &raw, Element::F32, &[rows, count])?;
    let zeros_name = format!("{name}{ZERO_POINTS}");
    let wide = if kind == Kind::Q4 { count.div_ceil(2) } else { count };
    let zero_points = tensors
        .remove(&zeros_name)
        .map(|raw| exact(&zeros_name, &raw, Element::U8, &[rows, wide]))
        .transpose()?;
    let blocks = Blocks { blocks, scales, zero_points };
    Ok(if kind == Kind::Q4 { Storage::Q4(blocks) } else { Storage::Q8(blocks) })
}

fn text<'b>(name: &str, raw: &Raw<'b>) -> Result<&'b [u8], DecoderRefused> {
    exact(name, raw, Element::U8, &[raw.bytes.len() as u64])
}

fn template<'b>(raw: &Raw<'b>) -> Result<&'b str, DecoderRefused> {
    let bytes = text(TEMPLATE, raw)?;
    if bytes.len() > TEMPLATE_BYTES_MAX {
        return Err(DecoderRefused::TemplateTooLarge { bytes: bytes.len() });
    }
    std::str::from_utf8(bytes).map_err(|_| DecoderRefused::TemplateNotText)
}
