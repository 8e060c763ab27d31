//! Names and identifiers. Each is parsed once at the boundary and is valid from then on.
//!
//! No client input becomes a path, a map key or a log field without being parsed into one of these.

use std::fmt;
use std::str::FromStr;

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize, Serializer, de};
use smol_str::SmolStr;

/// A map by name or identifier. Each call looks up about a dozen. The keys are the host's own or known to it, so a fast hash seeded per
/// process is enough.
pub type ById<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;

/// Maximum length of a publisher's, model's or function's name, in bytes.
pub const NAME_BYTES_MAX: usize = 63;

/// Why a name or identifier was rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error(
        "`{value}` is not a {kind}: use 1 to {NAME_BYTES_MAX} lower-case letters, digits and single hyphens, starting with a letter"
    )]
    Name { kind: &'static str, value: String },
    #[error("`{value}` is reserved and cannot be an {kind}; choose another one")]
    Reserved { kind: &'static str, value: String },
    #[error("`{0}` is not a model name: write it as `publisher/model`")]
    ModelName(String),
    #[error("`{0}` is not a digest: write it as `sha256:` and 64 lower-case hexadecimal digits")]
    Digest(String),
    #[error("`{0}` is not a party: write it as `did:key:z6Mk…`, an Ed25519 public key")]
    Party(String),
    #[error(
        "`{0}` is not an API key's identifier: write 16 hexadecimal digits, as in the list of keys"
    )]
    Key(String),
}

/// Truncates foreign text for an error message.
fn shown(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 80;
    text.chars().take(SHOWN_CHARS_MAX).collect()
}

/// Whether `text` is a kebab-case name, which WIT, DNS labels and URLs all accept.
fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    !bytes.is_empty()
        && bytes.len() <= NAME_BYTES_MAX
        && bytes[0].is_ascii_lowercase()
        && !text.ends_with('-')
        && !bytes.windows(2).any(|pair| pair == b"--")
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

/// Path prefixes that are not models: no account may have such a name.
const RESERVED: [&str; 3] = ["api", "v1", "v2"];

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal, $reserved:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $type(SmolStr); // up to 23 bytes without an allocation: a call parses three

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl $type {
            /// The name as written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                if $reserved.contains(&text) {
                    Err(IdError::Reserved { kind: $kind, value: text.into() })
                } else if is_name(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(IdError::Name { kind: $kind, value: shown(text) })
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}

name!(
    /// An account's name on this host; also the first part of its models' names.
    AccountName,
    "account name",
    RESERVED
);
name!(
    /// The name of an exported function, as declared in its WIT.
    FunctionName,
    "function name",
    [""; 0]
);
name!(
    /// The second part of a model's name, unique within its publisher.
    ModelLabel,
    "model label",
    [""; 0]
);

/// `publisher/model`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelName {
    pub publisher: AccountName,
    pub label: ModelLabel,
}

impl ModelName {
    /// A publisher's smallest possible model name.
    pub fn first_of(publisher: &AccountName) -> Self {
        Self { publisher: publisher.clone(), label: ModelLabel(SmolStr::new_static("a")) }
    }
}

impl FromStr for ModelName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let (publisher, label) =
            text.split_once('/').ok_or_else(|| IdError::ModelName(shown(text)))?;
        Ok(Self { publisher: publisher.parse()?, label: label.parse()? })
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.publisher, self.label)
    }
}

impl Serialize for ModelName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ModelName {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A SHA-256 digest, written `sha256:<64 hexadecimal digits>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The smallest digest.
    pub const FIRST: Digest = Digest([0; 32]);

    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_ring(&ring::digest::digest(&SHA256, bytes))
    }

    fn from_ring(digest: &ring::digest::Digest) -> Self {
        Self(digest.as_ref().try_into().expect("invariant: SHA-256 has 32 bytes"))
    }

    /// A digest computed elsewhere.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 hexadecimal digits, without the prefix: fit for a file name.
    pub fn hex(&self) -> String {
        hex(&self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.strip_prefix("sha256:")
            .and_then(unhex)
            .map(Self)
            .ok_or_else(|| IdError::Digest(shown(text)))
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A digest of bytes that come one after another.
///
/// Uses `ring`, whose assembler takes little more than half as long as Rust on processors without SHA instructions.
#[derive(Clone)]
pub struct Hasher(Context);

impl Default for Hasher {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl Hasher {
    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The same as an expression.
    #[must_use]
    pub fn with(mut self, bytes: &[u8]) -> Self {
        self.update(bytes);
        self
    }

    /// The digest of all bytes so far.
    pub fn finish(self) -> Digest {
        Digest::from_ring(&self.0.finish())
    }
}

/// A party to an agreement: an Ed25519 public key, written as a `did:key` (W3C CCG did:key method, multicodec 0xed01).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Party([u8; 32]);

/// Multicodec prefix of an Ed25519 public key.
const ED25519_MULTICODEC: [u8; 2] = [0xed, 0x01];

impl Party {
    /// The party that holds this Ed25519 public key.
    pub const fn from_public_key(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// The Ed25519 public key.
    pub const fn public_key(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; 34];
        bytes[..2].copy_from_slice(&ED25519_MULTICODEC);
        bytes[2..].copy_from_slice(&self.0);
        write!(f, "did:key:z{}", bs58::encode(bytes).into_string())
    }
}

impl fmt::Debug for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Party {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let refused = || IdError::Party(shown(text));
        let encoded = text.strip_prefix("did:key:z").ok_or_else(refused)?;
        let mut bytes = [0; 34];
        let length = bs58::decode(encoded).onto(&mut bytes).map_err(|_| refused())?;
        let party = Self(bytes[2..].try_into().map_err(|_| refused())?);
        // Base58 is ambiguous only by extra leading digits, which this comparison rejects.
        if length == bytes.len() && bytes[..2] == ED25519_MULTICODEC && party.to_string() == text {
            Ok(party)
        } else {
            Err(refused())
        }
    }
}

impl Serialize for Party {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Party {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// One call, as a UUID version 7 (RFC 9562): unique, and sorted by the time it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId([u8; 16]);

impl CallId {
    /// A new call, begun at `now`.
    pub fn new(now: jiff::Timestamp) -> Self {
        let seconds = u64::try_from(now.as_second()).unwrap_or(0);
        let nanoseconds = u32::try_from(now.subsec_nanosecond()).unwrap_or(0);
        let stamp = uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanoseconds);
        Self(uuid::Uuid::new_v7(stamp).into_bytes())
    }

    /// A call whose identifier was read from a receipt.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// When the call began, to the millisecond, from its version 7 identifier.
    pub fn began(&self) -> Option<jiff::Timestamp> {
        let (seconds, nanoseconds) = uuid::Uuid::from_bytes(self.0).get_timestamp()?.to_unix();
        let (seconds, nanoseconds) =
            (i64::try_from(seconds).ok()?, i32::try_from(nanoseconds).ok()?);
        jiff::Timestamp::new(seconds, nanoseconds).ok()
    }

    /// Length of the written form.
    pub const TEXT_BYTES: usize = uuid::fmt::Hyphenated::LENGTH;

    /// The written form, in the caller's buffer.
    pub fn encode<'b>(&self, buffer: &'b mut [u8; Self::TEXT_BYTES]) -> &'b str {
        uuid::Uuid::from_bytes(self.0).as_hyphenated().encode_lower(buffer)
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_bytes(self.0).hyphenated().fmt(f)
    }
}

impl FromStr for CallId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Ok(Self(uuid::Uuid::try_parse(text)?.into_bytes()))
    }
}

/// An API key's public identifier: the first bytes of its stored hash, which reveal nothing about the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 8]);

impl KeyId {
    /// The identifier of the key stored as `hash`.
    pub fn of(hash: &[u8; 32]) -> Self {
        let mut id = [0; 8];
        id.copy_from_slice(&hash[..8]);
        Self(id)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl FromStr for KeyId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        unhex(text).map(Self).ok_or_else(|| IdError::Key(shown(text)))
    }
}

/// Lower-case hexadecimal digits of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| hex_digits(*byte)).map(char::from).collect()
}

/// The two digits of one byte.
pub fn hex_digits(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [byte >> 4, byte & 15].map(|nibble| DIGITS[usize::from(nibble)])
}

/// The bytes of `N * 2` lower-case hexadecimal digits.
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    fn nibble(digit: u8) -> Option<u8> {
        match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        }
    }
    let digits: &[u8] = text.as_bytes();
    if digits.len() != N * 2 {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kebab_case_and_short() {
        for good in ["a", "a1", "file-type", &"a".repeat(63)] {
            assert!(good.parse::<FunctionName>().is_ok(), "{good}");
        }
        for bad in ["", "A", "1a", "-a", "a-", "a--b", "a_b", "a/b", "a.b", "ä", &"a".repeat(64)] {
            assert!(bad.parse::<FunctionName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn no_account_is_called_like_the_first_part_of_a_path() {
        for reserved in RESERVED {
            assert!(reserved.parse::<AccountName>().is_err(), "{reserved}");
            assert!(reserved.parse::<ModelLabel>().is_ok(), "{reserved}");
        }
    }

    #[test]
    fn party_is_the_did_key_method_s_own_example() {
        // The did:key specification's first Ed25519 test vector.
        let text = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp";
        let party: Party = text.parse().expect("the specification's example");
        assert_eq!(
            hex(party.public_key()),
            "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29"
        );
        assert_eq!(party.to_string(), text);
        for bad in ["did:key:z1", &text[..text.len() - 1], &format!("{text}1"), "did:web:x"] {
            assert!(bad.parse::<Party>().is_err(), "{bad}");
        }
    }

    #[test]
    fn digest_is_written_one_way_only() {
        let digest = Digest::of(b"");
        let text = digest.to_string();
        assert_eq!(text.parse(), Ok(digest));
        assert!(text.to_uppercase().parse::<Digest>().is_err());
        assert!(text[..70].parse::<Digest>().is_err());
    }
    #[test]
    fn a_key_s_identifier_is_the_beginning_of_its_hash() {
        let id = KeyId::of(&[0xab; 32]);
        assert_eq!(id.to_string(), "abababababababab");
        assert_eq!("abababababababab".parse(), Ok(id));
        for bad in ["", "ABABABABABABABAB", "abababababababab00", "hsp_abababababab"] {
            assert_eq!(bad.parse::<KeyId>(), Err(IdError::Key(bad.into())), "{bad}");
        }
    }
}
