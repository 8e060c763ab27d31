//! Reads protobuf's encoding, one field at a time, without copying.
//!
//! Where the backends' parsers differ, this one is stricter: it rejects what one of them would skip, truncate or read twice. So all of them
//! read exactly what was checked here.

/// Largest field number in protobuf.
const FIELD_MAX: u32 = (1 << 29) - 1;

/// Why bytes are not a protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("it ends in the middle of a field")]
    Cut,
    #[error("a number is longer than protobuf's numbers are")]
    Varint,
    #[error("a field has a number or a kind that protobuf does not have")]
    Tag,
    #[error("a field is a group, which ONNX does not have")]
    Group,
}

/// The encoded content of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Raw<'m> {
    Varint(u64),
    Fixed32(&'m [u8]),
    Fixed64(&'m [u8]),
    Bytes(&'m [u8]),
}

/// The fields of a message. Ends after the first error.
pub(super) struct Wire<'m> {
    rest: &'m [u8],
}

impl<'m> Wire<'m> {
    pub(super) fn new(message: &'m [u8]) -> Self {
        Self { rest: message }
    }

    fn field(&mut self) -> Result<(u32, Raw<'m>), WireError> {
        let tag = u32::try_from(self.varint(5)?).map_err(|_| WireError::Tag)?;
        let number = tag >> 3;
        if number == 0 || number > FIELD_MAX {
            return Err(WireError::Tag);
        }
        let raw = match tag & 7 {
            0 => Raw::Varint(self.varint(10)?),
            1 => Raw::Fixed64(self.take(8)?),
            2 => {
                let length = self.varint(5)?;
                Raw::Bytes(self.take(usize::try_from(length).map_err(|_| WireError::Cut)?)?)
            }
            3 | 4 => return Err(WireError::Group),
            5 => Raw::Fixed32(self.take(4)?),
            _ => return Err(WireError::Tag),
        };
        Ok((number, raw))
    }

    fn take(&mut self, length: usize) -> Result<&'m [u8], WireError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(WireError::Cut)?;
        self.rest = rest;
        Ok(taken)
    }

    fn varint(&mut self, bytes_max: usize) -> Result<u64, WireError> {
        let mut value = 0_u64;
        for index in 0..bytes_max {
            let (byte, rest) = self.rest.split_first().ok_or(WireError::Cut)?;
            self.rest = rest;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if index == 9 && bits > 1 {
                return Err(WireError::Varint);
            }
            value |= bits << (7 * index);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(WireError::Varint)
    }
}

impl<'m> Iterator for Wire<'m> {
    type Item = Result<(u32, Raw<'m>), WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// The numbers of a packed field.
pub(super) fn packed(bytes: &[u8]) -> impl Iterator<Item = Result<u64, WireError>> {
    let mut wire = Wire { rest: bytes };
    std::iter::from_fn(move || {
        if wire.rest.is_empty() {
            return None;
        }
        let number = wire.varint(10);
        if number.is_err() {
            wire.rest = &[];
        }
        Some(number)
    })
}

/// The number of numbers in a packed field.
pub(super) fn count_packed(bytes: &[u8]) -> Result<u64, WireError> {
    if bytes.last().is_some_and(|byte| byte & 0x80 != 0) {
        return Err(WireError::Cut);
    }
    Ok(bytes.iter().filter(|byte| **byte & 0x80 == 0).count() as u64)
}

/// Appends a number as protobuf writes it.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(bytes: &[u8]) -> Result<(u32, Raw<'_>), WireError> {
        Wire::new(bytes).next().expect("a field")
    }

    #[test]
    fn each_kind_of_field_is_read() {
        assert_eq!(first(&[0x08, 0x96, 0x01]), Ok((1, Raw::Varint(150))));
        assert_eq!(first(&[0x09, 1, 2, 3, 4, 5, 6, 7, 8, 9]).map(|field| field.0), Ok(1));
        assert_eq!(first(&[0x12, 2, b'h', b'i']), Ok((2, Raw::Bytes(b"hi"))));
        assert_eq!(first(&[0x15, 1, 2, 3, 4]), Ok((2, Raw::Fixed32(&[1, 2, 3, 4]))));
        let most = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(first(&most), Ok((1, Raw::Varint(u64::MAX))));
        assert_eq!(packed(&[1, 0x80, 1]).collect::<Vec<_>>(), [Ok(1), Ok(128)]);
        assert_eq!(count_packed(&[1, 0x80, 1]), Ok(2));
    }

    #[test]
    fn what_parsers_would_read_each_in_its_own_way_is_refused() {
        let long = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        assert_eq!(first(&long), Err(WireError::Varint));
        assert_eq!(first(&[0x88, 0x80, 0x80, 0x80, 0x80, 0x00]), Err(WireError::Varint));
        assert_eq!(first(&[0x88, 0x80, 0x80, 0x80, 0x10]), Err(WireError::Tag));
        assert_eq!(first(&[0x00, 1]), Err(WireError::Tag));
        assert_eq!(first(&[0x0b]), Err(WireError::Group));
        assert_eq!(first(&[0x0e]), Err(WireError::Tag));
        for cut in [&[0x08][..], &[0x08, 0x80], &[0x12, 3, b'h', b'i'], &[0x09, 1], &[0x15, 1]] {
            assert_eq!(first(cut), Err(WireError::Cut), "{cut:?}");
            assert_eq!(Wire::new(cut).count(), 1, "nothing is read after an error");
        }
        assert_eq!(first(&[0x12, 0xff, 0xff, 0xff, 0xff, 0x0f]), Err(WireError::Cut));
        assert_eq!(count_packed(&[0x80]), Err(WireError::Cut));
    }
}
