//! Parquet: flat tables of numbers, booleans and text. The library checks less than it could, so its panics are caught.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use bytes::Bytes;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::{Field, Row};

use crate::cells::{Cells, Memory, Values, table};
use crate::fault::{DataError, Place, Problem};
use crate::labels::Labels;
use crate::limits::{CELL_BYTES_MAX, COLUMNS_MAX, DATA_BYTES_MAX, ROWS_MAX};
use crate::read::Options;
use crate::set::Column;

pub(crate) fn read(
    path: &Path,
    bytes: Bytes,
    options: &Options,
) -> Result<(Vec<Column>, Option<Labels>), DataError> {
    let damaged = |_| {
        let problem = Problem::Parquet("the file is damaged".into());
        Err(DataError::one(path, Place::File, problem))
    };
    let cells = catch_unwind(AssertUnwindSafe(|| rows(path, bytes))).unwrap_or_else(damaged)?;
    let at = |row, column: &str| Place::Row { row: row + 1, column: column.to_owned() };
    table(path, cells, options, at)
}

fn rows(path: &Path, bytes: Bytes) -> Result<Vec<Cells>, DataError> {
    let file = |problem| DataError::one(path, Place::File, problem);
    let broken = |error: &dyn std::fmt::Display| file(Problem::Parquet(error.to_string()));
    let reader = SerializedFileReader::new(bytes).map_err(|error| broken(&error))?;
    let metadata = reader.metadata();
    if metadata.file_metadata().schema_descr().num_columns() > COLUMNS_MAX {
        return Err(file(Problem::Many { what: "columns", max: COLUMNS_MAX }));
    }
    let count = metadata.file_metadata().num_rows();
    if usize::try_from(count).map_or(true, |rows| rows > ROWS_MAX) {
        return Err(file(Problem::Many { what: "rows", max: ROWS_MAX }));
    }
    let unpacked: i64 = metadata
        .row_groups()
        .iter()
        .map(|group| group.total_byte_size())
        .fold(0, i64::saturating_add);
    if u64::try_from(unpacked).map_or(true, |bytes| bytes > DATA_BYTES_MAX) {
        return Err(file(Problem::Memory { max: DATA_BYTES_MAX }));
    }
    let mut cells: Vec<Cells> = Vec::new();
    let mut memory = Memory::new();
    for (row, fields) in reader.get_row_iter(None).map_err(|error| broken(&error))?.enumerate() {
        let fields = fields.map_err(|error| broken(&error))?;
        if row >= ROWS_MAX {
            return Err(file(Problem::Many { what: "rows", max: ROWS_MAX }));
        }
        add(&mut cells, row, &fields, &mut memory).map_err(|(column, problem)| {
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
    memory: &mut Memory,
) -> Result<(), (String, Problem)> {
    for (place, (name, field)) in fields.get_column_iter().enumerate() {
        let failed = |problem| (name.clone(), problem);
        if row == 0 {
            cells.push(Cells { name: name.clone(), values: Values::Whole(Vec::new()) });
        }
        let Some(column) = cells.get_mut(place) else { continue };
        memory.take(size_of::<f64>()).map_err(failed)?;
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
        push(&mut column.values, row, cell, memory).map_err(failed)?;
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
    memory: &mut Memory,
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
        *values = Values::Texts(vec![String::new(); row]);
    }
    match (values, cell) {
        (Values::Whole(whole), Some(Cell::Whole(value))) => whole.push(value),
        (Values::Numbers(numbers), None) => numbers.push(f64::NAN),
        (Values::Numbers(numbers), Some(Cell::Number(value))) => numbers.push(value),
        (Values::Numbers(numbers), Some(Cell::Whole(value))) => numbers.push(value as f64),
        (Values::Texts(texts), None) => {
            memory.take(size_of::<String>())?;
            texts.push(String::new());
        }
        (Values::Texts(texts), Some(Cell::Text(text))) => {
            if text.len() > CELL_BYTES_MAX {
                return Err(Problem::Cell { bytes: text.len(), max: CELL_BYTES_MAX });
            }
            memory.take(size_of::<String>() + text.len())?;
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

    /// Three rows: a number with a missing one, a text, a whole number.
    fn file() -> Vec<u8> {
        let schema =
            "message t { OPTIONAL DOUBLE a; REQUIRED BYTE_ARRAY town (UTF8); REQUIRED INT64 y; }";
        let schema = Arc::new(parse_message_type(schema).expect("a schema"));
        let properties = WriterProperties::builder()
            .set_compression(parquet::basic::Compression::SNAPPY)
            .build();
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
        let (columns, labels) =
            read(Path::new("t.parquet"), file().into(), &Options::default()).expect("a table");
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
        let options = Options::default();
        for cut in (0..whole.len()).step_by(7) {
            read(Path::new("t"), whole[..cut].to_vec().into(), &options).expect_err("cut off");
        }
        for place in 0..whole.len() {
            let mut changed = whole.clone();
            changed[place] ^= 0x55;
            let _ = read(Path::new("t"), changed.into(), &options);
        }
    }
}
