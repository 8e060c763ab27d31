//! Types and values of every kind. NaNs have one payload, because JSON does not keep it.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{list, numbered, option, result};
use crate::tensor::{DataType, Tensor};
use crate::value::{Case, Constructor, Field, Type, Value, pack};

fn number_type() -> impl Strategy<Value = Type> {
    prop::sample::select(vec![
        Type::S8,
        Type::U8,
        Type::S16,
        Type::U16,
        Type::S32,
        Type::U32,
        Type::S64,
        Type::U64,
        Type::F32,
        Type::F64,
    ])
}

pub(super) fn any_type() -> impl Strategy<Value = Type> {
    let leaf = prop_oneof![
        number_type(),
        Just(Type::Bool),
        Just(Type::Char),
        Just(Type::String),
        number_type().prop_map(list),
        Just(Type::Tensor),
        (1_usize..40).prop_map(|count| Type::Enum(numbered(count).into())),
        (1_usize..=32).prop_map(|count| Type::Flags(numbered(count).into())),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let maybe = prop::option::of(inner.clone());
        prop_oneof![
            inner.clone().prop_map(list),
            inner.clone().prop_map(option),
            vec(inner.clone(), 0..4).prop_map(|types| Type::Tuple(types.into())),
            vec(inner.clone(), 0..20).prop_map(|types| Type::Record(fields(types))),
            (vec(inner, 0..4), 0_usize..3).prop_map(|(types, position)| {
                let params = fields(types);
                Type::Resource(Arc::new(Constructor { resource: "thing".into(), position, params }))
            }),
            vec(maybe.clone(), 1..20).prop_map(|types| {
                let cases = numbered(types.len()).into_iter().zip(types);
                Type::Variant(cases.map(|(name, ty)| Case { name, ty }).collect())
            }),
            (maybe.clone(), maybe).prop_map(|(ok, err)| result(ok, err)),
        ]
    })
}

fn fields(types: Vec<Type>) -> Arc<[Field]> {
    let fields = numbered(types.len()).into_iter().zip(types);
    fields.map(|(name, ty)| Field { name, ty }).collect()
}

/// One is enough: tensors have their own tests.
fn tensor() -> Tensor {
    Tensor::new(DataType::I16, vec![2, 1], vec![1, 0, 2, 0].into()).expect("it fits")
}

pub(super) fn float32() -> impl Strategy<Value = f32> {
    any::<u32>().prop_map(f32::from_bits).prop_map(|v| if v.is_nan() { f32::NAN } else { v })
}

pub(super) fn float64() -> impl Strategy<Value = f64> {
    any::<u64>().prop_map(f64::from_bits).prop_map(|v| if v.is_nan() { f64::NAN } else { v })
}

fn packed(element: &Type) -> BoxedStrategy<Value> {
    vec(value_of(element), 0..20)
        .prop_map(|numbers| {
            let mut bytes = Vec::new();
            numbers.iter().for_each(|number| pack(number, &mut bytes));
            Value::Packed(bytes.into())
        })
        .boxed()
}

fn each<'t>(types: impl Iterator<Item = &'t Type>) -> Vec<BoxedStrategy<Value>> {
    types.map(value_of).collect()
}

fn boxed(ty: Option<&Type>) -> BoxedStrategy<Option<Box<Value>>> {
    match ty {
        Some(ty) => value_of(ty).prop_map(|value| Some(Box::new(value))).boxed(),
        None => Just(None).boxed(),
    }
}

pub(super) fn value_of(ty: &Type) -> BoxedStrategy<Value> {
    match ty {
        Type::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Type::S8 => any::<i8>().prop_map(Value::S8).boxed(),
        Type::U8 => any::<u8>().prop_map(Value::U8).boxed(),
        Type::S16 => any::<i16>().prop_map(Value::S16).boxed(),
        Type::U16 => any::<u16>().prop_map(Value::U16).boxed(),
        Type::S32 => any::<i32>().prop_map(Value::S32).boxed(),
        Type::U32 => any::<u32>().prop_map(Value::U32).boxed(),
        Type::S64 => any::<i64>().prop_map(Value::S64).boxed(),
        Type::U64 => any::<u64>().prop_map(Value::U64).boxed(),
        Type::F32 => float32().prop_map(Value::F32).boxed(),
        Type::F64 => float64().prop_map(Value::F64).boxed(),
        Type::Char => any::<char>().prop_map(Value::Char).boxed(),
        Type::String => any::<String>().prop_map(|text| Value::String(text.into())).boxed(),
        Type::Tensor => Just(Value::Tensor(tensor())).boxed(),
        Type::List(element) if element.packed_width().is_some() => packed(element),
        Type::List(element) => vec(value_of(element), 0..5).prop_map(Value::List).boxed(),
        Type::Record(fields) => {
            each(fields.iter().map(|field| &field.ty)).prop_map(Value::Record).boxed()
        }
        Type::Resource(made) => {
            let position = made.position;
            each(made.params.iter().map(|param| &param.ty))
                .prop_map(move |values| Value::Unmade(position, values))
                .boxed()
        }
        Type::Tuple(types) => each(types.iter()).prop_map(Value::Tuple).boxed(),
        Type::Variant(cases) => {
            let payloads = cases.iter().map(|case| boxed(case.ty.as_ref())).collect::<Vec<_>>();
            let tagged = payloads.into_iter().zip(0..);
            let tagged =
                tagged.map(|(payload, tag)| payload.prop_map(move |v| Value::Variant(tag, v)));
            prop::strategy::Union::new(tagged.collect::<Vec<_>>()).boxed()
        }
        Type::Enum(names) => {
            let count = u32::try_from(names.len()).expect("a few");
            (0..count).prop_map(Value::Enum).boxed()
        }
        Type::Option(ty) => {
            prop_oneof![Just(Value::Option(None)), boxed(Some(ty)).prop_map(Value::Option),].boxed()
        }
        Type::Result { ok, err } => prop_oneof![
            boxed(ok.as_deref()).prop_map(|payload| Value::Result(Ok(payload))),
            boxed(err.as_deref()).prop_map(|payload| Value::Result(Err(payload))),
        ]
        .boxed(),
        Type::Flags(names) => {
            let mask = u32::MAX >> (32 - names.len());
            any::<u32>().prop_map(move |word| Value::Flags(vec![word & mask])).boxed()
        }
    }
}
