//! Keeps every event on one line: text of guests, models, tenants and libraries cannot begin another.

use std::fmt::Write as _;
use std::io;

/// How to escape characters that end a line or control a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Rust's escapes.
    Text,
    /// Rust's escapes, except the log's own colours.
    Coloured,
    /// JSON's escapes.
    Json,
}

/// Writes each event as one line, in one piece with its newline.
pub(super) struct Lines<W> {
    out: W,
    style: Style,
}

impl<W> Lines<W> {
    pub(super) fn new(out: W, style: Style) -> Self {
        Self { out, style }
    }
}

impl<W: io::Write> io::Write for Lines<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let mut line = escaped(text.strip_suffix('\n').unwrap_or(&text), self.style);
        line.push('\n');
        // In one piece, so that lines of several threads do not mix.
        self.out.write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// `text` as one line.
pub(super) fn escaped(text: &str, style: Style) -> String {
    let mut line = String::with_capacity(text.len() + 1);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if style == Style::Coloured
            && let Some(colour) = colour(rest)
        {
            line.push_str(&rest[..colour]);
            rest = &rest[colour..];
            continue;
        }
        match c {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            c if is_unsafe(c) && style == Style::Json => drop(write!(line, "\\u{:04x}", c as u32)),
            c if is_unsafe(c) => drop(write!(line, "\\u{{{:x}}}", c as u32)),
            c => line.push(c),
        }
        rest = &rest[c.len_utf8()..];
    }
    line
}

/// Characters that end lines, control terminals, or change the reading direction. All have at most four hexadecimal digits.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The length of a colour sequence at the beginning of `text`, if any.
fn colour(text: &str) -> Option<usize> {
    let codes = text.strip_prefix("\u{1b}[")?;
    let length = codes.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    codes[length..].starts_with('m').then_some("\u{1b}[".len() + length + 1)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const FORGED: &str = "x\n2026-01-01T00:00:00Z  INFO hospes::deploy: published\r\u{1b}[2K\u{7f}\u{85}\u{2028}\u{202e}";

    #[test]
    fn no_event_is_two_lines() {
        for style in [Style::Text, Style::Coloured, Style::Json] {
            let mut out = Vec::new();
            Lines::new(&mut out, style).write_all(format!("{FORGED}\n").as_bytes()).expect("taken");
            let text = String::from_utf8(out).expect("text");
            let line = text.strip_suffix('\n').expect("a line's end");
            assert!(!line.contains(is_unsafe), "{line:?}");
            assert!(line.starts_with("x\\n2026-01-01") && line.contains("published\\r"), "{line}");
        }
        assert_eq!(escaped("\u{1b}[2m\u{1b}[2K", Style::Coloured), "\u{1b}[2m\\u{1b}[2K");
        assert_eq!(escaped("\u{1b}[2mä", Style::Text), "\\u{1b}[2mä");
    }

    #[test]
    fn what_is_escaped_in_json_is_json_still() {
        let text = serde_json::json!({"message": FORGED}).to_string();
        let line = escaped(&text, Style::Json);
        assert!(!line.contains(is_unsafe), "{line:?}");
        let read: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(read["message"], FORGED);
    }
}
