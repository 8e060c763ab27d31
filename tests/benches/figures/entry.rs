//! A new agreement on a host that already has 100,000: how long it takes compared with the store's
//! commit alone, and how much memory each agreement takes.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use hospes::agreement::{Proposal, SignedOffer};
use hospes::clock::Clock;
use hospes::config::Config;
use hospes::id::Digest;
use hospes::key::PartyKey;
use hospes::state::accounts::Auth;
use hospes::state::agreements::Agreements;
use hospes::store::{Store, Table};
use system_tests::{Limited as _, Party, terms};
use tempfile::TempDir;

use crate::ROUNDS;
use crate::report::{Figure, median};

const AGREEMENTS: usize = 100_000;

/// The store's file.
const STORE: &str = "state.redb";

/// New agreements in each round.
const ENTERED: usize = 20;

/// From a parsed proposal that both have signed to a durable agreement in force. The baseline only
/// commits the same record, so the difference is the host's work in memory.
pub fn among_100_000() -> Figure {
    let scene = Scene::new();
    let agreements = open(&scene.store);
    let (mut ours, mut baseline) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let first = AGREEMENTS + round * ENTERED;
        let proposals: Vec<_> = (first..first + ENTERED).map(|n| scene.proposal(n)).collect();
        let records: Vec<_> =
            proposals.iter().map(|one| (one.id().to_string(), one.to_bytes())).collect();
        ours.push(median(proposals.into_iter().map(|one| entered(&agreements, one)).collect()));
        let alone = records.iter().map(|(key, bytes)| {
            let began = Instant::now();
            scene.store.put(Table::Mandates, key, bytes).expect("written");
            began.elapsed().as_secs_f64() * 1e6
        });
        baseline.push(median(alone.collect()));
    }
    Figure::time("µs", ours, baseline)
}

fn entered(agreements: &Agreements, proposal: Proposal) -> f64 {
    let began = Instant::now();
    drop(black_box(agreements.take(proposal)).expect("in force"));
    began.elapsed().as_secs_f64() * 1e6
}

/// The argument with which this program only opens the agreements of a folder, see [`open_only`].
pub const OPEN_ONLY: &str = "--open-agreements";

/// Resident memory per agreement, in bytes. Another process measures it, because this one still holds
/// the memory that making them took.
pub fn memory_of_100_000() -> Figure {
    let Scene { store, _folder: folder, .. } = Scene::new();
    drop(store);
    let program = std::env::current_exe().expect("a path");
    let mut command = std::process::Command::new(program);
    let output = command.arg(OPEN_ONLY).arg(folder.path()).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let bytes: f64 = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number");
    Figure::time_alone("bytes", vec![bytes / AGREEMENTS as f64])
}

/// Opens the agreements of a folder as a host does. Returns by how many bytes this process grew.
pub fn open_only(folder: &Path) -> u64 {
    let store = Arc::new(Store::open(&folder.join(STORE)).expect("opens"));
    let before = resident();
    let agreements = open(&store);
    let grown = resident().saturating_sub(before);
    drop(agreements);
    grown
}

/// The resident memory of this process, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("readable");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it is there");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024
}

/// The records of a host with all these agreements, each with a different consumer.
struct Scene {
    store: Arc<Store>,
    acme: Party,
    offer: SignedOffer,
    _folder: TempDir,
}

impl Scene {
    fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let store = Store::open(&folder.path().join(STORE)).expect("opens");
        let key = Party::key_of("acme");
        let acme = Party { name: "acme".into(), key, api_key: String::new() };
        let limited =
            terms("nothing").limit("count lteq 1000000000 call").limit("inputBytes lteq 65536");
        let model = "acme/noop".parse().expect("a model");
        let offer = acme.offer(&model, Digest::of(b"a bundle"), vec![limited]);
        let scene = Self { store: Arc::new(store), acme, offer, _folder: folder };
        let proposals = (0..AGREEMENTS).map(|number| scene.proposal(number));
        let records: Vec<_> = proposals.map(|one| (one.id().to_string(), one.to_bytes())).collect();
        let records: Vec<_> = records
            .iter()
            .map(|(id, bytes)| (Table::Agreements, id.as_str(), bytes.as_slice()))
            .collect();
        scene.store.put_all(&records).expect("written");
        scene
    }

    /// One more agreement, signed by both.
    fn proposal(&self, number: usize) -> Proposal {
        let key = PartyKey::from_secret(Digest::of(&number.to_le_bytes()).as_bytes());
        let consumer = Party { name: String::new(), key, api_key: String::new() };
        let mut proposal = consumer.accept(&self.offer);
        proposal.add_signature(&self.acme.key).expect("signed");
        proposal
    }
}

fn open(store: &Arc<Store>) -> Agreements {
    let mut config = Config::default();
    config.market.agreements_per_party_max = 2 * AGREEMENTS;
    let auth = Arc::new(Auth::open(Arc::clone(store), Clock::System).expect("opens"));
    let key = Party::key_of("a host");
    Agreements::open(Arc::clone(store), Clock::System, &config, &key, &auth).expect("opens")
}
