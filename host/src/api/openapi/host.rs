//! The documents of the host's own routes, one for each listener.

use serde_json::{Map, Value, json};

use super::{KEY, Scheme, TOKEN, components, problems};
use crate::api::Audience;
use crate::api::query::{Form, Parameter};
use crate::api::routes::{self, Access, Body, Content, Route, Takes};
use crate::wire::schemars::SchemaGenerator;
use crate::wire::schemars::generate::SchemaSettings;

/// Builds schemas and collects the shared ones. In requests, members with a default are optional; in responses they are always present.
struct Schemas {
    requests: SchemaGenerator,
    answers: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12()
                .with(|settings| settings.definitions_path = "/components/schemas".into())
        };
        Self {
            requests: settings().for_deserialize().into_generator(),
            answers: settings().for_serialize().into_generator(),
        }
    }

    /// All shared schemas, by name.
    fn into_named(mut self) -> Map<String, Value> {
        let mut named = self.requests.take_definitions(true);
        named.extend(self.answers.take_definitions(true));
        named
    }
}

/// What a document says before its routes.
struct Head {
    title: &'static str,
    description: &'static str,
    scheme: Scheme,
}

const OF_EVERYBODY: Head = Head {
    title: "Hospes",
    description: "Market, offers, negotiations, agreements, receipts, and calls of functions. \
        Signed documents are DSSE envelopes; `host/profile` specifies what is in them. The functions of a model have \
        a document of their own, at `/{publisher}/{model}/openapi.json`.",
    scheme: KEY,
};

const OF_THE_OPERATOR: Head = Head {
    title: "Hospes, operator",
    description: "Accounts, actions and their log, versions out of service, backups and the host's status, \
        on the operator's listener. `hospes admin` uses these routes.",
    scheme: TOKEN,
};

/// The document of a listener's routes. The other listener's are not in it.
pub(super) fn document(audience: Audience) -> Value {
    let Head { title, description, scheme } = match audience {
        Audience::Everybody => OF_EVERYBODY,
        Audience::Operator => OF_THE_OPERATOR,
    };
    let mut schemas = Schemas::new();
    let mut paths: Map<String, Value> = Map::new();
    for route in routes::of(audience) {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.to_lowercase()] = operation(route, &mut schemas);
    }
    let mut components = components(&scheme);
    if let Some(own) = components["schemas"].as_object_mut() {
        own.extend(schemas.into_named());
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "description": description,
            "version": env!("CARGO_PKG_VERSION"),
        },
        "paths": paths,
        "components": components,
    })
}

fn operation(route: &Route, schemas: &mut Schemas) -> Value {
    let mut responses = problems(&route.problems());
    let (status, gives) = route.gives;
    let content = content(gives, &mut schemas.answers);
    responses.insert(status.to_string(), json!({"description": "Done.", "content": content}));
    if route.is_cached {
        let unchanged = json!({"description": "The caller already has it (`If-None-Match`)."});
        responses.insert("304".into(), unchanged);
    }
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.summary,
        "responses": responses,
        "security": security(route.access),
    });
    let filled = route.filled.iter().map(|one| parameter(one, "path"));
    let asked = route.query().iter().map(|one| parameter(one, "query"));
    let parameters: Vec<_> = filled.chain(asked).collect();
    if !parameters.is_empty() {
        operation["parameters"] = json!(parameters);
    }
    if let Some(body) = route.takes.body() {
        let is_required = matches!(route.takes, Takes::Required(_));
        let content = self::content(body, &mut schemas.requests);
        operation["requestBody"] = json!({"required": is_required, "content": content});
    }
    operation
}

/// `get-api-offers-id`.
fn operation_id(route: &Route) -> String {
    let words =
        route.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    std::iter::once(route.method.to_lowercase().as_str()).chain(words).collect::<Vec<_>>().join("-")
}

/// The security schemes.
fn security(access: Access) -> Value {
    match access {
        Access::Anybody => json!([]),
        Access::Visitor => json!([{KEY.name: []}, {}]),
        Access::Account => json!([{KEY.name: []}]),
        Access::Operator => json!([{TOKEN.name: []}]),
    }
}

fn parameter(parameter: &Parameter, place: &str) -> Value {
    let mut described = json!({
        "name": parameter.name,
        "in": place,
        "description": parameter.about,
        "required": parameter.is_required,
        "schema": form(parameter.form),
    });
    if let Form::Text { example, .. } = parameter.form {
        described["example"] = example.into();
    }
    described
}

fn form(form: Form) -> Value {
    match form {
        Form::Text { pattern, .. } => json!({"type": "string", "pattern": pattern}),
        Form::Uuid => json!({"type": "string", "format": "uuid"}),
        Form::Number { min, max, default } => {
            let mut schema = json!({"type": "integer", "minimum": min, "maximum": max});
            if let Some(default) = default {
                schema["default"] = default.into();
            }
            schema
        }
    }
}

fn content(body: Body, schemas: &mut SchemaGenerator) -> Map<String, Value> {
    let mut content = Map::new();
    for media in body.media {
        let schema = match body.content {
            Content::Type(schema) => schema(schemas).to_value(),
            Content::Json => json!({}),
            Content::Text => json!({"type": "string"}),
            Content::Bytes => json!({"type": "string", "format": "binary"}),
        };
        content.insert(routes::essence(media).to_owned(), json!({"schema": schema}));
    }
    content
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// The names of all referenced schemas.
    fn referred(value: &Value, names: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                let name = members.get("$ref").and_then(Value::as_str);
                names.extend(name.and_then(|name| name.rsplit('/').next()).map(str::to_owned));
                members.values().for_each(|member| referred(member, names));
            }
            Value::Array(items) => items.iter().for_each(|item| referred(item, names)),
            _ => {}
        }
    }

    const LISTENERS: [Audience; 2] = [Audience::Everybody, Audience::Operator];

    #[test]
    fn every_schema_that_is_referred_to_is_there() {
        for audience in LISTENERS {
            let document = document(audience);
            let mut names = Vec::new();
            referred(&document, &mut names);
            assert!(names.len() > 80, "{audience:?}: {}", names.len());
            for name in names {
                let schema = &document["components"]["schemas"][&name];
                assert!(schema.is_object(), "{audience:?}: {name}");
            }
        }
    }

    #[test]
    fn no_type_is_both_taken_and_given_in_two_forms() {
        for audience in LISTENERS {
            let mut schemas = Schemas::new();
            for route in routes::of(audience) {
                operation(route, &mut schemas);
            }
            let requests = schemas.requests.take_definitions(true);
            for (name, given) in schemas.answers.take_definitions(true) {
                assert!(!name.ends_with('2'), "`{name}`: two types have one name");
                assert!(requests.get(&name).is_none_or(|taken| *taken == given), "`{name}`");
            }
        }
    }

    #[test]
    fn a_document_has_the_routes_of_its_listener_with_their_statuses_and_no_others() {
        for audience in LISTENERS {
            let document = document(audience);
            let mut written = BTreeMap::new();
            for (path, methods) in document["paths"].as_object().expect("paths") {
                for (method, operation) in methods.as_object().expect("methods") {
                    let responses = operation["responses"].as_object().expect("responses");
                    let statuses: BTreeSet<_> = responses.keys().cloned().collect();
                    written.insert((method.to_uppercase(), path.clone()), statuses);
                }
            }
            let of_table = routes::of(audience).map(|route| {
                let problems = route.problems();
                let problems = problems.iter().map(|kind| kind.parts().1.as_u16());
                let unchanged = route.is_cached.then_some(304);
                let all = problems.chain(unchanged).chain([route.gives.0]);
                let statuses: BTreeSet<_> = all.map(|status| status.to_string()).collect();
                ((route.method.to_owned(), route.path.to_owned()), statuses)
            });
            let of_table: BTreeMap<_, _> = of_table.collect();
            assert_eq!(written, of_table, "{audience:?}");
        }
    }

    #[test]
    fn a_listener_s_document_has_its_own_way_to_prove_who_calls() {
        for (audience, scheme, other) in [
            (Audience::Everybody, KEY.name, TOKEN.name),
            (Audience::Operator, TOKEN.name, KEY.name),
        ] {
            let document = document(audience);
            let schemes = &document["components"]["securitySchemes"];
            assert!(schemes[scheme].is_object() && schemes[other].is_null(), "{schemes}");
            for route in routes::of(audience) {
                let operation = &document["paths"][route.path][route.method.to_lowercase()];
                let expected = match route.access {
                    Access::Anybody => json!([]),
                    Access::Visitor => json!([{ scheme: [] }, {}]),
                    Access::Account | Access::Operator => json!([{ scheme: [] }]),
                };
                assert_eq!(operation["security"], expected, "{}", route.path);
            }
        }
    }

    #[test]
    fn a_route_says_what_it_takes_and_gives_and_how_it_fails() {
        let document = document(Audience::Everybody);
        let simulate = &document["paths"]["/api/offers/{id}/simulate"]["post"];
        let body = &simulate["requestBody"]["content"]["application/json"]["schema"]["$ref"];
        assert_eq!(*body, "#/components/schemas/SimulatedCall");
        let call = &document["components"]["schemas"]["SimulatedCall"];
        assert_eq!(call["required"], json!(["function"]));
        assert_eq!(call["additionalProperties"], false);
        let answer = &simulate["responses"]["200"]["content"]["application/json"]["schema"];
        assert_eq!(answer["$ref"], "#/components/schemas/Report");
        let statuses = |path: &str, method: &str| -> Vec<String> {
            let responses = document["paths"][path][method]["responses"].as_object();
            responses.expect("responses").keys().cloned().collect()
        };
        let limit = &document["paths"]["/api/market"]["get"]["parameters"][2];
        let schema = json!({"type": "integer", "minimum": 1, "maximum": 100, "default": 100});
        assert_eq!((&limit["name"], &limit["schema"]), (&json!("limit"), &schema));
        let id = &document["paths"]["/api/offers/{id}"]["get"]["parameters"][0];
        assert_eq!(id["schema"]["pattern"], "^sha256:[0-9a-f]{64}$");
        let is_required =
            |path: &str| document["paths"][path]["post"]["requestBody"]["required"].clone();
        assert_eq!(is_required("/api/offers"), true);
        assert_eq!(is_required("/api/offers/{id}/withdrawal"), false);
        let usual = ["200", "400", "429", "500", "503"];
        let mut shown = statuses("/api/host", "get");
        shown.sort();
        assert_eq!(shown, usual);
        let own = statuses("/api/account", "get");
        assert!(!own.contains(&"403".to_owned()), "a stopped account may read: {own:?}");
        let listed = statuses("/api/offers", "post");
        for status in ["201", "401", "403", "408", "410", "413", "415", "422"] {
            assert!(listed.iter().any(|one| one == status), "{status}: {listed:?}");
        }
    }
}
