//! The pages of a Parquet file, looked at before the library unpacks one: it takes the sizes that they claim for memory.
//!
//! A page is a header in Thrift's compact protocol (`PageHeader` of `parquet.thrift`), then its bytes, which may be compressed.

use std::io::Read as _;

use flate2::read::MultiGzDecoder;
use parquet::basic::Compression;
use parquet::file::metadata::ParquetMetaData;

use crate::fault::Problem;
use crate::limits::Bounds;

/// Deepest structure of a header that is read. Those of the format have three.
const DEPTH_MAX: usize = 8;

/// The numbers of encodings of text whose count of lengths is taken for memory.
const DELTA_LENGTH_BYTE_ARRAY: i64 = 6;
const DELTA_BYTE_ARRAY: i64 = 7;

/// Checks every page of a file.
///
/// # Errors
/// [`Problem::Page`], [`Problem::Memory`], [`Problem::Parquet`].
pub(super) fn check(
    bytes: &[u8],
    metadata: &ParquetMetaData,
    bounds: &Bounds,
) -> Result<(), Problem> {
    for group in metadata.row_groups() {
        // Of each column one dictionary and one page are in memory together.
        let mut together = 0_u64;
        for column in group.columns() {
            let (start, length) = column.byte_range();
            let end = start.checked_add(length).and_then(|end| usize::try_from(end).ok());
            let chunk = usize::try_from(start).ok().zip(end);
            let chunk = chunk.and_then(|(start, end)| bytes.get(start..end)).ok_or_else(damaged)?;
            let is_gzip = matches!(column.compression(), Compression::GZIP(_));
            together = together.saturating_add(of_column(chunk, is_gzip, bounds)?);
        }
        if together > bounds.data_bytes {
            return Err(Problem::Memory { max: bounds.data_bytes });
        }
    }
    Ok(())
}

fn damaged() -> Problem {
    Problem::Parquet("a page is damaged".into())
}

/// Checks the pages of a column, and returns how much memory its dictionary and its largest page take.
fn of_column(mut chunk: &[u8], is_gzip: bool, bounds: &Bounds) -> Result<u64, Problem> {
    let (mut dictionary, mut page) = (0, 0);
    while !chunk.is_empty() {
        let mut reader = Reader { rest: chunk };
        let header = reader.header().ok_or_else(damaged)?;
        let unpacked = u64::try_from(header.unpacked).map_err(|_| damaged())?;
        let packed = usize::try_from(header.packed).map_err(|_| damaged())?;
        let (packed, rest) = reader.rest.split_at_checked(packed).ok_or_else(damaged)?;
        if unpacked > bounds.page_bytes {
            return Err(Problem::Page { bytes: unpacked, max: bounds.page_bytes });
        }
        if let DELTA_LENGTH_BYTE_ARRAY | DELTA_BYTE_ARRAY = header.encoding {
            let what = "text in DELTA encodings is not read here: write it with dictionaries or plainly (pyarrow: \
                        `column_encoding=\"PLAIN\"` with `use_dictionary=False`)";
            return Err(Problem::Parquet(what.into()));
        }
        // A value of a dictionary has a byte or more.
        if u64::try_from(header.values).map_or(true, |values| values > unpacked) {
            return Err(damaged());
        }
        if is_gzip && !header.is_plain {
            let levels = usize::try_from(header.levels).map_err(|_| damaged())?;
            let packed = packed.get(levels..).ok_or_else(damaged)?;
            fits(packed, unpacked.checked_sub(levels as u64).ok_or_else(damaged)?)?;
        }
        let held = if header.values > 0 { &mut dictionary } else { &mut page };
        *held = unpacked.max(*held);
        chunk = rest;
    }
    Ok(dictionary + page)
}

/// Whether a page unpacks to no more than it claims: the library asks only afterwards.
fn fits(packed: &[u8], claimed: u64) -> Result<(), Problem> {
    // Then it unpacks nothing.
    if claimed == 0 {
        return Ok(());
    }
    let mut decoder = MultiGzDecoder::new(packed).take(claimed + 1);
    let mut piece = [0; 8192];
    let mut seen = 0;
    loop {
        match decoder.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(count) => seen += count as u64,
            Err(_) => return Err(damaged()),
        }
        if seen > claimed {
            let what = format!("a page unpacks to more than the {claimed} bytes that it claims");
            return Err(Problem::Parquet(what));
        }
    }
}

/// What a page says of itself.
#[derive(Default)]
struct Header {
    unpacked: i64,
    packed: i64,
    /// Of a dictionary: its values.
    values: i64,
    encoding: i64,
    /// Bytes before the compressed ones.
    levels: i64,
    is_plain: bool,
}

impl Header {
    /// Takes a member: its place in the structure with the number `of`, which is 0 for the header itself.
    fn take(&mut self, of: i64, member: i64, value: i64) -> Option<()> {
        match (of, member) {
            (0, 2) => self.unpacked = value,
            (0, 3) => self.packed = value,
            (5, 2) | (8, 4) => self.encoding = value,
            (7, 1) => self.values = value,
            (8, 5 | 6) => self.levels = self.levels.checked_add(value).filter(|_| value >= 0)?,
            (8, 7) => self.is_plain = value == 0,
            _ => {}
        }
        Some(())
    }
}

/// Thrift's compact protocol.
struct Reader<'p> {
    rest: &'p [u8],
}

impl Reader<'_> {
    fn header(&mut self) -> Option<Header> {
        let mut header = Header::default();
        self.structure(0, 0, &mut header)?;
        Some(header)
    }

    /// The members of a structure up to its end.
    fn structure(&mut self, of: i64, depth: usize, header: &mut Header) -> Option<()> {
        if depth > DEPTH_MAX {
            return None;
        }
        let mut member = 0_i64;
        loop {
            let byte = self.byte()?;
            if byte == 0 {
                return Some(());
            }
            member = match byte >> 4 {
                0 => self.number()?,
                more => member.checked_add(i64::from(more))?,
            };
            match byte & 15 {
                kind @ (1 | 2) => header.take(of, member, i64::from(kind == 1))?,
                4..=6 => {
                    let value = self.number()?;
                    header.take(of, member, value)?;
                }
                // Only the header's own structures have members that count.
                12 if depth == 0 => self.structure(member, depth + 1, header)?,
                kind => self.skip(kind, depth)?,
            }
        }
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        match kind {
            1..=3 => self.bytes(1),
            4..=6 => self.number().map(drop),
            7 => self.bytes(8),
            8 => {
                let length = self.unsigned()?;
                self.bytes(usize::try_from(length).ok()?)
            }
            9 | 10 => {
                let byte = self.byte()?;
                let count = match byte >> 4 {
                    15 => self.unsigned()?,
                    count => u64::from(count),
                };
                self.elements(count, &[byte & 15], depth)
            }
            11 => {
                let count = self.unsigned()?;
                if count == 0 {
                    return Some(());
                }
                let kinds = self.byte()?;
                self.elements(count, &[kinds >> 4, kinds & 15], depth)
            }
            12 => self.structure(-1, depth + 1, &mut Header::default()),
            _ => None,
        }
    }

    fn elements(&mut self, count: u64, kinds: &[u8], depth: usize) -> Option<()> {
        // Each takes a byte or more.
        if depth > DEPTH_MAX || count > self.rest.len() as u64 {
            return None;
        }
        for _ in 0..count {
            for kind in kinds {
                self.skip(*kind, depth + 1)?;
            }
        }
        Some(())
    }

    fn bytes(&mut self, count: usize) -> Option<()> {
        self.rest = self.rest.get(count..)?;
        Some(())
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    fn unsigned(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 127) << shift;
            if byte & 128 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// A number in zigzag.
    fn number(&mut self) -> Option<i64> {
        let value = self.unsigned()?;
        Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression as Level;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packed = GzEncoder::new(Vec::new(), Level::default());
        packed.write_all(bytes).expect("packed");
        packed.finish().expect("packed")
    }

    /// A number as the protocol has it.
    fn number(value: i64) -> Vec<u8> {
        let mut left = ((value << 1) ^ (value >> 63)).cast_unsigned();
        let mut bytes = Vec::new();
        while left > 127 {
            bytes.push(left as u8 | 128);
            left >>= 7;
        }
        bytes.push(left as u8);
        bytes
    }

    /// A page of 32-bit members 1 (type), 2 and 3 (sizes) and one structure.
    fn page(unpacked: i64, packed: &[u8], (of, members): (u8, &[i64])) -> Vec<u8> {
        let mut page = vec![0x15, 0, 0x15];
        page.extend(number(unpacked));
        page.push(0x15);
        page.extend(number(packed.len() as i64));
        page.push(((of - 3) << 4) | 12);
        for member in members {
            page.push(0x15);
            page.extend(number(*member));
        }
        page.extend([0, 0]);
        page.extend_from_slice(packed);
        page
    }

    fn checked(chunk: &[u8], is_gzip: bool) -> Result<u64, String> {
        let bounds = Bounds { page_bytes: 1000, ..Bounds::USUAL };
        of_column(chunk, is_gzip, &bounds).map_err(|problem| problem.to_string())
    }

    #[test]
    fn a_page_that_unpacks_to_more_than_it_claims_is_refused() {
        let data = (5, &[10, 0][..]);
        let bomb = gzip(&[0; 100_000]);
        let error = checked(&page(100, &bomb, data), true).expect_err("a bomb");
        assert!(error.contains("more than the 100 bytes that it claims"), "{error}");
        let error = checked(&page(100_000, &bomb, data), true).expect_err("a large page");
        assert!(error.contains("100000 bytes unpacked, more than the 1000 allowed"), "{error}");
        let sound = [page(100, &gzip(&[0; 100]), data), page(90, &gzip(&[0; 90]), data)].concat();
        assert_eq!(checked(&sound, true), Ok(100));
        checked(&page(100, b"no gzip", data), true).expect_err("damaged");
    }

    #[test]
    fn a_dictionary_cannot_have_more_values_than_bytes() {
        assert_eq!(checked(&page(8, &[0; 8], (7, &[2, 0])), false), Ok(8));
        checked(&page(8, &[0; 8], (7, &[1 << 30, 0])), false).expect_err("a thousand million");
        checked(&page(8, &[0; 8], (7, &[-1, 0])), false).expect_err("negative");
    }

    #[test]
    fn counts_of_lengths_that_are_taken_for_memory_are_refused() {
        for encoding in [DELTA_LENGTH_BYTE_ARRAY, DELTA_BYTE_ARRAY] {
            let error = checked(&page(8, &[0; 8], (5, &[2, encoding])), false).expect_err("delta");
            assert!(error.contains("DELTA"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = checked(&bytes, true);
        }
    }
}
