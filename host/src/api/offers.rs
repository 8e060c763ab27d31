//! A publisher's own offers over HTTP: listing, withdrawing and replacing them.

use std::sync::Arc;

use http::{Request, StatusCode};
use hyper::body::Incoming;

use super::answer::{Answer, done, json};
use super::aside::{aside, asker};
use super::body;
use super::intake;
use super::market::digest;
use super::paging::{Page, fill};
use super::problem::Problem;
use super::query::{Asked, Limit};
use crate::agreement::offer_lines;
use crate::host::Host;
use crate::state::market::{Own, Replacement, Stand};
use crate::wire::offers::{self, Listed, State, Withdraw, Withdrawn};

/// Maximum offers in a list.
pub(super) const LIST_MAX: usize = 100;

/// Maximum size of a request to withdraw an offer, in bytes.
const WITHDRAW_BYTES_MAX: u64 = 4096;

/// `GET /api/offers`: the caller's offers, ordered by number.
pub(super) async fn list(
    host: &Arc<Host>,
    asked: Asked<'_, Page<LIST_MAX>>,
    request: &Request<Incoming>,
) -> Result<Answer, Problem> {
    let caller = host.auth.reader(body::bearer(request.headers()))?;
    let Page { after, limit: Limit(limit) } = asked.read()?;
    aside(host, asker(&caller), move |host| {
        let own = host.market.of(&caller);
        let begin = after.map_or(0, |after| own.partition_point(|one| *one.offer.id() <= after));
        let rest = own.into_iter().skip(begin);
        let (offers, next) = fill(rest, limit, |own| *own.offer.id(), |own| Some(entry(host, own)));
        Ok(done(&offers::Page { offers, next }))
    })
    .await
}

fn entry(host: &Host, Own { offer, stand }: &Own) -> offers::Own {
    let document = offer.offer();
    let versions = &document.clauses().target.versions;
    let (state, since, reason) = match stand {
        Stand::TakenBack(at) => (State::Withdrawn, Some(*at), None),
        Stand::Withdrawn(cause) => {
            (State::WithdrawnByOperator, Some(cause.at), Some(cause.reason.to_string()))
        }
        Stand::Listed => {
            let live = host.deployments.of(document.model());
            let is_live = live.iter().any(|one| versions.cover(one.digest(), one.version()));
            (if is_live { State::Listed } else { State::NotLive }, None, None)
        }
    };
    offers::Own {
        id: *offer.id(),
        model: document.model().clone(),
        versions: versions.to_string(),
        private: !document.audience().is_empty(),
        state,
        since: since.map(|since| since.to_string()),
        reason,
        terms: offer_lines(document),
    }
}

/// `POST /api/offers/{id}/withdrawal`: withdraws one of the caller's offers. The body may be empty.
pub(super) async fn withdraw(
    host: &Arc<Host>,
    id: &str,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let id = digest(id)?;
    let (publisher, Withdraw {}) = intake::optional(host, request, WITHDRAW_BYTES_MAX).await?;
    aside(host, asker(&publisher), move |host| {
        let (offer, since) = host.market.take_back(&publisher, &id, host.clock().now())?;
        let model = offer.offer().model().clone();
        let (state, since) = (State::Withdrawn, since.to_string());
        let open_proposals = host.agreements.open_proposals(&id);
        Ok(done(&Withdrawn { id, model, state, since, open_proposals }))
    })
    .await
}

/// `POST /api/offers/{id}/replacement`: lists a signed offer and withdraws the caller's earlier one.
pub(super) async fn replace(
    host: &Arc<Host>,
    id: &str,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let old = digest(id)?;
    let (publisher, bytes) = intake::signed(host, request).await?;
    aside(host, asker(&publisher), move |host| {
        let replacement = Replacement { old, envelope: &bytes, at: host.clock().now() };
        let offer =
            host.market.replace(&publisher, replacement, &host.deployments, &host.agreements)?;
        let model = offer.offer().model().clone();
        let open_proposals = Some(host.agreements.open_proposals(&old));
        let listed = Listed { id: *offer.id(), model, replaced: Some(old), open_proposals };
        Ok(json(StatusCode::CREATED, &listed))
    })
    .await
}
