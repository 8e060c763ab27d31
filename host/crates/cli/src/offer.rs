//! `hospes offer`: makes, publishes and shows offers, the terms for using a model.

mod new;
mod own;

pub use new::New;
use own::{List, Replace, Withdraw};

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::json;

use super::Context;
use super::client::{Client, Payload, Post};
use super::document::{self, Reference};
use super::failure::{During as _, Failure};
use super::quantities::{self, Moment};
use super::screen::Answer;
use super::simulate::SimulatedCall;
use hospes_agreement::registry::Class;
use hospes_agreement::templates::TEMPLATES;
use hospes_agreement::{
    Clauses, Mandate, Operand, SignedMandate, SignedOffer, Versions, lines, render_offer,
};
use hospes_core::id::Digest;
use hospes_wire::offers::Listed;
use hospes_wire::status::Host;

/// Make, publish, read and withdraw offers.
///
/// An offer names a bundle, its functions and the terms for using them, and is signed by the publisher. It grants nothing by
/// itself: a consumer accepts it with `hospes agree`, and the publisher countersigns.
#[derive(Debug, Args)]
pub struct Offer {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    New(Box<New>),
    Check(Check),
    Publish(Publish),
    List(List),
    Withdraw(Withdraw),
    Replace(Replace),
    Show(Show),
    Simulate(Simulate),
    Templates(Templates),
    Open(Open),
}

/// Check an offer before anybody agrees to it: what each clause does, and what looks wrong.
///
/// Checks its signature too. Exit code 1 if it cannot be parsed: then no host of this version can enforce it.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  hospes offer check iris.offer")]
struct Check {
    /// An offer's identifier in the market, or a file.
    offer: Reference,
}

/// Ask the host whether an offer would allow a call, and why not.
///
/// The host answers as if both parties had just signed the offer.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  hospes offer simulate sha256:… --function infer --input-bytes 4096 --as zoe"
)]
struct Simulate {
    /// An offer's identifier in the market.
    #[arg(value_parser = offer_id)]
    offer: Digest,
    #[command(flatten)]
    call: SimulatedCall,
}

/// List the templates, with their clauses and placeholders.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  hospes offer templates")]
struct Templates {}

/// Let the host sign for you: a consumer who accepts the offer has an agreement at once.
///
/// You sign a mandate for this offer and this host, with the limits `--max` and `--until`. A new mandate replaces the old one.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  hospes offer open sha256:… --max 1000 --until 30d --as acme"
)]
struct Open {
    /// The offer's identifier in the market.
    #[arg(value_parser = offer_id)]
    offer: Digest,
    /// Most agreements that the host may sign.
    #[arg(long, value_name = "N", value_parser = quantities::number::<u32>)]
    max: u32,
    /// Most agreements with one consumer.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    max_per_consumer: u32,
    /// When the mandate ends.
    #[arg(long, value_name = "TIME", value_parser = quantities::moment)]
    until: Moment,
}

/// Publish an offer on a host.
///
/// The bundle must already be live there, under your account.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  hospes offer publish iris.offer --as acme")]
struct Publish {
    file: PathBuf,
}

/// Show an offer in plain words.
///
/// Checks its signature first. Each clause shows what a host does about it: prevent, detect or record.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  hospes offer show iris.offer\n  hospes offer show sha256:…"
)]
struct Show {
    /// An offer's identifier in the market, or a file.
    offer: Reference,
}

impl Offer {
    pub(crate) fn run(self, context: &Context) -> Result<Answer, Failure> {
        match self.action {
            Action::New(new) => new.run(context),
            Action::Check(check) => check.run(context),
            Action::Simulate(Simulate { offer, call }) => {
                call.run(context, &format!("/api/offers/{offer}/simulate"))
            }
            Action::Templates(Templates {}) => Ok(templates()),
            Action::Open(open) => open.run(context),
            Action::Publish(publish) => publish.run(context),
            Action::List(list) => list.run(context),
            Action::Withdraw(withdraw) => withdraw.run(context),
            Action::Replace(replace) => replace.run(context),
            Action::Show(show) => {
                let offer = read(&viewer(context), &show.offer)?;
                Ok(Answer::new(
                    format!("{}\noffer {}", render_offer(offer.offer()), offer.id()),
                    summary(&offer),
                ))
            }
        }
    }
}

impl Publish {
    fn run(self, context: &Context) -> Result<Answer, Failure> {
        let bytes = document::read(&self.file)?;
        let offer = parse(&bytes, || format!("`{}` is not a valid offer", self.file.display()))?;
        let (json, Listed { id, model, .. }) = list(&context.client()?, &offer, bytes)?;
        let plain = format!(
            "offered {model} on {}\n  offer {id}\nconsumers: hospes agree {id}",
            context.host
        );
        Ok(Answer::new(plain, json))
    }
}

impl Open {
    fn run(self, context: &Context) -> Result<Answer, Failure> {
        let me = context.me()?;
        let key = me.key()?;
        let client = context.client()?;
        let (_, host): (_, Host) = client.document("/api/host")?;
        let now = context.clock.now();
        let seconds = |at: Timestamp| Timestamp::from_second(at.as_second()).unwrap_or(at);
        let mandate = Mandate {
            publisher: key.party(),
            agent: host.party,
            offer: self.offer,
            max: self.max,
            expires: seconds(self.until.resolve(now)),
            issued: seconds(now),
            max_per_consumer: Some(self.max_per_consumer),
        };
        let plain = format!(
            "the host {} may sign {} agreements under offer {} until {}, per consumer {}",
            mandate.agent, mandate.max, mandate.offer, mandate.expires, self.max_per_consumer
        );
        let signed = SignedMandate::sign(mandate, &[&key])?;
        let post = Post {
            content_type: document::ENVELOPE_TYPE,
            headers: Vec::new(),
            body: Payload::Bytes(signed.to_bytes()),
        };
        client.post(&format!("/api/offers/{}/mandate", self.offer), post)?;
        Ok(Answer::new(plain, json!(signed.content())))
    }
}

impl Check {
    fn run(self, context: &Context) -> Result<Answer, Failure> {
        let offer = read(&viewer(context), &self.offer)?;
        let warnings = warnings(offer.offer().clauses());
        let mut plain = render_offer(offer.offer());
        for warning in &warnings {
            plain += &format!("\nwarning: {warning}");
        }
        plain += &format!(
            "\nthe signature of offer {} is valid, and hosts of this version enforce all of it",
            offer.id()
        );
        let mut json = summary(&offer);
        json["warnings"] = json!(warnings);
        Ok(Answer::new(plain, json))
    }
}

/// Terms that the author may not have meant.
fn warnings(clauses: &Clauses) -> Vec<String> {
    let mut warnings = Vec::new();
    for (index, permission) in clauses.permissions.iter().enumerate() {
        if permission.constraints.is_empty() && permission.refinements.is_empty() {
            warnings.push(format!("permission {index} has no limits"));
        }
        if permission.price.is_some() && permission.constraint(Operand::Credit).is_none() {
            warnings.push(format!("permission {index} has a price but no credit: calls are owed afterwards, without a limit on the sum"));
        }
    }
    if lines(clauses).iter().any(|line| line.class == Class::Record && line.rule != "/") {
        warnings.push("clauses marked [record] are promises that no host can enforce".to_owned());
    }
    if matches!(clauses.target.versions, Versions::Range { before: None, .. }) {
        warnings.push("the offer includes versions that do not exist yet".to_owned());
    }
    warnings
}

fn templates() -> Answer {
    let mut plain = String::new();
    for template in &TEMPLATES {
        plain += &format!("{}: {}\n", template.name, template.summary);
        for line in template.lines {
            plain += &format!("    {line}\n");
        }
    }
    let json = TEMPLATES.iter().map(|template| {
        let holes = template
            .holes()
            .into_iter()
            .map(|(name, default)| json!({"name": name, "default": default}));
        json!({
            "name": template.name,
            "summary": template.summary,
            "clauses": template.lines,
            "holes": holes.collect::<Vec<_>>(),
        })
    });
    let json = json!({"templates": json.collect::<Vec<_>>()});
    Answer::new(plain, json)
}

/// The host, with the caller's account if there is one: only their parties see private offers.
fn viewer(context: &Context) -> Client {
    context.client().unwrap_or_else(|_| context.visitor())
}

/// Lists an offer, given as its bytes, in the host's market.
///
/// # Errors
/// If the host refuses it, or listed a different one.
pub fn list(
    client: &Client,
    offer: &SignedOffer,
    bytes: Vec<u8>,
) -> Result<(serde_json::Value, Listed), Failure> {
    sent(client, "/api/offers", offer, bytes)
}

fn sent(
    client: &Client,
    path: &str,
    offer: &SignedOffer,
    bytes: Vec<u8>,
) -> Result<(serde_json::Value, Listed), Failure> {
    let post = Post {
        content_type: document::ENVELOPE_TYPE,
        headers: Vec::new(),
        body: Payload::Bytes(bytes),
    };
    let (json, published): (_, Listed) = client.post(path, post)?.document()?;
    if published.id == *offer.id() {
        Ok((json, published))
    } else {
        Err(Failure::new("the host published a different offer from the one sent"))
    }
}

/// Reads an offer from the market or a file, and checks its signature.
///
/// # Errors
/// If there is none, its signature is not valid, or the host sent a different one.
pub fn read(client: &Client, reference: &Reference) -> Result<SignedOffer, Failure> {
    match reference {
        Reference::File(path) => {
            parse(&document::read(path)?, || format!("`{}` is not a valid offer", path.display()))
        }
        Reference::Id(id) => {
            let bytes = client.get(&format!("/api/offers/{id}"))?.body;
            let offer = parse(&bytes, || "the host's offer is not valid".into())?;
            if offer.id() == id {
                Ok(offer)
            } else {
                Err(Failure::new(format!("the host sent offer `{}` instead of `{id}`", offer.id())))
            }
        }
    }
}

fn parse(bytes: &[u8], wrong: impl FnOnce() -> String) -> Result<SignedOffer, Failure> {
    SignedOffer::parse(bytes).during(wrong)
}

/// Parses an offer's identifier.
fn offer_id(text: &str) -> Result<Digest, String> {
    text.parse().map_err(|_| {
        format!(
            "`{text}` is not an offer's identifier (`sha256:…`): `hospes offer list` shows those of yours, `hospes market` those of others"
        )
    })
}

fn summary(offer: &SignedOffer) -> serde_json::Value {
    let document = offer.offer();
    json!({
        "id": offer.id(),
        "publisher": document.assigner(),
        "model": document.model(),
        "versions": document.clauses().target.versions.to_string(),
        "audience": document.audience(),
        "clauses": lines(document.clauses()),
        "text": render_offer(document),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_is_named_by_its_identifier() {
        let id = Digest::of(b"an offer");
        assert_eq!(offer_id(&id.to_string()), Ok(id));
        let refused = offer_id("acme/iris").expect_err("a model's name");
        assert!(refused.contains("hospes offer list"), "{refused}");
    }
}
