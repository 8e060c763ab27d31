//! `hospes receipt`: evidence of calls, fetched from a host and verified without it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Context;
use super::client::Client;
use super::consistency::Consistency;
use super::document::{self, Force};
use super::failure::{During as _, Failure};
use super::screen::{Answer, printable, seconds, table};
use super::verify::Verify;
use hospes_agreement::Micros;
use hospes_core::id::{CallId, Digest, Party};
use hospes_core::outcome::Spoken;
use hospes_receipt::{Receipt as Entry, ReceiptProof, Salt};
use hospes_wire::receipts::{self, Page};
use hospes_wire::status::Host;

/// List, fetch, read and verify receipts.
///
/// Every call that runs leaves a receipt, and so do refused calls, except when there are many in a row. It says who called what under which agreement, what was
/// counted and how the call ended. It holds only salted digests of the input and output. It is chained to the earlier receipts and
/// comes with a proof that it is in the host's signed log, so it can be verified without the host.
#[derive(Debug, Args)]
pub struct Receipt {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(List),
    Show(Show),
    Fetch(Fetch),
    Verify(Verify),
    Consistency(Consistency),
}

/// List your receipts on a host, the newest first.
///
/// Lists the latest of all, or of one agreement with `--agreement`. `--after` continues where a page ended.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  hospes receipt list --as me\n  hospes receipt list --agreement sha256:… --limit 20 --as me"
)]
struct List {
    /// Only this agreement's receipts.
    #[arg(long, value_name = "sha256:…")]
    agreement: Option<Digest>,
    /// Only receipts before this call.
    #[arg(long, value_name = "CALL")]
    after: Option<Call>,
    /// Most receipts [default: 100].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    limit: Option<u32>,
}

/// Show a receipt.
///
/// Verifies it first, against the named party or else the party that the host claims to be.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  hospes receipt show call.receipt --host-party did:key:z6Mk…"
)]
struct Show {
    /// A call's identifier on the host, or a file.
    receipt: Reference,
    /// The party whose signature must be on the log [default: what the host says].
    #[arg(long, value_name = "did:key:…")]
    host_party: Option<Party>,
}

/// Fetch a receipt from a host and save it.
///
/// It proves the call, but not what was sent and returned: that needs the salt, which only the call itself returned. To keep
/// both, give `hospes call` the option `--receipt FILE`.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  hospes receipt fetch 01936f6e-… --as me -o call.receipt")]
struct Fetch {
    /// The call's identifier.
    call: Call,
    /// The receipt's file.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    force: Force,
}

/// A call's identifier, as in its receipt.
#[derive(Debug, Clone, Copy)]
struct Call(CallId);

/// A receipt on the host, or in a file.
#[derive(Debug, Clone)]
enum Reference {
    Call(Call),
    File(PathBuf),
}

#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a call's identifier: it is a UUID, as `hospes receipt list` shows")]
struct CallError(String);

impl FromStr for Call {
    type Err = CallError;

    fn from_str(text: &str) -> Result<Self, CallError> {
        text.parse().map(Self).map_err(|_| CallError(text.into()))
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Reference {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.parse() {
            Ok(call) => Reference::Call(call),
            Err(CallError(_)) => Reference::File(text.into()),
        })
    }
}

impl Receipt {
    pub fn run(self, context: &Context) -> Result<Answer, Failure> {
        match self.action {
            Action::List(list) => {
                let (json, listing): (_, Page) = context.client()?.document(&list.path())?;
                let mut plain = overview(&listing);
                if let Some(next) = &listing.next {
                    plain += &format!("\nthere are more: `--after {next}`");
                }
                Ok(Answer::new(printable(&plain), json))
            }
            Action::Show(show) => show.run(context),
            Action::Fetch(Fetch { call, output, force }) => {
                let proof = fetch(&context.client()?, &call)?;
                force.write(&output, &proof.to_bytes())?;
                let plain = format!(
                    "wrote {}\nnext: hospes receipt verify {} --host-party did:key:…",
                    output.display(),
                    output.display()
                );
                Ok(Answer::new(
                    plain,
                    json!({"call": call.to_string(), "file": output.display().to_string()}),
                ))
            }
            Action::Verify(verify) => verify.run(),
            Action::Consistency(consistency) => consistency.run(context),
        }
    }
}

impl List {
    fn path(&self) -> String {
        let agreement = self.agreement.map(|id| format!("agreement={id}"));
        let after = self.after.map(|call| format!("after={call}"));
        let limit = self.limit.map(|limit| format!("limit={limit}"));
        let query: Vec<_> = agreement.into_iter().chain(after).chain(limit).collect();
        format!("/api/receipts?{}", query.join("&"))
    }
}

impl Show {
    fn run(self, context: &Context) -> Result<Answer, Failure> {
        let proof = match &self.receipt {
            Reference::Call(call) => fetch(&context.client()?, call)?,
            Reference::File(path) => read(path)?,
        };
        let party = match self.host_party {
            Some(party) => party,
            None => host_party(&context.visitor())
                .or_fix(|| "name the host's party with `--host-party did:key:…`".into())?,
        };
        let receipt = proof.verify(&party)?;
        Ok(Answer::new(page(&receipt), entry(&receipt)))
    }
}

/// Fetches the receipt of a call just made, verifies it, and saves it with its salt. Returns the log's party.
///
/// # Errors
/// If the host does not send it, it is not valid, or the file already exists.
pub fn save(
    client: &Client,
    call: &str,
    salt: Option<&str>,
    (path, force): (&Path, Force),
) -> Result<Party, Failure> {
    let call: Call = call.parse()?;
    let mut proof = fetch(client, &call)?;
    if let Some(salt) = salt {
        proof = proof.with_salt(salt.parse::<Salt>()?);
    }
    let party = host_party(client)?;
    if proof.verify(&party)?.call != call.0 {
        return Err(Failure::new("the host sent another call's receipt"));
    }
    force.write(path, &proof.to_bytes())?;
    Ok(party)
}

/// The party that the host claims to be.
fn host_party(client: &Client) -> Result<Party, Failure> {
    let (_, identity): (_, Host) = client.document("/api/host")?;
    Ok(identity.party)
}

/// Reads a receipt's file.
///
/// # Errors
/// If it cannot be read or is not a receipt.
pub fn read(path: &Path) -> Result<ReceiptProof, Failure> {
    ReceiptProof::parse(&document::read(path)?)
        .during(|| format!("`{}` is not a receipt", path.display()))
}

fn fetch(client: &Client, call: &Call) -> Result<ReceiptProof, Failure> {
    let bytes = client.get(&format!("/api/receipts/{call}"))?.body;
    ReceiptProof::parse(&bytes).during(|| "the host's receipt cannot be read".into())
}

/// A receipt as text.
pub fn page(receipt: &Entry) -> String {
    let agreement = match receipt.agreement {
        Some(id) => id.to_string(),
        None if receipt.is_own_call() => "none: the publisher's own call".to_owned(),
        None => "none".to_owned(),
    };
    let counted = match (receipt.used, receipt.max) {
        (Some(used), Some(max)) => format!("call {used} of {max}"),
        (Some(used), None) => format!("call {used}, without a limit"),
        (None, Some(_) | None) => "nothing".to_owned(),
    };
    let mut more = String::new();
    for (name, value) in [("rows", receipt.rows), ("tokens", receipt.tokens)] {
        if let Some(value) = value {
            more += &format!("\n  {name:10} {value}");
        }
    }
    if let Some(Spoken { prompt, cached, completion }) = receipt.spoken {
        more += &format!(
            "\n  {:10} {prompt} tokens of the prompt, {cached} of them cached; {completion} of the completion",
            "language"
        );
    }
    if let Some(price) = receipt.price {
        more += &format!("\n  {:10} {} of the agreement's currency", "price", Micros(price));
    }
    if let Some(purpose) = &receipt.purpose {
        more += &format!("\n  {:10} {purpose}", "purpose");
    }
    printable(&format!(
        "call {}\n  at         {}\n  result     {}\n  function   {}/{}\n  bundle     {}\n  publisher  {}\n  caller     {}\n  \
         agreement  {agreement}\n  counted    {counted}\n  input      {} bytes\n  output     {} bytes\n  took       {} µs{more}",
        receipt.call,
        receipt.at,
        receipt.result,
        receipt.model,
        receipt.function,
        receipt.bundle,
        receipt.publisher,
        receipt.caller,
        receipt.input_bytes,
        receipt.output_bytes,
        receipt.wall_micros
    ))
}

/// A receipt as JSON.
pub fn entry(receipt: &Entry) -> Value {
    json!({
        "call": receipt.call.to_string(),
        "at": receipt.at.to_string(),
        "result": receipt.result.to_string(),
        "model": receipt.model,
        "function": receipt.function,
        "bundle": receipt.bundle,
        "publisher": receipt.publisher,
        "caller": receipt.caller,
        "agreement": receipt.agreement,
        "own": receipt.is_own_call(),
        "rule": receipt.rule,
        "used": receipt.used,
        "max": receipt.max,
        "rows": receipt.rows,
        "tokens": receipt.tokens,
        "prompt_tokens": receipt.spoken.map(|spoken| spoken.prompt),
        "cached_tokens": receipt.spoken.map(|spoken| spoken.cached),
        "completion_tokens": receipt.spoken.map(|spoken| spoken.completion),
        "price_micros": receipt.price,
        "purpose": receipt.purpose,
        "input_bytes": receipt.input_bytes,
        "output_bytes": receipt.output_bytes,
        "wall_micros": receipt.wall_micros,
        "memory_bytes": receipt.memory_bytes,
    })
}

fn overview(listing: &Page) -> String {
    if listing.receipts.is_empty() {
        return "no receipts yet: they come with calls".to_owned();
    }
    let row = |line: &receipts::Receipt| {
        let counted = match (line.used, line.max) {
            (Some(used), Some(max)) => format!("{used} of {max}"),
            (Some(used), None) => used.to_string(),
            (None, Some(_) | None) => "-".to_owned(),
        };
        let function = format!("{}/{}", line.model, line.function);
        vec![seconds(&line.at), function, line.result.clone(), counted, line.call.clone()]
    };
    let rows: Vec<_> = listing.receipts.iter().map(row).collect();
    table(&["AT", "FUNCTION", "RESULT", "COUNTED", "CALL"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overview_says_what_was_counted() {
        let document = r#"{"receipts":[
            {"call":"c1","at":"2026-11-24T10:00:00Z","model":"a/m","function":"f","result":"answered","used":2,"max":3},
            {"call":"c2","at":"2026-11-24T10:00:01Z","model":"a/m","function":"f","result":"denied: terms","used":null,"max":null}]}"#;
        let text = overview(&serde_json::from_str(document).expect("a listing"));
        assert!(text.contains("a/m/f     answered       2 of 3   c1"), "{text}");
        assert!(text.contains("denied: terms  -        c2"), "{text}");
    }
}
