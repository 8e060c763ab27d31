//! `hospes receipt verify`: whether a receipt is genuine, without asking anybody.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::call::read_input;
use super::failure::{During as _, Failure};
use super::receipt;
use super::screen::Answer;
use crate::id::Party;

/// Verify a receipt offline.
///
/// Checks that the receipt is in the log that the host signed and, if you name the files, that they are what was sent and what
/// came back; for that the receipt must hold its salt. Prints every check; exit code 1 if one fails. The host's party is the
/// one that you learned from the host (`hospes serve` prints it) before there was anything to dispute.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  hospes receipt verify call.receipt --host-party did:key:z6Mk… --input picture.png")]
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
