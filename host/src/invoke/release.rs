//! What may be released: serialises a guest's result and applies the agreement's limits. The guest has no say in it.

use bytes::Bytes;

use crate::admission::Admission;
use crate::call::AnswerForm;
use crate::controls::{ControlError, Controls};
use crate::outcome::{Answer, GuestFailure, Outcome, OutputLimit, Reply};
use crate::state::agreements::Grant;
use crate::state::deployments::Function;
use crate::tensor::{Tensor, json, npy};
use crate::value::{Type, Value, write};

/// Serialises the part of `outcome` that may be released, or turns it into a failure.
pub(super) fn check(
    grant: &Grant,
    admission: &Admission,
    function: &Function,
    form: &AnswerForm,
    outcome: Outcome<Answer>,
) -> Outcome<Reply> {
    let Outcome { result, used, .. } = outcome;
    // The last check: nothing is released under an agreement suspended while the call ran.
    let result = if grant.is_stopped(function) { Err(GuestFailure::Stopped) } else { result };
    let result = match form {
        AnswerForm::Response(exchange) => match exchange.refusal() {
            Some(refused) => Err(refused.clone()),
            None => result,
        },
        AnswerForm::Json | AnswerForm::Octets | AnswerForm::Protocol(_) | AnswerForm::Stream(_) => {
            result
        }
    };
    let controls = grant.controls(admission);
    let limit = grant.output_limit(admission);
    let result = if controls.is_open() {
        result
            .and_then(|answer| can_fit(function, form, answer, limit))
            .and_then(|answer| encode(function, form, answer))
    } else {
        result.and_then(|answer| controlled(controls, function, form, answer))
    };
    let result = result.and_then(|reply| release(reply, limit));
    let result =
        if controls.is_open() { result } else { result.map_err(GuestFailure::without_details) };
    let released = match (form, &result) {
        (AnswerForm::Stream(streaming), Err(_)) => streaming.released(),
        (AnswerForm::Response(exchange), Err(_)) => exchange.released(),
        _ => Bytes::new(),
    };
    Outcome { result, used, released }
}

/// Serialises the part of a result that the agreement permits.
fn controlled(
    controls: &Controls,
    function: &Function,
    form: &AnswerForm,
    answer: Answer,
) -> Result<Reply, GuestFailure> {
    let refused =
        |error: ControlError| GuestFailure::OutputUncontrolled { reason: error.to_string() };
    match answer {
        Answer::Tensors(outputs) => {
            encode(function, form, Answer::Tensors(controls.tensors(outputs).map_err(refused)?))
        }
        Answer::Value(_) if matches!(form, AnswerForm::Octets) => Err(unsendable(
            "the agreement controls what is released, so it is sent as `application/json` only",
        )),
        Answer::Value(value) => match value.zip(function.signature().signature().answer()) {
            None => typed(function, form, None),
            Some((value, ty)) => {
                let (value, ty) = controls.value(value, ty).map_err(refused)?;
                typed(function, form, Some((value, &ty)))
            }
        },
        // Each stream element was checked before it was sent; HTTP responses do not run under controls.
        Answer::Streamed => streamed(form),
        // A plugin's error is a result. Its text could be anything, and is not released.
        Answer::Refusal(_) => Ok(Reply::RefusalJson(value_json(None, None))),
    }
}

/// Reject what must exceed the limit before serialising it: tens of megabytes take time too.
fn can_fit(
    function: &Function,
    form: &AnswerForm,
    answer: Answer,
    (max, limit): (u64, OutputLimit),
) -> Result<Answer, GuestFailure> {
    let ty = function.signature().signature().answer();
    if let (Answer::Value(Some(value)), AnswerForm::Json, Some(ty)) = (&answer, form, ty) {
        let bytes = write::json_bytes_min(value, ty);
        if bytes > max {
            return Err(GuestFailure::OutputTooLarge { bytes, max, limit });
        }
    }
    Ok(answer)
}

/// Returns `reply` if it is within the limit.
fn release(reply: Reply, (max, limit): (u64, OutputLimit)) -> Result<Reply, GuestFailure> {
    let bytes = reply.bytes().len() as u64;
    if bytes > max {
        return Err(GuestFailure::OutputTooLarge { bytes, max, limit });
    }
    Ok(reply)
}

fn encode(function: &Function, form: &AnswerForm, answer: Answer) -> Result<Reply, GuestFailure> {
    let signature = function.signature().signature();
    match (answer, form) {
        (Answer::Tensors(outputs), AnswerForm::Json) => tensors_json(&outputs),
        (Answer::Tensors(outputs), AnswerForm::Octets) => tensor_octets(outputs),
        (Answer::Tensors(outputs), AnswerForm::Protocol(encoder)) => {
            encoder.tensors(function, outputs).map_err(|reason| unsendable(&reason))
        }
        (Answer::Tensors(_), AnswerForm::Stream(_) | AnswerForm::Response(_)) => {
            Err(not_a_stream())
        }
        (Answer::Streamed, form) => streamed(form),
        (Answer::Value(value), form) => typed(function, form, value.zip(signature.answer())),
        (Answer::Refusal(value), _) => {
            Ok(Reply::RefusalJson(value_json(value.as_ref(), signature.refusal())))
        }
    }
}

fn typed(
    function: &Function,
    form: &AnswerForm,
    value: Option<(Value, &Type)>,
) -> Result<Reply, GuestFailure> {
    match (form, value) {
        (AnswerForm::Json, None) => Ok(Reply::Json(value_json(None, None))),
        (AnswerForm::Json, Some((value, ty))) => {
            if function.signature().hands_tensors() {
                check_text(&value)?;
            }
            Ok(Reply::Json(value_json(Some(&value), Some(ty))))
        }
        (AnswerForm::Octets, Some((Value::Tensor(tensor), Type::Tensor))) => npy::write(&tensor)
            .map(|npy| Reply::Octets(npy.into()))
            .map_err(|error| unsendable(&error.to_string())),
        (AnswerForm::Octets, Some((Value::Packed(bytes), ty))) if ty.is_bytes() => {
            Ok(Reply::Octets(bytes))
        }
        (AnswerForm::Octets, _) => Err(unsendable(
            "plain bytes were requested, but the function does not return `list<u8>`: request `application/json`",
        )),
        (AnswerForm::Protocol(encoder), value) => {
            encoder.value(function, value).map_err(|reason| unsendable(&reason))
        }
        (AnswerForm::Stream(_) | AnswerForm::Response(_), _) => Err(not_a_stream()),
    }
}

fn streamed(form: &AnswerForm) -> Result<Reply, GuestFailure> {
    match form {
        AnswerForm::Stream(streaming) => streaming.finish(),
        AnswerForm::Response(exchange) => Ok(exchange.finish()),
        AnswerForm::Json | AnswerForm::Octets | AnswerForm::Protocol(_) => {
            Err(unsendable("the function returns a stream"))
        }
    }
}

fn not_a_stream() -> GuestFailure {
    unsendable("the function does not return a stream")
}

fn value_json(value: Option<&Value>, ty: Option<&Type>) -> Vec<u8> {
    let mut out = Vec::new();
    match (value, ty) {
        (Some(value), Some(ty)) => write::json(value, ty, &mut out),
        (None, _) | (_, None) => out.extend_from_slice(b"null"),
    }
    out
}

/// Whether JSON can hold all tensors of a value.
fn check_text(value: &Value) -> Result<(), GuestFailure> {
    let mut tensors = Vec::new();
    value.tensors(&mut tensors);
    match tensors.iter().all(json::is_text) {
        true => Ok(()),
        false => Err(unsendable("a BYTES tensor holds elements that are not UTF-8 text")),
    }
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
            "plain bytes were requested, but there are {count} outputs: request `application/json`"
        ))),
    }
}

fn unsendable(reason: &str) -> GuestFailure {
    GuestFailure::OutputUnsendable { reason: reason.into() }
}
