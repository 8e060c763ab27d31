//! The files in the data directory that only this host and its operator may read.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::KEY_FILE;
use crate::config::OPERATOR_TOKEN_FILE;
use crate::id::{hex, unhex};
use crate::key::{KeyError, PartyKey};

/// Why the host's secrets cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    #[error("the host's key cannot be used")]
    Key(#[from] KeyError),
    #[error("`{}` cannot be read or made", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("`{}` is damaged: it should hold 64 hexadecimal digits; delete it to get a new one", .0.display())]
    Damaged(PathBuf),
    #[error("the operating system gave no random numbers")]
    Randomness,
}

/// File of the secret that authenticates compiled code.
const CACHE_FILE: &str = "cache.secret";

/// The secret files in the data directory.
pub const FILES: [&str; 3] = [KEY_FILE, OPERATOR_TOKEN_FILE, CACHE_FILE];

/// The host's secrets, created at its first start.
pub(super) struct Secrets {
    key: PartyKey,
    operator_token: ArcSwap<String>,
    token_file: PathBuf,
    cache_secret: [u8; 32],
}

impl Secrets {
    /// Reads or creates the secrets in `data`.
    pub(super) fn open(data: &Path) -> Result<Self, SecretsError> {
        Ok(Self {
            key: host_key(&data.join(KEY_FILE))?,
            operator_token: ArcSwap::from_pointee(hex(&random_file(
                &data.join(OPERATOR_TOKEN_FILE),
            )?)),
            token_file: data.join(OPERATOR_TOKEN_FILE),
            cache_secret: random_file(&data.join(CACHE_FILE))?,
        })
    }

    /// Signs checkpoints.
    pub(super) fn key(&self) -> &PartyKey {
        &self.key
    }

    /// The operator's token.
    pub(super) fn operator_token(&self) -> Arc<String> {
        self.operator_token.load_full()
    }

    /// Replaces the operator's token. The old one is invalid from then on.
    pub(super) fn rotate_operator_token(&self) -> Result<Arc<String>, SecretsError> {
        let failed = |source| SecretsError::File { path: self.token_file.clone(), source };
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|_| SecretsError::Randomness)?;
        let token = Arc::new(hex(&secret));
        // Atomic and owner-only: a temporary file is created so.
        let folder = self.token_file.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
        writeln!(file, "{token}").map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(&self.token_file).map_err(|error| failed(error.error))?;
        self.operator_token.store(Arc::clone(&token));
        Ok(token)
    }

    /// Authenticates compiled code and optimised models.
    pub(super) fn cache_secret(&self) -> &[u8; 32] {
        &self.cache_secret
    }
}

/// The secrets in `data`; the host's key only if it exists already.
///
/// # Errors
/// [`SecretsError`] of the first unusable one. A secret that others can read is usable: starting makes it private.
pub fn look(data: &Path) -> Result<Option<PartyKey>, SecretsError> {
    for name in [OPERATOR_TOKEN_FILE, CACHE_FILE] {
        let path = data.join(name);
        if path.exists() {
            read_random(&path)?;
        }
    }
    let path = data.join(KEY_FILE);
    match path.exists().then(|| PartyKey::load(&path)) {
        None | Some(Err(KeyError::Exposed { .. })) => Ok(None),
        Some(key) => Ok(Some(key?)),
    }
}

fn host_key(path: &Path) -> Result<PartyKey, SecretsError> {
    if path.exists() {
        return Ok(PartyKey::load(path)?);
    }
    let key = PartyKey::generate()?;
    key.save(path)?;
    Ok(key)
}

/// The 32 random bytes in a file, as hexadecimal digits.
fn random_file(path: &Path) -> Result<[u8; 32], SecretsError> {
    let failed = |source| SecretsError::File { path: path.to_owned(), source };
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => {
            let mut secret = [0; 32];
            getrandom::fill(&mut secret).map_err(|_| SecretsError::Randomness)?;
            writeln!(file, "{}", hex(&secret)).and_then(|()| file.sync_all()).map_err(failed)?;
            Ok(secret)
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => read_random(path),
        Err(error) => Err(failed(error)),
    }
}

fn read_random(path: &Path) -> Result<[u8; 32], SecretsError> {
    let failed = |source| SecretsError::File { path: path.to_owned(), source };
    let mut text = String::new();
    let file = OpenOptions::new().read(true).open(path).map_err(failed)?;
    // A secret is 65 bytes long: anything larger is not read.
    file.take(128).read_to_string(&mut text).map_err(failed)?;
    unhex(text.trim_end()).ok_or_else(|| SecretsError::Damaged(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_made_once_and_only_their_owner_reads_them() {
        use std::os::unix::fs::PermissionsExt as _;
        let data = tempfile::tempdir().expect("a folder");
        let first = Secrets::open(data.path()).expect("makes them");
        let again = Secrets::open(data.path()).expect("reads them");
        assert_eq!(first.operator_token(), again.operator_token());
        assert_eq!(first.cache_secret(), again.cache_secret());
        assert_eq!(first.key().party(), again.key().party());
        for name in ["host.pem", "operator.token", "cache.secret"] {
            let meta = std::fs::metadata(data.path().join(name)).expect("is there");
            assert_eq!(meta.permissions().mode() & 0o777, 0o600, "{name}");
        }
        std::fs::write(data.path().join("operator.token"), "short").expect("writes");
        assert!(matches!(Secrets::open(data.path()), Err(SecretsError::Damaged(_))));
    }
}
