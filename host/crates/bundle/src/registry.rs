//! This host's bundles on disk, as content-addressed files. A file is complete and durable, or it does not exist.
//!
//! Weights are stored once, under their own digest, however many versions share them. The rest of a bundle is stored under the bundle's
//! digest. The first line of that file says where the weights belong. Every file name is a digest that was computed here. Bytes that are
//! read back must have the requested digest, and are verified again like any untrusted bytes.

use std::fs::{self, DirBuilder, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::BundleLimits;
use super::manifest::MODELS_MAX;
use super::verify::{BundleError, VerifiedBundle, verify_kept};
use hospes_core::id::Digest;

/// The name prefix of `tempfile`. A write that a crash interrupts leaves such a file.
const UNFINISHED_PREFIX: &str = ".tmp";
/// Bytes of a file to compare at a time.
const COMPARE_BYTES: usize = 1 << 16;

/// Why a bundle could not be stored or read back.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("`{}` cannot be read or written", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` is missing: restore the data directory from a backup", path.display())]
    Missing { path: PathBuf },
    #[error("`{}` is damaged: restore the data directory from a backup", path.display())]
    Damaged { path: PathBuf },
}

/// Why a stored bundle could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Refused(#[from] BundleError),
}

/// The bundles of one host.
#[derive(Debug, Clone)]
pub struct Registry {
    bundles: PathBuf,
    models: PathBuf,
}

/// The first line of a bundle's file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    models: Vec<WeightsPlace>,
}

/// Weights that are stored apart from their bundle.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WeightsPlace {
    /// Their offset in the bundle.
    offset: usize,
    bytes: usize,
    sha256: Digest,
}

impl Registry {
    /// Opens the bundles in `folder`, and creates it if necessary. Only one process may open it.
    ///
    /// # Errors
    /// [`RegistryError::File`].
    pub fn open(folder: &Path) -> Result<Self, RegistryError> {
        let registry = Self { bundles: folder.join("bundles"), models: folder.join("models") };
        for folder in [&registry.bundles, &registry.models] {
            // Weights may be valuable, so other users of the machine must not read them.
            let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.and_then(|()| remove_unfinished(folder))
                .map_err(|source| failed(folder, source))?;
        }
        Ok(registry)
    }

    /// Stores a bundle durably. Storing it again changes nothing.
    ///
    /// # Errors
    /// [`RegistryError::File`]; the bundle is then not stored, though some of its weights may be.
    pub fn store(&self, bundle: &VerifiedBundle) -> Result<(), RegistryError> {
        let bytes = bundle.bytes();
        let mut index = Index { models: Vec::new() };
        let mut rest: Vec<&[u8]> = Vec::new();
        let mut end = 0;
        // `verify` has checked that the manifest lists the models in the order of their sections.
        for (spec, (_, section)) in bundle.manifest().models.iter().zip(&bundle.layout().models) {
            let range = section.payload.clone();
            let weights = &bytes[range.clone()];
            keep(&self.models.join(spec.sha256.hex()), &[weights])?;
            rest.push(&bytes[end..range.start]);
            end = range.end;
            let place =
                WeightsPlace { offset: range.start, bytes: range.len(), sha256: spec.sha256 };
            index.models.push(place);
        }
        rest.push(&bytes[end..]);
        let mut line =
            serde_json::to_vec(&index).expect("invariant: an index has string keys only");
        line.push(b'\n');
        rest.insert(0, &line);
        keep(&self.bundles.join(bundle.digest().hex()), &rest)
    }

    /// The bundle with this digest, verified.
    ///
    /// # Errors
    /// [`KeptError`] names the missing, damaged or unreadable file, or what this host no longer accepts.
    pub fn load(
        &self,
        digest: &Digest,
        limits: &BundleLimits,
    ) -> Result<VerifiedBundle, KeptError> {
        let (bytes, index) = self.read(digest)?;
        verify_kept(bytes.clone(), digest, limits).map_err(|error| {
            // The bytes are hashed again only to find out which file is damaged.
            if Digest::of(&bytes) == *digest {
                return KeptError::Refused(error);
            }
            let path = self.culprit(&bytes, &index);
            let path = path.unwrap_or_else(|| self.bundles.join(digest.hex()));
            RegistryError::Damaged { path }.into()
        })
    }

    /// Whether the bundle with this digest is there. Does not read it.
    ///
    /// # Errors
    /// [`RegistryError::Missing`].
    pub fn check_there(&self, digest: &Digest) -> Result<(), RegistryError> {
        let path = self.bundles.join(digest.hex());
        if path.exists() { Ok(()) } else { Err(RegistryError::Missing { path }) }
    }

    /// The bytes of the bundle with this digest, not checked yet, and where its weights are.
    fn read(&self, digest: &Digest) -> Result<(Bytes, Index), RegistryError> {
        let path = self.bundles.join(digest.hex());
        let damaged = || RegistryError::Damaged { path: path.clone() };
        let mut kept = Vec::new();
        append(&mut kept, &path)?;
        let newline = kept.iter().position(|byte| *byte == b'\n').ok_or_else(damaged)?;
        let (line, mut rest) = (&kept[..newline], &kept[newline + 1..]);
        let index: Index = serde_json::from_slice(line).map_err(|_| damaged())?;
        if index.models.len() > MODELS_MAX {
            return Err(damaged());
        }
        let mut bytes = Vec::new();
        for place in &index.models {
            let gap = place.offset.checked_sub(bytes.len());
            let (before, after) =
                gap.and_then(|gap| rest.split_at_checked(gap)).ok_or_else(damaged)?;
            bytes.extend_from_slice(before);
            rest = after;
            let weights = self.models.join(place.sha256.hex());
            append(&mut bytes, &weights)?;
            if bytes.len() - place.offset != place.bytes {
                return Err(RegistryError::Damaged { path: weights });
            }
        }
        bytes.extend_from_slice(rest);
        Ok((bytes.into(), index))
    }

    /// The file of a stored bundle's model, open for reading.
    ///
    /// # Errors
    /// Any error of opening the file.
    pub fn open_model(&self, digest: &Digest) -> io::Result<File> {
        File::open(self.models.join(digest.hex()))
    }

    /// The size in bytes of the bundle with this digest, including its weights; 0 if it is not stored.
    ///
    /// # Errors
    /// [`RegistryError::File`], [`RegistryError::Damaged`].
    pub fn length(&self, digest: &Digest) -> Result<u64, RegistryError> {
        let (index, rest) = match self.index(digest) {
            Err(RegistryError::Missing { .. }) => return Ok(0),
            read => read?,
        };
        let weights = index.models.iter().map(|place| place.bytes as u64);
        Ok(weights.fold(rest, u64::saturating_add))
    }

    /// The files of the bundle with this digest, including its weights, by their paths in the registry's folder.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn files_of(&self, digest: &Digest) -> Result<Vec<String>, RegistryError> {
        let (index, _) = self.index(digest)?;
        let models = index.models.iter().map(|place| format!("models/{}", place.sha256.hex()));
        Ok([format!("bundles/{}", digest.hex())].into_iter().chain(models).collect())
    }

    /// Removes all bundles except the one with this digest, and the weights that only the removed ones used. Nothing may be stored at the
    /// same time.
    ///
    /// # Errors
    /// [`RegistryError`]; some bundles may have been removed.
    pub fn keep_only(&self, digest: &Digest) -> Result<(), RegistryError> {
        let kept = self.files_of(digest)?;
        for folder in [&self.bundles, &self.models] {
            let failed = |source| failed(folder, source);
            for entry in fs::read_dir(folder).map_err(failed)? {
                let path = entry.map_err(failed)?.path();
                if !kept.iter().any(|kept| path.ends_with(kept)) {
                    fs::remove_file(&path).map_err(failed)?;
                }
            }
        }
        Ok(())
    }

    /// A bundle's index, and the rest of its file.
    fn index(&self, digest: &Digest) -> Result<(Index, u64), RegistryError> {
        /// A line that lists 64 models is shorter.
        const LINE_BYTES_MAX: u64 = 64 << 10;
        let path = self.bundles.join(digest.hex());
        let failed = |source| failed(&path, source);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(RegistryError::Missing { path });
            }
            Err(error) => return Err(failed(error)),
        };
        let whole = file.metadata().map_err(failed)?.len();
        let mut line = Vec::new();
        let read = BufReader::new(file.take(LINE_BYTES_MAX)).read_until(b'\n', &mut line);
        read.map_err(failed)?;
        let index: Index = serde_json::from_slice(&line)
            .map_err(|_| RegistryError::Damaged { path: path.clone() })?;
        Ok((index, whole - line.len() as u64))
    }

    /// The path of damaged weights; `None` if all match their digests.
    fn culprit(&self, bytes: &[u8], index: &Index) -> Option<PathBuf> {
        let changed = |place: &&WeightsPlace| {
            let weights = bytes.get(place.offset..).and_then(|rest| rest.get(..place.bytes));
            weights.is_none_or(|weights| Digest::of(weights) != place.sha256)
        };
        index.models.iter().find(changed).map(|place| self.models.join(place.sha256.hex()))
    }
}

fn failed(path: &Path, source: io::Error) -> RegistryError {
    RegistryError::File { path: path.to_owned(), source }
}

fn remove_unfinished(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(UNFINISHED_PREFIX.as_bytes()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Makes `pieces` the contents of `path`, durably.
fn keep(path: &Path, pieces: &[&[u8]]) -> Result<(), RegistryError> {
    let failed = |source| failed(path, source);
    if holds(path, pieces).map_err(failed)? {
        // An earlier writer may have crashed before it made the file durable.
        return path.parent().map_or(Ok(()), super::sync_folder).map_err(failed);
    }
    let fill = |out: &mut io::BufWriter<_>| {
        pieces.iter().try_for_each(|piece| out.write_all(piece)).map_err(failed)
    };
    super::write_file(path, super::PRIVATE, fill, failed)
}

/// Whether `path` has exactly these contents. If a file is damaged, this is false, so storing its bundle again repairs it.
fn holds(path: &Path, pieces: &[&[u8]]) -> io::Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let wanted: usize = pieces.iter().map(|piece| piece.len()).sum();
    if file.metadata()?.len() != wanted as u64 {
        return Ok(false);
    }
    let mut file = BufReader::new(file);
    let mut buffer = vec![0; COMPARE_BYTES];
    for part in pieces.iter().flat_map(|piece| piece.chunks(COMPARE_BYTES)) {
        let read = &mut buffer[..part.len()];
        file.read_exact(read)?;
        if read != part {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reads a file and appends it to `bytes`.
fn append(bytes: &mut Vec<u8>, path: &Path) -> Result<(), RegistryError> {
    match File::open(path).and_then(|mut file| file.read_to_end(bytes)) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(RegistryError::Missing { path: path.to_owned() })
        }
        Err(source) => Err(failed(path, source)),
    }
}

#[cfg(test)]
mod tests;
