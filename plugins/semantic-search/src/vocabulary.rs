//! The vocabulary, sorted by `build.rs`.

/// Texts in order, and the end of each.
struct Table {
    text: &'static str,
    index: &'static [u8],
}

static WORDS: Table = Table {
    text: include_str!(concat!(env!("OUT_DIR"), "/words.txt")),
    index: include_bytes!(concat!(env!("OUT_DIR"), "/words.bin")),
};

static PIECES: Table = Table {
    text: include_str!(concat!(env!("OUT_DIR"), "/pieces.txt")),
    index: include_bytes!(concat!(env!("OUT_DIR"), "/pieces.bin")),
};

/// The piece with this text that begins a word.
pub(crate) fn word(text: &str) -> Option<i64> {
    WORDS.find(text)
}

/// The piece with this text, without the `##`, that continues a word.
pub(crate) fn piece(text: &str) -> Option<i64> {
    PIECES.find(text)
}

impl Table {
    fn find(&self, text: &str) -> Option<i64> {
        let entries = self.index.len() / 8;
        let (mut from, mut to) = (0, entries);
        while from < to {
            let middle = from + (to - from) / 2;
            let (token, id) = self.entry(middle)?;
            match token.cmp(text) {
                std::cmp::Ordering::Less => from = middle + 1,
                std::cmp::Ordering::Greater => to = middle,
                std::cmp::Ordering::Equal => return Some(id),
            }
        }
        None
    }

    fn entry(&self, place: usize) -> Option<(&'static str, i64)> {
        let start = match place.checked_sub(1) {
            Some(before) => self.number(2 * before)?,
            None => 0,
        };
        let end = self.number(2 * place)?;
        Some((self.text.get(start as usize..end as usize)?, self.number(2 * place + 1)?.into()))
    }

    fn number(&self, place: usize) -> Option<u32> {
        let bytes = self.index.get(4 * place..4 * place + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }
}
