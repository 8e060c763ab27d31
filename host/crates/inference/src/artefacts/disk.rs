//! Artefacts on disk: one file each, named by its key.
//!
//! The library runs over what an artefact says, so it is loaded only if a keyed hash proves that this host wrote exactly these bytes for
//! this key. Anything else is ignored and made again.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _};
use std::path::PathBuf;
use std::time::SystemTime;

use rustix::fs::{Timespec, Timestamps, UTIME_NOW};

use super::{Artefact, ArtefactSettings, copy};
use hospes_core::id::Digest;

/// Context string of the key derivation, the key's only use.
const KEY_CONTEXT: &str = "hospes 2026-11 artefacts of models";

const MAGIC: [u8; 8] = *b"hospesA1";

/// The end of a file: magic, bytes of the weights, bytes of the head, and the seal of all before it.
const TRAILER_BYTES: usize = 8 + 8 + 8 + SEAL_BYTES;

const SEAL_BYTES: usize = 32;

/// Extensions: an artefact, and the reason why a model has none.
const ARTEFACT: &str = "mapped";
const PLAIN: &str = "plain";

/// What the smallest file takes on disk.
const FILE_BYTES_MIN: u64 = 4096;

/// Maximum bytes of a reason.
const WHY_BYTES_MAX: usize = 1000;

/// The folder of artefacts.
pub(super) struct Disk {
    folder: PathBuf,
    key: [u8; 32],
    bytes_max: u64,
}

/// What the folder has for a key.
pub(super) enum Kept {
    Artefact(Artefact),
    /// The model is to be loaded from its own file.
    Plain,
    Nothing,
}

impl Disk {
    pub(super) fn open(settings: ArtefactSettings) -> Result<Self, String> {
        let ArtefactSettings { folder, secret, bytes_max } = settings;
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|error| format!("`{}` cannot be made: {error}", folder.display()))?;
        Ok(Self { folder, key: blake3::derive_key(KEY_CONTEXT, &secret), bytes_max })
    }

    pub(super) fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Reads a key's artefact into memory.
    pub(super) fn read(&self, key: &Digest) -> Kept {
        let path = self.path(key, ARTEFACT);
        match File::open(&path).and_then(|file| self.load(key, &file)) {
            Ok(artefact) => return Kept::Artefact(artefact),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(%key, %error, "an artefact is ignored, and made again");
                let _ = fs::remove_file(path);
            }
        }
        let plain = self.path(key, PLAIN);
        if plain.exists() {
            let _ = File::open(plain).map(|file| touch(&file));
            return Kept::Plain;
        }
        Kept::Nothing
    }

    fn load(&self, key: &Digest, file: &File) -> io::Result<Artefact> {
        let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let mut trailer = [0; TRAILER_BYTES];
        let content = file.metadata()?.len().checked_sub(TRAILER_BYTES as u64);
        let content = content.ok_or_else(|| damaged("it is cut"))?;
        file.read_exact_at(&mut trailer, content)?;
        let (described, seal) = trailer.split_at(TRAILER_BYTES - SEAL_BYTES);
        let number = |at: usize| {
            described
                .get(at..at + 8)
                .and_then(|bytes| bytes.try_into().ok())
                .map(u64::from_le_bytes)
        };
        let (Some(weights), Some(head)) = (number(8), number(16)) else {
            return Err(damaged("it is cut"));
        };
        if !described.starts_with(&MAGIC) || weights.checked_add(head) != Some(content) {
            return Err(damaged("it is not of this form"));
        }
        let mut hasher = self.hasher(key);
        let artefact = Artefact::write(*key, (weights, head), |memory| {
            copy((file, 0), content, (memory, 0), |part| {
                hasher.update(part);
            })?;
            hasher.update(described);
            let seal: [u8; SEAL_BYTES] = seal.try_into().map_err(|_| damaged("it is cut"))?;
            // `blake3::Hash` compares in constant time.
            if hasher.finalize() != blake3::Hash::from_bytes(seal) {
                return Err(damaged("it has no valid seal"));
            }
            Ok(())
        })?;
        touch(file)?;
        Ok(artefact)
    }

    /// Writes an artefact, and removes the longest unused files if all have more than the maximum.
    pub(super) fn keep(&self, artefact: &Artefact) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        let mut hasher = self.hasher(&artefact.key);
        let bytes = artefact.bytes();
        copy((&artefact.file, 0), bytes, (file.as_file(), 0), |part| {
            hasher.update(part);
        })?;
        let mut trailer = MAGIC.to_vec();
        trailer.extend(artefact.weights_bytes.to_le_bytes());
        trailer.extend(artefact.head_bytes.to_le_bytes());
        hasher.update(&trailer);
        trailer.extend(hasher.finalize().as_bytes());
        file.as_file().write_all_at(&trailer, bytes)?;
        file.flush()?;
        file.persist(self.path(&artefact.key, ARTEFACT)).map_err(|error| error.error)?;
        let _ = fs::remove_file(self.path(&artefact.key, PLAIN));
        self.make_room()
    }

    /// Notes why a model has no artefact, and removes the one that it had.
    pub(super) fn keep_plain(&self, key: &Digest, why: &str) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(&why.as_bytes()[..why.len().min(WHY_BYTES_MAX)])?;
        file.persist(self.path(key, PLAIN)).map_err(|error| error.error)?;
        let _ = fs::remove_file(self.path(key, ARTEFACT));
        self.make_room()
    }

    /// Removes the longest unused files until all fit.
    fn make_room(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let meta = entry.metadata()?;
            let used = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            files.push((used, meta.len().max(FILE_BYTES_MIN), entry.path()));
        }
        files.sort();
        let mut total = files.iter().map(|(_, bytes, _)| *bytes).fold(0, u64::saturating_add);
        for (_, bytes, path) in files {
            if total <= self.bytes_max {
                break;
            }
            fs::remove_file(path)?;
            total = total.saturating_sub(bytes);
        }
        Ok(())
    }

    fn hasher(&self, key: &Digest) -> blake3::Hasher {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(key.as_bytes());
        hasher
    }

    fn path(&self, key: &Digest, extension: &str) -> PathBuf {
        self.folder.join(format!("{}.{extension}", key.hex()))
    }
}

/// Notes that a file was used now.
fn touch(file: &File) -> io::Result<()> {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    Ok(rustix::fs::futimens(file, &Timestamps { last_access: now, last_modification: now })?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn disk(folder: &std::path::Path, secret: u8, bytes_max: u64) -> Disk {
        let folder = folder.to_owned();
        let settings = ArtefactSettings { folder, secret: [secret; 32], bytes_max };
        Disk::open(settings).expect("opens")
    }

    fn artefact(name: &[u8], weights: &[u8]) -> Artefact {
        let sizes = (weights.len() as u64, 4);
        let write = |file: &File| {
            file.write_all_at(weights, 0)?;
            file.write_all_at(b"head", weights.len() as u64)
        };
        Artefact::write(Digest::of(name), sizes, write).expect("memory")
    }

    fn is_there(disk: &Disk, name: &[u8]) -> bool {
        matches!(disk.read(&Digest::of(name)), Kept::Artefact(_))
    }

    #[test]
    fn what_was_kept_is_read_and_nobody_can_change_it_in_memory() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = disk(folder.path(), 1, 1 << 20);
        disk.keep(&artefact(b"one", b"weights")).expect("kept");
        let Kept::Artefact(read) = disk.read(&Digest::of(b"one")) else { panic!("it was kept") };
        let mut content = [0; 11];
        read.file.read_exact_at(&mut content, 0).expect("read");
        assert_eq!(&content, b"weightshead");
        assert_eq!(read.form(), (11, crate::protocol::Form::Mapped { weights_bytes: 7 }));
        assert!(read.file.write_all_at(b"x", 0).is_err() && read.file.set_len(3).is_err());
    }

    #[test]
    fn an_artefact_of_another_key_or_host_or_a_damaged_one_is_not_loaded() {
        let folder = tempfile::tempdir().expect("a folder");
        let ours = disk(folder.path(), 1, 1 << 20);
        ours.keep(&artefact(b"one", b"weights")).expect("kept");
        let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
        fs::copy(ours.path(&one, ARTEFACT), ours.path(&two, ARTEFACT)).expect("copied");
        assert!(!is_there(&ours, b"two"), "one of another key");
        assert!(!ours.path(&two, ARTEFACT).exists(), "it can be made again");
        let path = ours.path(&one, ARTEFACT);
        let good = fs::read(&path).expect("read");
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            fs::write(&path, bytes).expect("written");
            assert!(!is_there(&ours, b"one"), "byte {at}");
        }
        for length in 0..good.len() {
            fs::write(&path, &good[..length]).expect("written");
            assert!(!is_there(&ours, b"one"), "cut after {length}");
        }
        fs::write(&path, &good).expect("written");
        assert!(is_there(&ours, b"one"));
        assert!(!is_there(&disk(folder.path(), 2, 1 << 20), b"one"), "another host's");
    }

    #[test]
    fn a_model_that_failed_is_remembered_until_it_has_an_artefact() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = disk(folder.path(), 1, 1 << 20);
        let key = Digest::of(b"one");
        assert!(matches!(disk.read(&key), Kept::Nothing));
        disk.keep_plain(&key, &"because ".repeat(1000)).expect("kept");
        assert!(matches!(disk.read(&key), Kept::Plain));
        disk.keep(&artefact(b"one", b"weights")).expect("kept");
        assert!(is_there(&disk, b"one"));
    }

    #[test]
    fn the_longest_unused_ones_make_room() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = disk(folder.path(), 1, 3 * 10_000);
        for (age, name) in [(30, b"a"), (20, b"b"), (10, b"c")] {
            disk.keep(&artefact(name, &[7; 9000])).expect("kept");
            let file = File::open(disk.path(&Digest::of(name), ARTEFACT)).expect("there");
            let now = file.metadata().and_then(|meta| meta.modified()).expect("a time");
            file.set_modified(now - Duration::from_secs(age)).expect("older");
        }
        assert!(is_there(&disk, b"a"), "used now");
        disk.keep(&artefact(b"d", &[7; 9000])).expect("kept");
        assert_eq!(
            [b"a", b"b", b"c", b"d"].map(|name| is_there(&disk, name)),
            [true, false, true, true]
        );
    }
}
