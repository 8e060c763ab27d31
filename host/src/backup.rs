//! Backs up a data directory into one file while the host serves, and restores one from such a file.
//!
//! The file is a plain tar: a heading, the records, the receipt log up to a checkpoint, the bundles that the records name, and last a
//! manifest with each file's digest, signed by the host. It contains the host's key only if the operator added it, and never the operator's
//! token. Nobody waits for the copy: the records are read in a transaction of their own, and log and bundles only grow. The surprise: no
//! agreement comes into force at the moment of the copy, so the records have every agreement that the log has a call of, and the log is as
//! new as the records.

mod archive;
mod restore;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Seek as _, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};

use crate::bundle::{Registry, RegistryError};
use crate::clock::Clock;
use crate::dsse::DsseError;
use crate::host::{BUNDLES, Host, KEY_FILE, RECEIPTS, RECORDS, TIME_FILE, check_log, time_known};
use crate::id::{Digest, Party};
use crate::key::{KeyError, PartyKey};
use crate::receipt::{CHECKPOINT_FILE, LOG_FILE, Log, Prefix, ReceiptError};
use crate::state::receipts;
use crate::store::{self, Snapshot, Store, StoreError, Table};

use archive::Writer;
pub use archive::{Contents, Fault, check, put_key};
pub use restore::{Outcome, RestoreError, Wanted, restore};

/// The file's format. A host reads formats up to its own.
const FORMAT: u32 = 1;

/// The kind of the signed statement at the file's end, over the manifest's digest.
const PAYLOAD_TYPE: &str = "application/vnd.hospes.backup-manifest";

/// How often the log of a stopped host is synced while it is copied.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// Why a backup failed.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("`{}` is not a host's data directory: it has no records in `{RECORDS}`", .0.display())]
    NoDirectory(PathBuf),
    #[error(
        "`{}` belongs to user {owner}, and you are user {user}: your files there would be unreadable for its host; run this as that user \
         (`runuser -u {owner}` or `sudo -u '#{owner}'`)", .data.display()
    )]
    Owner { data: PathBuf, owner: u32, user: u32 },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the log of receipts cannot be copied")]
    Receipts(#[from] ReceiptError),
    #[error("the host's key cannot be read")]
    Key(#[from] KeyError),
    #[error("the bundles cannot be read")]
    Bundles(#[from] RegistryError),
    #[error("the backup cannot be signed")]
    Sign(#[from] DsseError),
    #[error(
        "`{name}` became shorter while it was copied: another program writes into the data directory"
    )]
    Shorter { name: String },
    #[error("the backup cannot be written, or a file in the data directory cannot be read")]
    Io(#[from] io::Error),
}

/// The file's first entry, so that an older host can reject it at once. Unknown members are ignored.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Heading {
    format: u32,
    /// The format of the records.
    records: u32,
    /// The version of the program that made it.
    program: String,
}

/// The file's last entry before the signature.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    /// The host that made the backup.
    pub host: Party,
    pub made: Timestamp,
    /// Receipts and actions in the log.
    pub size: u64,
    /// The checkpoint that signs them.
    pub checkpoint: String,
    /// Each other file except the key, by its path in the data directory.
    pub files: BTreeMap<String, Listed>,
    /// Missing files that the records name.
    pub missing: Vec<String>,
}

/// A file of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    pub bytes: u64,
    pub sha256: Digest,
}

/// A snapshot of a data directory, which can be copied while others write.
pub struct Cut {
    data: PathBuf,
    records: Snapshot,
    log: Prefix,
    bundles: Registry,
    key: PartyKey,
    at: Timestamp,
    /// Locks the directory, if no host serves it.
    held: Option<(Store, Log)>,
}

impl Cut {
    /// The state of a running host. No call waits for it.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn of_host(host: &Host) -> Result<Self, BackupError> {
        let (records, log) = host.agreements.while_none_comes(|| {
            Ok::<_, BackupError>((host.store.snapshot()?, host.receipts.log().prefix()?))
        })?;
        let (data, bundles) = (host.config().data.dir.clone(), host.registry.clone());
        let (key, at) = (host.key().clone(), host.clock().now());
        Ok(Self { data, records, log, bundles, key, at, held: None })
    }

    /// The state of a stopped host's data directory. No host can start on it meanwhile.
    ///
    /// # Errors
    /// [`BackupError`]; [`StoreError::InUse`] if a host serves it.
    pub fn of_directory(data: &Path, clock: Clock) -> Result<Self, BackupError> {
        // Opening missing records would create new ones, which a host with a log rejects.
        if fs::metadata(data.join(RECORDS)).map_or(0, |records| records.len()) == 0 {
            return Err(BackupError::NoDirectory(data.to_owned()));
        }
        let (owner, user) = (fs::metadata(data)?.uid(), geteuid().as_raw());
        if owner != user {
            return Err(BackupError::Owner { data: data.to_owned(), owner, user });
        }
        let store = Store::open(&data.join(RECORDS))?;
        let key = PartyKey::load(&data.join(KEY_FILE))?;
        // As in a host: the clock never goes back.
        let clock = clock.steady();
        time_known(data, clock.now()).into_iter().for_each(|known| clock.has_been(known));
        let at = clock.now();
        let origin = receipts::origin(&key.party());
        let folder = data.join(RECEIPTS);
        let log = Log::open(&folder, &key, origin, FLUSH_INTERVAL, |_| ())?;
        check_log::<BackupError>(&store, &log)?;
        Ok(Self {
            data: data.to_owned(),
            records: store.snapshot()?,
            log: log.prefix()?,
            bundles: Registry::open(&data.join(BUNDLES))?,
            key,
            at,
            held: Some((store, log)),
        })
    }

    /// Writes the backup, without the host's key. A slow reader does not block the records: they are copied first.
    ///
    /// # Errors
    /// [`BackupError`]; the incomplete file can be recognised as such.
    pub fn write_to(self, out: impl Write) -> Result<(), BackupError> {
        let Self { data, records, log, bundles, key, at, held: _held } = self;
        // Unnamed: it disappears with this process in any case.
        let mut copy = tempfile::tempfile_in(&data)?;
        records.copy_to(copy.try_clone()?)?;
        let published = published(&records)?;
        drop(records);
        let mut archive = Writer::new(out, at);
        let program = env!("CARGO_PKG_VERSION").to_owned();
        archive.heading(&Heading { format: FORMAT, records: store::FORMAT, program })?;
        copy.rewind()?;
        let bytes = copy.metadata()?.len();
        archive.file(RECORDS, &mut copy, bytes)?;
        drop(copy);
        let of_log = |name: &str| format!("{RECEIPTS}/{name}");
        archive.file(&of_log(LOG_FILE), log.file(), log.bytes())?;
        archive.text(&of_log(CHECKPOINT_FILE), log.checkpoint())?;
        archive.text(TIME_FILE, &format!("{at}\n"))?;
        let mut missing = Vec::new();
        for name in bundle_files(&bundles, published, &mut missing)? {
            let path = data.join(&name);
            match File::open(&path) {
                Ok(mut file) => {
                    let bytes = file.metadata()?.len();
                    archive.file(&name, &mut file, bytes)?;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(name),
                Err(error) => return Err(error.into()),
            }
        }
        archive.end(&key, |files| Manifest {
            host: key.party(),
            made: at,
            size: log.size(),
            checkpoint: log.checkpoint().to_owned(),
            files,
            missing,
        })
    }
}

/// The published bundles, including those out of service.
fn published(records: &Snapshot) -> Result<BTreeSet<Digest>, StoreError> {
    #[derive(Deserialize)]
    struct Publication {
        bundle: Digest,
    }
    let mut published = BTreeSet::new();
    records.each(Table::Publications, |record| {
        // A host sets an unreadable record aside; it names no bundle.
        let publication = serde_json::from_slice::<Publication>(record);
        published.extend(publication.ok().map(|publication| publication.bundle));
    })?;
    Ok(published)
}

/// The bundles' files.
fn bundle_files(
    bundles: &Registry,
    published: BTreeSet<Digest>,
    missing: &mut Vec<String>,
) -> Result<BTreeSet<String>, BackupError> {
    let mut names = BTreeSet::new();
    for bundle in published {
        match bundles.files_of(&bundle) {
            Ok(files) => {
                names.extend(files.into_iter().map(|file| format!("{BUNDLES}/{file}")));
            }
            Err(RegistryError::Missing { .. } | RegistryError::Damaged { .. }) => {
                missing.push(format!("bundle {bundle}"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(names)
}

/// Reads up to a number of bytes and hashes them.
struct Hashed<R> {
    inner: io::Take<R>,
    hasher: crate::id::Hasher,
    bytes: u64,
}

impl<R: Read> Hashed<R> {
    fn new(inner: R, bytes_max: u64) -> Self {
        Self { inner: inner.take(bytes_max), hasher: crate::id::Hasher::default(), bytes: 0 }
    }

    /// What was read.
    fn listed(self) -> Listed {
        Listed { bytes: self.bytes, sha256: self.hasher.finish() }
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }
}
