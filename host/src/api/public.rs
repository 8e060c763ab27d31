//! The host's public URL: from `api.public_url`, or from a trusted proxy's headers.
//!
//! `Forwarded` and `X-Forwarded-*` from anybody else are ignored, because the URL is written into documents that others read.

use http::{Extensions, HeaderMap, header};

use crate::config::{BaseUrl, is_host};
use crate::host::Host;

/// Marks a request forwarded by a trusted proxy.
#[derive(Debug, Clone, Copy)]
pub(super) struct FromProxy;

/// The public URL of this request, if a trusted source gives one.
pub(super) fn url(host: &Host, headers: &HeaderMap, extensions: &Extensions) -> Option<BaseUrl> {
    let api = &host.config().api;
    if let Some(url) = &api.public_url {
        return Some(url.clone());
    }
    extensions.get::<FromProxy>()?;
    forwarded(headers, api.tls_certificate.is_some())
}

/// The proxy's URL for a request; `None` if it is missing or invalid.
fn forwarded(headers: &HeaderMap, is_tls: bool) -> Option<BaseUrl> {
    let standard = last(headers, "forwarded");
    let parameter = |name: &str| standard.and_then(|element| parameter(element, name));
    let scheme = parameter("proto").or_else(|| last(headers, "x-forwarded-proto"));
    let named = parameter("host").or_else(|| last(headers, "x-forwarded-host"));
    let prefix = last(headers, "x-forwarded-prefix");
    if scheme.is_none() && named.is_none() && prefix.is_none() {
        return None;
    }
    let is_tls = match scheme {
        Some(scheme) if scheme.eq_ignore_ascii_case("https") => true,
        Some(scheme) if scheme.eq_ignore_ascii_case("http") => false,
        _ => is_tls,
    };
    let own = || headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = named.or_else(own).filter(|name| is_host(name.as_bytes()))?;
    BaseUrl::new(is_tls, authority, prefix.unwrap_or_default())
}

/// The last element of a list is the nearest proxy's own. A client may have forged the others.
fn last<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let value = headers.get_all(name).iter().next_back()?.to_str().ok()?;
    let element = value.rsplit(',').next().unwrap_or_default().trim();
    (!element.is_empty()).then_some(element)
}

/// The value of `name` in an element of `Forwarded` (RFC 7239 section 4).
fn parameter<'e>(element: &'e str, name: &str) -> Option<&'e str> {
    element.split(';').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(&'static str, &'static str)]) -> Option<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a value"));
        }
        forwarded(&map, false).map(|url| url.to_string())
    }

    #[test]
    fn the_nearest_proxy_is_believed_and_nobody_before_it() {
        let host = ("host", "inner:8080");
        assert_eq!(read(&[host]), None);
        let proto = ("x-forwarded-proto", "https");
        assert_eq!(read(&[host, proto]).as_deref(), Some("https://inner:8080"));
        let name = ("x-forwarded-host", "evil.example, models.example");
        let prefix = ("x-forwarded-prefix", "/ml/");
        assert_eq!(
            read(&[host, proto, name, prefix]).as_deref(),
            Some("https://models.example/ml")
        );
        let standard =
            ("forwarded", r#"for=1.2.3.4;host=evil, for=x;Host="m.example:44";proto=https"#);
        assert_eq!(read(&[host, standard]).as_deref(), Some("https://m.example:44"));
    }

    #[test]
    fn what_is_no_url_is_as_if_nothing_had_been_said() {
        let host = ("host", "inner");
        for (name, value) in [
            ("x-forwarded-host", "a/b"),
            ("x-forwarded-host", "u@x"),
            ("x-forwarded-prefix", "//evil.example"),
            ("x-forwarded-prefix", "ml"),
            ("x-forwarded-prefix", "/a/../b"),
            ("x-forwarded-prefix", "/\"><script>"),
        ] {
            assert_eq!(read(&[host, (name, value)]), None, "{name}: {value}");
        }
    }
}
