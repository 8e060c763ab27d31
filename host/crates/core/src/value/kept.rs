//! Types as JSON, to be kept: what a function takes and returns is known without its code.
//!
//! A type that is used in several places is written in each of them, so a writer must have a limit. JSON nested deeper than 128 levels is
//! not read back.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Case, Constructor, Field, Type};

/// A type as it is written: one level of it.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum Written<'t> {
    Bool,
    S8,
    U8,
    S16,
    U16,
    S32,
    U32,
    S64,
    U64,
    F32,
    F64,
    Char,
    String,
    List(&'t Type),
    Record(&'t [Field]),
    Tuple(&'t [Type]),
    Variant(&'t [Case]),
    Enum(Vec<&'t str>),
    Option(&'t Type),
    Result(Option<&'t Type>, Option<&'t Type>),
    Flags(Vec<&'t str>),
    Tensor,
    Resource(&'t str, usize, &'t [Field]),
}

/// A type as it is read.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Read {
    Bool,
    S8,
    U8,
    S16,
    U16,
    S32,
    U32,
    S64,
    U64,
    F32,
    F64,
    Char,
    String,
    List(Box<Type>),
    Record(Vec<Field>),
    Tuple(Vec<Type>),
    Variant(Vec<Case>),
    Enum(Vec<String>),
    Option(Box<Type>),
    Result(Option<Box<Type>>, Option<Box<Type>>),
    Flags(Vec<String>),
    Tensor,
    Resource(String, usize, Vec<Field>),
}

impl Serialize for Type {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = match self {
            Type::Bool => Written::Bool,
            Type::S8 => Written::S8,
            Type::U8 => Written::U8,
            Type::S16 => Written::S16,
            Type::U16 => Written::U16,
            Type::S32 => Written::S32,
            Type::U32 => Written::U32,
            Type::S64 => Written::S64,
            Type::U64 => Written::U64,
            Type::F32 => Written::F32,
            Type::F64 => Written::F64,
            Type::Char => Written::Char,
            Type::String => Written::String,
            Type::List(element) => Written::List(element),
            Type::Record(fields) => Written::Record(fields),
            Type::Tuple(types) => Written::Tuple(types),
            Type::Variant(cases) => Written::Variant(cases),
            Type::Enum(names) => Written::Enum(names.iter().map(|name| &**name).collect()),
            Type::Option(some) => Written::Option(some),
            Type::Result { ok, err } => Written::Result(ok.as_deref(), err.as_deref()),
            Type::Flags(names) => Written::Flags(names.iter().map(|name| &**name).collect()),
            Type::Tensor => Written::Tensor,
            Type::Resource(made) => Written::Resource(&made.resource, made.position, &made.params),
        };
        written.serialize(serializer)
    }
}

impl From<Read> for Type {
    fn from(read: Read) -> Self {
        let names = |names: Vec<String>| names.into_iter().map(Arc::from).collect();
        match read {
            Read::Bool => Type::Bool,
            Read::S8 => Type::S8,
            Read::U8 => Type::U8,
            Read::S16 => Type::S16,
            Read::U16 => Type::U16,
            Read::S32 => Type::S32,
            Read::U32 => Type::U32,
            Read::S64 => Type::S64,
            Read::U64 => Type::U64,
            Read::F32 => Type::F32,
            Read::F64 => Type::F64,
            Read::Char => Type::Char,
            Read::String => Type::String,
            Read::List(element) => Type::List(element.into()),
            Read::Record(fields) => Type::Record(fields.into()),
            Read::Tuple(types) => Type::Tuple(types.into()),
            Read::Variant(cases) => Type::Variant(cases.into()),
            Read::Enum(all) => Type::Enum(names(all)),
            Read::Option(some) => Type::Option(some.into()),
            Read::Result(ok, err) => {
                Type::Result { ok: ok.map(Arc::from), err: err.map(Arc::from) }
            }
            Read::Flags(all) => Type::Flags(names(all)),
            Read::Tensor => Type::Tensor,
            Read::Resource(resource, position, params) => Type::Resource(Arc::new(Constructor {
                resource: resource.into(),
                position,
                params: params.into(),
            })),
        }
    }
}

/// Shared text, for `#[serde(with = …)]`.
pub(super) mod text {
    use super::*;

    pub(in crate::value) fn serialize<S: Serializer>(
        text: &Arc<str>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(text)
    }

    pub(in crate::value) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<str>, D::Error> {
        String::deserialize(deserializer).map(Arc::from)
    }
}

/// Shared fields, for `#[serde(with = …)]`.
pub mod fields {
    use super::*;

    /// Writes them as a list.
    ///
    /// # Errors
    /// Those of `serializer`.
    pub fn serialize<S: Serializer>(
        fields: &Arc<[Field]>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(fields.iter())
    }

    /// Reads them.
    ///
    /// # Errors
    /// Those of `deserializer`.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<[Field]>, D::Error> {
        Vec::deserialize(deserializer).map(Arc::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_the_type_that_was_written() {
        let field = |name: &str, ty: Type| Field { name: name.into(), ty };
        let point = Type::Record([field("x", Type::F32), field("y", Type::F64)].into());
        let made = Constructor {
            resource: "index".into(),
            position: 2,
            params: [field("path", Type::String)].into(),
        };
        let plain = [
            Type::Bool,
            Type::S8,
            Type::U8,
            Type::S16,
            Type::U16,
            Type::S32,
            Type::U32,
            Type::S64,
            Type::U64,
            Type::Char,
            Type::Tensor,
        ];
        let all = Type::Tuple(plain.into());
        let case = |name: &str, ty: Option<Type>| Case { name: name.into(), ty };
        let types = [
            all,
            Type::List(Arc::new(point.clone())),
            Type::Variant([case("none", None), case("some", Some(point.clone()))].into()),
            Type::Enum(["a".into(), "b".into()].into()),
            Type::Flags(["read".into()].into()),
            Type::Option(Arc::new(Type::Option(Arc::new(point.clone())))),
            Type::Result { ok: Some(Arc::new(point)), err: None },
            Type::Result { ok: None, err: Some(Arc::new(Type::String)) },
            Type::Resource(Arc::new(made)),
        ];
        for ty in types {
            let written = serde_json::to_string(&ty).expect("written");
            let read: Type = serde_json::from_str(&written).expect("read");
            assert_eq!(read, ty, "{written}");
        }
    }
}
