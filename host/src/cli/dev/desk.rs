//! Acts as both parties: publishes, offers and agrees, until the consumer can call the publisher's model.

use std::io;
use std::path::{Path, PathBuf};

use semver::Version;

use super::Ready;
use super::example::{Caller, Live};
use super::source::Source;
use crate::agreement::{
    Agreement, Clauses, Offer, Permission, Proposal, SignedOffer, Target, Versions,
};
use crate::bundle::{self, Registry};
use crate::clock::Clock;
use crate::config::OPERATOR_TOKEN_FILE;
use crate::host::COMPILED;
use crate::id::{AccountName, Digest, FunctionName, ModelName};
use crate::key::PartyKey;
use crate::receipt::Deed;
use hospes_cli::account::{self, Wanted};
use hospes_cli::admin;
use hospes_cli::agreement;
use hospes_cli::client::{Client, HostUrl};
use hospes_cli::failure::{During as _, Failure};
use hospes_cli::home::Home;
use hospes_cli::offer;
use hospes_cli::operator;
use hospes_cli::publish;

/// The accounts. A party cannot agree with itself, so there are two.
const PUBLISHER: &str = "dev";
const CONSUMER: &str = "you";

/// Two parties on a temporary host, and their state.
pub struct Desk {
    folder: PathBuf,
    clock: Clock,
    host: HostUrl,
    operator: Client,
    registry: Registry,
    publisher: Side,
    consumer: Side,
    /// The last version published, and the live one.
    last: Option<Version>,
    live: Option<(ModelName, Version)>,
    /// The subject of the agreement in force.
    agreed: Option<(ModelName, Vec<FunctionName>)>,
}

/// One party.
struct Side {
    key: PartyKey,
    client: Client,
    api_key: String,
}

impl Desk {
    /// Makes keys in `home`, and opens the accounts.
    ///
    /// # Errors
    /// If the host refuses an account.
    pub fn open(ready: &Ready, home: &Home, folder: &Path, clock: &Clock) -> Result<Self, Failure> {
        let host: HostUrl = ready.public.parse()?;
        let token = operator::read_token(&folder.join("data").join(OPERATOR_TOKEN_FILE))?;
        let operator = Client::operator(ready.operator.parse()?, token);
        let side = |name: &str| -> Result<Side, Failure> {
            let name: AccountName = name.parse()?;
            let key = home.new_key(&name)?;
            let wanted = Wanted { name: &name, key: &name, party: key.party(), key_name: None };
            let account = account::open(&operator, wanted)?;
            home.keep_account(&account)?;
            let client = Client::new(host.clone(), Some(account.api_key.clone()));
            Ok(Side { key, client, api_key: account.api_key })
        };
        let (publisher, consumer) = (side(PUBLISHER)?, side(CONSUMER)?);
        Ok(Self {
            folder: folder.to_owned(),
            clock: clock.clone(),
            host,
            operator,
            registry: ready.registry.clone(),
            publisher,
            consumer,
            last: None,
            live: None,
            agreed: None,
        })
    }

    /// Packs, signs and publishes the source, and makes the agreement. Returns how to call it.
    ///
    /// # Errors
    /// If any of that fails; the earlier version stays live.
    pub fn publish(&mut self, source: &Source) -> Result<Live, Failure> {
        let path = self.folder.join("bundle.wasm");
        let packed = source.pack(self.last.as_ref(), &path)?;
        bundle::sign_to_file(&path, &self.publisher.key, &path)
            .during(|| "cannot sign the bundle".into())?;
        // Even if this fails: a version can be published only once.
        let version = packed.manifest.version;
        self.last = Some(version.clone());
        let (_, published) = publish::send(&self.publisher.client, &path, None)?;
        let model = published.model.clone();
        self.agree(&model, published.functions.clone())?;
        if let Some((model, version)) = self.live.replace((model, version)) {
            // Frees its memory and disk; a failure does not harm the live version.
            let target = format!("{model}@{version}");
            let gone = admin::act(&self.operator, Deed::WithdrawVersion, &target, "replaced")
                .and_then(|_| self.forget_others(&published.digest));
            if let Err(failure) = gone {
                tracing::warn!(target, %failure, "cannot remove an older version");
            }
        }
        let caller = Caller {
            client: &self.consumer.client,
            host: &self.host,
            api_key: &self.consumer.api_key,
            folder: &self.folder,
        };
        caller.calls(published)
    }

    /// Removes the files of all versions but the live one. A host keeps them, because a version can be reinstated.
    fn forget_others(&self, live: &Digest) -> Result<(), Failure> {
        self.registry.keep_only(live)?;
        let compiled = self.folder.join("data").join(COMPILED);
        keep_newest(&compiled).map_err(|error| Failure::file("tidy", &compiled, &error))
    }

    /// Makes an agreement on all functions of all versions, without limits, if needed.
    fn agree(&mut self, model: &ModelName, functions: Vec<FunctionName>) -> Result<(), Failure> {
        let wanted = Some((model.clone(), functions));
        if self.agreed == wanted {
            return Ok(());
        }
        let functions = wanted.iter().flat_map(|(_, functions)| functions.iter().cloned());
        let versions = Versions::Range { from: Some(Version::new(0, 0, 0)), before: None };
        let target = Target { model: model.clone(), versions };
        let clauses = Clauses::new(target, functions.map(Permission::new).collect());
        let Side { key, client, .. } = &self.publisher;
        let offer = SignedOffer::sign(Offer::new(key.party(), clauses, Vec::new())?, key)?;
        offer::list(client, &offer, offer.to_bytes())?;
        let document = Agreement::accept(&offer, self.consumer.key.party(), self.clock.now())?;
        let mut proposal = Proposal::sign(document, &self.consumer.key)?;
        proposal.add_signature(key)?;
        agreement::submit(&self.consumer.client, &proposal)?;
        self.agreed = wanted;
        Ok(())
    }
}

/// Removes all files of a folder but the latest: compiled code, which is compiled again if needed.
fn keep_newest(folder: &Path) -> io::Result<()> {
    let entries = std::fs::read_dir(folder)?;
    let mut files = entries
        .map(|entry| entry.and_then(|entry| Ok((entry.metadata()?.modified()?, entry.path()))))
        .collect::<io::Result<Vec<_>>>()?;
    files.sort();
    files.pop();
    files.iter().try_for_each(|(_, path)| std::fs::remove_file(path))
}
