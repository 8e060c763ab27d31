//! The host's own workers, which compute what the converter compares.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Runtime;

use crate::backend::{BackendKind, Device};
use crate::config::Config;
use crate::convert::{Execute, Named, NotRun};
use crate::host::inference_settings;
use crate::id::AccountName;
use crate::inference::backend::Call;
use crate::inference::{Inference, ModelSource, Placement};
use hospes_cli::failure::{During as _, Failure};

/// How long a batch of rows may take.
const TIME_MAX: Duration = Duration::from_secs(120);

/// Whose models they are. No account is asked, since nothing is published.
const OWNER: &str = "convert";

pub(super) struct Workers {
    runtime: Runtime,
    inference: Inference,
    owner: AccountName,
}

impl Workers {
    /// Starts a worker.
    pub(super) fn start(runtime: Runtime, config: &Config) -> Result<Self, Failure> {
        let inference = runtime.block_on(Inference::start(inference_settings(config)));
        let inference =
            inference.during(|| "cannot start the process that computes models".into())?;
        Ok(Self { runtime, inference, owner: OWNER.parse()? })
    }
}

impl Execute for Workers {
    fn backends(&self) -> Vec<BackendKind> {
        let usable = self.inference.backends().iter().filter(|status| status.usable.is_ok());
        usable.map(|status| status.kind).collect()
    }

    fn compute(
        &self,
        model: &Bytes,
        backend: BackendKind,
        inputs: Vec<Named>,
    ) -> Result<Vec<Named>, NotRun> {
        let source = ModelSource::in_memory(self.owner.clone(), model.clone());
        let placement = Placement { backend: Some(backend), device: Device::Any };
        let loading = self.runtime.block_on(self.inference.load(source, placement));
        let graph = loading.map_err(|error| NotRun::NotLoaded(Failure::from(error).in_a_line()))?;
        let mut answers = Vec::with_capacity(inputs.len());
        for part in inputs {
            let call = Call::of_nobody(Instant::now() + TIME_MAX);
            let computed = self.runtime.block_on(async {
                tokio::time::timeout(TIME_MAX, graph.compute(part, call)).await
            });
            answers.push(match computed {
                Ok(outputs) => outputs.map_err(|error| NotRun::Failed(error.to_string()))?,
                Err(_elapsed) => {
                    let why = format!("it took more than {} s", TIME_MAX.as_secs());
                    return Err(NotRun::Failed(why));
                }
            });
        }
        Ok(answers)
    }
}
