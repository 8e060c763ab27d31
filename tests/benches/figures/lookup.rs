//! Finding and checking the agreement of a call: among 100,000 agreements, compared with a host
//! that has one.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hospes::call::{AnswerForm, Call, Payload};
use hospes::id::{CallId, Digest};
use hospes::invoke::permit;
use hospes::key::PartyKey;
use hospes::state::accounts::Credential;
use hospes::state::deployments::{Reference, Target};
use hospes::store::{Store, Table};
use jiff::Timestamp;
use system_tests::{Limited as _, Party, TestHost, terms, wat_guest};

use crate::report::{Figure, median};
use crate::{ROUND, ROUNDS};

const AGREEMENTS: usize = 100_000;

/// The number of consumers that call in turn, each under its own agreement.
const CALLERS: usize = 64;

const BATCH: usize = 1000;

/// Authentication, the model, the agreement and its evaluation: everything that a call does before
/// it queues.
pub fn of_100_000() -> Figure {
    let (one, many) = (Scene::new(1), Scene::new(AGREEMENTS));
    let (ours, baseline) = (0..ROUNDS).map(|_| (many.time(), one.time())).unzip();
    Figure::time("ns", ours, baseline)
}

struct Scene {
    host: TestHost,
    calls: Vec<Call>,
}

impl Scene {
    fn new(agreements: usize) -> Self {
        let host = TestHost::start();
        let acme = host.party("acme");
        let published = host.publish(&acme, &wat_guest("noop", &[]));
        let limited =
            terms("nothing").limit("count lteq 1000000000 call").limit("inputBytes lteq 65536");
        let offer = acme.offer(&published.0, published.1, vec![limited]);
        host.post("/api/offers").bearer(&acme.api_key).body(offer.to_bytes()).send().ok();
        let callers: Vec<Party> =
            (0..CALLERS.min(agreements)).map(|number| host.party(&format!("c{number}"))).collect();
        let mut records = Vec::with_capacity(agreements);
        for number in 0..agreements {
            let key = match callers.get(number) {
                Some(party) => party.key.clone(),
                None => PartyKey::from_secret(Digest::of(&number.to_le_bytes()).as_bytes()),
            };
            let consumer = Party { name: String::new(), key, api_key: String::new() };
            let mut proposal = consumer.accept(&offer);
            proposal.add_signature(&acme.key).expect("signed");
            records.push((proposal.id().to_string(), proposal.to_bytes()));
        }
        // Written to the store in one commit: if they were submitted one by one, each would wait
        // for the disk.
        let data = host.stop();
        let store =
            Store::open(&data.path().join("data/state.redb")).expect("the host has stopped");
        let records: Vec<_> = records
            .iter()
            .map(|(id, bytes)| (Table::Agreements, id.as_str(), bytes.as_slice()))
            .collect();
        store.put_all(&records).expect("written");
        drop(store);
        let host = TestHost::builder().data(Arc::clone(&data)).start();
        let call = |party: &Party| Call {
            id: CallId::new(Timestamp::now()),
            credential: Credential::read(Some(&party.api_key)).expect("a key"),
            target: Target {
                model: published.0.clone(),
                reference: Reference::Latest,
                function: "nothing".parse().expect("a name"),
            },
            agreement: None,
            purpose: None,
            payload: Payload::Json(Bytes::from_static(b"{}")),
            form: AnswerForm::Json,
            urgency: hospes::call::Urgency::default(),
            gone: None,
            left: None,
        };
        let calls = callers.iter().map(call).collect();
        Self { host, calls }
    }

    /// Nanoseconds per call.
    fn time(&self) -> f64 {
        let host = self.host.host();
        let (began, mut batches) = (Instant::now(), Vec::new());
        while began.elapsed() < ROUND / 4 {
            let batch = Instant::now();
            for turn in 0..BATCH {
                let grant = permit(host, black_box(&self.calls[turn % self.calls.len()]));
                assert!(black_box(grant).is_ok());
            }
            batches.push(batch.elapsed().as_secs_f64() * 1e9 / BATCH as f64);
        }
        median(batches)
    }
}
