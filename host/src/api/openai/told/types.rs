//! The types of the interfaces' pieces, as in `wit/`.

use std::sync::{Arc, LazyLock};

use super::Dialect;
use crate::value::{Case, Field, Type};

/// `piece` of the interface `chat`.
pub(in crate::api::openai) fn piece(dialect: Dialect) -> &'static Type {
    static FIRST: LazyLock<Type> = LazyLock::new(first);
    static SECOND: LazyLock<Type> = LazyLock::new(second);
    match dialect {
        Dialect::First => &FIRST,
        Dialect::Second => &SECOND,
    }
}

fn first() -> Type {
    let summary = record([
        ("finish", words(["stop", "length"])),
        ("prompt-tokens", Type::U32),
        ("completion-tokens", Type::U32),
    ]);
    variant([("text", Type::String), ("end", summary)])
}

fn second() -> Type {
    let likely =
        record([("text", Type::String), ("bytes", list(Type::U8)), ("logprob", Type::F32)]);
    let chosen = record([("token", likely.clone()), ("top", list(likely))]);
    let text = record([("choice", Type::U8), ("text", Type::String), ("logprobs", list(chosen))]);
    let call = record([
        ("choice", Type::U8),
        ("call", Type::U32),
        ("id", Type::String),
        ("name", Type::String),
    ]);
    let arguments = record([("choice", Type::U8), ("call", Type::U32), ("text", Type::String)]);
    let finish = words(["stop", "length", "tool-calls"]);
    let usage = record([
        ("prompt-tokens", Type::U32),
        ("cached-tokens", Type::U32),
        ("completion-tokens", Type::U32),
        ("reasoning-tokens", Type::U32),
    ]);
    variant([
        ("text", text.clone()),
        ("reasoning", text),
        ("tool-call", call),
        ("arguments", arguments),
        ("end", record([("choice", Type::U8), ("finish", finish)])),
        ("usage", usage),
    ])
}

fn list(element: Type) -> Type {
    Type::List(Arc::new(element))
}

fn words<const N: usize>(names: [&str; N]) -> Type {
    Type::Enum(names.map(Arc::from).into())
}

fn record<const N: usize>(fields: [(&str, Type); N]) -> Type {
    Type::Record(fields.map(|(name, ty)| Field { name: name.into(), ty }).into())
}

fn variant<const N: usize>(cases: [(&str, Type); N]) -> Type {
    Type::Variant(cases.map(|(name, ty)| Case { name: name.into(), ty: Some(ty) }).into())
}
