//! What may leave the host: encodes a guest's answer and holds it to the agreement's limits. The guest has no say in it.

use bytes::Bytes;

use crate::admission::Admission;
use crate::agreements::Grant;
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

/// Encodes the answer in `outcome`, or turns it into a failure if it may not be released.
pub fn check(
    grant: &Grant,
    admission: &Admission,
    function: &Function,
    form: Form,
    outcome: Outcome<Answer>,
) -> Outcome<Reply> {
    let Outcome { result, used } = outcome;
    let result = result
        .and_then(|answer| encode(function.signature().signature(), form, answer))
        .and_then(|reply| release(reply, grant.output_limit(admission.rule())));
    Outcome { result, used }
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
    match (answer, signature, form) {
        (Answer::Tensors(outputs), _, Form::Json) => tensors_json(&outputs),
        (Answer::Tensors(outputs), _, Form::Octets) => tensor_octets(outputs),
        (Answer::Value(value), Signature::Values { result, .. }, Form::Json) => {
            Ok(Reply::Json(value_json(value.as_ref(), payload(result.as_ref(), Branch::Ok))))
        }
        (
            Answer::Value(Some(Value::Packed(bytes))),
            Signature::Values { result, .. },
            Form::Octets,
        ) if is_octets(payload(result.as_ref(), Branch::Ok)) => Ok(Reply::Octets(bytes)),
        (Answer::Value(_), Signature::Values { .. }, Form::Octets) => Err(unsendable(
            "plain bytes were asked for, but the function does not return `list<u8>`: ask for `application/json`",
        )),
        (Answer::Refusal(value), Signature::Values { result, .. }, _) => {
            let ty = payload(result.as_ref(), Branch::Err);
            Ok(Reply::RefusalJson(value_json(value.as_ref(), ty)))
        }
        (Answer::Refusal(value), Signature::Tensors, _) => {
            Ok(Reply::RefusalJson(value_json(value.as_ref(), Some(&Type::String))))
        }
        (Answer::Value(_), Signature::Tensors, _) => {
            unreachable!("invariant: the sandbox answers a call for tensors with tensors")
        }
    }
}

enum Branch {
    Ok,
    Err,
}

/// The type of what a call answers with: the sandbox has taken a `result` apart already.
fn payload(result: Option<&Type>, branch: Branch) -> Option<&Type> {
    match (result, branch) {
        (Some(Type::Result { ok, .. }), Branch::Ok) => ok.as_deref(),
        (Some(Type::Result { err, .. }), Branch::Err) => err.as_deref(),
        (other, Branch::Ok | Branch::Err) => other,
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
