//! Headers passed on, in either direction.
//!
//! Response headers are an allowlist: browsers may gain headers that affect a whole site, and all models of a host are one site. Other
//! headers are dropped from the response.

use http::{HeaderMap, HeaderName, header};

/// Prefix of the host's own headers.
const OURS: &str = "hospes-";

/// Request headers for the host or the connection, which handlers do not get; nor any with the prefix `hospes-`.
const NOT_FOR_HANDLERS: [HeaderName; 11] = [
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    // For a browser all models of a host are one site: a cookie of one would be sent to all.
    header::COOKIE,
    // The handler gets the authority separately, in every HTTP version.
    header::HOST,
    header::CONNECTION,
    header::EXPECT,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("http2-settings"),
];

/// Response headers for handlers: those that affect only this response, page or resource.
const FROM_HANDLERS: [&str; 44] = [
    "accept-patch",
    "accept-post",
    "accept-query",
    "accept-ranges",
    "age",
    "allow",
    "cache-control",
    "cross-origin-embedder-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "date",
    "deprecation",
    "digest",
    "document-policy",
    "etag",
    "expires",
    "grpc-encoding",
    "grpc-message",
    "grpc-status",
    "grpc-status-details-bin",
    "last-modified",
    "link",
    "location",
    "permissions-policy",
    "pragma",
    "preference-applied",
    "ratelimit",
    "ratelimit-limit",
    "ratelimit-policy",
    "ratelimit-remaining",
    "ratelimit-reset",
    "referrer-policy",
    "repr-digest",
    "request-id",
    "retry-after",
    "server",
    "sourcemap",
    "sunset",
    "timing-allow-origin",
    "traceparent",
    "tracestate",
    "vary",
    "warning",
    "want-content-digest",
];

/// Prefixes of further permitted names. `x-` names belong to applications: browsers give them no site-wide meaning.
const FROM_HANDLERS_BEGINNING: [&str; 4] = ["content-", "mcp-", "openai-", "x-"];

/// `x-` names that reverse proxies obey: they would serve files, take the host out of service, or redirect the request.
const NOT_FROM_HANDLERS_BEGINNING: [&str; 15] = [
    "x-accel-",
    "x-envoy-",
    "x-fastly-",
    "x-forwarded-",
    "x-http2-push",
    "x-lighttpd-",
    "x-litespeed-",
    "x-middleware-",
    "x-original-",
    "x-permitted-cross-domain-policies",
    "x-proxy-",
    "x-reproxy-",
    "x-rewrite-",
    "x-sendfile",
    "x-varnish",
];

/// One of those is harmless: it only turns off the proxy's buffering.
const ACCEL_BUFFERING: &str = "x-accel-buffering";

/// Removes from a request what its handler does not get.
pub(super) fn inward(headers: &mut HeaderMap) {
    for name in &NOT_FOR_HANDLERS {
        headers.remove(name);
    }
    keep(headers, |name| !name.starts_with(OURS));
}

/// Removes from a response or its trailers what its handler may not send.
pub(super) fn outward(headers: &mut HeaderMap) {
    keep(headers, may_leave);
}

fn may_leave(name: &str) -> bool {
    let begins = |all: &[&str]| all.iter().any(|beginning| name.starts_with(beginning));
    FROM_HANDLERS.contains(&name)
        || name == ACCEL_BUFFERING
        || begins(&FROM_HANDLERS_BEGINNING) && !begins(&NOT_FROM_HANDLERS_BEGINNING)
}

fn keep(headers: &mut HeaderMap, stays: impl Fn(&str) -> bool) {
    let out: Vec<_> = headers.keys().filter(|name| !stays(name.as_str())).cloned().collect();
    for name in out {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_speaks_for_a_response_leaves_and_what_speaks_for_a_site_does_not() {
        for name in [
            "content-type",
            "content-length",
            "content-disposition",
            "content-security-policy",
            "cache-control",
            "etag",
            "location",
            "vary",
            "x-request-id",
            "x-frame-options",
            "x-accel-buffering",
            "mcp-session-id",
            "grpc-status",
        ] {
            assert!(may_leave(name), "{name}");
        }
        for name in [
            "accept-ch",
            "access-control-allow-origin",
            "alt-svc",
            "clear-site-data",
            "connection",
            "critical-ch",
            "expect-ct",
            "hospes-receipt",
            "nel",
            "no-vary-search",
            "origin-agent-cluster",
            "proxy-authenticate",
            "public-key-pins",
            "refresh",
            "report-to",
            "reporting-endpoints",
            "server-timing",
            "service-worker-allowed",
            "set-cookie",
            "set-cookie2",
            "set-login",
            "speculation-rules",
            "strict-transport-security",
            "supports-loading-mode",
            "transfer-encoding",
            "upgrade",
            "use-as-dictionary",
            "www-authenticate",
            "x-accel-redirect",
            "x-sendfile",
            "x-envoy-immediate-health-check-fail",
            "anything-new",
        ] {
            assert!(!may_leave(name), "{name}");
        }
    }
}
