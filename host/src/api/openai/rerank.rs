//! `POST /v1/rerank`, for models that export `hospes:plugin/rerank`. The shape is Jina's and Cohere's, which have the same members.

use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;
use serde_json::json;
use serde_json::value::RawValue;

use super::members::{
    MemberRules, Members, Plain, Refusal, Rule, each, is_list, missing, unexpected,
};
use super::{Answer, Called, Problem, Said, answer, fault, permits, refused};
use crate::api::calls::Front;
use crate::call::Payload;
use crate::call::{AnswerForm, Encoder};
use crate::host::Host;
use crate::id::CallId;
use crate::outcome::Reply;
use crate::sandbox::FunctionType;
use crate::state::deployments::Function;
use crate::tensor::Tensor;
use crate::value::parse::without_bom;
use crate::value::{Field, Type, Value};

/// The export that a reranker needs (`wit/`).
pub(super) const INTERFACE: &str = "hospes:plugin/rerank@0.2.0";

/// Maximum documents per request.
const DOCUMENTS_MAX: usize = 2048;

const MEMBERS: MemberRules = &[
    ("model", Rule::Read),
    ("query", Rule::Read),
    ("documents", Rule::Read),
    ("top_n", Rule::Read),
    ("return_documents", Rule::Read),
    // Documents that are too long are refused, not cut.
    ("truncation", Rule::Only(&[Plain::False])),
    ("return_embeddings", Rule::Only(&[Plain::False])),
    ("max_tokens_per_doc", Rule::Only(&[])),
    ("max_chunks_per_doc", Rule::Only(&[])),
    ("rank_fields", Rule::Only(&[])),
    ("user", Rule::Ignored),
];

const DOCUMENT: MemberRules = &[("text", Rule::Read)];

/// Answers one request.
pub(super) async fn rank(host: &Arc<Host>, request: Request<Incoming>) -> Result<Answer, Problem> {
    let (parts, body) = request.into_parts();
    let front = Front::open(host, &parts.headers)?;
    let wire = front.intake().read(&parts.headers, body).await?;
    permits(&front, host, &wire, Called::Rank).await?;
    let whole = wire.clone();
    let asked = match front.apart(wire.len(), move || Asked::read(&whole)).await? {
        Ok(asked) => asked,
        Err(wrong) => return Err(fault(&front, host, (&wire, wrong), Called::Rank).await),
    };
    let Asked { model, query, documents, top, repeats } = asked;
    let aim = Called::Rank.aim(&front, host, &model).await?;
    let texts = documents.iter().map(|text| Value::String(text.as_str().into())).collect();
    let values = vec![Value::String(query.into()), Value::List(texts)];
    let count = documents.len();
    let documents = repeats.then_some(documents);
    let encode = Encode { id: front.id(), model: model.clone(), count, top, documents };
    let payload = Payload::Values { wire, values };
    let done = front.call(aim.target, payload, AnswerForm::Protocol(Arc::new(encode))).await;
    let done = done.map_err(|error| refused(&model, INTERFACE, error))?;
    Ok(answer(done, "application/json", Said::Code))
}

/// A parsed request.
struct Asked {
    model: String,
    query: String,
    documents: Vec<String>,
    /// How many of the best documents are in the response; all by default.
    top: usize,
    /// Whether the response repeats the documents.
    repeats: bool,
}

impl Asked {
    fn read(wire: &[u8]) -> Result<Self, Refusal> {
        let members = Members::read(without_bom(wire), &[MEMBERS])?;
        let list = members.raw("documents").ok_or_else(|| missing("documents"))?;
        let mut documents = Vec::new();
        if !is_list(list) {
            return Err(unexpected("documents", "a list of texts", list));
        }
        each("documents", list, |index, element| {
            if index == DOCUMENTS_MAX {
                return Err(wrong_count(&format!("more than {DOCUMENTS_MAX}")));
            }
            documents.push(document(element)?);
            Ok(())
        })?;
        if documents.is_empty() {
            return Err(wrong_count("no"));
        }
        let top: Option<usize> = members.get("top_n", "a number of documents")?;
        if top == Some(0) {
            return Err(Refusal::of("top_n", "`top_n` is a number of documents from 1, not `0`"));
        }
        let repeats = members.get("return_documents", "true or false")?;
        Ok(Self {
            query: members.need("query", "a text")?,
            model: members.need("model", "a text")?,
            top: top.unwrap_or(usize::MAX),
            documents,
            repeats: repeats.unwrap_or(false),
        })
    }
}

fn wrong_count(seen: &str) -> Refusal {
    let detail = format!("`documents` has {seen} texts, it can have 1 to {DOCUMENTS_MAX}");
    Refusal::of("documents", detail)
}

/// A text, or an object with one.
fn document(raw: &RawValue) -> Result<String, Refusal> {
    if raw.get().starts_with('{') {
        let members = Members::read(raw.get().as_bytes(), &[DOCUMENT]);
        let text = members.and_then(|members| members.need("text", "a text"));
        return text.map_err(|refusal| refusal.within("documents"));
    }
    serde_json::from_str(raw.get())
        .map_err(|_| unexpected("documents", "a list of texts, or of objects with `text`", raw))
}

#[derive(Debug)]
struct Encode {
    id: CallId,
    model: String,
    /// How many documents there are.
    count: usize,
    top: usize,
    /// The documents, if the response repeats them.
    documents: Option<Vec<String>>,
}

/// `ranked` of the interface.
fn ranked() -> Type {
    let field = |name: &str, ty| Field { name: name.into(), ty };
    let scores = Type::List(Arc::new(Type::F32));
    Type::Record([field("scores", scores), field("tokens", Type::U64)].into())
}

impl Encoder for Encode {
    fn suits(&self, function: &Function) -> Result<(), String> {
        let texts = Type::List(Arc::new(Type::String));
        let is_rank = match function.signature().signature() {
            FunctionType::Values { params, result: Some(Type::Result { ok: Some(ok), .. }) } => {
                matches!(&**params, [query, documents]
                    if query.ty == Type::String && documents.ty == texts)
                    && **ok == ranked()
            }
            _ => false,
        };
        let model = &self.model;
        match is_rank {
            true => Ok(()),
            false => Err(format!("The model `{model}` does not export `{INTERFACE}`.")),
        }
    }

    fn tensors(&self, _: &Function, _: Vec<(String, Tensor)>) -> Result<Reply, String> {
        Err("the function answers with tensors, not with scores".to_owned())
    }

    fn value(&self, _: &Function, value: Option<(Value, &Type)>) -> Result<Reply, String> {
        let whole = value.filter(|(_, ty)| **ty == ranked()).map(|(value, _)| value);
        let Some(Value::Record(members)) = whole else {
            return Err(
                "the agreement does not let out what an answer of this endpoint needs".to_owned()
            );
        };
        let [Value::Packed(scores), Value::U64(tokens)] = members.as_slice() else {
            return Err("the answer is not what its type says".to_owned());
        };
        let scores = scores.as_chunks::<4>().0.iter().map(|number| f32::from_le_bytes(*number));
        let mut scores: Vec<(usize, f32)> = scores.enumerate().collect();
        if scores.len() != self.count || scores.iter().any(|(_, score)| !score.is_finite()) {
            return Err("the plugin did not give a score to each document".to_owned());
        }
        // The sort is stable: equal documents stay in their order.
        scores.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        scores.truncate(self.top);
        let results = scores.into_iter().map(|(index, score)| {
            let mut result = json!({"index": index, "relevance_score": score});
            if let Some(text) = self.documents.as_ref().and_then(|all| all.get(index)) {
                result["document"] = json!({"text": text});
            }
            result
        });
        let answer = json!({
            "id": format!("rerank-{}", self.id),
            "object": "list",
            "model": self.model,
            "results": results.collect::<Vec<_>>(),
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        });
        Ok(Reply::Encoded { bytes: answer.to_string().into(), head: None })
    }
}
