//! The conformance corpus in `vectors/agreement/`: documents that are accepted or rejected, and
//! calls that are permitted or denied.

use hospes::dsse::Envelope;
use hospes::id::Digest;
use hospes::key::PartyKey;
use serde_json::Value;

use crate::{Party, workspace};

const OFFER: &str = "application/vnd.hospes.offer.v1+json";

/// One file of the corpus. Its name says what it tests.
#[derive(Debug, Clone)]
pub struct Vector {
    pub name: String,
    pub json: Value,
}

/// All files in a folder of the corpus, by name.
pub fn vectors(folder: &str) -> Vec<Vector> {
    let path = workspace().join("tests/vectors/agreement").join(folder);
    let mut files: Vec<_> = std::fs::read_dir(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .map(|entry| entry.expect("readable").path())
        .collect();
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("text");
            let json =
                serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            Vector { name, json }
        })
        .collect()
}

impl Vector {
    /// A text member.
    pub fn text(&self, member: &str) -> Option<&str> {
        self.json[member].as_str()
    }

    /// The document as payload bytes: filled in with the test parties, in canonical form, then
    /// changed as the file says.
    pub fn payload(&self, publisher: &PartyKey, bundle: &Digest) -> Vec<u8> {
        let canonical = serde_json_canonicalizer::to_vec(&self.json["document"]).expect("JSON");
        let text = String::from_utf8(canonical)
            .expect("text")
            .replace("{{publisher}}", &publisher.party().to_string())
            .replace("{{consumer}}", &Party::key_of("zoe").party().to_string())
            .replace(
                "{{registry}}",
                &hospes::agreement::RegistryVersion::newest().digest().to_string(),
            )
            .replace("{{bundle}}", &bundle.to_string());
        match self.json["replace"].as_array() {
            None => text.into_bytes(),
            Some(change) => {
                let [from, to] = [&change[0], &change[1]].map(|part| part.as_str().expect("text"));
                assert!(text.contains(from), "{}: `{from}` is not in {text}", self.name);
                text.replacen(from, to, 1).into_bytes()
            }
        }
    }

    /// The document as an offer, signed by the publisher.
    pub fn envelope(&self, publisher: &PartyKey, bundle: &Digest) -> Vec<u8> {
        Envelope::sign(OFFER, self.payload(publisher, bundle), publisher).expect("small").to_bytes()
    }
}
