//! The host's own workers, as the optimiser asks for them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Runtime;

use crate::backend::{BackendKind, Device};
use crate::config::Config;
use crate::host::inference_settings;
use crate::id::AccountName;
use crate::inference::backend::Call;
use crate::inference::{Graph, Inference, ModelSource, Placement};
use crate::optimize::Executor;
use crate::optimize::execute::Named;
use hospes_cli::failure::{During as _, Failure};

/// How long a computation may take.
const TIME_MAX: Duration = Duration::from_secs(60);

/// Whose models they are. No account is asked, since nothing is published.
const OWNER: &str = "optimize";

/// Workers that compute models.
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
        let owner = OWNER.parse()?;
        Ok(Self { runtime, inference, owner })
    }
}

impl Executor for Workers {
    type Loaded = Arc<Graph>;

    fn backends(&self) -> Vec<BackendKind> {
        let usable = self.inference.backends().iter().filter(|status| status.usable.is_ok());
        usable.map(|status| status.kind).collect()
    }

    fn load(&self, model: Bytes, backend: BackendKind) -> Result<Arc<Graph>, String> {
        let source = ModelSource::in_memory(self.owner.clone(), model);
        let placement = Placement { backend: Some(backend), device: Device::Any };
        let loading = self.inference.load(source, placement);
        self.runtime.block_on(loading).map_err(|error| Failure::from(error).in_a_line())
    }

    fn compute(&self, graph: &Arc<Graph>, inputs: Named) -> Result<Named, String> {
        let call = Call::of_nobody(Instant::now() + TIME_MAX);
        let computed = self
            .runtime
            .block_on(async { tokio::time::timeout(TIME_MAX, graph.compute(inputs, call)).await });
        match computed {
            Ok(outputs) => outputs.map_err(|error| error.to_string()),
            Err(_elapsed) => Err(format!("it took more than {} s", TIME_MAX.as_secs())),
        }
    }
}
