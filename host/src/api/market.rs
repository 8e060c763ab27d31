//! The market over HTTP: listing offers and showing them.

use std::sync::Arc;

use http::{HeaderMap, Request, StatusCode};
use hyper::body::Incoming;

use super::answer::{Answer, answer_of, done, json, text_of};
use super::aside::{aside, asker};
use super::functions::description;
use super::intake;
use super::paging::fill;
use super::problem::{Problem, ProblemKind};
use super::query::{Asked, Limit, query};
use super::{agreements, body, openapi};
use crate::agreement::{SignedOffer, offer_lines};
use crate::host::Host;
use crate::id::{Digest, ModelName};
use crate::state::accounts::Caller;
use crate::state::agreements::AgreementsError;
use crate::state::deployments::{Document, PLAIN};
use crate::wire::envelope::MEDIA_TYPE;
use crate::wire::{market, offers};

/// Maximum offers in a list.
const LIST_MAX: usize = 100;

query! {
    /// The wanted part of the market.
    Wanted {
        /// Only offers of this model.
        model: Option<ModelName>,
        /// The `next` of the previous page.
        after: Option<Digest>,
        /// The most entries per page.
        limit: Limit<LIST_MAX>,
    }
}

/// `GET /api/market`: the offers that the caller may see, with their terms, paged, ordered by model and number. Pages of public offers are
/// cached until something changes; `?model=…` selects one model.
pub(super) async fn list(
    host: &Arc<Host>,
    asked: Asked<'_, Wanted>,
    request: &Request<Incoming>,
) -> Result<Answer, Problem> {
    let viewer = viewer(host, request.headers())?;
    let Wanted { model, after, limit: Limit(limit) } = asked.read()?;
    if viewer.is_some() || model.is_some() {
        return aside(host, asker(viewer.as_ref()), move |host| {
            let (after, viewer) = (after.as_ref(), viewer.as_ref());
            let page = page(host, host.market.after(after, viewer, model.as_ref())?, limit);
            Ok(done(&page))
        })
        .await;
    }
    let stamp = host.market.stamp(&host.deployments);
    let kept = match host.market.pages().find(&(after, limit), stamp) {
        Some(kept) => kept,
        None => aside(host, asker(None), move |host| made(host, (after, limit))).await?,
    };
    openapi::kept(host, request.headers(), kept, PLAIN.to_owned()).await
}

/// A public page, cached unless the market has changed meanwhile.
fn made(host: &Host, (after, limit): (Option<Digest>, usize)) -> Result<Document, Problem> {
    let stamp = host.market.stamp(&host.deployments);
    if let Some(kept) = host.market.pages().find(&(after, limit), stamp) {
        return Ok(kept);
    }
    let page = page(host, host.market.after(after.as_ref(), None, None)?, limit);
    let made = Document::new(&text_of(&page));
    host.market.pages().keep((after, limit), stamp, &made);
    Ok(made)
}

fn page(host: &Host, some: impl Iterator<Item = Arc<SignedOffer>>, limit: usize) -> market::Page {
    let (offers, next) = fill(some, limit, |offer| *offer.id(), |offer| entry(host, offer));
    market::Page { offers, next }
}

/// The viewer, if authenticated.
fn viewer(host: &Host, headers: &HeaderMap) -> Result<Option<Caller>, Problem> {
    match body::bearer(headers) {
        Some(key) => Ok(Some(host.auth.reader(Some(key))?)),
        None => Ok(None),
    }
}

fn entry(host: &Host, offer: &SignedOffer) -> Option<market::Offer> {
    let id = offer.id();
    let offer = offer.offer();
    let versions = &offer.clauses().target.versions;
    let live = host.deployments.of(offer.model());
    let deployment = live.iter().rfind(|live| versions.cover(live.digest(), live.version()))?;
    // Only for live versions: an offer can have many.
    let terms = offer_lines(offer);
    Some(market::Offer {
        id: *id,
        description: description(deployment),
        versions: versions.to_string(),
        private: !offer.audience().is_empty(),
        terms,
    })
}

/// `GET /api/offers/{id}`: the signed offer, byte for byte.
pub(super) fn show(host: &Host, id: &str, request: &Request<Incoming>) -> Result<Answer, Problem> {
    let id = digest(id)?;
    let viewer = viewer(host, request.headers())?;
    let offer = host.market.show(&id, viewer.as_ref())?;
    Ok(envelope(offer.to_bytes()))
}

/// `POST /api/offers/{id}/simulate`: whether this call would be permitted under the offer, and if not, why.
pub(super) async fn simulate(
    host: &Arc<Host>,
    id: &str,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let id = digest(id)?;
    let (caller, call) = agreements::simulated(host, request).await?;
    let offer = host.market.show(&id, Some(&caller))?;
    aside(host, asker(&caller), move |host| {
        let report = host.agreements.simulate_offer(&caller, &offer, &call, &host.deployments)?;
        Ok(done(&report))
    })
    .await
}

/// `POST /api/offers/{id}/mandate`: lets this host sign agreements for the publisher.
pub(super) async fn mandate(
    host: &Arc<Host>,
    id: &str,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let id = digest(id)?;
    let (publisher, bytes) = intake::signed(host, request).await?;
    aside(host, asker(&publisher), move |host| {
        let offer = host.market.offer(&id).ok_or(AgreementsError::UnknownOffer(id))?;
        let is_known = |offer: &Digest| host.market.is_known(offer);
        let signed = host.agreements.mandate(&publisher, &offer, &bytes, is_known)?;
        Ok(done(signed.content()))
    })
    .await
}

/// `GET /api/offers/{id}/mandate`: the signed mandate, byte for byte, for checking what the host signed.
pub(super) async fn mandate_of(
    host: &Arc<Host>,
    id: &str,
    request: &Request<Incoming>,
) -> Result<Answer, Problem> {
    let id = digest(id)?;
    let viewer = viewer(host, request.headers())?;
    aside(host, asker(viewer.as_ref()), move |host| {
        let viewer = viewer.as_ref();
        // Agreements based on it outlive the offer.
        let mandate = host.agreements.mandate_of(&id).filter(|mandate| {
            host.market.was_visible(&id, viewer)
                || viewer
                    .is_some_and(|viewer| host.agreements.knows_mandate(viewer, mandate.content()))
        });
        let mandate = mandate.ok_or_else(|| {
            Problem::new(ProblemKind::NotFound, format!("there is no mandate for offer `{id}`"))
        })?;
        Ok(envelope(mandate.to_bytes()))
    })
    .await
}

pub(super) fn digest(id: &str) -> Result<Digest, Problem> {
    id.parse()
        .map_err(|error: crate::id::IdError| Problem::new(ProblemKind::NotFound, error.to_string()))
}

/// `POST /api/offers`: lists a signed offer.
pub(super) async fn publish(
    host: &Arc<Host>,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let (publisher, bytes) = intake::signed(host, request).await?;
    aside(host, asker(&publisher), move |host| {
        let offer = host.market.list(&publisher, &bytes, &host.deployments, &host.agreements)?;
        let model = offer.offer().model().clone();
        let id = *offer.id();
        let listed = offers::Listed { id, model, replaced: None, open_proposals: None };
        Ok(json(StatusCode::CREATED, &listed))
    })
    .await
}

/// A signed document as a response.
pub(super) fn envelope(bytes: Vec<u8>) -> Answer {
    answer_of(bytes.into(), MEDIA_TYPE)
}
