//! Receipts over HTTP, with proofs that the parties of a call can check without this host.

use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;

use super::answer::{Answer, answer_of, done};
use super::aside::{aside, asker};
use super::body;
use super::problem::{Problem, ProblemKind};
use super::query::{Asked, Form, Limit, Value, query};
use crate::host::Host;
use crate::id::{CallId, Digest};
use crate::receipt::{Log, Receipt, ReceiptError};
use crate::state::accounts::Caller;
use crate::wire::receipts;

/// Maximum receipts in a list.
const LIST_MAX: usize = 100;

impl Value for CallId {
    const FORM: Form = Form::Uuid;

    fn read(_: &str, text: &str) -> Result<Self, Problem> {
        text.parse().map_err(|_| not_yours(text))
    }
}

query! {
    /// The wanted part of the list of receipts.
    Wanted {
        /// All receipts of this agreement.
        agreement: Option<Digest>,
        /// The `next` of the previous page.
        after: Option<CallId>,
        /// The most entries per page.
        limit: Limit<LIST_MAX>,
    }
}

/// `GET /api/receipts`: the caller's receipts, as consumer or publisher, newest first. For one agreement all of them, paged; otherwise the
/// latest.
pub(super) async fn list(
    host: &Arc<Host>,
    asked: Asked<'_, Wanted>,
    request: &Request<Incoming>,
) -> Result<Answer, Problem> {
    let caller = host.auth.reader(body::bearer(request.headers()))?;
    let Wanted { agreement, after, limit: Limit(limit) } = asked.read()?;
    if let Some(agreement) = &agreement {
        host.agreements.find(&caller, agreement)?;
    }
    aside(host, asker(&caller), move |host| {
        let log = host.receipts.log();
        // One more than shown, to know whether there is more.
        let listed = match agreement {
            Some(agreement) => log.under(&agreement, after.as_ref(), limit + 1),
            None => recent(log, &caller, after.as_ref(), limit + 1),
        };
        let mut receipts = match listed {
            Err(ReceiptError::NotFound(call)) => return Err(not_yours(&call.to_string())),
            Err(error) => return Err(Problem::internal(&error)),
            Ok(receipts) => receipts,
        };
        let more = receipts.len() > limit;
        receipts.truncate(limit);
        let next = receipts.last().filter(|_| more).map(|receipt| receipt.call.to_string());
        let receipts: Vec<_> = receipts.iter().map(entry).collect();
        Ok(done(&receipts::Page { receipts, next }))
    })
    .await
}

fn not_yours(call: &str) -> Problem {
    let detail = format!("you have no receipt for call `{call}` in this list");
    Problem::new(ProblemKind::NotFound, detail)
}

/// The latest receipts of all the caller's current and former keys.
fn recent(
    log: &Log,
    caller: &Caller,
    after: Option<&CallId>,
    limit: usize,
) -> Result<Vec<Receipt>, ReceiptError> {
    let mut indices = Vec::new();
    for party in caller.parties() {
        indices.extend(log.recent_places(party));
    }
    // A call between two keys of one party is in both lists.
    indices.sort_unstable_by_key(|index| std::cmp::Reverse(*index));
    indices.dedup();
    if let Some(call) = after {
        let place = log.place_of(call).filter(|place| indices.contains(place));
        let place = place.ok_or(ReceiptError::NotFound(*call))?;
        indices.retain(|index| *index < place);
    }
    indices.into_iter().take(limit).map(|index| log.at(index)).collect()
}

/// `GET /api/receipts/{call}`: the receipt with its inclusion proof. For the parties of the call only.
pub(super) async fn prove(
    host: &Arc<Host>,
    call: &str,
    request: &Request<Incoming>,
) -> Result<Answer, Problem> {
    let caller = host.auth.reader(body::bearer(request.headers()))?;
    let call = call.to_owned();
    aside(host, asker(&caller), move |host| {
        let missing = || {
            Problem::new(ProblemKind::NotFound, format!("you have no receipt for call `{call}`"))
        };
        let call: CallId = call.parse().map_err(|_| missing())?;
        let log = host.receipts.log();
        let receipt = log.find(&call).map_err(|error| Problem::internal(&error))?;
        let receipt = receipt.filter(|receipt| is_party(&caller, receipt)).ok_or_else(missing)?;
        let proof = log.proof(&receipt.call).map_err(|error| Problem::internal(&error))?;
        Ok(answer_of(proof.to_bytes().into(), "application/json"))
    })
    .await
}

/// `GET /api/checkpoint`: the latest signed state of the log.
pub(super) fn checkpoint(host: &Host) -> Result<Answer, Problem> {
    let note = host.receipts.log().checkpoint();
    Ok(answer_of(note.into(), "text/plain; charset=utf-8"))
}

query! {
    /// Two sizes of the log.
    Sizes {
        /// How many leaves the earlier log had.
        from: u64,
        /// How many the later one had; the latest signed size by default.
        to: Option<u64>,
    }
}

/// `GET /api/log/consistency?from=SIZE&to=SIZE`: a proof that the log of size `from` is a prefix of the later one, by default the latest
/// signed one.
pub(super) fn consistency(host: &Host, asked: Asked<'_, Sizes>) -> Result<Answer, Problem> {
    let log = host.receipts.log();
    let Sizes { from, to } = asked.read()?;
    let proof = log.consistency(from, to.unwrap_or_else(|| log.signed_size()));
    let proof = proof.map_err(|error| Problem::new(ProblemKind::NotFound, error.to_string()))?;
    Ok(answer_of(proof.to_bytes().into(), "application/json"))
}

fn is_party(caller: &Caller, receipt: &Receipt) -> bool {
    caller.is(&receipt.caller) || caller.is(&receipt.publisher)
}

fn entry(receipt: &Receipt) -> receipts::Receipt {
    receipts::Receipt {
        call: receipt.call.to_string(),
        at: receipt.at.to_string(),
        model: receipt.model.clone(),
        function: receipt.function.clone(),
        result: receipt.result.to_string(),
        agreement: receipt.agreement,
        used: receipt.used,
        max: receipt.max,
    }
}
