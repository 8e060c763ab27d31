//! CSV: a header with the columns' names, then a row a line.
//!
//! The separator is the one of `,`, `;` and tab that the header has most of. A column is numbers if nine of ten of its cells are, and then the
//! others are faults; otherwise it is text. So one mistyped number does not turn a column into categories unnoticed.

use std::io;
use std::path::Path;

use csv::{ByteRecord, Reader, ReaderBuilder};

use crate::cells::{Cells, Memory, Values, table};
use crate::fault::{DataError, Faults, Place, Problem, excerpt};
use crate::labels::Labels;
use crate::limits::{Bounds, FAULTS_MAX};
use crate::read::{Options, label_of};
use crate::set::Column;

/// Cells that say that a value is missing, besides empty ones: as pandas reads and writes them.
const MISSING: [&str; 9] = ["NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?", "<NA>"];

/// A column is numbers if at least this share of the cells that are not missing are: nine of ten.
const NUMBERS_OF_TEN: usize = 9;

/// A file's text, and how it is read.
struct Text<'t> {
    path: &'t Path,
    bytes: &'t [u8],
    delimiter: u8,
    bounds: &'t Bounds,
}

impl<'t> Text<'t> {
    fn reader(&self) -> Reader<Row<'t>> {
        let row = Row { bytes: self.bytes, left: self.bounds.row_bytes, is_over: false };
        ReaderBuilder::new().delimiter(self.delimiter).flexible(true).from_reader(row)
    }
}

/// Gives the reader of CSV no more of the text than a row may have, since it keeps a whole row in memory.
struct Row<'t> {
    bytes: &'t [u8],
    /// What the row that is being read may still have.
    left: usize,
    is_over: bool,
}

impl io::Read for Row<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.is_over = self.left == 0 && !self.bytes.is_empty();
        if self.is_over {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let count = into.len().min(self.left).min(self.bytes.len());
        let (given, rest) = self.bytes.split_at(count);
        into[..count].copy_from_slice(given);
        self.bytes = rest;
        self.left -= count;
        Ok(count)
    }
}

/// What an error of the reader says of the file.
fn problem(reader: &Reader<Row<'_>>, error: &csv::Error, bounds: &Bounds) -> Problem {
    match reader.get_ref().is_over {
        true => Problem::Row { max: bounds.row_bytes },
        false => Problem::Csv(error.to_string()),
    }
}

/// What a first pass learns of a column.
#[derive(Default)]
struct Seen {
    numbers: usize,
    texts: usize,
    /// Cells that are no numbers: line and text.
    examples: Vec<(u64, String)>,
}

pub(crate) fn read(
    path: &Path,
    bytes: &[u8],
    options: &Options,
    bounds: &Bounds,
) -> Result<(Vec<Column>, Option<Labels>), DataError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = Text { path, bytes, delimiter: delimiter(bytes), bounds };
    let names = header(&text)?;
    let refs: Vec<&str> = names.iter().map(String::as_str).collect();
    let label = label_of(path, &refs, options)?;
    let mut seen: Vec<Seen> = names.iter().map(|_| Seen::default()).collect();
    let mut lines = Vec::new();
    let mut faults = Faults::default();
    each_row(&text, |line, record| {
        let rows = lines.len() + 1;
        let (cells, max) = (rows.saturating_mul(names.len()), bounds.cells);
        if rows > bounds.rows || cells > max {
            let rows = Problem::Many { what: "rows", max: bounds.rows };
            let cells = Problem::Many { what: "cells", max };
            faults.add(path, Place::File, if lines.len() < bounds.rows { cells } else { rows });
            return false;
        }
        lines.push(line);
        look(&text, &names, (line, record), &mut seen, &mut faults);
        true
    })?;
    let is_text: Vec<bool> = names
        .iter()
        .zip(&seen)
        .enumerate()
        .map(|(place, (name, seen))| {
            let is_mostly_text = seen.numbers < NUMBERS_OF_TEN * seen.texts;
            Some(place) == label || options.text.contains(name) || is_mostly_text
        })
        .collect();
    for ((name, seen), is_text) in names.iter().zip(seen).zip(&is_text) {
        for (line, seen) in seen.examples.into_iter().filter(|_| !is_text) {
            let at = Place::Line { line, column: Some(name.clone()) };
            faults.add(path, at, Problem::NotNumber { seen });
        }
    }
    faults.check()?;
    let cells = collect(&text, (&names, &is_text, lines.len()))?;
    let place = |row: usize, column: &str| Place::Line {
        line: lines.get(row).copied().unwrap_or_default(),
        column: Some(column.to_owned()),
    };
    table(path, cells, options, place)
}

/// The second pass: the cells, whose columns' kinds are known.
fn collect(
    text: &Text<'_>,
    (names, is_text, rows): (&[String], &[bool], usize),
) -> Result<Vec<Cells>, DataError> {
    let fault = |problem| DataError::one(text.path, Place::File, problem);
    let mut memory = Memory::new(text.bounds);
    let numbers = is_text.iter().filter(|is_text| !**is_text).count();
    memory.numbers(numbers.saturating_mul(rows)).map_err(fault)?;
    let mut out_of_memory = None;
    let mut cells: Vec<Cells> = names
        .iter()
        .zip(is_text)
        .map(|(name, is_text)| Cells {
            name: name.clone(),
            values: match is_text {
                true => Values::Texts(Vec::new()),
                false => Values::Numbers(Vec::with_capacity(rows)),
            },
        })
        .collect();
    each_row(text, |_, record| {
        for (cell, cells) in record.iter().zip(&mut cells) {
            let text = str::from_utf8(cell).unwrap_or_default().trim();
            let text = if is_missing(text) { "" } else { text };
            let taken = match &mut cells.values {
                Values::Texts(texts) => {
                    texts.push(text.to_owned());
                    memory.texts(1, text.len())
                }
                Values::Numbers(numbers) => {
                    numbers.push(text.parse().unwrap_or(f64::NAN));
                    Ok(())
                }
                Values::Whole(_) => Ok(()),
            };
            if let Err(problem) = taken {
                out_of_memory = Some(problem);
                return false;
            }
        }
        true
    })?;
    match out_of_memory {
        Some(problem) => Err(fault(problem)),
        None => Ok(cells),
    }
}

fn is_missing(text: &str) -> bool {
    text.is_empty() || MISSING.contains(&text)
}

/// Checks a row, and counts what its cells are.
fn look(
    &Text { path, bounds, .. }: &Text<'_>,
    names: &[String],
    (line, record): (u64, &ByteRecord),
    seen: &mut [Seen],
    faults: &mut Faults,
) {
    if record.len() != names.len() {
        let problem = Problem::Cells { seen: record.len(), expected: names.len() };
        faults.add(path, Place::Line { line, column: None }, problem);
        return;
    }
    for ((cell, name), seen) in record.iter().zip(names).zip(seen) {
        let at = || Place::Line { line, column: Some(name.clone()) };
        if cell.len() > bounds.cell_bytes {
            let problem = Problem::Cell { bytes: cell.len(), max: bounds.cell_bytes };
            faults.add(path, at(), problem);
        }
        let Ok(text) = str::from_utf8(cell).map(str::trim) else {
            faults.add(path, at(), Problem::NotUtf8);
            continue;
        };
        if is_missing(text) {
        } else if text.parse().is_ok_and(f64::is_finite) {
            seen.numbers += 1;
        } else {
            seen.texts += 1;
            if seen.examples.len() < FAULTS_MAX {
                seen.examples.push((line, excerpt(text)));
            }
        }
    }
}

/// The separator that the first line has most of.
fn delimiter(bytes: &[u8]) -> u8 {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let count = |wanted: u8| line.iter().filter(|byte| **byte == wanted).count();
    // Of equally many, the last: commas.
    [b'\t', b';', b','].into_iter().max_by_key(|byte| count(*byte)).unwrap_or(b',')
}

fn header(text: &Text<'_>) -> Result<Vec<String>, DataError> {
    let Text { path, bounds, .. } = *text;
    let mut reader = text.reader();
    let at = |column| Place::Line { line: 1, column };
    let header = match reader.byte_headers().cloned() {
        Ok(header) => header,
        Err(error) => return Err(DataError::one(path, at(None), problem(&reader, &error, bounds))),
    };
    if header.len() > bounds.columns {
        let many = Problem::Many { what: "columns", max: bounds.columns };
        return Err(DataError::one(path, at(None), many));
    }
    let mut faults = Faults::default();
    let mut names = Vec::new();
    for (place, name) in header.iter().enumerate() {
        match str::from_utf8(name).map(str::trim) {
            Err(_) => faults.add(path, at(None), Problem::NotUtf8),
            Ok(name) if name.len() > bounds.name_bytes => {
                let (bytes, max) = (name.len(), bounds.name_bytes);
                faults.add(path, at(None), Problem::Name { bytes, max });
            }
            Ok("") => faults.add(path, at(None), Problem::NoName { number: place + 1 }),
            Ok(name) if names.iter().any(|other| other == name) => {
                faults.add(path, at(Some(name.to_owned())), Problem::Twice);
            }
            Ok(name) => names.push(name.to_owned()),
        }
    }
    faults.check()?;
    Ok(names)
}

/// Gives each row with its line, until `take` returns false.
fn each_row(
    text: &Text<'_>,
    mut take: impl FnMut(u64, &ByteRecord) -> bool,
) -> Result<(), DataError> {
    let mut reader = text.reader();
    // The header, which was sound when the columns were named, has a row's bytes of its own.
    let _ = reader.byte_headers();
    let mut record = ByteRecord::new();
    loop {
        let line = reader.position().line();
        reader.get_mut().left = text.bounds.row_bytes;
        match reader.read_byte_record(&mut record) {
            Ok(false) => return Ok(()),
            Ok(true) => {
                let line = record.position().map_or(line, csv::Position::line);
                if !take(line, &record) {
                    return Ok(());
                }
            }
            Err(error) => {
                let at = Place::Line { line, column: None };
                return Err(DataError::one(text.path, at, problem(&reader, &error, text.bounds)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str, options: &Options) -> Result<(Vec<Column>, Option<Labels>), String> {
        within(text, options, &Bounds::USUAL)
    }

    fn within(
        text: &str,
        options: &Options,
        bounds: &Bounds,
    ) -> Result<(Vec<Column>, Option<Labels>), String> {
        let read = read(Path::new("t.csv"), text.as_bytes(), options, bounds);
        read.map_err(|error| error.to_string())
    }

    fn labelled(label: &str) -> Options {
        Options { label: Some(label.into()), ..Options::default() }
    }

    fn floats(column: &Column) -> Vec<f64> {
        column.tensor.data().as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect()
    }

    #[test]
    fn numbers_texts_and_missing_values_are_told_apart() {
        let text = "\u{feff}age;town;kind\r\n1.5;Ulm;b\r\n;\"a;b\"; a \r\nNA;?;b\r\n";
        let (columns, labels) = parts(text, &labelled("kind")).expect("a table");
        let age = floats(&columns[0]);
        assert!(age[0] == 1.5 && age[1].is_nan() && age[2].is_nan());
        let towns: Vec<&[u8]> = columns[1].tensor.strings().collect();
        assert_eq!(towns, [&b"Ulm"[..], b"a;b", b""]);
        let classes = labels.expect("labels").classes().expect("classes").clone();
        assert_eq!(
            (classes.of(), classes.names()),
            (&[1, 0, 1][..], &["a".into(), "b".into()][..])
        );
        let (columns, labels) = parts("a,y\n1,0\n2,1\n", &Options::default()).expect("a table");
        assert_eq!(floats(&columns[0]), [1.0, 2.0]);
        assert_eq!(labels.expect("named y").classes().expect("classes").of(), [0, 1]);
    }

    #[test]
    fn a_mistyped_number_is_a_fault_with_its_line() {
        let mut text = "a\n".to_owned();
        for row in 0..20 {
            text += &format!("{row}\n");
        }
        let bad = format!("{text}1o\ninf\n");
        let said = parts(&bad, &Options::default()).expect_err("no numbers");
        assert!(said.contains("`t.csv`, line 22, `a`: `1o` is not a finite number"), "{said}");
        assert!(said.contains("line 23, `a`: `inf`"), "{said}");
        let options = Options { text: vec!["a".into()], ..Options::default() };
        let (columns, _) = parts(&bad, &options).expect("text by name");
        assert_eq!(columns[0].tensor.strings().count(), 22);
    }

    #[test]
    fn every_fault_is_named() {
        let long = format!("a,b\n1,{}\n", "x".repeat(Bounds::USUAL.cell_bytes + 1));
        for (text, said) in [
            ("a,b\n1\n1,2\n1,2,3\n", "line 2: it has 1 cells, and the header has 2"),
            ("a,b\n1\n1,2\n1,2,3\n", "line 4: it has 3 cells"),
            ("a,a\n1,2\n", "line 1, `a`: it appears twice"),
            (",a\n1,2\n", "column 1 has no name"),
            ("a,y\n1,x\n2,\n", "line 3, `y`: the label is missing"),
            ("a,y\n\"one\ntwo\",x\n2,\n", "line 4, `y`: the label is missing"),
            (long.as_str(), "a cell has 1048577 bytes"),
        ] {
            let error = parts(text, &Options::default()).expect_err(said);
            assert!(error.contains(said), "{error}");
        }
        let error = parts("a,b\n1,2\n", &labelled("c")).expect_err("no c");
        assert!(error.contains("no column `c` for the labels: it has `a`, `b`"), "{error}");
        let error = read(Path::new("t.csv"), b"a\n\xff\n", &Options::default(), &Bounds::USUAL);
        assert!(error.expect_err("Latin-1").to_string().contains("line 2, `a`: it is not UTF-8"));
        let many = "a,b\n".to_owned() + &"1\n".repeat(100);
        let error = parts(&many, &Options::default()).expect_err("all rows");
        assert!(error.ends_with("and 80 more faults"), "{error}");
    }

    #[test]
    fn a_table_beyond_a_limit_is_refused_with_the_limit() {
        let usual = Bounds::USUAL;
        let table = "name,n\nUlm,1\nBonn,2\nKiel,3\n";
        let options = Options::default();
        within(table, &options, &usual).expect("within the limits");
        for (bounds, said) in [
            (Bounds { rows: 2, ..usual }, "more than the 2 rows allowed"),
            (Bounds { columns: 1, ..usual }, "more than the 1 columns allowed"),
            (Bounds { cells: 5, ..usual }, "more than the 5 cells allowed"),
            (Bounds { cell_bytes: 3, ..usual }, "a cell has 4 bytes, more than the 3 allowed"),
            (Bounds { name_bytes: 3, ..usual }, "a name has 4 bytes, more than the 3 allowed"),
            (Bounds { text_bytes: 10, ..usual }, "more than the 10 bytes allowed: leave out"),
            (Bounds { data_bytes: 23, ..usual }, "more than the 23 bytes of memory allowed"),
            (Bounds { data_bytes: 90, ..usual }, "more than the 90 bytes of memory allowed"),
        ] {
            let error = within(table, &options, &bounds).expect_err(said);
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn an_open_quotation_mark_does_not_make_the_whole_file_one_row() {
        let bounds = Bounds { row_bytes: 100, ..Bounds::USUAL };
        let rows = "1,x\n".repeat(1000);
        within(&format!("a,b\n{rows}"), &Options::default(), &bounds).expect("short rows");
        let open = format!("a,b\n1,x\n2,\"x\n{rows}");
        let error = within(&open, &Options::default(), &bounds).expect_err("one row");
        assert!(error.contains("line 3: the row has more than the 100 bytes allowed"), "{error}");
        assert!(error.contains("close a quotation mark"), "{error}");
        let header = format!("\"a,b\n{rows}");
        let error = within(&header, &Options::default(), &bounds).expect_err("one header");
        assert!(error.contains("line 1: the row has more than the 100 bytes"), "{error}");
        // Separators take memory without text.
        let commas = format!("a,b\n{}\n", ",".repeat(200));
        let error = within(&commas, &Options::default(), &bounds).expect_err("many cells");
        assert!(error.contains("line 2: the row has more than the 100 bytes"), "{error}");
    }
}
