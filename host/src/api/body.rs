//! What a request's head says about its body, and the errors for rejected bodies.

use http::{HeaderMap, header};
use hyper::body::{Body as _, Incoming};

use super::pace::Broken;
use super::problem::{Problem, ProblemKind};

/// Rejects a body whose declared size exceeds `bytes_max`.
///
/// # Errors
/// 413 naming the limit.
pub fn check_declared(body: &Incoming, bytes_max: u64) -> Result<(), Problem> {
    let declared = body.size_hint().lower();
    if declared <= bytes_max { Ok(()) } else { Err(too_large(Some(declared), bytes_max)) }
}

/// Nothing came, and the route needs a body.
pub(super) fn missing() -> Problem {
    let detail = "the request has no body, and needs one";
    Problem::new(ProblemKind::InvalidRequest, detail).with("missing", "body")
}

pub(super) fn too_large(seen: Option<u64>, bytes_max: u64) -> Problem {
    let seen = seen.map_or_else(String::new, |seen| format!(" of {seen} bytes"));
    let detail = format!("the body{seen} is larger than the {bytes_max} bytes allowed here");
    Problem::new(ProblemKind::BodyTooLarge, detail).with("limit", bytes_max)
}

/// Why a body did not arrive completely.
#[expect(clippy::needless_pass_by_value, reason = "it is handed to `map_err`")]
pub(super) fn broken(error: Broken<hyper::Error>) -> Problem {
    let kind = match error {
        Broken::TooSlow(_) => ProblemKind::RequestTimeout,
        Broken::Off(_) => ProblemKind::InvalidRequest,
    };
    Problem::new(kind, error.to_string())
}

/// Alignment of tensor data in bytes, so that any backend can read it in place. Every allocation of this size has it, and it is a multiple
/// of every element's alignment.
const TENSOR_ALIGN: usize = 16;

/// Bytes to leave free at the start of a buffer, so that data after the next `offset` bytes is aligned like a tensor.
pub fn padding(offset: usize) -> usize {
    offset.next_multiple_of(TENSOR_ALIGN) - offset
}

/// A body's format, by its `Content-Type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    Json,
    Octets,
    /// `multipart/form-data`.
    Form,
}

/// The default of `curl --data`: never intended.
const CURL_DEFAULT: &str = "application/x-www-form-urlencoded";

/// The media type of a body. The default is JSON.
///
/// # Errors
/// 415 for anything that is neither JSON nor bytes.
pub fn media(headers: &HeaderMap) -> Result<Media, Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(Media::Json) };
    // Types and parameters are case-insensitive (RFC 9110 section 8.3.1).
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    let essence = essence.trim();
    let is = |name: &str| essence.eq_ignore_ascii_case(name);
    if is("application/json") {
        Ok(Media::Json)
    } else if is("application/octet-stream")
        || begins_with(essence, "image/")
        || begins_with(essence, "audio/")
    {
        Ok(Media::Octets)
    } else if is("multipart/form-data") {
        Ok(Media::Form)
    } else if is(CURL_DEFAULT) {
        Err(Problem::new(
            ProblemKind::UnsupportedMediaType,
            "name the body's type: `Content-Type: application/json`, or `application/octet-stream` for bytes",
        ))
    } else {
        Err(Problem::new(
            ProblemKind::UnsupportedMediaType,
            format!(
                "`{essence}` is not supported here: send `application/json`, `application/octet-stream` or `multipart/form-data`"
            ),
        ))
    }
}

/// Whether `text` begins with `beginning`, ignoring case.
fn begins_with(text: &str, beginning: &str) -> bool {
    let start = text.as_bytes().get(..beginning.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(beginning.as_bytes()))
}

/// Whether the caller wants bytes rather than JSON.
pub fn wants_octets(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| begins_with(value.trim_start(), "application/octet-stream"))
}

/// The token of `Authorization: Bearer`. Two such headers are rejected: a proxy may have checked the other one.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    // HTTP/2 does not strip the space that some clients send first.
    let value = value.to_str().ok()?.trim_start();
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
