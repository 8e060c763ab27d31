//! The composition root: everything a running host consists of, put together in the order in which it depends on itself.
//!
//! It starts the parts and lends them to `invoke` and `deploy`. Of rules it has only those that need several parts: who may know of a
//! model, and within what a call's sandbox is made.

mod known;
mod lines;
pub mod look;
mod private;
mod readiness;
mod secrets;
mod settings;
mod time;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use subtle::ConstantTimeEq as _;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use crate::admission::{Admission, Bodies, PerAccount, Rate, Slots, Spools};
use crate::bundle::{BundleLimits, Registry, RegistryError};
use crate::call::exchange::Bounds;
use crate::call::{Call, Form};
use crate::clock::Clock;
use crate::config::Config;
use crate::deploy;
use crate::id::{AccountName, CallId, ModelName, Party};
use crate::inference::{Inference, InferenceError};
use crate::invoke::InvokeError;
use crate::key::PartyKey;
use crate::operations::{self, Operations};
use crate::outcome::GuestFailure;
use crate::receipt::ReceiptError;
use crate::sandbox::{CallContext, Instance, Sandbox, SandboxError};
use crate::state::accounts::{Auth, AuthError, Caller};
use crate::state::agreements::{Agreements, AgreementsError, Grant};
use crate::state::deployments::{
    Deployment, Deployments, Function, Published, Reference, Release, ResolveError, Target,
};
use crate::state::market::{Market, MarketError};
use crate::state::negotiations::{Negotiations, NegotiationsError};
use crate::state::receipts::{self, Denied, Receipts};
use crate::stop::Stops;
use crate::store::{Store, StoreError};
use crate::telemetry::{Allowance, Allowances};

pub use known::check as check_log;
use lines::Lines;
pub use readiness::NotReady;
use secrets::Secrets;
pub use secrets::SecretsError;
pub use settings::inference_settings;
use settings::{body_limits, line, sandbox, uploads};
pub use time::{FILE as TIME_FILE, read as time_known};

/// How often an account may load and unload its models: so many times at once, and then every so often. Each leaves a leaf in the log,
/// which is kept in memory.
const LOADS_MAX: u32 = 20;
const LOADS_EVERY: Duration = Duration::from_secs(30);

/// The file of accounts, offers, agreements and other small records, in the data directory.
pub const RECORDS: &str = "state.redb";

/// The file of the host's key, and the folders of receipts, bundles and compiled code.
pub const KEY_FILE: &str = "host.pem";
pub const RECEIPTS: &str = "receipts";
pub const BUNDLES: &str = "bundles";
pub const COMPILED: &str = "compiled";

/// Why a host does not start.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error("the data directory `{}` cannot be used", path.display())]
    DataDirectory {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "`{}` has receipts, but `{}` with the accounts and agreements is missing or empty; put it back from a backup, or choose another `--data` directory",
        log.display(),
        records.display()
    )]
    NoRecords { records: PathBuf, log: PathBuf },
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the accounts cannot be read")]
    Auth(#[from] AuthError),
    #[error("the bundles cannot be read")]
    Registry(#[from] RegistryError),
    #[error("the receipts cannot be read")]
    Receipts(#[from] ReceiptError),
    #[error("the offers cannot be read")]
    Market(#[from] MarketError),
    #[error("the agreements cannot be read")]
    Agreements(#[from] AgreementsError),
    #[error("the negotiations cannot be read")]
    Negotiations(#[from] NegotiationsError),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error(transparent)]
    Inference(#[from] InferenceError),
}

/// The runtime that a host serves on, with so many threads or one a core. Guests and inference have threads of their own.
///
/// # Errors
/// If the system starts no threads.
pub fn runtime(threads: Option<NonZeroUsize>) -> std::io::Result<Runtime> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = threads {
        runtime.worker_threads(threads.get());
    }
    runtime.thread_name("hospes").enable_all().build()
}

/// A running host.
pub struct Host {
    config: Config,
    clock: Clock,
    secrets: Secrets,
    pub(crate) store: Arc<Store>,
    pub(crate) auth: Arc<Auth>,
    pub(crate) registry: Registry,
    pub(crate) deployments: Deployments,
    pub(crate) market: Market,
    pub(crate) agreements: Agreements,
    pub(crate) negotiations: Negotiations,
    pub(crate) operations: Operations,
    pub(crate) receipts: Receipts,
    pub(crate) sandbox: Sandbox,
    pub(crate) inference: Inference,
    pub(crate) slots: Slots,
    log_allowances: Arc<Allowances>,
    pub(crate) bodies: Bodies,
    /// Bundles that accounts send.
    pub(crate) uploads: PerAccount,
    /// What they take on the disk while they come.
    pub(crate) spools: Spools,
    /// Turns at the disk, at publishing, and at reading documents.
    pub(crate) lines: Lines,
    /// How often models are loaded and unloaded.
    pub(crate) loads: Rate,
    /// Whoever makes a backup holds it: one at a time, for each takes as much disk as the records.
    pub(crate) backups: Arc<Semaphore>,
    draining: AtomicBool,
    started: Instant,
    /// The checkpoint that is remembered apart from the log.
    remembered: Mutex<String>,
}

impl Host {
    /// Starts a host on its data directory. Every version that was live before is known when this returns, and is loaded when it is
    /// first asked for, or in the background.
    ///
    /// # Errors
    /// [`HostError`]: what the host itself needs. A version that cannot be brought back is out of service, and the rest serves.
    pub async fn start(config: Config, clock: Clock) -> Result<Arc<Self>, HostError> {
        let data = config.data.dir.clone();
        private::open(&data).map_err(|(path, source)| HostError::DataDirectory { path, source })?;
        let secrets = Secrets::open(&data)?;
        let clock = clock.steady();
        time::read(&data, clock.now()).into_iter().for_each(|known| clock.has_been(known));
        known::check_records(&data)?;
        let store = Arc::new(Store::open(&data.join(RECORDS))?);
        let auth = Arc::new(Auth::open(Arc::clone(&store), clock.clone())?);
        let agreements =
            Agreements::open(Arc::clone(&store), clock.clone(), &config, secrets.key(), &auth)?;
        let negotiations = Negotiations::open(
            Arc::clone(&store),
            clock.clone(),
            config.market.clone(),
            &agreements,
        )?;
        let receipts = Receipts::open(
            &data.join(RECEIPTS),
            secrets.key(),
            receipts::origin(&secrets.key().party()),
            config.receipt.flush_interval,
            clock.clone(),
            |receipt| {
                clock.has_been(receipt.at);
                agreements.replay(receipt);
            },
        )?;
        let remembered = known::check::<HostError>(&store, receipts.log())?;
        let inference = inference_settings(&config);
        let log_allowances = Arc::clone(&inference.allowances);
        let (uploads, spools) = uploads(&config);
        let host = Arc::new(Self {
            auth,
            registry: Registry::open(&data.join(BUNDLES))?,
            deployments: Deployments::default(),
            market: Market::open(Arc::clone(&store), config.market.clone())?,
            agreements,
            negotiations,
            operations: Operations::default(),
            receipts,
            sandbox: sandbox(&config, &data, &secrets)?,
            inference: Inference::start(inference).await?,
            slots: Slots::new(line(&config.admission)),
            log_allowances,
            bodies: Bodies::new(body_limits(&config.api)),
            uploads,
            spools,
            lines: Lines::new(&config.admission),
            loads: Rate::new(LOADS_MAX, LOADS_EVERY),
            backups: Arc::new(Semaphore::new(1)),
            draining: AtomicBool::new(false),
            started: Instant::now(),
            remembered: Mutex::new(remembered),
            config,
            clock,
            secrets,
            store,
        });
        operations::restore(&host);
        operations::lost::take_over(&host)?;
        deploy::restore(&host)?;
        confirm_agreements(&host);
        keep_key_uses(&host);
        Ok(host)
    }

    /// Bytes of bodies that are held now, in the names of accounts.
    pub fn bodies_held(&self) -> u64 {
        self.bodies.used().0
    }

    /// Bytes that strangers make the host hold now, beside their connections.
    pub fn strangers_hold(&self) -> u64 {
        self.bodies.used().1
    }

    /// The settings that the host runs with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Native inference.
    pub fn inference(&self) -> &Inference {
        &self.inference
    }

    /// The host's clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Whose signatures are on this host's checkpoints.
    pub fn party(&self) -> Party {
        self.secrets.key().party()
    }

    /// What the host signs with.
    pub(crate) fn key(&self) -> &PartyKey {
        self.secrets.key()
    }

    /// Whether `token` is the operator's.
    pub fn is_operator(&self, token: &str) -> bool {
        self.secrets.operator_token().as_bytes().ct_eq(token.as_bytes()).into()
    }

    /// The operator's token.
    pub(crate) fn operator_token(&self) -> Arc<String> {
        self.secrets.operator_token()
    }

    /// Puts a new token in the place of the operator's.
    ///
    /// # Errors
    /// [`SecretsError`]; the old one is valid then.
    pub(crate) fn rotate_operator_token(&self) -> Result<(), SecretsError> {
        self.secrets.rotate_operator_token().map(drop)
    }

    /// What a publisher may write into the log: one allowance for all its plugins and workers.
    pub fn log_allowance(&self, publisher: &AccountName) -> Arc<Allowance> {
        self.log_allowances.of(publisher)
    }

    /// Limits of a bundle.
    pub fn bundle_limits(&self) -> BundleLimits {
        let bundle = &self.config.bundle;
        BundleLimits {
            bundle_bytes_max: bundle.bundle_bytes_max,
            code_bytes_max: bundle.code_bytes_max,
        }
    }

    /// Writes what is to be kept, when nothing is called any more.
    pub fn close(&self) {
        if let Err(error) = self.receipts.log().flush() {
            tracing::error!(%error, "the last receipts may not be on the disk");
        }
        self.remember_log();
        self.store.close();
    }

    /// Stops saying that the host takes calls.
    pub fn begin_drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.keep_time();
    }

    /// Keeps the present time for the next start.
    fn keep_time(&self) {
        time::keep(&self.config.data.dir, self.clock.now());
    }

    /// Whether the host is stopping.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// The function that a call is addressed to, if the caller may know of its version: versions that are not in the market
    /// exist only for their publisher and for those who have an agreement.
    ///
    /// # Errors
    /// [`ResolveError`]; of a hidden version, that there is none.
    pub fn resolve(&self, caller: &Caller, target: &Target) -> Result<Function, ResolveError> {
        let Target { model, reference, .. } = target;
        let known = |published: &Published| self.may_know(Some(caller), published.release());
        let found = self.deployments.resolve(target, known);
        found.map_err(|error| self.unless_withdrawn(Some(caller), (model, reference), error))
    }

    /// The version of a model that a reference means, among those that somebody may know of.
    ///
    /// # Errors
    /// As [`Host::resolve`].
    pub fn version(
        &self,
        caller: Option<&Caller>,
        model: &ModelName,
        reference: &Reference,
    ) -> Result<Arc<Deployment>, ResolveError> {
        let known = |published: &Published| self.may_know(caller, published.release());
        let found = self.deployments.version_among(model, reference, known);
        found.map_err(|error| self.unless_withdrawn(caller, (model, reference), error))
    }

    /// The same for a version that may not be loaded yet: it is loaded then.
    ///
    /// # Errors
    /// As [`Host::resolve`].
    pub async fn reach(&self, caller: &Caller, target: &Target) -> Result<Function, ResolveError> {
        match self.resolve(caller, target) {
            Err(ResolveError::Loading { .. }) => {
                self.awaken(caller, &target.model, &target.reference).await;
                self.resolve(caller, target)
            }
            resolved => resolved,
        }
    }

    /// Waits until a version is loaded, if the caller may know of it, and a bounded time at most.
    pub async fn awaken(&self, caller: &Caller, model: &ModelName, reference: &Reference) {
        let known = |published: &Published| self.may_know(Some(caller), published.release());
        if let Ok(wanted) = self.deployments.published_among(model, reference, known) {
            self.deployments.loading().wait_for(&wanted).await;
        }
    }

    /// The permission that a call would have now, without making it: what `invoke` begins with.
    ///
    /// # Errors
    /// [`InvokeError`], as of a call; nothing is written down.
    pub fn permit(&self, call: &Call) -> Result<Grant, InvokeError> {
        let caller = self.auth.recognise(&call.credential)?;
        let function = self.resolve(&caller, &call.target)?;
        self.agreements.permit(&caller, &function, call).map_err(InvokeError::Permit)
    }

    /// Whether somebody may know that a version of a model exists.
    pub fn may_know(&self, caller: Option<&Caller>, release: Release<'_>) -> bool {
        let is_party = |caller: &Caller| {
            caller.account().name == release.model.publisher
                || self.agreements.knows(caller, release)
        };
        caller.is_some_and(is_party) || self.market.lists(release, caller)
    }

    /// Says that what was not found has been withdrawn, to those who may know that it was there.
    fn unless_withdrawn(
        &self,
        caller: Option<&Caller>,
        (model, reference): (&ModelName, &Reference),
        error: ResolveError,
    ) -> ResolveError {
        let is_missing = matches!(error, ResolveError::NoModel(_) | ResolveError::NoVersion { .. });
        if !is_missing || self.operations.is_idle() {
            return error;
        }
        let gone = self.deployments.withdrawn_of(model);
        let withdrawal = gone.iter().rev().find_map(|(version, digest)| {
            let is_meant = match reference {
                Reference::Latest => true,
                Reference::Version(wanted) => wanted == version,
                Reference::Digest(wanted) => wanted == digest,
            };
            let withdrawal = is_meant.then(|| self.operations.why_out(model, version))?;
            let release = Release { model, version, digest: Some(digest) };
            withdrawal.filter(|_| self.may_know(caller, release))
        });
        withdrawal.map_or(error, ResolveError::from)
    }

    /// Makes the sandbox for a call that was admitted at `began`, with the limits of host, bundle and agreement.
    ///
    /// # Errors
    /// [`SandboxError`].
    pub async fn instantiate(
        &self,
        function: &Function,
        grant: &Grant,
        admission: &Admission,
        call: &Call,
        began: Instant,
    ) -> Result<Instance, SandboxError> {
        let limits = self.sandbox.call_limits(began, self.config.inference.tensor_bytes_max.get());
        let context = CallContext {
            call: call.id,
            agreement: grant.agreement().copied(),
            caller: grant.caller().number(),
            account: grant.account().clone(),
            input_bytes: call.payload.bytes().len(),
            purpose: call.purpose.clone(),
            output_bytes_max: grant.output_limit(admission).0,
            gate: grant.gate(admission),
            stop: grant.stops(function).or_left(call.left.clone()),
            log: Arc::clone(function.deployment().log()),
            sink: match &call.form {
                Form::Stream(streaming) => {
                    let limit = grant.output_limit(admission);
                    streaming.open(function, grant.controls(admission), limit)
                }
                Form::Json | Form::Octets | Form::Protocol(_) | Form::Response(_) => None,
            },
            responder: match &call.form {
                Form::Response(exchange) => Some(exchange.open(Bounds {
                    input: grant.input_limit(admission),
                    output: grant.output_limit(admission),
                    controlled: !grant.controls(admission).is_open(),
                })),
                Form::Json | Form::Octets | Form::Protocol(_) | Form::Stream(_) => None,
            },
        };
        let mut limits = grant.narrow_limits(function.narrow(limits), admission);
        let patience = call.patience.and_then(|patience| limits.began.checked_add(patience));
        limits.deadline = patience.map_or(limits.deadline, |until| until.min(limits.deadline));
        self.sandbox.instantiate(function.guest(), function.graphs(), limits, context).await
    }

    /// Most bytes of the document that describes a version.
    pub fn openapi_bytes_max(&self) -> usize {
        self.config.bundle.openapi_bytes_max.get()
    }

    /// Writes the receipt of a refused call and gives back the error for the caller.
    pub fn deny(&self, denied: Denied<'_>) -> InvokeError {
        match self.receipts.deny(&denied, self.agreements.refusals()) {
            Ok(()) => denied.into_error(),
            Err(error) => InvokeError::Receipt(error),
        }
    }

    /// Instantiates a new version once, within the limits of a call and with what a call sees: a bundle that cannot start does not
    /// go live.
    ///
    /// # Errors
    /// [`SandboxError`].
    pub async fn warm(&self, deployment: &Deployment) -> Result<(), SandboxError> {
        let tensor_bytes_max = self.config.inference.tensor_bytes_max.get();
        let limits = self.sandbox.call_limits(Instant::now(), tensor_bytes_max);
        let limits = deployment.narrow(limits);
        let context = CallContext {
            call: CallId::new(self.clock.now()),
            agreement: None,
            caller: 0,
            account: deployment.model().publisher.clone(),
            input_bytes: 0,
            purpose: None,
            output_bytes_max: self.config.api.response_bytes_max,
            gate: None,
            stop: Stops::default(),
            log: Arc::clone(deployment.log()),
            sink: None,
            responder: None,
        };
        let (guest, graphs) = (deployment.guest(), deployment.graphs());
        let instance = self.sandbox.instantiate(guest, graphs, limits, context).await?;
        match instance.start_failure() {
            None => Ok(()),
            // The host has none left; the guest cannot help it.
            Some(GuestFailure::HostMemory { .. }) => Err(SandboxError::PoolExhausted),
            Some(failure) => Err(SandboxError::Start { failure }),
        }
    }
}

/// How often it is written down when keys were last used: what a crash can forget of it.
const KEEP_USES_INTERVAL: Duration = Duration::from_secs(60);

/// Keeps when keys were last used, for as long as the host lives. Calls note it in memory only.
fn keep_key_uses(host: &Arc<Host>) {
    let host = Arc::downgrade(host);
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(KEEP_USES_INTERVAL);
        loop {
            ticks.tick().await;
            let Some(host) = host.upgrade() else { return };
            let kept = tokio::task::spawn_blocking(move || host.auth.keep_uses()).await;
            if let Ok(Err(error)) = kept {
                tracing::warn!(%error, "when keys were last used could not be written down");
            }
        }
    });
}

/// How often the host asks its store whether it still holds what is in memory.
const CONFIRM_INTERVAL: Duration = Duration::from_secs(1);

/// After how many of these intervals the state of the log is remembered apart from the log.
const REMEMBER_TICKS: u64 = 60;

/// How many of these intervals pass between two times that are kept.
const KEEP_TIME_TICKS: u64 = 60;

/// Keeps the age of what the host knows of its agreements, for as long as the host lives.
fn confirm_agreements(host: &Arc<Host>) {
    let host = Arc::downgrade(host);
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(CONFIRM_INTERVAL);
        for tick in 0_u64.. {
            ticks.tick().await;
            let Some(host) = host.upgrade() else { return };
            host.auth.tick();
            let confirmed = tokio::task::spawn_blocking(move || {
                if tick.is_multiple_of(REMEMBER_TICKS) {
                    host.remember_log();
                }
                if tick.is_multiple_of(KEEP_TIME_TICKS) {
                    host.keep_time();
                }
                host.negotiations.drop_expired()?;
                host.agreements.confirm()
            });
            let confirmed = confirmed.await;
            if let Ok(Err(error)) = confirmed {
                tracing::error!(%error, "the store does not answer: agreements that want a fresh state permit nothing");
            }
        }
    });
}
