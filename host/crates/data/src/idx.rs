//! IDX files, as MNIST and its relatives come in: a type, sizes, and elements, all big-endian.
//!
//! The format is that of the page of the MNIST database: two zero bytes, a byte for the type, a byte for the number of dimensions, four
//! bytes for each size.

use bytes::Bytes;
use hospes_core::tensor::{DataType, RANK_MAX, Tensor, count};

/// Why bytes are no IDX file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdxError {
    #[error("it does not begin with two zero bytes, a type and a number of dimensions")]
    Magic,
    #[error("its type 0x{0:02x} is none of 0x08 to 0x0e")]
    Type(u8),
    #[error("it has {rank} dimensions, and tensors have at most {RANK_MAX}")]
    Rank { rank: u8 },
    #[error("its sizes {shape:?} have more elements than can be counted")]
    Shape { shape: Vec<usize> },
    #[error("its sizes {shape:?} need {expected} bytes, and it has {seen}")]
    Size { shape: Vec<usize>, expected: usize, seen: usize },
}

/// Reads an IDX file. Elements of one byte share the memory of `bytes`.
///
/// # Errors
/// [`IdxError`].
pub fn parse(bytes: &Bytes) -> Result<Tensor, IdxError> {
    let [0, 0, kind, rank, ..] = **bytes else { return Err(IdxError::Magic) };
    let data_type = match kind {
        0x08 => DataType::U8,
        0x09 => DataType::I8,
        0x0b => DataType::I16,
        0x0c => DataType::I32,
        0x0d => DataType::F32,
        0x0e => DataType::F64,
        other => return Err(IdxError::Type(other)),
    };
    if usize::from(rank) > RANK_MAX {
        return Err(IdxError::Rank { rank });
    }
    let start = 4 + usize::from(rank) * 4;
    let sizes = bytes.get(4..start).ok_or(IdxError::Magic)?;
    let (sizes, _) = sizes.as_chunks();
    let shape: Vec<usize> = sizes.iter().map(|size| u32::from_be_bytes(*size) as usize).collect();
    let width = data_type.size().expect("invariant: no type of IDX has individual lengths");
    let expected = count(&shape).and_then(|elements| elements.checked_mul(width));
    let Some(expected) = expected else { return Err(IdxError::Shape { shape }) };
    let data = bytes.slice(start..);
    if data.len() != expected {
        return Err(IdxError::Size { shape, expected, seen: data.len() });
    }
    let data = match width {
        1 => data,
        // The other way round than tensors.
        width => data.chunks(width).flat_map(|element| element.iter().rev()).copied().collect(),
    };
    Ok(Tensor::new(data_type, shape, data).expect("invariant: the size was checked"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(bytes: &[u8]) -> IdxError {
        parse(&Bytes::copy_from_slice(bytes)).expect_err("no IDX file")
    }

    #[test]
    fn elements_are_turned_round() {
        let bytes = [0, 0, 0x0b, 2, 0, 0, 0, 1, 0, 0, 0, 2, 1, 2, 0xff, 0xfe];
        let tensor = parse(&Bytes::copy_from_slice(&bytes)).expect("an IDX file");
        assert_eq!((tensor.data_type(), tensor.shape()), (DataType::I16, &[1, 2][..]));
        assert_eq!(tensor.data().as_ref(), [2, 1, 0xfe, 0xff]);
        let bytes = [0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9];
        let tensor = parse(&Bytes::copy_from_slice(&bytes)).expect("an IDX file");
        assert_eq!((tensor.data_type(), tensor.data().as_ref()), (DataType::U8, &[7, 8, 9][..]));
    }

    #[test]
    fn what_is_no_such_file_is_refused() {
        assert_eq!(refused(b""), IdxError::Magic);
        assert_eq!(refused(&[0, 1, 8, 0]), IdxError::Magic);
        assert_eq!(refused(&[0, 0, 8, 1, 0, 0, 0]), IdxError::Magic);
        assert_eq!(refused(&[0, 0, 0x0a, 0]), IdxError::Type(0x0a));
        assert_eq!(refused(&[0, 0, 8, 9]), IdxError::Rank { rank: 9 });
        let seen = refused(&[0, 0, 8, 1, 0, 0, 0, 3, 7, 8]);
        assert_eq!(seen, IdxError::Size { shape: vec![3], expected: 3, seen: 2 });
        let huge = [&[0, 0, 0x0e, 4][..], &[0xff; 16]].concat();
        assert_eq!(refused(&huge), IdxError::Shape { shape: vec![u32::MAX as usize; 4] });
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&bytes.into());
        }
    }
}
