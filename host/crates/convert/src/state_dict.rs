//! What weights a `.pt`, `.pth` or `.safetensors` file holds, read without executing anything.

use std::collections::BTreeMap;
use std::io::{Cursor, Read as _};
use std::ops::Range;

use serde::Deserialize;

use super::budget::json_values;
use super::error::{ConvertError, broken, refused};
use super::pickle::Pickled;

pub(crate) const TORCH: &str = "this PyTorch file";
pub(crate) const SAFETENSORS: &str = "this safetensors file";

/// Maximum bytes of the pickle in a `.pt` file when it is unpacked, and of the header of a `.safetensors` file.
pub const INDEX_BYTES_MAX: u64 = 64 << 20;

/// Maximum files in a `.pt` archive. PyTorch writes one a tensor.
pub const ARCHIVE_FILES_MAX: usize = 200_000;

/// Maximum entries of all dicts and sizes of all tensors. Those that are named several times count each time.
pub const WEIGHT_ENTRIES_MAX: usize = 4_000_000;

/// Maximum bytes of all names together. The name of an inner entry has that of the outer one in front.
pub const NAME_BYTES_MAX: usize = 64 << 20;

/// The limits above.
#[derive(Debug, Clone, Copy)]
struct Limits {
    index_bytes_max: u64,
    files_max: usize,
    entries_max: usize,
    name_bytes_max: usize,
}

const LIMITS: Limits = Limits {
    index_bytes_max: INDEX_BYTES_MAX,
    files_max: ARCHIVE_FILES_MAX,
    entries_max: WEIGHT_ENTRIES_MAX,
    name_bytes_max: NAME_BYTES_MAX,
};

/// Maximum depth of dicts in which weights are looked for.
const DEPTH_MAX: usize = 8;

/// A tensor of weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weight {
    pub name: String,
    /// As the file says, e.g. `Float` or `F32`.
    pub elements: String,
    pub shape: Vec<u64>,
}

/// A tensor, and where its numbers are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub weight: Weight,
    pub place: Place,
}

/// Where the numbers of a tensor are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a file of PyTorch's archive, in elements from its begin.
    Storage { key: String, offset: u64, stride: Vec<u64> },
    /// One after another, here in the file.
    Bytes(Range<usize>),
}

/// The weights of a file, by name; `None` if it holds a whole module, which is a program.
///
/// # Errors
/// [`ConvertError::Broken`] if it is damaged, [`ConvertError::Refused`] beyond the limits.
pub fn weights(bytes: &[u8]) -> Result<Option<Vec<Weight>>, ConvertError> {
    let stored = stored(bytes)?;
    Ok(stored.map(|stored| stored.into_iter().map(|one| one.weight).collect()))
}

/// The same, with the places of their numbers.
pub(crate) fn stored(bytes: &[u8]) -> Result<Option<Vec<Stored>>, ConvertError> {
    stored_within(bytes, &LIMITS)
}

/// Whether this is a safetensors file. Its first bytes are the length of its header, and so may be those of any other format.
pub(crate) fn is_safetensors(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk() else { return false };
    rest.first() == Some(&b'{') && u64::from_le_bytes(*length) <= rest.len() as u64
}

/// Whether this is an archive of PyTorch's.
pub(crate) fn is_archive(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK") && !is_safetensors(bytes)
}

fn stored_within(bytes: &[u8], limits: &Limits) -> Result<Option<Vec<Stored>>, ConvertError> {
    if is_archive(bytes) {
        return of_torch(bytes, limits);
    }
    if bytes.first() == Some(&0x80) && !is_safetensors(bytes) {
        let fix = "load it and save it again with PyTorch 1.6 or newer: `torch.save(torch.load(OLD, weights_only=True), NEW)`";
        return Err(refused("this PyTorch file is of the format before 1.6", fix));
    }
    of_safetensors(bytes, limits).map(Some)
}

/// What to do about a file beyond the limits.
const ALONE: &str = "save the weights alone: `torch.save(model.state_dict(), FILE)`";

fn of_torch(bytes: &[u8], limits: &Limits) -> Result<Option<Vec<Stored>>, ConvertError> {
    let failed = |error: &dyn std::fmt::Display| broken(TORCH, "its archive", error.to_string());
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|error| failed(&error))?;
    if archive.len() > limits.files_max {
        let (files, max) = (archive.len(), limits.files_max);
        return Err(refused(
            format!("{TORCH} has {files} files, more than the {max} allowed"),
            ALONE,
        ));
    }
    let name = archive.file_names().find(|name| name.ends_with("/data.pkl")).map(str::to_owned);
    let name = name.ok_or_else(|| broken(TORCH, "its archive", "there is no `data.pkl`"))?;
    if archive.file_names().any(|name| name.contains("/code/")) {
        let fix = "load it with `torch.jit.load` and call `torch.onnx.export`";
        return Err(refused("this is a TorchScript program", fix));
    }
    let mut pickle = Vec::new();
    let entry = archive.by_name(&name).map_err(|error| failed(&error))?;
    // What the archive claims is not trusted.
    let read = entry.take(limits.index_bytes_max + 1).read_to_end(&mut pickle);
    read.map_err(|error| failed(&error))?;
    if pickle.len() as u64 > limits.index_bytes_max {
        let what = format!("`{name}` is larger than {} bytes", limits.index_bytes_max);
        return Err(refused(what, ALONE));
    }
    let root = Pickled::read(&pickle)
        .map_err(|error| broken(TORCH, format!("`{name}`"), error.to_string()))?;
    let mut found = Found { weights: Vec::new(), limits, entries: 0, name_bytes: 0 };
    let is_dict = found.collect(&root, "", 0)?;
    Ok(is_dict.then_some(found.weights))
}

/// The tensors that were found so far, and what they took.
struct Found<'l> {
    weights: Vec<Stored>,
    limits: &'l Limits,
    entries: usize,
    name_bytes: usize,
}

impl Found<'_> {
    /// Adds the tensors in a dict. `false` if it is none.
    fn collect(
        &mut self,
        value: &Pickled,
        prefix: &str,
        depth: usize,
    ) -> Result<bool, ConvertError> {
        let Pickled::Dict(entries) = value else { return Ok(false) };
        for (name, value) in entries.iter() {
            self.count(1, 0)?;
            let Pickled::Text(name) = name else { continue };
            self.count(0, prefix.len() + name.len())?;
            let name = format!("{prefix}{name}");
            if let Some(found) = tensor(value) {
                let Rebuilt { elements, key, offset, size, stride } = found;
                self.count(size.len() + stride.len(), elements.len() + key.len())?;
                let all = |list: &[Pickled]| list.iter().map(whole).collect::<Option<Vec<u64>>>();
                let (Some(shape), Some(stride)) = (all(size), all(stride)) else {
                    let why = "a size or a stride of it is no whole number from 0";
                    return Err(broken(TORCH, format!("`{name}`"), why));
                };
                let weight = Weight { name, elements: elements.to_owned(), shape };
                let place = Place::Storage { key: key.to_owned(), offset, stride };
                self.weights.push(Stored { weight, place });
            } else if depth < DEPTH_MAX {
                self.collect(value, &format!("{name}."), depth + 1)?;
            }
        }
        Ok(true)
    }

    /// A few dicts that name each other would otherwise be endless.
    fn count(&mut self, entries: usize, name_bytes: usize) -> Result<(), ConvertError> {
        self.entries = self.entries.saturating_add(entries);
        self.name_bytes = self.name_bytes.saturating_add(name_bytes);
        let Limits { entries_max, name_bytes_max, .. } = self.limits;
        if self.entries > *entries_max {
            return Err(refused(format!("{TORCH} has more than {entries_max} entries"), ALONE));
        }
        if self.name_bytes > *name_bytes_max {
            let what = format!("{TORCH} has names of more than {name_bytes_max} bytes");
            return Err(refused(what, ALONE));
        }
        Ok(())
    }
}

/// What a tensor is rebuilt from.
struct Rebuilt<'p> {
    elements: &'p str,
    key: &'p str,
    offset: u64,
    size: &'p [Pickled],
    stride: &'p [Pickled],
}

/// The arguments of `torch._utils._rebuild_tensor_v2(storage, offset, size, stride, …)`.
fn tensor(value: &Pickled) -> Option<Rebuilt<'_>> {
    let Pickled::Call(call) = value else { return None };
    let (Pickled::Global(function), Pickled::Tuple(arguments)) = (&call.0, &call.1) else {
        return None;
    };
    match &**function {
        "torch._utils._rebuild_tensor_v2" => {}
        "torch._utils._rebuild_parameter" => return tensor(arguments.first()?),
        _ => return None,
    }
    let [Pickled::Outside(storage), offset, Pickled::Tuple(size), Pickled::Tuple(stride), ..] =
        &arguments[..]
    else {
        return None;
    };
    let Pickled::Tuple(storage) = &**storage else { return None };
    // `("storage", class, key, device, count)`.
    let [_, Pickled::Global(class), Pickled::Text(key), ..] = &storage[..] else { return None };
    let elements = class.trim_start_matches("torch.").trim_end_matches("Storage");
    Some(Rebuilt { elements, key, offset: whole(offset)?, size, stride })
}

fn whole(size: &Pickled) -> Option<u64> {
    match size {
        Pickled::Int(size) => u64::try_from(*size).ok(),
        _ => None,
    }
}

#[derive(Deserialize)]
struct Stated {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

fn of_safetensors(bytes: &[u8], limits: &Limits) -> Result<Vec<Stored>, ConvertError> {
    let header = bytes.first_chunk().map(|length| u64::from_le_bytes(*length));
    let header = header.filter(|length| *length <= limits.index_bytes_max);
    let length = header.and_then(|length| usize::try_from(length).ok());
    let text = length.and_then(|length| bytes.get(8..8 + length).map(|text| (8 + length, text)));
    let (begin, text) =
        text.ok_or_else(|| broken(SAFETENSORS, "its header", "its length is beyond the file"))?;
    let (entries, max) = (json_values(text), limits.entries_max);
    if entries > max {
        let what = format!("{SAFETENSORS} has a header of more than {max} entries");
        return Err(refused(what, "save the weights alone, without metadata"));
    }
    let header: BTreeMap<String, serde_json::Value> = serde_json::from_slice(text)
        .map_err(|error| broken(SAFETENSORS, "its header", error.to_string()))?;
    let data = (bytes.len() - begin) as u64;
    let tensors = header.into_iter().filter(|(name, _)| name != "__metadata__");
    let weight = |(name, value): (String, serde_json::Value)| {
        let at = |why: String| broken(SAFETENSORS, format!("`{name}`"), why);
        let stated: Stated = serde_json::from_value(value).map_err(|e| at(e.to_string()))?;
        let (from, to) = stated.data_offsets;
        if from > to || to > data {
            return Err(at(format!("its bytes {from} to {to} are beyond the {data} of the file")));
        }
        let weight = Weight { name, elements: stated.dtype, shape: stated.shape };
        // The file is in memory, so its places are no larger.
        let place = Place::Bytes(begin + from as usize..begin + to as usize);
        Ok(Stored { weight, place })
    };
    tensors.map(weight).collect()
}

/// Why weights alone are no model, with the line that exports one.
pub(crate) fn no_graph(weights: &[Weight]) -> ConvertError {
    let listed: Vec<String> = weights
        .iter()
        .take(12)
        .map(|weight| format!("`{}` {}{:?}", weight.name, weight.elements, weight.shape))
        .collect();
    let more = weights.len().saturating_sub(listed.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    refused(
        format!(
            "the file has {} tensors ({}{more}) and no graph, so nobody can tell what is computed with them",
            weights.len(),
            listed.join(", ")
        ),
        format!(
            "if it is a network that `hospes train` makes, name its recipe with `--recipe`; otherwise build your module in Python, then \
             `module.load_state_dict(torch.load(FILE, weights_only=True)); {EXPORT}`, and give the ONNX file to `hospes pack`"
        ),
    )
}

/// The line that exports a module.
pub const EXPORT: &str = "torch.onnx.export(module.eval(), (example,), \"model.onnx\", input_names=[\"x\"], dynamic_axes={\"x\": {0: \"N\"}})";

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    /// A `.pt` file with this pickle, and so many other files.
    fn archive(pickle: &[u8], others: usize) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default();
        writer.start_file("m/data.pkl", options).expect("begun");
        writer.write_all(pickle).expect("written");
        for other in 0..others {
            writer.start_file(format!("m/data/{other}"), options).expect("begun");
        }
        writer.finish().expect("whole").into_inner()
    }

    #[track_caller]
    fn refused(file: &[u8], limits: Limits) -> String {
        stored_within(file, &limits).expect_err("beyond a limit").to_string()
    }

    /// A dict whose entries are all the same dict, and so on: a few bytes, and 16 to the power of `depth` entries.
    fn laughs(depth: usize) -> Vec<u8> {
        let mut pickle = b"\x80\x02}q\x00".to_vec();
        for level in 0..depth {
            pickle.extend(b"}(");
            for entry in 0..16 {
                pickle.extend([b'X', 1, 0, 0, 0, b'a' + entry, b'h', level as u8]);
            }
            pickle.extend([b'u', b'q', level as u8 + 1]);
        }
        pickle.push(b'.');
        pickle
    }

    #[test]
    fn a_small_file_that_names_endless_entries_is_refused() {
        assert_eq!(weights(&archive(&laughs(2), 0)).expect("small"), Some(Vec::new()));
        let said = refused(&archive(&laughs(8), 0), Limits { entries_max: 10_000, ..LIMITS });
        assert!(said.contains("more than 10000 entries"), "{said}");
        let said = refused(&archive(&laughs(8), 0), Limits { name_bytes_max: 1000, ..LIMITS });
        assert!(said.contains("names of more than 1000 bytes"), "{said}");
    }

    #[test]
    fn an_archive_that_unpacks_to_too_much_is_refused() {
        let file = archive(&vec![0; 100_000], 0);
        assert!(file.len() < 1000, "it is compressed: {}", file.len());
        let said = refused(&file, Limits { index_bytes_max: 10_000, ..LIMITS });
        assert!(said.contains("larger than 10000 bytes"), "{said}");
        let said = refused(&archive(b"}.", 9), Limits { files_max: 9, ..LIMITS });
        assert!(said.contains("has 10 files, more than the 9 allowed"), "{said}");
    }

    #[test]
    fn a_header_s_length_is_not_taken_for_another_format() {
        // As the first byte of a pickle, and as the first two of an archive.
        for length in [0x0280, 0x4b50] {
            let mut header = br#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#.to_vec();
            header.resize(length, b' ');
            let file = [&(length as u64).to_le_bytes()[..], &header, &[0; 4]].concat();
            let read = weights(&file).expect("sound").expect("weights");
            assert_eq!((read.len(), &*read[0].name), (1, "w"));
            assert!(!is_archive(&file));
        }
    }

    #[test]
    fn a_header_of_endless_entries_is_refused() {
        let header = format!("{{\"w\":[{}0]}}", "0,".repeat(100));
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        let said = refused(&file, Limits { entries_max: 99, ..LIMITS });
        assert!(said.contains("more than 99 entries"), "{said}");
    }
}
