//! Arguments in parts: the fields of a form, or of a query with a body of plain bytes.
//!
//! A part for a `list<u8>` is its bytes; one for a tensor may be a `numpy.save` file; one for a string, a character or an enum case is
//! plain text. Any other is JSON, as in a JSON body.

use bytes::Bytes;
use serde_json::value::RawValue;

use super::ArgumentsError;
use crate::call::Part;
use crate::tensor::npy;
use crate::value::{Field, Type, Value, parse};

/// Parses the arguments of a function with `params` from its parts. `body` is for the only `list<u8>` without a part.
pub(super) fn read(
    params: &[Field],
    parts: &[Part],
    body: Option<&Bytes>,
) -> Result<Vec<Value>, ArgumentsError> {
    for (index, part) in parts.iter().enumerate() {
        let name = || part.name.clone();
        if !params.iter().any(|param| *param.name == *part.name) {
            let known = params.iter().map(|param| param.name.to_string()).collect();
            return Err(ArgumentsError::UnknownPart { name: name(), known });
        }
        if parts[..index].iter().any(|other| other.name == part.name) {
            return Err(ArgumentsError::DuplicatePart { name: name() });
        }
    }
    let part = |param: &Field| parts.iter().find(|part| *part.name == *param.name);
    let mut unnamed = params.iter().filter(|param| param.ty.is_bytes() && part(param).is_none());
    let of_body = match (body, unnamed.next(), unnamed.next()) {
        (None, ..) => None,
        (Some(_), Some(param), None) => Some(param),
        (Some(_), ..) => return Err(ArgumentsError::OctetsForValues),
    };
    // Everything except bytes is parsed as one object, by the one JSON parser.
    let mut object = Vec::from(b"{".as_slice());
    let mut plain = Vec::new();
    for param in params.iter().filter(|param| !param.ty.is_bytes() && !is_file(param, part(param)))
    {
        plain.push(param.clone());
        if let Some(part) = part(param) {
            member(&mut object, param, part)?;
        }
    }
    object.push(b'}');
    let mut values = parse::arguments(&plain, &object)?.into_iter();
    params
        .iter()
        .map(|param| {
            let missing = || ArgumentsError::MissingPart { name: param.name.to_string() };
            if let Some(part) = part(param).filter(|part| is_file(param, Some(part))) {
                let tensor = npy::read(&part.bytes).map_err(|error| {
                    ArgumentsError::PartNotNpy { name: part.name.clone(), error }
                })?;
                return Ok(Value::Tensor(tensor));
            }
            if !param.ty.is_bytes() {
                return values.next().ok_or_else(missing);
            }
            let bytes = match part(param) {
                Some(part) => Some(&part.bytes),
                None => body.filter(|_| of_body == Some(param)),
            };
            bytes.map(|bytes| Value::Packed(bytes.clone())).ok_or_else(missing)
        })
        .collect()
}

/// Whether a part is a tensor in NumPy's format.
fn is_file(param: &Field, part: Option<&Part>) -> bool {
    param.ty == Type::Tensor && part.is_some_and(|part| npy::is_npy(&part.bytes))
}

/// Whether a part is plain text rather than JSON.
fn is_text(ty: &Type) -> bool {
    match ty {
        Type::String | Type::Char | Type::Enum(_) => true,
        Type::Option(inner) => is_text(inner),
        _ => false,
    }
}

fn member(object: &mut Vec<u8>, param: &Field, part: &Part) -> Result<(), ArgumentsError> {
    let not_text = |_| ArgumentsError::PartNotText { name: part.name.clone() };
    let text = str::from_utf8(&part.bytes).map_err(not_text)?;
    let json = if is_text(&param.ty) {
        serde_json::Value::from(text).to_string()
    } else {
        // Each part must be complete JSON: it must not extend into the next one.
        let json: &RawValue =
            serde_json::from_str(text).map_err(|error| ArgumentsError::PartNotJson {
                name: part.name.clone(),
                expected: param.ty.to_string(),
                error: error.to_string(),
            })?;
        json.get().to_owned()
    };
    if object.len() > 1 {
        object.push(b',');
    }
    object.extend_from_slice(serde_json::Value::from(&*param.name).to_string().as_bytes());
    object.push(b':');
    object.extend_from_slice(json.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn part(name: &str, bytes: &[u8]) -> Part {
        Part { name: name.into(), bytes: Bytes::copy_from_slice(bytes) }
    }

    fn params() -> Vec<Field> {
        let field = |name: &str, ty| Field { name: name.into(), ty };
        vec![
            field("picture", Type::List(Arc::new(Type::U8))),
            field("top", Type::U32),
            field("name", Type::Option(Arc::new(Type::String))),
            field("points", Type::List(Arc::new(Type::F32))),
        ]
    }

    #[test]
    fn parts_become_arguments_in_the_order_of_the_parameters() {
        let parts = [part("points", b"[0.5]"), part("top", b"3"), part("picture", &[0xff, 0])];
        let values = read(&params(), &parts, None).expect("they fit");
        assert_eq!(values[0], Value::Packed(Bytes::from_static(&[0xff, 0])));
        assert_eq!((&values[1], &values[2]), (&Value::U32(3), &Value::Option(None)));
        let parts = [part("points", b"[]"), part("top", b"3"), part("name", b"3")];
        let values = read(&params(), &parts, Some(&Bytes::from_static(b"raw"))).expect("they fit");
        assert_eq!(values[0], Value::Packed(Bytes::from_static(b"raw")));
        assert_eq!(values[2], Value::Option(Some(Box::new(Value::String("3".into())))));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let refused =
            |parts: &[Part]| read(&params(), parts, None).expect_err("refused").to_string();
        let good = || [part("points", b"[]"), part("top", b"3"), part("picture", b"")];
        assert!(refused(&[part("other", b"")]).contains("`other`"));
        assert!(refused(&[part("top", b"1"), part("top", b"2")]).contains("twice"));
        assert!(refused(&good()[..2]).contains("`picture`"));
        assert!(refused(&good()[1..]).contains("points"));
        assert!(refused(&[part("top", b"1,\"name\":\"x\"")]).contains("`top`"));
        assert!(refused(&[part("name", &[0xff])]).contains("UTF-8"));
        let both = read(&params(), &good(), Some(&Bytes::new()));
        assert!(matches!(both, Err(ArgumentsError::OctetsForValues)));
    }
}
