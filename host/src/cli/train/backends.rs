//! Whether the backends of this machine answer as the trainer did.
//!
//! A trainer leaves `answers.npz` in `$SM_OUTPUT_DATA_DIR`: arrays with the names of the model's inputs and outputs. Hospes' own always
//! does. Of others it may be missing; then there is nothing to compare with.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::backend::{BackendKind, Device};
use crate::config::Config;
use crate::confine::left;
use crate::data;
use crate::evidence::{ROUNDING, farthest};
use crate::host::inference_settings;
use crate::inference::backend::{Call, Placement};
use crate::inference::{Inference, ModelSignature, ModelSource};
use crate::tensor::Tensor;
use crate::training::contract::{ANSWERS, OUTPUT};
use crate::training::report::Compared;
use crate::training::{Job, Trainer};
use bytes::Bytes;
use hospes_cli::failure::{During as _, Failure};
use hospes_cli::screen::Screen;

use super::{MakeRuntime, Plan};

/// Most bytes of the answers, unpacked. One picture of the largest size that data may have takes 0.8 GB.
const ANSWERS_BYTES_MAX: u64 = 1 << 30;

/// How long the rows may take on a backend.
const COMPUTE_TIMEOUT: Duration = Duration::from_secs(60);

/// Loads the model on each backend that can be used here, and compares its answers.
///
/// # Errors
/// If one differs, if none takes the model, or if one does not take a model of Hospes' own.
pub(super) fn check(
    config: &Config,
    model: Bytes,
    plan: &Plan,
    make_runtime: MakeRuntime,
    screen: Screen,
) -> Result<Vec<Compared>, Failure> {
    let _progress = screen.spinner("comparing the backends with the trainer");
    let arrays = answers(&plan.job)?;
    let all = matches!(plan.recipe.trainer(), Trainer::Native(_));
    let runtime = make_runtime().during(|| "cannot start threads".into())?;
    let compared = runtime.block_on(compare(config, model, &arrays, all));
    runtime.shutdown_background();
    compared
}

/// What the trainer has left; nothing if there is no file.
fn answers(job: &Job) -> Result<Vec<(String, Tensor)>, Failure> {
    let name = Path::new(OUTPUT).join(ANSWERS);
    let Some(file) = left::read(&job.folder, &name, ANSWERS_BYTES_MAX)? else {
        return Ok(Vec::new());
    };
    let read = data::arrays(Path::new(ANSWERS), file.into(), ANSWERS_BYTES_MAX)
        .during(|| format!("`{ANSWERS}`, which the trainer left, cannot be compared"))?;
    let columns = read.columns().iter();
    Ok(columns.map(|column| (column.name.clone(), column.tensor.clone())).collect())
}

/// `all`: every backend must take the model.
async fn compare(
    config: &Config,
    model: Bytes,
    arrays: &[(String, Tensor)],
    all: bool,
) -> Result<Vec<Compared>, Failure> {
    let inference = Inference::start(inference_settings(config))
        .await
        .during(|| "cannot start a worker".into())?;
    let usable: Vec<BackendKind> = inference
        .backends()
        .iter()
        .filter(|status| status.usable.is_ok())
        .map(|status| status.kind)
        .collect();
    let (mut compared, mut taken, mut refusal) = (Vec::new(), false, None);
    for kind in usable {
        let publisher = "trainer".parse().map_err(Failure::from)?;
        let source = ModelSource::in_memory(publisher, model.clone());
        let placement = Placement { backend: Some(kind), device: Device::Cpu };
        let graph = match inference.load(source, placement).await {
            Ok(graph) => graph,
            Err(error) => {
                refusal = Some((kind, error));
                if all { break } else { continue }
            }
        };
        taken = true;
        if arrays.is_empty() {
            continue;
        }
        let is_input = |name: &str| graph.signature().inputs.iter().any(|input| input.name == name);
        let (inputs, wanted): (Vec<_>, Vec<_>) =
            arrays.iter().cloned().partition(|(name, _)| is_input(name));
        if wanted.is_empty() {
            return Err(no_answers(graph.signature()));
        }
        let call = Call::of_nobody(Instant::now() + COMPUTE_TIMEOUT);
        let outputs = graph
            .compute(inputs, call)
            .await
            .during(|| format!("`{kind}` does not compute the trainer's rows"))?;
        let mut worst = 0.0_f64;
        let mut rows = 0;
        for (name, wanted) in &wanted {
            let output = outputs.iter().find(|(output, _)| output == name);
            let (_, output) = output.ok_or_else(|| {
                Failure::new(format!("`{ANSWERS}` has an array `{name}`, which is neither input nor output of the model"))
            })?;
            worst = worst.max(difference(name, output, wanted)?);
            rows = wanted.shape().first().copied().unwrap_or_default() as u64;
        }
        if worst > ROUNDING {
            let message = format!(
                "the model is not kept: `{kind}` answers otherwise than the trainer, by {worst:.1e}; at most {ROUNDING:.0e} is allowed"
            );
            return Err(Failure::new(message).fix("report this with the recipe; a script of yours must export the model that it trained"));
        }
        compared.push(Compared { backend: kind.to_string(), rows, difference: worst });
    }
    if let Some((kind, error)) = refusal.filter(|_| all || !taken) {
        return Err(error).during(|| format!("the model is not kept: `{kind}` does not take it"));
    }
    if !taken {
        return Err(Failure::new("no backend can be used here, so the model was not tried")
            .fix("run `hospes doctor`"));
    }
    Ok(compared)
}

/// A file of answers has inputs only: compared with nothing, any model would pass.
fn no_answers(signature: &ModelSignature) -> Failure {
    let names: Vec<String> =
        signature.outputs.iter().map(|output| format!("`{}`", output.name)).collect();
    Failure::new(format!("`{ANSWERS}` has no answers: no array has the name of an output"))
        .fix(format!("write an array for {}, or leave the file out", names.join(" or ")))
}

/// The greatest difference, as [`farthest`] measures it.
fn difference(name: &str, ours: &Tensor, theirs: &Tensor) -> Result<f64, Failure> {
    if ours.shape() != theirs.shape() {
        return Err(Failure::new(format!(
            "output `{name}` has the shape {:?}, the trainer's answers {:?}",
            ours.shape(),
            theirs.shape()
        )));
    }
    let (Some(ours), Some(theirs)) = (ours.numbers(), theirs.numbers()) else {
        // Texts: the same or not.
        return Ok(if ours.data() == theirs.data() { 0.0 } else { f64::INFINITY });
    };
    // What answers no numbers has not learnt, even if all computations of it agree.
    if theirs.iter().any(|number| number.is_nan()) {
        return Ok(f64::INFINITY);
    }
    Ok(farthest(&ours, &theirs).map_or(f64::INFINITY, |apart| apart.difference))
}
