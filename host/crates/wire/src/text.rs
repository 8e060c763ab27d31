//! JSON Schemas of strings: identifiers are types of `hospes-core`, which has no schemas.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// A type that is only a schema, for `#[schemars(with = "…")]`.
macro_rules! text {
    ($($(#[$doc:meta])* $name:ident = $schema:tt;)+) => {$(
        $(#[$doc])*
        pub(crate) struct $name;

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )+};
}

text! {
    /// SHA-256: the identifier of an offer, agreement, event or bundle.
    Digest = {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"};
    /// An Ed25519 key as a `did:key`.
    Party = {"type": "string", "pattern": "^did:key:z[1-9A-HJ-NP-Za-km-z]+$"};
    /// The name of an account.
    AccountName = {"type": "string"};
    /// A model with its publisher.
    ModelName = {"type": "string", "pattern": "^[^/]+/[^/]+$"};
    /// The name of a function.
    FunctionName = {"type": "string"};
    /// A time in UTC.
    Time = {"type": "string", "format": "date-time"};
    /// A call, by its UUID.
    CallId = {"type": "string", "format": "uuid"};
    /// A value that another document specifies.
    Object = {"type": "object"};
}
