//! `hospes admin out-of-service show` and `remove`: records that a host could not read.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use crate::Context;
use crate::client::{Client, Post};
use crate::document::Force;
use crate::failure::Failure;
use crate::operator::Operator;
use crate::screen::{Answer, printable};
use hospes_core::id::Digest;
use hospes_wire::operations::{self as wire, RemovedRecord};

/// Show an unreadable record, or save its bytes.
#[derive(Debug, Args)]
pub struct Show {
    #[command(flatten)]
    record: Record,
    /// Save its bytes in this file.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    force: Force,
    #[command(flatten)]
    operator: Operator,
}

/// Remove an unreadable record.
///
/// The host forgets what it said. The agreement of a removed record or event is frozen: `hospes admin release` lets it go on. An
/// account's record cannot be removed while the account is suspended or closed. Restart the host afterwards: it then reads again
/// what depends on the record.
#[derive(Debug, Args)]
pub struct Remove {
    #[command(flatten)]
    record: Record,
    #[command(flatten)]
    saved: Saved,
    #[command(flatten)]
    force: Force,
    /// The reason, for the log.
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    operator: Operator,
}

#[derive(Debug, Args)]
struct Record {
    /// The kind of the record, as `list` shows it, such as `offers`.
    kind: String,
    /// The key of the record.
    key: String,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Saved {
    /// Save its bytes in this file first.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Remove it without saving its bytes.
    #[arg(long)]
    no_copy: bool,
}

impl Show {
    pub fn run(self, context: &Context) -> Result<Answer, Failure> {
        let Self { record, output, force, operator } = self;
        let (client, output) = (operator.client(context)?, output.as_deref());
        let bytes = record.fetch(&client, output, force)?;
        let Record { kind, key } = &record;
        let (digest, text) = (Digest::of(&bytes), std::str::from_utf8(&bytes).ok());
        let mut plain = format!("record {key} of {kind}: {} bytes, {digest}", bytes.len());
        plain += &match (output, text) {
            (Some(path), _) => format!("\nsaved in {}", path.display()),
            (None, Some(text)) => format!("\n{text}"),
            (None, None) => "\nit is not text: save it with `-o FILE`".to_owned(),
        };
        let json = json!({
            "kind": kind, "key": key, "digest": digest, "bytes": bytes.len(), "text": text,
            "saved": saved(output),
        });
        Ok(Answer::new(printable(&plain), json))
    }
}

impl Remove {
    pub fn run(self, context: &Context) -> Result<Answer, Failure> {
        let Self { record, saved: Saved { output, no_copy: _ }, force, reason, operator } = self;
        let (client, output) = (operator.client(context)?, output.as_deref());
        let bytes = record.fetch(&client, output, force)?;
        let Record { kind, key } = record;
        // What was saved is what goes.
        let wanted = wire::RemoveRecord { kind, key, digest: Digest::of(&bytes), reason };
        let reply = client.post("/out-of-service/remove", Post::json(&wanted))?;
        let (mut json, removed): (Value, RemovedRecord) = reply.document()?;
        json["saved"] = saved(output);
        let RemovedRecord { kind, key, digest, frozen, .. } = removed;
        let mut plain = format!("removed record {key} of {kind}, {digest}");
        if let Some(path) = output {
            plain += &format!("\nits bytes are in {}", path.display());
        }
        if let Some(agreement) = frozen {
            plain += &format!("\nagreement {agreement} is frozen until `hospes admin release`");
        }
        Ok(Answer::new(printable(&plain), json))
    }
}

impl Record {
    /// The record's bytes, which are saved if there is a file for them.
    fn fetch(
        &self,
        client: &Client,
        output: Option<&Path>,
        force: Force,
    ) -> Result<Vec<u8>, Failure> {
        if let Some(path) = output {
            force.check(path)?;
        }
        let (kind, key) = (encoded(&self.kind), encoded(&self.key));
        let path = format!("/out-of-service/record?kind={kind}&key={key}");
        let bytes = client.get(&path)?.body;
        if let Some(path) = output {
            force.write(path, &bytes)?;
        }
        Ok(bytes)
    }
}

/// The file's name, in JSON.
fn saved(output: Option<&Path>) -> Value {
    output.map_or(Value::Null, |path| json!(path.display().to_string()))
}

/// A value in a query. Keys contain slashes and colons.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() {
            true => encoded.push(char::from(byte)),
            false => encoded += &format!("%{byte:02X}"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_key_can_be_named_in_a_query() {
        assert_eq!(encoded("sha256:0d/1 é&+%"), "sha256%3A0d%2F1%20%C3%A9%26%2B%25");
    }
}
