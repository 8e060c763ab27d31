//! `hospes keys`: Ed25519 keys, which sign bundles, offers and agreements.

use clap::{Args, Subcommand};
use serde_json::json;

use super::Context;
use super::client::{Payload, Post};
use super::document;
use super::failure::Failure;
use super::screen::{Answer, table};
use hospes_agreement::{Cause, SignedSuccession, Succession};
use hospes_core::id::AccountName;

/// Make and list the keys you sign with.
///
/// A key is your identity. Its public half, written `did:key:z6Mk…`, is the party that bundles, offers and agreements name. The
/// secret half never leaves this machine. It is a PKCS#8 PEM file in `<home>/keys`, as
/// `openssl genpkey -algorithm ed25519` writes it. Keep a safe copy: a lost key cannot be recovered.
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
    /// Show a key's party and file, never the secret.
    Show { name: AccountName },
    /// Replace your account's key with a new one.
    ///
    /// Both keys sign the succession. The old key's signatures stay valid, but only the new key can sign from now on. Make the new
    /// key first, with `hospes keys new`. Make your offers again afterwards.
    Succeed {
        /// The new key.
        with: AccountName,
        /// The old key may be compromised.
        #[arg(long)]
        compromised: bool,
    },
}

impl Keys {
    pub fn run(self, context: &Context) -> Result<Answer, Failure> {
        match self.action {
            Action::New { name } => {
                let party = context.home.new_key(&name)?.party();
                let path = context.home.key_path(&name)?;
                let plain = format!(
                    "made key `{name}`\n  party  {party}\n  file   {}\nnext: hospes account new {name} --data DIR",
                    path.display()
                );
                Ok(Answer::new(
                    plain,
                    json!({"name": name, "party": party, "file": path.display().to_string()}),
                ))
            }
            Action::List => list(context),
            Action::Succeed { with, compromised } => succeed(context, &with, compromised),
            Action::Show { name } => {
                let party = context.home.key(&name)?.party();
                let path = context.home.key_path(&name)?;
                let plain = format!("{name}\n  party  {party}\n  file   {}", path.display());
                Ok(Answer::new(
                    plain,
                    json!({"name": name, "party": party, "file": path.display().to_string()}),
                ))
            }
        }
    }
}

fn succeed(context: &Context, with: &AccountName, compromised: bool) -> Result<Answer, Failure> {
    let me = context.me()?;
    let (old, new) = (me.key()?, context.home.key(with)?);
    let cause = if compromised { Cause::Compromise } else { Cause::Routine };
    let now = context.clock.now();
    let issued = jiff::Timestamp::from_second(now.as_second()).unwrap_or(now);
    let succession = Succession { from: old.party(), to: new.party(), cause, issued };
    let signed = SignedSuccession::sign(succession, &[&old, &new])?;
    let post = Post {
        content_type: document::ENVELOPE_TYPE,
        headers: Vec::new(),
        body: Payload::Bytes(signed.to_bytes()),
    };
    context.client()?.post("/api/successions", post)?;
    let mut account = me.account()?;
    account.former.push(std::mem::replace(&mut account.party, new.party()));
    account.key = with.clone();
    context.home.keep_account(&account)?;
    let plain =
        format!("`{}` now signs with key `{with}`\n  party  {}", account.name, account.party);
    Ok(Answer::new(plain, json!(signed.content())))
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
