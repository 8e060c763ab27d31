//! The host's own workers, as the optimiser asks for them.

use bytes::Bytes;
use tokio::runtime::Runtime;

use super::super::evaluate::subject::load_on_first;
use crate::backend::BackendKind;
use crate::config::Config;
use crate::evaluate::{Evaluator, Loaded, ModelSignature};
use crate::host::inference_settings;
use crate::optimize::Executor;
use crate::optimize::execute::Named;
use hospes_cli::failure::Failure;

/// Workers that compute models.
pub(super) struct Workers {
    runtime: Runtime,
    evaluator: Evaluator,
}

impl Workers {
    /// Starts a worker, to find out which backends there are.
    pub(super) fn start(runtime: Runtime, config: &Config) -> Result<Self, Failure> {
        let evaluator = runtime.block_on(Evaluator::start(inference_settings(config)))?;
        Ok(Self { runtime, evaluator })
    }

    /// What callers give the model, on the first backend that takes it.
    pub(super) fn signature(&self, model: &Bytes) -> Result<ModelSignature, Failure> {
        let backends = self.evaluator.usable();
        let loading = load_on_first(&self.evaluator, ("model", model), &backends);
        Ok(self.runtime.block_on(loading)?.signature().clone())
    }
}

impl Executor for Workers {
    type Loaded = Loaded;

    fn backends(&self) -> Vec<BackendKind> {
        self.evaluator.usable()
    }

    fn load(&self, model: Bytes, backend: BackendKind) -> Result<Loaded, String> {
        let loading = self.evaluator.load(model, backend);
        self.runtime.block_on(loading).map_err(|error| Failure::from(error).in_a_line())
    }

    fn compute(&self, loaded: &Loaded, inputs: Named) -> Result<Named, String> {
        match self.runtime.block_on(loaded.compute(inputs)) {
            Some(outputs) => outputs.map_err(|error| error.to_string()),
            None => Err("it took too long".into()),
        }
    }
}
