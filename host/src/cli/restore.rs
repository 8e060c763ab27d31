//! `hospes restore`: restores a data directory from a backup.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::backup::{self, Outcome, Wanted};
use hospes_cli::Context;
use hospes_cli::document;
use hospes_cli::failure::Failure;
use hospes_cli::screen::{Answer, printable};

/// Restore a data directory from a backup.
///
/// Before it writes anything in place, it compares every file with the signed manifest and reads all records and receipts. The
/// directory must be empty or not exist. No host is started.
///
/// Calls after the backup are not in it, so agreements could be used beyond their limits. A later receipt or checkpoint shows what is
/// lost: when the host starts, it freezes the agreements that may have been used since, until `hospes admin release`. Without one,
/// nothing is frozen. Ask the parties for their latest receipts, and show them here, or later with `hospes admin lost`.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  hospes restore monday.tar --data ./data\n  \
    hospes restore monday.tar --data ./data --key host.pem --receipt zoe.receipt --receipt bob.receipt\n  \
    hospes restore monday.tar --data ./data --known-checkpoint tuesday.checkpoint")]
pub struct Restore {
    /// The backup.
    #[arg(value_name = "FILE")]
    archive: PathBuf,
    /// The data directory to make.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The host's key, if the backup does not hold it.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// A receipt with its proof that may be newer than the backup; can be repeated.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    receipt: Vec<PathBuf>,
    /// A checkpoint of the host's log, from `GET /api/checkpoint`, that may be newer; can be repeated.
    #[arg(long, value_name = "FILE")]
    known_checkpoint: Vec<PathBuf>,
}

impl Restore {
    pub fn run(self, context: &Context) -> Result<Answer, Failure> {
        let files = self.receipt.into_iter().chain(self.known_checkpoint);
        let shown = files.map(|path| document::read(&path).map(|bytes| (path, bytes)));
        let wanted = Wanted {
            archive: &self.archive,
            data: &self.data,
            key: self.key.as_deref(),
            shown: shown.collect::<Result<_, _>>()?,
        };
        let what = format!("restoring {}", self.archive.display());
        let progress = context.screen.spinner(&what);
        let Outcome { host, made, size, lost_up_to, missing } = backup::restore(&wanted)?;
        drop(progress);
        let data = self.data.display();
        let mut plain = format!(
            "restored {data}\n  host     {host}\n  made     {made}\n  entries  {size} in its log"
        );
        for missing in &missing {
            plain += &format!("\n  missing  {missing}: it was missing when the backup was made");
        }
        plain += &match lost_up_to {
            Some(known) => format!(
                "\nthis backup is older than the receipts or checkpoints shown: log entries {size} to {} are lost. When the host starts, \
                 it freezes the agreements that may have been used in them; see `hospes admin withdrawn` and `hospes admin release`",
                known - 1
            ),
            None => format!(
                "\nthe backup knows nothing after {made}: later calls are not counted, so agreements may be used beyond their limits by \
                 that much, and the operator's later stops are undone. If a party has a newer receipt, show it to the host: \
                 `hospes admin lost FILE --data {data}`"
            ),
        };
        plain += &format!("\nnext: hospes serve --data {data}");
        let json = json!({
            "data": data.to_string(),
            "party": host,
            "made": made,
            "entries": size,
            "lost_up_to": lost_up_to,
            "missing": missing,
        });
        Ok(Answer::new(printable(&plain), json))
    }
}
