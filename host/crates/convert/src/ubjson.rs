//! Universal Binary JSON (UBJSON, draft 12), as XGBoost writes it, as a JSON value.

use serde_json::{Map, Number, Value};

/// Maximum depth of arrays and objects.
const DEPTH_MAX: usize = 32;

/// Why a document is not read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// What is wrong, with its place in bytes.
    Broken(String),
    /// It has more values than allowed.
    Values,
}

/// Reads a whole document of at most so many values. What it allocates is a fixed multiple of the bytes.
///
/// # Errors
/// [`Fault`].
pub(crate) fn read(bytes: &[u8], values_max: usize) -> Result<Value, Fault> {
    let mut reader = Reader { bytes, at: 0, values: values_max, is_over: false };
    let read = reader.marker().and_then(|kind| reader.value(kind, 0));
    read.map_err(|why| if reader.is_over { Fault::Values } else { Fault::Broken(why) })
}

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
    /// How many more values there may be, and whether there were more.
    values: usize,
    is_over: bool,
}

impl<'b> Reader<'b> {
    fn fail<T>(&self, why: &str) -> Result<T, String> {
        Err(format!("byte {}: {why}", self.at))
    }

    fn take(&mut self, count: usize) -> Result<&'b [u8], String> {
        let end = self.at.checked_add(count);
        let Some(taken) = end.and_then(|end| self.bytes.get(self.at..end)) else {
            return self.fail("it ends too early");
        };
        self.at += count;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// The next marker; no-ops are skipped.
    fn marker(&mut self) -> Result<u8, String> {
        loop {
            let [marker] = self.fixed()?;
            if marker != b'N' {
                return Ok(marker);
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn value(&mut self, kind: u8, depth: usize) -> Result<Value, String> {
        let Some(left) = self.values.checked_sub(1) else {
            self.is_over = true;
            return self.fail("there are too many values");
        };
        self.values = left;
        let float = |value: f64| Number::from_f64(value).map_or(Value::Null, Value::Number);
        Ok(match kind {
            b'Z' => Value::Null,
            b'T' => true.into(),
            b'F' => false.into(),
            b'd' => float(f64::from(f32::from_be_bytes(self.fixed()?))),
            b'D' => float(f64::from_be_bytes(self.fixed()?)),
            b'S' => self.text()?.into(),
            b'C' => char::from(self.fixed::<1>()?[0]).to_string().into(),
            b'[' => self.array(depth + 1)?,
            b'{' => self.object(depth + 1)?,
            _ => self.whole(kind)?.into(),
        })
    }

    fn whole(&mut self, kind: u8) -> Result<i64, String> {
        Ok(match kind {
            b'i' => i8::from_be_bytes(self.fixed()?).into(),
            b'U' => u8::from_be_bytes(self.fixed()?).into(),
            b'I' => i16::from_be_bytes(self.fixed()?).into(),
            b'l' => i32::from_be_bytes(self.fixed()?).into(),
            b'L' => i64::from_be_bytes(self.fixed()?),
            _ => return self.fail(&format!("there is no type {kind:#04x}")),
        })
    }

    fn length(&mut self) -> Result<usize, String> {
        let kind = self.marker()?;
        let length = self.whole(kind)?;
        usize::try_from(length).or_else(|_| self.fail("a length is negative"))
    }

    fn text(&mut self) -> Result<String, String> {
        let length = self.length()?;
        let bytes = self.take(length)?;
        String::from_utf8(bytes.to_vec()).or_else(|_| self.fail("a text is not UTF-8"))
    }

    /// The type and number that a container may state first.
    fn stated(&mut self, depth: usize) -> Result<(Option<u8>, Option<usize>), String> {
        if depth > DEPTH_MAX {
            return self.fail("it is nested too deeply");
        }
        let mut kind = None;
        if self.peek() == Some(b'$') {
            self.at += 1;
            kind = Some(self.marker()?);
            if self.peek() != Some(b'#') {
                return self.fail("a type without a count");
            }
        }
        let mut count = None;
        if self.peek() == Some(b'#') {
            self.at += 1;
            let stated = self.length()?;
            // Each element has a byte at least. Types without any would make memory of nothing.
            let left = self.bytes.len() - self.at;
            if stated > left || matches!(kind, Some(b'Z' | b'T' | b'F' | b'N')) {
                return self.fail("it has more elements than bytes");
            }
            count = Some(stated);
        }
        Ok((kind, count))
    }

    fn array(&mut self, depth: usize) -> Result<Value, String> {
        let (kind, count) = self.stated(depth)?;
        let mut values = Vec::new();
        while count.is_none_or(|count| values.len() < count) {
            let kind = match kind {
                Some(kind) => kind,
                None => self.marker()?,
            };
            if count.is_none() && kind == b']' {
                break;
            }
            values.push(self.value(kind, depth)?);
        }
        Ok(values.into())
    }

    fn object(&mut self, depth: usize) -> Result<Value, String> {
        let (kind, count) = self.stated(depth)?;
        let mut members = Map::new();
        let mut read = 0;
        while count.is_none_or(|count| read < count) {
            if count.is_none() {
                while self.peek() == Some(b'N') {
                    self.at += 1;
                }
                if self.peek() == Some(b'}') {
                    self.at += 1;
                    break;
                }
            }
            let name = self.text()?;
            let kind = match kind {
                Some(kind) => kind,
                None => self.marker()?,
            };
            members.insert(name, self.value(kind, depth)?);
            read += 1;
        }
        Ok(members.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_of_one_type_and_of_several_are_read() {
        let read = |bytes: &[u8]| read(bytes, 9).expect("sound");
        assert_eq!(read(b"[$U#i\x03\x01\x02\xff"), serde_json::json!([1, 2, 255]));
        assert_eq!(read(b"[i\xffNSi\x01aZ]"), serde_json::json!([-1, "a", null]));
        assert_eq!(read(b"{i\x01ad\x3f\x00\x00\x00}"), serde_json::json!({"a": 0.5}));
        assert_eq!(read(b"{#i\x01i\x01a[]"), serde_json::json!({"a": []}));
    }

    #[test]
    fn broken_ones_say_where() {
        for bytes in [
            &b""[..],
            b"[",
            b"[$U#l\x7f\xff\xff\xff",
            b"[$Z#l\x7f\xff\xff\xff",
            b"Sl\xff\xff\xff\xff",
            b"?",
            b"{i\x02a",
            &[b'['; 100],
        ] {
            let Err(Fault::Broken(error)) = read(bytes, 1000) else { panic!("{bytes:?}") };
            assert!(error.starts_with("byte "), "{error}");
        }
    }

    #[test]
    fn one_with_more_values_than_allowed_is_refused() {
        let four = b"[$U#i\x03\x01\x02\xff";
        read(four, 4).expect("a list and three numbers");
        assert_eq!(read(four, 3), Err(Fault::Values));
    }
}
