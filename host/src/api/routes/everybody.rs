//! The public listener's routes.

use super::super::paging::Page;
use super::super::pieces::EVENTS;
use super::super::problem::ProblemKind::{
    self, AccountStopped, AgreementRefused, BundleRefused, Conflict, EventRefused,
    InvalidArguments, LimitReached, NegotiationRefused, NotFound, NotPermitted, OfferRefused,
    OutputRefused, PluginDeadline, PluginFailed, PluginRefused, Withdrawn,
};
use super::super::{
    account, agreements, functions, health, market, negotiations, offers, openapi, publish,
    receipts,
};
use super::Access::{Account, Anybody, Visitor};
use super::parameters::{AGREEMENT, KEY, NEGOTIATION, OF_FUNCTION, OF_MODEL, OFFER, PART, RECEIPT};
use super::{
    Body, Content, HTML, Handler, JSON, Route, asks, bytes, envelope, get, json, later, post, text,
    typed,
};
use crate::wire::{self, agreements::Report, agreements::SimulatedCall, negotiations as talks};

/// A call's answer: what the function returns, as JSON or bytes, or a stream of it.
const ANSWER: Body =
    Body { media: &[JSON, "application/octet-stream", EVENTS], content: Content::Json };

/// A call's problems, besides the usual.
const CALL_FAILS: &[ProblemKind] = &[
    InvalidArguments,
    NotPermitted,
    NotFound,
    Withdrawn,
    PluginRefused,
    LimitReached,
    PluginFailed,
    OutputRefused,
    PluginDeadline,
];

/// The problems of a negotiation's step.
const STEP_FAILS: &[ProblemKind] =
    &[NegotiationRefused, Conflict, NotFound, OfferRefused, AgreementRefused, Withdrawn];

/// A call of a function.
pub(super) const CALL: Route = post(
    "/{publisher}/{model}/{function}",
    Account,
    (json(), ANSWER),
    "Call a function",
    Handler::Call,
)
.of(&OF_FUNCTION)
// The arguments may be in the query, or there may be none.
.body_is_optional()
.fails(CALL_FAILS);

pub(super) static MODELS: [Route; 6] = [
    CALL,
    get(
        "/{publisher}/{model}",
        Visitor,
        typed::<wire::models::Description>(),
        "A model's version and its functions",
        Handler::Now(|host, [publisher, model, ..], request| {
            functions::describe(host, publisher, model, request)
        }),
    )
    .of(&OF_MODEL)
    .fails(&[AccountStopped, NotFound, Withdrawn]),
    get(
        "/{publisher}/{model}/openapi.json",
        Visitor,
        json(),
        "The functions of a model as an OpenAPI document",
        later!(|host, [publisher, model, ..], request| {
            openapi::of_model(host, publisher, model, &request)
        }),
    )
    .of(&OF_MODEL)
    .cached()
    .fails(&[AccountStopped, NotFound, Withdrawn]),
    get(
        "/{publisher}/{model}/docs",
        Anybody,
        text(&[HTML]),
        "The functions of a model, to try in the browser",
        Handler::Now(|_, _, request| Ok(openapi::page(request.uri().path()))),
    )
    .of(&OF_MODEL),
    get(
        "/{publisher}/{model}/docs/chat",
        Anybody,
        text(&[HTML]),
        "A page to talk to a language model",
        Handler::Now(|_, _, request| Ok(openapi::chat(request.uri().path()))),
    )
    .of(&OF_MODEL),
    post(
        "/api/bundles",
        Account,
        (bytes(&["application/octet-stream"]), typed::<wire::models::Published>()),
        "Publish a signed bundle as a version of one of your models",
        later!(|host, _, request| publish::publish(host, request)),
    )
    .creates()
    .fails(&[BundleRefused, Conflict, Withdrawn]),
];

pub(super) static AGREEMENTS: [Route; 24] = [
    get(
        "/api/market",
        Visitor,
        typed::<wire::market::Page>(),
        "The offers that you can see, with their models",
        asks!(market::Wanted, |host, asked, request| market::list(host, asked, request)),
    )
    .cached()
    .fails(&[NotFound]),
    get(
        "/api/offers/{id}",
        Visitor,
        envelope(),
        "A signed offer, byte for byte; private ones for their parties only",
        Handler::Now(|host, [id, ..], request| market::show(host, id, request)),
    )
    .of(&[OFFER])
    .fails(&[NotFound, Withdrawn]),
    post(
        "/api/offers",
        Account,
        (envelope(), typed::<wire::offers::Listed>()),
        "List a signed offer",
        later!(|host, _, request| market::publish(host, request)),
    )
    .creates()
    .fails(&[OfferRefused, Withdrawn]),
    get(
        "/api/offers",
        Account,
        typed::<wire::offers::Page>(),
        "Your own offers, with their states",
        asks!(Page<{ offers::LIST_MAX }>, |host, asked, request| {
            offers::list(host, asked, request)
        }),
    )
    .fails(&[NotFound]),
    post(
        "/api/offers/{id}/withdrawal",
        Account,
        (typed::<wire::offers::Withdraw>(), typed::<wire::offers::Withdrawn>()),
        "Withdraw your offer: no new agreements, and existing ones stay",
        later!(|host, [id, ..], request| offers::withdraw(host, id, request)),
    )
    .of(&[OFFER])
    .body_is_optional()
    .fails(&[NotFound]),
    post(
        "/api/offers/{id}/replacement",
        Account,
        (envelope(), typed::<wire::offers::Listed>()),
        "List a signed offer and withdraw your earlier one of the same model, both or neither",
        later!(|host, [id, ..], request| offers::replace(host, id, request)),
    )
    .of(&[OFFER])
    .creates()
    .fails(&[OfferRefused, NotFound, Withdrawn]),
    post(
        "/api/offers/{id}/simulate",
        Account,
        (typed::<SimulatedCall>(), typed::<Report>()),
        "Whether the offer would allow a call, and why not",
        later!(|host, [id, ..], request| market::simulate(host, id, request)),
    )
    .of(&[OFFER])
    .fails(&[NotFound, Withdrawn, OfferRefused]),
    get(
        "/api/offers/{id}/mandate",
        Visitor,
        envelope(),
        "The signed mandate that lets the host sign for the publisher",
        later!(|host, [id, ..], request| market::mandate_of(host, id, &request)),
    )
    .of(&[OFFER])
    .fails(&[NotFound]),
    post(
        "/api/offers/{id}/mandate",
        Account,
        (envelope(), typed::<wire::offers::Mandate>()),
        "Let the host sign for you as the publisher",
        later!(|host, [id, ..], request| market::mandate(host, id, request)),
    )
    .of(&[OFFER])
    .fails(&[NotFound, AgreementRefused]),
    get(
        "/api/agreements",
        Account,
        typed::<wire::agreements::Page>(),
        "Your agreements, with what is used and left of each limit",
        asks!(Page<{ agreements::LIST_MAX }>, |host, asked, request| {
            agreements::list(host, asked, request)
        }),
    )
    .fails(&[NotFound]),
    post(
        "/api/agreements",
        Account,
        (envelope(), typed::<wire::agreements::Submitted>()),
        "Submit an agreement with one signature or both; the host joins signatures",
        later!(|host, _, request| agreements::submit(host, request)),
    )
    .fails(&[AgreementRefused, NotFound]),
    get(
        "/api/agreements/{id}",
        Account,
        envelope(),
        "A signed agreement, byte for byte",
        later!(|host, [id, ..], request| agreements::show(host, id, &request)),
    )
    .of(&[AGREEMENT])
    .fails(&[NotFound]),
    get(
        "/api/agreements/{id}/events",
        Account,
        typed::<wire::agreements::History>(),
        "An agreement's signed events",
        later!(|host, [id, ..], request| agreements::events(host, id, &request)),
    )
    .of(&[AGREEMENT])
    .fails(&[NotFound]),
    post(
        "/api/agreements/{id}/events",
        Account,
        (envelope(), typed::<wire::agreements::History>()),
        "Suspend, resume or end an agreement",
        later!(|host, [id, ..], request| agreements::event(host, id, request)),
    )
    .of(&[AGREEMENT])
    .fails(&[EventRefused, Conflict, NotFound]),
    post(
        "/api/agreements/{id}/simulate",
        Account,
        (typed::<SimulatedCall>(), typed::<Report>()),
        "Whether a call would be allowed, and why not",
        later!(|host, [id, ..], request| agreements::simulate(host, id, request)),
    )
    .of(&[AGREEMENT])
    .fails(&[NotFound]),
    get(
        "/api/negotiations",
        Account,
        typed::<talks::Page>(),
        "Your negotiations",
        asks!(negotiations::Wanted, |host, asked, request| async {
            negotiations::list(host, asked, request)
        }),
    ),
    post(
        "/api/negotiations",
        Account,
        (envelope(), typed::<talks::Shown>()),
        "Begin a negotiation, by a request or an offer",
        later!(|host, _, request| negotiations::begin(host, request)),
    )
    .creates()
    .fails(&[NegotiationRefused, OfferRefused, Withdrawn]),
    get(
        "/api/negotiations/{id}",
        Account,
        typed::<talks::Shown>(),
        "A negotiation: its state, and the messages so far",
        later!(|host, [id, ..], request| negotiations::show(host, id, &request)),
    )
    .of(&[NEGOTIATION])
    .fails(&[NotFound]),
    step("/api/negotiations/{id}/request", "The consumer's counter-request"),
    step("/api/negotiations/{id}/offers", "The publisher's counter-offer"),
    step("/api/negotiations/{id}/events", "Accept, or finalise"),
    step("/api/negotiations/{id}/agreement", "The agreement, signed by the publisher"),
    step("/api/negotiations/{id}/agreement/verification", "The agreement, signed by the consumer"),
    step("/api/negotiations/{id}/termination", "End the negotiation"),
];

/// The next message of a negotiation. The path's last segment names its intended kind; the document decides.
const fn step(path: &'static str, summary: &'static str) -> Route {
    post(
        path,
        Account,
        (envelope(), typed::<talks::Shown>()),
        summary,
        later!(|host, [id, ..], request| negotiations::step(host, id, request)),
    )
    .of(&[NEGOTIATION])
    .fails(STEP_FAILS)
}

pub(super) static ACCOUNTS: [Route; 13] = [
    get(
        "/api/account",
        Account,
        typed::<wire::account::OwnAccount>(),
        "Your account: its standing, its keys, the operator's actions, and the models that are backed off",
        later!(|host, _, request| account::show(host, &request)),
    ),
    post(
        "/api/account/keys/{id}/revocation",
        Account,
        (typed::<wire::account::RevokeKey>(), typed::<wire::account::AccountWithKeys>()),
        "Revoke one of your API keys",
        later!(|host, [id, ..], request| account::revoke(host, id, request)),
    )
    .of(&[KEY])
    .body_is_optional()
    .fails(&[NotFound]),
    post(
        "/api/successions",
        Account,
        (envelope(), typed::<wire::account::Succession>()),
        "Replace the key that signs for you with a new one",
        later!(|host, _, request| publish::succeed(host, request)),
    )
    .fails(&[Conflict]),
    get(
        "/api/receipts",
        Account,
        typed::<wire::receipts::Page>(),
        "Your latest receipts, or all of one agreement",
        asks!(receipts::Wanted, |host, asked, request| receipts::list(host, asked, request)),
    )
    .fails(&[NotFound]),
    get(
        "/api/receipts/{call}",
        Account,
        typed::<wire::receipts::Proof>(),
        "The proof of a call's receipt",
        later!(|host, [call, ..], request| receipts::prove(host, call, &request)),
    )
    .of(&[RECEIPT])
    .fails(&[NotFound]),
    get(
        "/api/checkpoint",
        Anybody,
        text(&["text/plain; charset=utf-8"]),
        "The signed size and root of the log of receipts",
        Handler::Now(|host, _, _| receipts::checkpoint(host)),
    ),
    get(
        "/api/log/consistency",
        Anybody,
        typed::<wire::receipts::Consistency>(),
        "The proof that the log has only grown",
        asks!(receipts::Sizes, |host, asked, request| async { receipts::consistency(host, asked) }),
    )
    .fails(&[NotFound]),
    get(
        "/api/host",
        Anybody,
        typed::<wire::status::Host>(),
        "The keys that verify this host's receipts and its log",
        Handler::Now(|host, _, _| health::identity(host)),
    ),
    get(
        "/api/openapi.json",
        Anybody,
        json(),
        "These routes as an OpenAPI document",
        later!(|host, _, request| openapi::of_host(host, &request)),
    )
    .cached(),
    get(
        "/api/docs",
        Anybody,
        text(&[HTML]),
        "These routes, to try in the browser",
        Handler::Now(|_, _, request| Ok(openapi::page(request.uri().path()))),
    ),
    get(
        "/api/docs/{part}",
        Anybody,
        text(&["text/css", "text/javascript", "image/png"]),
        "The parts of these pages",
        Handler::Now(|_, [part, ..], request| openapi::asset(part, request.headers())),
    )
    .of(&[PART])
    .fails(&[NotFound]),
    LIVE,
    READY,
];

/// Liveness, on both listeners.
pub(super) const LIVE: Route = get(
    "/healthz",
    Anybody,
    typed::<wire::status::Health>(),
    "Whether the process answers",
    Handler::Now(|_, _, _| Ok(health::live())),
);

/// Readiness.
pub(super) const READY: Route = get(
    "/readyz",
    Anybody,
    typed::<wire::status::Health>(),
    "Whether the host takes calls",
    Handler::Now(|host, _, _| health::ready(host)),
);
