//! `hospes admin lost` and `release`: agreements that may have been used more than a restored host knows.

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

/// Show the host receipts or checkpoints of its own that its log may have lost.
///
/// A host that was restored from a backup does not know the calls of after it. If its log lacks what is shown, the agreements that
/// may have been used in what is lost are frozen: those that the receipts name, if they are all that is lost, and else every one that
/// has limits and was made before. Exit code 1 then.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  hospes admin lost zoe.receipt bob.receipt --data ./data\n  \
    hospes admin lost tuesday.checkpoint --data ./data"
)]
pub struct Lost {
    /// Receipts with their proofs, or checkpoints as `GET /api/checkpoint` gives them.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    operator: Operator,
}

/// Let frozen agreements go on.
///
/// They go on with the counts that the host knows, which may be too low. `hospes admin withdrawn` lists what is frozen.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  \
    hospes admin release sha256:… --reason 'counted by hand: 12 calls were lost' --data ./data\n  \
    hospes admin release --all --data ./data")]
pub struct Release {
    /// The agreement's number.
    #[arg(required_unless_present = "all", value_name = "sha256:…")]
    id: Option<Digest>,
    /// All agreements that are frozen.
    #[arg(long, conflicts_with = "id")]
    all: bool,
    /// Why, for the log.
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
                Failure::new(format!("`{}` is no receipt and no checkpoint", path.display()))
            })?;
            shown.push(text);
        }
        let post = Post::json(&wire::Shown { shown });
        let client = self.operator.client(context)?;
        let (json, found): (_, wire::Lost) = client.post("/lost", post)?.document()?;
        if !found.lost {
            let plain =
                "the host's log holds what was shown: nothing is lost, and nothing was frozen";
            return Ok(Answer::new(plain, json));
        }
        let up_to = found.lost_up_to.unwrap_or(0);
        let mut plain = match found.lost_from {
            Some(from) => format!("the log had {up_to} entries, and those from {from} on are lost"),
            None => format!("the log had {up_to} entries, and not all of them are there"),
        };
        match found.all {
            true => {
                plain += "\nfrozen: every agreement that has limits and was made before";
            }
            false => found.frozen.iter().for_each(|id| plain += &format!("\nfrozen: {id}")),
        }
        for wire::Undone { action, target } in &found.undone {
            plain += &format!("\nno longer done: {action} {target}; do it again if it is to be");
        }
        plain += "\nnext: `hospes admin release`, once it is known what was used";
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
