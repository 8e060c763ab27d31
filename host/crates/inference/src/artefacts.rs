//! Models in the form that a backend maps: optimised, with the weights as its kernels need them.
//!
//! A session that loads a publisher's model holds all weights anew, and packs them once more for the processor. From an artefact it maps
//! them: all sessions in all processes share one memory file. An artefact fits one model, one library, one processor and one set of
//! options. A process of its own makes it ([`build`]), because the library may crash on what it has written itself. Only this host's own
//! artefacts are ever loaded ([`disk`]).
//!
//! A model for which this fails in any way is loaded from its own file instead. An artefact never changes an answer: its outputs were equal
//! to the last bit.

mod build;
mod disk;
mod machine;

use std::collections::HashMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustix::fs::{MemfdFlags, SealFlags};
use tokio::sync::Semaphore;

use crate::ModelSource;
use crate::pool::Pool;
use crate::protocol::Form;
use crate::remote::LoadLoss;
use disk::{Disk, Kept};
use hospes_core::id::Digest;
use machine::Machine;

pub(super) use build::Subject;

/// Models smaller than this are loaded from their own file. A mapping of their weights would take more than a copy.
const MODEL_BYTES_MIN: usize = 64 << 10;

/// Where a host keeps artefacts.
#[derive(Clone)]
pub struct ArtefactSettings {
    pub folder: PathBuf,
    /// Known to this host only. It proves that an artefact is this host's.
    pub secret: [u8; 32],
    /// Maximum bytes of all artefacts on disk. The longest unused ones are removed first.
    pub bytes_max: u64,
}

impl fmt::Debug for ArtefactSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ArtefactSettings({}, {} bytes)", self.folder.display(), self.bytes_max)
    }
}

/// An artefact in a memory file that nobody can change.
#[derive(Debug)]
pub(super) struct Artefact {
    /// What it was made from, by what and for what.
    pub(super) key: Digest,
    file: File,
    /// Bytes of the weights, which come first.
    pub(super) weights_bytes: u64,
    /// Bytes of the signature and the optimised model after them.
    head_bytes: u64,
}

impl Artefact {
    /// An artefact whose content is written by `write`, in a new memory file.
    fn write<E: From<io::Error>>(
        key: Digest,
        (weights_bytes, head_bytes): (u64, u64),
        write: impl FnOnce(&File) -> Result<(), E>,
    ) -> Result<Self, E> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file =
            File::from(rustix::fs::memfd_create("artefact", flags).map_err(io::Error::from)?);
        file.set_len(weights_bytes.saturating_add(head_bytes))?;
        write(&file)?;
        // Sessions map it: it must not change or shrink under them.
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, seals).map_err(io::Error::from)?;
        Ok(Self { key, file, weights_bytes, head_bytes })
    }

    fn bytes(&self) -> u64 {
        self.weights_bytes.saturating_add(self.head_bytes)
    }

    /// Opens it for a worker, with an offset of its own.
    ///
    /// # Errors
    /// As of `open`.
    pub(super) fn open(&self) -> io::Result<OwnedFd> {
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        Ok(OpenOptions::new().read(true).open(path)?.into())
    }

    /// Its size, and how a worker must read it.
    pub(super) fn form(&self) -> (u64, Form) {
        (self.bytes(), Form::Mapped { weights_bytes: self.weights_bytes })
    }
}

/// An artefact that a model is loaded from, and whom to tell if that fails.
#[derive(Clone)]
pub(super) struct Mapped {
    artefacts: Arc<Artefacts>,
    artefact: Arc<Artefact>,
}

impl Mapped {
    pub(super) fn artefact(&self) -> Arc<Artefact> {
        Arc::clone(&self.artefact)
    }

    /// Notes that it failed: the model is loaded from its own file from now on.
    pub(super) async fn give_up(&self, loss: &LoadLoss) {
        let (artefacts, key) = (Arc::clone(&self.artefacts), self.artefact.key);
        let why = match loss {
            LoadLoss::Backend(error) => error.to_string(),
            LoadLoss::Timeout => "it was not loaded in time".into(),
            LoadLoss::Lost(how) => how.clone(),
            LoadLoss::Bystander => return,
        };
        tracing::warn!(artefact = %key, %why, "mapped weights failed; the model is loaded from its own file");
        let noted = tokio::task::spawn_blocking(move || artefacts.stay_plain(&key, &why, true));
        let _ = noted.await;
    }
}

/// What is known of a model's artefact.
pub(super) enum Found {
    Ready(Mapped),
    /// The model is loaded from its own file.
    Plain,
    /// It can be made.
    Missing(Digest),
}

/// The artefacts of a host.
pub(super) struct Artefacts {
    pool: Arc<Pool>,
    disk: Disk,
    machine: Machine,
    /// Those that somebody uses.
    used: Mutex<HashMap<Digest, Weak<Artefact>>>,
    /// Models without one, by key. The disk may know more.
    plain: Mutex<HashMap<Digest, ()>>,
    /// One is made at a time.
    making: Semaphore,
}

impl Artefacts {
    /// Opens the folder of artefacts for workers that use this library.
    ///
    /// # Errors
    /// Why there are none, for the operator.
    pub(super) fn open(
        settings: ArtefactSettings,
        library: PathBuf,
        pool: Arc<Pool>,
    ) -> Result<Self, String> {
        let disk = Disk::open(settings)?;
        let machine = Machine::new(library)?;
        let (used, plain) = (Mutex::default(), Mutex::default());
        Ok(Self { pool, disk, machine, used, plain, making: Semaphore::new(1) })
    }

    /// The artefact of a model, from memory or disk.
    pub(super) async fn find(self: &Arc<Self>, source: &ModelSource) -> Found {
        if source.bytes.len() < MODEL_BYTES_MIN {
            return Found::Plain;
        }
        let (artefacts, model) = (Arc::clone(self), source.digest);
        let found = tokio::task::spawn_blocking(move || artefacts.look(&model)).await;
        found.unwrap_or(Found::Plain)
    }

    fn look(self: &Arc<Self>, model: &Digest) -> Found {
        let ready = |artefact| Found::Ready(Mapped { artefacts: Arc::clone(self), artefact });
        let key = match self.machine.key(model) {
            Ok(key) => key,
            Err(why) => {
                tracing::warn!(%model, %why, "the model is loaded from its own file");
                return Found::Plain;
            }
        };
        if let Some(artefact) = lock(&self.used).get(&key).and_then(Weak::upgrade) {
            return ready(artefact);
        }
        if lock(&self.plain).contains_key(&key) {
            return Found::Plain;
        }
        match self.disk.read(&key) {
            Kept::Artefact(artefact) => ready(self.share(artefact)),
            Kept::Plain => {
                lock(&self.plain).insert(key, ());
                Found::Plain
            }
            Kept::Nothing => Found::Missing(key),
        }
    }

    /// The artefact for all who use it. Another may have been read at the same time.
    fn share(&self, artefact: Artefact) -> Arc<Artefact> {
        let mut used = lock(&self.used);
        used.retain(|_, artefact| artefact.strong_count() > 0);
        if let Some(same) = used.get(&artefact.key).and_then(Weak::upgrade) {
            return same;
        }
        let artefact = Arc::new(artefact);
        used.insert(artefact.key, Arc::downgrade(&artefact));
        artefact
    }

    /// Makes a model's artefact and keeps it, unless it exists. If that fails, the model stays without one.
    pub(super) async fn make(self: &Arc<Self>, subject: Subject) {
        let Ok(_turn) = self.making.acquire().await else { return };
        // Another may have made it meanwhile.
        let Found::Missing(key) = self.find(&subject.source).await else { return };
        let model = subject.source.digest;
        let made = build::make(&self.pool, key, subject, self.disk.bytes_max()).await;
        let artefacts = Arc::clone(self);
        let kept = tokio::task::spawn_blocking(move || match made {
            Ok(artefact) => {
                let artefact = artefacts.share(artefact);
                let kept = artefacts.disk.keep(&artefact).map_err(|error| error.to_string());
                // It would be made again for every load.
                kept.inspect_err(|why| artefacts.stay_plain(&key, why, false))
            }
            Err(failure) => {
                artefacts.stay_plain(&key, &failure.to_string(), failure.is_lasting());
                Err(failure.to_string())
            }
        });
        match kept.await {
            Ok(Ok(())) => tracing::debug!(%model, "the model's weights can be mapped"),
            Ok(Err(why)) => {
                tracing::info!(%model, %why, "the model's weights are not mapped");
            }
            Err(panic) => tracing::error!(%model, %panic, "an artefact could not be kept"),
        }
    }

    fn stay_plain(&self, key: &Digest, why: &str, is_lasting: bool) {
        lock(&self.plain).insert(*key, ());
        lock(&self.used).remove(key);
        if is_lasting && let Err(error) = self.disk.keep_plain(key, why) {
            tracing::warn!(%error, "the folder of artefacts cannot be written");
        }
    }
}

/// Nothing panics while holding one of these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes that are copied at a time.
const COPY_BYTES: usize = 1 << 20;

/// Copies a part of one file to a place in another. `look` sees every byte.
fn copy(
    (from, at): (&File, u64),
    bytes: u64,
    (into, to): (&File, u64),
    mut look: impl FnMut(&[u8]),
) -> io::Result<()> {
    let mut buffer = vec![0; COPY_BYTES.min(usize::try_from(bytes).unwrap_or(COPY_BYTES))];
    let mut done = 0;
    while done < bytes {
        let now = buffer.len().min(usize::try_from(bytes - done).unwrap_or(usize::MAX));
        let part = &mut buffer[..now];
        from.read_exact_at(part, at + done)?;
        look(part);
        into.write_all_at(part, to + done)?;
        done += now as u64;
    }
    Ok(())
}
