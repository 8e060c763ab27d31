//! OpenAPI 3.1 documents, of each model and of the host's own routes, and a page to try them in the browser.

mod host;
mod model;
mod page;
mod schema;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::health::json as json_answer;
use super::problem::{Problem, ProblemKind};
use super::{functions, public};
use crate::host::Host;

pub(super) use page::{asset, page};

/// `GET /{publisher}/{model}[@ref]/openapi.json`.
pub(super) fn of_model(
    host: &Host,
    publisher: &str,
    model: &str,
    request: &Request<Incoming>,
) -> Result<Answer, Problem> {
    let deployment = functions::known(host, publisher, model, request.headers())?;
    let mut document = model::document(&deployment);
    document["servers"] = servers(host, request);
    Ok(json_answer(StatusCode::OK, &document))
}

/// `GET /api/openapi.json`.
pub(super) fn of_host(host: &Host, request: &Request<Incoming>) -> Answer {
    let mut document = host::document();
    document["servers"] = servers(host, request);
    json_answer(StatusCode::OK, &document)
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
