//! Commitments to inputs and outputs. A party can later prove which bytes a call had. Nobody else can guess the bytes.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use blake3::hazmat::{ContextKey, HasherExt as _, hash_derive_key_context};

use super::ReceiptError;
use hospes_core::id::{hex, hex_digits, unhex};

/// Domain separation (BLAKE3 section 6.2, key derivation). It is hashed only once, because each call makes two commitments.
static CONTEXT: LazyLock<ContextKey> =
    LazyLock::new(|| hash_derive_key_context("hospes 2026-11-24 receipt commitment"));

/// 32 random bytes that open a receipt's commitments. Anybody who has them can test guesses of input and output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Salt([u8; 32]);

/// A salted hash of an input or output. It is keyed BLAKE3, which is several times faster than SHA-256 on large tensors.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Commitment([u8; 32]);

impl Salt {
    /// A new salt, from a generator that the operating system reseeds.
    pub fn generate() -> Self {
        Self(rand::random())
    }

    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// 64 hexadecimal digits.
    pub fn to_hex(&self) -> String {
        self.digits().map(char::from).into_iter().collect()
    }

    /// The same digits, without an allocation.
    pub fn digits(&self) -> [u8; 64] {
        let mut digits = [0; 64];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(&hex_digits(byte));
        }
        digits
    }
}

impl FromStr for Salt {
    type Err = ReceiptError;

    fn from_str(text: &str) -> Result<Self, ReceiptError> {
        const SHOWN_CHARS_MAX: usize = 80;
        unhex(text)
            .map(Self)
            .ok_or_else(|| ReceiptError::Salt(text.chars().take(SHOWN_CHARS_MAX).collect()))
    }
}

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(hidden)")
    }
}

impl Commitment {
    /// Commits to `bytes` under `label`. The label ensures that the commitment to an input is never one to an output.
    pub fn of(salt: &Salt, label: &str, bytes: &[u8]) -> Self {
        let mut key = blake3::Hasher::new_from_context_key(&CONTEXT);
        key.update(&salt.0).update(label.as_bytes());
        Self(*blake3::keyed_hash(key.finalize().as_bytes(), bytes).as_bytes())
    }

    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether this commits to `bytes`.
    pub fn opens(&self, salt: &Salt, label: &str, bytes: &[u8]) -> bool {
        *self == Self::of(salt, label, bytes)
    }
}

impl fmt::Display for Commitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "blake3-keyed:{}", hex(&self.0))
    }
}

impl fmt::Debug for Commitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commitment_holds_for_its_salt_label_and_bytes_only() {
        let (salt, other) = (Salt::from_bytes([1; 32]), Salt::from_bytes([2; 32]));
        let commitment = Commitment::of(&salt, "input", b"bytes");
        assert!(commitment.opens(&salt, "input", b"bytes"));
        assert!(!commitment.opens(&other, "input", b"bytes"));
        assert!(!commitment.opens(&salt, "output", b"bytes"));
        assert!(!commitment.opens(&salt, "input", b"byte"));
        // The boundary between label and bytes is unambiguous.
        assert!(!Commitment::of(&salt, "inputb", b"ytes").opens(&salt, "input", b"bytes"));
    }

    #[test]
    fn a_salt_is_written_one_way_and_hidden_in_logs() {
        let salt = Salt::generate();
        assert_eq!(salt.to_hex().parse::<Salt>().expect("its own form"), salt);
        assert_eq!(salt.to_hex().as_bytes(), salt.digits());
        assert!(
            salt.to_hex().to_uppercase().parse::<Salt>().is_err()
                || salt.to_hex().bytes().all(|b| b.is_ascii_digit())
        );
        assert!(matches!("00".parse::<Salt>(), Err(ReceiptError::Salt(_))));
        assert_eq!(format!("{salt:?}"), "Salt(hidden)");
    }
}
