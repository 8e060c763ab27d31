//! Briefly runs a host of a later version on another host's data: its registry has corrected
//! wording and a 35th term.
//!
//! `later-host FOLDER TIME KEY AGREEMENT` serves `FOLDER/data` at that time, calls
//! `acme/identity/infer` once under the agreement, and prints the response of
//! `GET /api/agreements`.

use std::io::{Write as _, stdout};
use std::path::PathBuf;
use std::sync::Arc;

use hospes::agreement::registry::{Operand, Operator, RegistryVersion, TERMS, Term, read_by};
use hospes::clock::{Clock, ManualClock};
use system_tests::TestHost;
use tempfile::TempDir;

const CORRECTED: &str = "The function `{}`, and no other, may be executed.";

const TENSOR: &str =
    r#"{"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": [1.5, -2]}]}"#;

/// The registry terms of that version.
fn later() -> &'static [Term] {
    let mut terms = TERMS.to_vec();
    for term in &mut terms {
        (term.meaning, term.mechanism) = ("In other words.", "in another way of saying it");
    }
    terms[Operand::Function as usize].forms = &[(Operator::Eq, CORRECTED)];
    let last = terms[terms.len() - 1];
    terms.push(Term { name: "hospes:laterTerm", norm: "another rule", ..last });
    terms.leak()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, time, key, agreement] = &arguments[..] else { panic!("four arguments") };
    assert!(read_by(later()).is_ok(), "the registry is set before its first use");
    assert_eq!(RegistryVersion::newest().number(), 2);
    assert_eq!(Operand::Function.term().phrase(Operator::Eq), Some(CORRECTED));
    let data = TempDir::new().expect("a folder");
    let (there, here) = (PathBuf::from(folder).join("data"), data.path().join("data"));
    std::fs::rename(&there, &here).expect("moved");
    let clock = ManualClock::at(time.parse().expect("a time"));
    let host = TestHost::builder().clock(Clock::Manual(clock)).data(Arc::new(data)).start();
    let call = host.post("/acme/identity/infer").bearer(key).json(TENSOR);
    call.header("hospes-agreement", agreement).send().ok();
    let listed = host.get("/api/agreements").bearer(key).send().ok();
    let _data = host.stop();
    std::fs::rename(&here, &there).expect("moved back");
    stdout().write_all(&listed.body).expect("written");
}
