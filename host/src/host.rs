//! The parts of a host, put together in the order in which they depend on each other, and lent to `invoke` and `deploy`.
//!
//! It holds no rules of its own, and knows nobody who uses the parts. `start` opens it and brings it to life.

pub(crate) mod known;
mod lines;
pub(crate) mod private;
mod readiness;
pub(crate) mod secrets;
mod settings;
pub(crate) mod time;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;

use crate::admission::{Bodies, PerAccount, Rate, Slots, Spools};
use crate::bundle::{BundleLimits, Registry, RegistryError};
use crate::clock::Clock;
use crate::config::Config;
use crate::id::{AccountName, Party};
use crate::inference::{Inference, InferenceError};
use crate::key::PartyKey;
use crate::receipt::ReceiptError;
use crate::sandbox::{Sandbox, SandboxError};
use crate::state::accounts::{Auth, AuthError};
use crate::state::agreements::{Agreements, AgreementsError};
use crate::state::deployments::Deployments;
use crate::state::market::{Market, MarketError};
use crate::state::negotiations::{Negotiations, NegotiationsError};
use crate::state::receipts::{self, Receipts};
use crate::state::withdrawals::Withdrawals;
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
        "`{}` has receipts, but `{}` with the accounts and agreements is missing or empty; restore it from a backup, or choose another `--data` directory",
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
    pub(crate) withdrawals: Withdrawals,
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
    /// Held while the operator acts: one action at a time.
    pub(crate) operating: Mutex<()>,
    /// Whoever makes a backup holds it: one at a time, for each takes as much disk as the records.
    pub(crate) backups: Arc<Semaphore>,
    draining: AtomicBool,
    started: Instant,
    /// The checkpoint that is remembered apart from the log.
    remembered: Mutex<String>,
}

impl Host {
    /// Opens the parts on a data directory. Nothing is in service yet: that is `start`'s.
    ///
    /// # Errors
    /// [`HostError`].
    pub(crate) async fn open(config: Config, clock: Clock) -> Result<Self, HostError> {
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
        Ok(Self {
            auth,
            registry: Registry::open(&data.join(BUNDLES))?,
            deployments: Deployments::default(),
            market: Market::open(Arc::clone(&store), config.market.clone())?,
            agreements,
            negotiations,
            withdrawals: Withdrawals::default(),
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
            operating: Mutex::new(()),
            backups: Arc::new(Semaphore::new(1)),
            draining: AtomicBool::new(false),
            started: Instant::now(),
            remembered: Mutex::new(remembered),
            config,
            clock,
            secrets,
            store,
        })
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
    pub(crate) fn keep_time(&self) {
        time::keep(&self.config.data.dir, self.clock.now());
    }

    /// Whether the host is stopping.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Most bytes of the document that describes a version.
    pub fn openapi_bytes_max(&self) -> usize {
        self.config.bundle.openapi_bytes_max.get()
    }
}
