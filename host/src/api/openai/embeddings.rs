//! `POST /v1/embeddings`, for models that export `hospes:plugin/embeddings`.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Request;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;

use super::members::{MemberRules, Members, Refusal, Rule, each, is_list, missing};
use super::request::text;
use super::{Answer, Problem, answer, fault, permits, refused, target};
use crate::api::calls::Front;
use crate::call::Payload;
use crate::call::{AnswerForm, Encoder};
use crate::host::Host;
use crate::outcome::Reply;
use crate::sandbox::FunctionType;
use crate::state::deployments::Function;
use crate::tensor::Tensor;
use crate::value::parse::without_bom;
use crate::value::{Field, Type, Value};

/// The export that an embedding model needs (`wit/plugin.wit`).
pub(super) const INTERFACE: &str = "hospes:plugin/embeddings@0.1.0";
const FUNCTION: &str = "embed";

/// Maximum texts per request, as in OpenAI's API.
const TEXTS_MAX: usize = 2048;

/// The members of a request.
const MEMBERS: MemberRules = &[
    ("model", Rule::Read),
    ("input", Rule::Read),
    ("encoding_format", Rule::Read),
    // Vectors have the model's own length.
    ("dimensions", Rule::Only(&[])),
    ("user", Rule::Ignored),
];

/// The vectors' encoding.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    #[default]
    Float,
    /// Little-endian bytes, which the official clients request.
    Base64,
}

/// Answers one request.
pub(super) async fn embed(host: &Arc<Host>, request: Request<Incoming>) -> Result<Answer, Problem> {
    let (parts, body) = request.into_parts();
    let front = Front::open(host, &parts.headers)?;
    let wire = front.intake().read(&parts.headers, body).await?;
    permits(&front, host, &wire, (INTERFACE, FUNCTION)).await?;
    let whole = wire.clone();
    let asked = front.apart(wire.len(), move || Asked::read(&whole)).await?;
    let asked = match asked {
        Ok(asked) => asked,
        Err(wrong) => {
            return Err(fault(&front, host, (&wire, wrong), (INTERFACE, FUNCTION)).await);
        }
    };
    let target = target(host, &asked.model, FUNCTION)?;
    let encode = Encode { model: asked.model.clone(), encoding: asked.encoding };
    let payload = Payload::Values { wire, values: vec![Value::List(asked.texts)] };
    let done = front.call(target, payload, AnswerForm::Protocol(Arc::new(encode))).await;
    let done = done.map_err(|error| refused(&asked.model, INTERFACE, error))?;
    Ok(answer(done, "application/json"))
}

/// A parsed request.
struct Asked {
    model: String,
    texts: Vec<Value>,
    encoding: Encoding,
}

impl Asked {
    fn read(wire: &[u8]) -> Result<Self, Refusal> {
        let members = Members::read(without_bom(wire), &[MEMBERS])?;
        let input = members.raw("input").ok_or_else(|| missing("input"))?;
        let mut texts = Vec::new();
        if is_list(input) {
            each("input", input, |index, element| {
                if index == TEXTS_MAX {
                    return Err(wrong_count(&format!("more than {TEXTS_MAX}")));
                }
                texts.push(Value::String(text("input", element)?.into()));
                Ok(())
            })?;
        } else {
            texts.push(Value::String(text("input", input)?.into()));
        }
        if texts.is_empty() {
            return Err(wrong_count("no"));
        }
        let encoding = members.get("encoding_format", "`float` or `base64`")?;
        let model = members.need("model", "a text")?;
        Ok(Self { model, texts, encoding: encoding.unwrap_or_default() })
    }
}

fn wrong_count(seen: &str) -> Refusal {
    Refusal::of("input", format!("`input` has {seen} texts, it can have 1 to {TEXTS_MAX}"))
}

#[derive(Debug)]
struct Encode {
    model: String,
    encoding: Encoding,
}

/// `embedded` of the interface.
fn embedded() -> Type {
    let field = |name: &str, ty| Field { name: name.into(), ty };
    let vectors = Type::List(Arc::new(Type::List(Arc::new(Type::F32))));
    Type::Record([field("vectors", vectors), field("tokens", Type::U64)].into())
}

impl Encoder for Encode {
    fn suits(&self, function: &Function) -> Result<(), String> {
        let texts = Type::List(Arc::new(Type::String));
        let is_embed = match function.signature().signature() {
            FunctionType::Values { params, result: Some(Type::Result { ok: Some(ok), .. }) } => {
                matches!(&**params, [param] if param.ty == texts) && **ok == embedded()
            }
            _ => false,
        };
        let model = &self.model;
        if is_embed {
            Ok(())
        } else {
            Err(format!("The model `{model}` does not export `{INTERFACE}`."))
        }
    }

    fn tensors(&self, _: &Function, _: Vec<(String, Tensor)>) -> Result<Reply, String> {
        Err("the function answers with tensors, not with vectors".to_owned())
    }

    fn value(&self, _: &Function, value: Option<(Value, &Type)>) -> Result<Reply, String> {
        let whole = value.filter(|(_, ty)| **ty == embedded()).map(|(value, _)| value);
        let Some(Value::Record(members)) = whole else {
            return Err(
                "the agreement does not let out what an answer of this endpoint needs".to_owned()
            );
        };
        let [Value::List(vectors), Value::U64(tokens)] = members.as_slice() else {
            return Err("the answer is not what its type says".to_owned());
        };
        let mut out = Vec::new();
        out.extend_from_slice(b"{\"object\":\"list\",\"data\":[");
        for (index, vector) in vectors.iter().enumerate() {
            let Value::Packed(bytes) = vector else { continue };
            let comma = if index == 0 { "" } else { "," };
            let head =
                format!("{comma}{{\"object\":\"embedding\",\"index\":{index},\"embedding\":");
            out.extend_from_slice(head.as_bytes());
            self.vector(bytes, &mut out)?;
            out.push(b'}');
        }
        let tail = json!({"prompt_tokens": tokens, "total_tokens": tokens});
        let tail = format!("],\"model\":{},\"usage\":{tail}}}", json!(self.model));
        out.extend_from_slice(tail.as_bytes());
        Ok(Reply::Encoded { bytes: out.into(), head: None })
    }
}

impl Encode {
    fn vector(&self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        match self.encoding {
            Encoding::Base64 => {
                out.push(b'"');
                out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
                out.push(b'"');
            }
            Encoding::Float => {
                out.push(b'[');
                for (index, number) in bytes.as_chunks::<4>().0.iter().enumerate() {
                    let number = f32::from_le_bytes(*number);
                    if !number.is_finite() {
                        return Err(
                            "a vector has a number that JSON does not have: ask for base64"
                                .to_owned(),
                        );
                    }
                    if index > 0 {
                        out.push(b',');
                    }
                    serde_json::to_writer(&mut *out, &number).map_err(|error| error.to_string())?;
                }
                out.push(b']');
            }
        }
        Ok(())
    }
}
