//! The parameters of paths.

use super::super::negotiations::NUMBER;
use super::super::query::{DIGEST, Form, Parameter};

const fn parameter(name: &'static str, about: &'static str, form: Form) -> Parameter {
    Parameter { name, about, form, is_required: true }
}

const fn name(example: &'static str) -> Form {
    Form::Text { pattern: "^[a-z][a-z0-9]*(-[a-z0-9]+)*$", example }
}

/// A model, as `acme/iris` or `acme/iris@1.0.0`.
pub(super) const OF_MODEL: [Parameter; 2] = [
    parameter("publisher", "The account that published the model.", name("acme")),
    parameter(
        "model",
        "The model's name. `@` and a version, or the bundle's digest, choose one; without, the latest.",
        Form::Text {
            pattern: "^[a-z][a-z0-9]*(-[a-z0-9]+)*(@[0-9A-Za-z.+:-]+)?$",
            example: "iris@1.0.0",
        },
    ),
];

/// A function of a model.
pub(super) const OF_FUNCTION: [Parameter; 3] =
    [OF_MODEL[0], OF_MODEL[1], parameter("function", "The function's name.", name("classify"))];

pub(super) const OFFER: Parameter = parameter("id", "The offer.", DIGEST);

pub(super) const AGREEMENT: Parameter = parameter("id", "The agreement.", DIGEST);

pub(super) const NEGOTIATION: Parameter =
    parameter("id", "The negotiation; also without `urn:uuid:`.", NUMBER);

pub(super) const KEY: Parameter = parameter(
    "id",
    "The API key, by its identifier.",
    Form::Text { pattern: "^[0-9a-f]{16}$", example: "0123456789abcdef" },
);

pub(super) const RECEIPT: Parameter =
    parameter("call", "The call, as `Hospes-Receipt` names it.", Form::Uuid);

pub(super) const PART: Parameter = parameter(
    "part",
    "The part of the page.",
    Form::Text { pattern: "^[a-z0-9-]+[.](css|js|png)$", example: "start.js" },
);

pub(super) const ACCOUNT: Parameter = parameter("name", "The account.", name("acme"));
