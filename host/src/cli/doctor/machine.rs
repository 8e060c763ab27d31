//! Checks the machine: the inference library, the kernel's features, and the limits.
//!
//! It starts workers as a host does, so that the findings match the host's log and `/status`.

use super::{Finding, Subject, chain, sh};
use crate::backend::BackendKind;
use crate::config::about_bytes;
use crate::config::{Config, machine};
use crate::host::{ARTEFACTS, inference_settings};
use crate::inference::backend::BackendError;
use crate::inference::{Inference, InferenceError, Settings};
use crate::worker::Confinement;

/// Threads of a worker besides those that compute: one steers, one loads, one waits for its host.
const WORKER_THREADS: usize = 4;

/// Threads of a host besides its sandboxes', its cores' and those that wait for the disk.
const HOST_THREADS: usize = 64;

/// A worker's report, as for a starting host.
pub(super) struct Workers {
    /// ONNX Runtime's library, or why it cannot be used.
    onnxruntime: Result<String, InferenceError>,
    confinement: Result<Confinement, InferenceError>,
}

impl Workers {
    /// Starts a worker, and ends it.
    pub(super) async fn look(config: &Config) -> Self {
        let settings = inference_settings(config);
        let with_library = if settings.libraries.iter().any(|path| path.is_file()) {
            // Required, so that there is no fallback and a failure has a reason.
            let settings = Settings { library_required: true, ..settings.clone() };
            Inference::start(settings).await
        } else {
            let (kind, reason) = (BackendKind::Onnxruntime, BackendError::NoLibrary);
            Err(InferenceError::Unusable { kind, reason })
        };
        match with_library {
            Ok(inference) => {
                let found = inference.backends().iter().find_map(|status| {
                    let is_it = status.kind == BackendKind::Onnxruntime;
                    is_it.then(|| status.usable.clone().unwrap_or_default())
                });
                let confinement = Ok(inference.confinement().clone());
                Self { onnxruntime: Ok(found.unwrap_or_default()), confinement }
            }
            Err(error) => {
                let without = Inference::start(Settings {
                    library_required: false,
                    libraries: Vec::new(),
                    backend: BackendKind::Tract.into(),
                    ..settings
                });
                let confinement = without.await.map(|inference| inference.confinement().clone());
                Self { onnxruntime: Err(error), confinement }
            }
        }
    }
}

/// Whether the configured backend computes.
pub(super) fn runtime(subject: &Subject) -> Vec<Finding> {
    let inference = &subject.config.inference;
    let named = inference.onnxruntime_library.as_deref();
    // A host does not start without a backend that the settings name.
    let is_required = named.is_some() || inference.backend.only() == Some(BackendKind::Onnxruntime);
    if inference.backend.only() == Some(BackendKind::Tract) && !is_required {
        return vec![Finding::ok("`tract` computes, as `inference.backend` says")];
    }
    let error = match &subject.workers.onnxruntime {
        Ok(library) => return vec![Finding::ok(format!("ONNX Runtime computes: `{library}`"))],
        Err(InferenceError::Unusable { reason, .. }) => reason.to_string(),
        Err(error) => chain(error),
    };
    let install = format!("`hospes runtime install onnxruntime --data {}`", sh(subject.data()));
    let finding = match (named, is_required) {
        (Some(path), _) if !path.is_file() => Finding::problem(
            format!(
                "`inference.onnxruntime_library` is `{}`, which does not exist",
                path.display()
            ),
            format!("remove the setting, and {install}"),
        ),
        (Some(path), _) => Finding::problem(
            format!(
                "`{}` (`inference.onnxruntime_library`) is not usable: {error}",
                path.display()
            ),
            format!("remove the setting, and {install}"),
        ),
        (None, true) => {
            Finding::problem(format!("`inference.backend` is `onnxruntime`: {error}"), install)
        }
        (None, false) => Finding::warning(
            format!("`tract` computes: it is slower and supports fewer models: {error}"),
            format!("{install}, or set `inference.backend = \"tract\"`"),
        ),
    };
    vec![finding]
}

/// Whether models are loaded in the form that all their sessions share.
pub(super) fn artefacts(subject: &Subject) -> Vec<Finding> {
    let inference = &subject.config.inference;
    let anew = "each thread of a worker holds every weight of its models anew";
    if inference.artefact_bytes_max == 0 {
        return vec![Finding::ok(format!(
            "weights are not mapped, so {anew} (`inference.artefact_bytes_max` is 0)"
        ))];
    }
    let (Ok(_), Ok(Confinement { missing })) =
        (&subject.workers.onnxruntime, &subject.workers.confinement)
    else {
        // Said above: without ONNX Runtime there are none.
        return Vec::new();
    };
    if let Some(step) = missing.iter().find(|step| step.starts_with("seccomp")) {
        let detail = format!("workers cannot map weights, so {anew}: {step}");
        return vec![Finding::warning(detail, confinement_fix("seccomp"))];
    }
    let folder = subject.data().join(ARTEFACTS);
    vec![Finding::ok(format!(
        "weights are mapped from `{}`, up to {} (`inference.artefact_bytes_max`)",
        folder.display(),
        about_bytes(inference.artefact_bytes_max)
    ))]
}

/// What workers need from the kernel, and which privileges they can drop here.
pub(super) fn kernel(subject: &Subject) -> Vec<Finding> {
    match &subject.workers.confinement {
        Err(error) => vec![Finding::problem(
            format!("no worker process starts, so no model can be computed: {}", chain(error)),
            "use kernel 5.10 or later, and a container that allows `memfd_create`, `pidfd_open` and `seccomp`; \
             if it lacks memory or processes, see `limits` and `memory`",
        )],
        Ok(Confinement { missing }) if missing.is_empty() => vec![Finding::ok(
            "workers have no files, network, other processes or privileges (seccomp, Landlock, user limits)",
        )],
        Ok(Confinement { missing }) => missing
            .iter()
            .map(|missing| {
                let step = missing.split(':').next().unwrap_or_default();
                let detail = format!("workers are confined less than they could be: {missing}");
                Finding::warning(detail, confinement_fix(step))
            })
            .collect(),
    }
}

/// The fix for a missing confinement, by the step's name in `worker::confine`.
fn confinement_fix(step: &str) -> &'static str {
    match step {
        "landlock" => {
            "use kernel 6.12 or later with Landlock (`landlock` is in `/sys/kernel/security/lsm`; `lsm=landlock,…` on its command line adds it)"
        }
        "seccomp" => {
            "use a kernel with CONFIG_SECCOMP_FILTER, and a container that allows `seccomp`"
        }
        "user" => "run the host as its own user and not as root: `User=hospes` in its unit",
        "rlimits" => "raise the host's hard limits: `ulimit -H -a` shows them",
        "oom_score_adj" => "mount `/proc` so that a process can write its own `oom_score_adj`",
        "threads" => "remove libraries that start threads from `LD_PRELOAD`",
        "cgroup" => {
            "`Delegate=yes` and `ReadWritePaths=` in its unit, as `host/dist/hospes.service` has them; this applies to the group of `hospes doctor`; see `/status` for the host's"
        }
        _ => "mount `/proc`, and allow the system call in the container",
    }
}

/// The process's limits of files, processes and bytes, against the settings.
pub(super) fn limits(subject: &Subject) -> Vec<Finding> {
    let config = &subject.config;
    let mut found = Vec::new();
    let (most, wanted) = (machine::connections_max(), config.api.connections_max.get());
    let files = machine::files_max().map_or_else(|| "any number of".to_owned(), |n| n.to_string());
    if most < wanted {
        let needed = machine::files_for(wanted);
        found.push(Finding::warning(
            format!("{files} files may be open: enough for {most} connections, not for the {wanted} of `api.connections_max`"),
            format!("`ulimit -Hn {needed}` as root, `LimitNOFILE={needed}` in its unit, or lower `api.connections_max`"),
        ));
    } else {
        found.push(Finding::ok(format!("{files} files may be open")));
    }
    let needed = tasks(config);
    match machine::tasks_max() {
        Some(most) if most < needed as u64 => found.push(Finding::warning(
            format!("{most} processes and threads may run; a host with all its workers needs some {needed}"),
            format!("`ulimit -u {needed}`, `LimitNPROC={needed}` and `TasksMax={needed}` in its unit, or lower `inference.workers_max`"),
        )),
        most => {
            let most = most.map_or_else(|| "any number of".to_owned(), |most| most.to_string());
            found.push(Finding::ok(format!("{most} processes and threads may run")));
        }
    }
    if let Some(most) = machine::file_bytes_max() {
        found.push(Finding::warning(
            format!("files are limited to {}, but the log of receipts grows", about_bytes(most)),
            "`ulimit -f unlimited`, or `LimitFSIZE=infinity` in its unit",
        ));
    }
    if let Some(most) = machine::address_bytes_max() {
        found.push(Finding::warning(
            format!(
                "address space is limited to {}, and each sandbox reserves gigabytes of it",
                about_bytes(most)
            ),
            "`ulimit -v unlimited`, or `LimitAS=infinity` in its unit; `MemoryMax=` limits memory",
        ));
    }
    found
}

/// The most processes and threads of a host.
fn tasks(config: &Config) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    // One more: the spare worker.
    let workers = config.inference.workers_max.get().saturating_add(1);
    let worker = config.inference.threads.get().saturating_add(WORKER_THREADS);
    let compilers = config.sandbox.compile_concurrency.get().saturating_mul(cores + WORKER_THREADS);
    let host = config.sandbox.threads.get().saturating_add(cores + HOST_THREADS);
    workers.saturating_mul(worker).saturating_add(compilers).saturating_add(host)
}

/// The available memory, against the settings.
pub(super) fn memory(subject: &Subject) -> Vec<Finding> {
    let config = &subject.config;
    let there = machine::memory_bytes();
    let calls = config.admission.memory_bytes_max.get() as u64;
    let bodies = config.api.bodies_in_flight_bytes_max;
    let strangers = config.api.strangers_bytes_max;
    let wanted = calls.saturating_add(bodies).saturating_add(strangers);
    let mut found = Vec::new();
    if wanted > there {
        found.push(Finding::warning(
            format!("{} are available, but calls ({}), bodies ({}) and strangers ({}) may take {}", about_bytes(there), about_bytes(calls), about_bytes(bodies), about_bytes(strangers), about_bytes(wanted)),
            "lower `admission.memory_bytes_max` or `api.bodies_in_flight_bytes_max`, or give the control group more (`MemoryMax=`)",
        ));
    }
    let one = config.sandbox.memory_bytes_max.get() as u64;
    if one > calls {
        found.push(Finding::warning(
            format!("one call may take {} (`sandbox.memory_bytes_max`), but all calls together only {} (`admission.memory_bytes_max`)", about_bytes(one), about_bytes(calls)),
            "raise `admission.memory_bytes_max`, or lower `sandbox.memory_bytes_max`",
        ));
    }
    if found.is_empty() {
        let detail = format!(
            "{} are available to this process; calls may take {}",
            about_bytes(there),
            about_bytes(calls)
        );
        found.push(Finding::ok(detail));
    }
    found
}
