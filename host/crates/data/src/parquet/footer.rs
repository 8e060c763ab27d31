//! The footer of a Parquet file (`FileMetaData` of `parquet.thrift`), looked at before the library reads it.
//!
//! The library recurses once for each level of groups, and takes what a group says of its members for memory.

use crate::fault::Problem;
use crate::limits::Bounds;
use crate::parquet::thrift::{Kind, Part, Reader, Structure, Visitor};

/// How a file ends. Before that is the footer's length, in 4 bytes.
const MAGIC: [u8; 4] = *b"PAR1";
const MAGIC_ENCRYPTED: [u8; 4] = *b"PARE";

const DAMAGED: &str = "its footer is damaged";

/// How much a footer announces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Footer {
    /// Elements of the schema without members.
    pub columns: usize,
    /// Levels of groups, with the one of the columns.
    pub levels: usize,
    pub schema_elements: u64,
    pub row_groups: u64,
    /// Columns of all row groups.
    pub column_chunks: u64,
}

/// Looks at the footer of a whole file.
///
/// # Errors
/// [`Problem::Footer`], [`Problem::Many`], [`Problem::Name`], [`Problem::Parquet`].
pub fn footer(bytes: &[u8]) -> Result<Footer, Problem> {
    check(bytes, &Bounds::USUAL)
}

pub(super) fn check(bytes: &[u8], bounds: &Bounds) -> Result<Footer, Problem> {
    let refuse = |what: &str| Problem::Parquet(what.into());
    let other = || refuse("it does not end as a Parquet file: it is cut off, or of another format");
    let (rest, magic) = bytes.split_last_chunk().ok_or_else(other)?;
    match *magic {
        MAGIC => {}
        MAGIC_ENCRYPTED => return Err(refuse("it is encrypted: write it without encryption")),
        _ => return Err(other()),
    }
    let (rest, length) = rest.split_last_chunk().ok_or_else(other)?;
    let length = u32::from_le_bytes(*length);
    within("bytes", length.into(), bounds.footer_bytes)?;
    let start = usize::try_from(length).ok().and_then(|length| rest.len().checked_sub(length));
    let footer = start.and_then(|start| rest.get(start..)).ok_or_else(|| refuse(DAMAGED))?;
    let mut walk = Walk::new(bounds);
    Reader { rest: footer, damaged: DAMAGED }.structure(&FILE, &mut walk)?;
    Ok(walk.footer)
}

fn within(what: &'static str, seen: u64, max: u64) -> Result<(), Problem> {
    if seen > max { Err(Problem::Footer { what, seen, max }) } else { Ok(()) }
}

/// Counts on the way through a footer.
struct Walk<'b> {
    bounds: &'b Bounds,
    footer: Footer,
    key_values: u64,
    /// Elements of the schema that are not read yet.
    elements_left: u64,
    /// Members that groups have announced, without those that are read.
    members_left: u64,
    /// Of each open group, how many of its members are not read yet.
    open: Vec<u64>,
    /// What the current element says of its members.
    members: u64,
}

impl<'b> Walk<'b> {
    fn new(bounds: &'b Bounds) -> Self {
        Self {
            bounds,
            footer: Footer::default(),
            key_values: 0,
            elements_left: 0,
            members_left: 0,
            open: Vec::new(),
            members: 0,
        }
    }

    /// The list of the schema's elements begins.
    fn schema(&mut self, count: u64) -> Result<(), Problem> {
        if self.footer.schema_elements > 0 {
            return Err(Problem::Parquet("its footer has two schemas".into()));
        }
        within("elements of the schema", count, self.bounds.schema_elements)?;
        self.footer.schema_elements = count;
        self.elements_left = count;
        // The root is nobody's member.
        self.members_left = 1;
        Ok(())
    }

    /// An element of the schema ends.
    fn element(&mut self) -> Result<(), Problem> {
        let members = std::mem::take(&mut self.members);
        // A second root.
        let is_root = self.open.is_empty();
        let Some(members_left) = self.members_left.checked_sub(1) else {
            return Err(Problem::Parquet(DAMAGED.into()));
        };
        self.elements_left = self.elements_left.saturating_sub(1);
        let left = self.elements_left.saturating_sub(members_left);
        if members > left {
            let what = format!(
                "a group of its schema claims {members} members, more than the {left} elements left"
            );
            return Err(Problem::Parquet(what));
        }
        self.members_left = members_left + members;
        if let Some(siblings) = self.open.last_mut() {
            *siblings = siblings.saturating_sub(1);
        }
        if members > 0 {
            within("levels of groups", self.open.len() as u64 + 1, self.bounds.schema_levels)?;
            self.open.push(members);
            self.footer.levels = self.footer.levels.max(self.open.len());
        } else if !is_root {
            self.footer.columns += 1;
            if self.footer.columns > self.bounds.columns {
                return Err(Problem::Many { what: "columns", max: self.bounds.columns });
            }
        }
        while self.open.last() == Some(&0) {
            self.open.pop();
        }
        Ok(())
    }
}

impl Visitor for Walk<'_> {
    fn number(&mut self, of: Part, member: i64, value: i64) -> Result<(), Problem> {
        if let (Part::SchemaElement, 5) = (of, member) {
            self.members = u64::try_from(value).map_err(|_| Problem::Parquet(DAMAGED.into()))?;
        }
        Ok(())
    }

    fn length(&mut self, of: Part, member: i64, count: u64) -> Result<(), Problem> {
        let add = |sum: &mut u64| {
            *sum = sum.saturating_add(count);
            *sum
        };
        match (of, member) {
            (Part::File, 2) => self.schema(count),
            (Part::File, 4) => {
                within("row groups", add(&mut self.footer.row_groups), self.bounds.row_groups)
            }
            (Part::File, 5) => {
                within("keys of metadata", add(&mut self.key_values), self.bounds.key_values)
            }
            (Part::RowGroup, 1) => {
                let sum = add(&mut self.footer.column_chunks);
                within("column chunks", sum, self.bounds.column_chunks)
            }
            // The library keeps the names of all groups around a column with it.
            (Part::SchemaElement, 4) => {
                let (bytes, max) =
                    (usize::try_from(count).unwrap_or(usize::MAX), self.bounds.name_bytes);
                if bytes > max { Err(Problem::Name { bytes, max }) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    fn end(&mut self, of: Part) -> Result<(), Problem> {
        if of == Part::SchemaElement { self.element() } else { Ok(()) }
    }
}

/// A structure whose members do not count, but must be what the library takes them for.
const fn other(members: &'static [(i64, Kind)]) -> Structure {
    Structure { part: Part::Other, members }
}

const FILE: Structure = Structure {
    part: Part::File,
    members: &[
        (1, Kind::I32),
        (2, Kind::List(&Kind::Structure(&SCHEMA_ELEMENT))),
        (3, Kind::I64),
        (4, Kind::List(&Kind::Structure(&ROW_GROUP))),
        (5, Kind::List(&Kind::Structure(&KEY_VALUE))),
        (6, Kind::Bytes),
        (7, Kind::List(&Kind::Structure(&COLUMN_ORDER))),
    ],
};

const SCHEMA_ELEMENT: Structure = Structure {
    part: Part::SchemaElement,
    members: &[
        (1, Kind::I32),
        (2, Kind::I32),
        (3, Kind::I32),
        (4, Kind::Bytes),
        (5, Kind::I32),
        (6, Kind::I32),
        (7, Kind::I32),
        (8, Kind::I32),
        (9, Kind::I32),
        (10, Kind::Structure(&LOGICAL_TYPE)),
    ],
};

const LOGICAL_TYPE: Structure = other(&[
    (1, Kind::Structure(&EMPTY)),
    (2, Kind::Structure(&EMPTY)),
    (3, Kind::Structure(&EMPTY)),
    (4, Kind::Structure(&EMPTY)),
    (5, Kind::Structure(&DECIMAL)),
    (6, Kind::Structure(&EMPTY)),
    (7, Kind::Structure(&TIME)),
    (8, Kind::Structure(&TIME)),
    (10, Kind::Structure(&INTEGER)),
    (11, Kind::Structure(&EMPTY)),
    (12, Kind::Structure(&EMPTY)),
    (13, Kind::Structure(&EMPTY)),
    (14, Kind::Structure(&EMPTY)),
    (15, Kind::Structure(&EMPTY)),
    (16, Kind::Structure(&VARIANT)),
    (17, Kind::Structure(&GEOGRAPHY)),
    (18, Kind::Structure(&GEOGRAPHY)),
    (19, Kind::Structure(&EMPTY)),
]);

const EMPTY: Structure = other(&[]);
const DECIMAL: Structure = other(&[(1, Kind::I32), (2, Kind::I32)]);
const TIME: Structure = other(&[(1, Kind::Bool), (2, Kind::Structure(&TIME_UNIT))]);
const TIME_UNIT: Structure = other(&[
    (1, Kind::Structure(&EMPTY)),
    (2, Kind::Structure(&EMPTY)),
    (3, Kind::Structure(&EMPTY)),
]);
const INTEGER: Structure = other(&[(1, Kind::Byte), (2, Kind::Bool)]);
const VARIANT: Structure = other(&[(1, Kind::Byte)]);
/// Of a geometry also, without the second member.
const GEOGRAPHY: Structure = other(&[(1, Kind::Bytes), (2, Kind::I32)]);
const KEY_VALUE: Structure = other(&[(1, Kind::Bytes), (2, Kind::Bytes)]);
const COLUMN_ORDER: Structure = TIME_UNIT;

const ROW_GROUP: Structure = Structure {
    part: Part::RowGroup,
    members: &[
        (1, Kind::List(&Kind::Structure(&COLUMN_CHUNK))),
        (2, Kind::I64),
        (3, Kind::I64),
        (4, Kind::List(&Kind::Structure(&SORTING_COLUMN))),
        (5, Kind::I64),
        (6, Kind::I64),
        (7, Kind::I32),
    ],
};

const SORTING_COLUMN: Structure = other(&[(1, Kind::I32), (2, Kind::Bool), (3, Kind::Bool)]);

const COLUMN_CHUNK: Structure = other(&[
    (1, Kind::Bytes),
    (2, Kind::I64),
    (3, Kind::Structure(&COLUMN)),
    (4, Kind::I64),
    (5, Kind::I32),
    (6, Kind::I64),
    (7, Kind::I32),
]);

/// `ColumnMetaData`.
const COLUMN: Structure = other(&[
    (1, Kind::I32),
    (2, Kind::List(&Kind::I32)),
    (4, Kind::I32),
    (5, Kind::I64),
    (6, Kind::I64),
    (7, Kind::I64),
    (9, Kind::I64),
    (10, Kind::I64),
    (11, Kind::I64),
    (12, Kind::Structure(&STATISTICS)),
    (13, Kind::List(&Kind::Structure(&ENCODING_STATISTICS))),
    (14, Kind::I64),
    (15, Kind::I32),
    (16, Kind::Structure(&SIZE_STATISTICS)),
    (17, Kind::Structure(&GEOSPATIAL_STATISTICS)),
]);

pub(super) const STATISTICS: Structure = other(&[
    (1, Kind::Bytes),
    (2, Kind::Bytes),
    (3, Kind::I64),
    (4, Kind::I64),
    (5, Kind::Bytes),
    (6, Kind::Bytes),
    (7, Kind::Bool),
    (8, Kind::Bool),
    (9, Kind::I64),
]);

const ENCODING_STATISTICS: Structure = other(&[(1, Kind::I32), (2, Kind::I32), (3, Kind::I32)]);
const SIZE_STATISTICS: Structure =
    other(&[(1, Kind::I64), (2, Kind::List(&Kind::I64)), (3, Kind::List(&Kind::I64))]);
const GEOSPATIAL_STATISTICS: Structure =
    other(&[(1, Kind::Structure(&BOX)), (2, Kind::List(&Kind::I32))]);
const BOX: Structure = other(&[
    (1, Kind::Double),
    (2, Kind::Double),
    (3, Kind::Double),
    (4, Kind::Double),
    (5, Kind::Double),
    (6, Kind::Double),
    (7, Kind::Double),
    (8, Kind::Double),
]);

#[cfg(test)]
mod tests;
