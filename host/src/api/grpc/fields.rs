//! Scans a message before decoding: the model's name, and limits on repeated fields.
//!
//! Allocates nothing: a message of many fields costs one scan of its bytes.

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use crate::tensor::json::{DIMENSIONS_MAX, TENSORS_MAX};

/// Maximum parameters of a request, input or output, and maximum elements of a byte string tensor that is not raw: each is an allocation of
/// its own, however short.
const PARAMETERS_MAX: usize = 64;
const STRINGS_MAX: usize = 1 << 20;

/// Maximum length of a varint, in bytes.
const VARINT_BYTES_MAX: usize = 10;

/// Fields of `ModelInferRequest`, of its inputs and outputs, and of the contents of an input.
const MODEL_NAME: u32 = 1;
const MODEL_VERSION: u32 = 2;
const PARAMETERS: u32 = 4;
const INPUTS: u32 = 5;
const OUTPUTS: u32 = 6;
const RAW_INPUTS: u32 = 7;
const INPUT_SHAPE: u32 = 3;
const INPUT_CONTENTS: u32 = 5;
const OUTPUT_PARAMETERS: u32 = 2;
const CONTENTS_STRINGS: u32 = 8;

/// Counts the repeated fields of a `ModelInferRequest`.
pub(super) fn check(message: &[u8]) -> Result<(), String> {
    let (mut inputs, mut outputs, mut raw, mut parameters) = (0, 0, 0, 0);
    each(message, &mut |field, value| {
        match field {
            PARAMETERS => one_more(&mut parameters, PARAMETERS_MAX, "parameters")?,
            INPUTS => {
                one_more(&mut inputs, TENSORS_MAX, "inputs")?;
                input(value.bytes())?;
            }
            OUTPUTS => {
                one_more(&mut outputs, TENSORS_MAX, "outputs")?;
                let mut parameters = 0;
                each(value.bytes(), &mut |field, _| match field {
                    OUTPUT_PARAMETERS => one_more(&mut parameters, PARAMETERS_MAX, "parameters"),
                    _ => Ok(()),
                })?;
            }
            RAW_INPUTS => one_more(&mut raw, TENSORS_MAX, "raw inputs")?,
            _ => {}
        }
        Ok(())
    })
}

fn input(message: &[u8]) -> Result<(), String> {
    let (mut parameters, mut dimensions, mut strings) = (0, 0, 0);
    each(message, &mut |field, value| match (field, value) {
        (PARAMETERS, _) => one_more(&mut parameters, PARAMETERS_MAX, "parameters"),
        (INPUT_SHAPE, Field::Bytes(packed)) if packed.len() > DIMENSIONS_MAX * VARINT_BYTES_MAX => {
            Err(too_many(packed.len(), DIMENSIONS_MAX, "dimensions"))
        }
        (INPUT_SHAPE, Field::Other) => one_more(&mut dimensions, DIMENSIONS_MAX, "dimensions"),
        (INPUT_CONTENTS, Field::Bytes(contents)) => each(contents, &mut |field, _| match field {
            CONTENTS_STRINGS => {
                one_more(&mut strings, STRINGS_MAX, "byte strings that are not raw")
            }
            _ => Ok(()),
        }),
        _ => Ok(()),
    })
}

fn one_more(count: &mut usize, max: usize, what: &str) -> Result<(), String> {
    *count += 1;
    if *count > max { Err(too_many(*count, max, what)) } else { Ok(()) }
}

fn too_many(count: usize, max: usize, what: &str) -> String {
    format!("{count} {what} or more, but no more than {max} are allowed")
}

/// Name and version of the model in a `ModelInferRequest`. The last of a duplicate field counts.
pub(super) fn model(message: &[u8]) -> Result<(&str, &str), String> {
    let (mut name, mut version): (&[u8], &[u8]) = (&[], &[]);
    each(message, &mut |field, value| {
        match field {
            MODEL_NAME => name = value.bytes(),
            MODEL_VERSION => version = value.bytes(),
            _ => {}
        }
        Ok(())
    })?;
    let text =
        |bytes| str::from_utf8(bytes).map_err(|_| "the message is broken: a text is not UTF-8");
    Ok((text(name)?, text(version)?))
}

#[derive(Clone, Copy)]
enum Field<'m> {
    Bytes(&'m [u8]),
    Other,
}

impl<'m> Field<'m> {
    fn bytes(self) -> &'m [u8] {
        match self {
            Field::Bytes(bytes) => bytes,
            Field::Other => &[],
        }
    }
}

/// Passes each field of a message on, with its number.
fn each<'m>(
    message: &'m [u8],
    take: &mut dyn FnMut(u32, Field<'m>) -> Result<(), String>,
) -> Result<(), String> {
    let broken = |error: prost::DecodeError| format!("the message is broken: {error}");
    let mut left = message;
    while !left.is_empty() {
        let (tag, wire) = decode_key(&mut left).map_err(broken)?;
        if wire != WireType::LengthDelimited {
            skip_field(wire, tag, &mut left, DecodeContext::default()).map_err(broken)?;
            take(tag, Field::Other)?;
            continue;
        }
        let length = decode_varint(&mut left).map_err(broken)?;
        let value = usize::try_from(length).ok().and_then(|length| left.split_at_checked(length));
        let (value, rest) = value.ok_or("the message is broken: it ends within a field")?;
        left = rest;
        take(tag, Field::Bytes(value))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
        [&[tag << 3 | 2, u8::try_from(bytes.len()).expect("short")][..], bytes].concat()
    }

    #[test]
    fn the_last_name_counts_and_what_is_repeated_too_often_is_refused() {
        let message = [field(1, b"a/b"), field(2, b"1"), field(1, b"c/d")].concat();
        assert_eq!(model(&message), Ok(("c/d", "1")));
        assert!(check(&message).is_ok());
        assert!(check(&field(5, b"").repeat(TENSORS_MAX)).is_ok());
        for many in [
            field(5, b"").repeat(TENSORS_MAX + 1),
            field(6, b"").repeat(TENSORS_MAX + 1),
            field(7, b"").repeat(TENSORS_MAX + 1),
            field(4, b"").repeat(PARAMETERS_MAX + 1),
            field(5, &field(4, b"").repeat(63))
                .repeat(3)
                .into_iter()
                .chain(field(4, b"").repeat(65))
                .collect(),
            field(5, &[0x18, 1].repeat(63))
                .into_iter()
                .chain(field(6, &field(2, b"").repeat(60)))
                .chain(field(4, b"").repeat(65))
                .collect(),
        ] {
            let refused = check(&many).expect_err("refused");
            assert!(refused.contains("no more than"), "{refused}");
        }
        assert!(check(&[0x0a, 200]).is_err() && check(&[0xff; 20]).is_err());
        assert!(model(&field(1, &[0xff])).is_err());
    }
}
