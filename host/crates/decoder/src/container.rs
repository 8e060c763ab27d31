//! The file's layout: that of safetensors, with every tensor at a multiple of 64 bytes.
//!
//! Eight bytes of length, a JSON header, data. The header has `__metadata__`, and for every tensor its type, shape and place.
//! Tensors follow each other without holes, as readers of safetensors demand. So what fills up to the next multiple of 64 is a tensor too, `padding.N`.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::refused::DecoderRefused;

/// Maximum size of a file in bytes. A section of a bundle holds no more.
pub const FILE_BYTES_MAX: u64 = u32::MAX as u64;
/// Maximum size of the header in bytes.
pub const HEADER_BYTES_MAX: u64 = 8 << 20;
/// Maximum tensors, with those that only fill up.
pub const TENSORS_MAX: usize = 32_768;
/// Tensors begin at multiples of this many bytes, counted from the beginning of the file.
pub const ALIGNMENT: u64 = 64;
/// Maximum dimensions of a tensor.
const RANK_MAX: usize = 3;

pub(super) const METADATA: &str = "__metadata__";
/// The member of the metadata with the config, as JSON.
pub(super) const CONFIG: &str = "hospes.decoder";
/// What names of tensors that only fill up begin with.
pub(super) const PADDING: &str = "padding.";

/// The types that a decoder uses, in the words of safetensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Element {
    F32,
    F16,
    BF16,
    U8,
}

impl Element {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::U8 => "U8",
        }
    }

    pub(super) const fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::U8 => 1,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: Element,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// A tensor of the file, its size checked.
#[derive(Debug)]
pub(super) struct Raw<'b> {
    pub(super) element: Element,
    pub(super) shape: Vec<u64>,
    pub(super) bytes: &'b [u8],
}

/// A file whose tensors lie in it one after the other.
#[derive(Debug)]
pub(super) struct Container<'b> {
    pub(super) config: String,
    /// Without those that only fill up.
    pub(super) tensors: BTreeMap<String, Raw<'b>>,
}

impl<'b> Container<'b> {
    pub(super) fn read(bytes: &'b [u8]) -> Result<Self, DecoderRefused> {
        let total = bytes.len() as u64;
        if total > FILE_BYTES_MAX {
            return Err(DecoderRefused::TooLarge { bytes: total });
        }
        foreign(bytes)?;
        let short = DecoderRefused::NotADecoder { what: "it is shorter than its header" };
        let Some((length, rest)) = bytes.split_first_chunk::<8>() else { return Err(short) };
        let length = u64::from_le_bytes(*length);
        if length > HEADER_BYTES_MAX {
            return Err(DecoderRefused::HeaderTooLarge { bytes: length });
        }
        let split = usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length));
        let Some((header, data)) = split else { return Err(short) };
        let header: Header = serde_json::from_slice(header).map_err(DecoderRefused::Header)?;
        if header.too_many {
            return Err(DecoderRefused::TooManyTensors);
        }
        let what =
            "its header has no `hospes.decoder`; it may be a safetensors file of another program";
        let config = header.config.ok_or(DecoderRefused::NotADecoder { what })?;
        let tensors = place(header.entries, data, 8 + length)?;
        Ok(Self { config, tensors })
    }
}

/// Names other formats by what they begin with.
fn foreign(bytes: &[u8]) -> Result<(), DecoderRefused> {
    let what = match bytes {
        [b'G', b'G', b'U', b'F', ..] => "a GGUF file",
        [b'P', b'K', 3, 4, ..] => "a zip file or one of `torch.save`",
        _ => return Ok(()),
    };
    Err(DecoderRefused::Foreign { what })
}

/// Puts the tensors into the order of their places, and checks that they cover the data.
fn place(
    mut entries: Vec<(String, Entry)>,
    data: &[u8],
    start: u64,
) -> Result<BTreeMap<String, Raw<'_>>, DecoderRefused> {
    entries.sort_by(|(one, a), (other, b)| (a.data_offsets, one).cmp(&(b.data_offsets, other)));
    let total = data.len() as u64;
    let (mut end, mut tensors) = (0, BTreeMap::new());
    for (name, Entry { dtype, shape, data_offsets: [from, to] }) in entries {
        if from > to || to > total {
            return Err(DecoderRefused::Outside { name, from, to, bytes: total });
        }
        if from != end {
            return Err(DecoderRefused::Place { name, from, end });
        }
        end = to;
        let found = to - from;
        let wanted = shape.iter().try_fold(dtype.bytes(), |size, one| size.checked_mul(*one));
        if shape.len() > RANK_MAX || wanted != Some(found) {
            return Err(DecoderRefused::Bytes { name, found, wanted: wanted.unwrap_or(u64::MAX) });
        }
        if name.starts_with(PADDING) && dtype == Element::U8 && found < ALIGNMENT {
            continue;
        }
        if !(start + from).is_multiple_of(ALIGNMENT) {
            return Err(DecoderRefused::Alignment { name, from: start + from });
        }
        // Both are at most the data's length.
        let bytes = data.get(from as usize..to as usize).unwrap_or_default();
        if tensors.insert(name.clone(), Raw { element: dtype, shape, bytes }).is_some() {
            return Err(DecoderRefused::Twice { name });
        }
    }
    match total - end {
        0 => Ok(tensors),
        bytes => Err(DecoderRefused::Rest { bytes }),
    }
}

/// The header's JSON. Names that are there twice are kept twice.
#[derive(Debug, Default)]
struct Header {
    config: Option<String>,
    entries: Vec<(String, Entry)>,
    too_many: bool,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the header of a safetensors file")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut header = Header::default();
        while let Some(name) = map.next_key::<String>()? {
            if name == METADATA {
                let mut metadata: BTreeMap<String, String> = map.next_value()?;
                if header.config.is_some() {
                    return Err(A::Error::custom("`__metadata__` is there twice"));
                }
                header.config = metadata.remove(CONFIG);
                continue;
            }
            let entry = map.next_value()?;
            if header.entries.len() == TENSORS_MAX {
                header.too_many = true;
                continue;
            }
            header.entries.push((name, entry));
        }
        Ok(header)
    }
}
