//! The document of the host's own routes.

use serde_json::{Map, Value, json};

use super::{components, problems};
use crate::api::Audience;
use crate::api::problem::ProblemKind;
use crate::api::routes::{ROUTES, Route};

/// The document. Routes of the operator are on a listener of their own and not in it.
pub(super) fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES.iter().filter(|route| route.audience == Audience::Everybody) {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.to_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Hospes",
            "description": "Market, offers, negotiations, agreements, receipts, and calls of functions. \
                Signed documents are DSSE envelopes; `host/profile` specifies what is in them. The functions of a model have \
                a document of their own, at `/{publisher}/{model}/openapi.json`.",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "security": [{"key": []}, {}],
        "paths": paths,
        "components": components(),
    })
}

fn operation(route: &Route) -> Value {
    let (status, media) = route.gives;
    let media = media.split(';').next().unwrap_or_default();
    let mut responses = problems(&ProblemKind::ALL);
    responses.insert(
        status.to_string(),
        json!({"description": "Done.", "content": {media: {"schema": schema(media)}}}),
    );
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.summary,
        "responses": responses,
    });
    let names = route
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{').and_then(|part| part.strip_suffix('}')));
    let parameters: Vec<_> = names
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "minLength": 1}}))
        .collect();
    if !parameters.is_empty() {
        operation["parameters"] = json!(parameters);
    }
    if let Some(media) = route.takes {
        operation["requestBody"] =
            json!({"required": true, "content": {media: {"schema": schema(media)}}});
    }
    operation
}

/// `get-api-offers-id`.
fn operation_id(route: &Route) -> String {
    let words =
        route.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    std::iter::once(route.method.to_lowercase().as_str()).chain(words).collect::<Vec<_>>().join("-")
}

fn schema(media: &str) -> Value {
    match media {
        "application/json" => json!({}),
        media if media.ends_with("+json") => json!({
            "title": "DSSE envelope",
            "type": "object",
            "required": ["payload", "payloadType", "signatures"],
            "properties": {
                "payload": {"type": "string", "contentEncoding": "base64"},
                "payloadType": {"type": "string"},
                "signatures": {"type": "array", "items": {
                    "type": "object",
                    "required": ["keyid", "sig"],
                    "properties": {
                        "keyid": {"type": "string"},
                        "sig": {"type": "string", "contentEncoding": "base64"},
                    },
                }},
            },
        }),
        _ => json!({"type": "string"}),
    }
}
