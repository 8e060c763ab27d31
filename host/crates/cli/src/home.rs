//! The directory of a person's keys and accounts, and the choice of which to act as.
//!
//! `<home>/keys/NAME.pem` are secret keys, `<home>/accounts/NAME.json` hold an account's API key. Only their owner can read
//! them. The host never sees a secret key: everything is signed here.

use std::fs::{self, DirBuilder, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::failure::{During as _, Failure};
use hospes_core::id::{AccountName, Party};
use hospes_core::key::PartyKey;

/// Largest account file to read, in bytes.
const ACCOUNT_BYTES_MAX: u64 = 4096;

/// Most keys or accounts listed.
const NAMES_MAX: usize = 10_000;

/// A directory of keys and accounts.
#[derive(Debug, Clone)]
pub struct Home(Option<PathBuf>);

/// An account on a host, as stored in its file.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedAccount {
    pub name: AccountName,
    /// The key in this home that signs for the account.
    pub key: AccountName,
    pub party: Party,
    /// Earlier keys, the latest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<Party>,
    /// The API key for the host's routes.
    pub api_key: String,
}

/// The name, key and account that a command acts as.
#[derive(Debug, Clone)]
pub struct Identity {
    home: Home,
    name: AccountName,
}

impl Home {
    /// The home at `path`; it need not exist.
    #[cfg(test)]
    pub fn new(path: PathBuf) -> Self {
        Self(Some(path))
    }

    /// The home at `path`, which need not exist. Without a path, commands that need a key or an account fail.
    pub fn at(path: Option<PathBuf>) -> Self {
        Self(path)
    }

    fn root(&self) -> Result<&Path, Failure> {
        self.0.as_deref().ok_or_else(|| {
            Failure::new("there is no home directory for keys and accounts")
                .fix("name one with `--home DIR`, or set HOSPES_HOME")
        })
    }

    /// The identity to act as: `wanted`, or the only one.
    ///
    /// # Errors
    /// If none was named and there is not exactly one.
    pub fn identity(&self, wanted: Option<&AccountName>) -> Result<Identity, Failure> {
        if let Some(name) = wanted {
            return Ok(Identity { home: self.clone(), name: name.clone() });
        }
        let mut names = self.keys()?;
        names.extend(self.accounts()?);
        names.sort();
        names.dedup();
        match names.as_slice() {
            [name] => Ok(Identity { home: self.clone(), name: name.clone() }),
            [] => Err(Failure::new(format!("`{}` holds no key yet", self.root()?.display())).fix(
                "make one with `hospes keys new NAME`, or name another directory with `--home`",
            )),
            [_, ..] => {
                let names: Vec<&str> = names.iter().map(AccountName::as_str).collect();
                Err(Failure::new("there are several keys and accounts")
                    .fix(format!("choose one with `--as NAME` or HOSPES_AS: {}", names.join(", "))))
            }
        }
    }

    /// The names of the keys, sorted.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn keys(&self) -> Result<Vec<AccountName>, Failure> {
        names(&self.root()?.join("keys"), "pem")
    }

    /// The file of a key.
    ///
    /// # Errors
    /// If there is no home.
    pub fn key_path(&self, name: &AccountName) -> Result<PathBuf, Failure> {
        Ok(self.root()?.join("keys").join(format!("{name}.pem")))
    }

    /// Makes a key and keeps it.
    ///
    /// # Errors
    /// If that name exists, or the file cannot be written.
    pub fn new_key(&self, name: &AccountName) -> Result<PartyKey, Failure> {
        let path = self.key_path(name)?;
        if path.exists() {
            return Err(Failure::new(format!("key `{name}` exists already: `{}`", path.display()))
                .fix(format!("choose another name, or use this key with `--as {name}`")));
        }
        private_directory(&self.root()?.join("keys"))?;
        let key = PartyKey::generate()?;
        key.save(&path)?;
        Ok(key)
    }

    /// Reads a key.
    ///
    /// # Errors
    /// If there is no key of that name, or its file is not a key.
    pub fn key(&self, name: &AccountName) -> Result<PartyKey, Failure> {
        let path = self.key_path(name)?;
        if !path.exists() {
            return Err(Failure::new(format!(
                "there is no key `{name}`: `{}` is missing",
                path.display()
            ))
            .fix(format!("make it with `hospes keys new {name}`, or see `hospes keys list`")));
        }
        Ok(PartyKey::load(&path)?)
    }

    /// The names of the accounts, sorted.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn accounts(&self) -> Result<Vec<AccountName>, Failure> {
        names(&self.root()?.join("accounts"), "json")
    }

    /// Reads an account; `None` if there is no such file.
    ///
    /// # Errors
    /// If the file cannot be read, others may read it, or it is not an account.
    pub fn account(&self, name: &AccountName) -> Result<Option<SavedAccount>, Failure> {
        let path = self.account_path(name)?;
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::file("open", &path, &error)),
        };
        let failed = |error| Failure::file("read", &path, &error);
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(Failure::new(format!(
                "`{}` has mode {mode:03o}: others could read its API key",
                path.display()
            ))
            .fix(format!("chmod 600 {}", path.display())));
        }
        let mut text = Vec::new();
        file.take(ACCOUNT_BYTES_MAX).read_to_end(&mut text).map_err(failed)?;
        serde_json::from_slice(&text)
            .map(Some)
            .during(|| format!("`{}` is not an account file", path.display()))
            .or_fix(|| {
                format!("make another API key with `hospes account new {name} --data DIR --force`")
            })
    }

    /// Stores an account; replaces one of the same name.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn keep_account(&self, account: &SavedAccount) -> Result<PathBuf, Failure> {
        let directory = self.root()?.join("accounts");
        private_directory(&directory)?;
        let path = self.account_path(&account.name)?;
        let failed = |error| Failure::file("write", &path, &error);
        // Readable only by its owner, and renamed into place.
        let mut file = NamedTempFile::new_in(&directory).map_err(failed)?;
        file.write_all(&serde_json::to_vec_pretty(account)?).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(&path).map_err(|error| failed(error.error))?;
        Ok(path)
    }

    /// Whether there is a file for an account, valid or not.
    ///
    /// # Errors
    /// If there is no home.
    pub fn has_account(&self, name: &AccountName) -> Result<bool, Failure> {
        Ok(fs::symlink_metadata(self.account_path(name)?).is_ok())
    }

    /// The file of an account.
    ///
    /// # Errors
    /// If there is no home.
    pub fn account_path(&self, name: &AccountName) -> Result<PathBuf, Failure> {
        Ok(self.root()?.join("accounts").join(format!("{name}.json")))
    }
}

impl Identity {
    /// The name, given or found.
    pub fn name(&self) -> &AccountName {
        &self.name
    }

    /// The key to sign with: the account's, or the one of the same name.
    ///
    /// # Errors
    /// As [`Home::key`] and [`Home::account`].
    pub fn key(&self) -> Result<PartyKey, Failure> {
        match self.home.account(&self.name)? {
            Some(account) => self.home.key(&account.key),
            None => self.home.key(&self.name),
        }
    }

    /// Whether `party` is this identity's current or an earlier key.
    ///
    /// # Errors
    /// As [`Identity::key`].
    pub fn is(&self, party: &Party) -> Result<bool, Failure> {
        let account = self.home.account(&self.name)?;
        let former = account.is_some_and(|account| account.former.contains(party));
        Ok(former || self.key()?.party() == *party)
    }

    /// The account to call the host with.
    ///
    /// # Errors
    /// If it was not opened from this home.
    pub fn account(&self) -> Result<SavedAccount, Failure> {
        self.home.account(&self.name)?.ok_or_else(|| {
            Failure::new(format!("`{}` has no account on the host", self.name))
                .fix(format!("open it with `hospes account new {} --data DIR`", self.name))
        })
    }
}

/// Makes a directory that only its owner may enter.
fn private_directory(path: &Path) -> Result<(), Failure> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| Failure::file("make directory", path, &error))
}

/// The names before `.extension` of a directory's files; empty if it does not exist.
fn names(directory: &Path, extension: &str) -> Result<Vec<AccountName>, Failure> {
    let failed = |error| Failure::file("list", directory, &error);
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries.take(NAMES_MAX) {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|found| found == extension)
            && let Some(name) = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok())
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> AccountName {
        text.parse().expect("a name")
    }

    #[test]
    fn the_only_key_is_the_default() {
        let directory = tempfile::tempdir().expect("a directory");
        let home = Home::new(directory.path().join("home"));
        assert!(home.identity(None).expect_err("empty").to_string().contains("hospes keys new"));
        let key = home.new_key(&name("ada")).expect("a key");
        let me = home.identity(None).expect("the only one");
        assert_eq!(me.key().expect("the key").party(), key.party());
        let again = home.new_key(&name("ada")).expect_err("keys are never overwritten").to_string();
        assert!(again.contains("choose another name"), "{again}");
        home.new_key(&name("bob")).expect("a key");
        let unclear = home.identity(None).expect_err("two").to_string();
        assert!(unclear.contains("ada, bob"), "{unclear}");
        assert_eq!(home.identity(Some(&name("bob"))).expect("named").name(), &name("bob"));
    }

    #[test]
    fn an_account_is_kept_for_its_owner_only_and_signs_with_its_key() {
        let directory = tempfile::tempdir().expect("a directory");
        let home = Home::new(directory.path().into());
        let key = home.new_key(&name("laptop")).expect("a key");
        let me = home.identity(Some(&name("acme"))).expect("named");
        assert!(
            me.account().is_err_and(|failure| failure.to_string().contains("account new acme"))
        );
        let account = SavedAccount {
            name: name("acme"),
            key: name("laptop"),
            former: Vec::new(),
            party: key.party(),
            api_key: "hsp_x".into(),
        };
        assert!(!home.has_account(&name("acme")).expect("a home"));
        let path = home.keep_account(&account).expect("kept");
        assert!(home.has_account(&name("acme")).expect("a home"));
        assert_eq!(me.account().expect("an account").api_key, "hsp_x");
        assert_eq!(me.key().expect("a key").party(), key.party());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("a mode");
        assert!(me.account().is_err_and(|failure| failure.to_string().contains("chmod 600")));
    }
}
