//! The host's settings: one TOML file, every setting with a unit, a safe default and a sentence on what happens at the limit.
//!
//! What is read here cannot be wrong later: counts are non-zero where zero makes no sense, and a setting that does not exist is
//! an error, not a typing mistake that goes unnoticed. Settings are read and shown here; what they do is up to those they are for.

mod address;
mod backend;
mod listen;
pub mod machine;
mod print;
mod units;

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use hospes_core::id::AccountName;

pub use address::{AddressError, BaseUrl, Network, Origin, is_host};
pub use backend::BackendChoice;
pub use listen::{ListenAddress, ListenAddressError};
pub use units::{about_bytes, parse_bytes, show_bytes};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// The file in a data directory with the operator's listener's address, for commands on the same machine.
pub const OPERATOR_ADDRESS_FILE: &str = "operator.address";

/// The file in a data directory with the operator's token.
pub const OPERATOR_TOKEN_FILE: &str = "operator.token";

/// Why settings could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("settings `{}` could not be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("settings `{}` are wrong; `hospes serve --print-config` shows every setting", path.display())]
    Parse {
        path: PathBuf,
        #[source]
        source: Box<toml::de::Error>,
    },
}

/// All settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub data: Data,
    pub api: Api,
    pub bundle: Bundle,
    pub market: Market,
    pub admission: Admission,
    pub sandbox: Sandbox,
    pub inference: Inference,
    pub receipt: Receipt,
    pub telemetry: Telemetry,
}

impl Config {
    /// Reads a TOML file. Missing settings have their defaults.
    ///
    /// # Errors
    /// [`ConfigError`] points at the line.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.into(), source })?;
        toml::from_str(&text)
            .map_err(|source| ConfigError::Parse { path: path.into(), source: Box::new(source) })
    }
}

/// The data directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Data {
    /// The data directory. Default `hospes-data`.
    pub dir: PathBuf,
}

impl Default for Data {
    fn default() -> Self {
        Self { dir: "hospes-data".into() }
    }
}

/// Listeners and requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Api {
    /// The public listener: an address or a name, and a port. Default `127.0.0.1:8080`.
    pub listen: ListenAddress,
    /// A PEM file with the public listener's certificate chain. Default none: connections are not encrypted, which is for the loopback
    /// and for hosts behind a TLS proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_certificate: Option<PathBuf>,
    /// A file with the certificate's private key, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key: Option<PathBuf>,
    /// The operator's listener. Default `127.0.0.1:8081`; keep it off the network.
    pub operator_listen: ListenAddress,
    /// Connections of one listener. Default 4096. Strangers, who have shown no key, get at most three quarters of them, and at most what
    /// three eighths of `strangers_bytes_max` hold at 64 KiB each (384 by default). Beyond that, the connection that has been idle for
    /// longest is closed. An account keeps its connections while it has less than three times the free places. Connections beyond that
    /// make room like a stranger's; if there are none, the account with most gives one up.
    pub connections_max: NonZeroUsize,
    /// Connections of one address, or one IPv6 /64. Default 1024; one more is closed at once.
    pub connections_per_address_max: NonZeroUsize,
    /// Time that an HTTP/2 connection of a caller with a key may be idle. Default 2 min; then it is closed, with GOAWAY. A stranger's
    /// is closed after `header_read_timeout`, as are all HTTP/1.1 connections.
    #[serde(with = "units::duration")]
    pub idle_timeout: Duration,
    /// Headers of one request. Default 64; more are answered with 431.
    pub headers_max: NonZeroUsize,
    /// Bytes of the headers of one request, at least 8 KiB. Default 16 KiB; more are answered with 431.
    #[serde(with = "units::size_usize")]
    pub header_bytes_max: NonZeroUsize,
    /// Time for the headers of a request to arrive. Default 10 s; then the connection is closed.
    #[serde(with = "units::duration")]
    pub header_read_timeout: Duration,
    /// Bytes of the body of a call. Default 16 MiB; more are answered with 413.
    #[serde(with = "units::size")]
    pub body_bytes_max: u64,
    /// Bytes of call bodies that the host holds at once, for all accounts. Default 512 MiB, and at least three bodies. Bytes count when
    /// they arrive, not when they are announced. An account gets at most three times what is then left; one more body is answered with
    /// 503.
    #[serde(with = "units::size")]
    pub bodies_in_flight_bytes_max: u64,
    /// The same for one account. Default 128 MiB, and at least two bodies; one more is answered with 429.
    #[serde(with = "units::size")]
    pub account_bodies_bytes_max: u64,
    /// Bytes that all strangers together can make the host hold. Default 64 MiB; more is answered with 503. Three eighths are for
    /// connections, 64 KiB each. Three eighths are for requests until their responses have been read: 12 KiB each, their heads, bodies
    /// and long responses. A quarter is for bytes that have arrived and are not read yet, and for the allocator's reserve. A connection
    /// gets at most three times what is then left. The connection with most unread responses is closed first, and an HTTP/2 connection
    /// after eight refused requests, unless it is a trusted proxy's. `/healthz` and `/readyz` are always answered.
    #[serde(with = "units::size")]
    pub strangers_bytes_max: u64,
    /// Time that a caller may keep the host waiting for a body, or for a response to be read. Default 4 s; after that
    /// `body_bytes_per_second_min` applies.
    #[serde(with = "units::duration")]
    pub body_grace: Duration,
    /// The lowest average rate, in bytes per second, of bodies and of reading responses, after `body_grace`. Default 1 KiB; slower bodies
    /// are answered with 408, and slower readers are disconnected.
    #[serde(with = "units::size_usize")]
    pub body_bytes_per_second_min: NonZeroUsize,
    /// Time for the body of a call to arrive. Default 30 s; then 408.
    #[serde(with = "units::duration")]
    pub body_read_timeout: Duration,
    /// Time for a bundle to arrive. Default 10 min; then 408.
    #[serde(with = "units::duration")]
    pub publish_read_timeout: Duration,
    /// Bundles of one account that may be in upload or verification at once. Default 2; one more is answered with 429.
    pub uploads_per_account_max: NonZeroUsize,
    /// Bytes on the disk of incoming bundles, for all accounts. Default 8 GiB, and at least two of the largest bundles; more is answered
    /// with 503. One account gets at most three times what is then left.
    #[serde(with = "units::size")]
    pub uploads_in_flight_bytes_max: u64,
    /// Bytes of a response. Default 16 MiB; a larger one is not released.
    #[serde(with = "units::size")]
    pub response_bytes_max: u64,
    /// The host's country, for agreements that constrain it (`spatial`), by ISO 3166-1 alpha-3, such as `DEU`. Default empty: such
    /// agreements then permit nothing.
    #[serde(deserialize_with = "units::country")]
    pub country: String,
    /// The publisher whose models other protocols' fronts may call by their bare names: `simple` for `publisher/simple`. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_publisher: Option<AccountName>,
    /// The public URL of a host behind a proxy: `https://models.example/prefix`. OpenAPI documents and HTTP handlers use it. Default
    /// none: derived from a trusted proxy's headers, or from the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_url: Option<BaseUrl>,
    /// Proxies whose `Forwarded`, `X-Forwarded-Host`, `-Proto` and `-Prefix` are trusted, as addresses or networks. Default none.
    pub trusted_proxies: Vec<Network>,
    /// Origins of pages that may call from a browser (CORS); `*` for all. Default none.
    pub cors_origins: Vec<Origin>,
    /// Silence after which an event stream gets a comment, so that no proxy closes it. Default 15 s.
    #[serde(with = "units::duration")]
    pub event_keep_alive: Duration,
    /// Time between SIGTERM and the closing of the listeners. Meanwhile `/readyz` says 503 and calls are still taken, so that load
    /// balancers can switch first. Default 5 s; a second signal, or Ctrl-C, ends it at once.
    #[serde(with = "units::pause")]
    pub drain_delay: Duration,
    /// Time for running calls to finish when the host stops, after the delay. Default 30 s; then the process ends.
    #[serde(with = "units::duration")]
    pub drain_timeout: Duration,
}

impl Api {
    /// Bytes that strangers' connections may hold; their requests may hold as much again. The rest of `strangers_bytes_max` is for what
    /// cannot be counted: bytes that have arrived and are not read yet, and the allocator's partly used pages.
    pub fn strangers_part_bytes(&self) -> u64 {
        self.strangers_bytes_max / 8 * 3
    }
}

impl Default for Api {
    fn default() -> Self {
        Self {
            listen: ListenAddress::new("127.0.0.1", 8080),
            tls_certificate: None,
            tls_key: None,
            operator_listen: ListenAddress::new("127.0.0.1", 8081),
            connections_max: count(4096),
            connections_per_address_max: count(1024),
            idle_timeout: Duration::from_secs(120),
            headers_max: count(64),
            header_bytes_max: count(16 * KIB as usize),
            header_read_timeout: Duration::from_secs(10),
            body_bytes_max: 16 * MIB,
            bodies_in_flight_bytes_max: 512 * MIB,
            account_bodies_bytes_max: 128 * MIB,
            strangers_bytes_max: 64 * MIB,
            body_grace: Duration::from_secs(4),
            body_bytes_per_second_min: count(KIB as usize),
            body_read_timeout: Duration::from_secs(30),
            publish_read_timeout: Duration::from_secs(600),
            uploads_per_account_max: count(2),
            uploads_in_flight_bytes_max: 8 * 1024 * MIB,
            response_bytes_max: 16 * MIB,
            country: String::new(),
            default_publisher: None,
            public_url: None,
            trusted_proxies: Vec::new(),
            cors_origins: Vec::new(),
            event_keep_alive: Duration::from_secs(15),
            drain_delay: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(30),
        }
    }
}

/// Limits of publishing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bundle {
    /// Bytes of a bundle, weights included. Default 1 GiB; a larger one is refused.
    #[serde(with = "units::size")]
    pub bundle_bytes_max: u64,
    /// Bytes of a bundle's code. Default 32 MiB: compiling is the most expensive thing that a publisher can request.
    #[serde(with = "units::size")]
    pub code_bytes_max: u64,
    /// Bytes of the OpenAPI document that describes a bundle's functions. Default 4 MiB; a bundle that needs more is refused.
    #[serde(with = "units::size_usize")]
    pub openapi_bytes_max: NonZeroUsize,
    /// Models of one publisher. Default 200; one more is refused.
    pub models_per_publisher_max: usize,
    /// Versions of all models of one publisher, those out of service included. Default 2000; one more is refused.
    pub versions_per_publisher_max: usize,
    /// Bytes of all bundles of one publisher. Default 20 GiB; a bundle that would exceed it is refused.
    #[serde(with = "units::size")]
    pub bytes_per_publisher_max: u64,
}

impl Default for Bundle {
    fn default() -> Self {
        Self {
            bundle_bytes_max: 1024 * MIB,
            code_bytes_max: 32 * MIB,
            openapi_bytes_max: count(4 * MIB as usize),
            models_per_publisher_max: 200,
            versions_per_publisher_max: 2000,
            bytes_per_publisher_max: 20 * 1024 * MIB,
        }
    }
}

/// Limits of one party's documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Market {
    /// Offers of one publisher. Default 1000; one more is refused.
    pub offers_per_publisher_max: usize,
    /// Bytes of one publisher's offers. Default 4 MiB; an offer that would exceed it is refused.
    #[serde(with = "units::size")]
    pub offer_bytes_per_publisher_max: u64,
    /// Agreements that one party has signed. Default 10000; one more is refused.
    pub agreements_per_party_max: usize,
    /// Agreements that one party has signed and one other party has not. Default 32; one more is refused.
    pub proposals_per_pair_max: usize,
    /// How long an agreement waits for the second signature. Default 30 days; then it is deleted.
    #[serde(with = "units::duration")]
    pub proposal_lifetime: Duration,
    /// Negotiations that one party has begun, including ended ones. Default 10000; one more is refused.
    pub negotiations_per_party_max: usize,
    /// How long a negotiation is kept after its last message. Default 30 days; then it is deleted, and the agreement stays.
    #[serde(with = "units::duration")]
    pub negotiation_lifetime: Duration,
}

impl Default for Market {
    fn default() -> Self {
        Self {
            offers_per_publisher_max: 1000,
            offer_bytes_per_publisher_max: 4 * MIB,
            agreements_per_party_max: 10_000,
            proposals_per_pair_max: 32,
            proposal_lifetime: Duration::from_secs(30 * 24 * 3600),
            negotiations_per_party_max: 10_000,
            negotiation_lifetime: Duration::from_secs(30 * 24 * 3600),
        }
    }
}

/// Limits of running and waiting calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admission {
    /// Calls that run at once, each in its own sandbox. Default 64. One account gets at most three times what is then free: three
    /// quarters if it is alone.
    pub slots_max: NonZeroUsize,
    /// Calls that wait for a sandbox. Default 1024; one more is answered with 503. One account gets at most three times what is then
    /// free.
    pub queue_length_max: usize,
    /// Time that a call waits for a sandbox. Default 5 s; then 503.
    #[serde(with = "units::duration")]
    pub queue_wait_max: Duration,
    /// Bytes of all calls together: plugins' memory and the tensors that the host holds for them. Default: half of the machine's memory,
    /// or of the control group's. A plugin cannot allocate more than is left. One account gets at most three times what is then left.
    #[serde(with = "units::size_usize")]
    pub memory_bytes_max: NonZeroUsize,
    /// Accounts' weights when several wait for sandboxes, computing time of plugins and models, the disk, publishing, compiling, or the
    /// parsing of long documents: `{ acme = 2 }`. Default none: everybody has 1.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<AccountName, NonZeroU32>,
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            slots_max: count(64),
            queue_length_max: 1024,
            queue_wait_max: Duration::from_secs(5),
            memory_bytes_max: memory_bytes_default(),
            weights: BTreeMap::new(),
        }
    }
}

/// What a plugin may use in one call. Reaching a limit ends the call, never the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sandbox {
    /// Time from the start of a call to its end, inference included. Default 30 s.
    #[serde(with = "units::duration")]
    pub deadline: Duration,
    /// Threads that only run plugins, with a lower priority than those that serve. Default: one per core.
    pub threads: NonZeroUsize,
    /// How often a running plugin checks its deadline and yields to others. Default 1 ms.
    #[serde(with = "units::duration")]
    pub epoch_tick: Duration,
    /// Linear memory of one call. Default 256 MiB.
    #[serde(with = "units::size_usize")]
    pub memory_bytes_max: NonZeroUsize,
    /// Stack of a plugin. Default 1 MiB.
    #[serde(with = "units::size_usize")]
    pub stack_bytes_max: NonZeroUsize,
    /// Elements of one table. Default 20000.
    pub table_elements_max: NonZeroUsize,
    /// Core instances of one component, including those of all components that it instantiates. Default 32; a bundle with more is
    /// refused before compilation.
    pub instances_max: NonZeroUsize,
    /// Components that one component instantiates, counted the same way. Default 256; a bundle with more is refused.
    pub components_max: NonZeroUsize,
    /// Definitions (functions, types, aliases, imports, exports, instances) that instantiating a component evaluates, counted in the same
    /// way. Default 100000; a bundle with more is refused.
    pub definitions_max: NonZeroUsize,
    /// Different parts of the types of all functions of a bundle. Default 20000; a bundle with more is refused.
    pub type_nodes_max: NonZeroUsize,
    /// Bytes of the different names in those types. Default 1 MiB; a bundle with more is refused.
    #[serde(with = "units::size_usize")]
    pub type_name_bytes_max: NonZeroUsize,
    /// Handles to the host's resources that are alive at once. Default 1024.
    pub resources_max: NonZeroUsize,
    /// Bytes that a plugin may pass to the host at once. Default 64 MiB.
    #[serde(with = "units::size_usize")]
    pub hostcall_bytes_max: NonZeroUsize,
    /// Bytes of a call's log lines to keep; the rest is dropped. Default 16 KiB.
    #[serde(with = "units::size_plain")]
    pub log_bytes_max: usize,
    /// Components compiled at once, each from a different publisher. Default 2.
    pub compile_concurrency: NonZeroUsize,
    /// Time to compile a component. Default 60 s; then the bundle is refused. It waits at most half as long for its turn.
    #[serde(with = "units::duration")]
    pub compile_timeout: Duration,
    /// Memory that compiling a component may take. Default 2 GiB; then the bundle is refused.
    #[serde(with = "units::size")]
    pub compile_memory_bytes_max: u64,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(30),
            threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            epoch_tick: Duration::from_millis(1),
            memory_bytes_max: count(256 * MIB as usize),
            stack_bytes_max: count(MIB as usize),
            table_elements_max: count(20_000),
            instances_max: count(32),
            components_max: count(256),
            definitions_max: count(100_000),
            type_nodes_max: count(20_000),
            type_name_bytes_max: count(MIB as usize),
            resources_max: count(1024),
            hostcall_bytes_max: count(64 * MIB as usize),
            log_bytes_max: 16 * KIB as usize,
            compile_concurrency: count(2),
            compile_timeout: Duration::from_secs(60),
            compile_memory_bytes_max: 2048 * MIB,
        }
    }
}

/// Native inference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Inference {
    /// The backend. Default `auto`: the one that the bundle names, else onnxruntime if it is found, else tract.
    pub backend: BackendChoice,
    /// ONNX Runtime's library. Default: searched for beside the binary, in the data directory and in the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub onnxruntime_library: Option<PathBuf>,
    /// Threads that compute. Default: one per core.
    pub threads: NonZeroUsize,
    /// Computations that wait for a thread of the host's own process (`isolation = "none"`). Default 1024; one more is an error for
    /// the plugin. For workers, `admission.slots_max` is the limit.
    pub queue_length_max: usize,
    /// Bytes of the tensors that the host holds for one call. Default 256 MiB.
    #[serde(with = "units::size_usize")]
    pub tensor_bytes_max: NonZeroUsize,
    /// Which models share a worker process. A crash or a kill ends only that process's computations. Default `publisher`.
    pub isolation: Isolation,
    /// Publishers whose models are computed in the host's own process if `isolation` is `none`. Default none. Other publishers' models
    /// are always isolated by publisher.
    pub trusted_publishers: Vec<AccountName>,
    /// Whose computations are joined with others of the same model, if its bundle declares an axis for that and its trial showed that it is
    /// worthwhile. Default `account`.
    pub batches: Batches,
    /// Worker processes that compute. Default 64. A publisher gets more while it has less than three times the free ones, which matters if
    /// each model has its own (`isolation = "model"`). Another publisher's worker replaces the longest idle one among publishers with more;
    /// the replaced models are loaded again when they are called. While all compute, its calls are answered with 503 and not charged.
    pub workers_max: NonZeroUsize,
    /// Memory that a worker may allocate after its start: weights, and what computations allocate. Default 4 GiB; a computation that
    /// needs more fails, or ends its worker.
    #[serde(with = "units::size")]
    pub worker_memory_bytes_max: u64,
    /// Memory that loaded models and compiled plugins may keep between calls, all together. Default: a third of the machine's memory, or
    /// of the control group's. When a call needs a version that is not loaded and there is no room for it, the versions that were not
    /// called for longest are unloaded; their next call loads them again. If calls use all that is loaded, the call is answered with 503.
    #[serde(with = "units::size")]
    pub memory_bytes: u64,
    /// Memory mappings that loaded models and compiled plugins may have, all together: weights that are read from files take one a tensor.
    /// Default: half of what the kernel allows a process (`vm.max_map_count`).
    pub mappings_max: u64,
    /// Disk space for models in the form that ONNX Runtime maps: optimised, with weights that all its sessions and processes share. They
    /// are in `artefacts` in the data directory; the longest unused ones are removed first. Default `0`, which turns them off: each thread
    /// then holds every weight anew. They have no effect on models in the host's own process (`isolation = "none"`).
    #[serde(with = "units::size")]
    pub artefact_bytes_max: u64,
    /// The workers' program: `hospes` of the same version. Default: the running one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_program: Option<PathBuf>,
}

/// Which models share a worker process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// None: each model has its own.
    Model,
    /// Those of one publisher.
    #[default]
    Publisher,
    /// Trusted publishers' models have no worker: they are computed in the host's process.
    None,
}

/// Whose computations are joined.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Batches {
    /// None.
    Off,
    /// Those of one account with each other.
    #[default]
    Account,
    /// Those of all accounts whose agreements say nothing of tensors, purposes or data. A hostile model can then answer one consumer with
    /// the inputs of another.
    Shared,
}

impl Default for Inference {
    fn default() -> Self {
        Self {
            backend: BackendChoice::Auto,
            onnxruntime_library: None,
            threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            queue_length_max: 1024,
            tensor_bytes_max: count(256 * MIB as usize),
            isolation: Isolation::Publisher,
            trusted_publishers: Vec::new(),
            batches: Batches::Account,
            workers_max: count(64),
            worker_memory_bytes_max: 4096 * MIB,
            memory_bytes: (machine::memory_bytes() / 3 / MIB).max(1) * MIB,
            mappings_max: machine::mappings_max() / 2,
            artefact_bytes_max: 0,
            worker_program: None,
        }
    }
}

/// The log of receipts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Receipt {
    /// How often receipts are synced to the disk and a checkpoint is signed. Default 200 ms. A power failure can lose that much; a crash
    /// of the process loses nothing.
    #[serde(with = "units::duration")]
    pub flush_interval: Duration,
}

impl Default for Receipt {
    fn default() -> Self {
        Self { flush_interval: Duration::from_millis(200) }
    }
}

/// The log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// What is logged, as `tracing` directives. Default `info`; the variable `RUST_LOG` overrides it.
    pub filter: String,
    /// The format of lines. Default `text`.
    pub format: LogFormat,
    /// Bytes per second that one publisher's plugins and its models' workers may log, and four times that in a burst. Default 16 KiB;
    /// lines beyond it are dropped, and the log says how many.
    #[serde(with = "units::size")]
    pub tenant_bytes_per_second: u64,
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { filter: "info".into(), format: LogFormat::Text, tenant_bytes_per_second: 16 * KIB }
    }
}

/// ONNX Runtime's library from the environment: `HOSPES_ONNXRUNTIME`, or `ORT_DYLIB_PATH` as in other programs.
pub fn library_from_environment() -> Option<PathBuf> {
    let named = ["HOSPES_ONNXRUNTIME", "ORT_DYLIB_PATH"].into_iter().find_map(std::env::var_os);
    named.filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// The running binary's folder.
pub fn binary_directory() -> Option<PathBuf> {
    std::env::current_exe().ok()?.parent().map(Path::to_owned)
}

/// Half of this process's memory limit, in whole MiB.
fn memory_bytes_default() -> NonZeroUsize {
    let mib = (machine::memory_bytes() / 2 / MIB).max(1);
    usize::try_from(mib * MIB).ok().and_then(NonZeroUsize::new).unwrap_or(NonZeroUsize::MAX)
}

const fn count(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).expect("invariant: defaults are not zero")
}

#[cfg(test)]
mod tests;
