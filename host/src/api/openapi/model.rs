//! The document of one version of a model: a path for each function, from its types and its documentation.

use serde_json::{Map, Value, json};

use super::schema::Schemas;
use super::{KEY, components, problems};
use crate::api::pieces::Typed;
use crate::api::routes;
use crate::inference::TensorSpec;
use crate::sandbox::{FunctionType, Prototype};
use crate::state::deployments::Deployment;
use crate::tensor::{self, DataType};
use crate::value::{Field, Type};

/// Approximate size of every operation, in bytes.
const OPERATION_BYTES: usize = 2000;

/// The document; `None` if it would exceed `bytes_max` bytes, which also bounds the work.
pub(super) fn document(deployment: &Deployment, bytes_max: usize) -> Option<Vec<u8>> {
    let manifest = deployment.manifest();
    let functions = deployment.functions().iter();
    let mut components = components(&KEY);
    let own = components["schemas"].as_object().cloned().unwrap_or_default();
    let schemas = Schemas::of_model(&manifest.types, own, bytes_max);
    let paths: Map<String, Value> = functions
        .filter_map(|function| {
            let path =
                format!("/{}@{}/{}", deployment.model(), deployment.version(), function.name());
            Some((path, json!({"post": operation(deployment, &schemas, function)?})))
        })
        .collect();
    components["schemas"] = Value::Object(schemas.into_named()?);
    let card = &manifest.card;
    let card = [
        ("Intended use", &card.intended_use),
        ("Limitations", &card.limitations),
        ("Training data", &card.training_data),
    ];
    let card = card
        .iter()
        .filter_map(|(title, text)| text.as_ref().map(|text| format!("\n\n**{title}.** {text}")));
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": deployment.model().to_string(),
            "summary": manifest.summary,
            "description": format!("{}{}", manifest.summary, card.collect::<String>()),
            "version": deployment.version().to_string(),
            "license": {"name": manifest.licence, "identifier": manifest.licence},
        },
        "security": [{KEY.name: []}],
        "paths": paths,
        "components": components,
    });
    let text = document.to_string().into_bytes();
    (text.len() <= bytes_max).then_some(text)
}

/// `None` for an HTTP handler, whose requests and responses are unknown.
fn operation(
    deployment: &Deployment,
    schemas: &Schemas<'_>,
    function: &Prototype,
) -> Option<Value> {
    schemas.spend(OPERATION_BYTES);
    let specs = &deployment.manifest().functions;
    let docs = specs.iter().find(|spec| spec.name == *function.name());
    let docs = docs.and_then(|spec| spec.docs.clone()).unwrap_or_default();
    let summary = docs.lines().next().unwrap_or_default().to_owned();
    let (request, answer) = match function.signature() {
        FunctionType::Tensors => tensors(deployment),
        FunctionType::Http(_) => return None,
        FunctionType::Stream { params, element, .. } => (
            arguments(schemas, params),
            json!({Typed::media(element).split(';').next().unwrap_or_default(): {
                "schema": {
                    "description": format!("A stream of `{element}`. Each event holds one element, as JSON."),
                    "type": "string",
                },
            }}),
        ),
        FunctionType::Values { params, .. } => {
            (arguments(schemas, params), answers(schemas, function.signature().answer()))
        }
    };
    // Without parameters, nothing need be sent.
    let needs_body = match function.signature() {
        FunctionType::Values { params, .. } | FunctionType::Stream { params, .. } => {
            !params.is_empty()
        }
        FunctionType::Tensors | FunctionType::Http(_) => true,
    };
    let mut responses = problems(&routes::problems_of_calls());
    responses.insert("200".into(), answered(&answer));
    if let Some(refusal) = function.signature().refusal() {
        let problem = json!({"allOf": [
            {"$ref": "#/components/schemas/problem"},
            {"type": "object", "properties": {"error": schemas.of(refusal)}},
        ]});
        responses["422"]["content"]["application/problem+json"]["schema"] = problem;
    }
    Some(json!({
        "operationId": function.name(),
        "summary": summary,
        "description": docs,
        "parameters": parameters(),
        "requestBody": {"required": needs_body, "content": request},
        "responses": responses,
    }))
}

fn parameters() -> Value {
    json!([
        {
            "name": "Hospes-Agreement", "in": "header",
            "description": "Which of the caller's agreements to use. Without it, the host picks one that permits the call.",
            "schema": {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"},
        },
        {
            "name": "Hospes-Purpose", "in": "header",
            "description": "The call's purpose, as an IRI, for agreements that limit it.",
            "schema": {"type": "string", "pattern": "^[a-z][a-z0-9+.-]*:[!-~]{1,200}$"},
        },
    ])
}

/// The request bodies of a function, by media type.
fn arguments(schemas: &Schemas<'_>, params: &[Field]) -> Value {
    let mut content = json!({
        "application/json": {"schema": schemas.record(params), "example": schemas.example_of(params)},
    });
    if params.iter().any(|param| is_bytes(&param.ty)) {
        content["multipart/form-data"] = json!({"schema": schemas.form(params)});
    }
    if let [Field { ty, .. }] = params
        && is_bytes(ty)
    {
        content["application/octet-stream"] =
            json!({"schema": {"type": "string", "format": "binary"}});
    }
    content
}

fn answers(schemas: &Schemas<'_>, ty: Option<&Type>) -> Value {
    let Some(ty) = ty else {
        return json!({"application/json": {"schema": {"type": "null"}}});
    };
    let mut content =
        json!({"application/json": {"schema": schemas.of(ty), "example": schemas.example(ty)}});
    if is_bytes(ty) {
        content["application/octet-stream"] =
            json!({"schema": {"type": "string", "format": "binary"}});
    }
    content
}

/// Whether a value of the type can be sent as bytes: a byte list, or a tensor in `numpy.save`'s format.
pub(super) fn is_bytes(ty: &Type) -> bool {
    ty.is_bytes() || *ty == Type::Tensor
}

fn answered(content: &Value) -> Value {
    let header =
        |description: &str| json!({"description": description, "schema": {"type": "string"}});
    json!({
        "description": "The function's answer.",
        "headers": {
            "Hospes-Receipt": header("The call, for `GET /api/receipts/{call}`."),
            "Hospes-Salt": header("Opens the receipt's commitments to input and output."),
            "Hospes-Remaining": header("Calls left under the agreement, if it limits them."),
            "Server-Timing": header("Where the time went, in milliseconds."),
        },
        "content": content,
    })
}

/// Request and response of the function with named tensors.
fn tensors(deployment: &Deployment) -> (Value, Value) {
    let known = deployment.tensors();
    let inputs: Vec<_> = known.iter().flat_map(|known| &known.inputs).collect();
    let names: Vec<_> = inputs.iter().map(|input| input.name.as_str()).collect();
    let required = inputs.iter().filter(|input| !input.optional);
    let example: Vec<_> = required.map(|input| example_tensor(input)).collect();
    let mut tensor = tensor_schema();
    if !names.is_empty() {
        tensor["properties"]["name"] = json!({"type": "string", "enum": names});
    }
    let optional = inputs.iter().filter(|input| input.optional);
    let optional: Vec<_> = optional.map(|input| format!("`{}` ({input})", input.name)).collect();
    if !optional.is_empty() {
        let text = format!("Optional, because the model has a value: {}.", optional.join(", "));
        tensor["properties"]["name"]["description"] = text.into();
    }
    let request = json!({
        "type": "object",
        "required": ["inputs"],
        "additionalProperties": false,
        "properties": {"inputs": {"type": "array", "items": tensor}},
    });
    let answer = json!({
        "type": "object",
        "required": ["outputs"],
        "properties": {"outputs": {"type": "array", "items": tensor_schema()}},
    });
    let octets = json!({"schema": {"type": "string", "format": "binary"}});
    let request = json!({
        "application/json": {"schema": request, "example": {"inputs": example}},
        "application/octet-stream": octets,
    });
    let answer =
        json!({"application/json": {"schema": answer}, "application/octet-stream": octets});
    (request, answer)
}

/// The schema of a tensor without a name.
pub(super) fn unnamed_tensor() -> Value {
    let mut schema = tensor_schema();
    schema["required"] = json!(["datatype", "shape", "data"]);
    if let Some(members) = schema["properties"].as_object_mut() {
        members.remove("name");
    }
    schema
}

fn tensor_schema() -> Value {
    let types: Vec<_> = DataType::ALL.iter().map(|ty| ty.name()).collect();
    json!({
        "type": "object",
        "required": ["name", "datatype", "shape", "data"],
        "additionalProperties": false,
        "properties": {
            "name": {"type": "string"},
            "datatype": {"type": "string", "enum": types},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
            "data": {
                "description": "The elements, row-major; flat, or nested by the shape.",
                "type": "array",
                // Any type: generators ignore an array without item types.
                "items": {},
            },
        },
    })
}

/// A tensor of ones in the input's smallest shape.
fn example_tensor(spec: &TensorSpec) -> Value {
    /// Elements shown: a larger example does not help.
    const EXAMPLE_ELEMENTS_MAX: usize = 64;
    let shape: Vec<_> = spec.shape.iter().flatten().map(|size| size.unwrap_or(1)).collect();
    let count = tensor::count(&shape).unwrap_or(usize::MAX).min(EXAMPLE_ELEMENTS_MAX);
    let one = match spec.data_type {
        DataType::Bool => json!(true),
        DataType::Bytes => json!("text"),
        _ => json!(1),
    };
    json!({"name": spec.name, "datatype": spec.data_type.name(), "shape": shape, "data": vec![one; count]})
}
