//! What weights a `.pt`, `.pth` or `.safetensors` file holds, read without executing anything.

use std::collections::BTreeMap;
use std::io::{Cursor, Read as _};

use serde::Deserialize;

use super::error::{ConvertError, broken, refused};
use super::pickle::Pickled;

const TORCH: &str = "this PyTorch file";
const SAFETENSORS: &str = "this safetensors file";

/// Maximum bytes of the pickle in a `.pt` file, and of the header of a `.safetensors` file.
const INDEX_BYTES_MAX: u64 = 64 << 20;

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

/// The weights of a file, by name; `None` if it holds a whole module, which is a program.
///
/// # Errors
/// [`ConvertError::Broken`] if it is damaged.
pub fn weights(bytes: &[u8]) -> Result<Option<Vec<Weight>>, ConvertError> {
    if bytes.starts_with(b"PK") {
        return of_torch(bytes);
    }
    if bytes.first() == Some(&0x80) {
        let fix = "load it and save it again with PyTorch 1.6 or newer: `torch.save(torch.load(OLD, weights_only=True), NEW)`";
        return Err(refused("this PyTorch file is of the format before 1.6", fix));
    }
    of_safetensors(bytes).map(Some)
}

fn of_torch(bytes: &[u8]) -> Result<Option<Vec<Weight>>, ConvertError> {
    let failed = |error: &dyn std::fmt::Display| broken(TORCH, "its archive", error.to_string());
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|error| failed(&error))?;
    let name = archive.file_names().find(|name| name.ends_with("/data.pkl")).map(str::to_owned);
    let name = name.ok_or_else(|| broken(TORCH, "its archive", "there is no `data.pkl`"))?;
    if archive.file_names().any(|name| name.contains("/code/")) {
        let fix = "load it with `torch.jit.load` and call `torch.onnx.export`";
        return Err(refused("this is a TorchScript program", fix));
    }
    let mut pickle = Vec::new();
    let entry = archive.by_name(&name).map_err(|error| failed(&error))?;
    // What the archive claims is not trusted.
    let read = entry.take(INDEX_BYTES_MAX + 1).read_to_end(&mut pickle);
    read.map_err(|error| failed(&error))?;
    if pickle.len() as u64 > INDEX_BYTES_MAX {
        let fix = "save the weights alone: `torch.save(model.state_dict(), FILE)`";
        return Err(refused(format!("`{name}` is larger than {INDEX_BYTES_MAX} bytes"), fix));
    }
    let root = Pickled::read(&pickle)
        .map_err(|error| broken(TORCH, format!("`{name}`"), error.to_string()))?;
    let mut found = Vec::new();
    if !collect(&root, "", 0, &mut found) {
        return Ok(None);
    }
    Ok(Some(found))
}

/// Adds the tensors in a dict. `false` if it is none.
fn collect(value: &Pickled, prefix: &str, depth: usize, found: &mut Vec<Weight>) -> bool {
    let Pickled::Dict(entries) = value else { return false };
    for (name, value) in entries.iter() {
        let Pickled::Text(name) = name else { continue };
        let name = format!("{prefix}{name}");
        if let Some((elements, shape)) = tensor(value) {
            found.push(Weight { name, elements, shape });
        } else if depth < DEPTH_MAX {
            collect(value, &format!("{name}."), depth + 1, found);
        }
    }
    true
}

/// `torch._utils._rebuild_tensor_v2(storage, offset, size, stride, …)`.
fn tensor(value: &Pickled) -> Option<(String, Vec<u64>)> {
    let Pickled::Call(call) = value else { return None };
    let (Pickled::Global(function), Pickled::Tuple(arguments)) = (&call.0, &call.1) else {
        return None;
    };
    match &**function {
        "torch._utils._rebuild_tensor_v2" => {}
        "torch._utils._rebuild_parameter" => return tensor(arguments.first()?),
        _ => return None,
    }
    let [Pickled::Outside(storage), _, Pickled::Tuple(size), ..] = &arguments[..] else {
        return None;
    };
    let Pickled::Tuple(storage) = &**storage else { return None };
    let Pickled::Global(class) = storage.get(1)? else { return None };
    let elements = class.trim_start_matches("torch.").trim_end_matches("Storage").to_owned();
    let whole = |size: &Pickled| match size {
        Pickled::Int(size) => u64::try_from(*size).ok(),
        _ => None,
    };
    Some((elements, size.iter().map(whole).collect::<Option<_>>()?))
}

#[derive(Deserialize)]
struct Stated {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

fn of_safetensors(bytes: &[u8]) -> Result<Vec<Weight>, ConvertError> {
    let header = bytes.first_chunk().map(|length| u64::from_le_bytes(*length));
    let header = header.filter(|length| *length <= INDEX_BYTES_MAX);
    let length = header.and_then(|length| usize::try_from(length).ok());
    let text = length.and_then(|length| bytes.get(8..8 + length).map(|text| (8 + length, text)));
    let (begin, text) =
        text.ok_or_else(|| broken(SAFETENSORS, "its header", "its length is beyond the file"))?;
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
        Ok(Weight { name, elements: stated.dtype, shape: stated.shape })
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
        "build your module in Python, then `module.load_state_dict(torch.load(FILE, weights_only=True)); \
         torch.onnx.export(module.eval(), (example,), \"model.onnx\", input_names=[\"x\"], dynamic_axes={\"x\": {0: \"N\"}})`, \
         and give the ONNX file to `hospes pack`",
    )
}
