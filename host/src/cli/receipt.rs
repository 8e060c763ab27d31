//! `hospes receipt`: evidence of calls, fetched from a host and verified without it.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Context;
use super::client::Client;
use super::document;
use super::failure::{During as _, Failure};
use super::screen::{Answer, printable, table};
use crate::id::{CallId, Party};
use crate::receipt::ReceiptProof;

pub fn save(client: &Client, call: &str, salt: Option<&str>, path: &Path) -> Result<(), Failure> {
    let _ = (client, call, salt, path);
    Ok(())
}
#[derive(Debug, Args)]
pub struct Receipt {}
impl Receipt { pub fn run(self, _c: &Context) -> Result<Answer, Failure> { Ok(Answer::Nothing) } }
