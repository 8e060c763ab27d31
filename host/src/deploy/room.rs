//! How much one publisher may leave on this host: models, versions, and bytes of bundles on its disk.
//!
//! Versions out of service count as well: their bundles are kept. Weights that several versions share are counted for each.

use super::{DeployError, Publication};
use crate::bundle::Registry;
use crate::config;
use crate::config::show_bytes;
use crate::id::{AccountName, ModelName};
use crate::store::{Store, Table};

/// Which limit a publisher has come to.
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
        "`{publisher}` has bundles of {} here, and {} more would be over the {} that one publisher may have (`bundle.bytes_per_publisher_max`)",
        show_bytes(*has),
        show_bytes(*adds),
        show_bytes(*max)
    )]
    Bytes { publisher: AccountName, has: u64, adds: u64, max: u64 },
}

/// Refuses a publication that its publisher has no room for. One that is kept already needs none.
pub(super) fn check(
    store: &Store,
    registry: &Registry,
    limits: &config::Bundle,
    wanted: &Publication,
) -> Result<(), DeployError> {
    let publisher = &wanted.model.publisher;
    let (mut versions, mut models, mut has) = (0_usize, Vec::<ModelName>::new(), 0_u64);
    for (_, record) in store.below(Table::Publications, &format!("{publisher}/"))? {
        let kept = Publication::read(&record)?;
        if kept.model == wanted.model && kept.version == wanted.version {
            return Ok(());
        }
        versions += 1;
        has = has.saturating_add(match kept.bytes {
            Some(bytes) => bytes,
            // Kept before there was such a limit.
            None => registry.length(&kept.bundle)?,
        });
        // Versions of a model lie beside each other.
        if models.last() != Some(&kept.model) {
            models.push(kept.model);
        }
    }
    let publisher = || publisher.clone();
    if versions >= limits.versions_per_publisher_max {
        let max = limits.versions_per_publisher_max;
        return Err(RoomError::Versions { publisher: publisher(), max }.into());
    }
    if !models.contains(&wanted.model) && models.len() >= limits.models_per_publisher_max {
        let max = limits.models_per_publisher_max;
        return Err(RoomError::Models { publisher: publisher(), max }.into());
    }
    let (adds, max) = (wanted.bytes.unwrap_or(0), limits.bytes_per_publisher_max);
    if has.saturating_add(adds) > max {
        return Err(RoomError::Bytes { publisher: publisher(), has, adds, max }.into());
    }
    Ok(())
}
