//! `ModelInfer` and `ModelStreamInfer`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt as _};
use http::{HeaderMap, Request};
use hyper::body::Incoming;
use prost::Message as _;
use prost::encoding::WireType;
use tonic::server::StreamingService;
use tonic::{Response, Status, Streaming};

use super::incoming::{Messages, STREAM_BYTES};
use super::messages::infer_parameter::ParameterChoice;
use super::messages::{self as pb, InferParameter};
use super::raw::RawCodec;
use super::{Answer, Given, GrpcRequest, answer, contents, fields, grpc, refused, status};
use crate::admission::{Holder, Pace, Priority, READ_HERE_BYTES_MAX};
use crate::api::body;
use crate::api::calls::{Done, Front};
use crate::api::intake::no_room;
use crate::api::oip::encode::{Encode, Wanted};
use crate::api::oip::model::Asked;
use crate::api::oip::request::{InferRequest, patience};
use crate::api::problem::{Problem, ProblemKind};
use crate::call::Payload;
use crate::call::{AnswerForm, Encoder};
use crate::host::Host;
use crate::outcome::Reply;
use crate::state::deployments::Function;
use crate::tensor::json::TENSOR_NAME_BYTES_MAX;
use crate::tensor::{DataType, Tensor, count};
use crate::value::{Type, Value};

/// The one parameter with a reserved name that clients send: whether responses mark the last one.
const SAYS_FINAL: &str = "triton_enable_empty_final_response";

/// One request, one response.
pub(super) async fn infer(call: GrpcRequest<Bytes>) -> Given<Bytes> {
    let done = run(&call.host, &call.headers, call.message).await.map_err(status)?;
    let mut headers = HeaderMap::new();
    done.papers.accompany(&mut headers);
    match done.result {
        Ok(reply) => Ok((reply, headers)),
        Err(problem) => {
            let mut status = status(problem);
            for (name, value) in headers.drain() {
                if let Some(name) = name {
                    status.metadata_mut().as_mut().insert(name, value);
                }
            }
            Err(status)
        }
    }
}

struct Answered {
    result: Result<Bytes, Problem>,
    papers: crate::api::calls::Papers,
}

async fn run(host: &Arc<Host>, headers: &HeaderMap, wire: Bytes) -> Result<Answered, Problem> {
    let front = Front::open(host, headers)?;
    let invalid = |detail: String| Problem::new(ProblemKind::InvalidRequest, detail);
    if wire.len() > READ_HERE_BYTES_MAX {
        // Before decoding a large message: may the caller call at all?
        let asked = named(&front, host, &wire).await?.map_err(invalid)?;
        front.permits(&asked.target()?).await.map_err(|error| asked.refused(error))?;
    }
    let message = wire.clone();
    let parsed = front.apart(wire.len(), move || parse(message)).await?;
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(detail) => {
            // Also for a small one: only callers who may call learn what is wrong with it.
            let Ok(asked) = named(&front, host, &wire).await? else { return Err(invalid(detail)) };
            let fault = front.fault(&asked.target()?, invalid(detail)).await;
            return Err(asked.refused(fault));
        }
    };
    let Parsed { name, version, says_final, request } = parsed;
    let asked = Asked::named(host, &name, Some(&version));
    let target = asked.target()?;
    let InferRequest { tensors, encode, patience, priority } = request;
    let urgency = (shorter(patience, timeout(headers)), priority);
    let form = AnswerForm::Protocol(Arc::new(GrpcEncode(encode, says_final)));
    let done = front.urgent(urgency).call(target, Payload::Tensors { wire, tensors }, form);
    let Done { result, papers } = done.await.map_err(|error| asked.refused(error))?;
    let result = match result {
        Ok(reply) => reply.into_answer().map_err(|refusal| Problem::plugin_refused(&refusal)),
        Err(failure) => Err(failure.into()),
    };
    Ok(Answered { result, papers })
}

/// The model that a message names, without decoding the rest.
async fn named(
    front: &Front<'_>,
    host: &Arc<Host>,
    wire: &Bytes,
) -> Result<Result<Asked, String>, Problem> {
    let (host, message) = (Arc::clone(host), wire.clone());
    let read = move || {
        fields::model(&message).map(|(name, version)| Asked::named(&host, name, Some(version)))
    };
    front.apart(wire.len(), read).await
}

/// A message's content.
struct Parsed {
    name: String,
    version: String,
    says_final: bool,
    request: InferRequest,
}

fn parse(message: Bytes) -> Result<Parsed, String> {
    fields::check(&message)?;
    let request = pb::ModelInferRequest::decode(message)
        .map_err(|error| format!("the message is not a ModelInferRequest: {error}"))?;
    let (name, version) = (request.model_name.clone(), request.model_version.clone());
    let says_final = request.parameters.get(SAYS_FINAL).is_some_and(is_true);
    Ok(Parsed { name, version, says_final, request: read(request)? })
}

fn shorter(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    a.into_iter().chain(b).min()
}

/// The deadline in `grpc-timeout`: at most eight digits and a unit.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let amount: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

fn read(request: pb::ModelInferRequest) -> Result<InferRequest, String> {
    let pb::ModelInferRequest {
        model_name,
        id,
        parameters,
        inputs,
        outputs,
        raw_input_contents,
        ..
    } = request;
    let is_raw = !raw_input_contents.is_empty();
    if is_raw && raw_input_contents.len() != inputs.len() {
        let (raw, all) = (raw_input_contents.len(), inputs.len());
        return Err(format!(
            "expected {all} raw_input_contents, one for each input, but got {raw}"
        ));
    }
    let mut raw = raw_input_contents.into_iter();
    let mut tensors: Vec<(String, Tensor)> = Vec::with_capacity(inputs.len());
    for input in inputs {
        if input.name.len() > TENSOR_NAME_BYTES_MAX {
            let bytes = input.name.len();
            return Err(format!(
                "the name of a tensor has {bytes} bytes, more than the {TENSOR_NAME_BYTES_MAX} allowed"
            ));
        }
        if tensors.iter().any(|(name, _)| *name == input.name) {
            return Err(format!("input '{}' is there twice", input.name));
        }
        let tensor = tensor(&model_name, &input, raw.next())?;
        tensors.push((input.name, tensor));
    }
    let (mut timeout, mut priority) = (0, Priority::default());
    for (name, value) in &parameters {
        match name.as_str() {
            "timeout" => timeout = number("timeout", value)?,
            "priority" => priority = Priority::of(number("priority", value)?),
            "sequence_id" if !is_nothing(value) => {
                return Err("parameter 'sequence_id' is not supported here".to_owned());
            }
            SAYS_FINAL => {}
            reserved if reserved.starts_with("triton_") => {
                return Err(format!("parameter '{reserved}' is reserved"));
            }
            _ => {}
        }
    }
    let outputs = outputs.into_iter().map(wanted).collect::<Result<Vec<_>, _>>()?;
    for (index, output) in outputs.iter().enumerate() {
        if outputs[..index].iter().any(|other| other.name == output.name) {
            return Err(format!("output '{}' is there twice", output.name));
        }
    }
    let id = Some(id).filter(|id| !id.is_empty());
    let encode = Encode::new(&model_name, id, Some(outputs), true);
    Ok(InferRequest { tensors, encode, patience: patience(timeout), priority })
}

fn tensor(
    model: &str,
    input: &pb::model_infer_request::InferInputTensor,
    raw: Option<Bytes>,
) -> Result<Tensor, String> {
    let name = &input.name;
    let wrong =
        |error: &dyn std::fmt::Display| format!("input '{name}' for model '{model}': {error}");
    let ty: DataType = input.datatype.parse().map_err(|error| wrong(&error))?;
    let shape: Result<Vec<usize>, _> =
        input.shape.iter().map(|size| usize::try_from(*size)).collect();
    let shape = shape.map_err(|_| wrong(&"its shape has a negative dimension"))?;
    count(&shape).ok_or_else(|| wrong(&"its shape has more elements than can be counted"))?;
    if input.parameters.contains_key("shared_memory_region") {
        return Err("parameter 'shared_memory_region' is not supported here".to_owned());
    }
    let data = match (raw, &input.contents) {
        (Some(raw), None) => raw,
        (Some(raw), Some(contents)) if *contents == pb::InferTensorContents::default() => raw,
        (Some(_), Some(_)) => {
            return Err(wrong(&"it has contents beside raw_input_contents"));
        }
        (None, Some(contents)) => contents::bytes(ty, contents).map_err(|error| wrong(&error))?,
        (None, None) => Bytes::new(),
    };
    Tensor::new(ty, shape, data).map_err(|error| match error {
        crate::tensor::TensorError::Size { expected, seen, .. } => format!(
            "input byte size mismatch for input '{name}' for model '{model}'. Expected {expected}, got {seen}"
        ),
        error => wrong(&error),
    })
}

fn wanted(output: pb::model_infer_request::InferRequestedOutputTensor) -> Result<Wanted, String> {
    if output.parameters.contains_key("shared_memory_region") {
        return Err("parameter 'shared_memory_region' is not supported here".to_owned());
    }
    let classes = output.parameters.get("classification");
    let classes = classes.map(|value| number("classification", value)).transpose()?;
    let classes = classes.and_then(|classes| usize::try_from(classes).ok());
    let classes = classes.filter(|classes| *classes > 0);
    Ok(Wanted { name: output.name.into(), binary: None, classes })
}

fn number(name: &str, value: &InferParameter) -> Result<u64, String> {
    let number = match &value.parameter_choice {
        Some(ParameterChoice::Int64Param(number)) => u64::try_from(*number).ok(),
        Some(ParameterChoice::Uint64Param(number)) => Some(*number),
        _ => None,
    };
    number.ok_or_else(|| format!("parameter '{name}' must be a number from 0"))
}

fn is_true(value: &InferParameter) -> bool {
    value.parameter_choice == Some(ParameterChoice::BoolParam(true))
}

fn is_nothing(value: &InferParameter) -> bool {
    match &value.parameter_choice {
        None | Some(ParameterChoice::Int64Param(0) | ParameterChoice::Uint64Param(0)) => true,
        Some(ParameterChoice::StringParam(text)) => text.is_empty(),
        Some(_) => false,
    }
}

/// Writes a `ModelInferResponse` with raw outputs and, if requested, the mark of the last response, which each is.
#[derive(Debug)]
struct GrpcEncode(Encode, bool);

impl Encoder for GrpcEncode {
    fn suits(&self, function: &Function) -> Result<(), String> {
        Encode::suits(&self.0, function)
    }

    fn tensors(
        &self,
        function: &Function,
        outputs: Vec<(String, Tensor)>,
    ) -> Result<Reply, String> {
        let mut response = pb::ModelInferResponse {
            model_name: self.0.model().to_owned(),
            model_version: function.deployment().version().to_string(),
            id: self.0.id().unwrap_or_default().to_owned(),
            ..pb::ModelInferResponse::default()
        };
        if self.1 {
            let yes = InferParameter { parameter_choice: Some(ParameterChoice::BoolParam(true)) };
            response.parameters.insert("triton_final_response".to_owned(), yes);
        }
        for output in self.0.choose(function, outputs)? {
            let shape = output.tensor.shape().iter();
            response.outputs.push(pb::model_infer_response::InferOutputTensor {
                name: output.name,
                datatype: output.tensor.data_type().name().to_owned(),
                shape: shape.map(|size| i64::try_from(*size).unwrap_or(i64::MAX)).collect(),
                ..pb::model_infer_response::InferOutputTensor::default()
            });
            response.raw_output_contents.push(output.tensor.data().clone());
        }
        Ok(Reply::Encoded { bytes: response.encode_to_vec().into(), head: None })
    }

    fn value(&self, _: &Function, _: Option<(Value, &Type)>) -> Result<Reply, String> {
        Err("the function does not answer with tensors".to_owned())
    }
}

/// Requests and responses one at a time: the next request is read when the previous one is answered.
pub(super) async fn stream(host: &Arc<Host>, request: Request<Incoming>) -> Answer {
    // Unauthenticated clients cannot hold a stream open.
    let caller = match host.auth.authenticate(body::bearer(request.headers())) {
        Ok(caller) => caller,
        Err(error) => return refused(status(error.into())),
    };
    let api = &host.config().api;
    let account = Holder::Account(&caller.account().name);
    let open = match host.bodies.take(account, STREAM_BYTES) {
        Ok(open) => open,
        Err(error) => return refused(status(no_room(error))),
    };
    let held = [open, host.bodies.open(account)];
    let pace = Pace::of(api, api.body_read_timeout);
    let service =
        StreamInfer { host: Arc::clone(host), headers: Arc::new(request.headers().clone()) };
    let request = request.map(|body| Messages::new(body, held, pace));
    answer(grpc(api.body_bytes_max, RawCodec).streaming(service, request).await)
}

struct StreamInfer {
    host: Arc<Host>,
    headers: Arc<HeaderMap>,
}

impl StreamingService<Bytes> for StreamInfer {
    type Response = Bytes;
    type ResponseStream = std::pin::Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;
    type Future = std::future::Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<Bytes>>) -> Self::Future {
        let (host, headers) = (Arc::clone(&self.host), Arc::clone(&self.headers));
        let answers = request.into_inner().then(move |message| {
            let (host, headers) = (Arc::clone(&host), Arc::clone(&headers));
            async move {
                let result = match run(&host, &headers, message?).await {
                    Ok(answered) => answered.result,
                    Err(problem) => Err(problem),
                };
                Ok(streamed(result))
            }
        });
        std::future::ready(Ok(Response::new(Box::pin(answers))))
    }
}

/// A `ModelStreamInferResponse`.
fn streamed(result: Result<Bytes, Problem>) -> Bytes {
    let mut message = Vec::new();
    match result {
        // Field 2 is the response, which is already encoded.
        Ok(response) => {
            prost::encoding::encode_key(2, WireType::LengthDelimited, &mut message);
            prost::encoding::encode_varint(response.len() as u64, &mut message);
            message.extend_from_slice(&response);
        }
        Err(problem) => {
            let (_, error_message) = problem.into_parts();
            let response = pb::ModelStreamInferResponse { error_message, infer_response: None };
            message = response.encode_to_vec();
        }
    }
    message.into()
}
