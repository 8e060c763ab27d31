//! How much a publisher may store on this host: models, versions, and bytes of bundles.
//!
//! Out-of-service versions count as well, because their bundles are kept. Shared weights count for each version.

use super::{DeployError, Publication};
use crate::bundle::Registry;
use crate::config;
use crate::config::show_bytes;
use crate::host::Host;
use crate::id::{AccountName, ModelName};
use crate::store::{Store, Table};

/// The limit that a publisher has reached.
#[derive(Debug, thiserror::Error)]
pub enum RoomError {
    #[error(
        "`{publisher}` has {max} models here, the most that one publisher may have (`bundle.models_per_publisher_max`)"
    )]
    Models { publisher: AccountName, max: usize },
    #[error(
        "`{publisher}` has {max} versions here, the most that one publisher may have (`bundle.versions_per_publisher_max`)"
    )]
    Versions { publisher: AccountName, max: usize },
    #[error(
        "`{publisher}` has bundles of {} here, and {} more would exceed the {} that one publisher may have (`bundle.bytes_per_publisher_max`)",
        show_bytes(*has),
        show_bytes(*adds),
        show_bytes(*max)
    )]
    Bytes { publisher: AccountName, has: u64, adds: u64, max: u64 },
}

/// A publisher's usage.
#[derive(Debug, Default)]
struct Kept {
    models: Vec<ModelName>,
    versions: usize,
    bytes: u64,
    /// Size of its largest bundle.
    largest: u64,
}

impl Kept {
    /// Computes it from the records, and shows each record to `visit`.
    fn read(
        store: &Store,
        registry: &Registry,
        publisher: &AccountName,
        mut visit: impl FnMut(&Publication, u64),
    ) -> Result<Self, DeployError> {
        let mut all = Self::default();
        for (_, record) in store.below(Table::Publications, &format!("{publisher}/"))? {
            let kept = Publication::read(&record)?;
            let bytes = match kept.bytes {
                Some(bytes) => bytes,
                // Stored before there was such a limit.
                None => registry.length(&kept.bundle)?,
            };
            visit(&kept, bytes);
            all.versions += 1;
            all.bytes = all.bytes.saturating_add(bytes);
            all.largest = all.largest.max(bytes);
            // Versions of a model are adjacent.
            if all.models.last() != Some(&kept.model) {
                all.models.push(kept.model);
            }
        }
        Ok(all)
    }

    fn check_versions(
        &self,
        publisher: &AccountName,
        limits: &config::Bundle,
    ) -> Result<(), RoomError> {
        let max = limits.versions_per_publisher_max;
        if self.versions < max {
            return Ok(());
        }
        Err(RoomError::Versions { publisher: publisher.clone(), max })
    }

    fn check_bytes(
        &self,
        publisher: &AccountName,
        limits: &config::Bundle,
        adds: u64,
    ) -> Result<(), RoomError> {
        let (has, max) = (self.bytes, limits.bytes_per_publisher_max);
        if has.saturating_add(adds) <= max {
            return Ok(());
        }
        Err(RoomError::Bytes { publisher: publisher.clone(), has, adds, max })
    }
}

/// A bundle about to be uploaded.
pub struct Announced<'a> {
    pub publisher: &'a AccountName,
    /// Its size, if known; a minimum if it is compressed.
    pub bytes: Option<u64>,
    pub is_compressed: bool,
}

/// The maximum size of a bundle about to be uploaded. A bundle that may be stored already needs no room.
///
/// # Errors
/// [`DeployError::Room`] if it cannot be published, whatever its content; [`DeployError`] if the records cannot be read.
pub fn check_announced(host: &Host, announced: &Announced<'_>) -> Result<u64, DeployError> {
    let Announced { publisher, bytes, is_compressed } = announced;
    let limits = &host.config().bundle;
    let mut may_be_kept = false;
    let kept = Kept::read(&host.store, &host.registry, publisher, |_, length| {
        may_be_kept |= match bytes {
            Some(bytes) if *is_compressed => *bytes <= compressed_max(length),
            Some(bytes) => *bytes == length,
            None => true,
        };
    })?;
    if !may_be_kept {
        kept.check_versions(publisher, limits)?;
        kept.check_bytes(publisher, limits, bytes.unwrap_or(0))?;
    }
    let left = limits.bytes_per_publisher_max.saturating_sub(kept.bytes);
    let most = left.max(kept.largest);
    Ok(if *is_compressed { compressed_max(most) } else { most }.min(limits.bundle_bytes_max))
}

/// More than compressing makes of so many bytes, also of those that it makes nothing shorter of.
fn compressed_max(bytes: u64) -> u64 {
    bytes.saturating_add(bytes / 64).saturating_add(1024)
}

/// Refuses a publication that its publisher has no room for. One that is kept already needs none.
pub(super) fn check(host: &Host, wanted: &Publication) -> Result<(), DeployError> {
    let limits = &host.config().bundle;
    let publisher = &wanted.model.publisher;
    let mut is_kept = false;
    let kept = Kept::read(&host.store, &host.registry, publisher, |kept, _| {
        is_kept |= kept.model == wanted.model && kept.version == wanted.version;
    })?;
    if is_kept {
        return Ok(());
    }
    kept.check_versions(publisher, limits)?;
    let max = limits.models_per_publisher_max;
    if !kept.models.contains(&wanted.model) && kept.models.len() >= max {
        return Err(RoomError::Models { publisher: publisher.clone(), max }.into());
    }
    Ok(kept.check_bytes(publisher, limits, wanted.bytes.unwrap_or(0))?)
}
