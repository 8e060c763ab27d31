//! The generate extension: an object with the model's inputs as members, answered by one with its outputs.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Request, header};
use hyper::body::Incoming;
use serde::Deserializer as _;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::Map;
use serde_json::value::RawValue;

use super::encode::Encode;
use super::model::Asked;
use super::{Answer, Problem, error, invalid};
use crate::api::answer::{AnswerBody, answer_of};
use crate::api::calls::{Done, Front, Papers};
use crate::api::pieces::{ACCEL_BUFFERING, UNBUFFERED};
use crate::call::Payload;
use crate::call::{AnswerForm, Encoder};
use crate::host::Host;
use crate::inference::TensorSpec;
use crate::outcome::Reply;
use crate::state::deployments::{Deployment, Function};
use crate::tensor::few::Few;
use crate::tensor::json::TensorJsonError;
use crate::tensor::{self, DataType, Tensor, json};
use crate::value::parse::without_bom;
use crate::value::{Type, Value};

/// `POST /v2/models/{model}/generate`.
pub(super) async fn generate(
    host: &Arc<Host>,
    asked: &Asked,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let (result, papers) = run(host, asked, request).await?;
    let mut answer = match result {
        Ok(bytes) => answer_of(bytes, "application/json"),
        Err(problem) => error(problem),
    };
    papers.accompany(answer.headers_mut());
    Ok(answer)
}

/// `POST /v2/models/{model}/generate_stream`: one event per response of the model, which is one here.
pub(super) async fn stream(
    host: &Arc<Host>,
    asked: &Asked,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let (result, papers) = run(host, asked, request).await?;
    let mut answer = match result {
        Ok(bytes) => {
            let event = [b"data: ", bytes.as_ref(), b"\n\n"].concat();
            let mut answer = Answer::new(AnswerBody::from(Bytes::from(event)));
            let media = HeaderValue::from_static("text/event-stream; charset=utf-8");
            answer.headers_mut().insert(header::CONTENT_TYPE, media);
            answer.headers_mut().insert(ACCEL_BUFFERING, UNBUFFERED);
            answer
        }
        Err(problem) => error(problem),
    };
    papers.accompany(answer.headers_mut());
    Ok(answer)
}

async fn run(
    host: &Arc<Host>,
    asked: &Asked,
    request: Request<Incoming>,
) -> Result<(Result<Bytes, Problem>, Papers), Problem> {
    let (parts, body) = request.into_parts();
    let front = Front::open(host, &parts.headers)?;
    let target = asked.target()?;
    let live = asked.find(host, &parts.headers)?;
    front.permits_body(&target, &body).await.map_err(|error| asked.refused(error))?;
    let wire = front.intake().read(&parts.headers, body).await?;
    let (name, whole) = (asked.name.clone(), wire.clone());
    let read = front.apart(wire.len(), move || read(&live, &name, &whole)).await;
    let (id, tensors) = match read? {
        Ok(read) => read,
        Err(detail) => return Err(asked.refused(front.fault(&target, invalid(detail)).await)),
    };
    let encode = Generate(Encode::new(&asked.name, id, None, false));
    let payload = Payload::Tensors { wire, tensors };
    let done = front.call(target, payload, AnswerForm::Protocol(Arc::new(encode))).await;
    let Done { result, papers } = done.map_err(|error| asked.refused(error))?;
    let result = match result {
        Ok(reply) => reply.into_answer().map_err(|refusal| Problem::plugin_refused(&refusal)),
        Err(failure) => Err(failure.into()),
    };
    Ok((result, papers))
}

type Inputs = Vec<(String, Tensor)>;

/// Reads the input members. Of the other parameters only `id` has a meaning here.
fn read(live: &Deployment, name: &str, wire: &[u8]) -> Result<(Option<String>, Inputs), String> {
    let signature = live
        .tensors()
        .ok_or_else(|| format!("model '{name}' does not say what its inputs are: use infer"))?;
    let wanted = signature.inputs.iter().map(|spec| spec.name.as_str()).chain(["id"]);
    let mut deserializer = serde_json::Deserializer::from_slice(without_bom(wire));
    let members = deserializer.deserialize_map(Members(wanted.collect()));
    let members = members
        .and_then(|members| deserializer.end().map(|()| members))
        .map_err(|error| format!("the body is not a JSON object: {error}"))?;
    let mut tensors = Vec::new();
    for (index, spec) in signature.inputs.iter().enumerate() {
        let Some(member) = members.get(spec.name.as_str()) else { continue };
        tensors.push((spec.name.clone(), tensor(index, spec, member.get())?));
    }
    let id = members.get("id").and_then(|id| serde_json::from_str(id.get()).ok());
    Ok((id, tensors))
}

/// The object's members with these names, as written. Others are not kept.
struct Members<'n>(HashSet<&'n str>);

impl<'de, 'n> Visitor<'de> for Members<'n> {
    type Value = HashMap<&'n str, &'de RawValue>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = HashMap::new();
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            match self.0.get(&*name) {
                Some(name) => drop(members.insert(*name, map.next_value()?)),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(members)
    }
}

/// A member's tensor: one element, or a flat list. Open dimensions are 1, except the last, which takes all. An open number of dimensions
/// means one.
fn tensor(index: usize, spec: &TensorSpec, text: &str) -> Result<Tensor, String> {
    let is_list = text.trim_start().starts_with('[');
    let (data, elements) = match is_list {
        true => {
            let items: Few<IgnoredAny, 0> =
                serde_json::from_str(text).map_err(|error| format!("'{}': {error}", spec.name))?;
            (Cow::Borrowed(text), items.count)
        }
        false => (Cow::Owned(format!("[{text}]")), 1),
    };
    let flat = vec![None];
    let sizes = spec.shape.as_ref().unwrap_or(&flat);
    let last_open = sizes.iter().rposition(Option::is_none);
    let known: Vec<usize> = sizes.iter().flatten().copied().collect();
    // A shape that nothing can fill is rejected with the elements below.
    let fill = tensor::count(&known).and_then(|known| elements.checked_div(known)).unwrap_or(0);
    let sizes = sizes.iter().enumerate();
    let shape: Vec<usize> = sizes
        .map(|(axis, size)| match size {
            Some(size) => *size,
            None if Some(axis) == last_open => fill,
            None => 1,
        })
        .collect();
    json::read(index, spec.data_type, &shape, &data).map_err(|error| match error {
        TensorJsonError::Data { at, reason, .. } if is_list => {
            format!("'{}' is {spec}: `/{}{at}`: {reason}", spec.name, spec.name)
        }
        TensorJsonError::Data { reason, .. } => format!("'{}' is {spec}: {reason}", spec.name),
        other => format!("'{}' is {spec}: {other}", spec.name),
    })
}

/// Writes outputs as members of one object.
#[derive(Debug)]
struct Generate(Encode);

impl Encoder for Generate {
    fn suits(&self, function: &Function) -> Result<(), String> {
        Encode::suits(&self.0, function)
    }

    fn tensors(
        &self,
        function: &Function,
        outputs: Vec<(String, Tensor)>,
    ) -> Result<Reply, String> {
        let mut members = Map::new();
        if let Some(id) = self.0.id() {
            members.insert("id".into(), id.into());
        }
        members.insert("model_name".into(), self.0.model().into());
        let version = function.deployment().version().to_string();
        members.insert("model_version".into(), version.into());
        let head = serde_json::Value::Object(members).to_string();
        let mut out = head.trim_end_matches('}').as_bytes().to_vec();
        for (name, tensor) in &outputs {
            out.push(b',');
            json::string(name, &mut out);
            out.push(b':');
            let from = out.len();
            json::data(name, tensor, &mut out).map_err(|_| {
                format!("output '{name}' is {} that is not text: use infer", DataType::Bytes)
            })?;
            // A single element is written without a list.
            if tensor::count(tensor.shape()) == Some(1) {
                out.pop();
                out.remove(from);
            }
        }
        out.push(b'}');
        Ok(Reply::Encoded { bytes: out.into(), head: None })
    }

    fn value(&self, _: &Function, _: Option<(Value, &Type)>) -> Result<Reply, String> {
        Err("the function does not answer with tensors".to_owned())
    }
}
