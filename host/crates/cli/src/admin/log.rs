//! `hospes admin log`: the operator's actions, verified against the host's signed log.

use clap::Args;
use serde_json::{Value, json};

use crate::Context;
use crate::client::Client;
use crate::failure::{During as _, Failure};
use crate::operator::Operator;
use crate::screen::{Answer, printable, seconds, table};
use hospes_core::id::{Digest, Party};
use hospes_receipt::{Action, ReceiptProof, Verified};
use hospes_wire::operations::ActionLog;

/// Show every action so far, and verify it.
///
/// Checks that each entry is in the host's signed log and follows the one before it. So none is missing, changed or out of order.
#[derive(Debug, Args)]
pub struct Log {
    /// The host's party, if you know it from elsewhere [default: what the host says].
    #[arg(long, value_name = "PARTY")]
    host_party: Option<Party>,
    #[command(flatten)]
    operator: Operator,
}

impl Log {
    pub fn run(self, context: &Context) -> Result<Answer, Failure> {
        let client = self.operator.client(context)?;
        let actions = verified(&client, self.host_party)?;
        let rows: Vec<_> = actions.iter().map(|action| row(action)).collect();
        let plain = match rows.is_empty() {
            true => "there are no actions yet".to_owned(),
            false => {
                let header = ["NUMBER", "AT", "BY", "ACTION", "TARGET", "REASON"];
                let count = rows.len();
                format!(
                    "{}verified: {count} in the host's log, none missing",
                    table(&header, &rows)
                )
            }
        };
        let json: Vec<_> = actions.iter().map(shown).collect();
        Ok(Answer::new(printable(&plain), json!({"verified": true, "actions": json})))
    }
}

/// Every action. Verifies that each is in the host's log and follows the one before it.
fn verified(client: &Client, host: Option<Party>) -> Result<Vec<Verified<Action>>, Failure> {
    let mut actions: Vec<Verified<Action>> = Vec::new();
    loop {
        let path = format!("/actions?from={}", actions.len());
        let (_, page): (Value, ActionLog) = client.document(&path)?;
        let host = host.unwrap_or(page.party);
        for entry in &page.actions {
            let number = actions.len() as u64;
            let proof = ReceiptProof::parse(entry.proof.to_string().as_bytes())?;
            let action = proof
                .verify_action(&host)
                .during(|| format!("action {number} is not proven to be in the host's log"))?;
            let previous = actions.last().map_or(Digest::from_bytes([0; 32]), |last| *last.hash());
            let follows = actions.last().is_none_or(|last| last.index() < action.index());
            if (action.sequence, action.previous) != (number, previous) || !follows {
                return Err(Failure::new(format!(
                    "action {number} does not follow the one before it: an action is missing, or was inserted later"
                )));
            }
            actions.push(action);
        }
        let total = usize::try_from(page.total).unwrap_or(usize::MAX);
        if page.actions.is_empty() && actions.len() < total {
            return Err(Failure::new(format!(
                "the host shows {} of {} actions",
                actions.len(),
                page.total
            )));
        }
        if actions.len() >= total {
            return Ok(actions);
        }
    }
}

fn row(action: &Action) -> Vec<String> {
    vec![
        action.sequence.to_string(),
        seconds(&action.at.to_string()),
        action.by.to_string(),
        action.deed.to_string(),
        action.target.to_string(),
        action.reason.to_string(),
    ]
}

fn shown(verified: &Verified<Action>) -> Value {
    let action = verified.get();
    json!({
        "sequence": action.sequence,
        "index": verified.index(),
        "id": action.id.to_string(),
        "at": action.at.to_string(),
        "by": action.by.to_string(),
        "action": action.deed.name(),
        "target": action.target,
        "reason": action.reason,
    })
}
