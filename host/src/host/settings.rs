//! The parts of a host, configured from its settings.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::secrets::Secrets;
use super::{ARTEFACTS, COMPILED};
use crate::admission::{BodyLimits, Footprint, Line, PerAccount, Room, Spools};
use crate::config::{self, Config};
use crate::inference::{ArtefactSettings, Settings};
use crate::sandbox::{Sandbox, SandboxError};
use crate::telemetry::Allowances;

/// Limits on body bytes in memory, per account and in total. Connections get as much as unauthenticated requests.
pub(super) fn body_limits(api: &config::Api) -> BodyLimits {
    BodyLimits {
        // One account gets at most three quarters; a compressed body is held twice while it is decompressed.
        all: api.bodies_in_flight_bytes_max.max(api.body_bytes_max.saturating_mul(3)),
        account: api.account_bodies_bytes_max.max(api.body_bytes_max.saturating_mul(2)),
        strangers: api.strangers_part_bytes(),
    }
}

/// How calls wait for sandboxes.
pub(super) fn line(admission: &config::Admission) -> Line {
    Line {
        slots: admission.slots_max,
        queue_length_max: admission.queue_length_max,
        queue_wait_max: admission.queue_wait_max,
        weights: admission.weights.iter().map(|(name, weight)| (name.clone(), *weight)).collect(),
    }
}

/// Room for what stays loaded.
pub(super) fn room(inference: &config::Inference) -> Room {
    Room::new(Footprint { bytes: inference.memory_bytes, mappings: inference.mappings_max })
}

pub(super) fn sandbox(
    config: &Config,
    data: &Path,
    secrets: &Secrets,
) -> Result<Sandbox, SandboxError> {
    Sandbox::new(
        config.sandbox.clone(),
        &config.admission,
        data.join(COMPILED),
        secrets.cache_secret(),
        config.inference.worker_program.clone().into(),
    )
}

/// Limits on uploads of bundles.
pub(super) fn uploads(config: &Config) -> (PerAccount, Spools) {
    let (api, bundle) = (&config.api, &config.bundle);
    let per_account = api.uploads_per_account_max.get();
    // One account gets at most three quarters, which must fit the largest bundle.
    let bytes = api.uploads_in_flight_bytes_max.max(bundle.bundle_bytes_max.saturating_mul(2));
    (
        PerAccount::new(per_account, "api.uploads_per_account_max"),
        Spools::new(bytes, "api.uploads_in_flight_bytes_max"),
    )
}

/// How inference is set up.
pub fn inference_settings(config: &Config) -> Settings {
    let inference = &config.inference;
    let libraries = match &inference.onnxruntime_library {
        // If the operator names a library, only that one is used: never silently another version.
        Some(path) => vec![path.clone()],
        None => crate::inference::runtime::places(&config.data.dir),
    };
    // Workers have another working directory than the host.
    let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    let libraries = libraries.into_iter().map(absolute).collect();
    Settings {
        allowances: Arc::new(Allowances::new(config.telemetry.tenant_bytes_per_second)),
        threads: inference.threads,
        queue_length_max: inference.queue_length_max,
        tensor_bytes_max: inference.tensor_bytes_max,
        backend: inference.backend,
        libraries,
        library_required: inference.onnxruntime_library.is_some(),
        isolation: inference.isolation,
        trusted: inference.trusted_publishers.clone(),
        workers_max: inference.workers_max,
        worker_memory_bytes_max: inference.worker_memory_bytes_max,
        program: inference.worker_program.clone().into(),
        artefacts: None,
    }
}

/// The same for a host, which keeps optimised models in its data directory.
pub(super) fn hosts_inference(config: &Config, data: &Path, secrets: &Secrets) -> Settings {
    let bytes_max = config.inference.artefact_bytes_max;
    let folder = data.join(ARTEFACTS);
    let secret = *secrets.cache_secret();
    let artefacts = (bytes_max > 0).then_some(ArtefactSettings { folder, secret, bytes_max });
    Settings { artefacts, ..inference_settings(config) }
}
