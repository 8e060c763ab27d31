//! The backup's file, written and read front to back. Its possible contents are listed here; nothing else is accepted.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use jiff::Timestamp;
use tar::{Archive, EntryType, Header};
use zeroize::Zeroizing;

use super::{BackupError, FORMAT, Hashed, Heading, Listed, Manifest, PAYLOAD_TYPE};
use crate::dsse::{DsseError, ENVELOPE_BYTES_MAX, Envelope};
use crate::host::{BUNDLES, KEY_FILE, RECEIPTS, RECORDS, TIME_FILE};
use crate::id::{Digest, hex, unhex};
use crate::key::{KEY_FILE_BYTES_MAX, PartyKey};
use crate::receipt::{CHECKPOINT_FILE, LOG_FILE};
use crate::store;

const HEADING: &str = "hospes-backup.json";
const MANIFEST: &str = "manifest.json";
const SIGNATURE: &str = "manifest.dsse";

/// Maximum size of the heading, in bytes.
const HEADING_BYTES_MAX: usize = 64 << 10;

/// Maximum size of the manifest, in bytes: some hundred thousand bundles.
const MANIFEST_BYTES_MAX: usize = 64 << 20;

/// Tar's block size.
const BLOCK: usize = 512;

/// What is wrong with a backup's file.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("the archive cannot be read: it is damaged, or is not a tar archive")]
    Read(#[source] io::Error),
    #[error("it is not a backup from `hospes backup`")]
    NoBackup,
    #[error(
        "it has {what} of format {seen}, from a newer host; this one reads format {known}: restore it with the newer `hospes`"
    )]
    Newer { what: &'static str, seen: u32, known: u32 },
    #[error("it holds `{name}`, which is not a file of a data directory")]
    Place { name: String },
    #[error("it holds `{name}` twice, or in the wrong place")]
    Order { name: String },
    #[error("`{name}` is larger than the {max} bytes allowed")]
    TooLarge { name: &'static str, max: usize },
    #[error("it has no end: the backup broke off")]
    NoEnd,
    #[error("its manifest cannot be read")]
    Manifest(#[source] serde_json::Error),
    #[error("its signature cannot be read")]
    Envelope(#[source] DsseError),
    #[error("its manifest was changed, or is not signed by the host that it names")]
    Signature,
    #[error("`{name}` is damaged: it does not match the manifest")]
    Damaged { name: String },
    #[error("it lacks `{name}`")]
    Lacks { name: String },
    #[error("`{name}` cannot be written")]
    Write {
        name: String,
        #[source]
        source: io::Error,
    },
}

/// What a backup holds.
pub struct Contents {
    pub manifest: Manifest,
    /// The host's key, if included.
    pub key: Option<Zeroizing<Vec<u8>>>,
}

/// Writes a backup.
pub(super) struct Writer<W> {
    out: W,
    at: Timestamp,
    files: BTreeMap<String, Listed>,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(out: W, at: Timestamp) -> Self {
        Self { out, at, files: BTreeMap::new() }
    }

    pub(super) fn heading(&mut self, heading: &Heading) -> Result<(), BackupError> {
        let text = serde_json::to_vec(heading).expect("invariant: texts and numbers serialise");
        Ok(put(&mut self.out, (HEADING, self.at), &text)?)
    }

    /// A file of this size.
    pub(super) fn file(
        &mut self,
        name: &str,
        from: impl Read,
        bytes: u64,
    ) -> Result<(), BackupError> {
        self.out.write_all(header(name, bytes, self.at)?.as_bytes())?;
        let mut from = Hashed::new(from, bytes);
        if io::copy(&mut from, &mut self.out)? != bytes {
            return Err(BackupError::Shorter { name: name.to_owned() });
        }
        pad(&mut self.out, bytes)?;
        self.files.insert(name.to_owned(), from.listed());
        Ok(())
    }

    pub(super) fn text(&mut self, name: &str, text: &str) -> Result<(), BackupError> {
        self.file(name, text.as_bytes(), text.len() as u64)
    }

    pub(super) fn end(
        mut self,
        key: &PartyKey,
        manifest: impl FnOnce(BTreeMap<String, Listed>) -> Manifest,
    ) -> Result<(), BackupError> {
        let manifest = manifest(std::mem::take(&mut self.files));
        let manifest =
            serde_json::to_vec_pretty(&manifest).expect("invariant: texts and numbers serialise");
        put(&mut self.out, (MANIFEST, self.at), &manifest)?;
        let statement = Digest::of(&manifest).to_string().into_bytes();
        let signed = Envelope::sign(PAYLOAD_TYPE, statement, key)?.to_bytes();
        put(&mut self.out, (SIGNATURE, self.at), &signed)?;
        self.out.write_all(&[0; 2 * BLOCK])?;
        Ok(self.out.flush()?)
    }
}

/// Prepends the host's key to a backup. Anybody with the file can then sign as the host.
///
/// # Errors
/// If it cannot be written.
pub fn put_key(out: &mut impl Write, key: &[u8], at: Timestamp) -> io::Result<()> {
    put(out, (KEY_FILE, at), key)
}

fn put(out: &mut impl Write, (name, at): (&str, Timestamp), bytes: &[u8]) -> io::Result<()> {
    let length = bytes.len() as u64;
    out.write_all(header(name, length, at)?.as_bytes())?;
    out.write_all(bytes)?;
    pad(out, length)
}

fn pad(out: &mut impl Write, bytes: u64) -> io::Result<()> {
    match (bytes % BLOCK as u64) as usize {
        0 => Ok(()),
        over => out.write_all(&[0; BLOCK][over..]),
    }
}

fn header(name: &str, bytes: u64, at: Timestamp) -> io::Result<Header> {
    let mut header = Header::new_gnu();
    header.set_path(name)?;
    header.set_size(bytes);
    header.set_mode(0o600);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(u64::try_from(at.as_second()).unwrap_or(0));
    header.set_entry_type(EntryType::Regular);
    header.set_cksum();
    Ok(header)
}

/// Reads and verifies a whole backup without storing anything.
///
/// # Errors
/// [`Fault`].
pub fn check(archive: impl Read) -> Result<Contents, Fault> {
    read(archive, None)
}

/// Reads and verifies a whole backup, and writes its files except the key to `folder`.
///
/// # Errors
/// [`Fault`]; the content of `folder` must not be used.
pub(super) fn read(archive: impl Read, folder: Option<&Path>) -> Result<Contents, Fault> {
    let mut archive = Archive::new(archive);
    let mut reading = Reading { folder, ..Reading::default() };
    // Raw entries: a backup never uses tar's extensions such as long names, which would be read into memory.
    for entry in archive.entries().map_err(Fault::Read)?.raw(true) {
        let entry = entry.map_err(Fault::Read)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if entry.header().entry_type() != EntryType::Regular || !is_place(&name) {
            return Err(Fault::Place { name: name.chars().take(120).collect() });
        }
        let size = entry.size();
        reading.take(name, (entry, size))?;
    }
    reading.end()
}

/// A backup being read.
#[derive(Default)]
struct Reading<'f> {
    folder: Option<&'f Path>,
    has_heading: bool,
    key: Option<Zeroizing<Vec<u8>>>,
    files: BTreeMap<String, Listed>,
    manifest: Option<Vec<u8>>,
    signature: Option<Vec<u8>>,
}

impl Reading<'_> {
    fn take(&mut self, name: String, (entry, size): (impl Read, u64)) -> Result<(), Fault> {
        if !self.has_heading && ![HEADING, KEY_FILE].contains(&name.as_str()) {
            return Err(Fault::NoBackup);
        }
        let is_misplaced = match name.as_str() {
            HEADING => self.has_heading,
            KEY_FILE => self.key.is_some() || self.has_heading,
            MANIFEST => self.manifest.is_some(),
            SIGNATURE => self.manifest.is_none(),
            _ => self.files.contains_key(&name) || self.manifest.is_some(),
        };
        if is_misplaced || self.signature.is_some() {
            return Err(Fault::Order { name });
        }
        match name.as_str() {
            HEADING => {
                check_heading(&whole(entry, HEADING, HEADING_BYTES_MAX)?)?;
                self.has_heading = true;
            }
            KEY_FILE => {
                self.key = Some(Zeroizing::new(whole(entry, KEY_FILE, KEY_FILE_BYTES_MAX)?));
            }
            MANIFEST => self.manifest = Some(whole(entry, MANIFEST, MANIFEST_BYTES_MAX)?),
            SIGNATURE => self.signature = Some(whole(entry, SIGNATURE, ENVELOPE_BYTES_MAX)?),
            _ => {
                let listed = keep(&name, entry, self.folder)?;
                if listed.bytes < size {
                    return Err(Fault::NoEnd);
                }
                self.files.insert(name, listed);
            }
        }
        Ok(())
    }

    /// Compares the files with the manifest.
    fn end(self) -> Result<Contents, Fault> {
        if !self.has_heading {
            return Err(Fault::NoBackup);
        }
        let (Some(text), Some(signature)) = (self.manifest, self.signature) else {
            return Err(Fault::NoEnd);
        };
        let manifest: Manifest = serde_json::from_slice(&text).map_err(Fault::Manifest)?;
        let envelope = Envelope::parse(&signature).map_err(Fault::Envelope)?;
        if envelope.payload_type() != PAYLOAD_TYPE
            || envelope.payload() != Digest::of(&text).to_string().as_bytes()
            || envelope.signers_are(&[manifest.host]).is_err()
        {
            return Err(Fault::Signature);
        }
        let changed =
            |(name, listed): &(&String, &Listed)| manifest.files.get(*name) != Some(*listed);
        if let Some((name, _)) = self.files.iter().find(changed) {
            return Err(Fault::Damaged { name: name.clone() });
        }
        let of_log = [LOG_FILE, CHECKPOINT_FILE].map(|name| format!("{RECEIPTS}/{name}"));
        let named = manifest.files.keys().map(String::as_str);
        let needed = named.chain([RECORDS]).chain(of_log.iter().map(String::as_str));
        let lacks = needed.into_iter().find(|name| !self.files.contains_key(*name));
        if let Some(name) = lacks.map(str::to_owned) {
            return Err(Fault::Lacks { name });
        }
        Ok(Contents { manifest, key: self.key })
    }
}

fn check_heading(text: &[u8]) -> Result<(), Fault> {
    let Heading { format, records, .. } =
        serde_json::from_slice(text).map_err(|_| Fault::NoBackup)?;
    let formats = [("a backup", format, FORMAT), ("records", records, store::FORMAT)];
    match formats.into_iter().find(|(_, seen, known)| seen > known) {
        Some((what, seen, known)) => Err(Fault::Newer { what, seen, known }),
        None => Ok(()),
    }
}

/// Whether this path can occur in a backup. No other is ever opened.
fn is_place(name: &str) -> bool {
    let below = |folder: &str| name.strip_prefix(folder)?.strip_prefix('/');
    let is_digest = |file: &str| unhex::<32>(file).is_some_and(|bytes| hex(&bytes) == file);
    if [HEADING, KEY_FILE, MANIFEST, SIGNATURE, RECORDS, TIME_FILE].contains(&name) {
        return true;
    }
    if let Some(file) = below(RECEIPTS) {
        return [LOG_FILE, CHECKPOINT_FILE].contains(&file);
    }
    let of_bundle = below(BUNDLES).and_then(|rest| rest.split_once('/'));
    of_bundle.is_some_and(|(kind, file)| ["bundles", "models"].contains(&kind) && is_digest(file))
}

fn whole(entry: impl Read, name: &'static str, max: usize) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    entry.take(max as u64 + 1).read_to_end(&mut bytes).map_err(Fault::Read)?;
    if bytes.len() > max { Err(Fault::TooLarge { name, max }) } else { Ok(bytes) }
}

/// Reads a file, into `folder` if given.
fn keep(name: &str, entry: impl Read, folder: Option<&Path>) -> Result<Listed, Fault> {
    let failed = |source| Fault::Write { name: name.to_owned(), source };
    let mut file = folder.map(|folder| create(&folder.join(name))).transpose().map_err(failed)?;
    let mut entry = Hashed::new(entry, u64::MAX);
    let mut buffer = vec![0; 1 << 16];
    loop {
        match entry.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                if let Some(file) = &mut file {
                    file.write_all(&buffer[..count]).map_err(failed)?;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Fault::Read(error)),
        }
    }
    file.map_or(Ok(()), |file| file.sync_all()).map_err(failed)?;
    Ok(entry.listed())
}

/// Creates a new owner-only file, and its parent folders.
fn create(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_a_data_directory_have_a_place() {
        let digest = Digest::of(b"x").hex();
        let (bundle, model) =
            (format!("bundles/bundles/{digest}"), format!("bundles/models/{digest}"));
        for name in ["state.redb", "clock", "receipts/receipts.log", &bundle, &model] {
            assert!(is_place(name), "{name}");
        }
        let (upper, deep) = (bundle.to_uppercase(), format!("bundles/models/../models/{digest}"));
        for name in [
            "../state.redb",
            "/etc/passwd",
            "receipts/../operator.token",
            "operator.token",
            "bundles/bundles/x",
            "receipts",
            "",
            "./state.redb",
            &upper,
            &deep,
        ] {
            assert!(!is_place(name), "{name}");
        }
    }
}
