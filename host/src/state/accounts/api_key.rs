//! API keys: what their owner keeps, what the host keeps of them, and when they were last used.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};

use blake3::hazmat::{ContextKey, HasherExt as _, hash_derive_key_context};
use jiff::Timestamp;

use super::AuthError;
use crate::id::{KeyId, hex, unhex};
use crate::stop::Stop;

/// What every key begins with, so that scanners for leaked secrets can know it.
const KEY_PREFIX: &str = "hsp_";

/// Bytes of a key's checksum: enough to tell a mistyped key from an unknown one without asking the store.
const CHECKSUM_BYTES: usize = 4;

/// Longest name of a key, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// Separates stored keys from every other use of BLAKE3. Hashed once: each call asks for it.
static STORED_CONTEXT: LazyLock<ContextKey> =
    LazyLock::new(|| hash_derive_key_context("hospes 2026-11 api key"));

/// An API key in plain text. It has no `Display` and is never logged.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(pub(super) [u8; 32]);

impl ApiKey {
    /// A new key from the operating system's random numbers.
    pub(super) fn generate() -> Result<Self, AuthError> {
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

/// What is kept of a key.
pub(super) type KeyHash = [u8; 32];

/// What a caller has shown: an API key, of which only the hash is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Credential(pub(super) KeyHash);

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

/// Checks what a key is to be called by its owner.
///
/// # Errors
/// [`AuthError::KeyName`].
pub(super) fn check_name(name: &str) -> Result<(), AuthError> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(char::is_control) {
        return Err(AuthError::KeyName { bytes_max: NAME_BYTES_MAX });
    }
    Ok(())
}

/// One key as the host keeps it.
#[derive(Debug)]
pub struct KeyInfo {
    pub id: KeyId,
    /// What its owner calls it.
    pub name: Option<Box<str>>,
    pub made: Timestamp,
    /// When it was last used, in seconds; [`i64::MIN`] if never.
    used: AtomicI64,
    /// The same as the store has it.
    pub(super) used_kept: AtomicI64,
    /// Ends the calls that were made with it.
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

    /// When it was last used, to the second; none if never.
    pub fn used(&self) -> Option<Timestamp> {
        Timestamp::from_second(self.used.load(Ordering::Relaxed)).ok()
    }

    /// Notes that it is used. Most calls within a second write nothing.
    pub(super) fn touch(&self, now: i64) {
        // The second is looked at once a second: a key may be made within it.
        let now = now.max(self.made.as_second());
        if self.used.load(Ordering::Relaxed) != now {
            self.used.store(now, Ordering::Relaxed);
        }
    }

    /// Whether the store does not know yet when it was last used.
    pub(super) fn is_unkept(&self) -> bool {
        self.used.load(Ordering::Relaxed) != self.used_kept.load(Ordering::Relaxed)
    }
}
