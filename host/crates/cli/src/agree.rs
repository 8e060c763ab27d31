//! `hospes agree`: a consumer reads an offer, signs it, and submits it.

use std::str::FromStr;

use clap::Args;
use serde_json::{Value, json};

use super::Context;
use super::agreement;
use super::client::Client;
use super::document::Reference;
use super::failure::Failure;
use super::offer;
use super::screen::{Answer, printable};
use hospes_agreement::{Agreement, Proposal, Role, SignedOffer};
use hospes_core::id::{IdError, ModelName};
use hospes_wire::market;

/// Agree to an offer.
///
/// Shows the whole agreement in plain words, asks, signs it with your key and submits it to the host. It comes into force when
/// the publisher has signed it too. Agreeing to the same offer twice makes two agreements.
///
/// A model's name stands for its offer if the market shows you exactly one.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  hospes market\n  hospes agree acme/iris --as me\n  hospes agree sha256:… --as me"
)]
pub struct Agree {
    /// A model, an offer's identifier in the market, or a file (anything that starts with `./` is a file).
    #[arg(value_name = "OFFER")]
    offer: Wanted,
    /// Sign without asking, and print one line instead of the whole text.
    #[arg(long, short)]
    yes: bool,
}

/// An offer, or the model that it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    Model(ModelName),
    Offer(Reference),
}

impl FromStr for Wanted {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.parse().map(Self::Model).or_else(|_| text.parse().map(Self::Offer))
    }
}

fn line(offer: &market::Offer) -> String {
    let private = if offer.private { ", for you" } else { "" };
    let (version, terms) = (&offer.description.version, offer.terms.join(" "));
    format!("{}  (version {version}{private}; {terms})", offer.id)
}

/// The same as JSON.
fn told(offer: &market::Offer) -> Value {
    json!({
        "id": offer.id,
        "version": offer.description.version,
        "private": offer.private,
        "terms": offer.terms,
    })
}

/// The only offer for a model that the caller can see.
fn only(client: &Client, model: &ModelName) -> Result<SignedOffer, Failure> {
    let path = format!("/api/market?model={model}");
    let (_, listing): (Value, market::Page) = client.pages(&path, "offers")?;
    match listing.offers.as_slice() {
        [] => Err(Failure::new(format!("the market has no offer for `{model}`"))
            .fix("`hospes market` lists the offers")),
        [one] => {
            let offer = offer::read(client, &Reference::Id(one.id))?;
            if offer.offer().model() == model {
                Ok(offer)
            } else {
                let other = offer.offer().model();
                Err(Failure::new(format!("the host named an offer for `{other}` instead")))
            }
        }
        several => {
            let lines: Vec<_> = several.iter().map(line).collect();
            let message = format!(
                "the market has {} offers for `{model}`:\n{}",
                several.len(),
                printable(&lines.join("\n"))
            );
            Err(Failure::new(message)
                .fix("say which one: `hospes agree sha256:…`")
                .details(json!({"offers": several.iter().map(told).collect::<Vec<_>>()})))
        }
    }
}

impl Agree {
    pub fn run(self, context: &Context) -> Result<Answer, Failure> {
        let me = context.me()?;
        let key = me.key()?;
        let client = context.client()?;
        let offer = match &self.offer {
            Wanted::Model(model) => only(&client, model)?,
            Wanted::Offer(reference) => offer::read(&client, reference)?,
        };
        let document = Agreement::accept(&offer, key.party(), context.clock.now())?;
        agreement::ask(context, &document, (Role::Consumer, me.name()), self.yes)?;
        let proposal = Proposal::sign(document, &key)?;
        let submitted = agreement::submit(&client, &proposal)?;
        let (id, state) = (submitted.id, &submitted.state);
        let mut plain = format!("signed and submitted\n  agreement {id}\n  state     {state}");
        if let Some(why) = &submitted.why {
            plain += &format!("\nthe host did not sign for the publisher: {}", printable(why));
        }
        if agreement::is_proposed(&submitted) {
            plain +=
                &format!("\nthe publisher signs next: hospes agreement sign {id} --as PUBLISHER");
        }
        let json = json!({
            "id": id,
            "state": state,
            "missing": submitted.missing,
            "why": submitted.why,
            "offer": offer.id(),
            "model": offer.offer().model(),
        });
        Ok(Answer::new(plain, json))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hospes_core::id::Digest;

    #[test]
    fn a_name_is_a_model_and_anything_else_an_offer() {
        let id = Digest::of(b"x");
        assert_eq!(id.to_string().parse(), Ok(Wanted::Offer(Reference::Id(id))));
        let model = "acme/iris".parse().expect("a name");
        assert_eq!("acme/iris".parse(), Ok(Wanted::Model(model)));
        for file in ["./acme/iris", "acme/iris.offer", "iris.offer"] {
            assert_eq!(file.parse(), Ok(Wanted::Offer(Reference::File(file.into()))), "{file}");
        }
        assert!("sha256:12".parse::<Wanted>().is_err());
    }
}
