//! Compiled components on disk, so that a restart need not compile them again.
//!
//! Machine code is trusted like this program, so it is loaded only if a keyed hash proves that this host wrote it. Compiled code from
//! outside is never accepted.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use wasmtime::Engine;
use wasmtime::component::Component;

use super::SandboxError;
use crate::id::{Digest, hex};

/// Context string of the key derivation, the key's only use.
const KEY_CONTEXT: &str = "hospes 2026-11 compiled component cache";

/// Length of the keyed hash before the code, in bytes.
const TAG_BYTES: usize = 32;

/// A folder of compiled components.
pub(super) struct Cache {
    folder: PathBuf,
    key: [u8; 32],
    /// Identifies the engine that made the code: wasmtime's version, its settings and the processor.
    engine: String,
}

impl Cache {
    /// Opens the cache in `folder`. Only this host knows `host_secret`.
    pub(super) fn open(
        folder: PathBuf,
        host_secret: &[u8],
        engine: &Engine,
    ) -> Result<Self, SandboxError> {
        use std::hash::{Hash as _, Hasher as _};
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|source| SandboxError::Cache { path: folder.clone(), source })?;
        let mut hasher = std::hash::DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self {
            folder,
            key: blake3::derive_key(KEY_CONTEXT, host_secret),
            engine: format!("{:016x}", hasher.finish()),
        })
    }

    /// The compiled form of the component with this digest, if this host has compiled it.
    pub(super) fn load(&self, engine: &Engine, component: &Digest) -> Option<Component> {
        let bytes = fs::read(self.path(component)).ok()?;
        let (tag, code) = bytes.split_at_checked(TAG_BYTES)?;
        let tag: [u8; TAG_BYTES] = tag.try_into().ok()?;
        // `blake3::Hash` compares in constant time.
        if self.tag(component, code) != blake3::Hash::from_bytes(tag) {
            tracing::warn!(%component, "compiled code in the cache has no valid seal; compiling again");
            return None;
        }
        #[expect(unsafe_code, reason = "the one way to load compiled code")]
        // SAFETY: `deserialize` runs whatever machine code it gets. The keyed hash shows that exactly these bytes came from a compile
        // worker of this host, for this component and engine. They are in memory, so nobody can change them after the check.
        let loaded = unsafe { Component::deserialize(engine, code) };
        loaded
            .inspect_err(|error| tracing::warn!(%component, %error, "compiled code does not load"))
            .ok()
    }

    /// Loads a compile worker's output and stores it. If it cannot be stored, the next start compiles it again.
    pub(super) fn keep(
        &self,
        engine: &Engine,
        component: &Digest,
        code: &[u8],
    ) -> Result<Component, SandboxError> {
        #[expect(unsafe_code, reason = "the one way to load compiled code")]
        // SAFETY: `deserialize` runs whatever machine code it gets. These bytes are a copy of the output of this program's own compiler,
        // from a process that nobody else can reach.
        let loaded = unsafe { Component::deserialize(engine, code) };
        let loaded = loaded.map_err(SandboxError::Compile)?;
        if let Err(error) = self.write(component, code) {
            tracing::warn!(%component, %error, "compiled code could not be cached");
        }
        Ok(loaded)
    }

    fn write(&self, component: &Digest, code: &[u8]) -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(self.tag(component, code).as_bytes())?;
        file.write_all(code)?;
        file.persist(self.path(component)).map_err(|error| error.error)?;
        Ok(())
    }

    fn tag(&self, component: &Digest, code: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(component.as_bytes());
        hasher.update(&(self.engine.len() as u64).to_le_bytes());
        hasher.update(self.engine.as_bytes());
        hasher.update(code);
        hasher.finalize()
    }

    fn path(&self, component: &Digest) -> PathBuf {
        let engine = blake3::hash(self.engine.as_bytes());
        let engine = hex(&engine.as_bytes()[..4]);
        Path::new(&self.folder).join(format!("{}-{engine}.cwasm", component.hex()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(folder: &Path, secret: &[u8]) -> (Engine, Cache) {
        let engine = Engine::default();
        let cache = Cache::open(folder.to_path_buf(), secret, &engine).expect("opens");
        (engine, cache)
    }

    #[test]
    fn code_that_was_changed_or_written_by_another_host_is_not_loaded() {
        let folder = tempfile::tempdir().expect("a folder");
        let (engine, ours) = cache(folder.path(), b"ours");
        let digest = Digest::of(b"component");
        let code = engine.precompile_component(&wat::parse_str("(component)").expect("text"));
        ours.keep(&engine, &digest, &code.expect("compiles")).expect("loads");
        assert!(ours.load(&engine, &digest).is_some());

        assert!(cache(folder.path(), b"another host").1.load(&engine, &digest).is_none());
        fs::copy(ours.path(&digest), ours.path(&Digest::of(b"other"))).expect("copies");
        assert!(ours.load(&engine, &Digest::of(b"other")).is_none(), "code of another component");

        let mut bytes = fs::read(ours.path(&digest)).expect("reads");
        *bytes.last_mut().expect("has bytes") ^= 1;
        fs::write(ours.path(&digest), &bytes).expect("writes");
        assert!(ours.load(&engine, &digest).is_none(), "a changed byte");
        fs::write(ours.path(&digest), b"short").expect("writes");
        assert!(ours.load(&engine, &digest).is_none(), "a cut file");
    }
}
