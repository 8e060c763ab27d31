//! The pages of a Parquet file, looked at before the library unpacks one: it takes the sizes that they claim for memory.
//!
//! A page is a header in Thrift's compact protocol (`PageHeader` of `parquet.thrift`), then its bytes, which may be compressed.

use std::io::Read as _;

use flate2::read::MultiGzDecoder;
use parquet::basic::Compression;
use parquet::file::metadata::ParquetMetaData;

use crate::fault::Problem;
use crate::limits::Bounds;
use crate::parquet::footer::STATISTICS;
use crate::parquet::thrift::{Kind, Part, Reader, Structure, Visitor};

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
            // The library panics at negative ones.
            let first = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
            let start = usize::try_from(first).ok();
            let length = usize::try_from(column.compressed_size()).ok();
            let end = start.zip(length).and_then(|(start, length)| start.checked_add(length));
            let chunk = start.zip(end);
            let chunk = chunk.and_then(|(start, end)| bytes.get(start..end)).ok_or_else(damaged)?;
            let is_gzip = is_gzip(column.compression())?;
            together = together.saturating_add(of_column(chunk, is_gzip, bounds)?);
        }
        if together > bounds.data_bytes {
            return Err(Problem::Memory { max: bounds.data_bytes });
        }
    }
    Ok(())
}

/// Whether a column is compressed with gzip. What this program cannot unpack is refused with what to write instead.
fn is_gzip(compression: Compression) -> Result<bool, Problem> {
    match compression {
        Compression::GZIP(_) => Ok(true),
        Compression::UNCOMPRESSED | Compression::SNAPPY => Ok(false),
        other => {
            let name = format!("{other:?}").to_lowercase();
            let name = name.split('(').next().unwrap_or_default();
            let fix = "write it with `compression=\"snappy\"`";
            Err(Problem::Parquet(format!(
                "it is compressed with {name}, which is not supported: {fix}"
            )))
        }
    }
}

const DAMAGED: &str = "a page is damaged";

fn damaged() -> Problem {
    Problem::Parquet(DAMAGED.into())
}

/// Checks the pages of a column, and returns how much memory its dictionary and its largest page take.
fn of_column(mut chunk: &[u8], is_gzip: bool, bounds: &Bounds) -> Result<u64, Problem> {
    let (mut dictionary, mut page) = (0, 0);
    while !chunk.is_empty() {
        let mut reader = Reader { rest: chunk, damaged: DAMAGED };
        let mut header = Header::default();
        reader.structure(&PAGE, &mut header)?;
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

/// `PageHeader`.
const PAGE: Structure = Structure {
    part: Part::Page,
    members: &[
        (1, Kind::I32),
        (2, Kind::I32),
        (3, Kind::I32),
        (4, Kind::I32),
        (5, Kind::Structure(&DATA)),
        (6, Kind::Structure(&Structure { part: Part::Other, members: &[] })),
        (7, Kind::Structure(&DICTIONARY)),
        (8, Kind::Structure(&DATA_V2)),
    ],
};

const DATA: Structure = Structure {
    part: Part::DataPage,
    members: &[
        (1, Kind::I32),
        (2, Kind::I32),
        (3, Kind::I32),
        (4, Kind::I32),
        (5, Kind::Structure(&STATISTICS)),
    ],
};

const DICTIONARY: Structure = Structure {
    part: Part::Dictionary,
    members: &[(1, Kind::I32), (2, Kind::I32), (3, Kind::Bool)],
};

const DATA_V2: Structure = Structure {
    part: Part::DataPageV2,
    members: &[
        (1, Kind::I32),
        (2, Kind::I32),
        (3, Kind::I32),
        (4, Kind::I32),
        (5, Kind::I32),
        (6, Kind::I32),
        (7, Kind::Bool),
        (8, Kind::Structure(&STATISTICS)),
    ],
};

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

impl Visitor for Header {
    fn number(&mut self, of: Part, member: i64, value: i64) -> Result<(), Problem> {
        match (of, member) {
            (Part::Page, 2) => self.unpacked = value,
            (Part::Page, 3) => self.packed = value,
            (Part::DataPage, 2) | (Part::DataPageV2, 4) => self.encoding = value,
            (Part::Dictionary, 1) => self.values = value,
            (Part::DataPageV2, 5 | 6) => {
                let levels = self.levels.checked_add(value).filter(|_| value >= 0);
                self.levels = levels.ok_or_else(damaged)?;
            }
            (Part::DataPageV2, 7) => self.is_plain = value == 0,
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
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
        unsigned(((value << 1) ^ (value >> 63)).cast_unsigned())
    }

    /// The same without a sign.
    pub(in crate::parquet) fn unsigned(mut left: u64) -> Vec<u8> {
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
    fn a_compression_that_is_not_supported_is_named_with_another() {
        let refused = is_gzip(Compression::ZSTD(Default::default())).expect_err("not supported");
        let said = refused.to_string();
        assert!(said.contains("zstd,") && said.contains("compression=\"snappy\""), "{said}");
        assert!(is_gzip(Compression::GZIP(Default::default())).is_ok_and(|is_gzip| is_gzip));
        assert!(is_gzip(Compression::SNAPPY).is_ok_and(|is_gzip| !is_gzip));
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
