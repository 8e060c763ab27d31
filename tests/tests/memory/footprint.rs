//! Agreements, negotiations and offers use only the memory that calls need; their documents stay on
//! disk.

use hospes::agreement::{
    Agreement, Clauses, Permission, Proposal, Request, SignedRequest, Target, Versions,
};
use hospes::id::{Digest, ModelName};
use jiff::Timestamp;
use system_tests::{Limited as _, Party, TestHost, plugin, terms};

use crate::counting::live;

/// The number of documents, of some hundred KiB each.
const COUNT: u64 = 32;

/// The memory that one may use, in bytes. When documents were kept in memory, it was 659 KiB per
/// agreement and 926 KiB per negotiation.
const BYTES_MAX: u64 = 240 * 1024;

fn permissions() -> Vec<Permission> {
    // Six purposes per permission make realistically long documents.
    let purposes: Vec<String> = (0..6)
        .map(|number| format!("https://example.org/purposes/{number}/{}", "x".repeat(160)))
        .collect();
    let purposes = format!("purpose isAnyOf {}", purposes.join(","));
    let lines = [
        "count lteq 1000000 call",
        "dateTime gteq 2026-01-01T00:00:00Z",
        "dateTime lt 2099-01-01T00:00:00Z",
        "inputBytes lteq 1048576",
        &purposes,
    ];
    let permission = |_| lines.iter().fold(terms("echo-u8"), |one, line| one.limit(line));
    (0..64).map(permission).collect()
}

struct Scene {
    host: TestHost,
    acme: Party,
    zoe: Party,
    published: (ModelName, Digest),
}

impl Scene {
    fn new() -> Self {
        let host = TestHost::start();
        let (acme, zoe) = (host.party("acme"), host.party("zoe"));
        let published = host.publish(&acme, &plugin("echo"));
        Self { host, acme, zoe, published }
    }

    fn clauses(&self) -> Clauses {
        let (model, bundle) = self.published.clone();
        Clauses::new(Target { model, versions: Versions::Bundle(bundle) }, permissions())
    }
}

/// The memory that each of `count` uses, after the same number already exists and all caches are
/// full.
fn each(count: u64, mut make: impl FnMut()) -> u64 {
    (0..count).for_each(|_| make());
    let before = live();
    (0..count).for_each(|_| make());
    live().saturating_sub(before) as u64 / count
}

#[test]
fn agreements_and_negotiations_leave_their_documents_on_the_disk() {
    let scene = Scene::new();
    let Scene { host, acme, zoe, .. } = &scene;
    let offer = acme.offer_of(scene.clauses(), Vec::new());
    assert!(offer.to_bytes().len() > 100 * 1024, "{}", offer.to_bytes().len());
    host.post("/api/offers").bearer(&acme.api_key).body(offer.to_bytes()).send().ok();
    let agree = || {
        let agreement = Agreement::accept(&offer, zoe.key.party(), Timestamp::now());
        let mut proposal = Proposal::sign(agreement.expect("accepted"), &zoe.key).expect("signed");
        proposal.add_signature(&acme.key).expect("signed");
        host.submit(zoe, &proposal.to_bytes()).ok();
    };
    let agreement = each(COUNT, agree);
    let negotiate = || {
        let request = Request::new(&offer, scene.clauses(), zoe.key.party(), Timestamp::now());
        let request = SignedRequest::sign(request.expect("a request"), &zoe.key).expect("signed");
        let begun = host.post("/api/negotiations").bearer(&zoe.api_key).body(request.to_bytes());
        begun.send().ok();
    };
    let negotiation = each(COUNT, negotiate);
    assert!(agreement <= BYTES_MAX, "an agreement costs {agreement} bytes");
    assert!(negotiation <= BYTES_MAX / 4, "a negotiation costs {negotiation} bytes");
    // They are unchanged, even where the document must be read, as for the report of a refused
    // call.
    host.call(zoe, "acme/echo/echo-u8").json(r#"{"v":1}"#).send().problem(403, "not-permitted");
}

#[test]
fn the_market_is_shown_in_pages_and_holds_so_many_bytes_of_a_publisher() {
    let scene = Scene::new();
    let Scene { host, acme, .. } = &scene;
    let list = |offer: &hospes::agreement::SignedOffer| {
        host.post("/api/offers").bearer(&acme.api_key).body(offer.to_bytes()).send()
    };
    let mut ids = Vec::new();
    loop {
        let offer = acme.offer_of(scene.clauses(), Vec::new());
        let reply = list(&offer);
        if reply.status != 201 {
            let refused = reply.problem(422, "offer-refused");
            let detail = refused["detail"].as_str().expect("text");
            assert!(detail.contains("market.offer_bytes_per_publisher_max"), "{detail}");
            break;
        }
        ids.push(offer.id().to_string());
    }
    assert!((20..60).contains(&ids.len()), "{}", ids.len());
    ids.sort();
    // A stranger gets all offers, in pages not much longer than half a mebibyte.
    let (mut seen, mut query) = (Vec::new(), String::new());
    loop {
        let page = host.get(&format!("/api/market{query}")).send().ok();
        assert!(page.body.len() < 1 << 20, "{}", page.body.len());
        let page = page.json();
        let offers = page["offers"].as_array().expect("a list");
        seen.extend(offers.iter().map(|one| one["id"].as_str().expect("text").to_owned()));
        match page["next"].as_str() {
            Some(next) => query = format!("?after={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ids);
    let two = host.get("/api/market?limit=2").send().ok().json();
    assert_eq!(two["offers"].as_array().expect("a list").len(), 2);
    assert_eq!(two["next"], ids[1].as_str());
    for wrong in ["limit=0", "limit=101", "page=1"] {
        host.get(&format!("/api/market?{wrong}")).send().problem(400, "invalid-request");
    }
    let unknown = Digest::of(b"no offer");
    host.get(&format!("/api/market?after={unknown}")).send().problem(404, "not-found");
}
