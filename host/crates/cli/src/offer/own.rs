//! `hospes offer list`, `withdraw` and `replace`: manages a publisher's own offers on a host.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::super::Context;
use super::super::client::Post;
use super::super::document;
use super::super::failure::Failure;
use super::super::screen::{Answer, printable, seconds, table};
use super::{offer_id, parse, sent};
use hospes_core::id::Digest;
use hospes_wire::offers::{self as wire, Listed, Own, Page, Withdrawn};

/// List your offers on a host, with their states.
///
/// Consumers can agree to `listed` offers. `not live` offers name versions that the host does not serve. Withdrawn offers are no
/// longer in the market.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  hospes offer list --as acme")]
pub struct List {}

/// Withdraw one of your offers, so that nobody can agree to it.
///
/// Existing agreements stay in force. To offer it again, publish its file again.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  hospes offer list --as acme\n  hospes offer withdraw sha256:… --as acme"
)]
pub struct Withdraw {
    /// The offer's identifier.
    #[arg(value_parser = offer_id)]
    offer: Digest,
}

/// Publish an offer and withdraw an earlier one of the same model, in one step.
///
/// If the host refuses the new one, the earlier one stays. Existing agreements stay in force.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  hospes offer new acme/iris --bundle iris.wasm --function infer \\\n      \
    --calls 200 --until 60d --as acme -o better.offer\n  \
    hospes offer replace sha256:… better.offer --as acme"
)]
pub struct Replace {
    /// The earlier offer's identifier.
    #[arg(value_parser = offer_id)]
    old: Digest,
    /// The new offer.
    file: PathBuf,
}

impl List {
    pub fn run(self, context: &Context) -> Result<Answer, Failure> {
        let Self {} = self;
        let (json, listing): (_, Page) = context.client()?.pages("/api/offers", "offers")?;
        let plain = if listing.offers.is_empty() {
            "no offers yet; make one with `hospes offer new`".to_owned()
        } else {
            let rows: Vec<_> = listing.offers.iter().map(row).collect();
            table(&["MODEL", "VERSIONS", "TO", "STATE", "OFFER"], &rows)
        };
        Ok(Answer::new(printable(&plain), json))
    }
}

fn row(own: &Own) -> Vec<String> {
    let to = if own.private { "named parties" } else { "everybody" };
    vec![
        own.model.to_string(),
        own.versions.clone(),
        to.to_owned(),
        stands(own),
        own.id.to_string(),
    ]
}

fn stands(own: &Own) -> String {
    let mut text = own.state.as_str().replace('-', " ");
    if let Some(since) = &own.since {
        text += &format!(" at {}", seconds(since));
    }
    if let Some(reason) = &own.reason {
        text += &format!(" ({reason})");
    }
    text
}

impl Withdraw {
    pub fn run(self, context: &Context) -> Result<Answer, Failure> {
        let post = Post::json(&wire::Withdraw {});
        let path = format!("/api/offers/{}/withdrawal", self.offer);
        let (json, Withdrawn { id, model, open_proposals, .. }): (Value, _) =
            context.client()?.post(&path, post)?.document()?;
        let plain = format!(
            "withdrew the offer of {model}\n  offer {id}\nagreements stay in force{}",
            warning(open_proposals)
        );
        Ok(Answer::new(plain, json))
    }
}

impl Replace {
    pub fn run(self, context: &Context) -> Result<Answer, Failure> {
        let Self { old, file } = self;
        let bytes = document::read(&file)?;
        let offer = parse(&bytes, || format!("`{}` is not a valid offer", file.display()))?;
        let path = format!("/api/offers/{old}/replacement");
        let (json, Listed { id, model, open_proposals, .. }) =
            sent(&context.client()?, &path, &offer, bytes)?;
        let plain = format!(
            "offered {model} on {}\n  offer    {id}\n  withdrew {old}{}\nconsumers: hospes agree {id}",
            context.host,
            warning(open_proposals.unwrap_or_default())
        );
        Ok(Answer::new(plain, json))
    }
}

/// A line about the agreements that wait for a signature under an offer that was withdrawn.
fn warning(open_proposals: usize) -> String {
    let wait = match open_proposals {
        0 => return String::new(),
        1 => "1 agreement to the withdrawn offer waits".to_owned(),
        several => format!("{several} agreements to the withdrawn offer wait"),
    };
    format!(
        "\nwarning: {wait} for a signature and cannot get it now; publish that offer's file again before you sign"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_where_an_offer_stands_and_why() {
        let entry = |rest: &str| -> Own {
            let id = Digest::of(b"an offer");
            let document = format!(r#"{{"id":"{id}","model":"a/m","versions":"1",{rest}}}"#);
            serde_json::from_str(&document).expect("an entry")
        };
        let stopped = entry(
            r#""private":false,"state":"withdrawn-by-operator","since":"2027-01-01T00:00:00Z","reason":"a court said so""#,
        );
        let stands = "withdrawn by operator at 2027-01-01T00:00:00Z (a court said so)";
        assert_eq!(row(&stopped)[3], stands);
        let waits = entry(r#""private":true,"state":"not-live""#);
        assert_eq!(row(&waits)[2..4], ["named parties".to_owned(), "not live".to_owned()]);
    }
}
