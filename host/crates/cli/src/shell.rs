//! Quotes words for commands that people paste into a shell.

use std::path::Path;

/// Text as one word.
pub fn word(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+,:@%=".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// A path as one word that is not taken for an option.
pub fn path(path: &Path) -> String {
    let text = path.to_string_lossy();
    let start = if text.starts_with('-') { "./" } else { "" };
    word(&format!("{start}{text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_one_word() {
        for (text, wanted) in [
            ("http://127.0.0.1:80/a/b", "http://127.0.0.1:80/a/b"),
            ("/var/lib/hospes", "/var/lib/hospes"),
            ("my data", "'my data'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
        ] {
            assert_eq!((word(text), path(Path::new(text))), (wanted.into(), wanted.into()));
        }
        assert_eq!((word("-rf"), path(Path::new("-rf"))), ("-rf".into(), "./-rf".into()));
    }
}
