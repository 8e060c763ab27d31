//! The operator's actions on accounts and keys. They take effect at once; the log makes them permanent.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{
    Account, Auth, AuthError, Cause, Directory, KeyId, KeyInfo, KeyRecord, Standing, serialise,
};
use crate::id::{AccountName, Party, hex};
use crate::store::Table;

/// A key as it is listed.
#[derive(Debug, Clone)]
pub struct ListedKey {
    pub account: AccountName,
    pub info: Arc<KeyInfo>,
    pub revoked: Option<Cause>,
}

impl Auth {
    /// Every account, ordered by name.
    pub fn accounts(&self) -> Vec<Arc<Account>> {
        let mut all: Vec<_> = self.directory.load().accounts.values().cloned().collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// An account's keys, oldest first.
    pub fn keys_of(&self, name: &AccountName) -> Vec<ListedKey> {
        let directory = self.directory.load();
        let keys = directory.keys.values().filter(|key| key.caller.account.name == *name);
        let mut keys: Vec<_> = keys
            .map(|key| ListedKey {
                account: name.clone(),
                info: Arc::clone(&key.caller.key),
                revoked: key.revoked.clone(),
            })
            .collect();
        keys.sort_by_key(|key| (key.info.made, key.info.id));
        keys
    }

    /// The account of this key.
    ///
    /// # Errors
    /// [`AuthError::NoKey`].
    pub fn owner_of(&self, id: KeyId) -> Result<Arc<Account>, AuthError> {
        let directory = self.directory.load();
        let found = directory.keys.values().find(|key| key.caller.key.id == id);
        found.map(|key| Arc::clone(&key.caller.account)).ok_or(AuthError::NoKey(id))
    }

    /// The current and former parties of accounts that are not open.
    pub fn stopped_parties(&self) -> Vec<Party> {
        let directory = self.directory.load();
        let stopped = directory.accounts.values().filter(|one| one.standing != Standing::Open);
        stopped.flat_map(|account| account.former.iter().chain([&account.party]).copied()).collect()
    }

    /// Suspends, resumes or closes an account. A closed one stays closed.
    ///
    /// # Errors
    /// [`AuthError::NoAccount`], [`AuthError::Closed`]; nothing was changed.
    pub fn set_standing(&self, name: &AccountName, standing: Standing) -> Result<(), AuthError> {
        let _changing = self.lock();
        let mut directory = Directory::clone(&self.directory.load());
        let account = directory.accounts.get(name);
        let account = account.ok_or_else(|| AuthError::NoAccount(name.clone()))?;
        if matches!(account.standing, Standing::Closed(_)) {
            return Err(AuthError::Closed(name.clone()));
        }
        directory.replace(Arc::new(Account { standing, ..Account::clone(account) }));
        self.directory.store(Arc::new(directory));
        Ok(())
    }

    /// Revokes a key: it is invalid from now on, and its running calls end.
    ///
    /// # Errors
    /// [`AuthError::NoKey`].
    pub fn revoke(&self, id: KeyId, cause: Cause) -> Result<(), AuthError> {
        let _changing = self.lock();
        let mut directory = Directory::clone(&self.directory.load());
        let found = directory.keys.iter().find(|(_, key)| key.caller.key.id == id);
        let hash = found.map(|(hash, _)| *hash);
        let key = hash.and_then(|hash| directory.keys.get_mut(&hash));
        let key = key.ok_or(AuthError::NoKey(id))?;
        key.revoked.get_or_insert(cause);
        let info = Arc::clone(&key.caller.key);
        self.directory.store(Arc::new(directory));
        info.stop.set();
        Ok(())
    }

    /// Updates the clock for keys' last use. Call about once a second.
    pub fn tick(&self) {
        self.second.store(self.clock.now().as_second(), Ordering::Relaxed);
    }

    /// Stores keys' last use, where it has changed.
    ///
    /// # Errors
    /// [`AuthError::Store`]; the next run tries again.
    pub fn keep_uses(&self) -> Result<(), AuthError> {
        let _changing = self.lock();
        let directory = self.directory.load();
        let mut records = Vec::new();
        for (hash, key) in directory.keys.iter() {
            let info = &key.caller.key;
            let Some(used) = info.used().filter(|_| info.is_unkept()) else { continue };
            let account = key.caller.account.name.clone();
            let record =
                KeyRecord { account, made: info.made, name: info.name.clone(), used: Some(used) };
            records.push((hex(hash), serialise(&record), Arc::clone(info), used));
        }
        if records.is_empty() {
            return Ok(());
        }
        let puts: Vec<_> = records
            .iter()
            .map(|(key, record, ..)| (Table::ApiKeys, key.as_str(), record.as_slice()))
            .collect();
        self.store.put_all(&puts)?;
        for (_, _, info, used) in &records {
            info.used_kept.store(used.as_second(), Ordering::Relaxed);
        }
        Ok(())
    }
}
