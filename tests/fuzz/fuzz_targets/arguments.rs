//! The JSON arguments of a call, parsed by the function's types. Any value that parses must survive
//! a round trip.
#![no_main]

use std::sync::Arc;

use hospes::value::{Case, Constructor, Field, Type, Value, parse, write};
use libfuzzer_sys::fuzz_target;

fn types() -> Vec<Field> {
    let field = |name: &str, ty| Field { name: name.into(), ty };
    let list = |ty| Type::List(Arc::new(ty));
    let option = |ty| Type::Option(Arc::new(ty));
    vec![
        field("a", option(Type::U64)),
        field("b", option(list(Type::F32))),
        field("c", option(list(Type::U8))),
        field("d", option(list(Type::String))),
        field("e", option(Type::Record([field("x", Type::F64), field("y", Type::Char)].into()))),
        field(
            "f",
            option(Type::Variant(
                [
                    Case { name: "p".into(), ty: None },
                    Case { name: "q".into(), ty: Some(Type::S16) },
                ]
                .into(),
            )),
        ),
        field("g", option(option(Type::Bool))),
        field("h", option(Type::Flags(["r".into(), "w".into()].into()))),
        field("i", option(Type::Result { ok: Some(Arc::new(Type::S8)), err: None })),
        field("k", option(list(Type::Tensor))),
        field(
            "l",
            list(Type::Resource(Arc::new(Constructor {
                resource: "r".into(),
                position: 0,
                params: [field("s", Type::S32)].into(),
            }))),
        ),
        field(
            "j",
            option(Type::Tuple([Type::S64, Type::Enum(["m".into(), "n".into()].into())].into())),
        ),
    ]
}

fuzz_target!(|bytes: &[u8]| {
    let types = types();
    let Ok(values) = parse::arguments(&types, bytes) else { return };
    let record = Type::Record(types.clone().into());
    let mut text = Vec::new();
    write::json(&Value::Record(values.clone()), &record, &mut text);
    let again = parse::arguments(&types, &text).expect("written arguments parse");
    let mut twice = Vec::new();
    write::json(&Value::Record(again), &record, &mut twice);
    assert_eq!(text, twice);
});
