use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use bytes::Bytes;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use proptest::prelude::*;

use super::*;
use crate::parquet::pages::tests::unsigned;
use crate::parquet::{read, tests};
use crate::read::Options;

/// A group `g`, which is optional and says that it has so many members.
fn group(members: u64) -> Vec<u8> {
    [&[0x35, 2, 0x18, 1, b'g', 0x15][..], &unsigned(members * 2), &[0]].concat()
}

/// A column `c` of 64-bit numbers.
fn column() -> Vec<u8> {
    vec![0x15, 4, 0x25, 0, 0x18, 1, b'c', 0]
}

/// A list of structures.
fn list(structures: &[Vec<u8>]) -> Vec<u8> {
    [vec![0xfc], unsigned(structures.len() as u64), structures.concat()].concat()
}

/// A file with only a footer: version 1, a schema, no rows, and what follows up to its end.
fn file(schema: &[Vec<u8>], then: &[u8]) -> Vec<u8> {
    ended([&[0x15, 2, 0x19][..], &list(schema), &[0x16, 0], then, &[0]].concat())
}

fn ended(footer: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(footer.len()).expect("short");
    [b"PAR1".to_vec(), footer, length.to_le_bytes().to_vec(), b"PAR1".to_vec()].concat()
}

/// What is said of a file that is not read.
fn refused(bytes: Vec<u8>, bounds: &Bounds) -> String {
    let read = read(Path::new("t.parquet"), &bytes.into(), &Options::default(), bounds);
    read.map(|(columns, _)| columns.len()).expect_err("refused").to_string()
}

/// A footer of two columns and two row groups, without rows: each has no column.
fn small() -> Vec<u8> {
    let groups = list(&vec![vec![0x19, 0x0c, 0x16, 0, 0x16, 0, 0]; 2]);
    let keys = [&[0x19, 0x1c, 0x18, 1, b'k', 0][..]].concat();
    file(&[group(2), column(), column()], &[&[0x19][..], &groups, &keys].concat())
}

#[test]
fn what_a_footer_announces_is_counted() {
    let counted = footer(&tests::file()).expect("sound");
    let expected =
        Footer { columns: 3, levels: 1, schema_elements: 4, row_groups: 1, column_chunks: 3 };
    assert_eq!(counted, expected);
    let counted = footer(&small()).expect("sound");
    assert_eq!((counted.columns, counted.row_groups, counted.column_chunks), (2, 2, 0));
}

#[test]
fn groups_in_groups_are_refused_before_the_library_recurses() {
    let nested = |groups: usize| {
        let mut schema = vec![group(1); groups];
        schema.push(column());
        file(&schema, &[0x19, 0x0c])
    };
    let bytes = nested(20_000);
    assert!(bytes.len() < 170_000);
    let error = refused(bytes, &Bounds::USUAL);
    assert!(error.contains("17 levels of groups, more than the 16 allowed"), "{error}");
    assert_eq!(footer(&nested(16)).expect("sound").levels, 16);
}

#[test]
fn members_that_a_group_claims_are_refused_before_memory_is_taken_for_them() {
    let claimed = (1 << 31) - 1;
    let error = refused(file(&vec![group(claimed); 5_000], &[0x19, 0x0c]), &Bounds::USUAL);
    assert!(error.contains("claims 2147483647 members, more than the 4999 elements"), "{error}");
    // Each claims what is left, and together they claim more.
    let schema = [group(3), group(2), group(1), column(), column()];
    let error = refused(file(&schema, &[0x19, 0x0c]), &Bounds::USUAL);
    assert!(error.contains("claims 2 members, more than the 1 elements"), "{error}");
    // A second root, a negative number, and one of which the library would take 32 bits.
    for schema in
        [vec![group(1), column(), column()], vec![group(u64::MAX / 2)], vec![group(1 << 33)]]
    {
        let error = refused(file(&schema, &[0x19, 0x0c]), &Bounds::USUAL);
        assert!(error.contains("footer is damaged"), "{error}");
    }
}

#[test]
fn a_footer_beyond_a_limit_is_refused_with_the_limit() {
    let usual = Bounds::USUAL;
    for (bytes, bounds, said) in [
        (tests::file(), Bounds { footer_bytes: 99, ..usual }, "bytes, more than the 99 allowed"),
        (
            tests::file(),
            Bounds { schema_elements: 3, ..usual },
            "4 elements of the schema, more than the 3 allowed",
        ),
        (
            tests::file(),
            Bounds { column_chunks: 2, ..usual },
            "3 column chunks, more than the 2 allowed",
        ),
        (
            tests::file(),
            Bounds { schema_levels: 0, ..usual },
            "1 levels of groups, more than the 0",
        ),
        (small(), Bounds { row_groups: 1, ..usual }, "2 row groups, more than the 1 allowed"),
        (small(), Bounds { key_values: 0, ..usual }, "1 keys of metadata, more than the 0 allowed"),
    ] {
        let error = refused(bytes, &bounds);
        assert!(error.contains(said), "{error}");
    }
    // A thousand million row groups in no bytes.
    let groups = [&[0x19, 0xfc][..], &unsigned(1 << 30)].concat();
    let bounds = Bounds { row_groups: u64::MAX, ..usual };
    let error = refused(file(&[group(1), column()], &groups), &bounds);
    assert!(error.contains("claims 1073741824 entries, more than the 1 bytes left"), "{error}");
}

#[test]
fn what_the_library_would_read_as_something_else_is_refused() {
    // The list of truths has a byte for each, of which the library skips none: it finds a schema there.
    let hidden = [&[0x15, 2, 0x19][..], &list(&[group((1 << 31) - 1)]), &[0]].concat();
    let mut footer = vec![0x09];
    footer.extend(unsigned(200));
    footer.push(0xf1);
    footer.extend(unsigned(hidden.len() as u64));
    footer.extend(&hidden);
    footer.push(0);
    assert!(refused(ended(footer), &Bounds::USUAL).contains("footer is damaged"));
    // A schema that says that it is text, and a second one.
    let text = [&[0x15, 2, 0x18][..], &unsigned(1), &[0x1c, 0]].concat();
    assert!(refused(ended(text), &Bounds::USUAL).contains("footer is damaged"));
    let schema = list(&[group(1), column()]);
    let twice = [&[0x29][..], &schema, &[0x09, 4], &schema, &[0]].concat();
    assert!(refused(ended(twice), &Bounds::USUAL).contains("two schemas"));
}

#[test]
fn a_file_that_does_not_end_as_one_is_refused() {
    for (bytes, said) in [
        (b"PAR1".to_vec(), "does not end as a Parquet file"),
        (b"PAR1 and more".to_vec(), "does not end as a Parquet file"),
        ([&[0; 8][..], b"PARE"].concat(), "it is encrypted"),
        ([&[9, 0, 0, 0][..], b"PAR1"].concat(), "its footer is damaged"),
    ] {
        let error = refused(bytes, &Bounds::USUAL);
        assert!(error.contains(said), "{error}");
    }
}

/// What the library finds is what was counted.
fn agrees(bytes: Vec<u8>) {
    let Ok(counted) = footer(&bytes) else { return };
    let open = || SerializedFileReader::new(Bytes::from(bytes));
    let Ok(Ok(reader)) = catch_unwind(AssertUnwindSafe(open)) else { return };
    let metadata = reader.metadata();
    assert!(metadata.file_metadata().schema_descr().num_columns() <= counted.columns);
    assert!(metadata.num_row_groups() as u64 <= counted.row_groups);
    let chunks: usize = metadata.row_groups().iter().map(|group| group.columns().len()).sum();
    assert!(chunks as u64 <= counted.column_chunks);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_library_finds_no_more_than_was_counted(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        is_small in any::<bool>(),
    ) {
        let mut bytes = if is_small { small() } else { tests::file() };
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        agrees(bytes);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = footer(&ended(bytes));
    }
}
