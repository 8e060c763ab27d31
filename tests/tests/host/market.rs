//! The public market page is built once, and again whenever something changes.

use hospes::agreement::{Clauses, Target, Versions};
use serde_json::{Value, json};
use system_tests::{Reply, TestHost, plugin, terms};

fn page(host: &TestHost) -> Reply {
    host.get("/api/market").send().ok()
}

fn offers(page: &Reply) -> Vec<Value> {
    let page = page.json();
    page["offers"].as_array().expect("a list").iter().map(|offer| offer["id"].clone()).collect()
}

#[test]
fn the_page_is_kept_until_something_changes_and_shows_nobody_what_is_not_theirs() {
    let host = TestHost::start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    let empty = page(&host);
    assert!(offers(&empty).is_empty());
    let (model, digest) = host.publish(&acme, &plugin("echo"));
    let list = |function: &str, audience: Vec<hospes::id::Party>| {
        let target = Target { model: model.clone(), versions: Versions::Bundle(digest) };
        let offer = acme.offer_of(Clauses::new(target, vec![terms(function)]), audience);
        host.post("/api/offers").bearer(&acme.api_key).body(offer.to_bytes()).send().ok();
        json!(offer.id())
    };
    let tag = |page: &Reply| page.header("etag").expect("a tag").to_owned();
    let first = list("echo-u8", Vec::new());
    let before = page(&host);
    assert_eq!(offers(&before), std::slice::from_ref(&first), "the page was rebuilt");
    assert_ne!(tag(&before), tag(&empty));
    assert_eq!((tag(&page(&host)), page(&host).body), (tag(&before), before.body.clone()));
    let known = host.get("/api/market").header("if-none-match", tag(&before)).send();
    assert_eq!((known.status, known.body.len()), (304, 0));

    // An offer for one party is visible only to that party.
    let private = list("echo-tensor", vec![zoe.key.party()]);
    assert_eq!(offers(&page(&host)), std::slice::from_ref(&first));
    let seen = host.get("/api/market").bearer(&zoe.api_key).send().ok();
    assert!(offers(&seen).contains(&private) && offers(&seen).len() == 2);

    // A model goes out of service and comes back.
    for (what, wanted) in [("unload", vec![]), ("load", vec![first.clone()])] {
        let path = format!("/v2/repository/models/acme%2Fecho/{what}");
        host.post(&path).bearer(&acme.api_key).send().ok();
        assert_eq!(offers(&page(&host)), wanted, "after {what}");
    }
    let withdraw = |action: &str| {
        let act = json!({"action": action, "target": first, "reason": "a court said so"});
        host.operator("POST", "/actions").json(&act.to_string()).send().ok();
    };
    withdraw("withdraw-offer");
    assert!(offers(&page(&host)).is_empty());
    withdraw("reinstate-offer");
    assert_eq!(offers(&page(&host)), [first]);
}
