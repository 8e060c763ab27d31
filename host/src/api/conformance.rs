//! Checks of HTTP messages that hyper leaves to us, so that every intermediary reads the same message.

use http::{HeaderValue, Request, Version, header};

use super::problem::{Problem, ProblemKind};
use crate::config::is_host;

/// Rejects a request with no `Host`, two, or an invalid one (RFC 9112 section 3.2, RFC 9113 section 8.3.1): a proxy may have used another.
///
/// # Errors
/// 400 that says what is wrong with `Host`.
pub(super) fn check_host<B>(request: &Request<B>) -> Result<(), Problem> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let authority = request.uri().authority();
    let host = match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => return Err(invalid("the header `Host` appears twice")),
        (Some(host), None) => host.as_bytes(),
        // HTTP/1.0 needs no `Host`, and HTTP/2 has the authority instead.
        (None, _) if authority.is_some() || request.version() != Version::HTTP_11 => return Ok(()),
        (None, _) => return Err(invalid("the header `Host` is missing")),
    };
    if !is_host(host) {
        return Err(invalid("the header `Host` is not a host and a port"));
    }
    let is_http2 = request.version() == Version::HTTP_2;
    match authority {
        Some(authority)
            if is_http2 && !authority.as_str().as_bytes().eq_ignore_ascii_case(host) =>
        {
            Err(invalid("`:authority` and the header `Host` name different hosts"))
        }
        _ => Ok(()),
    }
}

/// Rejects a body with any coding other than a single `chunked` (RFC 9112 section 6.1). Hyper looks only at the last coding, and a proxy
/// may have taken what follows for part of this body.
///
/// # Errors
/// 400, after which the connection is closed.
pub(super) fn check_coding<B>(request: &Request<B>) -> Result<(), Problem> {
    let mut codings = request.headers().get_all(header::TRANSFER_ENCODING).iter();
    let is_chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if is_chunked(coding) => Ok(()),
        _ => Err(invalid("`Transfer-Encoding` must be a single `chunked`")
            .header(header::CONNECTION, HeaderValue::from_static("close"))),
    }
}

fn invalid(detail: &str) -> Problem {
    Problem::new(ProblemKind::InvalidRequest, detail)
}
