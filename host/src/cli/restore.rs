//! `hospes restore`: a data directory made of a backup.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::backup::{self, Outcome, Wanted};
use hospes_cli::Context;
use hospes_cli::document;
use hospes_cli::failure::Failure;
use hospes_cli::screen::{Answer, printable};

/// Make a data directory of a backup.
///
/// Every file is compared with the signed manifest, and records and receipts are read as a host reads them, before anything is put in
/// its place. The directory must not be there yet, or be empty. No host is started.
///
/// Calls of after the backup are not in it, so agreements could be used beyond their limits. A receipt or a checkpoint of after the
/// backup shows what is lost: when the host starts, it freezes the agreements that may have been used in it, until
/// `hospes admin release` lets them go on. Without one, nothing is frozen: ask the parties for their latest receipts, and show
/// them here, or to the host with `hospes admin lost`.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  hospes restore monday.tar --data ./data\n  \
    hospes restore monday.tar --data ./data --key host.pem --receipt zoe.receipt --receipt bob.receipt\n  \
    hospes restore monday.tar --data ./data --known-checkpoint tuesday.checkpoint")]
pub struct Restore {
    /// The backup.
    #[arg(value_name = "FILE")]
    archive: PathBuf,
    /// The data directory that is made.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The host's key, if the backup does not hold it.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// A receipt with its proof that may be newer than the backup. Can be given many times.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    receipt: Vec<PathBuf>,
    /// A checkpoint of the host's log that may be newer, as `GET /api/checkpoint` gives it. Can be given many times.
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
            clock: context.clock.clone(),
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
            plain += &format!("\n  missing  {missing}: it was not there when the backup was made");
        }
        plain += &match lost_up_to {
            Some(known) => format!(
                "\nthis backup is older than what was shown: entries {size} to {} of the log are lost. When the host starts, it freezes \
                 the agreements that may have been used in them; see `hospes admin withdrawn` and `hospes admin release`",
                known - 1
            ),
            None => format!(
                "\nwhat the host did after {made} is not in it, and cannot be known from it: calls of that time are counted nowhere, so \
                 agreements may be used beyond their limits by as much, and what the operator stopped then is not stopped. If a party has \
                 a newer receipt, show it to the host: `hospes admin lost FILE --data {data}`"
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
