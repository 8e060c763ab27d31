//! `hospes admin out-of-service`: published versions that could not be loaded, and records that could not be read.

mod record;

use clap::{Args, Subcommand};
use semver::Version;
use serde_json::Value;

use crate::Context;
use crate::client::{Client, Post};
use crate::failure::Failure;
use crate::operator::Operator;
use crate::screen::{Answer, printable};
use hospes_core::id::ModelName;
use hospes_wire::operations::{self as wire, RecordAside};

/// List, reload or withdraw published versions that cannot be loaded, and remove unreadable records.
///
/// A file is missing or damaged, a backend is gone, a setting forbids the version, or a newer host wrote the record. The host starts
/// without such versions and answers calls of them with 503. Unreadable records stay as they are. An agreement with an unreadable
/// record or event is not in force.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  hospes admin out-of-service list --data ./data\n  \
    hospes admin out-of-service retry acme/iris@1.0.0 --data ./data\n  \
    hospes admin out-of-service remove offers sha256:… -o offer.json --data ./data")]
pub struct OutOfService {
    #[command(subcommand)]
    action: OnBroken,
}

#[derive(Debug, Subcommand)]
enum OnBroken {
    /// List the versions that are out of service and the unreadable records, with the reasons.
    List(List),
    /// Load a version again, after you have fixed the cause.
    Retry(Which),
    /// Withdraw a version. Its publisher can put it back.
    Withdraw(Which),
    Show(record::Show),
    Remove(record::Remove),
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    operator: Operator,
}

#[derive(Debug, Args)]
struct Which {
    /// The version, such as `acme/iris@1.0.0`.
    #[arg(value_name = "MODEL@VERSION", value_parser = version)]
    version: (ModelName, Version),
    #[command(flatten)]
    operator: Operator,
}

impl OutOfService {
    pub fn run(self, context: &Context) -> Result<Answer, Failure> {
        match self.action {
            OnBroken::List(list) => list.run(context),
            OnBroken::Retry(which) => which.run(context, "retry", "is in service again"),
            OnBroken::Withdraw(which) => which.run(context, "withdraw", "is withdrawn"),
            OnBroken::Show(show) => show.run(context),
            OnBroken::Remove(remove) => remove.run(context),
        }
    }
}

impl List {
    fn run(self, context: &Context) -> Result<Answer, Failure> {
        let client = self.operator.client(context)?;
        let (json, listed): (_, wire::OutOfService) = client.document("/out-of-service")?;
        let lines = listed.out_of_service.iter().map(|broken| {
            let digest = broken.digest.map(|digest| digest.to_string());
            let digest = digest.as_deref().unwrap_or("digest not known");
            let [model, version, digest, reason] =
                [&broken.model.to_string(), &broken.version, digest, &broken.reason].map(printable);
            format!("{model}@{version}  {digest}\n  {reason}")
        });
        let records = listed.records.iter().map(|RecordAside { kind, key, reason }| {
            let [kind, key, reason] = [kind, key, reason].map(|text| printable(text));
            format!("record {key} of {kind}\n  {reason}")
        });
        let lines: Vec<_> = lines.chain(records).collect();
        let plain = match lines.is_empty() {
            true => "every published version is in service, and every record was read".to_owned(),
            false => lines.join("\n"),
        };
        Ok(Answer::new(plain, json))
    }
}

impl Which {
    fn run(self, context: &Context, what: &str, said: &str) -> Result<Answer, Failure> {
        let (model, version) = self.version;
        let client = self.operator.client(context)?;
        let which = wire::WhichVersion { model: model.clone(), version: version.to_string() };
        let json = post(&client, what, &which)?;
        Ok(Answer::new(format!("`{model}@{version}` {said}"), json))
    }
}

fn post(client: &Client, what: &str, which: &wire::WhichVersion) -> Result<Value, Failure> {
    let path = format!("/out-of-service/{what}");
    let (json, _): (_, Value) = client.post(&path, Post::json(which))?.document()?;
    Ok(json)
}

fn version(text: &str) -> Result<(ModelName, Version), String> {
    let wrong = || format!("`{text}` is not a model's version: write `publisher/model@1.0.0`");
    let (model, version) = text.rsplit_once('@').ok_or_else(wrong)?;
    Ok((model.parse().map_err(|_| wrong())?, version.parse().map_err(|_| wrong())?))
}
