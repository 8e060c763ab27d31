//! Where a listener is, as people write it: an address or a name, and a port.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest name of a host (RFC 1035 section 2.3.4), in bytes.
const NAME_BYTES_MAX: usize = 253;

/// An address or a name, and a port. Names are looked up when the host begins to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenAddress {
    /// Without brackets.
    host: Box<str>,
    port: u16,
}

/// Why something is no address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not an address to listen on: write it as `127.0.0.1:8080`, `[::1]:8080` or `localhost:8080`"
)]
pub struct ListenAddressError(String);

impl ListenAddress {
    pub(super) fn new(host: &str, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    /// What is looked up.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; 0 picks a free one.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes the port.
    pub fn set_port(&mut self, port: u16) {
        self.port = port;
    }
}

fn is_name(host: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    host.len() <= NAME_BYTES_MAX
        && host.strip_suffix('.').unwrap_or(host).split('.').all(is_label)
        // What looks like an address and is none, such as `127.0.0.256`, is a mistake.
        && !host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

impl FromStr for ListenAddress {
    type Err = ListenAddressError;

    fn from_str(text: &str) -> Result<Self, ListenAddressError> {
        let wrong =
            || ListenAddressError(text.chars().filter(|c| !c.is_control()).take(80).collect());
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        let port = port.parse().map_err(|_| wrong())?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let sound = match bracketed {
            Some(host) => host.parse::<Ipv6Addr>().is_ok(),
            None => host.parse::<std::net::Ipv4Addr>().is_ok() || is_name(host),
        };
        if sound { Ok(Self::new(bracketed.unwrap_or(host), port)) } else { Err(wrong()) }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.parse() {
            Ok(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            Ok(IpAddr::V4(_)) | Err(_) => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl Serialize for ListenAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ListenAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_are_read_and_written_the_same() {
        for text in [
            "127.0.0.1:8080",
            "[::1]:80",
            "[::]:0",
            "localhost:8080",
            "host.example:443",
            "a-b_c:1",
        ] {
            let address: ListenAddress = text.parse().expect("an address");
            assert_eq!(address.to_string(), text);
        }
        for text in [
            "",
            "localhost",
            "8080",
            ":80",
            "::1:80",
            "[localhost]:80",
            "a b:80",
            "x:",
            "x:+1",
            "x:65536",
            "127.0.0.256:80",
            "http://x:80",
            "-x:80",
            "[::1]80",
            "x\n:80",
        ] {
            assert!(text.parse::<ListenAddress>().is_err(), "{text}");
        }
    }
}
