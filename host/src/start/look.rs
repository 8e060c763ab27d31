//! What a host would find in a data directory at start. Changes and creates nothing.

use std::path::Path;
use std::sync::Arc;

use crate::clock::Clock;
use crate::config::Config;
use crate::deploy;
use crate::host::{HostError, RECORDS, SecretsError, known, secrets};
use crate::id::Party;
use crate::key::PartyKey;
use crate::state::accounts::Auth;
use crate::state::agreements::Agreements;
use crate::state::market::Market;
use crate::state::negotiations::Negotiations;
use crate::store::{Aside, Store};

pub use crate::host::private::{each as each_file, lets_others_in};
pub use crate::host::secrets::FILES as SECRETS;
pub use crate::host::time::{is_behind, kept as time_kept};

/// The directory's host key, if a host has started there. Checks that the secrets are usable.
///
/// # Errors
/// [`SecretsError`] of the first unusable one.
pub fn secrets(data: &Path) -> Result<Option<Party>, SecretsError> {
    Ok(secrets::look(data)?.map(|key| key.party()))
}

/// The records that a host would set aside; `None` if there are no records yet.
///
/// # Errors
/// [`HostError`] if a host would not start on them, or one has them open.
pub fn records(config: &Config, clock: &Clock) -> Result<Option<Vec<Aside>>, HostError> {
    let data = &config.data.dir;
    known::check_records(data)?;
    let Some(store) = Store::look_at(&data.join(RECORDS))? else { return Ok(None) };
    let store = Arc::new(store);
    // The host's signature is not needed here, so a temporary key will do.
    let key = match secrets::look(data)? {
        Some(key) => key,
        None => PartyKey::generate().map_err(SecretsError::from)?,
    };
    let auth = Arc::new(Auth::open(Arc::clone(&store), clock.clone())?);
    let agreements = Agreements::open(Arc::clone(&store), clock.clone(), config, &key, &auth)?;
    let market = || config.market.clone();
    Negotiations::open(Arc::clone(&store), clock.clone(), market(), &agreements)?;
    Market::open(Arc::clone(&store), market())?;
    deploy::look(&store)?;
    Ok(Some(store.all_aside()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{StoreError, Table};

    #[test]
    fn what_a_host_would_set_aside_is_named_and_a_newer_store_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = Config::default();
        config.data.dir = folder.path().to_owned();
        let look = || records(&config, &Clock::System);
        assert_eq!(look().expect("nothing is there"), None);
        let path = folder.path().join(RECORDS);
        let write = |table, key, record: &[u8]| {
            Store::open(&path).expect("opens").put(table, key, record).expect("writes");
        };
        write(Table::Offers, "torn", b"{}");
        write(Table::Publications, "acme/iris@1.0.0", b"{}");
        let before = std::fs::read(&path).expect("reads");
        let mut aside = look().expect("opens").expect("there").into_iter();
        let next = aside.next().map(|aside| (aside.table, aside.key));
        assert_eq!(next, Some((Table::Publications, "acme/iris@1.0.0".into())));
        let next = aside.next().map(|aside| (aside.table, aside.key));
        assert_eq!((next, aside.next()), (Some((Table::Offers, "torn".into())), None));
        assert!(std::fs::read(&path).expect("reads") == before, "nothing was changed");
        write(Table::Host, "format", b"2");
        assert!(matches!(look(), Err(HostError::Store(StoreError::Newer { seen: Some(2), .. }))));
        assert!(
            std::fs::read_dir(folder.path()).expect("readable").count() == 1,
            "nothing was made"
        );
    }
}
