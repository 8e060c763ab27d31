//! JSON Schemas of WIT types in the JSON form of [`crate::value`], with examples.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::model::{is_bytes, unnamed_tensor};
use crate::bundle::{MemberSpec, TypeSpec};
use crate::value::{Case, Field, Type};

/// Writes schemas with the types' documentation.
pub(super) struct Schemas<'m> {
    types: &'m [TypeSpec],
    /// Shared schemas, by name.
    named: RefCell<Map<String, Value>>,
    /// Estimated bytes left for the document (a low estimate). At zero the rest is omitted, and the document is not used.
    left: Cell<usize>,
}

/// Minimum size of a schema, in bytes.
const NODE_BYTES: usize = 16;

impl<'m> Schemas<'m> {
    /// For a model with such types, next to the document's other schemas.
    pub(super) fn of_model(
        types: &'m [TypeSpec],
        beside: Map<String, Value>,
        bytes_max: usize,
    ) -> Self {
        Self { types, named: RefCell::new(beside), left: Cell::new(bytes_max) }
    }

    /// The shared schemas so far, and the given ones; `None` if the document is too large.
    pub(super) fn into_named(self) -> Option<Map<String, Value>> {
        (self.left.get() > 0).then(|| self.named.into_inner())
    }

    /// Counts bytes of the document. False if there is no room.
    pub(super) fn spend(&self, bytes: usize) -> bool {
        self.left.set(self.left.get().saturating_sub(bytes));
        self.left.get() > 0
    }

    fn spend_names<'n>(&self, names: impl Iterator<Item = &'n str>) -> bool {
        self.spend(names.map(|name| name.len() + 2).sum())
    }

    /// The schema of a value of `ty` in requests and responses.
    pub(super) fn of(&self, ty: &Type) -> Value {
        if !self.spend(NODE_BYTES) {
            return Value::Null;
        }
        match ty {
            Type::Bool => json!({"type": "boolean"}),
            Type::S8 => integer(i8::MIN.into(), i8::MAX.into()),
            Type::U8 => integer(0, u8::MAX.into()),
            Type::S16 => integer(i16::MIN.into(), i16::MAX.into()),
            Type::U16 => integer(0, u16::MAX.into()),
            Type::S32 => integer(i32::MIN.into(), i32::MAX.into()),
            Type::U32 => integer(0, u32::MAX.into()),
            Type::S64 => wide("int64", "^-?[0-9]{1,19}$"),
            Type::U64 => wide("uint64", "^[0-9]{1,20}$"),
            Type::F32 => float("float"),
            Type::F64 => float("double"),
            Type::Char => json!({"type": "string", "minLength": 1, "maxLength": 1}),
            Type::Tensor => unnamed_tensor(),
            Type::String => json!({"type": "string"}),
            ty if ty.is_bytes() => json!({
                "description": "Bytes, as base64 (RFC 4648 section 4).",
                "type": "string", "contentEncoding": "base64",
            }),
            Type::List(element) => json!({"type": "array", "items": self.of(element)}),
            Type::Tuple(types) => self.tuple(types),
            Type::Record(fields) => {
                let names = fields.iter().map(|field| &*field.name);
                self.documented(names, self.record(fields))
            }
            Type::Resource(made) => {
                let mut schema = self.record(&made.params);
                let spec = self.types.iter().find(|spec| *spec.name == *made.resource);
                if let Some(docs) = spec.and_then(|spec| spec.docs.as_ref()) {
                    schema["description"] = json!(docs);
                }
                self.referred(&made.resource, schema)
            }
            Type::Variant(cases) => {
                let names = cases.iter().map(|case| &*case.name);
                self.documented(names, self.variant(cases))
            }
            Type::Enum(names) => {
                let names: Vec<_> = names.iter().map(|name| &**name).collect();
                self.spend_names(names.iter().copied());
                let schema = json!({"type": "string", "enum": names});
                self.documented(names.into_iter(), schema)
            }
            Type::Flags(names) => {
                let names: Vec<_> = names.iter().map(|name| &**name).collect();
                self.spend_names(names.iter().copied());
                let items = json!({"type": "string", "enum": names});
                let schema = json!({"type": "array", "items": items, "uniqueItems": true});
                self.documented(names.into_iter(), schema)
            }
            Type::Option(inner) if matches!(**inner, Type::Option(_)) => {
                let some = object(&[("some", self.of(inner))], &["some"]);
                json!({"anyOf": [some, {"type": "null"}]})
            }
            Type::Option(inner) => json!({"anyOf": [self.of(inner), {"type": "null"}]}),
            Type::Result { ok, err } => {
                let payload = |ty: &Option<Arc<Type>>| {
                    ty.as_ref().map_or(json!({"type": "null"}), |ty| self.of(ty))
                };
                let ok = object(&[("ok", payload(ok))], &["ok"]);
                let err = object(&[("err", payload(err))], &["err"]);
                json!({"oneOf": [ok, err]})
            }
        }
    }

    /// An array with one element per type. Positions are described in words: few generators support `prefixItems`.
    fn tuple(&self, types: &[Type]) -> Value {
        let mut items: Vec<Value> = Vec::new();
        for item in types.iter().map(|ty| self.of(ty)) {
            if !items.contains(&item) {
                items.push(item);
            }
        }
        let positions: Vec<_> = types.iter().map(|ty| format!("`{ty}`")).collect();
        let (text, length) = (positions.join(", "), types.len());
        self.spend(text.len());
        json!({
            "description": format!("In this order: {text}."),
            "type": "array", "items": {"anyOf": items}, "minItems": length, "maxItems": length,
        })
    }

    /// An object with a member per field; those of optional types may be absent.
    pub(super) fn record(&self, fields: &[Field]) -> Value {
        self.spend_names(fields.iter().map(|field| &*field.name));
        let docs = self.spec(fields.iter().map(|field| &*field.name));
        let members = fields.iter().map(|field| {
            let mut schema = self.of(&field.ty);
            if let Some(docs) = docs.and_then(|spec| member_docs(spec, &field.name)) {
                self.spend(docs.len());
                schema["description"] = json!(docs);
            }
            (&*field.name, schema)
        });
        let members: Vec<_> = members.collect();
        let required = fields.iter().filter(|field| !matches!(field.ty, Type::Option(_)));
        let required: Vec<_> = required.map(|field| &*field.name).collect();
        object(&members, &required)
    }

    /// The same as a form: bytes are files.
    pub(super) fn form(&self, fields: &[Field]) -> Value {
        let mut form = self.record(fields);
        for field in fields {
            if is_bytes(&field.ty) {
                form["properties"][&*field.name] = json!({"type": "string", "format": "binary"});
            }
        }
        form
    }

    fn variant(&self, cases: &[Case]) -> Value {
        self.spend_names(cases.iter().map(|case| &*case.name));
        let plain: Vec<_> =
            cases.iter().filter(|case| case.ty.is_none()).map(|case| &*case.name).collect();
        let mut schemas = Vec::new();
        if !plain.is_empty() {
            schemas.push(json!({"type": "string", "enum": plain}));
        }
        for case in cases {
            if let Some(ty) = &case.ty {
                schemas.push(object(&[(&case.name, self.of(ty))], &[&case.name]));
            }
        }
        json!({ "oneOf": schemas })
    }

    /// The schema of the type with these member names, with its documentation.
    fn documented<'n>(&self, names: impl Iterator<Item = &'n str>, mut schema: Value) -> Value {
        let Some(spec) = self.spec(names) else { return schema };
        if let Some(docs) = describe(spec, &schema) {
            self.spend(docs.len());
            schema["description"] = json!(docs);
        }
        self.referred(&spec.name, schema)
    }

    /// A reference to the schema of the type with this name, from which a generator makes one class. The schema itself, if another type has
    /// the name.
    fn referred(&self, name: &str, schema: Value) -> Value {
        let mut named = self.named.borrow_mut();
        if named.get(name).is_some_and(|other| *other != schema) {
            return schema;
        }
        named.insert(name.to_owned(), schema);
        json!({"$ref": format!("#/components/schemas/{name}")})
    }

    fn spec<'n>(&self, names: impl Iterator<Item = &'n str>) -> Option<&TypeSpec> {
        let names: Vec<_> = names.collect();
        let named = |spec: &&TypeSpec| {
            spec.members.iter().map(|member| member.name.as_str()).eq(names.iter().copied())
        };
        self.types.iter().find(named)
    }

    /// An example of a value.
    pub(super) fn example(&self, ty: &Type) -> Value {
        if !self.spend(1) {
            return Value::Null;
        }
        match ty {
            Type::Bool => json!(true),
            Type::S8
            | Type::U8
            | Type::S16
            | Type::U16
            | Type::S32
            | Type::U32
            | Type::S64
            | Type::U64 => json!(1),
            Type::F32 | Type::F64 => json!(0.5),
            Type::Char => json!("a"),
            Type::Tensor => json!({"datatype": "FP32", "shape": [1], "data": [0.5]}),
            Type::String => json!("text"),
            ty if ty.is_bytes() => json!("aGVsbG8="),
            Type::List(element) => json!([self.example(element)]),
            Type::Tuple(types) => types.iter().map(|ty| self.example(ty)).collect(),
            Type::Record(fields) => self.example_of(fields),
            Type::Resource(made) => self.example_of(&made.params),
            Type::Variant(cases) => cases.first().map_or(Value::Null, |case| match &case.ty {
                None => json!(&*case.name),
                Some(ty) => json!({ &*case.name: self.example(ty) }),
            }),
            Type::Enum(names) | Type::Flags(names) => {
                let first = names.first().map_or(Value::Null, |name| json!(&**name));
                if matches!(ty, Type::Flags(_)) { json!([first]) } else { first }
            }
            Type::Option(inner) if matches!(**inner, Type::Option(_)) => {
                json!({"some": self.example(inner)})
            }
            Type::Option(inner) => self.example(inner),
            Type::Result { ok, .. } => {
                json!({"ok": ok.as_ref().map_or(Value::Null, |ty| self.example(ty))})
            }
        }
    }

    /// An example of an object with these fields.
    pub(super) fn example_of(&self, fields: &[Field]) -> Value {
        self.spend_names(fields.iter().map(|field| &*field.name));
        let members = fields.iter().map(|field| (field.name.to_string(), self.example(&field.ty)));
        Value::Object(members.collect())
    }
}

/// A type's documentation, including its members' if they cannot carry their own.
fn describe(spec: &TypeSpec, schema: &Value) -> Option<String> {
    let mut text = spec.docs.clone().unwrap_or_default();
    if schema.get("properties").is_none() {
        for MemberSpec { name, docs } in &spec.members {
            if let Some(docs) = docs {
                text.push_str(&format!("\n- `{name}`: {docs}"));
            }
        }
    }
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn member_docs<'s>(spec: &'s TypeSpec, name: &str) -> Option<&'s str> {
    spec.members.iter().find(|member| member.name == *name)?.docs.as_deref()
}

fn integer(min: i64, max: i64) -> Value {
    json!({"type": "integer", "minimum": min, "maximum": max})
}

/// 64-bit integers may be strings, because not every JSON parser keeps their digits.
fn wide(format: &str, pattern: &str) -> Value {
    let (min, max) = match format {
        "int64" => (json!(i64::MIN), json!(i64::MAX)),
        _ => (json!(0), json!(u64::MAX)),
    };
    json!({"oneOf": [
        {"type": "integer", "format": format, "minimum": min, "maximum": max},
        {"type": "string", "pattern": pattern},
    ]})
}

fn float(format: &str) -> Value {
    json!({"oneOf": [
        {"type": "number", "format": format},
        {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]},
    ]})
}

fn object(members: &[(&str, Value)], required: &[&str]) -> Value {
    let properties: Map<_, _> =
        members.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}
