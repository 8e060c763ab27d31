//! Values survive JSON bit by bit, and no input does worse than an error.

mod malformed;
mod strategy;

use std::sync::Arc;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use self::strategy::{any_type, float32, float64, value_of};
use super::{Case, Field, Type, Value, parse, write};

fn field(name: &str, ty: Type) -> Field {
    Field { name: name.into(), ty }
}

fn case(name: &str, ty: Option<Type>) -> Case {
    Case { name: name.into(), ty }
}

fn list(ty: Type) -> Type {
    Type::List(Arc::new(ty))
}

fn option(ty: Type) -> Type {
    Type::Option(Arc::new(ty))
}

fn result(ok: Option<Type>, err: Option<Type>) -> Type {
    Type::Result { ok: ok.map(Arc::new), err: err.map(Arc::new) }
}

fn names(names: &[&str]) -> Arc<[Arc<str>]> {
    names.iter().copied().map(Into::into).collect()
}

fn numbered(count: usize) -> Vec<Arc<str>> {
    (0..count).map(|index| format!("n{index}").into()).collect()
}

/// Parses `json` as the only parameter, of type `ty`.
fn read(ty: &Type, json: &str) -> Value {
    let body = format!("{{\"a\": {json}}}");
    let mut values = parse::arguments(&[field("a", ty.clone())], body.as_bytes())
        .unwrap_or_else(|error| panic!("{body}: {error}"));
    assert_eq!(values.len(), 1);
    values.remove(0)
}

fn written(value: &Value, ty: &Type) -> String {
    let mut out = Vec::new();
    write::json(value, ty, &mut out);
    String::from_utf8(out).expect("JSON is text")
}

/// As text, which distinguishes zeros and treats NaNs as equal.
fn assert_same(ours: &Value, theirs: &Value) {
    assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
}

fn round_trip(value: &Value, ty: &Type) {
    assert!(write::json_bytes_min(value, ty) <= written(value, ty).len() as u64, "{value:?}");
    assert_same(&read(ty, &written(value, ty)), value);
}

proptest! {
    #[test]
    fn what_is_written_reads_back(
        (ty, value) in any_type().prop_flat_map(|ty| (Just(ty.clone()), value_of(&ty)))
    ) {
        round_trip(&value, &ty);
    }

    #[test]
    fn every_f32_survives(v in float32()) {
        round_trip(&Value::F32(v), &Type::F32);
    }

    #[test]
    fn every_f64_survives(v in float64()) {
        round_trip(&Value::F64(v), &Type::F64);
    }

    #[test]
    fn no_bytes_are_worse_than_an_error(ty in any_type(), body in vec(any::<u8>(), 0..200)) {
        let _ = parse::arguments(&[field("a", ty)], &body);
    }

    #[test]
    fn no_json_is_worse_than_an_error(
        (ty, other, value) in (any_type(), any_type())
            .prop_flat_map(|(ty, other)| (Just(ty), Just(other.clone()), value_of(&other))),
        cut in any::<prop::sample::Index>(),
    ) {
        let body = format!("{{\"a\": {}}}", written(&value, &other)).into_bytes();
        let params = [field("a", ty)];
        let _ = parse::arguments(&params, &body);
        prop_assert!(parse::arguments(&params, &body[..cut.index(body.len())]).is_err());
    }

    #[test]
    fn writing_what_does_not_fit_still_makes_json(
        (ty, value) in (any_type(), any_type())
            .prop_flat_map(|(ty, other)| (Just(ty), value_of(&other)))
    ) {
        let text = written(&value, &ty);
        prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok(), "{}", text);
    }
}

#[test]
fn extremes_survive() {
    for v in [u64::MAX, (1 << 53) + 1, 0] {
        round_trip(&Value::U64(v), &Type::U64);
        assert_eq!(read(&Type::U64, &format!("\"{v}\"")), Value::U64(v));
    }
    for v in [i64::MIN, i64::MAX, -1] {
        round_trip(&Value::S64(v), &Type::S64);
        assert_eq!(read(&Type::S64, &format!("\"{v}\"")), Value::S64(v));
    }
    for v in [-0.0, f64::from_bits(1), f64::MIN_POSITIVE, f64::MAX, f64::MIN, 1e300, 1e21, 0.1] {
        round_trip(&Value::F64(v), &Type::F64);
    }
    for v in [-0.0, f32::from_bits(1), f32::MIN_POSITIVE, f32::MAX, f32::MIN, 1e21, 0.1] {
        round_trip(&Value::F32(v), &Type::F32);
    }
    for v in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        round_trip(&Value::F64(v), &Type::F64);
    }
}

#[test]
fn single_floats_are_rounded_once() {
    // Just below the middle of two floats: rounding it to a double first would reach the middle and round up.
    let below = "1.00000017881393432617187499";
    assert_eq!(read(&Type::F32, below), Value::F32(f32::from_bits(0x3f80_0001)));
    let list = read(&list(Type::F32), &format!("[{below}, 3.4028235677973365e38, -0]"));
    let bytes = [0x3f80_0001_u32, 0x7f7f_ffff, 0x8000_0000].map(u32::to_le_bytes).concat();
    assert_eq!(list, Value::Packed(bytes.into()));
}

#[test]
fn the_json_is_the_documented_one() {
    let some = |value| Value::Option(Some(Box::new(value)));
    let twice = option(option(Type::U8));
    let status = Type::Variant([case("off", None), case("at", Some(Type::U8))].into());
    let table = [
        (Value::F32(0.1), Type::F32, "0.1"),
        (Value::F64(f64::NAN), Type::F64, r#""NaN""#),
        (Value::F32(f32::NEG_INFINITY), Type::F32, r#""-Infinity""#),
        (Value::U64(u64::MAX), Type::U64, "18446744073709551615"),
        (Value::Char('"'), Type::Char, r#""\"""#),
        (Value::Packed(Bytes::from_static(&[1, 2, 255])), list(Type::U8), r#""AQL/""#),
        (Value::Packed(Bytes::from_static(&[1, 255])), list(Type::S8), "[1,-1]"),
        (Value::Packed(Bytes::new()), list(Type::F64), "[]"),
        (Value::Option(None), twice.clone(), "null"),
        (some(Value::Option(None)), twice.clone(), r#"{"some":null}"#),
        (some(some(Value::U8(1))), twice, r#"{"some":1}"#),
        (Value::Variant(0, None), status.clone(), r#""off""#),
        (Value::Variant(1, Some(Box::new(Value::U8(1)))), status, r#"{"at":1}"#),
        (Value::Result(Ok(None)), result(None, None), r#"{"ok":null}"#),
        (Value::Flags(vec![5]), Type::Flags(names(&["x", "y", "z"])), r#"["x","z"]"#),
        (Value::Record(vec![]), Type::Record([].into()), "{}"),
    ];
    for (value, ty, json) in table {
        assert_eq!(written(&value, &ty), json);
        round_trip(&value, &ty);
    }
}

#[test]
fn the_deepest_types_can_be_read() {
    let (mut value, mut ty) = (Value::Option(None), option(Type::U8));
    for _ in 0..32 {
        (value, ty) = (Value::Option(Some(Box::new(value))), option(ty));
    }
    round_trip(&value, &ty);
}

#[test]
fn other_spellings_are_read_too() {
    assert_eq!(read(&list(Type::U8), "[ 1, 2 ]"), Value::Packed(Bytes::from_static(&[1, 2])));
    assert_eq!(
        read(&list(Type::U8), r#""AQL\/""#),
        Value::Packed(Bytes::from_static(&[1, 2, 255]))
    );
    assert_eq!(read(&Type::String, r#""\ud83d\ude00""#), Value::String("😀".into()));
    assert_eq!(read(&Type::F64, "1E+2"), Value::F64(100.0));
    assert_eq!(read(&Type::U8, "-0"), Value::U8(0));
    let ty =
        Type::Record([field("x", option(Type::U8)), field("y", option(option(Type::U8)))].into());
    assert_eq!(read(&ty, "{}"), Value::Record(vec![Value::Option(None), Value::Option(None)]));
}

#[test]
fn parameters_are_the_members_of_the_body() {
    let params = [field("a", Type::U8), field("b", option(Type::Bool)), field("c", Type::U8)];
    let values = parse::arguments(&params, br#"{"c": 3, "a": 1}"#).expect("it fits");
    assert_eq!(values, [Value::U8(1), Value::Option(None), Value::U8(3)]);
    for nothing in ["", "  \n", "{}", " { } "] {
        assert_eq!(parse::arguments(&[], nothing.as_bytes()).expect("it fits"), []);
    }
}

#[test]
fn types_are_written_as_in_wit_and_bounded() {
    let ty = Type::Record(
        [
            field("a", list(Type::U8)),
            field(
                "b",
                Type::Tuple([option(Type::String), result(None, Some(Type::String))].into()),
            ),
            field(
                "c",
                Type::Variant([case("x", None), case("y", Some(result(None, None)))].into()),
            ),
            field("d", Type::Enum(names(&["x", "y"]))),
            field("e", result(Some(Type::Flags(names(&["x"]))), None)),
            field("f", Type::Record([].into())),
        ]
        .into(),
    );
    assert_eq!(
        ty.to_string(),
        "record { a: list<u8>, b: tuple<option<string>, result<_, string>>, \
         c: variant { x, y(result) }, d: enum { x, y }, e: result<flags { x }>, f: record {} }"
    );
    let long = Type::Enum(numbered(10_000).into()).to_string();
    assert!(long.len() < 1010 && long.ends_with('…'), "{long}");
}
