//! Turns a host's RFC 9457 problem into a failure with a fix.

use serde_json::Value;

use super::failure::Failure;
use super::screen::printable;
use hospes_config::BaseUrl;
use hospes_wire::problem::TYPE_PREFIX;

/// Longest text from a host to show, in characters.
const SHOWN_CHARS_MAX: usize = 2000;

/// The code of a problem for something that is not there.
const NOT_FOUND: &str = "not-found";

/// The request that failed, on which the fix depends.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub host: &'a BaseUrl,
    /// The path, after the host's prefix.
    pub path: &'a str,
    /// Whether it went to the operator's listener.
    pub is_operator: bool,
}

/// The failure for a response with an error status.
pub fn failure(status: u16, body: &[u8], asked: Asked<'_>) -> Failure {
    let Some(problem) = serde_json::from_slice::<Value>(body).ok().filter(Value::is_object) else {
        let text = shown(&String::from_utf8_lossy(body));
        let failure = Failure::new(format!("the host answered {status}: {}", text.trim()));
        return failure.fix("check that `--host` names a Hospes host");
    };
    let member = |name: &str| problem.get(name).and_then(Value::as_str).map(shown);
    let title = member("title").unwrap_or_else(|| format!("the host answered {status}"));
    // The Open Inference Protocol has a form of its own for errors.
    let detail = member("detail").or_else(|| member("error")).unwrap_or_default();
    let message = if detail.is_empty() { title } else { format!("{title}: {detail}") };
    let failure = match fix(code(&problem), &detail, asked) {
        Some(fix) => Failure::new(message).fix(fix),
        None => Failure::new(message),
    };
    failure.details(problem)
}

/// Whether the host answered that something is not there.
pub fn is_not_found(failure: &Failure) -> bool {
    failure.problem().is_some_and(|problem| code(problem) == NOT_FOUND)
}

fn code(problem: &Value) -> &str {
    let kind = problem.get("type").and_then(Value::as_str).unwrap_or_default();
    kind.strip_prefix(TYPE_PREFIX).unwrap_or_default()
}

/// What a caller can do about a problem of this code.
fn fix(code: &str, detail: &str, asked: Asked<'_>) -> Option<String> {
    let fix = match code {
        "unauthenticated" => {
            "open an account with `hospes account new NAME --data DIR` and choose it with `--as NAME`"
        }
        "not-permitted" => {
            "find an offer with `hospes market`, agree to it with `hospes agree OFFER`, and wait for the publisher's signature"
        }
        NOT_FOUND => return lists(asked).map(str::to_owned),
        "limit-reached" => {
            "agree to another offer with `hospes agree OFFER`; `hospes agreement list` shows what is left of each limit"
        }
        "account-stopped" => {
            "`hospes account show` says since when and why; ask the host's operator"
        }
        "withdrawn" => "`hospes market` lists the offers; ask the publisher or the host's operator",
        "invalid-arguments" => return takes(asked),
        "body-too-large" if asked.path == "/api/bundles" => {
            "make the bundle smaller, or ask the host's operator to raise `bundle.bundle_bytes_max`"
        }
        "bundle-refused" => match setting(detail) {
            Some(setting) => return Some(format!("ask the host's operator to raise `{setting}`")),
            None => "`hospes inspect FILE` shows the bundle's manifest",
        },
        "out-of-service" => {
            "call another version; the operator sees the reason with `hospes admin out-of-service`"
        }
        "busy" | "unavailable" => "try again shortly",
        "internal" => "ask the operator to look in the host's log",
        _ => return None,
    };
    Some(fix.to_owned())
}

/// The command that lists what the request named one of.
fn lists(asked: Asked<'_>) -> Option<&'static str> {
    if asked.is_operator {
        let is_account = asked.path.starts_with("/accounts/");
        return is_account.then_some("`hospes admin accounts --data DIR` lists the accounts");
    }
    let Some(route) = asked.path.strip_prefix("/api/") else {
        return Some(
            "`hospes market` lists the offers; `hospes agreement list` lists your agreements",
        );
    };
    let path = route.split('?').next().unwrap_or_default();
    let parts: Vec<&str> = path.split('/').collect();
    Some(match parts[..] {
        ["account", ..] => "`hospes account keys` lists your API keys",
        ["offers", _, "withdrawal" | "replacement" | "mandate"] => {
            "`hospes offer list` lists your offers"
        }
        ["market" | "offers", ..] => "`hospes market` lists the offers",
        ["agreements", _, ..] => "`hospes agreement list` lists your agreements",
        ["negotiations", _, ..] => "`hospes negotiation list` lists your negotiations",
        ["receipts", ..] => "`hospes receipt list` lists your receipts",
        _ => return None,
    })
}

/// Where a function's parameters are shown.
fn takes(Asked { host, path, .. }: Asked<'_>) -> Option<String> {
    let mut parts = path.strip_prefix('/')?.split('/');
    let (publisher, model) = (parts.next()?, parts.next()?);
    let model = format!("{host}/{publisher}/{model}");
    Some(format!(
        "{model}/docs shows what each function takes, and {model}/openapi.json says it for programs"
    ))
}

/// The operator's setting that a detail names, such as `sandbox.compile_timeout`.
fn setting(detail: &str) -> Option<&str> {
    let mut quoted = detail.split('`').skip(1).step_by(2);
    quoted.find(|text| {
        let named = text.split_once('.').filter(|(section, _)| *section == "sandbox");
        named.is_some_and(|(_, name)| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
    })
}

fn shown(text: &str) -> String {
    printable(&text.chars().take(SHOWN_CHARS_MAX).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The failure for a request to this path of the public or the operator's listener.
    fn failed(status: u16, body: &[u8], path: &str, is_operator: bool) -> Failure {
        let host: BaseUrl = "http://127.0.0.1:8080".parse().expect("an address");
        failure(status, body, Asked { host: &host, path, is_operator })
    }

    fn failure_of_a_call(status: u16, body: &[u8]) -> Failure {
        failed(status, body, "/acme/iris/infer", false)
    }

    fn fix_of(code: &str, detail: &str, path: &str, is_operator: bool) -> String {
        let body = format!(r#"{{"type":"urn:hospes:problem:{code}","detail":"{detail}"}}"#);
        let json = failed(400, body.as_bytes(), path, is_operator).to_json();
        json["fix"].as_str().unwrap_or_default().to_owned()
    }

    #[test]
    fn a_fix_depends_on_what_was_asked_for() {
        let missing = |path: &str, is_operator| fix_of("not-found", "d", path, is_operator);
        for (path, is_operator, command) in [
            ("/accounts/nobody", true, "hospes admin accounts"),
            ("/api/account/keys/0123456789abcdef/revocation", false, "hospes account keys"),
            ("/api/offers/sha256:1/withdrawal", false, "hospes offer list"),
            ("/api/offers/sha256:1", false, "hospes market"),
            ("/api/agreements/sha256:1/events?after=2", false, "hospes agreement list"),
            ("/api/negotiations/urn:uuid:1", false, "hospes negotiation list"),
            ("/api/receipts/1", false, "hospes receipt list"),
            ("/acme/iris/infer", false, "hospes market"),
        ] {
            let fix = missing(path, is_operator);
            assert!(fix.starts_with(&format!("`{command}")), "{path}: {fix}");
        }
        for (path, is_operator) in [("/actions", true), ("/api/agreements", false)] {
            assert_eq!(missing(path, is_operator), "", "{path}");
        }
        assert_eq!(
            fix_of("invalid-arguments", "d", "/acme/iris@1.0.0/infer", false),
            "http://127.0.0.1:8080/acme/iris@1.0.0/docs shows what each function takes, and \
             http://127.0.0.1:8080/acme/iris@1.0.0/openapi.json says it for programs"
        );
    }

    #[test]
    fn a_limit_of_the_operator_s_is_named_in_the_fix() {
        let fix = fix_of("body-too-large", "d", "/api/bundles", false);
        assert!(fix.contains("`bundle.bundle_bytes_max`"), "{fix}");
        let detail = "the component did not compile within 60 s (`sandbox.compile_timeout`)";
        let fix = fix_of("bundle-refused", detail, "/api/bundles", false);
        assert_eq!(fix, "ask the host's operator to raise `sandbox.compile_timeout`");
        let fix = fix_of("bundle-refused", "no export `a.b`", "/api/bundles", false);
        assert!(fix.contains("hospes inspect"), "{fix}");
    }

    #[test]
    fn a_problem_becomes_an_error_with_a_fix() {
        let body = br#"{"type":"urn:hospes:problem:limit-reached","title":"The agreement's calls are used up",
            "status":429,"detail":"3 of 3 calls are used","remaining":0}"#;
        let failure = failure_of_a_call(429, body);
        assert_eq!(
            failure.to_string(),
            "error: The agreement's calls are used up: 3 of 3 calls are used\n  \
             fix: agree to another offer with `hospes agree OFFER`; `hospes agreement list` shows what is left of each limit"
        );
        assert_eq!(failure.to_json()["details"]["remaining"], 0);
    }

    #[test]
    fn an_error_of_the_open_inference_protocol_gives_its_reason() {
        let body = br#"{"error":"input `x` has 3 columns, not 4"}"#;
        let failure = failed(400, body, "/v2/models/acme/iris/infer", false);
        assert_eq!(
            failure.to_string(),
            "error: the host answered 400: input `x` has 3 columns, not 4"
        );
        let failure = failed(500, br#"{"error":{"code":1}}"#, "/v2/models/acme/iris", false);
        assert_eq!(failure.to_string(), "error: the host answered 500");
    }

    #[test]
    fn what_is_no_problem_is_shown_as_it_is_but_short_and_harmless() {
        let text = failure_of_a_call(502, b"<h1>\x1b[31mBad Gateway</h1>").to_string();
        assert!(
            text.starts_with("error: the host answered 502: <h1>\u{fffd}[31mBad Gateway"),
            "{text}"
        );
        assert!(failure_of_a_call(500, &[b'x'; 100_000]).to_string().len() < 2 * SHOWN_CHARS_MAX);
        assert_eq!(failure_of_a_call(500, b"{}").to_string(), "error: the host answered 500");
    }
}
