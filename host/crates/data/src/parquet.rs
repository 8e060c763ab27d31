//! Parquet: flat tables of numbers, booleans and text. The library checks less than it could, so its panics are caught.

mod footer;
mod pages;
mod thrift;

pub use footer::{Footer, footer};

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use bytes::Bytes;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::{Field, Row};

use crate::cells::{Cells, Memory, Values, table};
use crate::fault::{DataError, Place, Problem};
use crate::labels::Labels;
use crate::limits::Bounds;
use crate::read::Options;
use crate::set::Column;

pub(crate) fn read(
    path: &Path,
    bytes: &Bytes,
    options: &Options,
    bounds: &Bounds,
) -> Result<(Vec<Column>, Option<Labels>), DataError> {
    let damaged = |_| {
        let problem = Problem::Parquet("the file is damaged".into());
        Err(DataError::one(path, Place::File, problem))
    };
    let cells = catch_unwind(AssertUnwindSafe(|| rows(path, bytes, bounds)));
    let cells = cells.unwrap_or_else(damaged)?;
    let at = |row, column: &str| Place::Row { row: row + 1, column: column.to_owned() };
    table(path, cells, options, at)
}

fn rows(path: &Path, bytes: &Bytes, bounds: &Bounds) -> Result<Vec<Cells>, DataError> {
    let file = |problem| DataError::one(path, Place::File, problem);
    let broken = |error: &dyn std::fmt::Display| file(Problem::Parquet(error.to_string()));
    footer::check(bytes, bounds).map_err(file)?;
    let reader = SerializedFileReader::new(bytes.clone()).map_err(|error| broken(&error))?;
    let metadata = reader.metadata();
    let columns = metadata.file_metadata().schema_descr().num_columns();
    let count = usize::try_from(metadata.file_metadata().num_rows()).unwrap_or(usize::MAX);
    if count > bounds.rows {
        return Err(file(Problem::Many { what: "rows", max: bounds.rows }));
    }
    if count.saturating_mul(columns) > bounds.cells {
        return Err(file(Problem::Many { what: "cells", max: bounds.cells }));
    }
    let unpacked: i64 = metadata
        .row_groups()
        .iter()
        .map(|group| group.total_byte_size())
        .fold(0, i64::saturating_add);
    if u64::try_from(unpacked).map_or(true, |bytes| bytes > bounds.data_bytes) {
        return Err(file(Problem::Memory { max: bounds.data_bytes }));
    }
    pages::check(bytes, metadata, bounds).map_err(file)?;
    let mut cells: Vec<Cells> = Vec::new();
    let mut memory = Memory::new(bounds);
    for (row, fields) in reader.get_row_iter(None).map_err(|error| broken(&error))?.enumerate() {
        let fields = fields.map_err(|error| broken(&error))?;
        // What the file says of its rows need not be true.
        if row >= count {
            return Err(file(Problem::Parquet("it has more rows than it says".into())));
        }
        add(&mut cells, row, &fields, (&mut memory, bounds)).map_err(|(column, problem)| {
            DataError::one(path, Place::Row { row: row + 1, column }, problem)
        })?;
    }
    // A column with only missing cells has no kind of its own.
    Ok(cells)
}

/// Adds a row. A fault names its column.
fn add(
    cells: &mut Vec<Cells>,
    row: usize,
    fields: &Row,
    (memory, bounds): (&mut Memory<'_>, &Bounds),
) -> Result<(), (String, Problem)> {
    for (place, (name, field)) in fields.get_column_iter().enumerate() {
        let failed = |problem| (name.clone(), problem);
        if row == 0 {
            cells.push(Cells { name: name.clone(), values: Values::Whole(Vec::new()) });
        }
        let Some(column) = cells.get_mut(place) else { continue };
        memory.numbers(1).map_err(failed)?;
        let kind = |kind: &str| Err(failed(Problem::ColumnKind { kind: kind.into() }));
        let cell = match field {
            Field::Null => None,
            Field::Bool(value) => Some(Cell::Whole((*value).into())),
            Field::Byte(value) => Some(Cell::Whole((*value).into())),
            Field::Short(value) => Some(Cell::Whole((*value).into())),
            Field::Int(value) => Some(Cell::Whole((*value).into())),
            Field::Long(value) => Some(Cell::Whole(*value)),
            Field::UByte(value) => Some(Cell::Whole((*value).into())),
            Field::UShort(value) => Some(Cell::Whole((*value).into())),
            Field::UInt(value) => Some(Cell::Whole((*value).into())),
            Field::ULong(value) => Some(Cell::Number(*value as f64)),
            Field::Float16(value) => Some(Cell::Number(f64::from(*value))),
            Field::Float(value) => Some(Cell::Number((*value).into())),
            Field::Double(value) => Some(Cell::Number(*value)),
            Field::Str(text) => Some(Cell::Text(text)),
            Field::Bytes(bytes) => match str::from_utf8(bytes.data()) {
                Ok(text) => Some(Cell::Text(text)),
                Err(_) => return kind("bytes"),
            },
            Field::Decimal(_) => return kind("decimals"),
            Field::Group(_) | Field::ListInternal(_) | Field::MapInternal(_) => {
                return kind("lists, maps or structures");
            }
            _ => return kind("times or dates"),
        };
        push(&mut column.values, row, cell, (&mut *memory, bounds)).map_err(failed)?;
    }
    Ok(())
}

enum Cell<'c> {
    Whole(i64),
    Number(f64),
    Text(&'c str),
}

/// Adds a cell to a column, whose first cells may have said less of its kind: whole numbers and missing cells.
fn push(
    values: &mut Values,
    row: usize,
    cell: Option<Cell<'_>>,
    (memory, bounds): (&mut Memory<'_>, &Bounds),
) -> Result<(), Problem> {
    if let Values::Whole(whole) = values {
        match cell {
            Some(Cell::Whole(_)) => {}
            None | Some(Cell::Number(_)) => {
                *values = Values::Numbers(whole.iter().map(|n| *n as f64).collect());
            }
            Some(Cell::Text(_)) => *values = Values::Texts(Vec::new()),
        }
    }
    // Numbers that are all missing so far may be texts.
    if let (Values::Numbers(numbers), Some(Cell::Text(_))) = (&*values, &cell)
        && numbers.iter().all(|number| number.is_nan())
    {
        memory.texts(row, 0)?;
        *values = Values::Texts(vec![String::new(); row]);
    }
    match (values, cell) {
        (Values::Whole(whole), Some(Cell::Whole(value))) => whole.push(value),
        (Values::Numbers(numbers), None) => numbers.push(f64::NAN),
        (Values::Numbers(numbers), Some(Cell::Number(value))) => numbers.push(value),
        (Values::Numbers(numbers), Some(Cell::Whole(value))) => numbers.push(value as f64),
        (Values::Texts(texts), None) => {
            memory.texts(1, 0)?;
            texts.push(String::new());
        }
        (Values::Texts(texts), Some(Cell::Text(text))) => {
            if text.len() > bounds.cell_bytes {
                return Err(Problem::Cell { bytes: text.len(), max: bounds.cell_bytes });
            }
            memory.texts(1, text.len())?;
            texts.push(text.to_owned());
        }
        _ => return Err(Problem::ColumnKind { kind: "several types".into() }),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::*;

    fn within(bytes: Vec<u8>, bounds: &Bounds) -> Result<(Vec<Column>, Option<Labels>), String> {
        let read = read(Path::new("t.parquet"), &bytes.into(), &Options::default(), bounds);
        read.map_err(|error| error.to_string())
    }

    /// Three rows: a number with a missing one, a text, a whole number.
    pub(super) fn file() -> Vec<u8> {
        packed(parquet::basic::Compression::SNAPPY)
    }

    fn packed(compression: parquet::basic::Compression) -> Vec<u8> {
        let schema =
            "message t { OPTIONAL DOUBLE a; REQUIRED BYTE_ARRAY town (UTF8); REQUIRED INT64 y; }";
        let schema = Arc::new(parse_message_type(schema).expect("a schema"));
        let properties = WriterProperties::builder().set_compression(compression).build();
        let mut bytes = Vec::new();
        let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties));
        let mut group = writer.as_mut().expect("a writer").next_row_group().expect("a group");
        let mut column = group.next_column().expect("a column").expect("the first");
        let typed = column.typed::<DoubleType>();
        typed.write_batch(&[1.5, 2.5], Some(&[1, 0, 1]), None).expect("written");
        column.close().expect("closed");
        let mut column = group.next_column().expect("a column").expect("the second");
        let texts = ["Ulm", "Bonn", "Ulm"].map(ByteArray::from);
        column.typed::<ByteArrayType>().write_batch(&texts, None, None).expect("written");
        column.close().expect("closed");
        let mut column = group.next_column().expect("a column").expect("the third");
        column.typed::<Int64Type>().write_batch(&[2, 0, 1], None, None).expect("written");
        column.close().expect("closed");
        group.close().expect("closed");
        writer.expect("a writer").close().expect("closed");
        bytes
    }

    #[test]
    fn a_table_is_read_with_its_kinds() {
        let gzip = parquet::basic::Compression::GZIP(Default::default());
        let plain = parquet::basic::Compression::UNCOMPRESSED;
        for compression in [gzip, plain] {
            within(packed(compression), &Bounds::USUAL).expect("a table");
        }
        let (columns, labels) = within(file(), &Bounds::USUAL).expect("a table");
        let (numbers, _) = columns[0].tensor.data().as_chunks();
        let numbers: Vec<f64> = numbers.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
        assert!(numbers[0] == 1.5 && numbers[1].is_nan() && numbers[2] == 2.5);
        let towns: Vec<&[u8]> = columns[1].tensor.strings().collect();
        assert_eq!(towns, [&b"Ulm"[..], b"Bonn", b"Ulm"]);
        assert_eq!(labels.expect("y").classes().expect("classes").of(), [2, 0, 1]);
    }

    #[test]
    fn a_damaged_file_is_refused_without_a_panic() {
        let whole = file();
        for cut in (0..whole.len()).step_by(7) {
            within(whole[..cut].to_vec(), &Bounds::USUAL).expect_err("cut off");
        }
        for place in 0..whole.len() {
            let mut changed = whole.clone();
            changed[place] ^= 0x55;
            let _ = within(changed, &Bounds::USUAL);
        }
    }

    #[test]
    fn a_table_beyond_a_limit_is_refused_with_the_limit() {
        let usual = Bounds::USUAL;
        for (bounds, said) in [
            (Bounds { rows: 2, ..usual }, "more than the 2 rows allowed"),
            (Bounds { columns: 2, ..usual }, "more than the 2 columns allowed"),
            (Bounds { cells: 8, ..usual }, "more than the 8 cells allowed"),
            (
                Bounds { cell_bytes: 3, ..usual },
                "row 2, `town`: a cell has 4 bytes, more than the 3",
            ),
            (Bounds { name_bytes: 3, ..usual }, "a name has 4 bytes, more than the 3 allowed"),
            (
                Bounds { text_bytes: 9, ..usual },
                "row 3, `town`: its texts have more than the 9 bytes",
            ),
            (Bounds { data_bytes: 20, ..usual }, "more than the 20 bytes of memory allowed"),
            (Bounds { page_bytes: 5, ..usual }, "bytes unpacked, more than the 5 allowed"),
        ] {
            let error = within(file(), &bounds).expect_err(said);
            assert!(error.contains(said), "{error}");
        }
    }
}
