//! Who is asking: accounts, and the API keys that prove one.
//!
//! A key is 256 random bits behind a prefix and a checksum, shown once when it is made and stored as a hash only. The
//! account follows from the key alone; nothing else in a request can name or change it.

use std::fmt;
use std::sync::{Arc, LazyLock, Mutex};

use arc_swap::ArcSwap;
use blake3::hazmat::{ContextKey, HasherExt as _, hash_derive_key_context};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::agreement::Succession;
use crate::clock::Clock;
use crate::id::{AccountName, ById, Party, hex, unhex};
use crate::store::{Store, StoreError, Table};

/// What every key begins with, so that scanners for leaked secrets can know it.
const KEY_PREFIX: &str = "hsp_";

/// Bytes of a key's checksum: enough to tell a mistyped key from an unknown one without asking the store.
const CHECKSUM_BYTES: usize = 4;

/// How often the key of an account may be changed.
const FORMER_KEYS_MAX: usize = 64;

/// Separates stored keys from every other use of BLAKE3. Hashed once: each call asks for it.
static STORED_CONTEXT: LazyLock<ContextKey> =
    LazyLock::new(|| hash_derive_key_context("hospes 2026-11 api key"));

/// A party with an account on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Unique on this host; also the publisher's part of the names of its models.
    pub name: AccountName,
    /// The key that signs this account's bundles and agreements.
    pub party: Party,
    /// The keys before it, the latest last. What they signed stays; they sign nothing new.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<Party>,
}

impl Account {
    /// Whether the party is or was this account's.
    pub fn has_been(&self, party: &Party) -> bool {
        self.party == *party || self.former.contains(party)
    }
}

/// An authenticated account. Only [`Auth::authenticate`] makes one.
#[derive(Debug, Clone)]
pub struct Caller(Arc<Account>);

impl Caller {
    /// The account that the call is made for.
    pub fn account(&self) -> &Account {
        &self.0
    }

    /// The party that the account belongs to.
    pub fn party(&self) -> &Party {
        &self.0.party
    }

    /// Tells callers apart where calls of many come together. Says nothing else of them.
    pub fn number(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = *self.0.party.public_key();
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    /// The party, and those that it was before its key was changed.
    pub fn parties(&self) -> impl Iterator<Item = &Party> {
        std::iter::once(&self.0.party).chain(&self.0.former)
    }

    /// Whether the caller is, or was, this party.
    pub fn is(&self, party: &Party) -> bool {
        self.parties().any(|own| own == party)
    }
}

/// An API key in plain text. It has no `Display` and is never logged.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey([u8; 32]);

impl ApiKey {
    /// A new key from the operating system's random numbers.
    fn generate() -> Result<Self, AuthError> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|_| AuthError::Randomness)?;
        Ok(Self(bytes))
    }

    /// Reads a key as a client sends it.
    fn parse(text: &str) -> Result<Self, AuthError> {
        let malformed = AuthError::Malformed;
        let digits = text.strip_prefix(KEY_PREFIX).ok_or(malformed)?;
        let bytes: [u8; 32 + CHECKSUM_BYTES] = unhex(digits).ok_or(AuthError::Malformed)?;
        let (secret, checksum) = bytes.split_at(32);
        let key = Self(secret.try_into().map_err(|_| AuthError::Malformed)?);
        if key.checksum() == checksum { Ok(key) } else { Err(AuthError::Malformed) }
    }

    /// The key as its owner keeps it. Shown once.
    pub fn reveal(&self) -> String {
        format!("{KEY_PREFIX}{}{}", hex(&self.0), hex(&self.checksum()))
    }

    fn checksum(&self) -> [u8; CHECKSUM_BYTES] {
        let hash = blake3::hash(&self.0);
        let mut checksum = [0; CHECKSUM_BYTES];
        checksum.copy_from_slice(&hash.as_bytes()[..CHECKSUM_BYTES]);
        checksum
    }

    /// What is stored. The key has 256 random bits, so a plain hash cannot be searched.
    fn stored(&self) -> KeyHash {
        let mut hasher = blake3::Hasher::new_from_context_key(&STORED_CONTEXT);
        *hasher.update(&self.0).finalize().as_bytes()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

type KeyHash = [u8; 32];

/// What a caller has shown: an API key, of which only the hash is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Credential(KeyHash);

impl Credential {
    /// Reads a key as a client sends it.
    ///
    /// # Errors
    /// [`AuthError::Missing`], [`AuthError::Malformed`].
    pub fn read(bearer: Option<&str>) -> Result<Self, AuthError> {
        let key = ApiKey::parse(bearer.ok_or(AuthError::Missing)?)?;
        Ok(Self(key.stored()))
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(…)")
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyRecord {
    account: AccountName,
    made: Timestamp,
}

/// Why a request was not authenticated, or an account not opened.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error("this needs an API key: send `Authorization: Bearer hsp_…`")]
    Missing,
    #[error("the API key is malformed: it is `hsp_` and 72 hexadecimal digits")]
    Malformed,
    #[error("the API key is not known here")]
    Unknown,
    #[error("the name `{0}` belongs to another party")]
    NameTaken(AccountName),
    #[error("the party `{party}` has the account `{name}` already")]
    PartyTaken { party: Party, name: AccountName },
    #[error("`{0}` is not the present key of your account")]
    NotYourKey(Party),
    #[error("`{0}` is known here already: a key is used once, make a new one")]
    KeyKnown(Party),
    #[error("your key was changed {FORMER_KEYS_MAX} times, as often as an account's may be")]
    TooManyKeys,
    #[error("the operating system gave no random numbers")]
    Randomness,
    #[error("the account could not be kept")]
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
    accounts: ById<AccountName, Arc<Account>>,
    keys: ById<KeyHash, Arc<Account>>,
}

/// The accounts of this host.
pub struct Auth {
    store: Arc<Store>,
    clock: Clock,
    directory: ArcSwap<Directory>,
    /// Held while the directory changes, so that two changes cannot lose one another.
    changing: Mutex<()>,
}

impl Auth {
    /// Reads the accounts from the store.
    ///
    /// # Errors
    /// [`AuthError::Store`], [`AuthError::Damaged`].
    pub fn open(store: Arc<Store>, clock: Clock) -> Result<Self, AuthError> {
        let mut directory = Directory::default();
        for (key, record) in store.all(Table::Accounts)? {
            let account: Account = parse(&key, &record)?;
            directory.accounts.insert(account.name.clone(), Arc::new(account));
        }
        for (key, record) in store.all(Table::ApiKeys)? {
            let entry: KeyRecord = parse(&key, &record)?;
            if let (Some(hash), Some(account)) =
                (unhex(&key), directory.accounts.get(&entry.account))
            {
                directory.keys.insert(hash, Arc::clone(account));
            }
        }
        Ok(Self {
            store,
            clock,
            directory: ArcSwap::from_pointee(directory),
            changing: Mutex::new(()),
        })
    }

    /// The account that the API key in `Authorization: Bearer` belongs to. Neither waits nor does any I/O.
    ///
    /// # Errors
    /// [`AuthError::Missing`], [`AuthError::Malformed`], [`AuthError::Unknown`].
    pub fn authenticate(&self, bearer: Option<&str>) -> Result<Caller, AuthError> {
        self.recognise(&Credential::read(bearer)?)
    }

    /// The same with a key that was read already.
    ///
    /// # Errors
    /// [`AuthError::Unknown`].
    pub fn recognise(&self, credential: &Credential) -> Result<Caller, AuthError> {
        // The map is looked up by a hash of the secret, so the time of the look-up says nothing about the secret.
        let directory = self.directory.load();
        directory.keys.get(&credential.0).cloned().map(Caller).ok_or(AuthError::Unknown)
    }

    /// Opens an account for `party`, or finds the one it has under this name, and makes a new API key for it.
    ///
    /// # Errors
    /// [`AuthError::NameTaken`], [`AuthError::PartyTaken`]; nothing was changed then.
    pub fn open_account(&self, name: &AccountName, party: Party) -> Result<ApiKey, AuthError> {
        let _changing = self.changing.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut directory = Directory::clone(&self.directory.load());
        let account = match directory.accounts.get(name) {
            Some(account) if account.party == party => Arc::clone(account),
            Some(_) => return Err(AuthError::NameTaken(name.clone())),
            None => {
                if let Some(account) = directory.accounts.values().find(|a| a.has_been(&party)) {
                    return Err(AuthError::PartyTaken { party, name: account.name.clone() });
                }
                Arc::new(Account { name: name.clone(), party, former: Vec::new() })
            }
        };
        let key = ApiKey::generate()?;
        let entry = KeyRecord { account: name.clone(), made: self.clock.now() };
        self.store.put_all(&[
            (Table::Accounts, name.as_str(), &serialise(account.as_ref())),
            (Table::ApiKeys, &hex(&key.stored()), &serialise(&entry)),
        ])?;
        directory.accounts.insert(name.clone(), Arc::clone(&account));
        directory.keys.insert(key.stored(), account);
        self.directory.store(Arc::new(directory));
        Ok(key)
    }

    /// Lets a new key follow the caller's. What the old one signed stays valid; it signs nothing new.
    ///
    /// # Errors
    /// [`AuthError::NotYourKey`], [`AuthError::KeyKnown`], [`AuthError::TooManyKeys`]; nothing was changed then.
    pub fn succeed(&self, caller: &Caller, succession: &Succession) -> Result<(), AuthError> {
        let _changing = self.changing.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut directory = Directory::clone(&self.directory.load());
        let name = &caller.account().name;
        let current = directory.accounts.get(name).ok_or(AuthError::Unknown)?;
        if current.party == succession.to && current.former.last() == Some(&succession.from) {
            return Ok(());
        }
        if current.party != succession.from {
            return Err(AuthError::NotYourKey(succession.from));
        }
        if directory.accounts.values().any(|account| account.has_been(&succession.to)) {
            return Err(AuthError::KeyKnown(succession.to));
        }
        if current.former.len() >= FORMER_KEYS_MAX {
            return Err(AuthError::TooManyKeys);
        }
        let mut account = Account::clone(current);
        account.former.push(std::mem::replace(&mut account.party, succession.to));
        let account = Arc::new(account);
        self.store.put(Table::Accounts, name.as_str(), &serialise(account.as_ref()))?;
        for known in directory.keys.values_mut().filter(|known| known.name == *name) {
            *known = Arc::clone(&account);
        }
        directory.accounts.insert(name.clone(), account);
        self.directory.store(Arc::new(directory));
        Ok(())
    }

    /// Whether a key has been followed by another.
    pub fn is_retired(&self, party: &Party) -> bool {
        self.directory.load().accounts.values().any(|account| account.former.contains(party))
    }

    /// Whether two parties are, or were, one account's.
    pub fn are_one(&self, one: &Party, other: &Party) -> bool {
        let directory = self.directory.load();
        one == other || directory.accounts.values().any(|a| a.has_been(one) && a.has_been(other))
    }

    /// The account with this name.
    pub fn account(&self, name: &AccountName) -> Option<Arc<Account>> {
        self.directory.load().accounts.get(name).cloned()
    }

    /// The account of this party.
    pub fn account_of(&self, party: &Party) -> Option<Arc<Account>> {
        self.directory.load().accounts.values().find(|account| account.party == *party).cloned()
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

    fn name(text: &str) -> AccountName {
        text.parse().expect("a name")
    }

    #[test]
    fn a_key_is_shown_once_stored_hashed_and_survives() {
        let folder = tempfile::tempdir().expect("a folder");
        let party = Party::from_public_key([7; 32]);
        let key = auth(&folder).open_account(&name("acme"), party).expect("opens").reveal();
        let stored = std::fs::read(folder.path().join("state.redb")).expect("reads");
        let secret = &key.as_bytes()[4..68];
        assert!(!stored.windows(secret.len()).any(|window| window == secret));
        let caller = auth(&folder).authenticate(Some(&key)).expect("known");
        assert_eq!(caller.account(), &Account { name: name("acme"), party, former: Vec::new() });
    }

    #[test]
    fn any_changed_character_of_a_key_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let auth = auth(&folder);
        let party = Party::from_public_key([7; 32]);
        let key = auth.open_account(&name("acme"), party).expect("opens").reveal();
        for at in 0..key.len() {
            let mut changed = key.clone().into_bytes();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(changed).expect("text");
            assert!(auth.authenticate(Some(&changed)).is_err(), "{at}");
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
        let (one, two) = (Party::from_public_key([1; 32]), Party::from_public_key([2; 32]));
        let first = auth.open_account(&name("acme"), one).expect("opens");
        let second = auth.open_account(&name("acme"), one).expect("a second key");
        assert_ne!(first, second);
        assert!(matches!(auth.open_account(&name("acme"), two), Err(AuthError::NameTaken(_))));
        assert!(matches!(auth.open_account(&name("b"), one), Err(AuthError::PartyTaken { .. })));
        assert!(auth.authenticate(Some(&first.reveal())).is_ok());
    }
}
