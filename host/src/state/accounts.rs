//! Authentication: accounts and their API keys.
//!
//! A key is 256 random bits with a prefix and a checksum. It is shown once and stored only as a hash. The key alone determines the account;
//! nothing else in a request can.

mod api_key;
mod standing;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::agreement::Succession;
use crate::clock::Clock;
use crate::id::{AccountName, IdError, KeyId, Party, hex, unhex};
use crate::key::{self, SignatureError};
use crate::state::Shared;
use crate::stop::Stop;
use crate::store::{Store, StoreError, Table};

use api_key::KeyHash;
pub use api_key::{ApiKey, Credential, KeyInfo};
pub use standing::ListedKey;

/// How often an account's key may be changed.
const FORMER_KEYS_MAX: usize = 64;

/// A party with an account on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Unique on this host; also the first part of its models' names.
    pub name: AccountName,
    /// The key that signs this account's bundles and agreements.
    pub party: Party,
    /// Earlier keys, the latest last. What they signed stays valid; they sign nothing new.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<Party>,
    /// The operator's decision on this account, restored from the log.
    #[serde(skip)]
    pub standing: Standing,
}

/// An account that is about to be opened or to get another key.
#[derive(Debug, Clone, Copy)]
pub struct Opening {
    /// The new key.
    pub key: KeyId,
    /// Whether the account is new.
    pub is_new: bool,
}

/// An account's standing with the operator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Standing {
    #[default]
    Open,
    /// Suspended: it can do nothing until it is resumed.
    Suspended(Cause),
    /// Closed: it can never do anything again.
    Closed(Cause),
}

/// When and why something was stopped or withdrawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    pub at: Timestamp,
    pub reason: Arc<str>,
}

impl Standing {
    /// The standing in one word.
    pub fn name(&self) -> &'static str {
        match self {
            Standing::Open => "open",
            Standing::Suspended(_) => "suspended",
            Standing::Closed(_) => "closed",
        }
    }

    /// Since when and why it is not open.
    pub fn cause(&self) -> Option<&Cause> {
        match self {
            Standing::Open => None,
            Standing::Suspended(cause) | Standing::Closed(cause) => Some(cause),
        }
    }
}

impl Account {
    /// Whether the party is or was this account's.
    pub fn has_been(&self, party: &Party) -> bool {
        self.party == *party || self.former.contains(party)
    }
}

/// An authenticated account. Only [`Auth::authenticate`] makes one.
#[derive(Debug, Clone)]
pub struct Caller {
    account: Arc<Account>,
    key: Arc<KeyInfo>,
}

impl Caller {
    /// The account that makes the call.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// The caller's API key.
    pub fn key(&self) -> &KeyInfo {
        &self.key
    }

    /// Ends the caller's calls when the key is revoked.
    pub fn stop(&self) -> &Arc<Stop> {
        &self.key.stop
    }

    /// The account's party.
    pub fn party(&self) -> &Party {
        &self.account.party
    }

    /// An opaque value that tells accounts apart and survives key changes.
    pub fn number(&self) -> u64 {
        let first = self.account.former.first().unwrap_or(&self.account.party);
        let [a, b, c, d, e, f, g, h, ..] = *first.public_key();
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    /// The party, and the parties before its key changes.
    pub fn parties(&self) -> impl Iterator<Item = &Party> {
        std::iter::once(&self.account.party).chain(&self.account.former)
    }

    /// Whether the caller is, or was, this party.
    pub fn is(&self, party: &Party) -> bool {
        self.parties().any(|own| own == party)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyRecord {
    account: AccountName,
    made: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    used: Option<Timestamp>,
}

/// Why a request was not authenticated or an account not opened.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error("this needs an API key: send `Authorization: Bearer hsp_…`")]
    Missing,
    #[error("the API key is malformed: it must be `hsp_` and 72 hexadecimal digits")]
    Malformed,
    #[error("the API key is mistyped: its checksum does not match; copy it again")]
    Mistyped,
    #[error("the API key is unknown here")]
    Unknown,
    #[error("the API key `{id}` was revoked at {} ({})", .cause.at, .cause.reason)]
    Revoked { id: KeyId, cause: Cause },
    #[error(
        "the account `{name}` was {} by this host's operator at {} ({}); it can still read its own data: `GET /api/account` says more",
        .standing.name(), .cause.at, .cause.reason
    )]
    Stopped { name: AccountName, standing: Standing, cause: Cause },
    #[error("there is no account `{0}`")]
    NoAccount(AccountName),
    #[error("account `{0}` is closed for good")]
    Closed(AccountName),
    #[error("there is no API key `{0}`")]
    NoKey(KeyId),
    #[error(transparent)]
    NotAKeyId(IdError),
    #[error("a key's name must have 1 to {bytes_max} bytes without control characters")]
    KeyName { bytes_max: usize },
    #[error("an account cannot have this key")]
    UnusableKey(#[from] SignatureError),
    #[error("the name `{0}` belongs to another party")]
    NameTaken(AccountName),
    #[error(
        "the record of account `{0}` cannot be read and was set aside; restore it from a backup"
    )]
    Aside(AccountName),
    #[error(
        "`{0}` may be the party of an account whose record cannot be read and was set aside (`hospes admin out-of-service list`): restore that record from a backup first"
    )]
    MayBeAside(Party),
    #[error("the party `{party}` already has the account `{name}`")]
    PartyTaken { party: Party, name: AccountName },
    #[error("`{0}` is not your account's current key")]
    NotYourKey(Party),
    #[error("`{0}` is already known here: make a new key")]
    KeyKnown(Party),
    #[error("your key was changed {FORMER_KEYS_MAX} times, as often as an account may")]
    TooManyKeys,
    #[error("the operating system gave no random numbers")]
    Randomness,
    #[error("the account could not be stored")]
    Store(#[from] StoreError),
    #[error("the stored record `{key}` is damaged")]
    Damaged {
        key: String,
        #[source]
        source: serde_json::Error,
    },
}

#[derive(Debug, Default, Clone)]
struct Directory {
    accounts: Shared<AccountName, Arc<Account>>,
    /// The account of each current or former party.
    names: Shared<Party, AccountName>,
    keys: Shared<KeyHash, Key>,
}

#[derive(Debug, Clone)]
struct Key {
    caller: Caller,
    revoked: Option<Cause>,
}

impl Directory {
    /// Inserts an account, replacing any of the same name.
    fn insert(&mut self, account: Arc<Account>) {
        for party in account.former.iter().chain([&account.party]) {
            self.names.insert_mut(*party, account.name.clone());
        }
        self.accounts.insert_mut(account.name.clone(), account);
    }

    /// The same for an account with API keys, which then belong to the new record.
    fn replace(&mut self, account: Arc<Account>) {
        let keys = self.keys.iter().filter(|(_, key)| key.caller.account.name == account.name);
        let hashes: Vec<KeyHash> = keys.map(|(hash, _)| *hash).collect();
        for hash in hashes {
            if let Some(key) = self.keys.get_mut(&hash) {
                key.caller.account = Arc::clone(&account);
            }
        }
        self.insert(account);
    }

    /// The account of a current or former party.
    fn that_has_been(&self, party: &Party) -> Option<&Arc<Account>> {
        self.accounts.get(self.names.get(party)?)
    }
}

/// The accounts of this host.
pub struct Auth {
    store: Arc<Store>,
    clock: Clock,
    directory: ArcSwap<Directory>,
    /// The present second, as last passed to [`Auth::tick`]: the resolution of "last used".
    second: AtomicI64,
    /// Held while the directory changes, so that concurrent changes are not lost.
    changing: Mutex<()>,
    lacks_accounts: bool,
}

impl Auth {
    /// Reads the accounts from the store.
    ///
    /// # Errors
    /// [`AuthError::Store`]. Records that cannot be read are set aside.
    pub fn open(store: Arc<Store>, clock: Clock) -> Result<Self, AuthError> {
        let (mut directory, mut lacks_accounts) = (Directory::default(), false);
        for (key, record) in store.all(Table::Accounts)? {
            match parse::<Account>(&key, &record) {
                Ok(account) => directory.insert(Arc::new(account)),
                Err(error) => {
                    lacks_accounts = true;
                    store.set_aside(Table::Accounts, &key, &error);
                }
            }
        }
        for (key, record) in store.all(Table::ApiKeys)? {
            let entry = match parse::<KeyRecord>(&key, &record) {
                Ok(entry) => entry,
                Err(error) => {
                    // Its name is a hash of the key, and safe to show.
                    store.set_aside(Table::ApiKeys, &key, &error);
                    continue;
                }
            };
            if let (Some(hash), Some(account)) =
                (unhex(&key), directory.accounts.get(&entry.account))
            {
                let KeyRecord { made, name, used, .. } = entry;
                let key = Arc::new(KeyInfo::new(KeyId::of(&hash), name, made, used));
                let caller = Caller { account: Arc::clone(account), key };
                directory.keys.insert_mut(hash, Key { caller, revoked: None });
            }
        }
        Ok(Self {
            second: AtomicI64::new(clock.now().as_second()),
            store,
            clock,
            directory: ArcSwap::from_pointee(directory),
            changing: Mutex::new(()),
            lacks_accounts,
        })
    }

    /// The account that the API key in `Authorization: Bearer` belongs to. Neither waits nor does any I/O.
    ///
    /// # Errors
    /// [`AuthError::Missing`], [`AuthError::Malformed`], [`AuthError::Mistyped`]; as [`Auth::recognise`].
    pub fn authenticate(&self, bearer: Option<&str>) -> Result<Caller, AuthError> {
        self.recognise(&Credential::read(bearer)?)
    }

    /// The same for a key that has already been read.
    ///
    /// # Errors
    /// [`AuthError::Unknown`], [`AuthError::Revoked`], [`AuthError::Stopped`].
    pub fn recognise(&self, credential: &Credential) -> Result<Caller, AuthError> {
        let caller = self.identify(credential)?;
        match caller.account.standing.cause() {
            None => Ok(caller),
            Some(cause) => Err(AuthError::Stopped {
                name: caller.account.name.clone(),
                standing: caller.account.standing.clone(),
                cause: cause.clone(),
            }),
        }
    }

    /// The account of a key, even if the operator has stopped it. Only for reading what it has.
    ///
    /// # Errors
    /// [`AuthError::Unknown`], [`AuthError::Revoked`].
    pub fn identify(&self, credential: &Credential) -> Result<Caller, AuthError> {
        // The look-up is by a hash of the secret, so its timing reveals nothing about the secret.
        let directory = self.directory.load();
        let Key { caller, revoked } =
            directory.keys.get(&credential.0).ok_or(AuthError::Unknown)?;
        if let Some(cause) = revoked {
            return Err(AuthError::Revoked { id: caller.key.id, cause: cause.clone() });
        }
        caller.key.touch(self.second.load(Ordering::Relaxed));
        Ok(caller.clone())
    }

    /// The same for a key as the client sends it.
    ///
    /// # Errors
    /// As [`Auth::authenticate`].
    pub fn reader(&self, bearer: Option<&str>) -> Result<Caller, AuthError> {
        self.identify(&Credential::read(bearer)?)
    }

    /// Opens an account for `party`, or finds its account of this name, and makes a new API key for it.
    ///
    /// # Errors
    /// [`AuthError::UnusableKey`], [`AuthError::NameTaken`], [`AuthError::PartyTaken`], [`AuthError::Closed`]; nothing was changed.
    pub fn open_account(&self, name: &AccountName, party: Party) -> Result<ApiKey, AuthError> {
        self.open_account_noted(name, party, None, |_| Ok(()))
    }

    /// The same with a name for the key. `note` runs before anything is changed, and may refuse.
    ///
    /// # Errors
    /// [`AuthError::KeyName`]; as [`Auth::open_account`]; those of `note`.
    pub fn open_account_noted<E: From<AuthError>>(
        &self,
        name: &AccountName,
        party: Party,
        key_name: Option<&str>,
        note: impl FnOnce(Opening) -> Result<(), E>,
    ) -> Result<ApiKey, E> {
        let failed = |error: AuthError| E::from(error);
        key::check_party(&party).map_err(AuthError::from)?;
        key_name.map_or(Ok(()), api_key::check_name)?;
        let _changing = self.lock();
        let mut directory = Directory::clone(&self.directory.load());
        let known = directory.accounts.get(name);
        let is_new = known.is_none();
        let account = match known {
            Some(account) if matches!(account.standing, Standing::Closed(_)) => {
                return Err(failed(AuthError::Closed(name.clone())));
            }
            Some(account) if account.party == party => Arc::clone(account),
            Some(_) => return Err(failed(AuthError::NameTaken(name.clone()))),
            None if self.store.why_aside(Table::Accounts, name.as_str()).is_some() => {
                return Err(failed(AuthError::Aside(name.clone())));
            }
            None => {
                if let Some(account) = directory.that_has_been(&party) {
                    let name = account.name.clone();
                    return Err(failed(AuthError::PartyTaken { party, name }));
                }
                let (name, standing) = (name.clone(), Standing::Open);
                Arc::new(Account { name, party, former: Vec::new(), standing })
            }
        };
        let (key, made) = (ApiKey::generate()?, self.clock.now());
        let (hash, key_name) = (key.stored(), key_name.map(Box::from));
        note(Opening { key: KeyId::of(&hash), is_new })?;
        let entry = KeyRecord { account: name.clone(), made, name: key_name.clone(), used: None };
        let records = [
            (Table::Accounts, name.as_str(), &*serialise(account.as_ref())),
            (Table::ApiKeys, &*hex(&hash), &*serialise(&entry)),
        ];
        self.store.put_all(&records).map_err(AuthError::from)?;
        directory.insert(Arc::clone(&account));
        let info = Arc::new(KeyInfo::new(KeyId::of(&hash), key_name, made, None));
        let caller = Caller { account, key: info };
        directory.keys.insert_mut(hash, Key { caller, revoked: None });
        self.directory.store(Arc::new(directory));
        Ok(key)
    }

    /// Replaces the caller's key. What the old key signed stays valid; it signs nothing new.
    ///
    /// # Errors
    /// [`AuthError::UnusableKey`], [`AuthError::NotYourKey`], [`AuthError::KeyKnown`], [`AuthError::TooManyKeys`]; nothing was changed.
    pub fn succeed(&self, caller: &Caller, succession: &Succession) -> Result<(), AuthError> {
        key::check_party(&succession.to)?;
        let _changing = self.lock();
        let mut directory = Directory::clone(&self.directory.load());
        let name = &caller.account().name;
        let current = directory.accounts.get(name).ok_or(AuthError::Unknown)?;
        if current.party == succession.to && current.former.last() == Some(&succession.from) {
            return Ok(());
        }
        if current.party != succession.from {
            return Err(AuthError::NotYourKey(succession.from));
        }
        if directory.that_has_been(&succession.to).is_some() {
            return Err(AuthError::KeyKnown(succession.to));
        }
        if current.former.len() >= FORMER_KEYS_MAX {
            return Err(AuthError::TooManyKeys);
        }
        let mut account = Account::clone(current);
        account.former.push(std::mem::replace(&mut account.party, succession.to));
        let account = Arc::new(account);
        self.store.put(Table::Accounts, name.as_str(), &serialise(account.as_ref()))?;
        directory.replace(account);
        self.directory.store(Arc::new(directory));
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Whether a key has been replaced.
    pub fn is_retired(&self, party: &Party) -> bool {
        let directory = self.directory.load();
        directory.that_has_been(party).is_some_and(|account| account.party != *party)
    }

    /// Whether two parties belong, or belonged, to the same account.
    pub fn are_one(&self, one: &Party, other: &Party) -> bool {
        let directory = self.directory.load();
        one == other || directory.that_has_been(one).is_some_and(|account| account.has_been(other))
    }

    /// All current and former parties of this party's account.
    pub fn parties_of(&self, party: &Party) -> Vec<Party> {
        let directory = self.directory.load();
        directory.that_has_been(party).map_or_else(
            || vec![*party],
            |account| account.former.iter().copied().chain([account.party]).collect(),
        )
    }

    /// Whether any account's record could not be read.
    pub fn lacks_accounts(&self) -> bool {
        self.lacks_accounts
    }

    /// Whether a current or former party belongs to a readable account.
    pub fn knows(&self, party: &Party) -> bool {
        self.directory.load().that_has_been(party).is_some()
    }

    /// The account with this name.
    pub fn account(&self, name: &AccountName) -> Option<Arc<Account>> {
        self.directory.load().accounts.get(name).cloned()
    }
}

fn parse<'de, T: Deserialize<'de>>(key: &str, record: &'de [u8]) -> Result<T, AuthError> {
    serde_json::from_slice(record)
        .map_err(|source| AuthError::Damaged { key: key.to_owned(), source })
}

fn serialise(record: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(record).expect("invariant: these records have string keys only")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth(folder: &tempfile::TempDir) -> Auth {
        let store = Store::open(&folder.path().join("state.redb")).expect("opens");
        Auth::open(Arc::new(store), Clock::System).expect("opens")
    }

    fn party_of(secret: u8) -> Party {
        key::PartyKey::from_secret(&[secret; 32]).party()
    }

    fn name(text: &str) -> AccountName {
        text.parse().expect("a name")
    }

    #[test]
    fn a_key_is_shown_once_stored_hashed_and_survives() {
        let folder = tempfile::tempdir().expect("a folder");
        let party = party_of(7);
        let key = auth(&folder).open_account(&name("acme"), party).expect("opens").reveal();
        let stored = std::fs::read(folder.path().join("state.redb")).expect("reads");
        let secret = &key.as_bytes()[4..68];
        assert!(!stored.windows(secret.len()).any(|window| window == secret));
        let caller = auth(&folder).authenticate(Some(&key)).expect("known");
        let account = caller.account();
        assert_eq!(
            (&account.name, account.party, &account.former),
            (&name("acme"), party, &Vec::new())
        );
    }

    #[test]
    fn any_changed_character_of_a_key_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let auth = auth(&folder);
        let party = party_of(7);
        let key = auth.open_account(&name("acme"), party).expect("opens").reveal();
        for at in 0..key.len() {
            let mut changed = key.clone().into_bytes();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(changed).expect("text");
            let refused = auth.authenticate(Some(&changed)).expect_err("changed");
            let is_mistyped = matches!(refused, AuthError::Mistyped);
            assert_eq!(is_mistyped, at >= "hsp_".len(), "{at}: {refused}");
        }
        for bad in ["", "hsp_", &key[..key.len() - 1], &format!("{key}0"), &key.to_uppercase()] {
            assert!(matches!(auth.authenticate(Some(bad)), Err(AuthError::Malformed)), "{bad}");
        }
        let other = ApiKey([9; 32]).reveal();
        assert!(matches!(auth.authenticate(Some(&other)), Err(AuthError::Unknown)));
        assert!(matches!(auth.authenticate(None), Err(AuthError::Missing)));
    }

    #[test]
    fn a_name_and_a_party_belong_together() {
        let folder = tempfile::tempdir().expect("a folder");
        let auth = auth(&folder);
        let (one, two) = (party_of(1), party_of(2));
        let first = auth.open_account(&name("acme"), one).expect("opens");
        let second = auth.open_account(&name("acme"), one).expect("a second key");
        assert_ne!(first, second);
        assert!(matches!(auth.open_account(&name("acme"), two), Err(AuthError::NameTaken(_))));
        assert!(matches!(auth.open_account(&name("b"), one), Err(AuthError::PartyTaken { .. })));
        assert!(auth.authenticate(Some(&first.reveal())).is_ok());
    }
}
