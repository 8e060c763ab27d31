//! The numbers of a file of weights, read without executing anything.

use std::collections::HashMap;
use std::io::{Cursor, Read as _};

use bytes::Bytes;
use hospes_core::tensor::{DataType, Tensor};
use zip::ZipArchive;

use super::error::{ConvertError, broken, refused};
use super::state_dict::{EXPORT, Place, SAFETENSORS, Stored, TORCH, Weight, is_archive, stored};

/// The weights of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    pub tensors: Vec<(Weight, Vec<f32>)>,
    /// Whether they are in the order in which the model's parts were made. A safetensors file has none.
    pub is_ordered: bool,
}

/// In what training scripts put a model's weights beside other things, such as the optimiser's.
const PARTS: [&str; 2] = ["state_dict.", "model_state_dict."];

impl Weights {
    /// Reads all weights of the model in a file.
    ///
    /// # Errors
    /// [`ConvertError::Broken`] if it is damaged, [`ConvertError::Refused`] beyond the limits, and if it has no weights, those of several
    /// models or others than floats.
    pub fn read(bytes: &[u8]) -> Result<Self, ConvertError> {
        let is_ordered = is_archive(bytes);
        let all = stored(bytes)?.ok_or_else(|| {
            let fix = "save its weights: `torch.save(module.state_dict(), FILE)`";
            refused("the file holds a whole module, which is a program, and a recipe's network takes weights", fix)
        })?;
        let mut numbers =
            if is_ordered { Numbers::of_torch(bytes)? } else { Numbers::plain(bytes) };
        let own = of_model(all)?;
        refuse_normalisation(&own)?;
        let tensors = own.into_iter().map(|stored| {
            let read = numbers.read(&stored)?;
            Ok((stored.weight, read))
        });
        Ok(Self { tensors: tensors.collect::<Result<_, ConvertError>>()?, is_ordered })
    }
}

/// Those of the model, without what else a checkpoint has.
fn of_model(all: Vec<Stored>) -> Result<Vec<Stored>, ConvertError> {
    let has = |part: &&str| all.iter().any(|one| one.weight.name.starts_with(part));
    let parts: Vec<&str> = PARTS.into_iter().filter(|part| has(part)).collect();
    match parts[..] {
        [] if all.is_empty() => Err(refused(
            "the file has no weights",
            "save them: `torch.save(module.state_dict(), FILE)`",
        )),
        [] => Ok(all),
        [part] => {
            let own = all.into_iter().filter_map(|mut one| {
                one.weight.name = one.weight.name.strip_prefix(part)?.to_owned();
                Some(one)
            });
            Ok(own.collect())
        }
        _ => {
            let fix = "save those of one model alone: `torch.save(module.state_dict(), FILE)`";
            Err(refused("the file has weights in both `state_dict` and `model_state_dict`", fix))
        }
    }
}

/// Refuses what batch normalisation keeps beside its weights, which have the shape of other layers' biases.
fn refuse_normalisation(all: &[Stored]) -> Result<(), ConvertError> {
    let is_kept = |name: &str| {
        let part = name.rsplit_once('.').map_or(name, |(_, part)| part);
        matches!(part, "num_batches_tracked" | "running_mean" | "running_var")
    };
    let Some(Stored { weight, .. }) = all.iter().find(|one| is_kept(&one.weight.name)) else {
        return Ok(());
    };
    Err(refused(
        format!(
            "`{}` of shape {:?} is of batch normalisation, which the network of no recipe has",
            weight.name, weight.shape
        ),
        format!("export the module: `{EXPORT}`, and give the ONNX file to `hospes pack`"),
    ))
}

/// Where the numbers are read from.
struct Numbers<'b> {
    bytes: &'b [u8],
    what: &'static str,
    archive: Option<ZipArchive<Cursor<&'b [u8]>>>,
    /// The archive's only folder, with a slash.
    folder: String,
    storages: HashMap<String, Bytes>,
    /// Bytes that may still be unpacked, and those that tensors may still have. Each byte of a file is in one tensor.
    packed: u64,
    left: u64,
}

impl<'b> Numbers<'b> {
    fn plain(bytes: &'b [u8]) -> Self {
        let left = bytes.len() as u64;
        Self {
            bytes,
            what: SAFETENSORS,
            archive: None,
            folder: String::new(),
            storages: HashMap::new(),
            packed: left,
            left,
        }
    }

    fn of_torch(bytes: &'b [u8]) -> Result<Self, ConvertError> {
        let failed = |error: zip::result::ZipError| broken(TORCH, "its archive", error.to_string());
        let archive = ZipArchive::new(Cursor::new(bytes)).map_err(failed)?;
        let folder = archive.file_names().find(|name| name.ends_with("/data.pkl"));
        let folder = folder.unwrap_or_default().trim_end_matches("data.pkl").to_owned();
        let mut numbers =
            Self { what: TORCH, archive: Some(archive), folder, ..Self::plain(bytes) };
        if numbers.storage("byteorder")?.is_some_and(|order| order.as_ref() == b"big") {
            let fix = "save it on a machine that is little-endian";
            return Err(refused("the file's numbers are big-endian", fix));
        }
        Ok(numbers)
    }

    /// A file in the archive's only folder.
    fn storage(&mut self, name: &str) -> Result<Option<Bytes>, ConvertError> {
        if let Some(found) = self.storages.get(name) {
            return Ok(Some(found.clone()));
        }
        let Some(archive) = &mut self.archive else { return Ok(None) };
        let full = format!("{}{name}", self.folder);
        if archive.index_for_name(&full).is_none() {
            return Ok(None);
        }
        let failed =
            |why: &dyn std::fmt::Display| broken(TORCH, format!("`{full}`"), why.to_string());
        let entry = archive.by_name(&full).map_err(|error| failed(&error))?;
        let mut data = Vec::new();
        // What the archive claims is not trusted.
        entry.take(self.packed + 1).read_to_end(&mut data).map_err(|error| failed(&error))?;
        self.packed = self.packed.checked_sub(data.len() as u64).ok_or_else(|| {
            let fix = "save the weights with `torch.save`, which does not compress them";
            refused(format!("{TORCH} is larger when it is unpacked"), fix)
        })?;
        let data = Bytes::from(data);
        self.storages.insert(name.to_owned(), data.clone());
        Ok(Some(data))
    }

    fn read(&mut self, Stored { weight, place }: &Stored) -> Result<Vec<f32>, ConvertError> {
        let Weight { name, elements, shape } = weight;
        let kind = kind(elements).ok_or_else(|| {
            let fix = "a recipe's network has weights of floats only: save it without this tensor, or convert the whole module";
            refused(format!("`{name}` of shape {shape:?} is of {elements}"), fix)
        })?;
        let what = self.what;
        let damaged = |why: &str| broken(what, format!("`{name}`"), why);
        let beyond = || damaged("its numbers are beyond those of the file");
        let sizes: Option<Vec<usize>> =
            shape.iter().map(|size| usize::try_from(*size).ok()).collect();
        let sizes = sizes.ok_or_else(beyond)?;
        let width = kind.size().unwrap_or_default();
        let count = hospes_core::tensor::count(&sizes).ok_or_else(beyond)?;
        let bytes = count.checked_mul(width).ok_or_else(beyond)?;
        self.left = self.left.checked_sub(bytes as u64).ok_or_else(|| {
            let fix = "save a copy of each: `torch.save({k: v.clone() for k, v in module.state_dict().items()}, FILE)`";
            refused(format!("`{name}` and other tensors share their numbers"), fix)
        })?;
        let data: Vec<u8> = match place {
            Place::Bytes(range) => self.bytes.get(range.clone()).ok_or_else(beyond)?.to_vec(),
            Place::Storage { key, offset, stride } => {
                let storage = self.storage(&format!("data/{key}"))?;
                let storage = storage.ok_or_else(|| damaged("its numbers are not there"))?;
                gather(&storage, (*offset, stride), (&sizes, count), width).ok_or_else(beyond)?
            }
        };
        let tensor =
            Tensor::new(kind, sizes, data.into()).map_err(|error| damaged(&error.to_string()))?;
        let numbers = tensor.numbers().unwrap_or_default();
        // Networks have 32 bits. The comparison with the source says if it needs more.
        Ok(numbers.into_iter().map(|number| number as f32).collect())
    }
}

/// The type of floats by its name in PyTorch or safetensors.
fn kind(elements: &str) -> Option<DataType> {
    Some(match elements {
        "Float" | "F32" => DataType::F32,
        "Double" | "F64" => DataType::F64,
        "Half" | "F16" => DataType::F16,
        "BFloat16" | "BF16" => DataType::Bf16,
        _ => return None,
    })
}

/// The elements of a tensor row by row, wherever they lie in its storage. `None` if one is beyond it.
fn gather(
    storage: &[u8],
    (offset, stride): (u64, &[u64]),
    (sizes, count): (&[usize], usize),
    width: usize,
) -> Option<Vec<u8>> {
    if stride.len() != sizes.len() {
        return None;
    }
    let mut data = Vec::with_capacity(count * width);
    let mut index = vec![0_u64; sizes.len()];
    for _ in 0..count {
        let mut steps = index.iter().zip(stride).map(|(at, step)| at.checked_mul(*step));
        let at = steps.try_fold(offset, |sum, step| sum.checked_add(step?))?;
        let from = usize::try_from(at).ok()?.checked_mul(width)?;
        data.extend(storage.get(from..from.checked_add(width)?)?);
        for (at, size) in index.iter_mut().zip(sizes).rev() {
            *at += 1;
            if *at < *size as u64 {
                break;
            }
            *at = 0;
        }
    }
    Some(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    /// A `.pt` file with these files in its folder.
    fn archive(files: &[(&str, Vec<u8>)], how: zip::CompressionMethod) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default().compression_method(how);
        for (name, bytes) in files {
            writer.start_file(format!("m/{name}"), options).expect("begun");
            writer.write_all(bytes).expect("written");
        }
        writer.finish().expect("whole").into_inner()
    }

    /// The pickle of a dict, whose values are pickles.
    fn dict(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut pickle = b"}(".to_vec();
        for (name, value) in entries {
            pickle.extend(text(name));
            pickle.extend(value);
        }
        pickle.push(b'u');
        pickle
    }

    fn text(text: &str) -> Vec<u8> {
        let length = u32::try_from(text.len()).expect("short").to_le_bytes();
        [&b"X"[..], &length, text.as_bytes()].concat()
    }

    fn tuple(numbers: &[u8]) -> Vec<u8> {
        let each = numbers.iter().flat_map(|number| [b'K', *number]);
        b"(".iter().copied().chain(each).chain(*b"t").collect()
    }

    /// `_rebuild_tensor_v2` of a storage, as PyTorch pickles it.
    fn tensor(class: &str, key: &str, offset: u8, size: &[u8], stride: &[u8]) -> Vec<u8> {
        let class = format!("ctorch\n{class}\n");
        [
            &b"ctorch._utils\n_rebuild_tensor_v2\n(("[..],
            &text("storage"),
            class.as_bytes(),
            &text(key),
            &text("cpu"),
            b"K\x00tQ",
            &[b'K', offset],
            &tuple(size),
            &tuple(stride),
            b"\x89}tR",
        ]
        .concat()
    }

    fn floats(numbers: &[f32]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    fn file(root: &[u8], storages: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let pickle = [b"\x80\x02", root, b"."].concat();
        let files = [&[("data.pkl", pickle)], storages].concat();
        archive(&files, zip::CompressionMethod::Stored)
    }

    #[track_caller]
    fn said(file: &[u8]) -> String {
        Weights::read(file).expect_err("refused").to_string()
    }

    #[test]
    fn numbers_are_read_in_the_order_of_the_file_wherever_they_lie() {
        // The second is turned, and begins at the second number of its storage; the third has 16 bits.
        let root = dict(&[
            ("b.weight", tensor("FloatStorage", "0", 0, &[2], &[1])),
            ("a.weight", tensor("FloatStorage", "1", 1, &[2, 3], &[1, 2])),
            ("a.bias", tensor("BFloat16Storage", "2", 0, &[], &[])),
        ]);
        let storages = [
            ("data/0", floats(&[0.5, -1.0])),
            ("data/1", floats(&[9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0])),
            ("data/2", vec![0xc0, 0x3f]),
            ("byteorder", b"little".to_vec()),
        ];
        let read = Weights::read(&file(&root, &storages)).expect("sound");
        let names: Vec<&str> = read.tensors.iter().map(|(weight, _)| &*weight.name).collect();
        assert_eq!((names, read.is_ordered), (vec!["b.weight", "a.weight", "a.bias"], true));
        let numbers: Vec<&[f32]> = read.tensors.iter().map(|(_, numbers)| &**numbers).collect();
        assert_eq!(numbers, [&[0.5, -1.0][..], &[1.0, 3.0, 5.0, 2.0, 4.0, 6.0], &[1.5]]);
        let big = [&storages[..3], &[("byteorder", b"big".to_vec())]].concat();
        assert!(said(&file(&root, &big)).contains("big-endian"));
    }

    #[test]
    fn of_a_checkpoint_the_model_alone_is_read() {
        let one = |key| tensor("FloatStorage", key, 0, &[1], &[1]);
        let storages = [("data/0", floats(&[1.0])), ("data/1", floats(&[2.0]))];
        let model = dict(&[("weight", one("0"))]);
        let root =
            dict(&[("model_state_dict", model.clone()), ("optimizer", dict(&[("m", one("1"))]))]);
        let read = Weights::read(&file(&root, &storages)).expect("sound");
        assert_eq!((read.tensors.len(), &*read.tensors[0].0.name), (1, "weight"));
        let root = dict(&[("model_state_dict", model.clone()), ("state_dict", model)]);
        assert!(said(&file(&root, &storages)).contains("both `state_dict` and"));
        assert!(said(&file(&dict(&[]), &[])).contains("no weights"));
        let counter = dict(&[("norm.num", tensor("LongStorage", "0", 0, &[], &[]))]);
        let refused = said(&file(&counter, &[("data/0", vec![0; 8])]));
        assert!(refused.contains("`norm.num` of shape [] is of Long"), "{refused}");
        let counter = dict(&[("1.num_batches_tracked", tensor("LongStorage", "0", 0, &[], &[]))]);
        let refused = said(&file(&counter, &[("data/0", vec![0; 8])]));
        assert!(refused.contains("`1.num_batches_tracked`"), "{refused}");
        assert!(refused.contains("batch normalisation") && refused.contains(EXPORT), "{refused}");
    }

    #[test]
    fn numbers_beyond_the_file_or_shared_are_refused() {
        let of = |offset, size: &[u8], stride: &[u8]| {
            let root = dict(&[("w", tensor("FloatStorage", "0", offset, size, stride))]);
            file(&root, &[("data/0", floats(&[1.0, 2.0, 3.0, 4.0]))])
        };
        assert!(Weights::read(&of(0, &[2, 2], &[2, 1])).is_ok());
        for (offset, size, stride) in [(1, &[2, 2], &[2, 1]), (0, &[2, 2], &[3, 1])] {
            assert!(said(&of(offset, size, stride)).contains("beyond those of the file"));
        }
        assert!(said(&of(0, &[4], &[1, 1])).contains("beyond those of the file"));
        // -1 where a whole number is expected.
        let root = dict(&[("w", tensor("FloatStorage", "0", 0, &[4], &[77]))]);
        let at = root.windows(2).position(|two| two == b"K\x4d").expect("the stride");
        let root = [&root[..at], b"J\xff\xff\xff\xff", &root[at + 2..]].concat();
        assert!(said(&file(&root, &[("data/0", floats(&[1.0; 4]))])).contains("no whole number"));
        // One number, read again and again.
        assert!(said(&of(0, &[255, 255, 255], &[0, 0, 0])).contains("share their numbers"));
        let root = dict(&[("w", tensor("FloatStorage", "1", 0, &[1], &[1]))]);
        assert!(said(&file(&root, &[])).contains("its numbers are not there"));
        let root =
            [b"\x80\x02", &dict(&[("w", tensor("FloatStorage", "0", 0, &[1], &[1]))])[..], b"."]
                .concat();
        let files = [("data.pkl", root), ("data/0", vec![0; 1 << 20])];
        let bomb = archive(&files, zip::CompressionMethod::Deflated);
        assert!(said(&bomb).contains("is larger when it is unpacked"), "{} bytes", bomb.len());
    }

    #[test]
    fn safetensors_have_numbers_but_no_order() {
        let file = |header: &str, data: &[u8]| {
            [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
        };
        let header = r#"{"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F16","shape":[1,1],"data_offsets":[8,10]}}"#;
        let data = [&floats(&[1.0, 2.0])[..], &[0x00, 0x3e]].concat();
        let read = Weights::read(&file(header, &data)).expect("sound");
        assert!(!read.is_ordered);
        assert_eq!(read.tensors[0].1, [1.5]);
        assert_eq!(read.tensors[1].1, [1.0, 2.0]);
        let short = header.replace("\"shape\":[2]", "\"shape\":[3]");
        assert!(said(&file(&short, &data)).contains("`b`"));
    }
}
