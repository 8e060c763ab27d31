//! `hospes market`: what can be had on a host.

use clap::Args;
use serde::Deserialize;

use super::Context;
use super::failure::Failure;
use super::screen::{Answer, printable, table};

/// List the offers on a host.
///
/// One line an offer; with `--long`, what each model does, its functions and the terms in plain words. Anybody may look; to use
/// a model, agree to its offer with `hospes agree`.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  hospes market --long\n  hospes agree sha256:… --as me")]
pub struct Market {
    /// Show functions and terms too.
    #[arg(long, short)]
    long: bool,
}

#[derive(Deserialize)]
struct Listing {
    offers: Vec<Offer>,
}

#[derive(Deserialize)]
struct Offer {
    id: String,
    model: String,
    version: String,
    summary: String,
    licence: String,
    publisher: String,
    functions: Vec<Function>,
    terms: Vec<String>,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    signature: String,
}

impl Market {
    pub fn run(self, context: &Context) -> Result<Answer, Failure> {
        let (json, listing): (_, Listing) = context.visitor().pages("/api/market", "offers")?;
        let plain = if listing.offers.is_empty() {
            "nothing is offered on this host yet".to_owned()
        } else if self.long {
            listing.offers.iter().map(page).collect::<Vec<_>>().join("\n")
        } else {
            let rows: Vec<_> = listing.offers.iter().map(row).collect();
            table(&["MODEL", "VERSION", "LICENCE", "FUNCTIONS", "OFFER"], &rows)
        };
        Ok(Answer::new(printable(&plain), json))
    }
}

fn row(offer: &Offer) -> Vec<String> {
    let functions: Vec<&str> = offer.functions.iter().map(|f| f.name.as_str()).collect();
    vec![
        offer.model.clone(),
        offer.version.clone(),
        offer.licence.clone(),
        functions.join(", "),
        offer.id.clone(),
    ]
}

fn page(offer: &Offer) -> String {
    let Offer { id, model, version, summary, licence, publisher, functions, terms } = offer;
    let mut page = format!("{model} {version}  ({licence})\n  {summary}\n");
    for Function { name, signature } in functions {
        // A signature may or may not begin with the function's name.
        page += &if signature.starts_with(name.as_str()) {
            format!("  {signature}\n")
        } else {
            format!("  {name}{signature}\n")
        };
    }
    page += &format!("  offered by {publisher}\n");
    for term in terms {
        page += &format!("    {term}\n");
    }
    page + &format!("  offer {id}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_is_a_readable_page() {
        let document = r#"{"offers":[{"id":"sha256:00","model":"acme/iris","version":"1.0.0","bundle":"sha256:11",
            "summary":"Sorts flowers.","licence":"MIT","publisher":"did:key:z6Mk",
            "functions":[{"name":"infer","signature":"infer(x: list<f32>) -> list<f32>"}],"terms":["100 calls"],"later":1}]}"#;
        let listing: Listing =
            serde_json::from_str(document).expect("unknown members are passed over");
        let page = page(&listing.offers[0]);
        assert_eq!(
            page,
            "acme/iris 1.0.0  (MIT)\n  Sorts flowers.\n  infer(x: list<f32>) -> list<f32>\n  \
             offered by did:key:z6Mk\n    100 calls\n  offer sha256:00\n"
        );
    }
}
