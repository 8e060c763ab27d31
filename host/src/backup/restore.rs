//! Restores a data directory from a backup: next to its destination first, checked there like at a start, then moved in one step.

use std::fs::{self, File, Permissions};
use std::io::{self, BufReader, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::archive::{self, Contents, Fault};
use super::{FLUSH_INTERVAL, Manifest};
use crate::host::{KEY_FILE, RECEIPTS, RECORDS, check_log};
use crate::id::Party;
use crate::key::{KeyError, PartyKey};
use crate::operations::lost::{Restored, SHOWN_MAX};
use crate::receipt::{Known, Log, ProofError, ReceiptError};
use crate::state::receipts;
use crate::store::{Store, StoreError};

/// Why a restore failed.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("`{}` exists and is not an empty directory; restore to another, or move it away", .0.display())]
    NotEmpty(PathBuf),
    #[error("`{}` cannot be made", path.display())]
    Directory {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the backup `{}` cannot be opened", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the backup is not restored")]
    Archive(#[from] Fault),
    #[error("the backup does not hold the host's key: name its file with `--key host.pem`")]
    NoKey,
    #[error("the host's key cannot be used")]
    Key(#[from] KeyError),
    #[error("the key belongs to `{key}`, but the backup to host `{host}`")]
    OtherKey { key: Party, host: Party },
    #[error("the backup's records cannot be used")]
    Records(#[from] StoreError),
    #[error("the backup's log cannot be used")]
    Log(#[from] ReceiptError),
    #[error("the backup's log has {seen} entries, but its manifest says {wanted}")]
    LogSize { seen: u64, wanted: u64 },
    #[error("`{}` is not a receipt or checkpoint from the backup's host", path.display())]
    Shown {
        path: PathBuf,
        #[source]
        source: ProofError,
    },
    #[error(
        "there are {count} receipts and checkpoints, more than the {SHOWN_MAX} that are read at once"
    )]
    TooManyShown { count: usize },
}

/// What is to be restored.
pub struct Wanted<'w> {
    pub archive: &'w Path,
    /// The destination: missing, or an empty directory.
    pub data: &'w Path,
    /// The host's key, if the backup does not hold it.
    pub key: Option<&'w Path>,
    /// Receipts and checkpoints that may be newer than the backup, with their files.
    pub shown: Vec<(PathBuf, Vec<u8>)>,
}

/// The result of a restore.
pub struct Outcome {
    pub host: Party,
    pub made: Timestamp,
    /// Receipts and actions in the log.
    pub size: u64,
    /// Minimum number there were, if the evidence is newer.
    pub lost_up_to: Option<u64>,
    /// Files that were missing when the backup was made.
    pub missing: Vec<String>,
}

/// Restores a data directory from a backup. Complete and durable when this returns.
///
/// # Errors
/// [`RestoreError`]; nothing was changed.
pub fn restore(wanted: &Wanted<'_>) -> Result<Outcome, RestoreError> {
    let data = wanted.data;
    if wanted.shown.len() > SHOWN_MAX {
        return Err(RestoreError::TooManyShown { count: wanted.shown.len() });
    }
    check_empty(data)?;
    let failed = |source| RestoreError::Directory { path: data.to_owned(), source };
    let parent = match data.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    let opened = File::open(wanted.archive);
    let opened =
        opened.map_err(|source| RestoreError::Open { path: wanted.archive.to_owned(), source })?;
    fs::create_dir_all(parent).map_err(failed)?;
    let beside = tempfile::Builder::new()
        .prefix(".restoring-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(parent)
        .map_err(failed)?;
    let Contents { manifest, key } = archive::read(BufReader::new(opened), Some(beside.path()))?;
    let key = place_key(beside.path(), key.as_deref().map(Vec::as_slice), wanted.key)?;
    if key.party() != manifest.host {
        return Err(RestoreError::OtherKey { key: key.party(), host: manifest.host });
    }
    let lost_up_to = check(beside.path(), &key, &manifest, wanted)?;
    sync_folders(beside.path()).map_err(failed)?;
    fs::rename(beside.path(), data).map_err(failed)?;
    // After the move there is nothing left to remove.
    drop(beside.keep());
    File::open(parent).and_then(|folder| folder.sync_all()).map_err(failed)?;
    let Manifest { host, made, size, missing, .. } = manifest;
    Ok(Outcome { host, made, size, lost_up_to, missing })
}

fn check_empty(data: &Path) -> Result<(), RestoreError> {
    let entries = match fs::read_dir(data) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries,
    };
    let is_empty = entries.is_ok_and(|mut entries| entries.next().is_none());
    is_empty.then_some(()).ok_or_else(|| RestoreError::NotEmpty(data.to_owned()))
}

/// Writes the host's key into the directory, from the backup or from a file.
fn place_key(
    folder: &Path,
    in_backup: Option<&[u8]>,
    file: Option<&Path>,
) -> Result<PartyKey, RestoreError> {
    let path = folder.join(KEY_FILE);
    match (file, in_backup) {
        (Some(file), _) => PartyKey::load(file)?.save(&path)?,
        (None, Some(key)) => {
            let mut options = File::options();
            let file = options.write(true).create_new(true).mode(0o600).open(&path);
            let written = file.and_then(|mut file| {
                file.write_all(key)?;
                file.sync_all()
            });
            written.map_err(|source| RestoreError::Directory { path: path.clone(), source })?;
        }
        (None, None) => return Err(RestoreError::NoKey),
    }
    Ok(PartyKey::load(&path)?)
}

/// Opens records and log like a host, and leaves the note for its first start. Returns the lost log's size, if the evidence is newer.
fn check(
    folder: &Path,
    key: &PartyKey,
    manifest: &Manifest,
    wanted: &Wanted<'_>,
) -> Result<Option<u64>, RestoreError> {
    let store = Store::open(&folder.join(RECORDS))?;
    let party = key.party();
    let (receipts, origin) = (folder.join(RECEIPTS), receipts::origin(&party));
    let log = Log::open(&receipts, key, origin, FLUSH_INTERVAL, |_| ())?;
    check_log::<RestoreError>(&store, &log)?;
    log.check_holds(&manifest.checkpoint)?;
    if log.size() != manifest.size {
        return Err(RestoreError::LogSize { seen: log.size(), wanted: manifest.size });
    }
    let (mut lost_up_to, mut shown) = (None, Vec::new());
    for (path, text) in &wanted.shown {
        let known = Known::parse(text, &party)
            .map_err(|source| RestoreError::Shown { path: path.clone(), source })?;
        if log.has_lost(known.checkpoint())? {
            lost_up_to = lost_up_to.max(Some(known.size()));
            shown.push(String::from_utf8_lossy(text).into_owned());
        }
    }
    let note = Restored { size: manifest.size, made: manifest.made, shown };
    note.keep(&store)?;
    store.begin_epoch()?;
    store.close();
    Ok(lost_up_to)
}

/// Syncs the names of all files.
fn sync_folders(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_folders(&entry.path())?;
        }
    }
    File::open(folder)?.sync_all()
}
