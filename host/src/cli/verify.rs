//! `hospes receipt verify`: whether a receipt is genuine, without asking anybody.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::call::read_input;
use super::failure::Failure;
use super::receipt;
use super::screen::Answer;
use crate::id::Party;

/// Verify a receipt offline.
///
/// Checks that the receipt is in the log that the host signed and, if you name the files, that they are what was sent and what
/// came back; for that the receipt must hold its salt. Prints every check; exit code 1 if one fails. The host's party is the
/// one that you learned from the host (`hospes serve` prints it) before there was anything to dispute.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  hospes receipt verify call.receipt --host-party did:key:z6Mk… --input picture.png"
)]
pub struct Verify {
    /// The receipt.
    file: PathBuf,
    /// Whose signature must be on the log.
    #[arg(long, value_name = "did:key:…")]
    host_party: Party,
    /// The bytes that were sent.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// The bytes that came back.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// One thing that was looked at.
struct Check {
    what: &'static str,
    /// What was found, or what is wrong.
    result: Result<String, String>,
}

impl Verify {
    pub fn run(self) -> Result<Answer, Failure> {
        let proof = receipt::read(&self.file)?;
        let log = match proof.verify(&self.host_party) {
            Ok(_) => Ok(format!("in the log that {} signed", self.host_party)),
            Err(error) => Err(Failure::from(error).in_a_line()),
        };
        let mut checks = vec![Check { what: "log", result: log }];
        let receipt = proof.receipt();
        if let Some(path) = &self.input {
            let bytes = read_input(path)?;
            let opens = proof.salt().map(|salt| receipt.input.opens(salt, "input", &bytes));
            checks.push(Check { what: "input", result: opened(opens, "was sent") });
        }
        if let Some(path) = &self.output {
            let bytes = read_input(path)?;
            let opens = proof.salt().map(|salt| {
                receipt.output.is_some_and(|output| output.opens(salt, "output", &bytes))
            });
            checks.push(Check { what: "output", result: opened(opens, "came back") });
        }
        Ok(answer(&checks, receipt))
    }
}

/// What it means that a commitment opens, does not, or cannot be opened.
fn opened(opens: Option<bool>, happened: &str) -> Result<String, String> {
    match opens {
        Some(true) => Ok(format!("this file is what {happened}")),
        Some(false) => Err(format!("this file is not what {happened}")),
        None => Err("the receipt holds no salt, so this cannot be told".to_owned()),
    }
}

fn answer(checks: &[Check], receipt: &crate::receipt::Receipt) -> Answer {
    let mut plain = String::new();
    for Check { what, result } in checks {
        plain += &match result {
            Ok(found) => format!("ok      {what}: {found}\n"),
            Err(wrong) => format!("FAILED  {what}: {wrong}\n"),
        };
    }
    let genuine = checks.iter().all(|check| check.result.is_ok());
    plain += &receipt::page(receipt);
    plain += if genuine { "\nthe receipt is genuine" } else { "\nDO NOT RELY ON THIS RECEIPT" };
    let list: Vec<Value> = checks
        .iter()
        .map(|Check { what, result }| {
            let (Ok(text) | Err(text)) = result;
            json!({"check": what, "passed": result.is_ok(), "text": text})
        })
        .collect();
    let json = json!({"genuine": genuine, "checks": list, "receipt": receipt::entry(receipt)});
    if genuine { Answer::Text { plain, json } } else { Answer::Refused { plain, json } }
}
