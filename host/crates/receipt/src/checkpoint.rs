//! Checkpoints: the signed state of a log, as C2SP `tlog-checkpoint` in a C2SP `signed-note`.
//!
//! Parsing is strict: a note has one signature, by the key that the caller names. Witnesses' signatures are not supported yet.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::tree::Hash;
use hospes_core::id::{Hasher, Party, hex};
use hospes_core::key::{self, PartyKey, SIGNATURE_BYTES};

/// Maximum length of a log's name, in bytes.
const ORIGIN_BYTES_MAX: usize = 200;

/// Maximum size of a checkpoint's text, in bytes.
pub(super) const CHECKPOINT_BYTES_MAX: usize = 1024;

/// The signature type of Ed25519 in a signed note.
const ED25519: u8 = 1;

/// The state of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Checkpoint {
    pub origin: String,
    pub size: u64,
    pub root: Hash,
}

impl Checkpoint {
    /// The signed note.
    pub fn sign(&self, key: &PartyKey) -> String {
        let text = self.text();
        let mut signature = key_id(&self.origin, &key.party()).to_vec();
        signature.extend_from_slice(&key.sign(text.as_bytes()));
        format!("{text}\n\u{2014} {} {}\n", self.origin, STANDARD.encode(signature))
    }

    /// Parses a note signed by `signer`; `None` for anything else.
    pub fn verify(note: &str, signer: &Party) -> Option<Self> {
        if note.len() > CHECKPOINT_BYTES_MAX {
            return None;
        }
        let (body, signatures) = note.split_once("\n\n")?;
        let mut lines = body.split('\n');
        let origin = lines.next().filter(|origin| is_origin(origin))?.to_owned();
        let size = lines.next()?.parse().ok()?;
        let root = STANDARD.decode(lines.next()?).ok()?.try_into().ok()?;
        let line = signatures.strip_prefix('\u{2014}')?.strip_prefix(' ')?.strip_suffix('\n')?;
        let encoded = line.strip_prefix(origin.as_str())?.strip_prefix(' ')?;
        let signature = STANDARD.decode(encoded).ok()?;
        let signature = signature.strip_prefix(&key_id(&origin, signer))?;
        let signature: &[u8; SIGNATURE_BYTES] = signature.try_into().ok()?;
        let checkpoint = Self { origin, size, root };
        // Serialising the values again must give the same text, so leading zeros, signs and extra lines are rejected.
        let text = checkpoint.text();
        if text.strip_suffix('\n') != Some(body) {
            return None;
        }
        key::verify(signer, text.as_bytes(), signature).ok()?;
        Some(checkpoint)
    }

    fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root))
    }
}

/// The log's key in the format that other tools use: the *vkey* of a signed note.
pub(super) fn verifier_key(origin: &str, signer: &Party) -> String {
    let mut key = vec![ED25519];
    key.extend_from_slice(signer.public_key());
    format!("{origin}+{}+{}", hex(&key_id(origin, signer)), STANDARD.encode(key))
}

/// Whether `text` can name a log and its key.
pub(super) fn is_origin(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= ORIGIN_BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'+')
}

fn key_id(origin: &str, signer: &Party) -> [u8; 4] {
    let hash = Hasher::default().with(origin.as_bytes());
    let hash = hash.with(&[b'\n', ED25519]).with(signer.public_key()).finish();
    let [a, b, c, d, ..] = *hash.as_bytes();
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        Checkpoint { origin: "example.com/log".into(), size: 7, root: [3; 32] }
    }

    #[test]
    fn the_key_s_name_is_that_of_the_specification_s_example() {
        // The example key of C2SP signed-note.
        let vkey = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
        let key = vkey.rsplit_once('+').map(|(_, key)| STANDARD.decode(key).expect("base64"));
        let key: [u8; 32] = key.expect("three parts")[1..].try_into().expect("32 bytes");
        let party = Party::from_public_key(key);
        assert_eq!(verifier_key("example.com/foo", &party), vkey);
        // The example's signature over its text must verify here too.
        let signed = "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=";
        let signed = STANDARD.decode(signed).expect("base64");
        assert_eq!(signed[..4], key_id("example.com/foo", &party));
        let signature = signed[4..].try_into().expect("64 bytes");
        assert_eq!(key::verify(&party, b"This is an example message.\n", &signature), Ok(()));
    }

    #[test]
    fn a_note_is_read_by_its_signer_s_key_only_and_any_change_shows() {
        let (key, other) = (PartyKey::from_secret(&[1; 32]), PartyKey::from_secret(&[2; 32]));
        let note = checkpoint().sign(&key);
        assert!(note.starts_with("example.com/log\n7\nAwMDAwMD"), "{note}");
        assert_eq!(Checkpoint::verify(&note, &key.party()), Some(checkpoint()));
        assert_eq!(Checkpoint::verify(&note, &other.party()), None);
        for index in 0..note.len() {
            let mut bytes = note.clone().into_bytes();
            bytes[index] ^= 1;
            let changed = String::from_utf8_lossy(&bytes);
            assert_eq!(Checkpoint::verify(&changed, &key.party()), None, "byte {index}");
            let cut = String::from_utf8_lossy(&note.as_bytes()[..index]);
            assert_eq!(Checkpoint::verify(&cut, &key.party()), None, "cut at {index}");
        }
        for second in
            [note.replace("\n7\n", "\n07\n"), note.replace("\n7\n", "\n+7\n"), format!("{note}\n")]
        {
            assert_eq!(Checkpoint::verify(&second, &key.party()), None, "{second}");
        }
    }

    #[test]
    fn names_of_logs_are_short_and_plain() {
        for good in ["example.com/log", "a", &"a".repeat(200)] {
            assert!(is_origin(good), "{good}");
        }
        for bad in ["", "a b", "a+b", "a\nb", "ä", &"a".repeat(201)] {
            assert!(!is_origin(bad), "{bad}");
        }
    }
}
