//! Responses of `/v1/responses`, whole or as events, each with its number.

use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use serde_json::{Value as Json, json};

use super::super::converse::{Frame, suits};
use super::super::told::{Course, Finish, Usage};
use super::super::{Problem, error_json};
use super::output::Output;
use crate::call::pieces::PieceEncoder;
use crate::state::deployments::Function;
use crate::value::{Type, Value};

/// Serialises the pieces of one response.
#[derive(Debug)]
pub(in crate::api::openai) struct Encode {
    frame: Frame,
    stream: bool,
    repeated: Json,
    told: Mutex<Told>,
}

/// The response so far.
#[derive(Debug)]
struct Told {
    course: Course,
    output: Output,
    /// Events that were sent.
    events: u64,
}

impl Encode {
    /// `repeated` are the members of the request that the response repeats.
    pub(in crate::api::openai) fn new(
        frame: Frame,
        stream: bool,
        repeated: Json,
        course: Course,
    ) -> Self {
        let output = Output::new(frame.id.to_string(), repeated["top_logprobs"] != 0);
        let told = Mutex::new(Told { course, output, events: 0 });
        Self { frame, stream, repeated, told }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The response in this state.
    fn response(&self, status: &str, output: Vec<Json>, usage: Option<Usage>) -> Json {
        let mut response = self.repeated.clone();
        let cut = (status == "incomplete").then(|| json!({"reason": "max_output_tokens"}));
        let members = [
            ("id", json!(format!("resp_{}", self.frame.id))),
            ("object", json!("response")),
            ("created_at", json!(self.frame.created)),
            ("model", json!(self.frame.model)),
            ("status", json!(status)),
            ("error", Json::Null),
            ("incomplete_details", json!(cut)),
            ("output", Json::Array(output)),
            ("usage", usage.map_or(Json::Null, used)),
        ];
        for (name, value) in members {
            response[name] = value;
        }
        response
    }

    /// The end of a stream that failed.
    pub(in crate::api::openai) fn failed(&self, problem: &Problem) -> Bytes {
        let mut told = self.told();
        let error = &error_json(problem)["error"];
        let mut response = self.response("failed", told.output.whole(), None);
        response["error"] = json!({"code": error["code"], "message": error["message"]});
        told.event("response.failed", json!({"response": response})).into()
    }
}

impl Told {
    fn event(&mut self, name: &str, mut data: Json) -> Vec<u8> {
        data["type"] = json!(name);
        data["sequence_number"] = json!(self.events);
        self.events += 1;
        format!("event: {name}\ndata: {data}\n\n").into_bytes()
    }
}

fn used(usage: Usage) -> Json {
    let (cached, reasoning) = usage.details.unwrap_or_default();
    json!({
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": usage.completion,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": usage.total(),
    })
}

impl PieceEncoder for Encode {
    fn suits(&self, function: &Function) -> Result<(), String> {
        suits(&self.frame, function)
    }

    fn piece(&self, value: &Value, element: &Type) -> Result<Vec<u8>, String> {
        let mut told = self.told();
        let Some(piece) = told.course.take(value, element)? else { return Ok(Vec::new()) };
        let mut events = Vec::new();
        let choice = piece.choice();
        let call_id = |id: &str, call| self.frame.call_id(id, choice, call);
        told.output.add(piece, call_id, &mut events);
        if !self.stream {
            return Ok(Vec::new());
        }
        let mut out = Vec::new();
        if told.events == 0 {
            let response = self.response("in_progress", Vec::new(), None);
            for name in ["response.created", "response.in_progress"] {
                out.extend(told.event(name, json!({"response": response})));
            }
        }
        for (name, data) in events {
            out.extend(told.event(name, data));
        }
        Ok(out)
    }

    fn end(&self) -> Result<Vec<u8>, String> {
        let mut told = self.told();
        let usage = told.course.end()?;
        let status = match told.output.finish {
            Some(Finish::Length) => "incomplete",
            Some(Finish::Stop | Finish::Calls) | None => "completed",
        };
        let response = self.response(status, told.output.whole(), Some(usage));
        Ok(match self.stream {
            true => told.event(&format!("response.{status}"), json!({"response": response})),
            false => response.to_string().into_bytes(),
        })
    }
}
