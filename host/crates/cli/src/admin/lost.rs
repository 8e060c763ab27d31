//! `hospes admin lost` and `release`: agreements whose use a restored host may undercount.

use std::path::PathBuf;

use clap::Args;

use super::act;
use crate::Context;
use crate::client::Post;
use crate::document;
use crate::failure::Failure;
use crate::operator::Operator;
use crate::screen::{Answer, printable};
use hospes_core::id::Digest;
use hospes_receipt::Deed;
use hospes_wire::operations as wire;

/// Show a restored host receipts or checkpoints that its log may have lost.
///
/// A host that was restored from a backup does not know later calls. If its log lacks one of these receipts or checkpoints, the
/// host freezes the agreements that may have been used since. If the receipts cover all that is lost, these are the agreements they
/// name. Otherwise it is every earlier agreement with limits. Exit code 1 if anything is lost.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  hospes admin lost zoe.receipt bob.receipt --data ./data\n  \
    hospes admin lost tuesday.checkpoint --data ./data"
)]
pub struct Lost {
    /// Receipts with their proofs, or checkpoints from `GET /api/checkpoint`.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    operator: Operator,
}

/// Release frozen agreements.
///
/// They continue with the host's counts, which may be too low. `hospes admin withdrawn` lists what is frozen.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  \
    hospes admin release sha256:… --reason 'counted by hand: 12 calls were lost' --data ./data\n  \
    hospes admin release --all --data ./data")]
pub struct Release {
    /// The agreement's identifier.
    #[arg(required_unless_present = "all", value_name = "sha256:…")]
    id: Option<Digest>,
    /// All frozen agreements.
    #[arg(long, conflicts_with = "id")]
    all: bool,
    /// The reason, for the log.
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    operator: Operator,
}

impl Lost {
    pub fn run(self, context: &Context) -> Result<Answer, Failure> {
        let mut shown = Vec::with_capacity(self.files.len());
        for path in &self.files {
            let text = String::from_utf8(document::read(path)?).map_err(|_| {
                Failure::new(format!("`{}` is neither a receipt nor a checkpoint", path.display()))
            })?;
            shown.push(text);
        }
        let post = Post::json(&wire::Shown { shown });
        let client = self.operator.client(context)?;
        let (json, found): (_, wire::Lost) = client.post("/lost", post)?.document()?;
        if !found.lost {
            let plain =
                "the host's log contains all of it: nothing is lost, and nothing was frozen";
            return Ok(Answer::new(plain, json));
        }
        let up_to = found.lost_up_to.unwrap_or(0);
        let mut plain = match found.lost_from {
            Some(from) => format!("the log had {up_to} entries, and those from {from} on are lost"),
            None => format!("the log had {up_to} entries, and some are missing"),
        };
        match found.all {
            true => {
                plain += "\nfrozen: every earlier agreement with limits";
            }
            false => found.frozen.iter().for_each(|id| plain += &format!("\nfrozen: {id}")),
        }
        for wire::Undone { action, target } in &found.undone {
            plain += &format!("\nundone: {action} {target}; repeat it if it is still wanted");
        }
        plain += "\nnext: `hospes admin release`, when you know what was used";
        Ok(Answer::Refused { plain: printable(&plain), json })
    }
}

impl Release {
    pub fn run(self, context: &Context) -> Result<Answer, Failure> {
        let client = self.operator.client(context)?;
        match self.id {
            Some(id) => act(&client, Deed::ReleaseAgreement, &id.to_string(), &self.reason),
            None => act(&client, Deed::ReleaseAgreements, "all", &self.reason),
        }
    }
}
