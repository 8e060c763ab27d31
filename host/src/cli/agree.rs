//! `hospes agree`: a consumer reads an offer, signs it, and hands it in.

use clap::Args;
use serde_json::json;

use super::Context;
use super::agreement;
use super::document::Reference;
use super::failure::Failure;
use super::offer;
use super::screen::Answer;
use crate::agreement::{Agreement, Proposal, render};

/// Agree to an offer.
///
/// Shows the whole agreement in plain words, asks, signs it with your key and hands it to the host. It comes into force when
/// the publisher has signed it too. Agreeing to the same offer twice makes two agreements.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  hospes market\n  hospes agree sha256:… --as me")]
pub struct Agree {
    /// An offer's number in the market, or a file.
    offer: Reference,
    /// Sign without asking.
    #[arg(long, short)]
    yes: bool,
}

impl Agree {
    pub fn run(self, context: &Context) -> Result<Answer, Failure> {
        let me = context.me()?;
        let key = me.key()?;
        let client = context.client()?;
        let offer = offer::read(&client, &self.offer)?;
        let document = Agreement::accept(&offer, key.party(), context.clock.now())?;
        context.screen.note(&render(&document));
        if !self.yes {
            context.screen.confirm(&format!("sign this as consumer `{}`?", me.name()))?;
        }
        let proposal = Proposal::sign(document, &key)?;
        let submitted = agreement::submit(&client, &proposal)?;
        let (id, state) = (submitted.id, &submitted.state);
        let mut plain = format!("signed and handed in\n  agreement {id}\n  state     {state}");
        if submitted.is_proposed() {
            plain +=
                &format!("\nthe publisher signs next: hospes agreement sign {id} --as PUBLISHER");
        }
        let json = json!({
            "id": id,
            "state": state,
            "missing": submitted.missing,
            "offer": offer.id(),
            "model": offer.offer().model(),
        });
        Ok(Answer::new(plain, json))
    }
}
