//! `hospes receipt verify`: verifies a receipt offline.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::call::read_input;
use super::failure::Failure;
use super::receipt;
use super::screen::Answer;
use hospes_core::id::Party;
use hospes_receipt::{ProofError, Receipt};

/// Verify a receipt offline.
///
/// Checks that the receipt is in the host's signed log. If you name the input and output files, also checks that they are what was
/// sent and what came back; for that the receipt must hold its salt. Prints every check; exit code 1 if one fails. Get the host's
/// party from the host (`hospes serve` prints it) before there is anything to dispute.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  hospes receipt verify call.receipt --host-party did:key:z6Mk… --input picture.png"
)]
pub struct Verify {
    /// The receipt.
    file: PathBuf,
    /// The party whose signature must be on the log.
    #[arg(long, value_name = "did:key:…")]
    host_party: Party,
    /// The bytes that were sent.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// The bytes that came back.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// One check.
struct Check {
    what: &'static str,
    /// What was found, or what is wrong.
    result: Result<String, String>,
}

impl Verify {
    pub fn run(self) -> Result<Answer, Failure> {
        let proof = receipt::read(&self.file)?;
        let input = self.input.as_deref().map(read_input).transpose()?;
        let output = self.output.as_deref().map(read_input).transpose()?;
        let verified = match proof.verify(&self.host_party) {
            Ok(verified) => verified,
            Err(error) => {
                // A receipt that is not in the log proves nothing, so nothing in it is shown or compared.
                let result = Err(Failure::from(error).in_a_line());
                return Ok(answer(&[Check { what: "log", result }], None));
            }
        };
        let place = format!(
            "number {} of the {} that {} signed",
            verified.index(),
            verified.size(),
            self.host_party
        );
        let mut checks = vec![Check { what: "log", result: Ok(place) }];
        if let Some(bytes) = input {
            let result = verified.check_input(proof.salt(), &bytes);
            checks.push(compared("input", result, "this is what was sent"));
        }
        if let Some(bytes) = output {
            let result = verified.check_output(proof.salt(), &bytes);
            checks.push(compared("output", result, "this is what came back"));
        }
        Ok(answer(&checks, Some(&verified)))
    }
}

fn compared(what: &'static str, result: Result<(), ProofError>, holds: &str) -> Check {
    let result =
        result.map(|()| holds.to_owned()).map_err(|error| Failure::from(error).in_a_line());
    Check { what, result }
}

fn answer(checks: &[Check], receipt: Option<&Receipt>) -> Answer {
    let mut plain = String::new();
    for Check { what, result } in checks {
        plain += &match result {
            Ok(found) => format!("ok      {what}: {found}\n"),
            Err(wrong) => format!("FAILED  {what}: {wrong}\n"),
        };
    }
    let genuine = checks.iter().all(|check| check.result.is_ok());
    plain += &receipt.map(receipt::page).unwrap_or_default();
    plain += if genuine {
        "\nthe receipt is genuine"
    } else {
        "\nthe receipt is NOT genuine, or not of these files"
    };
    let list: Vec<Value> = checks
        .iter()
        .map(|Check { what, result }| {
            let (Ok(text) | Err(text)) = result;
            json!({"check": what, "passed": result.is_ok(), "text": text})
        })
        .collect();
    let json = json!({"genuine": genuine, "checks": list, "receipt": receipt.map(receipt::entry)});
    if genuine { Answer::Text { plain, json } } else { Answer::Refused { plain, json } }
}
