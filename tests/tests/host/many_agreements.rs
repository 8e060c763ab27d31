//! Agreements that are submitted concurrently.

use std::collections::BTreeSet;
use std::sync::Barrier;

use serde_json::{Value, json};
use system_tests::{Limited as _, Party, TestHost, plugin, terms};

const CONSUMERS: usize = 12;

fn agreements(host: &TestHost, party: &Party) -> Vec<Value> {
    let listed = host.get("/api/agreements").bearer(&party.api_key).send().ok().json();
    listed["agreements"].as_array().expect("a list").clone()
}

/// Each is submitted twice at once, as by a client that retries: it must be one agreement with one
/// count.
#[test]
fn all_of_them_are_in_force_once_and_after_a_restart_too() {
    let host = TestHost::start();
    let acme = host.party("acme");
    let published = host.publish(&acme, &plugin("echo"));
    let limited = terms("echo-u8").limit("count lteq 1 call");
    let offer = acme.offer(&published.0, published.1, vec![limited]);
    host.post("/api/offers").bearer(&acme.api_key).body(offer.to_bytes()).send().ok();
    let consumers: Vec<Party> =
        (0..CONSUMERS).map(|number| host.party(&format!("c{number}"))).collect();
    let signed: Vec<_> = consumers
        .iter()
        .map(|consumer| {
            let mut proposal = consumer.accept(&offer);
            proposal.add_signature(&acme.key).expect("signed");
            (consumer, proposal)
        })
        .collect();
    let all_at_once = Barrier::new(2 * CONSUMERS);
    std::thread::scope(|scope| {
        for (consumer, proposal) in signed.iter().chain(&signed) {
            let (host, all_at_once) = (&host, &all_at_once);
            scope.spawn(move || {
                all_at_once.wait();
                let agreed = host.submit(consumer, &proposal.to_bytes()).ok().json();
                assert_eq!(agreed["state"], "active", "{agreed}");
            });
        }
    });
    let check = |host: &TestHost| {
        let ids: BTreeSet<_> =
            agreements(host, &acme).iter().map(|one| one["id"].to_string()).collect();
        assert_eq!(ids.len(), CONSUMERS);
        assert_eq!(agreements(host, &acme).len(), CONSUMERS);
        for (consumer, proposal) in &signed {
            let own = agreements(host, consumer);
            assert_eq!(own.len(), 1);
            assert_eq!(own[0]["id"], json!(proposal.id().to_string()));
        }
    };
    check(&host);
    let call =
        |host: &TestHost| host.call(&consumers[0], "acme/echo/echo-u8").json(r#"{"v":7}"#).send();
    call(&host).ok();
    call(&host).problem(429, "limit-reached");
    let host = TestHost::builder().data(host.stop()).start();
    check(&host);
    call(&host).problem(429, "limit-reached");
}
