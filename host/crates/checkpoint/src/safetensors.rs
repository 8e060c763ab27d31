//! The tensors of a safetensors file.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::element::Element;
use super::error::CheckpointError;
use super::source::Source;
use super::store::Entry;

/// Maximum size of a header in bytes.
const HEADER_BYTES_MAX: u64 = 32 << 20;

#[derive(Deserialize)]
struct Listed {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// A header. `__metadata__` is for people, and has other values.
#[derive(Deserialize)]
struct Header {
    #[serde(rename = "__metadata__")]
    _metadata: Option<serde::de::IgnoredAny>,
    #[serde(flatten)]
    tensors: BTreeMap<String, Listed>,
}

/// Adds a file's tensors to `entries`. Tensors of other types are kept in `strange`: they may be none that a decoder needs.
pub(super) fn read(
    (number, source): (usize, &dyn Source),
    entries: &mut BTreeMap<String, Entry>,
    strange: &mut BTreeMap<String, String>,
) -> Result<(), CheckpointError> {
    let total = source.size().map_err(CheckpointError::Read)?;
    let mut length = [0; 8];
    source.fill(0, &mut length).map_err(CheckpointError::Read)?;
    let length = u64::from_le_bytes(length);
    if length > HEADER_BYTES_MAX {
        return Err(CheckpointError::HeaderTooLarge);
    }
    let ends = || CheckpointError::Ends { place: "header".to_owned() };
    let data = total.checked_sub(8).and_then(|rest| rest.checked_sub(length)).ok_or_else(ends)?;
    let mut header = vec![0; length as usize];
    source.fill(8, &mut header).map_err(CheckpointError::Read)?;
    let header: Header = serde_json::from_slice(&header)
        .map_err(|source| CheckpointError::Json { path: "header".into(), source })?;
    for (name, Listed { dtype, shape, data_offsets: [from, to] }) in header.tensors {
        let element = match dtype.as_str() {
            "F32" => Element::F32,
            "F16" => Element::F16,
            "BF16" => Element::BF16,
            _ => {
                strange.insert(name, dtype);
                continue;
            }
        };
        let bytes = to.saturating_sub(from);
        if from > to || to > data {
            return Err(CheckpointError::Outside { name, from, bytes, total });
        }
        let entry =
            Entry { source: number, offset: 8 + length + from, element, shape, interleaved: None };
        if entry.bytes() != Some(bytes) {
            let (found, element) = (entry.shape, element.name());
            return Err(CheckpointError::Rows { name, found, element });
        }
        if entries.insert(name.clone(), entry).is_some() {
            return Err(CheckpointError::Twice { key: name });
        }
    }
    Ok(())
}
