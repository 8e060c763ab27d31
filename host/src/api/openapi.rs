//! OpenAPI 3.1 documents for each model and for the host's own routes, and a page to try them in the browser.

mod chat;
mod host;
mod model;
mod page;
mod schema;

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use hyper::body::Incoming;
use serde_json::{Map, Value, json};

use super::answer::{Answer, answer_of};
use super::aside::{aside, asker};
use super::problem::{Problem, ProblemKind};
use super::{Audience, body, compression, functions, public};
use crate::host::Host;
use crate::state::deployments::{Deployment, Document, PLAIN};

pub(super) use chat::chat;
pub(super) use page::{asset, page};

/// Longer documents are decompressed off the serving threads.
const AWAY_BYTES_MIN: usize = 256 << 10;

/// Writes a version's document, which is stored with the version.
pub(super) fn describe(deployment: &Deployment, bytes_max: usize) -> Option<Document> {
    model::document(deployment, bytes_max).map(|text| Document::new(&text))
}

/// `GET /{publisher}/{model}[@ref]/openapi.json`: made when the version was published, or on the first request.
pub(super) async fn of_model(
    host: &Arc<Host>,
    publisher: &str,
    model: &str,
    request: &Request<Incoming>,
) -> Result<Answer, Problem> {
    let deployment = functions::known(host, publisher, model, request.headers())?;
    let max = host.openapi_bytes_max();
    let Some(document) = deployment.document(describe, max).await else {
        let detail = format!("the document has more than {max} bytes (`bundle.openapi_bytes_max`)");
        return Err(Problem::new(ProblemKind::NotFound, detail));
    };
    answer(host, request, document.clone()).await
}

/// `GET /api/openapi.json`.
pub(super) async fn of_host(
    host: &Arc<Host>,
    request: &Request<Incoming>,
) -> Result<Answer, Problem> {
    static DOCUMENT: LazyLock<Document> = LazyLock::new(|| written(Audience::Everybody));
    answer(host, request, DOCUMENT.clone()).await
}

/// `GET /api/openapi.json` on the operator's listener. Without `servers`: the public URL is the other listener's.
pub(super) async fn of_operator(
    host: &Arc<Host>,
    request: &Request<Incoming>,
) -> Result<Answer, Problem> {
    static DOCUMENT: LazyLock<Document> = LazyLock::new(|| written(Audience::Operator));
    kept(host, request.headers(), DOCUMENT.clone(), PLAIN.to_owned()).await
}

/// The document of a listener's routes, compressed.
fn written(audience: Audience) -> Document {
    Document::new(host::document(audience).to_string().as_bytes())
}

/// A document for this caller. A stored document has no `servers`: paths are relative to its origin. For callers who reach this host by
/// another address, `servers` is added.
async fn answer(
    host: &Arc<Host>,
    request: &Request<Incoming>,
    document: Document,
) -> Result<Answer, Problem> {
    let headers = request.headers();
    let head = match public::url(host, headers, request.extensions()) {
        None => PLAIN.to_owned(),
        Some(url) => format!("{{\"servers\":{},", json!([{"url": url.to_string()}])),
    };
    kept(host, headers, document, head).await
}

/// A stored document with `head` in place of its opening brace, encoded as the caller accepts: compressed, plain, or 304 if the caller has
/// it.
pub(super) async fn kept(
    host: &Arc<Host>,
    headers: &HeaderMap,
    document: Document,
    head: String,
) -> Result<Answer, Problem> {
    let tag = format!("\"{}\"", document.tag(&head));
    let known = headers.get(header::IF_NONE_MATCH);
    let is_known = known.is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut answer = if is_known {
        let mut answer = Answer::new(Bytes::new().into());
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        answer
    } else if compression::accepts_gzip(headers) {
        let mut answer = answer_of(document.gzip(&head), "application/json");
        let gzip = HeaderValue::from_static("gzip");
        answer.headers_mut().insert(header::CONTENT_ENCODING, gzip);
        answer
    } else if document.length() < AWAY_BYTES_MIN {
        answer_of(document.text(&head), "application/json")
    } else {
        let caller = body::bearer(headers).and_then(|key| host.auth.reader(Some(key)).ok());
        let text = aside(host, asker(caller.as_ref()), move |_| Ok(document.text(&head))).await?;
        answer_of(text, "application/json")
    };
    let headers = answer.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding, authorization"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    Ok(answer)
}

/// The problems of a route as OpenAPI responses.
fn problems(kinds: &[ProblemKind]) -> Map<String, Value> {
    let mut responses: Map<String, Value> = Map::new();
    for kind in kinds {
        let (code, status, title) = kind.parts();
        let described = responses.entry(status.as_str()).or_insert_with(|| {
            json!({
                "description": "",
                "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/problem"}}},
            })
        });
        let before = described["description"].as_str().unwrap_or_default();
        let separator = if before.is_empty() { "" } else { "; " };
        described["description"] = json!(format!("{before}{separator}{title} (`{code}`)"));
    }
    responses
}

/// How callers prove who they are: a security scheme, a bearer token in each case.
struct Scheme {
    name: &'static str,
    about: &'static str,
}

/// Accounts, on the public listener.
const KEY: Scheme = Scheme { name: "key", about: "An account's API key." };

/// The operator, on their own listener.
const TOKEN: Scheme = Scheme {
    name: "token",
    about: "The operator's token, which is in `operator.token` in the data directory.",
};

/// Common to every document: the problem schema, and the security scheme.
fn components(scheme: &Scheme) -> Value {
    let codes: Vec<_> = ProblemKind::ALL.iter().map(|kind| kind.parts().0).collect();
    let types: Vec<_> = codes.iter().map(|code| format!("urn:hospes:problem:{code}")).collect();
    json!({
        "schemas": {
            "problem": {
                "title": "Problem",
                "description": "An error, as in RFC 9457. Other members are for machines.",
                "type": "object",
                "required": ["type", "title", "status", "detail"],
                "properties": {
                    "type": {"type": "string", "enum": types},
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "detail": {"type": "string"},
                },
            },
        },
        "securitySchemes": {
            scheme.name: {"type": "http", "scheme": "bearer", "description": scheme.about},
        },
    })
}
