//! The parts of a host, built in the order of their dependencies and lent to `invoke` and `deploy`.
//!
//! It holds no rules and does not depend on its users. `start` opens it and starts it.

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
use std::time::Duration;

use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;

use crate::admission::{Bodies, PerAccount, Rate, Room, Slots, Spools};
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
use crate::state::deployments::{Deployments, Descriptions};
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
use settings::{body_limits, hosts_inference, line, room, sandbox, uploads};
pub use time::{FILE as TIME_FILE, read as time_known};

/// How often an account may load and unload its models: a burst, then one per interval. Each adds a leaf to the log, which is kept in
/// memory.
const LOADS_MAX: u32 = 20;
const LOADS_EVERY: Duration = Duration::from_secs(30);

/// The file of accounts, offers, agreements and other small records, in the data directory.
pub const RECORDS: &str = "state.redb";

/// The host's key file, and the folders of receipts, bundles, compiled code and optimised models.
pub const KEY_FILE: &str = "host.pem";
pub const RECEIPTS: &str = "receipts";
pub const BUNDLES: &str = "bundles";
pub const COMPILED: &str = "compiled";
pub const ARTEFACTS: &str = "artefacts";

/// Why a host failed to start.
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
    /// Room for loaded models and code.
    pub(crate) room: Room,
    log_allowances: Arc<Allowances>,
    pub(crate) bodies: Bodies,
    /// Uploads of bundles by accounts.
    pub(crate) uploads: PerAccount,
    /// Disk space that running uploads take.
    pub(crate) spools: Spools,
    /// Limits on concurrent disk use, publishing and document parsing.
    pub(crate) lines: Lines,
    /// Rate of loading and unloading models.
    pub(crate) loads: Rate,
    /// Held during an operator action: one at a time.
    pub(crate) operating: Mutex<()>,
    /// Held during a backup: one at a time, since each needs as much disk as the records.
    pub(crate) backups: Arc<Semaphore>,
    draining: AtomicBool,
    /// The checkpoint that is stored apart from the log.
    remembered: Mutex<String>,
}

impl Host {
    /// Opens the parts on a data directory. Nothing is in service until `start` has run.
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
        let inference = hosts_inference(&config, &data, &secrets);
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
            room: room(&config.inference),
            log_allowances,
            bodies: Bodies::new(body_limits(&config.api)),
            uploads,
            spools,
            lines: Lines::new(&config.admission),
            loads: Rate::new(LOADS_MAX, LOADS_EVERY),
            operating: Mutex::new(()),
            backups: Arc::new(Semaphore::new(1)),
            draining: AtomicBool::new(false),
            remembered: Mutex::new(remembered),
            config,
            clock,
            secrets,
            store,
        })
    }

    /// Body bytes that are currently held, per account.
    pub fn bodies_held(&self) -> u64 {
        self.bodies.used().0
    }

    /// Bytes that unauthenticated clients make the host hold now, beside their connections.
    pub fn strangers_hold(&self) -> u64 {
        self.bodies.used().1
    }

    /// The settings of this host.
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

    /// The party whose signatures are on this host's checkpoints.
    pub fn party(&self) -> Party {
        self.secrets.key().party()
    }

    /// The host's signing key.
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

    /// Replaces the operator's token.
    ///
    /// # Errors
    /// [`SecretsError`]; the old token stays valid.
    pub(crate) fn rotate_operator_token(&self) -> Result<(), SecretsError> {
        self.secrets.rotate_operator_token().map(drop)
    }

    /// How much a publisher may log: one allowance for all its plugins and workers.
    pub fn log_allowance(&self, publisher: &AccountName) -> Arc<Allowance> {
        self.log_allowances.of(publisher)
    }

    /// Where the descriptions of published versions are.
    pub(crate) fn descriptions(&self) -> Descriptions {
        Descriptions {
            store: Arc::clone(&self.store),
            allowances: Arc::clone(&self.log_allowances),
        }
    }

    /// Size limits of a bundle.
    pub fn bundle_limits(&self) -> BundleLimits {
        let bundle = &self.config.bundle;
        BundleLimits {
            bundle_bytes_max: bundle.bundle_bytes_max,
            code_bytes_max: bundle.code_bytes_max,
        }
    }

    /// Flushes what must be kept, after the last call has ended.
    pub fn close(&self) {
        if let Err(error) = self.receipts.log().flush() {
            tracing::error!(%error, "the last receipts may not be on the disk");
        }
        self.remember_log();
        self.store.close();
    }

    /// Stops reporting ready.
    pub fn begin_drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.keep_time();
    }

    /// Stores the present time for the next start.
    pub(crate) fn keep_time(&self) {
        time::keep(&self.config.data.dir, self.clock.now());
    }

    /// Whether the host is stopping.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Maximum size in bytes of a version's description.
    pub fn openapi_bytes_max(&self) -> usize {
        self.config.bundle.openapi_bytes_max.get()
    }
}
