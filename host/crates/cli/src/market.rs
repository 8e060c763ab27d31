//! `hospes market`: the offers on a host.

use std::fmt::Display;

use clap::Args;

use super::Context;
use super::failure::Failure;
use super::origin::{figure, trained_by};
use super::screen::{Answer, printable, table};
use hospes_wire::market::{Offer, Page};
use hospes_wire::models::{Base, DataSet, Derivation, Description, Evaluation, Function, Lineage};

/// List the offers on a host.
///
/// Prints one line per offer. With `--long`, also what each model does, its functions and the terms in plain words. Needs no
/// account. To use a model, agree to its offer with `hospes agree`.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  hospes market --long\n  hospes agree sha256:… --as me")]
pub struct Market {
    /// Show functions and terms too.
    #[arg(long, short)]
    long: bool,
}

impl Market {
    pub fn run(self, context: &Context) -> Result<Answer, Failure> {
        let (json, listing): (_, Page) = context.visitor().pages("/api/market", "offers")?;
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
    let Description { model, version, licence, functions, .. } = &offer.description;
    let functions: Vec<&str> = functions.iter().map(|f| f.name.as_str()).collect();
    vec![
        model.to_string(),
        version.clone(),
        licence.clone(),
        functions.join(", "),
        offer.id.to_string(),
    ]
}

fn page(offer: &Offer) -> String {
    let Offer { id, description, terms, .. } = offer;
    let Description { model, version, summary, licence, publisher, functions, .. } = description;
    let mut page = format!("{model} {version}  ({licence})\n  {summary}\n");
    for Function { name, signature } in functions {
        // Not every signature begins with the function's name.
        page += &if signature.starts_with(name.as_str()) {
            format!("  {signature}\n")
        } else {
            format!("  {name}{signature}\n")
        };
    }
    page += &quality(description);
    page += &format!("  offered by {publisher}\n");
    for term in terms {
        page += &format!("    {term}\n");
    }
    page + &format!("  offer {id}\n")
}

/// How good the model is, and where it comes from.
fn quality(description: &Description) -> String {
    let Description { evaluations, derived_from, lineage, .. } = description;
    let mut page = String::new();
    for one in evaluations {
        let Evaluation { metric, value, low, high, data, rows, by, .. } = one;
        page += &figure(metric, (*value, low.zip(*high)), (data, *rows), by);
    }
    for Derivation { bundle, model, how } in derived_from {
        if let Some(digest) = bundle.as_ref().or(model.as_ref()) {
            page += &format!("  {how} from {digest}\n");
        }
    }
    if let Some(lineage) = lineage {
        let Lineage { signer, slsa_build_level, trainer, model, data, base, .. } = lineage;
        let how = lineage.model_then.as_ref().map(|how| how as &dyn Display);
        page += &trained_by(trainer, model, lineage.model_in_bundle, how);
        let who = match lineage.signer_is_publisher {
            true => "the publisher",
            false => "who is not the publisher",
        };
        page += &format!(", says {signer}, {who} (SLSA build level {slsa_build_level})\n");
        for DataSet { name, digest, licence, .. } in data {
            let licence = licence.as_deref().unwrap_or("no licence stated");
            page += &format!("    on {name} {digest}, {licence}\n");
        }
        if let Some(Base { name, sha256 }) = base {
            page += &format!("    from {name} {sha256}\n");
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_is_a_readable_page() {
        let id = format!("sha256:{}", "0d".repeat(32));
        let publisher = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp";
        let document = serde_json::json!({"offers": [{
            "id": id, "model": "acme/iris", "version": "1.0.0", "digest": id, "summary": "Sorts flowers.",
            "licence": "MIT", "publisher": publisher, "private": false, "terms": ["100 calls"], "later": 1,
            "functions": [{"name": "infer", "signature": "infer(x: list<f32>) -> list<f32>"}],
        }]});
        let listing: Page =
            serde_json::from_value(document).expect("unknown members are passed over");
        let page = page(&listing.offers[0]);
        assert_eq!(
            page,
            format!(
                "acme/iris 1.0.0  (MIT)\n  Sorts flowers.\n  infer(x: list<f32>) -> list<f32>\n  \
                 offered by {publisher}\n    100 calls\n  offer {id}\n"
            )
        );
    }

    #[test]
    fn an_offer_says_how_good_the_model_is_and_where_it_comes_from() {
        let id = format!("sha256:{}", "0d".repeat(32));
        let party = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp";
        let mut offer = serde_json::json!({
            "id": id, "model": "acme/iris", "version": "1.0.0", "digest": id, "summary": "Sorts flowers.",
            "licence": "MIT", "publisher": party, "private": false, "terms": [], "functions": [],
            "evaluations": [
                {"data": "test", "metric": "accuracy", "value": 0.9, "low": 0.88, "high": 0.92, "rows": 1000, "by": "evaluation"},
                {"data": "imdb", "metric": "f1", "value": 0.5, "by": "publisher"},
            ],
            "derived_from": [{"model": id, "how": "optimised"}],
            "lineage": {
                "signer": party, "signer_is_publisher": true, "model": id, "model_in_bundle": true, "slsa_build_level": 1, "trainer": "hospes-train 0.1.0", "finished": "2026-11-30T06:10:00Z",
                "recipe": id, "data": [{"name": "train", "digest": id, "bytes": 4, "licence": "CC0-1.0"}],
                "base": {"name": "acme/embed@1.0.0", "sha256": id},
            },
        });
        let read = |offer: &serde_json::Value| -> Offer {
            serde_json::from_value(offer.clone()).expect("an offer")
        };
        assert_eq!(
            page(&read(&offer)),
            format!(
                "acme/iris 1.0.0  (MIT)\n  Sorts flowers.\n  \
                 accuracy 0.9 (0.8800 to 0.9200) on test, 1000 rows, found by `hospes evaluate`\n  \
                 f1 0.5 on imdb, stated by the publisher\n  optimised from {id}\n  \
                 trained by hospes-train 0.1.0, says {party}, the publisher (SLSA build level 1)\n    \
                 on train {id}, CC0-1.0\n    from acme/embed@1.0.0 {id}\n  offered by {party}\n  offer {id}\n"
            )
        );
        // Somebody else's training of a model that this one is only said to be made from.
        offer["lineage"]["signer_is_publisher"] = false.into();
        offer["lineage"]["model_in_bundle"] = false.into();
        offer["lineage"]["model_then"] = "optimised".into();
        let page = page(&read(&offer));
        let line = format!(
            "\n  the model that this one was optimised from, as its publisher says, was trained by hospes-train 0.1.0: {id}, \
             says {party}, who is not the publisher (SLSA build level 1)\n"
        );
        assert!(page.contains(&line) && !page.contains("\n  trained by"), "{page}");
    }
}
