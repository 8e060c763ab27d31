//! The host's own routes as data: for the OpenAPI document, and for saying which method would do. The router's `match` is
//! what is served; a test asks it for each of these.

use super::Audience;

const JSON: &str = "application/json";
const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";
const OCTETS: &str = "application/octet-stream";
const TEXT: &str = "text/plain; charset=utf-8";

/// One route.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route {
    pub(super) audience: Audience,
    pub(super) method: &'static str,
    /// With `{name}` for what a caller fills in.
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    /// The media type of the body that it takes.
    pub(super) takes: Option<&'static str>,
    /// The status and the media type of a good answer.
    pub(super) gives: (u16, &'static str),
}

const fn get(path: &'static str, gives: &'static str, summary: &'static str) -> Route {
    let audience = Audience::Everybody;
    Route { audience, method: "GET", path, summary, takes: None, gives: (200, gives) }
}

const fn post(
    path: &'static str,
    takes: &'static str,
    status: u16,
    summary: &'static str,
) -> Route {
    let (audience, takes, gives) = (Audience::Everybody, Some(takes), (status, JSON));
    Route { audience, method: "POST", path, summary, takes, gives }
}

const fn operator(route: Route) -> Route {
    Route { audience: Audience::Operator, ..route }
}

/// All of them but the fronts of other protocols, which have their own specifications.
pub(super) const ROUTES: [Route; 56] = [
    get("/api/market", JSON, "Every offer that the caller may see, with what it is for"),
    get("/api/offers/{id}", ENVELOPE, "A signed offer, byte for byte"),
    post("/api/offers", ENVELOPE, 201, "List a signed offer"),
    get("/api/offers", JSON, "The caller's own offers, and where each stands"),
    post(
        "/api/offers/{id}/withdrawal",
        JSON,
        200,
        "Take one of the caller's offers out of the market; agreements stay",
    ),
    post(
        "/api/offers/{id}/replacement",
        ENVELOPE,
        201,
        "List a signed offer and withdraw the caller's earlier one, in one step",
    ),
    post(
        "/api/offers/{id}/simulate",
        JSON,
        200,
        "Would this call be allowed under the offer, and why not",
    ),
    get(
        "/api/offers/{id}/mandate",
        ENVELOPE,
        "The mandate that lets the host agree for the publisher",
    ),
    post("/api/offers/{id}/mandate", ENVELOPE, 200, "Let the host agree for the publisher"),
    get(
        "/api/account",
        JSON,
        "The caller's account: where it stands, its keys, what was done to it, which models are backed off",
    ),
    post("/api/account/keys/{id}/revocation", JSON, 200, "Revoke one of the caller's keys"),
    post("/api/successions", ENVELOPE, 200, "Let a new key follow the account's"),
    post(
        "/api/bundles",
        OCTETS,
        201,
        "Publish a signed bundle as a version of one of the caller's models",
    ),
    get("/api/negotiations", JSON, "The caller's negotiations"),
    post("/api/negotiations", ENVELOPE, 201, "Begin a negotiation by a request or an offer"),
    get("/api/negotiations/{id}", JSON, "A negotiation: its state, and the messages so far"),
    post("/api/negotiations/{id}/request", ENVELOPE, 200, "The consumer's counter-request"),
    post("/api/negotiations/{id}/offers", ENVELOPE, 200, "The publisher's counter-offer"),
    post("/api/negotiations/{id}/events", ENVELOPE, 200, "Accept, or finalise"),
    post(
        "/api/negotiations/{id}/agreement",
        ENVELOPE,
        200,
        "The agreement, signed by the publisher",
    ),
    post(
        "/api/negotiations/{id}/agreement/verification",
        ENVELOPE,
        200,
        "The agreement, signed by the consumer",
    ),
    post("/api/negotiations/{id}/termination", ENVELOPE, 200, "End the negotiation"),
    get("/api/agreements", JSON, "The caller's agreements, with what is used of them"),
    post("/api/agreements", ENVELOPE, 201, "Hand in an agreement with one signature or both"),
    get("/api/agreements/{id}", ENVELOPE, "A signed agreement, byte for byte"),
    get("/api/agreements/{id}/events", JSON, "What happened to an agreement"),
    post("/api/agreements/{id}/events", ENVELOPE, 200, "Suspend, resume or end an agreement"),
    post("/api/agreements/{id}/simulate", JSON, 200, "Would this call be allowed, and why not"),
    get("/api/receipts", JSON, "The caller's receipts"),
    get("/api/receipts/{call}", JSON, "The proof of a call's receipt"),
    get("/api/checkpoint", TEXT, "The signed size and root of the log of receipts"),
    get(
        "/api/log/consistency",
        JSON,
        "The proof that the log has only grown: `?from=SIZE&to=SIZE`",
    ),
    get("/api/host", JSON, "The key that this host's receipts verify with"),
    get("/api/openapi.json", JSON, "This document"),
    get("/api/docs", "text/html; charset=utf-8", "This document, to try in the browser"),
    get("/{publisher}/{model}", JSON, "A model's version and its functions"),
    get(
        "/{publisher}/{model}/openapi.json",
        JSON,
        "The functions of a model as an OpenAPI document",
    ),
    get("/{publisher}/{model}/docs", "text/html; charset=utf-8", "The same, to try in the browser"),
    post(
        "/{publisher}/{model}/{function}",
        JSON,
        200,
        "Call a function; see the model's own document",
    ),
    get("/healthz", JSON, "The process answers"),
    get("/readyz", JSON, "The host takes calls"),
    operator(post("/accounts", JSON, 201, "Open an account, or make another key for it")),
    operator(get("/accounts", JSON, "Every account, and where it stands")),
    operator(get("/accounts/{name}", JSON, "An account with its keys")),
    operator(post(
        "/actions",
        JSON,
        200,
        "Suspend, close, withdraw, revoke or stop, with a reason; or give back",
    )),
    operator(get("/actions", JSON, "Every action, each with its proof in the log")),
    operator(get("/withdrawals", JSON, "What is withdrawn or frozen now")),
    operator(post("/agreements/{id}/events", JSON, 200, "Suspend or resume an agreement")),
    operator(get("/out-of-service", JSON, "Versions that could not be brought back, and why")),
    operator(post("/out-of-service/retry", JSON, 200, "Load such a version again")),
    operator(post("/out-of-service/withdraw", JSON, 200, "Take such a version away")),
    operator(get(
        "/backup",
        "application/x-tar",
        "The data directory as it is now, without the host's key",
    )),
    operator(post("/lost", JSON, 200, "Show the host receipts of its own that its log may lack")),
    operator(get("/status", JSON, "What runs here")),
    operator(get("/healthz", JSON, "The process answers")),
    operator(get("/readyz", JSON, "The host takes calls")),
];

impl Route {
    fn matches(&self, segments: &[&str]) -> bool {
        let parts = self.path.strip_prefix('/').unwrap_or_default().split('/');
        let fits = |(part, segment): (&str, &&str)| {
            if part.starts_with('{') { !segment.is_empty() } else { part == *segment }
        };
        parts.clone().count() == segments.len()
            && parts.clone().zip(segments).all(fits)
            // No account is called like the first part of another route.
            && !(segments.first() == Some(&"api") && self.path.starts_with("/{"))
    }
}

/// The methods that have a route at a path.
pub(super) fn methods(audience: Audience, segments: &[&str]) -> Vec<&'static str> {
    let routes = ROUTES.iter().filter(|route| route.audience == audience);
    routes.filter(|route| route.matches(segments)).map(|route| route.method).collect()
}
