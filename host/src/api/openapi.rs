//! OpenAPI 3.1 documents, of each model and of the host's own routes, and a page to try them in the browser.

mod host;
mod model;
mod page;
mod schema;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use hyper::body::Incoming;
use serde_json::{Map, Value, json};

use super::answer::{Answer, answer_of};
use super::problem::{Problem, ProblemKind};
use super::{compression, functions, public};
use crate::deployments::{Deployment, Document};
use crate::host::Host;

pub(super) use page::{asset, page};

/// Documents longer than this are inflated away from the threads that serve.
const AWAY_BYTES_MIN: usize = 256 << 10;

/// Writes the document of a version, to be kept with it.
pub(super) fn describe(deployment: &Deployment, bytes_max: usize) -> Option<Document> {
    model::document(deployment, bytes_max).map(|text| Document::new(&text))
}

/// `GET /{publisher}/{model}[@ref]/openapi.json`: the document was made when the version was published, or when somebody asked first.
pub(super) async fn of_model(
    host: &Host,
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
    let servers = servers(host, request);
    if servers != json!([{"url": "/"}]) {
        let text = elsewhere(document, &servers);
        return Ok(answer_of(text, "application/json"));
    }
    Ok(kept(document, request.headers()))
}

/// A kept document as the caller accepts it: compressed as it is kept, as text, or not at all if the caller has it.
pub(super) fn kept(document: &Document, headers: &HeaderMap) -> Answer {
    let tag = format!("\"{}\"", document.digest());
    let known = headers.get(header::IF_NONE_MATCH);
    let is_known = known.is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut answer = if is_known {
        let mut answer = Answer::new(Bytes::new().into());
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        answer
    } else if compression::accepts_gzip(headers) {
        let mut answer = answer_of(document.gzip(), "application/json");
        let gzip = HeaderValue::from_static("gzip");
        answer.headers_mut().insert(header::CONTENT_ENCODING, gzip);
        answer
    } else if document.length() < AWAY_BYTES_MIN {
        answer_of(document.text(), "application/json")
    } else {
        answer_of(tokio::task::block_in_place(|| document.text()), "application/json")
    };
    let headers = answer.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding, authorization"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    answer
}

/// The document for callers who reach this host by another address than its own. A kept document is an object without `servers`, which
/// means that paths begin where it comes from; here they are put in front.
fn elsewhere(document: &Document, servers: &Value) -> Bytes {
    let text = document.text();
    let Some(members) = text.strip_prefix(b"{") else { return text };
    [format!("{{\"servers\":{servers},").as_bytes(), members].concat().into()
}

/// `GET /api/openapi.json`.
pub(super) fn of_host(host: &Host, request: &Request<Incoming>) -> Answer {
    /// The latest, and for which servers it was made: mostly it is always the same.
    static LATEST: Mutex<Option<(Value, Arc<Document>)>> = Mutex::new(None);
    let servers = servers(host, request);
    let latest = || LATEST.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let known =
        latest().as_ref().filter(|(of, _)| *of == servers).map(|(_, made)| Arc::clone(made));
    let document = known.unwrap_or_else(|| {
        let mut document = host::document();
        document["servers"] = servers.clone();
        let made = Arc::new(Document::new(document.to_string().as_bytes()));
        *latest() = Some((servers, Arc::clone(&made)));
        made
    });
    kept(&document, request.headers())
}

/// Where paths begin: where clients reach the host, or where they have the document from.
fn servers(host: &Host, request: &Request<Incoming>) -> Value {
    let url = public::url(host, request.headers(), request.extensions());
    json!([{"url": url.map_or_else(|| "/".to_owned(), |url| url.to_string())}])
}

/// The problems that a route may answer with, as OpenAPI responses.
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

/// What every document has: the problem's schema, and how callers say who they are.
fn components() -> Value {
    let codes: Vec<_> = ProblemKind::ALL.iter().map(|kind| kind.parts().0).collect();
    let types: Vec<_> = codes.iter().map(|code| format!("urn:hospes:problem:{code}")).collect();
    json!({
        "schemas": {
            "problem": {
                "title": "Problem",
                "description": "An error, as RFC 9457 has it. Members beside these are for machines.",
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
            "key": {"type": "http", "scheme": "bearer", "description": "The API key of an account."},
        },
    })
}
