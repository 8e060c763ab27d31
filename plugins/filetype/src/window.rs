//! The model's input for a file: its first and last bytes without surrounding white space, as numbers. A special number (256)
//! stands for a missing byte. Files with too little content get their result here, without the model.

use crate::verdict::{
    BEGINNING_TOKENS, BLOCK_BYTES, BYTES_MIN, EMPTY, END_TOKENS, Kind, PADDING, TXT, UNKNOWN,
};

/// How to find a file's type.
#[derive(Debug, PartialEq)]
pub(crate) enum Window {
    /// The file has too little content for the model.
    Decided(&'static Kind),
    /// The model's input.
    Tokens(Vec<i32>),
}

/// The window of `file`.
pub(crate) fn of(file: &[u8]) -> Window {
    if file.is_empty() {
        return Window::Decided(EMPTY);
    }
    let block = file.len().min(BLOCK_BYTES);
    let (first, last) = (&file[..block], &file[file.len() - block..]);
    let beginning = trim_start(first);
    if file.len() < BYTES_MIN || beginning.len() < BYTES_MIN {
        return Window::Decided(if std::str::from_utf8(first).is_ok() { TXT } else { UNKNOWN });
    }
    let beginning = &beginning[..beginning.len().min(BEGINNING_TOKENS)];
    let end = trim_end(last);
    let end = &end[end.len().saturating_sub(END_TOKENS)..];

    let mut tokens = Vec::with_capacity(BEGINNING_TOKENS + END_TOKENS);
    tokens.extend(beginning.iter().map(|&byte| i32::from(byte)));
    // The first bytes are padded at their end, the last bytes at their beginning, so the two paddings are adjacent.
    tokens.resize(BEGINNING_TOKENS + END_TOKENS - end.len(), PADDING);
    tokens.extend(end.iter().map(|&byte| i32::from(byte)));
    Window::Tokens(tokens)
}

/// White space as in Python's `bytes.strip`. Rust's `is_ascii_whitespace` does not include the vertical tab.
fn is_white(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0B | 0x0C | b'\r')
}

fn trim_start(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|byte| !is_white(byte)).unwrap_or(bytes.len());
    &bytes[start..]
}

fn trim_end(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| !is_white(byte)).map_or(0, |last| last + 1);
    &bytes[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(file: &[u8]) -> Vec<i32> {
        match of(file) {
            Window::Tokens(tokens) => tokens,
            Window::Decided(kind) => panic!("decided: {kind:?}"),
        }
    }

    fn decided(file: &[u8]) -> &'static str {
        match of(file) {
            Window::Decided(kind) => kind.label,
            Window::Tokens(_) => panic!("left to the model"),
        }
    }

    fn numbers(bytes: &[u8]) -> Vec<i32> {
        bytes.iter().map(|&byte| byte.into()).collect()
    }

    #[test]
    fn a_file_with_too_little_in_it_is_decided_without_the_model() {
        assert_eq!(decided(b""), "empty");
        assert_eq!(decided(b"1234567"), "txt");
        assert_eq!(decided(b"\xFF\xFE67567"), "unknown");
        assert_eq!(decided(b"          1234567"), "txt");
        assert_eq!(decided(&[b' '; 5000]), "txt");
        // Trailing white space counts, because only leading white space is stripped before counting.
        assert_eq!(tokens(b"1234567\n").len(), BEGINNING_TOKENS + END_TOKENS);
    }

    #[test]
    fn only_the_first_block_counts_for_a_file_that_begins_with_white_space() {
        let mut file = vec![b'\n'; BLOCK_BYTES];
        file.extend_from_slice(b"{\"a\": [1, 2, 3]}");
        assert_eq!(decided(&file), "txt");
        // If the end of the block splits a character, the block is not text, as in Magika.
        let mut file = vec![b' '; BLOCK_BYTES - 1];
        file.extend_from_slice("é and more text".as_bytes());
        assert_eq!(decided(&file), "unknown");
    }

    #[test]
    fn a_short_file_is_padded_in_the_middle() {
        let file = b"  \x0B\x0Cint main;\r\n\t";
        let inner = numbers(b"int main;");
        let seen = tokens(file);
        // Only the outer side of each block is stripped, and for a short file both blocks contain the whole file.
        let beginning = numbers(b"int main;\r\n\t");
        let end = numbers(b"  \x0B\x0Cint main;");
        assert_eq!(seen[..beginning.len()], beginning);
        assert_eq!(seen[seen.len() - end.len()..], end);
        assert!(seen[beginning.len()..seen.len() - end.len()].iter().all(|&t| t == PADDING));
        assert!(seen.ends_with(&inner));
    }

    #[test]
    fn a_long_file_is_seen_at_both_ends_only() {
        let file: Vec<u8> = (0..20_000_u32).map(|i| (i * 7 % 251) as u8 | 0x80).collect();
        let seen = tokens(&file);
        assert_eq!(seen[..BEGINNING_TOKENS], numbers(&file[..BEGINNING_TOKENS]));
        assert_eq!(seen[BEGINNING_TOKENS..], numbers(&file[file.len() - END_TOKENS..]));
        let mut middle = file.clone();
        middle[BLOCK_BYTES..file.len() - BLOCK_BYTES].fill(0);
        assert_eq!(tokens(&middle), seen);
    }

    #[test]
    fn white_space_at_the_end_moves_the_window_but_not_past_its_block() {
        let mut file = vec![b'x'; 2 * BLOCK_BYTES];
        file.extend_from_slice(&[b' '; 3000]);
        assert!(tokens(&file).iter().all(|&t| t == i32::from(b'x')));
        file.extend_from_slice(&[b' '; 1000]);
        let seen = tokens(&file);
        let (end, padding) = (BLOCK_BYTES - 4000, END_TOKENS - (BLOCK_BYTES - 4000));
        assert!(seen[BEGINNING_TOKENS..][..padding].iter().all(|&t| t == PADDING));
        assert!(seen[seen.len() - end..].iter().all(|&t| t == i32::from(b'x')));
    }
}
