//! The names and short texts of a bundle, each checked where it is parsed.
//!
//! None of them is ever a path: weights are stored under their digest, and sections are found by position.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, de};

/// Longest name of a model inside a bundle, in bytes.
pub const GRAPH_NAME_BYTES_MAX: usize = 64;
/// Longest name of a component's export, in bytes.
pub const EXPORT_BYTES_MAX: usize = 256;
/// Longest licence expression, in bytes.
pub const LICENCE_BYTES_MAX: usize = 128;

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error(
        "`{0}` does not name a model of a bundle: use 1 to {GRAPH_NAME_BYTES_MAX} letters, digits, `.`, `_` and `-`, starting with a letter or digit"
    )]
    Graph(String),
    #[error(
        "`{0}` does not name an exported function: write `function`, or `namespace:package/interface@version#function`, in at most {EXPORT_BYTES_MAX} bytes"
    )]
    Export(String),
    #[error(
        "`{0}` is not an SPDX licence: use an identifier such as `Apache-2.0`, or an expression of them, in at most {LICENCE_BYTES_MAX} bytes"
    )]
    Licence(String),
}

macro_rules! checked_text {
    ($(#[$doc:meta])* $type:ident, $check:ident, $error:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $type(Box<str>);

        impl $type {
            /// The text as written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                if $check(text) { Ok(Self(text.into())) } else { Err(NameError::$error(shown(text))) }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}

checked_text!(
    /// The name by which a guest loads a model of its bundle (`wasi:nn/graph.load-by-name`).
    GraphName,
    is_graph_name,
    Graph
);
checked_text!(
    /// An exported function by the component's name for it: `detect`, `hospes:plugin/inference@0.1.0#infer`, or for a resource's method
    /// `a:b/c#[method]index.search`.
    Export,
    is_export,
    Export
);
checked_text!(
    /// An SPDX licence identifier or expression. Only its characters are checked, not whether SPDX lists it.
    Licence,
    is_licence,
    Licence
);

impl Export {
    /// The interface whose instance exports the function; `None` for a function of the world itself.
    pub fn interface(&self) -> Option<&str> {
        self.0.split_once('#').map(|(interface, _)| interface)
    }

    /// The function's name, without its interface.
    pub fn function(&self) -> &str {
        self.0.split_once('#').map_or(&self.0, |(_, function)| function)
    }
}

/// Shortens untrusted text for an error message and makes it printable.
fn shown(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 80;
    text.chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_debug).collect()
}

fn is_graph_name(text: &str) -> bool {
    text.len() <= GRAPH_NAME_BYTES_MAX
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn is_export(text: &str) -> bool {
    if text.len() > EXPORT_BYTES_MAX {
        return false;
    }
    let Some((interface, function)) = text.split_once('#') else { return is_word(text) };
    let allowed =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b':' | b'/' | b'@' | b'.' | b'+');
    let of_resource = ["[method]", "[static]"].iter().find_map(|kind| function.strip_prefix(kind));
    let is_function = match of_resource {
        None => is_word(function),
        Some(of_resource) => of_resource
            .split_once('.')
            .is_some_and(|(resource, function)| is_word(resource) && is_word(function)),
    };
    is_function
        && interface.starts_with(|c: char| c.is_ascii_alphabetic())
        && interface.bytes().all(allowed)
}

/// Whether this is letters, digits and `-`, starting with a letter.
fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn is_licence(text: &str) -> bool {
    let allowed = |b: u8| {
        b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+' | b':' | b' ' | b'(' | b')')
    };
    text.len() <= LICENCE_BYTES_MAX
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '(')
        && !text.ends_with(' ')
        && !text.contains("  ")
        && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn graph_names_cannot_climb_or_be_empty() {
        for good in ["model", "m.onnx", "Model_2", "1", &"a".repeat(64)] {
            assert!(good.parse::<GraphName>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "../a", "a/b", "a b", "ä", "a\0", "-a", &"a".repeat(65)] {
            assert!(bad.parse::<GraphName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_export_splits_into_interface_and_function() {
        let plain: Export = "detect".parse().expect("a plain export");
        assert_eq!((plain.interface(), plain.function()), (None, "detect"));
        let whole: Export = "hospes:plugin/inference@0.1.0#infer".parse().expect("an export");
        assert_eq!(whole.interface(), Some("hospes:plugin/inference@0.1.0"));
        assert_eq!(whole.function(), "infer");
        for good in ["a:b/c#[method]r.m", "a:b/c#[static]r-s.m-n", "i#[method]r.m"] {
            assert!(good.parse::<Export>().is_ok(), "{good}");
        }
        let strange =
            ["", "#", "a#", "#a", "a#b#c", "a b", "[method]r.m", "a:b/c#1x", &"a".repeat(257)];
        let of_resources =
            ["[method]r", "[method].m", "[method]r.", "[method]r.m.n", "[constructor]r", "[x]r.m"];
        let of_resources = of_resources.map(|function| format!("a:b/c#{function}"));
        for bad in strange.into_iter().chain(of_resources.iter().map(String::as_str)) {
            assert!(bad.parse::<Export>().is_err(), "{bad}");
        }
    }

    #[test]
    fn licences_are_spdx_shaped() {
        for good in ["Apache-2.0", "MIT OR Apache-2.0", "(MIT AND BSD-3-Clause)", "LicenseRef-own"]
        {
            assert!(good.parse::<Licence>().is_ok(), "{good}");
        }
        for bad in ["", " MIT", "MIT ", "MIT  OR X", "MIT\n", "<b>", "MIT/X", &"a".repeat(129)] {
            assert!(bad.parse::<Licence>().is_err(), "{bad}");
        }
    }
}
