//! Thrift's compact protocol, as far as Parquet has it.
//!
//! The library reads a member of a structure as what the format says it is, not as what the file says. What is read here would be different
//! bytes, and its checks worth nothing, if both were not the same: so a member of another kind is refused.

use crate::fault::Problem;

/// Deepest structure that is read of members that the format does not know here.
const DEPTH_MAX: usize = 8;

/// What a member is.
pub(super) enum Kind {
    Bool,
    Byte,
    /// Enumerations also.
    I32,
    I64,
    Double,
    Bytes,
    Structure(&'static Structure),
    List(&'static Kind),
}

/// A structure of `parquet.thrift`, with the members that the library reads. It skips others by the kind that the file says.
pub(super) struct Structure {
    pub(super) part: Part,
    pub(super) members: &'static [(i64, Kind)],
}

/// The structures with members that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Page,
    DataPage,
    Dictionary,
    DataPageV2,
    File,
    SchemaElement,
    RowGroup,
    Other,
}

/// Takes what is read, and may refuse it.
pub(super) trait Visitor {
    /// A number, or a truth as 0 or 1.
    fn number(&mut self, _: Part, _member: i64, _value: i64) -> Result<(), Problem> {
        Ok(())
    }

    /// How many bytes a text has, or entries a list, before they are read.
    fn length(&mut self, _: Part, _member: i64, _count: u64) -> Result<(), Problem> {
        Ok(())
    }

    /// The end of a structure.
    fn end(&mut self, _: Part) -> Result<(), Problem> {
        Ok(())
    }
}

pub(super) struct Reader<'p> {
    pub(super) rest: &'p [u8],
    /// What is said of bytes that are not the protocol's.
    pub(super) damaged: &'static str,
}

impl Reader<'_> {
    /// The members of a structure up to its end.
    pub(super) fn structure(
        &mut self,
        structure: &Structure,
        visitor: &mut impl Visitor,
    ) -> Result<(), Problem> {
        let mut member = 0;
        while let Some((number, wire)) = self.member(member)? {
            member = number;
            match structure.members.iter().find(|(known, _)| *known == member) {
                Some((_, kind)) => self.value((structure.part, member), kind, wire, visitor)?,
                None => self.skip_member(wire, 0)?,
            }
        }
        visitor.end(structure.part)
    }

    /// The number of the next member and what the file says of its kind, or nothing at the end of the structure.
    fn member(&mut self, last: i64) -> Result<Option<(i64, u8)>, Problem> {
        let byte = self.byte()?;
        if byte == 0 {
            return Ok(None);
        }
        let member = match byte >> 4 {
            0 => self.number()?,
            more => last + i64::from(more),
        };
        // The library takes the lowest 16 bits of others.
        let is_member = i16::try_from(member).is_ok();
        if is_member { Ok(Some((member, byte & 15))) } else { Err(self.broken()) }
    }

    fn value(
        &mut self,
        (part, member): (Part, i64),
        kind: &Kind,
        wire: u8,
        visitor: &mut impl Visitor,
    ) -> Result<(), Problem> {
        match (kind, wire) {
            (Kind::Bool, 1 | 2) => visitor.number(part, member, i64::from(wire == 1)),
            (Kind::Byte, 3) => self.bytes(1),
            (Kind::I32, 4..=6) => {
                // The library takes the lowest 32 bits of others.
                let value = i32::try_from(self.number()?).map_err(|_| self.broken())?;
                visitor.number(part, member, value.into())
            }
            (Kind::I64, 4..=6) => {
                let value = self.number()?;
                visitor.number(part, member, value)
            }
            (Kind::Double, 7) => self.bytes(8),
            (Kind::Bytes, 8) => {
                let length = self.unsigned()?;
                visitor.length(part, member, length)?;
                self.bytes(length)
            }
            (Kind::Structure(inner), 12) => self.structure(inner, visitor),
            (Kind::List(inner), 9 | 10) => {
                let (count, wire) = self.list()?;
                visitor.length(part, member, count)?;
                for _ in 0..count {
                    self.value((Part::Other, 0), inner, wire, visitor)?;
                }
                Ok(())
            }
            _ => Err(self.broken()),
        }
    }

    /// How many entries a list has, and of what kind. The library makes room for them at once.
    fn list(&mut self) -> Result<(u64, u8), Problem> {
        let byte = self.byte()?;
        let count = match byte >> 4 {
            15 => self.unsigned()?,
            count => u64::from(count),
        };
        self.holds(count)?;
        Ok((count, byte & 15))
    }

    /// Checks that there are bytes for so many entries. Each takes one or more.
    fn holds(&self, count: u64) -> Result<(), Problem> {
        let left = self.rest.len() as u64;
        if count > left {
            let what = format!("a list claims {count} entries, more than the {left} bytes left");
            return Err(Problem::Parquet(what));
        }
        Ok(())
    }

    /// Skips a member, of which a truth takes no bytes.
    fn skip_member(&mut self, wire: u8, depth: usize) -> Result<(), Problem> {
        if let 1 | 2 = wire { Ok(()) } else { self.skip(wire, depth) }
    }

    fn skip(&mut self, wire: u8, depth: usize) -> Result<(), Problem> {
        if depth > DEPTH_MAX {
            return Err(self.broken());
        }
        match wire {
            3 => self.bytes(1),
            4..=6 => self.unsigned().map(drop),
            7 => self.bytes(8),
            8 => {
                let length = self.unsigned()?;
                self.bytes(length)
            }
            9 | 10 => {
                let (count, wire) = self.list()?;
                self.entries(count, &[wire], depth)
            }
            11 => {
                let count = self.unsigned()?;
                if count == 0 {
                    return Ok(());
                }
                self.holds(count)?;
                let kinds = self.byte()?;
                self.entries(count, &[kinds >> 4, kinds & 15], depth)
            }
            12 => {
                while let Some((_, wire)) = self.member(0)? {
                    self.skip_member(wire, depth + 1)?;
                }
                Ok(())
            }
            // A list of truths also: its entries have a byte each, and the library skips none.
            _ => Err(self.broken()),
        }
    }

    fn entries(&mut self, count: u64, kinds: &[u8], depth: usize) -> Result<(), Problem> {
        for _ in 0..count {
            for kind in kinds {
                self.skip(*kind, depth + 1)?;
            }
        }
        Ok(())
    }

    fn broken(&self) -> Problem {
        Problem::Parquet(self.damaged.into())
    }

    fn bytes(&mut self, count: u64) -> Result<(), Problem> {
        let rest = usize::try_from(count).ok().and_then(|count| self.rest.get(count..));
        self.rest = rest.ok_or_else(|| self.broken())?;
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, Problem> {
        let (byte, rest) = self.rest.split_first().ok_or_else(|| self.broken())?;
        self.rest = rest;
        Ok(*byte)
    }

    fn unsigned(&mut self) -> Result<u64, Problem> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 127) << shift;
            if byte & 128 == 0 {
                return Ok(value);
            }
        }
        Err(self.broken())
    }

    /// A number in zigzag.
    fn number(&mut self) -> Result<i64, Problem> {
        let value = self.unsigned()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }
}
