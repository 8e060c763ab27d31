//! API keys: what their owner has, what the host stores, and when they were last used.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};

use blake3::hazmat::{ContextKey, HasherExt as _, hash_derive_key_context};
use jiff::Timestamp;

use super::AuthError;
use crate::id::{KeyId, hex, unhex};
use crate::stop::Stop;

/// Prefix of every key, so that secret scanners recognise it.
const KEY_PREFIX: &str = "hsp_";

/// Length of a key's checksum in bytes: enough to tell a mistyped key from an unknown one without a look-up.
const CHECKSUM_BYTES: usize = 4;

/// Maximum length of a key's name, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// Domain separation for stored keys. Hashed once, because each call needs it.
static STORED_CONTEXT: LazyLock<ContextKey> =
    LazyLock::new(|| hash_derive_key_context("hospes 2026-11 api key"));

/// An API key in plain text. It has no `Display` and is never logged.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(pub(super) [u8; 32]);

impl ApiKey {
    /// A new key from the operating system's random generator.
    pub(super) fn generate() -> Result<Self, AuthError> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|_| AuthError::Randomness)?;
        Ok(Self(bytes))
    }

    /// Parses a key as a client sends it.
    fn parse(text: &str) -> Result<Self, AuthError> {
        let malformed = AuthError::Malformed;
        let digits = text.strip_prefix(KEY_PREFIX).ok_or(malformed)?;
        let bytes: [u8; 32 + CHECKSUM_BYTES] = unhex(digits).ok_or(AuthError::Malformed)?;
        let (secret, checksum) = bytes.split_at(32);
        let key = Self(secret.try_into().map_err(|_| AuthError::Malformed)?);
        if key.checksum() == checksum { Ok(key) } else { Err(AuthError::Mistyped) }
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

    /// The stored hash. The key has 256 random bits, so a plain hash cannot be searched.
    pub(super) fn stored(&self) -> KeyHash {
        let mut hasher = blake3::Hasher::new_from_context_key(&STORED_CONTEXT);
        *hasher.update(&self.0).finalize().as_bytes()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

/// The stored form of a key.
pub(super) type KeyHash = [u8; 32];

/// A caller's API key, of which only the hash is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Credential(pub(super) KeyHash);

impl Credential {
    /// Parses a key as a client sends it.
    ///
    /// # Errors
    /// [`AuthError::Missing`], [`AuthError::Malformed`], [`AuthError::Mistyped`].
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

/// Checks a key's name.
///
/// # Errors
/// [`AuthError::KeyName`].
pub(super) fn check_name(name: &str) -> Result<(), AuthError> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(char::is_control) {
        return Err(AuthError::KeyName { bytes_max: NAME_BYTES_MAX });
    }
    Ok(())
}

/// One stored key.
#[derive(Debug)]
pub struct KeyInfo {
    pub id: KeyId,
    /// Its owner's name for it.
    pub name: Option<Box<str>>,
    pub made: Timestamp,
    /// Last use in seconds; [`i64::MIN`] if never.
    used: AtomicI64,
    /// Last use according to the store.
    pub(super) used_kept: AtomicI64,
    /// Ends the calls made with it.
    pub(super) stop: Arc<Stop>,
}

impl KeyInfo {
    pub(super) fn new(
        id: KeyId,
        name: Option<Box<str>>,
        made: Timestamp,
        used: Option<Timestamp>,
    ) -> Self {
        let used = used.map_or(i64::MIN, Timestamp::as_second);
        let (used, used_kept) = (AtomicI64::new(used), AtomicI64::new(used));
        Self { id, name, made, used, used_kept, stop: Arc::default() }
    }

    /// Last use, to the second; `None` if never.
    pub fn used(&self) -> Option<Timestamp> {
        Timestamp::from_second(self.used.load(Ordering::Relaxed)).ok()
    }

    /// Records a use. Most calls write nothing, because it changes once a second.
    pub(super) fn touch(&self, now: i64) {
        // The cached second can be older than the key.
        let now = now.max(self.made.as_second());
        if self.used.load(Ordering::Relaxed) != now {
            self.used.store(now, Ordering::Relaxed);
        }
    }

    /// Whether the store does not have the last use yet.
    pub(super) fn is_unkept(&self) -> bool {
        self.used.load(Ordering::Relaxed) != self.used_kept.load(Ordering::Relaxed)
    }
}
