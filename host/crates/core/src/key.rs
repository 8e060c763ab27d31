//! A party's secret key: creating, storing and signing with it, and verifying others' signatures.
//!
//! Only Ed25519 with strict verification, so that a client cannot choose another algorithm. The key file is what `openssl genpkey
//! -algorithm ed25519` writes: PKCS#8 version 1 in PEM (RFC 5958, RFC 8410 section 7). For this algorithm that is sixteen fixed bytes and
//! the secret.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use crate::id::Party;

/// Maximum size of a key file, in bytes. A valid one has 119.
pub const KEY_FILE_BYTES_MAX: usize = 4096;

/// Length of an Ed25519 signature.
pub const SIGNATURE_BYTES: usize = 64;

/// The bytes before the secret in the PKCS#8 of every Ed25519 key: version 0, the algorithm's identifier, two lengths.
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";

/// Others may not read a key file. Its group may: container platforms pass secrets that way.
const MODE_REFUSED: u32 = 0o027;

/// An Ed25519 secret key, wiped from memory when dropped and never shown.
#[derive(Clone)]
pub struct PartyKey(SigningKey);

/// Why a key could not be created, stored or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("the operating system gave no random bytes")]
    Random(#[source] getrandom::Error),
    #[error("key file `{}` could not be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("key file `{}` could not be written", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("key file `{}` already exists; keys are never overwritten, so name another file", path.display())]
    Exists { path: PathBuf },
    #[error(
        "key file `{}` has mode {mode:03o}, so others could read or change it; run `chmod 600` on it", path.display()
    )]
    Exposed { path: PathBuf, mode: u32 },
    #[error(
        "`{}` is not an Ed25519 private key in PKCS#8 PEM; make one with `hospes keys new` or `openssl genpkey -algorithm ed25519`",
        path.display()
    )]
    Malformed { path: PathBuf },
}

/// Why a signature is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("`{0}` is not a usable public key: it is not a point of the curve, or has small order")]
    WeakKey(Party),
    #[error("the signature is not by `{0}` over these bytes")]
    Mismatch(Party),
}

impl PartyKey {
    /// A new key from the operating system's random generator.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn generate() -> Result<Self, KeyError> {
        let mut secret = Zeroizing::new([0; 32]);
        getrandom::fill(secret.as_mut_slice()).map_err(KeyError::Random)?;
        Ok(Self::from_secret(&secret))
    }

    /// The key with this secret. The caller must have chosen the 32 bytes well.
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(secret))
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// [`KeyError::Read`], [`KeyError::Exposed`] when others may read the file, [`KeyError::Malformed`].
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::Read { path: path.into(), source };
        let file = OpenOptions::new().read(true).open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.mode() & 0o777;
        if mode & MODE_REFUSED != 0 {
            return Err(KeyError::Exposed { path: path.into(), mode });
        }
        // Allocated at full size, so that growing leaves no copy of the secret.
        let mut text = Zeroizing::new(Vec::with_capacity(KEY_FILE_BYTES_MAX + 1));
        file.take(KEY_FILE_BYTES_MAX as u64 + 1).read_to_end(&mut text).map_err(failed)?;
        secret_of_pem(&text)
            .map(|secret| Self::from_secret(&secret))
            .ok_or_else(|| KeyError::Malformed { path: path.into() })
    }

    /// Writes a new key file that only its owner may read. Durable when it returns.
    ///
    /// # Errors
    /// [`KeyError::Exists`], [`KeyError::Write`].
    pub fn save(&self, path: &Path) -> Result<(), KeyError> {
        let failed = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::AlreadyExists => KeyError::Exists { path: path.into() },
            _ => KeyError::Write { path: path.into(), source },
        };
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        file.write_all(self.pem().as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
    }

    /// The public half.
    pub fn party(&self) -> Party {
        Party::from_public_key(self.0.verifying_key().to_bytes())
    }

    /// Signs `message` (RFC 8032, pure Ed25519).
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        self.0.sign(message).to_bytes()
    }

    /// The secret in PKCS#8 PEM.
    fn pem(&self) -> Zeroizing<String> {
        let mut der = Zeroizing::new([0; 48]);
        der[..16].copy_from_slice(&PKCS8_PREFIX);
        der[16..].copy_from_slice(self.0.as_bytes());
        // 48 bytes are 64 characters: exactly one line of PEM.
        let line = Zeroizing::new(STANDARD.encode(der.as_slice()));
        Zeroizing::new(format!("{PEM_BEGIN}\n{}\n{PEM_END}\n", line.as_str()))
    }
}

impl fmt::Debug for PartyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PartyKey({}, secret hidden)", self.party())
    }
}

/// Verifies that `party` signed `message`.
///
/// Strict: keys or commitments of small order and alternative encodings are rejected, so that a signature belongs to one key and one
/// message.
///
/// # Errors
/// [`SignatureError`].
pub fn verify(
    party: &Party,
    message: &[u8],
    signature: &[u8; SIGNATURE_BYTES],
) -> Result<(), SignatureError> {
    usable(party)?
        .verify_strict(message, &Signature::from_bytes(signature))
        .map_err(|_| SignatureError::Mismatch(*party))
}

/// Checks that a party's public key can be used for signatures at all. Call it when a party is first accepted.
///
/// # Errors
/// [`SignatureError::WeakKey`].
pub fn check_party(party: &Party) -> Result<(), SignatureError> {
    usable(party).map(drop)
}

fn usable(party: &Party) -> Result<VerifyingKey, SignatureError> {
    VerifyingKey::from_bytes(party.public_key())
        .ok()
        .filter(|key| !key.is_weak())
        .ok_or(SignatureError::WeakKey(*party))
}

fn secret_of_pem(pem: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    if pem.len() > KEY_FILE_BYTES_MAX {
        return None;
    }
    let text = std::str::from_utf8(pem).ok()?.trim();
    let body = text.strip_prefix(PEM_BEGIN)?.strip_suffix(PEM_END)?.trim();
    let der = Zeroizing::new(STANDARD.decode(body).ok()?);
    let secret = der.strip_prefix(PKCS8_PREFIX.as_slice())?;
    Some(Zeroizing::new(secret.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8410 section 10.3, the first example: what `openssl` writes for this secret.
    const RFC_8410: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";

    fn file(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a directory for the test");
        let path = dir.path().join("key.pem");
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).create_new(true).mode(mode).open(&path).expect("created");
        file.write_all(text.as_bytes()).expect("written");
        (dir, path)
    }

    #[test]
    fn reads_and_writes_the_rfc_8410_example() {
        let (_dir, path) = file(RFC_8410, 0o600);
        let key = PartyKey::load(&path).expect("the example");
        assert_eq!(
            crate::id::hex(key.party().public_key()),
            "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1"
        );
        assert_eq!(key.pem().as_str(), RFC_8410);
    }

    #[test]
    fn a_saved_key_is_private_loads_again_and_is_never_overwritten() {
        let dir = tempfile::tempdir().expect("a directory for the test");
        let path = dir.path().join("key.pem");
        let key = PartyKey::generate().expect("random bytes");
        key.save(&path).expect("saved");
        assert_eq!(path.metadata().expect("it is there").mode() & 0o777, 0o600);
        assert_eq!(PartyKey::load(&path).expect("loaded").party(), key.party());
        assert!(matches!(key.save(&path), Err(KeyError::Exists { .. })));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        for mode in [0o644, 0o604, 0o620] {
            let (_dir, path) = file(RFC_8410, mode);
            // The umask may have taken bits away; set them again.
            let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
            std::fs::set_permissions(&path, permissions).expect("own file");
            let refused = PartyKey::load(&path);
            assert!(matches!(refused, Err(KeyError::Exposed { mode: seen, .. }) if seen == mode));
        }
    }

    #[test]
    fn anything_but_an_ed25519_private_key_is_malformed() {
        let rsa_like = RFC_8410.replace("MC4CAQAwBQYDK2Vw", "MC4CAQAwBQYDK2Vu");
        let long = format!("{RFC_8410}{}", " ".repeat(KEY_FILE_BYTES_MAX));
        let cut = RFC_8410.replace("dVhC", "");
        for text in ["", "hello", &rsa_like, &long, &cut, &RFC_8410.replace("PRIVATE", "PUBLIC")] {
            let (_dir, path) = file(text, 0o600);
            assert!(matches!(PartyKey::load(&path), Err(KeyError::Malformed { .. })), "{text:.60}");
        }
    }

    #[test]
    fn a_signature_holds_for_its_key_and_its_message_only() {
        let (a, b) = (PartyKey::from_secret(&[1; 32]), PartyKey::from_secret(&[2; 32]));
        let signature = a.sign(b"message");
        assert_eq!(verify(&a.party(), b"message", &signature), Ok(()));
        let other = Err(SignatureError::Mismatch(a.party()));
        assert_eq!(verify(&a.party(), b"massage", &signature), other);
        assert!(verify(&b.party(), b"message", &signature).is_err());
        for index in 0..SIGNATURE_BYTES {
            let mut flipped = signature;
            flipped[index] ^= 1;
            assert_eq!(verify(&a.party(), b"message", &flipped), other, "byte {index}");
        }
    }

    #[test]
    fn a_key_of_small_order_signs_nothing() {
        // The neutral element: under it, one signature would fit every message.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let party = Party::from_public_key(neutral);
        let mut signature = [0; SIGNATURE_BYTES];
        signature[0] = 1;
        let weak = Err(SignatureError::WeakKey(party));
        assert_eq!(verify(&party, b"anything", &signature), weak);
        assert_eq!(check_party(&party), weak);
        assert_eq!(
            check_party(&Party::from_public_key([0; 32])),
            Err(SignatureError::WeakKey(Party::from_public_key([0; 32])))
        );
    }

    #[test]
    fn debug_hides_the_secret() {
        let shown = format!("{:?}", PartyKey::from_secret(&[7; 32]));
        assert!(shown.contains("secret hidden") && !shown.contains("7, 7"), "{shown}");
    }
}
