//! Evaluates a published function over the Open Inference Protocol. Every request is a call: counted under an agreement, with a receipt.

use std::time::Instant;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::data::DataSet;
use crate::evaluate::{Answers, BATCH_ROWS, Feed, Preparation, Run, Timing};
use crate::id::{Digest, ModelName};
use crate::inference::{ModelSignature, OutputSpec, Sizes, TensorSpec};
use crate::tensor::{DataType, Tensor, json};
use hospes_cli::Context;
use hospes_cli::client::{Payload, Post};
use hospes_cli::failure::{During as _, Failure};

/// How a published function is called.
pub(super) struct Calls<'c> {
    pub(super) context: &'c Context,
    pub(super) agreement: Option<Digest>,
    /// Whether the caller has agreed to the number of calls already.
    pub(super) is_told: bool,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    inputs: Vec<Described>,
    #[serde(default)]
    outputs: Vec<Described>,
}

#[derive(Deserialize)]
struct Described {
    name: String,
    datatype: Option<String>,
    shape: Vec<i64>,
}

#[derive(Deserialize)]
struct Response<'b> {
    #[serde(borrow)]
    outputs: Vec<Output<'b>>,
}

#[derive(Deserialize)]
struct Output<'b> {
    name: String,
    datatype: String,
    shape: Vec<usize>,
    #[serde(borrow)]
    data: &'b RawValue,
}

/// What to do about a table that a published function does not take as it is.
const UNTOLD: &str = "a published function does not say which columns it was trained with: evaluate its bundle or ONNX file, which does; or give \
     rows as it takes them, as `.npy` or `.npz`: numbers in the order of training, and for each text its place among the categories";

impl Calls<'_> {
    /// Calls the model with every row. Notes what a reader of the figures should know.
    pub(super) fn run(
        &self,
        model: &ModelName,
        version: Option<&str>,
        data: &DataSet,
        preparation: &Preparation,
        notes: &mut Vec<String>,
    ) -> Result<(Run, Answers), Failure> {
        let client = self.context.client()?;
        let path = match version {
            Some(version) => format!("/v2/models/{model}/versions/{version}"),
            None => format!("/v2/models/{model}"),
        };
        let (_, metadata): (Value, Metadata) = client.document(&path)?;
        let signature = signature(&metadata).ok_or_else(|| {
            Failure::new(format!("`{model}` has no function of tensors that can be evaluated"))
                .fix("evaluate its ONNX file or bundle")
        })?;
        let feed = Feed::new(&signature, data, preparation).map_err(|error| {
            let failure = Failure::from(error).during("the data do not fit the model");
            // What `hospes.columns` says of a file, the host does not pass on.
            if is_table(data) { failure.fix(UNTOLD) } else { failure }
        })?;
        notes.extend(feed.note());
        // One row a call where the model takes one; otherwise as many as it may.
        let rows = feed.batch().unwrap_or(BATCH_ROWS).max(1);
        let calls = feed.rows().div_ceil(rows);
        self.tell(model, calls, feed.rows())?;
        let progress = self.context.screen.spinner(&format!("calling {model}"));
        let mut answers = Answers::default().masked(feed.mask());
        let mut times = Vec::with_capacity(calls);
        for first in (0..feed.rows()).step_by(rows) {
            let last = (first + rows).min(feed.rows());
            let body = body(&feed.inputs(first..last)?)?;
            let mut headers = Vec::new();
            if let Some(agreement) = &self.agreement {
                headers.push(("hospes-agreement", agreement.to_string()));
            }
            let post =
                Post { content_type: "application/json", headers, body: Payload::Bytes(body) };
            let began = Instant::now();
            let reply = client.post(&format!("{path}/infer"), post);
            let reply = reply.during(|| format!("rows {} to {last}", first + 1))?;
            times.push(began.elapsed().as_secs_f64() * 1e3);
            let outputs = outputs(&reply.body)?;
            answers.add(outputs, last - first, feed.batch().unwrap_or(last - first))?;
        }
        drop(progress);
        let run = Run {
            place: "published".to_owned(),
            error: None,
            figures: None,
            latency: Timing::of(&times, rows),
            memory_bytes: None,
            load_ms: None,
        };
        Ok((run, answers))
    }

    /// Says how many calls will be counted, before the first one.
    fn tell(&self, model: &ModelName, calls: usize, rows: usize) -> Result<(), Failure> {
        let text =
            format!("{rows} rows are {calls} calls of {model}, each counted under your agreement");
        if self.is_told {
            self.context.screen.note(&text);
            return Ok(());
        }
        self.context.screen.confirm(&format!("{text}. Call it?"))
    }
}

/// Whether rows come from a table, and not from arrays.
fn is_table(data: &DataSet) -> bool {
    data.columns().iter().all(|column| column.row_shape().is_empty())
}

fn signature(metadata: &Metadata) -> Option<ModelSignature> {
    let sizes =
        |shape: &[i64]| -> Sizes { shape.iter().map(|size| usize::try_from(*size).ok()).collect() };
    let inputs: Option<Vec<TensorSpec>> = metadata
        .inputs
        .iter()
        .map(|input| {
            let data_type: DataType = input.datatype.as_deref()?.parse().ok()?;
            let shape = Some(sizes(&input.shape));
            Some(TensorSpec { name: input.name.clone(), data_type, shape, optional: false })
        })
        .collect();
    let outputs = metadata.outputs.iter().map(|output| OutputSpec {
        name: output.name.clone(),
        data_type: output.datatype.as_deref().and_then(|name| name.parse().ok()),
        shape: Some(sizes(&output.shape)),
    });
    let inputs = inputs.filter(|inputs| !inputs.is_empty())?;
    Some(ModelSignature { inputs, outputs: outputs.collect() })
}

/// A request of the protocol.
fn body(inputs: &[(String, Tensor)]) -> Result<Vec<u8>, Failure> {
    let mut out = b"{\"inputs\":[".to_vec();
    for (place, (name, tensor)) in inputs.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"name\":");
        out.extend_from_slice(serde_json::to_string(name)?.as_bytes());
        out.push(b',');
        let mut tensor_json = Vec::new();
        json::write_one(tensor, &mut tensor_json)
            .map_err(|_| Failure::new(format!("input `{name}` holds bytes that are not text")))?;
        // Its own brace is open already.
        out.extend_from_slice(tensor_json.strip_prefix(b"{").unwrap_or(&tensor_json));
    }
    out.extend_from_slice(b"]}");
    Ok(out)
}

fn outputs(body: &[u8]) -> Result<Vec<(String, Tensor)>, Failure> {
    let unexpected = || "the host's response has an unexpected form".to_owned();
    let response: Response<'_> = serde_json::from_slice(body).during(unexpected)?;
    let read = |(place, output): (usize, Output<'_>)| {
        let data_type: DataType = output.datatype.parse().during(unexpected)?;
        let tensor = json::read(place, data_type, &output.shape, output.data.get());
        Ok((output.name, tensor.during(unexpected)?))
    };
    response.outputs.into_iter().enumerate().map(read).collect()
}
