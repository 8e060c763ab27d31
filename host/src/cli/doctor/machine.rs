//! What the machine has for a host: the library that computes, the kernel's features, and how much of everything.
//!
//! Workers are started as by a host that starts, so that what they say is what its log and `/status` would say.

use super::{Finding, Subject, chain, sh, size};
use crate::backend::BackendKind;
use crate::config::{Config, machine};
use crate::host::inference_settings;
use crate::inference::backend::BackendError;
use crate::inference::{Inference, InferenceError, Settings};
use crate::worker::Confinement;

/// Threads of a worker beside those that compute: it steers, loads, and waits for its host.
const WORKER_THREADS: usize = 4;

/// Threads of a host beside its sandboxes', its cores' and those that wait for the disk.
const HOST_THREADS: usize = 64;

/// What a worker has said, as of a host that starts.
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
            // Required: what is there is not replaced by something else then, and its failure has a reason.
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

/// Whether what the settings ask for computes.
pub(super) fn runtime(subject: &Subject) -> Vec<Finding> {
    let inference = &subject.config.inference;
    let named = inference.onnxruntime_library.as_deref();
    // A host does not start without what somebody named.
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
            format!("`inference.onnxruntime_library` is `{}`, which is not there", path.display()),
            format!("take the setting out of the settings, and {install}"),
        ),
        (Some(path), _) => Finding::problem(
            format!(
                "`{}` (`inference.onnxruntime_library`) is not usable: {error}",
                path.display()
            ),
            format!("take the setting out of the settings, and {install}"),
        ),
        (None, true) => {
            Finding::problem(format!("`inference.backend` is `onnxruntime`: {error}"), install)
        }
        (None, false) => Finding::warning(
            format!("`tract` computes, more slowly and fewer models: {error}"),
            format!("{install}, or set `inference.backend = \"tract\"`"),
        ),
    };
    vec![finding]
}

/// What workers need of the kernel, and what they can give up here.
pub(super) fn kernel(subject: &Subject) -> Vec<Finding> {
    match &subject.workers.confinement {
        Err(error) => vec![Finding::problem(
            format!("no worker process starts, so nothing is computed: {}", chain(error)),
            "use a kernel of 5.10 or later, and a container that lets `memfd_create`, `pidfd_open` and `seccomp` through; \
             if it lacks memory or processes, see `limits` and `memory`",
        )],
        Ok(Confinement { missing }) if missing.is_empty() => vec![Finding::ok(
            "workers give up files, network, other processes and privileges (seccomp, Landlock, user limits)",
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

/// What lets workers give up what they could not, by the step's name in `worker::confine`.
fn confinement_fix(step: &str) -> &'static str {
    match step {
        "landlock" => {
            "use a kernel of 6.12 or later with Landlock (`landlock` is in `/sys/kernel/security/lsm`; `lsm=landlock,…` on its command line adds it)"
        }
        "seccomp" => {
            "use a kernel with CONFIG_SECCOMP_FILTER, and a container that lets `seccomp` through"
        }
        "user" => "run the host as a user of its own and not as root: `User=hospes` in its unit",
        "rlimits" => "raise the host's hard limits: `ulimit -H -a` shows them",
        "oom_score_adj" => "mount `/proc` so that a process can write its own `oom_score_adj`",
        "threads" => "take libraries that start threads out of `LD_PRELOAD`",
        "cgroup" => {
            "`Delegate=yes` and `ReadWritePaths=` in its unit, as `host/dist/hospes.service` has them; this is said of the group that `hospes doctor` runs in, and `/status` says it of the host's"
        }
        _ => "see that `/proc` is mounted, and that the container lets the system call through",
    }
}

/// How many files, processes and bytes this process may have, against the settings.
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
            format!("{most} processes and threads may run; with all workers a host has some {needed}"),
            format!("`ulimit -u {needed}`, `LimitNPROC={needed}` and `TasksMax={needed}` in its unit, or lower `inference.workers_max`"),
        )),
        most => {
            let most = most.map_or_else(|| "any number of".to_owned(), |most| most.to_string());
            found.push(Finding::ok(format!("{most} processes and threads may run")));
        }
    }
    if let Some(most) = machine::file_bytes_max() {
        found.push(Finding::warning(
            format!("files may have {} only, and the log of receipts grows", size(most)),
            "`ulimit -f unlimited`, or `LimitFSIZE=infinity` in its unit",
        ));
    }
    if let Some(most) = machine::address_bytes_max() {
        found.push(Finding::warning(
            format!(
                "address space is limited to {}, and each sandbox reserves gigabytes of it",
                size(most)
            ),
            "`ulimit -v unlimited`, or `LimitAS=infinity` in its unit; `MemoryMax=` limits memory",
        ));
    }
    found
}

/// Processes and threads that a host may come to.
fn tasks(config: &Config) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    // One worker waits for others to be lost.
    let workers = config.inference.workers_max.get().saturating_add(1);
    let worker = config.inference.threads.get().saturating_add(WORKER_THREADS);
    let compilers = config.sandbox.compile_concurrency.get().saturating_mul(cores + WORKER_THREADS);
    let host = config.sandbox.threads.get().saturating_add(cores + HOST_THREADS);
    workers.saturating_mul(worker).saturating_add(compilers).saturating_add(host)
}

/// How much memory there is, against the settings.
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
            format!("there are {}, and calls ({}), bodies ({}) and strangers ({}) may take {}", size(there), size(calls), size(bodies), size(strangers), size(wanted)),
            "lower `admission.memory_bytes_max` or `api.bodies_in_flight_bytes_max`, or give the control group more (`MemoryMax=`)",
        ));
    }
    let one = config.sandbox.memory_bytes_max.get() as u64;
    if one > calls {
        found.push(Finding::warning(
            format!("a call may take {} (`sandbox.memory_bytes_max`), and all together {} (`admission.memory_bytes_max`)", size(one), size(calls)),
            "raise `admission.memory_bytes_max`, or lower `sandbox.memory_bytes_max`",
        ));
    }
    if found.is_empty() {
        let detail =
            format!("{} are there for this process; calls may take {}", size(there), size(calls));
        found.push(Finding::ok(detail));
    }
    found
}
