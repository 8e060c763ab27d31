//! What may leave the host: encodes a guest's answer and holds it to the agreement's limits. The guest has no say in it.

use bytes::Bytes;

use crate::admission::Admission;
use crate::agreements::Grant;
use crate::controls::{ControlError, Controls};
use crate::deployments::Function;
use crate::outcome::{Answer, GuestFailure, Outcome, OutputLimit, Reply};
use crate::sandbox::Signature;
use crate::tensor::{Tensor, json};
use crate::value::{Type, Value, write};

/// How the caller wants the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Json,
    /// Plain bytes: of a `list<u8>`, or of the only output tensor.
    Octets,
}

/// Encodes what of the answer in `outcome` may leave the host, or turns it into a failure if it may not be released.
pub fn check(
    grant: &Grant,
    admission: &Admission,
    function: &Function,
    form: Form,
    outcome: Outcome<Answer>,
) -> Outcome<Reply> {
    let Outcome { result, used } = outcome;
    // The last look: what was suspended while the call ran is not released.
    let result = if grant.is_stopped() { Err(GuestFailure::Stopped) } else { result };
    let controls = grant.controls(admission);
    let signature = function.signature().signature();
    let result = if controls.is_open() {
        result.and_then(|answer| encode(signature, form, answer))
    } else {
        result.and_then(|answer| controlled(controls, signature, form, answer))
    };
    let result = result.and_then(|reply| release(reply, grant.output_limit(admission)));
    let result =
        if controls.is_open() { result } else { result.map_err(GuestFailure::without_details) };
    Outcome { result, used }
}

/// Encodes the projection of an answer that the agreement lets out.
fn controlled(
    controls: &Controls,
    signature: &Signature,
    form: Form,
    answer: Answer,
) -> Result<Reply, GuestFailure> {
    let refused =
        |error: ControlError| GuestFailure::OutputUncontrolled { reason: error.to_string() };
    match answer {
        Answer::Tensors(outputs) => {
            encode(signature, form, Answer::Tensors(controls.tensors(outputs).map_err(refused)?))
        }
        Answer::Value(_) if form == Form::Octets => Err(unsendable(
            "the agreement controls what is released, so it is sent as `application/json` only",
        )),
        Answer::Value(value) => match value.zip(signature.answer()) {
            None => Ok(Reply::Json(value_json(None, None))),
            Some((value, ty)) => {
                let (value, ty) = controls.value(value, ty).map_err(refused)?;
                Ok(Reply::Json(value_json(Some(&value), Some(&ty))))
            }
        },
        // That the plugin refused is an answer; what it says about it could be anything, and is not released.
        Answer::Refusal(_) => Ok(Reply::RefusalJson(value_json(None, None))),
    }
}

/// Lets `reply` pass if it is within the limit.
fn release(reply: Reply, (max, limit): (u64, OutputLimit)) -> Result<Reply, GuestFailure> {
    let bytes = reply.bytes().len() as u64;
    if bytes > max {
        return Err(GuestFailure::OutputTooLarge { bytes, max, limit });
    }
    Ok(reply)
}

fn encode(signature: &Signature, form: Form, answer: Answer) -> Result<Reply, GuestFailure> {
    match (answer, form) {
        (Answer::Tensors(outputs), Form::Json) => tensors_json(&outputs),
        (Answer::Tensors(outputs), Form::Octets) => tensor_octets(outputs),
        (Answer::Value(value), Form::Json) => {
            Ok(Reply::Json(value_json(value.as_ref(), signature.answer())))
        }
        (Answer::Value(Some(Value::Packed(bytes))), Form::Octets)
            if is_octets(signature.answer()) =>
        {
            Ok(Reply::Octets(bytes))
        }
        (Answer::Value(_), Form::Octets) => Err(unsendable(
            "plain bytes were asked for, but the function does not return `list<u8>`: ask for `application/json`",
        )),
        (Answer::Refusal(value), _) => {
            Ok(Reply::RefusalJson(value_json(value.as_ref(), signature.refusal())))
        }
    }
}

fn value_json(value: Option<&Value>, ty: Option<&Type>) -> Vec<u8> {
    let mut out = Vec::new();
    match (value, ty) {
        (Some(value), Some(ty)) => write::json(value, ty, &mut out),
        (None, _) | (_, None) => out.extend_from_slice(b"null"),
    }
    out
}

fn is_octets(ty: Option<&Type>) -> bool {
    matches!(ty, Some(Type::List(element)) if **element == Type::U8)
}

fn tensors_json(outputs: &[(String, Tensor)]) -> Result<Reply, GuestFailure> {
    let mut out = Vec::new();
    json::write_outputs(outputs, &mut out).map_err(|error| unsendable(&error.to_string()))?;
    Ok(Reply::Json(out))
}

fn tensor_octets(outputs: Vec<(String, Tensor)>) -> Result<Reply, GuestFailure> {
    let count = outputs.len();
    let mut outputs = outputs.into_iter();
    match (outputs.next(), outputs.next()) {
        (Some((_, tensor)), None) => Ok(Reply::Octets(Bytes::clone(tensor.data()))),
        _ => Err(unsendable(&format!(
            "plain bytes were asked for, but there are {count} outputs: ask for `application/json`"
        ))),
    }
}

fn unsendable(reason: &str) -> GuestFailure {
    GuestFailure::OutputUnsendable { reason: reason.into() }
}
