//! `hospes receipt consistency`: whether a host's log has only grown between two checkpoints.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::Context;
use super::document::{self, Force};
use super::failure::{During as _, Failure};
use super::screen::Answer;
use hospes_core::id::Party;
use hospes_receipt::{Consistency as Proof, ReceiptProof, checkpoint_size};

/// Check that a host's log has only grown.
///
/// OLD and NEW are receipts, or checkpoints from `GET /api/checkpoint`. A receipt stands for its checkpoint. The proof comes from
/// the host or a file, and is checked locally. Exit code 1 if the later log does not begin with the earlier one: then the host
/// has dropped or changed receipts.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  hospes receipt consistency first.receipt last.receipt --host-party did:key:z6Mk…"
)]
pub struct Consistency {
    /// The earlier receipt or checkpoint.
    old: PathBuf,
    /// The later one.
    new: PathBuf,
    /// The party whose signature must be on both.
    #[arg(long, value_name = "did:key:…")]
    host_party: Party,
    /// The proof [default: fetch it from the host].
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
    /// Save the host's proof to this file.
    #[arg(long, short, value_name = "FILE", conflicts_with = "proof")]
    output: Option<PathBuf>,
    #[command(flatten)]
    force: Force,
}

impl Consistency {
    pub fn run(self, context: &Context) -> Result<Answer, Failure> {
        let (old, new) = (checkpoint(&self.old)?, checkpoint(&self.new)?);
        let host = &self.host_party;
        let (from, to) = (checkpoint_size(&old, host)?, checkpoint_size(&new, host)?);
        let bytes = match &self.proof {
            Some(path) => document::read(path)?,
            None => {
                let path = format!("/api/log/consistency?from={from}&to={to}");
                context.visitor().get(&path)?.body
            }
        };
        let proof = Proof::parse(&bytes).during(|| "the proof cannot be read".into())?;
        if let Some(path) = &self.output {
            self.force.write(path, &proof.to_bytes())?;
        }
        let checked = proof.verify(&old, &new, host);
        let wrong = checked.as_ref().err().map(ToString::to_string);
        let json = json!({"consistent": checked.is_ok(), "from": from, "to": to, "reason": wrong});
        Ok(match wrong {
            None => {
                let plain =
                    format!("ok: the log of {to} receipts begins with the {from} signed earlier");
                Answer::Text { plain, json }
            }
            Some(reason) => Answer::Refused { plain: format!("FAILED: {reason}"), json },
        })
    }
}

/// The checkpoint in a file, which may be a receipt.
fn checkpoint(path: &Path) -> Result<String, Failure> {
    let bytes = document::read(path)?;
    match ReceiptProof::parse(&bytes) {
        Ok(receipt) => Ok(receipt.checkpoint().to_owned()),
        Err(_) => String::from_utf8(bytes).map_err(|_| {
            Failure::new(format!("`{}` is neither a receipt nor a checkpoint", path.display()))
        }),
    }
}
