//! Turns a host's RFC 9457 problem into a failure with a fix.

use serde_json::Value;

use super::failure::Failure;
use super::screen::printable;
use hospes_wire::problem::TYPE_PREFIX;

/// Longest text from a host to show, in characters.
const SHOWN_CHARS_MAX: usize = 2000;

/// The failure for a response with an error status.
pub fn failure(status: u16, body: &[u8]) -> Failure {
    let Some(problem) = serde_json::from_slice::<Value>(body).ok().filter(Value::is_object) else {
        let text = shown(&String::from_utf8_lossy(body));
        let failure = Failure::new(format!("the host answered {status}: {}", text.trim()));
        return failure.fix("check that `--host` names a Hospes host");
    };
    let member = |name: &str| problem.get(name).and_then(Value::as_str).map(shown);
    let title = member("title").unwrap_or_else(|| format!("the host answered {status}"));
    let message = match member("detail") {
        Some(detail) => format!("{title}: {detail}"),
        None => title,
    };
    let kind = problem.get("type").and_then(Value::as_str).unwrap_or_default();
    let failure = match fix(kind.strip_prefix(TYPE_PREFIX).unwrap_or_default()) {
        Some(fix) => Failure::new(message).fix(fix),
        None => Failure::new(message),
    };
    failure.details(problem)
}

/// What a caller can do about a problem of this code.
fn fix(code: &str) -> Option<&'static str> {
    Some(match code {
        "unauthenticated" => {
            "open an account with `hospes account new NAME --data DIR` and choose it with `--as NAME`"
        }
        "not-permitted" => {
            "find an offer with `hospes market`, agree to it with `hospes agree OFFER`, and wait for the publisher's signature"
        }
        "not-found" => {
            "`hospes market` lists the offers; `hospes agreement list` lists your agreements"
        }
        "limit-reached" => {
            "agree to another offer with `hospes agree OFFER`; `hospes agreement list` shows what is left of each limit"
        }
        "account-stopped" => {
            "`hospes account show` says since when and why; ask the host's operator"
        }
        "withdrawn" => "`hospes market` lists the offers; ask the publisher or the host's operator",
        "invalid-arguments" => "`hospes market` shows what each function takes",
        "bundle-refused" => "`hospes inspect FILE` shows the bundle's manifest",
        "out-of-service" => {
            "call another version; the operator sees the reason with `hospes admin out-of-service`"
        }
        "busy" | "unavailable" => "try again shortly",
        "internal" => "ask the operator to look in the host's log",
        _ => return None,
    })
}

fn shown(text: &str) -> String {
    printable(&text.chars().take(SHOWN_CHARS_MAX).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_becomes_an_error_with_a_fix() {
        let body = br#"{"type":"urn:hospes:problem:limit-reached","title":"The agreement's calls are used up",
            "status":429,"detail":"3 of 3 calls are used","remaining":0}"#;
        let failure = failure(429, body);
        assert_eq!(
            failure.to_string(),
            "error: The agreement's calls are used up: 3 of 3 calls are used\n  \
             fix: agree to another offer with `hospes agree OFFER`; `hospes agreement list` shows what is left of each limit"
        );
        assert_eq!(failure.to_json()["details"]["remaining"], 0);
    }

    #[test]
    fn what_is_no_problem_is_shown_as_it_is_but_short_and_harmless() {
        let text = failure(502, b"<h1>\x1b[31mBad Gateway</h1>").to_string();
        assert!(
            text.starts_with("error: the host answered 502: <h1>\u{fffd}[31mBad Gateway"),
            "{text}"
        );
        assert!(failure(500, &[b'x'; 100_000]).to_string().len() < 2 * SHOWN_CHARS_MAX);
        assert_eq!(failure(500, b"{}").to_string(), "error: the host answered 500");
    }
}
