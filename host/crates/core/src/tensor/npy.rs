//! Tensors in NumPy's file format (`numpy.lib.format`, versions 1 to 3), as `numpy.save` writes it and `numpy.load` reads it.
//!
//! Written files are little-endian in row-major order; other orders are converted on reading. `BF16` and `BYTES` have no exact form in the
//! format.

use bytes::Bytes;

use super::{DataType, RANK_MAX, Tensor, TensorError};

const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// Maximum header length, in bytes. NumPy's own limit is 10000.
const HEADER_BYTES_MAX: usize = 4096;

/// Alignment of the first element.
const ALIGN: usize = 64;

/// Why bytes are not a tensor in NumPy's format, or a tensor has no such form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NpyError {
    #[error("it does not begin like a file from `numpy.save`")]
    Magic,
    #[error("its header is cut off, or longer than {HEADER_BYTES_MAX} bytes")]
    Header,
    #[error("its header is not `{{'descr': '…', 'fortran_order': …, 'shape': (…)}}`")]
    Words,
    #[error("tensors cannot hold elements of `{0}`: use numbers or booleans")]
    Elements(String),
    #[error("NumPy's format has no form for {0}: request `application/json`")]
    NoForm(DataType),
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

/// Whether bytes begin like such a file.
pub fn is_npy(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// Reads a tensor. Its elements are copied, once per conversion, only if the file has another order.
///
/// # Errors
/// [`NpyError`].
pub fn read(bytes: &Bytes) -> Result<Tensor, NpyError> {
    let (header, mut data) = Header::split(bytes)?;
    let (data_type, swapped) = data_type(&header.elements)
        .ok_or_else(|| NpyError::Elements(header.elements.chars().take(40).collect()))?;
    let width = data_type.size().filter(|width| *width > 1);
    if let (true, Some(width)) = (swapped, width) {
        data = data.chunks(width).flat_map(|element| element.iter().rev()).copied().collect();
    }
    let tensor = Tensor::new(data_type, header.shape, data)?;
    if !header.column_major || tensor.shape().len() < 2 {
        return Ok(tensor);
    }
    let (data, shape) = (tensor.data(), tensor.shape());
    let rows = match data_type.size() {
        Some(1) => rows_of::<1>(data, shape),
        Some(2) => rows_of::<2>(data, shape),
        Some(4) => rows_of::<4>(data, shape),
        _ => rows_of::<8>(data, shape),
    };
    Ok(Tensor::new(data_type, shape.to_vec(), rows)?)
}

/// Reads an array of texts: of `str` (`<U…`, four bytes a character) or `bytes` (`|S…`), as [`DataType::Bytes`] in UTF-8. NumPy fills short
/// elements up with zeros, so they end at the last character that is none.
///
/// # Errors
/// [`NpyError`]. Other elements are [`NpyError::Elements`].
pub fn read_text(bytes: &Bytes) -> Result<Tensor, NpyError> {
    let (header, data) = Header::split(bytes)?;
    let refused = || NpyError::Elements(header.elements.chars().take(40).collect());
    let (kind, count) = header.elements.split_at_checked(2).ok_or_else(refused)?;
    let count: usize = count.parse().map_err(|_| refused())?;
    let (unit, swapped) = match kind {
        "<U" => (4, false),
        ">U" => (4, true),
        "|S" => (1, false),
        _ => return Err(refused()),
    };
    let elements = super::count(&header.shape);
    let elements = elements.ok_or_else(|| TensorError::Shape { shape: header.shape.clone() })?;
    let width = count.checked_mul(unit).filter(|width| *width > 0).ok_or_else(refused)?;
    if elements.checked_mul(width) != Some(data.len())
        || header.column_major && header.shape.len() > 1
    {
        return Err(refused());
    }
    let texts: Option<Vec<String>> = data
        .chunks_exact(width)
        .map(|element| match unit {
            1 => str::from_utf8(element).ok().map(|text| text.trim_end_matches('\0').to_owned()),
            _ => characters(element, swapped),
        })
        .collect();
    let texts = texts.ok_or_else(refused)?;
    let data = super::pack_strings(texts.iter().map(String::as_bytes)).ok_or_else(refused)?;
    Ok(Tensor::new(DataType::Bytes, header.shape, data)?)
}

/// An element of four-byte characters.
fn characters(element: &[u8], swapped: bool) -> Option<String> {
    let (units, _) = element.as_chunks();
    let numbers = units.iter().map(|unit| match swapped {
        true => u32::from_be_bytes(*unit),
        false => u32::from_le_bytes(*unit),
    });
    let text: Option<String> = numbers.map(char::from_u32).collect();
    Some(text?.trim_end_matches('\0').to_owned())
}

/// Converts column-major elements to row-major order.
fn rows_of<const WIDTH: usize>(columns: &[u8], shape: &[usize]) -> Bytes {
    let (columns, _) = columns.as_chunks::<WIDTH>();
    let mut out: Vec<u8> = Vec::with_capacity(columns.len() * WIDTH);
    let Some((last, outer)) = shape.split_last().filter(|_| !columns.is_empty()) else {
        return out.into();
    };
    // The strides along the outer dimensions; the first is the smallest.
    let stride: usize = outer.iter().product();
    let mut place = vec![0; outer.len()];
    loop {
        let strides = outer.iter().scan(1, |stride, size| {
            let own = *stride;
            *stride *= size;
            Some(own)
        });
        let from: usize = place.iter().zip(strides).map(|(at, stride)| at * stride).sum();
        for at in 0..*last {
            out.extend_from_slice(&columns[from + at * stride]);
        }
        // Advances to the next position, the last of the outer dimensions first.
        let Some(axis) = (0..outer.len()).rev().find(|axis| place[*axis] + 1 < outer[*axis]) else {
            return out.into();
        };
        place[axis] += 1;
        place[axis + 1..].fill(0);
    }
}

/// Writes a tensor.
///
/// # Errors
/// [`NpyError::NoForm`].
pub fn write(tensor: &Tensor) -> Result<Vec<u8>, NpyError> {
    let elements = match tensor.data_type() {
        DataType::Bool => "|b1",
        DataType::U8 => "|u1",
        DataType::I8 => "|i1",
        DataType::U16 => "<u2",
        DataType::I16 => "<i2",
        DataType::U32 => "<u4",
        DataType::I32 => "<i4",
        DataType::U64 => "<u8",
        DataType::I64 => "<i8",
        DataType::F16 => "<f2",
        DataType::F32 => "<f4",
        DataType::F64 => "<f8",
        other @ (DataType::Bf16 | DataType::Bytes) => return Err(NpyError::NoForm(other)),
    };
    // A tuple of one has a comma.
    let sizes: String = tensor.shape().iter().map(|size| format!("{size}, ")).collect();
    let shape =
        if tensor.shape().len() == 1 { sizes.trim_end() } else { sizes.trim_end_matches(", ") };
    let mut header =
        format!("{{'descr': '{elements}', 'fortran_order': False, 'shape': ({shape}), }}");
    let fixed = MAGIC.len() + 4;
    let length = (fixed + header.len() + 1).next_multiple_of(ALIGN) - fixed;
    while header.len() < length - 1 {
        header.push(' ');
    }
    header.push('\n');
    let length = u16::try_from(length).expect("invariant: eight sizes are a short header");
    let mut out = Vec::with_capacity(fixed + header.len() + tensor.data().len());
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&[1, 0]);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(tensor.data());
    Ok(out)
}

/// The element type, and whether elements are big-endian.
fn data_type(elements: &str) -> Option<(DataType, bool)> {
    let (order, kind) = elements.split_at_checked(1)?;
    let ty = match kind {
        "b1" => DataType::Bool,
        "u1" => DataType::U8,
        "i1" => DataType::I8,
        "u2" => DataType::U16,
        "i2" => DataType::I16,
        "u4" => DataType::U32,
        "i4" => DataType::I32,
        "u8" => DataType::U64,
        "i8" => DataType::I64,
        "f2" => DataType::F16,
        "f4" => DataType::F32,
        "f8" => DataType::F64,
        _ => return None,
    };
    match (order, ty.size()) {
        // A single byte has no byte order.
        ("|" | "<" | ">", Some(1)) | ("<", _) => Some((ty, false)),
        (">", _) => Some((ty, true)),
        _ => None,
    }
}

/// The header: a Python dictionary.
struct Header {
    elements: String,
    column_major: bool,
    shape: Vec<usize>,
}

impl Header {
    /// The header, and the elements after it.
    fn split(bytes: &Bytes) -> Result<(Self, Bytes), NpyError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(NpyError::Magic)?;
        let (start, length) = match rest {
            [1, _, a, b, ..] => (10, usize::from(u16::from_le_bytes([*a, *b]))),
            [2 | 3, _, a, b, c, d, ..] => (12, u32::from_le_bytes([*a, *b, *c, *d]) as usize),
            _ => return Err(NpyError::Header),
        };
        if length > HEADER_BYTES_MAX {
            return Err(NpyError::Header);
        }
        let header = bytes.get(start..start + length).ok_or(NpyError::Header)?;
        let header = Self::read(str::from_utf8(header).map_err(|_| NpyError::Words)?)?;
        Ok((header, bytes.slice(start + length..)))
    }

    fn read(text: &str) -> Result<Self, NpyError> {
        let mut words = Words(text);
        let (mut elements, mut column_major, mut shape) = (None, None, None);
        words.expect("{")?;
        while !words.take("}") {
            let key = words.quoted()?;
            words.expect(":")?;
            match key {
                "descr" if elements.is_none() => elements = Some(words.quoted()?.to_owned()),
                "fortran_order" if column_major.is_none() => {
                    column_major = Some(match (words.take("False"), words.take("True")) {
                        (true, _) => false,
                        (false, true) => true,
                        (false, false) => return Err(NpyError::Words),
                    });
                }
                "shape" if shape.is_none() => shape = Some(words.sizes()?),
                _ => return Err(NpyError::Words),
            }
            if !words.take(",") {
                words.expect("}")?;
                break;
            }
        }
        match (elements, column_major, shape, words.0.trim()) {
            (Some(elements), Some(column_major), Some(shape), "") => {
                Ok(Self { elements, column_major, shape })
            }
            _ => Err(NpyError::Words),
        }
    }
}

/// The rest of the header.
struct Words<'t>(&'t str);

impl<'t> Words<'t> {
    fn take(&mut self, word: &str) -> bool {
        match self.0.trim_start().strip_prefix(word) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, word: &str) -> Result<(), NpyError> {
        if self.take(word) { Ok(()) } else { Err(NpyError::Words) }
    }

    fn quoted(&mut self) -> Result<&'t str, NpyError> {
        let quote = if self.take("'") { '\'' } else { '"' };
        if quote == '"' {
            self.expect("\"")?;
        }
        let (text, rest) = self.0.split_once(quote).ok_or(NpyError::Words)?;
        self.0 = rest;
        Ok(text)
    }

    fn sizes(&mut self) -> Result<Vec<usize>, NpyError> {
        let mut sizes = Vec::new();
        self.expect("(")?;
        while !self.take(")") {
            let text = self.0.trim_start();
            let digits = text.bytes().take_while(u8::is_ascii_digit).count();
            let (size, rest) = text.split_at(digits);
            sizes.push(size.parse().map_err(|_| NpyError::Words)?);
            if sizes.len() > RANK_MAX {
                return Err(TensorError::Rank { rank: sizes.len() }.into());
            }
            self.0 = rest;
            if !self.take(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(sizes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Bytes {
        let length = u16::try_from(header.len()).expect("short").to_le_bytes();
        [MAGIC.as_slice(), &[1, 0], &length, header.as_bytes(), data].concat().into()
    }

    #[test]
    fn what_is_written_is_read() {
        for ty in DataType::ALL {
            for shape in [vec![], vec![3], vec![2, 0], vec![1, 2, 3]] {
                let Some(width) = ty.size() else { continue };
                let count: usize = shape.iter().product();
                let tensor = Tensor::new(ty, shape, vec![1; count * width].into()).expect("fits");
                match write(&tensor) {
                    Ok(written) => {
                        assert_eq!((written.len() - count * width) % ALIGN, 0);
                        assert_eq!(read(&written.into()).expect("its own"), tensor);
                    }
                    Err(error) => assert_eq!(error, NpyError::NoForm(DataType::Bf16)),
                }
            }
        }
    }

    #[test]
    fn headers_of_others_are_read() {
        let tensor = Tensor::new(DataType::I16, vec![2], vec![1, 0, 2, 0].into()).expect("fits");
        let plain = "{'descr': '<i2', 'fortran_order': False, 'shape': (2,), }  \n";
        let other = "{\"shape\":(2),\"fortran_order\":True,\"descr\":\"<i2\"}";
        for header in [plain, other] {
            assert_eq!(read(&file(header, &[1, 0, 2, 0])).expect(header), tensor);
        }
    }

    #[test]
    fn columns_and_big_ends_are_put_in_order() {
        let of = |descr: &str, order: &str, shape: &str, data: &[u8]| {
            let header =
                format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}}}");
            let tensor = read(&file(&header, data)).expect(&header);
            (tensor.shape().to_vec(), tensor.data().to_vec())
        };
        assert_eq!(of(">i2", "False", "(2,)", &[1, 2, 3, 4]), (vec![2], vec![2, 1, 4, 3]));
        assert_eq!(
            of(">f8", "False", "(1,)", &[1, 2, 3, 4, 5, 6, 7, 8]).1,
            [8, 7, 6, 5, 4, 3, 2, 1]
        );
        // numpy.asfortranarray([[0, 1, 2], [3, 4, 5]])
        let columns = [0, 3, 1, 4, 2, 5];
        assert_eq!(of("|u1", "True", "(2, 3)", &columns), (vec![2, 3], vec![0, 1, 2, 3, 4, 5]));
        assert_eq!(of("|u1", "True", "(6,)", &columns).1, columns);
        assert_eq!(of("|u1", "True", "(0, 3)", &[]), (vec![0, 3], vec![]));
        assert_eq!(of(">u2", "True", "(1, 2)", &[0, 1, 0, 2]).1, [1, 0, 2, 0]);
        // numpy.arange(8).reshape(2, 2, 2, order='C') as columns: by the first dimension first.
        let cube = of("|u1", "True", "(2, 2, 2)", &[0, 4, 2, 6, 1, 5, 3, 7]);
        assert_eq!(cube.1, [0, 1, 2, 3, 4, 5, 6, 7]);
        for cut in ["(2, 4)", "(3, 3)", "(4294967296, 4294967296, 4)"] {
            let header = format!("{{'descr': '|u1', 'fortran_order': True, 'shape': {cut}}}");
            read(&file(&header, &columns)).expect_err("does not fit");
        }
    }

    #[test]
    fn texts_are_read_by_their_own_reader() {
        let of = |descr: &str, shape: &str, data: &[u8]| {
            let header =
                format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}");
            let tensor = read_text(&file(&header, data))?;
            assert_eq!(tensor.data_type(), DataType::Bytes);
            Ok(tensor.strings().map(<[u8]>::to_vec).collect::<Vec<_>>())
        };
        // numpy.array(['é', 'ab'])
        let two = [0xe9, 0, 0, 0, 0, 0, 0, 0, 0x61, 0, 0, 0, 0x62, 0, 0, 0];
        assert_eq!(of("<U2", "(2,)", &two), Ok(vec!["é".into(), b"ab".into()]));
        assert_eq!(of(">U1", "(1,)", &[0, 0, 0, 0x61]), Ok(vec![b"a".into()]));
        assert_eq!(of("|S3", "(2,)", b"a\0\0bcd"), Ok(vec![b"a".into(), b"bcd".into()]));
        for (descr, shape, data) in [
            ("<U2", "(2,)", &two[..12]),
            ("<U1", "(1,)", &[0xff; 4]),
            ("|S1", "(1,)", &[0xff]),
            ("<U0", "(1,)", &[]),
            ("<U99999999999999999999", "(1,)", &[]),
            ("<U9223372036854775807", "(4,)", &[]),
            ("<f4", "(1,)", &[0; 4]),
            ("|O", "(1,)", &[0; 8]),
        ] {
            assert!(matches!(of(descr, shape, data), Err(NpyError::Elements(_))), "{descr}");
        }
    }

    #[test]
    fn what_is_no_such_file_is_refused() {
        let refused = |header: &str, data: &[u8]| read(&file(header, data)).expect_err(header);
        let of = |descr: &str, order: &str, shape: &str| {
            format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}}}")
        };
        assert_eq!(read(&Bytes::from_static(b"\x93NUMP")).expect_err("cut"), NpyError::Magic);
        let whole = file(&of("<i2", "False", "(1,)"), &[1, 0]);
        for cut in 0..whole.len() {
            read(&whole.slice(..cut)).expect_err("cut off");
        }
        for elements in ["|i2", "=i2", "<c8", "<U1", "|O", "<i16", "i2", "", "ä", ">b2"] {
            let seen = refused(&of(elements, "False", "(1,)"), &[1, 0]);
            assert_eq!(seen, NpyError::Elements(elements.into()));
        }
        for header in [
            "",
            "{}",
            "{'descr': '<i2'}",
            &of("<i2", "Maybe", "(1,)"),
            &of("<i2", "False", "(-1,)"),
            &of("<i2", "False", "(1"),
            &of("<i2", "False", "(99999999999999999999999,)"),
            &of("<i2", "False", "(1,), 'more': 1"),
            &format!("{} x", of("<i2", "False", "(1,)")),
        ] {
            assert_eq!(refused(header, &[1, 0]), NpyError::Words, "{header}");
        }
        let many = of("<i2", "False", "(1, 1, 1, 1, 1, 1, 1, 1, 1)");
        assert!(matches!(refused(&many, &[1, 0]), NpyError::Tensor(TensorError::Rank { .. })));
        let data = refused(&of("<i2", "False", "(2,)"), &[1, 0]);
        assert!(matches!(data, NpyError::Tensor(TensorError::Size { .. })), "{data}");
        let bool = refused(&of("|b1", "False", "(1,)"), &[2]);
        assert!(matches!(bool, NpyError::Tensor(_)), "{bool}");
    }
}
