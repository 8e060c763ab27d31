//! The size of a value in a guest's memory (component model, "Despecialization", "Alignment" and "Element Size").

use crate::value::Type;

/// Size and alignment of a value of `ty`, in bytes.
pub(super) fn of(ty: &Type) -> (usize, usize) {
    match ty {
        Type::Bool | Type::S8 | Type::U8 => (1, 1),
        Type::S16 | Type::U16 => (2, 2),
        Type::S32 | Type::U32 | Type::F32 | Type::Char | Type::Tensor | Type::Resource(_) => (4, 4),
        Type::S64 | Type::U64 | Type::F64 => (8, 8),
        Type::String | Type::List(_) => (8, 4),
        Type::Record(fields) => fields_of(fields.iter().map(|field| &field.ty)),
        Type::Tuple(types) => fields_of(types.iter()),
        Type::Enum(names) => tag(names.len()),
        Type::Variant(cases) => {
            variant(cases.len(), cases.iter().filter_map(|case| case.ty.as_ref()))
        }
        Type::Option(inner) => variant(2, std::iter::once(&**inner)),
        Type::Result { ok, err } => variant(2, ok.iter().chain(err).map(|ty| &**ty)),
        Type::Flags(names) => match names.len() {
            0..=8 => (1, 1),
            9..=16 => (2, 2),
            _ => (4, 4),
        },
    }
}

fn fields_of<'t>(types: impl Iterator<Item = &'t Type>) -> (usize, usize) {
    let (mut end, mut align) = (0_usize, 1);
    for ty in types {
        let (size, own) = of(ty);
        end = end.next_multiple_of(own) + size;
        align = align.max(own);
    }
    (end.next_multiple_of(align), align)
}

/// The index of a case.
fn tag(cases: usize) -> (usize, usize) {
    match cases {
        0..=0x100 => (1, 1),
        0x101..=0x1_0000 => (2, 2),
        _ => (4, 4),
    }
}

fn variant<'t>(cases: usize, payloads: impl Iterator<Item = &'t Type>) -> (usize, usize) {
    let (tag_size, tag_align) = tag(cases);
    let (mut size, mut align) = (0, 1);
    for payload in payloads {
        let (own_size, own_align) = of(payload);
        (size, align) = (size.max(own_size), align.max(own_align));
    }
    let whole = tag_size.next_multiple_of(align) + size;
    let align = align.max(tag_align);
    (whole.next_multiple_of(align), align)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::value::{Case, Field};

    #[test]
    fn sizes_are_those_of_the_canonical_abi() {
        let field = |ty| Field { name: "f".into(), ty };
        let case = |ty| Case { name: "c".into(), ty };
        let record = |types: Vec<Type>| Type::Record(types.into_iter().map(field).collect());
        assert_eq!(of(&record(vec![Type::U8, Type::U32, Type::U8])), (12, 4));
        assert_eq!(of(&record(vec![Type::U8, Type::F64])), (16, 8));
        assert_eq!(of(&Type::Tuple([Type::F32, Type::F32].into())), (8, 4));
        assert_eq!(of(&Type::Option(Arc::new(Type::U64))), (16, 8));
        let summary = record(vec![Type::Enum(["a".into()].into()), Type::U32, Type::U32]);
        let piece = Type::Variant([case(Some(Type::String)), case(Some(summary))].into());
        assert_eq!(of(&piece), (16, 4));
        assert_eq!(of(&Type::Result { ok: None, err: None }), (1, 1));
    }
}
