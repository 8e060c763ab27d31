//! `hospes keys`: Ed25519 keys, which sign bundles, offers and agreements.

use clap::{Args, Subcommand};
use serde_json::json;

use super::Context;
use super::failure::Failure;
use super::screen::{Answer, table};
use crate::id::AccountName;

/// Make and list the keys you sign with.
///
/// A key is who you are: its public half, written `did:key:z6Mk…`, is the party that bundles, offers and agreements name. The
/// secret half never leaves this machine. It is a PKCS#8 PEM file in `<home>/keys`, the same that
/// `openssl genpkey -algorithm ed25519` writes. Keep a copy somewhere safe: a lost key cannot be made again.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  hospes keys new acme\n  hospes keys show acme")]
pub struct Keys {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key. An existing one is never overwritten.
    New { name: AccountName },
    /// List the keys and their parties.
    List,
    /// Show the party and the file of a key, never the secret.
    Show { name: AccountName },
}

impl Keys {
    pub fn run(self, context: &Context) -> Result<Answer, Failure> {
        match self.action {
            Action::New { name } => {
                let party = context.home.new_key(&name)?.party();
                let path = context.home.key_path(&name);
                let plain = format!(
                    "made key `{name}`\n  party  {party}\n  file   {}\nnext: hospes account new {name} --data DIR",
                    path.display()
                );
                Ok(Answer::new(plain, json!({"name": name, "party": party, "file": path})))
            }
            Action::List => list(context),
            Action::Show { name } => {
                let party = context.home.key(&name)?.party();
                let path = context.home.key_path(&name);
                let plain = format!("{name}\n  party  {party}\n  file   {}", path.display());
                Ok(Answer::new(plain, json!({"name": name, "party": party, "file": path})))
            }
        }
    }
}

fn list(context: &Context) -> Result<Answer, Failure> {
    let mut rows = Vec::new();
    let mut documents = Vec::new();
    for name in context.home.keys()? {
        // One bad file must not hide the others.
        let (party, error) = match context.home.key(&name) {
            Ok(key) => (Some(key.party()), None),
            Err(failure) => (None, Some(failure.to_string())),
        };
        let shown =
            party.map_or_else(|| error.clone().unwrap_or_default(), |party| party.to_string());
        rows.push(vec![name.to_string(), shown]);
        documents.push(json!({"name": name, "party": party, "error": error}));
    }
    let plain = if rows.is_empty() {
        "no keys yet; make one with `hospes keys new NAME`".to_owned()
    } else {
        table(&["NAME", "PARTY"], &rows)
    };
    Ok(Answer::new(plain, json!({"keys": documents})))
}
