//! What a message of HTTP has to have so that everybody on its way reads the same, where hyper leaves it to us.

use std::net::Ipv6Addr;

use http::{Request, Version, header};

use super::problem::{Problem, ProblemKind};

/// Refuses a request that names no host, two, or what is none (RFC 9112 section 3.2, RFC 9113 section 8.3.1): whoever is in
/// front may have looked at another one.
///
/// # Errors
/// 400 that says what is wrong with `Host`.
pub(super) fn check_host<B>(request: &Request<B>) -> Result<(), Problem> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let authority = request.uri().authority();
    let host = match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => return Err(invalid("the header `Host` is there twice")),
        (Some(host), None) => host.as_bytes(),
        // HTTP/1.0 has none, and HTTP/2 has the authority in its place.
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
            Err(invalid("`:authority` and the header `Host` name two hosts"))
        }
        _ => Ok(()),
    }
}

/// Whether these bytes are `uri-host [":" port]` (RFC 9110 section 7.2).
pub(super) fn is_host(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    if let Some(rest) = text.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        return address.parse::<Ipv6Addr>().is_ok()
            && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    let (name, port) = text.split_once(':').map_or((text, ""), |(name, port)| (name, port));
    // Of what a name may hold, what names of machines hold: `%` and the delimiters mean something elsewhere.
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_name) && is_port(port)
}

fn is_port(port: &str) -> bool {
    port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit())
}

fn invalid(detail: &str) -> Problem {
    Problem::new(ProblemKind::InvalidRequest, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_and_perhaps_a_port() {
        for good in
            ["x", "host.example", "127.0.0.1:8080", "[::1]", "[::1]:80", "a-b_c:", "x:65535"]
        {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in [
            "", ":80", "a b", "a/b", "u@x", "x:y", "x:123456", "[::1", "[x]", "::1", "a,b", "x?",
            "%41",
        ] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }
}
