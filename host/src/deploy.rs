//! THE DEPLOY PATH: the life of a bundle, from bytes to a live version.
//!
//! [`deploy`] tells it in order. The output of each line is the input of the next: only verified bundles are compiled, and only bundles
//! that have run once go live.

mod models;
mod restore;
mod room;
mod space;
mod warm;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use semver::Version;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;
use tokio::task::block_in_place;

use crate::admission::{NeverFits, Taken};
use crate::backend::BackendKind;
use crate::bundle::provenance::Provenance;
use crate::bundle::{self, BundleError, KeptError, RegistryError, VerifiedBundle};
use crate::config::show_bytes;
use crate::host::Host;
use crate::id::{AccountName, Digest, ModelName, Party};
use crate::inference::{LoadError, Trial, TrialError};
use crate::sandbox::{Declared, Guest, SandboxError};
use crate::state;
use crate::state::accounts::Caller;
use crate::state::deployments::{
    Deployment, Describe, DescribedDecoder, DescribedModel, Loaded, Natives, Reference,
    ResolveError, described, record,
};
use crate::store::{StoreError, Table};

use models::{Backends, Models, backends, joined};
pub use restore::{look, reinstate, restore, retry, take_out};
pub use room::{Announced, RoomError, check_announced};
use warm::warm;

/// Why a bundle did not go live. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(
        "the bundle is signed by `{signer}`, but account `{account}` belongs to `{owner}`: sign it with the account's key"
    )]
    NotYours { signer: Party, account: AccountName, owner: Party },
    #[error("model `{model}`: {source}")]
    Model {
        model: String,
        #[source]
        source: LoadError,
    },
    #[error("model `{model}`, computed by `{backend}`, is unusable: {source}")]
    Trial {
        model: String,
        backend: BackendKind,
        #[source]
        source: TrialError,
    },
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error(
        "the OpenAPI document of its functions would have more than {max} bytes (`bundle.openapi_bytes_max`): expose fewer functions or smaller types"
    )]
    Document { max: usize },
    #[error(transparent)]
    Version(#[from] ResolveError),
    #[error(transparent)]
    Room(#[from] RoomError),
    #[error(transparent)]
    NeverFits(#[from] NeverFits),
    #[error(
        "running calls use all models and plugins that are loaded, and these fill the {} that they may have (`inference.memory_bytes`)",
        show_bytes(*bytes)
    )]
    NoRoom { bytes: u64 },
    #[error("the bundle could not be stored")]
    Registry(#[from] RegistryError),
    #[error("the publication could not be stored")]
    Store(#[from] StoreError),
}

/// Takes a signed bundle from `publisher`'s bytes to a live model version.
///
/// Publishing the same bytes again succeeds and changes nothing. `describe` writes the version's machine-readable description.
///
/// # Errors
/// [`DeployError`] names the stage that refused; nothing was changed.
pub async fn deploy(
    host: &Host,
    publisher: &Caller,
    bytes: Bytes,
    describe: Describe,
) -> Result<Published, DeployError> {
    let bundle = verify(host, bytes)?;
    let publication = authorise(host, publisher, &bundle)?;
    let guest = compile(host, &publication, &bundle).await?;
    let models = Models::of(&publication, &bundle);
    models.prepare(host).await;
    let natives = models.load(host, None).await?;
    let trials = models.try_out(host, &natives, &Backends::new()).await?;
    let (backends, joined) = (backends(&trials), joined(&trials));
    models.join(&natives.graphs, &joined);
    let publication = Publication { backends, joined, ..publication };
    let deployment = Arc::new(stage(host, &publication, &bundle, &guest.0, &natives));
    let loaded = Arc::new(Loaded::new(Arc::clone(&deployment), guest, natives));
    document(host, &deployment, describe).await?;
    warm(host, &loaded).await?;
    block_in_place(|| host.registry.store(&bundle))?;
    let go_live = || {
        // Checked again: compiling takes a while.
        check_withdrawn(host, &publication, &bundle)?;
        check_room(host, &publication)?;
        keep(host, &[(&publication, Some(&*deployment))])
    };
    let live = [state::deployments::Published::live(loaded)];
    block_in_place(|| host.deployments.publish(&live, go_live))?;
    space::tidy(host);
    tracing::info!(model = %deployment.model, version = %deployment.version, "published");
    Ok(Published { deployment, trials })
}

/// A live version, and how each of its models did in the trial run.
pub struct Published {
    pub deployment: Arc<Deployment>,
    pub trials: Vec<Tried>,
}

/// A model's trial run.
pub struct Tried {
    pub model: String,
    pub backend: BackendKind,
    pub trial: Trial,
}

/// Loads a published version from its bundle on disk. The bundle is verified again, but it has run when it was published: its start and its
/// models are not tried out again, unless another backend computes them now. `known` is what callers know of it.
async fn load_kept(
    host: &Host,
    publication: &Publication,
    known: Option<Arc<Deployment>>,
) -> Result<Arc<Loaded>, DeployError> {
    let Publication { model, version, bundle, .. } = publication;
    host.withdrawals.check(model, version, [bundle])?;
    let length = match publication.bytes {
        Some(bytes) => bytes,
        None => block_in_place(|| host.registry.length(bundle))?,
    };
    let _place = host.deployments.loading().place(length).await;
    // Hashing a gigabyte takes a second, so other tasks leave this thread meanwhile.
    let bundle = block_in_place(|| host.registry.load(bundle, &host.bundle_limits()))?;
    check_withdrawn(host, publication, &bundle)?;
    let guest = compile(host, publication, &bundle).await?;
    let models = Models::of(publication, &bundle);
    let natives = models.load(host, known.as_deref()).await?;
    // Hosts before this one did not record the backends.
    if !publication.backends.is_empty() {
        models.try_out(host, &natives, &publication.backends).await?;
    }
    models.join(&natives.graphs, &publication.joined);
    let fresh = stage(host, publication, &bundle, &guest.0, &natives);
    let deployment = match known {
        Some(known) if known.looks_like(&fresh) => known,
        Some(known) => Arc::new(fresh.after(&known)),
        None => Arc::new(fresh),
    };
    Ok(Arc::new(Loaded::new(deployment, guest, natives)))
}

/// Every published version of a model, in service or not, in ascending order.
///
/// # Errors
/// [`DeployError`] if the records cannot be read.
pub fn published(host: &Host, model: &ModelName) -> Result<Vec<Version>, DeployError> {
    let records = host.store.below(Table::Publications, &keys_of(model))?;
    // An unreadable record is still known by its key.
    let versions = records.iter().filter_map(|(key, _)| key.rsplit_once('@')?.1.parse().ok());
    let mut versions: Vec<_> = versions.collect();
    versions.sort();
    Ok(versions)
}

/// Rejects what the operator has withdrawn: the version, its model, or a digest of the bundle or its parts.
fn check_withdrawn(
    host: &Host,
    publication: &Publication,
    bundle: &VerifiedBundle,
) -> Result<(), DeployError> {
    let models = bundle.manifest().models.iter().map(|model| &model.sha256);
    let digests = [bundle.digest(), bundle.component_digest()].into_iter().chain(models);
    Ok(host.withdrawals.check(&publication.model, &publication.version, digests)?)
}

/// Puts every published version of a model back into service, all at once, when all are loaded.
///
/// # Errors
/// The first [`DeployError`]. Versions loaded before it are in service, unless one was withdrawn meanwhile.
pub async fn load(host: &Host, model: &ModelName) -> Result<(), DeployError> {
    let records = block_in_place(|| host.store.below(Table::Publications, &keys_of(model)))?;
    // A version whose record cannot be read stays out of service.
    let kept = records.iter().filter_map(|(_, record)| Publication::read(record).ok());
    let kept: Vec<_> = kept.collect();
    if kept.is_empty() {
        return Err(ResolveError::NoModel(model.clone()).into());
    }
    let mut back = Back::default();
    let mut all = Ok(());
    for publication in kept {
        match load_back(host, publication, &mut back).await {
            Ok(()) => {}
            Err(error) => {
                all = Err(error);
                break;
            }
        }
    }
    if !back.publications.is_empty() {
        let Back { publications, deployments, mut loaded } = back;
        let keep_all = || {
            for live in &deployments {
                // Checked again: loading takes a while.
                host.withdrawals.check(live.model(), live.version(), live.digests())?;
            }
            let kept = publications.iter().zip(&deployments);
            keep(host, &kept.map(|(kept, live)| (kept, Some(&**live))).collect::<Vec<_>>())
        };
        let live = deployments.iter().map(|deployment| match loaded.pop_front() {
            Some(loaded) => state::deployments::Published::live(loaded),
            None => state::deployments::Published::known(Arc::clone(deployment)),
        });
        let live: Vec<_> = live.collect();
        block_in_place(|| host.deployments.publish(&live, keep_all))?;
        drop(live);
        space::tidy(host);
    }
    all
}

/// Versions that come back into service.
#[derive(Default)]
struct Back {
    publications: Vec<Publication>,
    /// The same ones.
    deployments: Vec<Arc<Deployment>>,
    /// The same ones, or none if there is no room for all of them.
    loaded: VecDeque<Arc<Loaded>>,
}

/// Loads a version that its publisher took out of service, if it did.
async fn load_back(
    host: &Host,
    publication: Publication,
    back: &mut Back,
) -> Result<(), DeployError> {
    let out = host.withdrawals.why_out(&publication.model, &publication.version);
    if let Some(withdrawal) = out {
        return Err(ResolveError::from(withdrawal).into());
    }
    if !publication.withdrawn {
        return Ok(());
    }
    let publication = Publication { withdrawn: false, ..publication };
    let is_first = back.deployments.is_empty();
    let loaded = match load_kept(host, &publication, None).await {
        // They are too many to be loaded at once: each has been loaded once, and its next call loads it again.
        Err(DeployError::NoRoom { .. }) if !is_first => {
            back.loaded.clear();
            load_kept(host, &publication, None).await?
        }
        loaded => loaded?,
    };
    back.deployments.push(Arc::clone(loaded.deployment()));
    if is_first || !back.loaded.is_empty() {
        back.loaded.push_back(loaded);
    }
    back.publications.push(publication);
    Ok(())
}

/// Takes every version of a model out of service until [`load`] puts them back, also across restarts. Waits for the disk.
///
/// # Errors
/// [`DeployError`]; nothing was changed.
pub fn unload(host: &Host, model: &ModelName) -> Result<(), DeployError> {
    host.deployments.withdraw(model, |versions| {
        let records = host.store.below(Table::Publications, &keys_of(model))?;
        let kept = records.iter().filter_map(|(_, record)| Publication::read(record).ok());
        let mut kept: HashMap<Version, Publication> =
            kept.map(|publication| (publication.version.clone(), publication)).collect();
        let mut gone = Vec::new();
        for (version, bundle) in versions {
            let (model, bundle) = (model.clone(), *bundle);
            let kept = kept.remove(version).filter(|kept| kept.bundle == bundle);
            let bytes = match kept.as_ref().and_then(|kept| kept.bytes) {
                Some(bytes) => Some(bytes),
                None => Some(host.registry.length(&bundle)?),
            };
            let (version, backends, joined) = (version.clone(), Backends::new(), BTreeSet::new());
            gone.push(match kept {
                Some(kept) => Publication { bytes, withdrawn: true, ..kept },
                // Its record has become unreadable.
                None => {
                    let (at, withdrawn) = (None, true);
                    Publication { model, version, bundle, at, bytes, backends, joined, withdrawn }
                }
            });
        }
        keep(host, &gone.iter().map(|gone| (gone, None)).collect::<Vec<_>>())
    })
}

/// Hashing a gigabyte takes a second, so other tasks leave this thread meanwhile.
fn verify(host: &Host, bytes: Bytes) -> Result<VerifiedBundle, BundleError> {
    block_in_place(|| bundle::verify(bytes, &host.bundle_limits()))
}

/// A version that its publisher may publish here. Only [`authorise`] and the store make one.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Publication {
    model: ModelName,
    version: Version,
    bundle: Digest,
    /// When these bytes were first published. Absent from older records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
    /// Size of the bundle in bytes. Absent from older records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// The backends that computed its models in the trial run. Empty in older records.
    #[serde(default, skip_serializing_if = "Backends::is_empty")]
    backends: Backends,
    /// The models whose computations are joined. Absent from older records.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    joined: BTreeSet<String>,
    /// Whether it is out of service.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    withdrawn: bool,
}

impl From<KeptError> for DeployError {
    fn from(error: KeptError) -> Self {
        match error {
            KeptError::Registry(error) => error.into(),
            KeptError::Refused(error) => error.into(),
        }
    }
}

impl Publication {
    fn read(record: &[u8]) -> Result<Self, BundleError> {
        serde_json::from_slice(record)
            .map_err(|error| BundleError::damaged_record(error.to_string()))
    }
}

/// The signer must be the account's own party, and the version number must be free.
fn authorise(
    host: &Host,
    publisher: &Caller,
    bundle: &VerifiedBundle,
) -> Result<Publication, DeployError> {
    let account = publisher.account();
    if bundle.publisher() != &account.party {
        return Err(DeployError::NotYours {
            signer: *bundle.publisher(),
            account: account.name.clone(),
            owner: account.party,
        });
    }
    let manifest = bundle.manifest();
    let model = ModelName { publisher: account.name.clone(), label: manifest.name.clone() };
    let digest = bundle.digest();
    let before = host.deployments.version(&model, &Reference::Digest(*digest)).ok();
    let before = before.filter(|live| *live.version() == manifest.version);
    let publication = Publication {
        model,
        version: manifest.version.clone(),
        bundle: *digest,
        at: before.map_or_else(|| Some(host.clock().now()), |live| live.published_at()),
        bytes: Some(bundle.bytes().len() as u64),
        backends: Backends::new(),
        joined: BTreeSet::new(),
        withdrawn: false,
    };
    host.deployments.check_free(&publication.model, &publication.version, &publication.bundle)?;
    check_withdrawn(host, &publication, bundle)?;
    check_room(host, &publication)?;
    Ok(publication)
}

fn check_room(host: &Host, publication: &Publication) -> Result<(), DeployError> {
    block_in_place(|| room::check(host, publication))
}

/// The compiled code, with the room that it takes.
async fn compile(
    host: &Host,
    publication: &Publication,
    bundle: &VerifiedBundle,
) -> Result<(Guest, Taken), DeployError> {
    let functions = bundle.manifest().functions.iter();
    let declared = functions
        .map(|function| Declared {
            name: function.name.clone(),
            export: function.export.as_str().to_owned(),
        })
        .collect();
    let (account, digest) = (&publication.model.publisher, *bundle.component_digest());
    let guest = host.sandbox.compile(account, digest, bundle.component(), declared).await?;
    let room = space::take(host, guest.footprint()).await?;
    Ok((guest, room))
}

/// What is known of a version, from its code and its loaded models.
fn stage(
    host: &Host,
    publication: &Publication,
    bundle: &VerifiedBundle,
    guest: &Guest,
    Natives { graphs, speakers }: &Natives,
) -> Deployment {
    let names = || bundle.manifest().models.iter().map(|spec| spec.name.as_str());
    let models = names().filter_map(|name| {
        graphs.get(name).map(|graph| DescribedModel::of(name.to_owned(), graph))
    });
    let decoders = names().filter_map(|name| {
        speakers.get(name).map(|speaker| DescribedDecoder::of(name.to_owned(), speaker))
    });
    Deployment {
        model: publication.model.clone(),
        version: publication.version.clone(),
        digest: publication.bundle,
        published_at: publication.at,
        publisher: *bundle.publisher(),
        manifest: bundle.manifest().clone(),
        training: bundle.extras().provenance().map(Provenance::summary),
        functions: guest.prototypes().collect(),
        imports: guest.imports(),
        models: models.collect(),
        decoders: decoders.collect(),
        codeless: bundle::is_passthrough(bundle.component_digest()),
        statistics: Arc::default(),
        stop: Arc::default(),
        log: host.log_allowance(&publication.model.publisher),
        component: *bundle.component_digest(),
        document: OnceCell::new(),
    }
}

/// Builds the version's description once, so that unauthenticated requests for it cost nothing.
async fn document(
    host: &Host,
    deployment: &Arc<Deployment>,
    describe: Describe,
) -> Result<(), DeployError> {
    let max = host.openapi_bytes_max();
    match deployment.document(describe, max).await {
        Some(_) => Ok(()),
        None => Err(DeployError::Document { max }),
    }
}

/// Stores publications, all or none, and what is known of them if it is new. Waits for the disk once.
fn keep(host: &Host, kept: &[(&Publication, Option<&Deployment>)]) -> Result<(), DeployError> {
    let mut records = Vec::new();
    for (publication, deployment) in kept {
        let bytes = serde_json::to_vec(publication);
        let bytes = bytes.expect("invariant: a publication has string keys only");
        let Publication { model, version, .. } = publication;
        records.push((Table::Publications, key(model, version), bytes));
        if let Some(bytes) = deployment.and_then(record) {
            records.push((Table::Descriptions, described(model, version), bytes));
        }
    }
    let records = records.iter().map(|(table, key, record)| (*table, &**key, &**record));
    Ok(host.store.put_all(&records.collect::<Vec<_>>())?)
}

/// The key prefix of a model's publications.
fn keys_of(model: &ModelName) -> String {
    format!("{model}@")
}

/// The record of a published bundle, or what is known without it if it cannot be read.
fn kept(
    host: &Host,
    (model, version): (&ModelName, &Version),
    bundle: Digest,
) -> Result<Publication, StoreError> {
    let record = host.store.get(Table::Publications, &key(model, version))?;
    let kept = record.and_then(|record| Publication::read(&record).ok());
    Ok(kept.filter(|kept| kept.bundle == bundle).unwrap_or_else(|| Publication {
        model: model.clone(),
        version: version.clone(),
        bundle,
        at: None,
        bytes: None,
        backends: Backends::new(),
        joined: BTreeSet::new(),
        withdrawn: false,
    }))
}

/// The key of a publication's record.
fn key(model: &ModelName, version: &Version) -> String {
    format!("{model}@{version}")
}
