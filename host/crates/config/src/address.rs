//! Addresses in settings: where clients reach the host, which pages of the web may call it, and which machines speak for others.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest prefix of paths, in bytes.
const PREFIX_BYTES_MAX: usize = 256;

/// Why an address in the settings, or on the command line, was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error(
        "`{0}` is not the URL of a host: write it as `https://host.example` or `https://host.example/prefix`"
    )]
    Url(String),
    #[error(
        "`{0}` is not the origin of a page: write `https://app.example`, without a path, or `*` for all"
    )]
    Origin(String),
    #[error(
        "`{0}` is not an address or a network: write one such as `10.1.2.3`, `10.0.0.0/8`, `fd00::/8`"
    )]
    Network(String),
}

/// Where a host is reached: scheme, host and port, and the prefix that a proxy has put in front of every path. Written without a
/// slash at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BaseUrl {
    is_tls: bool,
    authority: String,
    prefix: String,
}

impl BaseUrl {
    /// The URL of these parts; none if one of them is not what it should be.
    pub fn new(is_tls: bool, authority: &str, prefix: &str) -> Option<Self> {
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        (is_host(authority.as_bytes()) && is_prefix(prefix)).then(|| Self {
            is_tls,
            authority: authority.to_owned(),
            prefix: prefix.to_owned(),
        })
    }

    /// Whether clients come by TLS.
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// The host, and the port if it is not the scheme's own.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// What stands in front of every path: empty, or with a slash in front and none behind.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

/// Whether these bytes are `uri-host [":" port]` (RFC 9110 section 7.2).
pub fn is_host(bytes: &[u8]) -> bool {
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

/// Whether this can stand in front of every path as it is.
fn is_prefix(text: &str) -> bool {
    let is_part = |part: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        !part.is_empty() && part != "." && part != ".." && part.bytes().all(is_plain)
    };
    text.is_empty()
        || text.len() <= PREFIX_BYTES_MAX
            && text.strip_prefix('/').is_some_and(|text| text.split('/').all(is_part))
}

impl FromStr for BaseUrl {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let refused = || AddressError::Url(text.to_owned());
        let (is_tls, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            _ => return Err(refused()),
        };
        let (authority, prefix) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        Self::new(is_tls, authority, prefix).ok_or_else(refused)
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.prefix)
    }
}

/// The origin of pages that may call the host from a browser, or all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin(String);

impl Origin {
    /// Whether it stands for every origin.
    pub fn is_any(&self) -> bool {
        self.0 == "*"
    }

    /// Whether a browser that says `Origin: {seen}` is meant.
    pub fn covers(&self, seen: &[u8]) -> bool {
        self.is_any() || self.0.as_bytes().eq_ignore_ascii_case(seen)
    }
}

impl FromStr for Origin {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let is_scheme = |scheme: &str| {
            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        };
        let is_origin = text.split_once("://").is_some_and(|(scheme, authority)| {
            is_scheme(scheme) && BaseUrl::new(true, authority, "").is_some()
        });
        if text == "*" || is_origin {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(AddressError::Origin(text.to_owned()))
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One address, or all that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether `address` is in it. An IPv4 address that came as an IPv6 one is what it stands for.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differ = own.to_bits() ^ other.to_bits();
                differ.leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differ = own.to_bits() ^ other.to_bits();
                differ.leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Network {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let refused = || AddressError::Network(text.to_owned());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| refused())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse).map_err(|_| refused())?;
        if bits <= most { Ok(Self { address, bits }) } else { Err(refused()) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

macro_rules! as_text {
    ($($type:ty),*) => {
        $(
            impl TryFrom<String> for $type {
                type Error = AddressError;

                fn try_from(text: String) -> Result<Self, AddressError> {
                    text.parse()
                }
            }

            impl From<$type> for String {
                fn from(address: $type) -> String {
                    address.to_string()
                }
            }
        )*
    };
}

as_text!(BaseUrl, Origin, Network);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_a_host_has_an_authority_and_perhaps_a_prefix() {
        for (text, shown) in [
            ("https://host.example", "https://host.example"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
            ("HTTPS://x/ml/models/", "https://x/ml/models"),
            ("http://[::1]:80", "http://[::1]:80"),
        ] {
            let url: BaseUrl = text.parse().expect(text);
            assert_eq!(url.to_string(), shown);
        }
        for bad in [
            "",
            "x",
            "ftp://x",
            "http://",
            "http:///a",
            "http://u:p@x",
            "https://x/?q",
            "https://x/#f",
            "https://x/a//b",
            "https://x/../a",
            "https://x/a b",
            "https://x/%2e",
            "https://:80",
            "https://x\"y",
        ] {
            assert_eq!(bad.parse::<BaseUrl>(), Err(AddressError::Url(bad.into())), "{bad}");
        }
    }

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

    #[test]
    fn an_origin_has_no_path() {
        let own: Origin = "https://App.example:8443".parse().expect("an origin");
        assert!(own.covers(b"https://app.example:8443") && !own.covers(b"https://app.example"));
        assert!("*".parse::<Origin>().expect("all").covers(b"https://any.example"));
        for bad in [
            "",
            "null",
            "app.example",
            "https://x/",
            "https://x/y",
            "https://*.x",
            "://x",
            "https://",
        ] {
            assert!(bad.parse::<Origin>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_network_has_the_addresses_that_begin_alike() {
        let has = |network: &str, address: &str| {
            let network: Network = network.parse().expect(network);
            network.contains(address.parse().expect(address))
        };
        assert!(has("10.0.0.0/8", "10.255.0.1") && !has("10.0.0.0/8", "11.0.0.1"));
        assert!(has("127.0.0.1", "127.0.0.1") && !has("127.0.0.1", "127.0.0.2"));
        assert!(has("127.0.0.1", "::ffff:127.0.0.1") && !has("::1", "127.0.0.1"));
        assert!(has("fd00::/8", "fdff::1") && !has("fd00::/8", "fe80::1"));
        assert!(has("0.0.0.0/0", "1.2.3.4") && !has("0.0.0.0/0", "::1"));
        for bad in ["", "x", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1", "10.0.0/8"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }
}
