//! The host's own HTTP API as types: the request and response of each route. The host builds these and the command line reads them.
//!
//! Both sides share each member, so they cannot drift apart, and the OpenAPI document's JSON Schemas are derived from it. Calls and the
//! fronts of other protocols have their own types elsewhere. Depends on no server or client.
//!
//! Responses are parsed leniently, so that a client works with newer and, as far as possible, older hosts: unknown members are ignored, and
//! unknown strings are kept ([`State::Other`](agreements::State::Other) and the like). Requests are parsed strictly: unknown members are
//! rejected.
//!
//! Times are RFC 3339 in UTC, versions are semantic versions; both are strings here. The name of an amount contains its unit.

pub mod account;
pub mod agreements;
pub mod envelope;
pub mod market;
pub mod models;
pub mod negotiations;
pub mod offers;
pub mod operations;
pub mod problem;
pub mod receipts;
pub mod status;
mod text;
mod word;

pub use schemars;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const PARTY: &str = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp";

    fn offer() -> Value {
        json!({
            "id": format!("sha256:{}", "0d".repeat(32)),
            "model": "acme/iris",
            "version": "1.0.0",
            "digest": format!("sha256:{}", "1e".repeat(32)),
            "publisher": PARTY,
            "summary": "Says which iris it is",
            "licence": "Apache-2.0",
            "functions": [{"name": "classify", "signature": "(x: f32) -> string"}],
            "versions": "1.0.0",
            "private": false,
            "terms": ["classify"],
        })
    }

    #[test]
    fn what_is_not_known_is_passed_over_in_answers_and_refused_in_requests() {
        let mut newer = offer();
        newer["colour"] = json!("violet");
        let read: market::Offer = serde_json::from_value(newer).expect("an offer");
        assert_eq!(serde_json::to_value(&read).expect("written"), offer());
        let call = |text| serde_json::from_str::<agreements::SimulatedCall>(text);
        let read = call(r#"{"function": "classify"}"#).expect("a call");
        assert_eq!((read.input_bytes, read.rows, read.at), (0, 1, None));
        assert!(call(r#"{"function": "classify", "colour": "violet"}"#).is_err());
    }

    #[test]
    fn a_word_that_is_not_known_stays_as_it_is() {
        let read = |text| serde_json::from_str::<agreements::State>(text).expect("a word");
        assert_eq!(read(r#""not-\u0061ctive""#), agreements::State::Other("not-active".into()));
        assert_eq!(read(r#""active""#), agreements::State::Active);
        for word in ["active", "thawed"] {
            assert_eq!(serde_json::to_value(agreements::State::from(word)).expect("text"), word);
            assert_eq!(agreements::State::from(word).to_string(), word);
        }
    }

    #[test]
    fn a_schema_says_what_is_required_and_what_is_not_there_at_times() {
        let schema = schemars::SchemaGenerator::default().into_root_schema_for::<offers::Own>();
        let schema = schema.to_value();
        let states = &schema["properties"]["state"]["enum"];
        assert_eq!(*states, json!(["listed", "not-live", "withdrawn", "withdrawn-by-operator"]));
        assert_eq!(schema["properties"]["since"]["type"], json!(["string", "null"]));
        let required = schema["required"].as_array().expect("a list");
        assert!(required.contains(&json!("id")) && !required.contains(&json!("terms")));
    }

    /// They share a type, which must not show in the JSON that clients read.
    #[test]
    fn a_crash_has_its_members_beside_those_of_its_reader() {
        let crash = json!({"model": format!("sha256:{}", "0".repeat(64)), "how": "a signal", "times": 3, "wait_ms": 60_000});
        let with = |name: &str, value: serde_json::Value| {
            let mut crash = crash.clone();
            crash[name] = value;
            crash
        };
        let own = with("versions", json!(["acme/iris@1.0.0"]));
        let read: account::ModelIncident = serde_json::from_value(own.clone()).expect("read");
        assert_eq!(serde_json::to_value(&read).expect("written"), own);
        let operators = with("publisher", json!("acme"));
        let read: status::Incident = serde_json::from_value(operators.clone()).expect("read");
        assert_eq!(serde_json::to_value(&read).expect("written"), operators);
    }

    #[test]
    fn a_problem_has_a_code_and_more_for_programs() {
        let text = r#"{"type": "urn:hospes:problem:conflict", "title": "Conflict", "status": 409,
            "detail": "it is over", "state": "TERMINATED"}"#;
        let problem: problem::Problem = serde_json::from_str(text).expect("a problem");
        assert_eq!((problem.code(), problem.status), ("conflict", 409));
        assert_eq!(problem.more["state"], "TERMINATED");
        let other: problem::Problem = serde_json::from_str("{}").expect("some other server's");
        assert_eq!(other.code(), "");
    }
}
