//! `POST /v1/embeddings`, for models that export `hospes:plugin/embeddings`.

use std::num::NonZeroUsize;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Request;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::members::{MemberRules, Members, Refusal, Rule, each, is_list, missing, unexpected};
use super::{Answer, Called, Problem, Said, answer, fault, permits, refused};
use crate::api::calls::Front;
use crate::call::Payload;
use crate::call::{AnswerForm, Encoder};
use crate::host::Host;
use crate::outcome::Reply;
use crate::sandbox::FunctionType;
use crate::state::deployments::{Deployment, Function};
use crate::tensor::Tensor;
use crate::value::parse::without_bom;
use crate::value::{Field, Type, Value};

/// The export that an embedding model needs (`wit/plugin.wit`).
pub(super) const INTERFACE: &str = "hospes:plugin/embeddings@0.1.0";

/// Maximum texts per request, as in OpenAI's API.
const TEXTS_MAX: usize = 2048;

/// The members of a request.
const MEMBERS: MemberRules = &[
    ("model", Rule::Read),
    ("input", Rule::Read),
    ("encoding_format", Rule::Read),
    ("dimensions", Rule::Read),
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
    permits(&front, host, &wire, Called::Embed).await?;
    let whole = wire.clone();
    let asked = front.apart(wire.len(), move || Asked::read(&whole)).await?;
    let asked = match asked {
        Ok(asked) => asked,
        Err(wrong) => {
            return Err(fault(&front, host, (&wire, wrong), Called::Embed).await);
        }
    };
    let Asked { model, texts, encoding, dimensions } = asked;
    let aim = Called::Embed.aim(&front, host, &model).await?;
    if dimensions.is_some()
        && let Some(wrong) = aim.live.as_ref().and_then(|live| uncut(live))
    {
        let error = front.fault(&aim.target, wrong).await;
        return Err(refused(&model, INTERFACE, error));
    }
    let encode = Encode { model: model.clone(), encoding, dimensions };
    let payload = Payload::Values { wire, values: vec![Value::List(texts)] };
    let done = front.call(aim.target, payload, AnswerForm::Protocol(Arc::new(encode))).await;
    let done = done.map_err(|error| refused(&model, INTERFACE, error))?;
    Ok(answer(done, "application/json", Said::Words))
}

/// Words of a model card, in lower case, which say that the beginnings of a model's vectors are vectors themselves. The second one is what
/// Sentence Transformers writes into the cards of models that were trained so.
const MATRYOSHKA: [&str; 2] = ["matryoshka", "loss:matryoshkaloss"];

/// Why a model's vectors cannot be cut, if its card does not say that they can.
fn uncut(live: &Deployment) -> Option<Refusal> {
    let mut tags = live.manifest().card.tags.iter();
    let is_said = |tag: &String| MATRYOSHKA.contains(&tag.to_lowercase().as_str());
    let detail = "`dimensions` is not supported by this model: its card has no tag `matryoshka`, which says that vectors can be cut";
    (!tags.any(is_said)).then(|| Refusal::of("dimensions", detail))
}

/// A text. Numbers would be tokens.
fn text(name: &str, raw: &RawValue) -> Result<String, Refusal> {
    if raw.get().starts_with(['[', '-']) || raw.get().starts_with(|c: char| c.is_ascii_digit()) {
        let detail = format!(
            "`{name}` is a text or an array of texts: tokens of another tokenizer mean nothing to this model"
        );
        return Err(Refusal::of(name, detail));
    }
    serde_json::from_str(raw.get()).map_err(|_| unexpected(name, "a text", raw))
}

/// A parsed request.
struct Asked {
    model: String,
    texts: Vec<Value>,
    encoding: Encoding,
    /// The length of the vectors, if not the model's own.
    dimensions: Option<NonZeroUsize>,
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
        let dimensions = members.get("dimensions", "a number of dimensions from 1")?;
        let model = members.need("model", "a text")?;
        Ok(Self { model, texts, encoding: encoding.unwrap_or_default(), dimensions })
    }
}

fn wrong_count(seen: &str) -> Refusal {
    Refusal::of("input", format!("`input` has {seen} texts, it can have 1 to {TEXTS_MAX}"))
}

#[derive(Debug)]
struct Encode {
    model: String,
    encoding: Encoding,
    dimensions: Option<NonZeroUsize>,
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
            let cut = self.dimensions.map(|length| cut(bytes, length.get())).transpose()?;
            let bytes = cut.as_deref().unwrap_or(bytes);
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

/// The first `length` numbers of a vector, as a vector of length 1.
fn cut(bytes: &[u8], length: usize) -> Result<Vec<u8>, String> {
    let numbers = bytes.as_chunks::<4>().0;
    let Some(first) = numbers.get(..length) else {
        let own = numbers.len();
        return Err(format!("`dimensions` is {length}, and the model's vectors have {own}"));
    };
    let first = first.iter().map(|number| f64::from(f32::from_le_bytes(*number)));
    let norm = first.clone().map(|number| number * number).sum::<f64>().sqrt();
    let norm = if norm > 0.0 { norm } else { 1.0 };
    Ok(first.flat_map(|number| ((number / norm) as f32).to_le_bytes()).collect())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_vector_has_length_one_again() {
        let bytes: Vec<u8> = [3.0_f32, 4.0, 12.0].into_iter().flat_map(f32::to_le_bytes).collect();
        let numbers = |length| {
            let cut = cut(&bytes, length).expect("long enough");
            let numbers = cut.as_chunks::<4>().0.iter();
            numbers.map(|number| f32::from_le_bytes(*number)).collect::<Vec<_>>()
        };
        assert_eq!(numbers(1), [1.0]);
        assert_eq!(numbers(2), [0.6, 0.8]);
        let long = cut(&bytes, 4).expect_err("too long");
        assert!(long.contains("`dimensions` is 4") && long.contains("have 3"), "{long}");
        assert_eq!(cut(&[0; 8], 2).expect("zeros"), [0; 8]);
    }
}
