//! Negotiation over HTTP: every transition is signed, can be polled, and is safe to repeat.

use hospes::agreement::negotiation::{Move, MoveKind, SignedMove, State};
use hospes::agreement::{
    Agreement, Clauses, Proposal, Request, SignedOffer, SignedRequest, Target, Versions,
};
use hospes::id::{Digest, ModelName};
use jiff::Timestamp;
use serde_json::{Value, json};
use system_tests::{Party, Reply, TestHost, plugin, terms};

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

    fn clauses(&self, lines: &[&str]) -> Clauses {
        let (model, bundle) = self.published.clone();
        let target = Target { model, versions: Versions::Bundle(bundle) };
        let mut clauses = Clauses::new(target, vec![terms("echo-u8")]);
        lines.iter().for_each(|line| clauses.add_line(line, Timestamp::now()).expect(line));
        clauses
    }

    /// A listed offer.
    fn listed(&self, lines: &[&str]) -> SignedOffer {
        let offer = self.acme.offer_of(self.clauses(lines), Vec::new());
        self.host.post("/api/offers").bearer(&self.acme.api_key).body(offer.to_bytes()).send().ok();
        offer
    }

    fn request(&self, offer: &SignedOffer, lines: &[&str]) -> SignedRequest {
        let request =
            Request::new(offer, self.clauses(lines), self.zoe.key.party(), Timestamp::now());
        SignedRequest::sign(request.expect("a request"), &self.zoe.key).expect("signed")
    }

    fn private(&self, lines: &[&str]) -> SignedOffer {
        self.acme.offer_of(self.clauses(lines), vec![self.zoe.key.party()])
    }

    fn post(&self, by: &Party, path: &str, bytes: Vec<u8>) -> Reply {
        self.host.post(&format!("/api/negotiations{path}")).bearer(&by.api_key).body(bytes).send()
    }

    fn begin(&self, by: &Party, bytes: Vec<u8>) -> String {
        let begun = self.post(by, "", bytes);
        assert_eq!(begun.status, 201, "{}", begun.text());
        begun.json()["id"].as_str().expect("text").to_owned()
    }

    fn show(&self, by: &Party, id: &str) -> Value {
        self.host.get(&format!("/api/negotiations/{id}")).bearer(&by.api_key).send().ok().json()
    }

    fn state(&self, id: &str) -> String {
        self.show(&self.zoe, id)["state"].as_str().expect("text").to_owned()
    }

    fn moved(&self, by: &Party, id: &str, kind: MoveKind) -> SignedMove {
        let shown = self.show(by, id);
        let last =
            shown["messages"].as_array().expect("a list").last().expect("a message")["id"].clone();
        let content = Move {
            negotiation: id.to_owned(),
            kind,
            previous: last.as_str().expect("text").parse().expect("a digest"),
            by: by.key.party(),
            issued: Timestamp::now(),
            expires: None,
        };
        SignedMove::sign(content, &[&by.key]).expect("signed")
    }

    fn accept(&self, id: &str) -> Reply {
        let accept = self.moved(&self.zoe, id, MoveKind::Accept);
        self.post(&self.zoe, &format!("/{id}/events"), accept.to_bytes())
    }

    fn call(&self) -> Reply {
        self.host.call(&self.zoe, "acme/echo/echo-u8").json(r#"{"v":1}"#).send()
    }
}

#[test]
fn a_counter_offer_is_accepted_agreed_verified_and_in_force() {
    let scene = Scene::new();
    let offer = scene.listed(&["count lteq 1 call"]);
    let request = scene.request(&offer, &["count lteq 1000 call"]);
    let id = scene.begin(&scene.zoe, request.to_bytes());
    assert_eq!(
        scene.begin(&scene.zoe, request.to_bytes()),
        id,
        "a repeated request does not start another negotiation"
    );
    assert_eq!(scene.show(&scene.acme, &id)["turn"], "publisher");
    let counter = scene.private(&["count lteq 2 call", "notice P7D"]);
    let offered = scene.post(&scene.acme, &format!("/{id}/offers"), counter.to_bytes()).ok().json();
    assert_eq!((&offered["state"], &offered["turn"]), (&json!("OFFERED"), &json!("consumer")));
    assert!(offered["clauses"].to_string().contains("At most 2 calls in all."), "{offered}");
    assert_eq!(scene.accept(&id).ok().json()["state"], "ACCEPTED");
    let agreement = Agreement::accept(&counter, scene.zoe.key.party(), Timestamp::now());
    let mut proposal =
        Proposal::sign(agreement.expect("accepted"), &scene.acme.key).expect("signed");
    let agree = || scene.post(&scene.acme, &format!("/{id}/agreement"), proposal.to_bytes());
    assert_eq!(agree().ok().json()["state"], "AGREED");
    assert_eq!(agree().ok().json()["state"], "AGREED", "repeated");
    scene.call().problem(403, "not-permitted");
    proposal.add_signature(&scene.zoe.key).expect("signed");
    let verify =
        || scene.post(&scene.zoe, &format!("/{id}/agreement/verification"), proposal.to_bytes());
    let verified = verify().ok().json();
    assert_eq!(
        (&verified["state"], &verified["agreement"]),
        (&json!("FINALIZED"), &json!(proposal.id()))
    );
    assert_eq!(verify().ok().json()["state"], "FINALIZED", "repeated");
    scene.call().ok();
    scene.call().ok();
    scene.call().problem(429, "limit-reached");
    // The private counter-offer was never listed, and others cannot see the negotiation.
    let market = scene.host.get("/api/market").bearer(&scene.zoe.api_key).send().ok().json();
    assert_eq!(market["offers"].as_array().expect("a list").len(), 1);
    let mallory = scene.host.party("mallory");
    scene
        .host
        .get(&format!("/api/negotiations/{id}"))
        .bearer(&mallory.api_key)
        .send()
        .problem(404, "not-found");
    scene.post(&mallory, &format!("/{id}/events"), counter.to_bytes()).problem(404, "not-found");
}

#[test]
fn a_request_may_be_agreed_to_as_it_is_and_nothing_else_may_be_slipped_in() {
    let scene = Scene::new();
    let offer = scene.listed(&["count lteq 1 call"]);
    let request = scene.request(&offer, &["count lteq 3 call"]);
    let id = scene.begin(&scene.zoe, request.to_bytes());
    let granted = |request: &SignedRequest| {
        let agreement = Agreement::grant(request, Timestamp::now()).expect("granted");
        Proposal::sign(agreement, &scene.acme.key).expect("signed")
    };
    // An agreement to another request, or to the original offer, is refused.
    let other = granted(&scene.request(&offer, &["count lteq 9 call"]));
    scene
        .post(&scene.acme, &format!("/{id}/agreement"), other.to_bytes())
        .problem(422, "negotiation-refused");
    let old = Agreement::accept(&offer, scene.zoe.key.party(), Timestamp::now()).expect("accepted");
    let old = Proposal::sign(old, &scene.acme.key).expect("signed");
    scene
        .post(&scene.acme, &format!("/{id}/agreement"), old.to_bytes())
        .problem(422, "negotiation-refused");
    let mut proposal = granted(&request);
    scene.post(&scene.acme, &format!("/{id}/agreement"), proposal.to_bytes()).ok();
    let mut another = granted(&request);
    another.add_signature(&scene.zoe.key).expect("signed");
    scene
        .post(&scene.zoe, &format!("/{id}/agreement/verification"), another.to_bytes())
        .problem(422, "negotiation-refused");
    proposal.add_signature(&scene.zoe.key).expect("signed");
    let done =
        scene.post(&scene.zoe, &format!("/{id}/agreement/verification"), proposal.to_bytes());
    assert_eq!(done.ok().json()["state"], "FINALIZED");
    (0..3).for_each(|_| drop(scene.call().ok()));
    scene.call().problem(429, "limit-reached");
}

/// The messages of a typical negotiation: request, offer, acceptance, agreement, verification.
struct Course {
    scene: Scene,
    offer: SignedOffer,
    counter: SignedOffer,
    /// The agreement, signed by the publisher alone; `both` is signed by both.
    alone: Vec<u8>,
    both: Vec<u8>,
}

impl Course {
    fn new() -> Self {
        let scene = Scene::new();
        let offer = scene.listed(&[]);
        let counter = scene.private(&["count lteq 2 call"]);
        let agreement = Agreement::accept(&counter, scene.zoe.key.party(), Timestamp::now());
        let mut proposal =
            Proposal::sign(agreement.expect("accepted"), &scene.acme.key).expect("signed");
        let alone = proposal.to_bytes();
        proposal.add_signature(&scene.zoe.key).expect("signed");
        Self { scene, offer, counter, alone, both: proposal.to_bytes() }
    }

    /// Starts a negotiation and brings it to a state.
    fn to(&self, state: State) -> String {
        let scene = &self.scene;
        let request = scene.request(&self.offer, &["count lteq 3 call"]);
        let id = scene.begin(&scene.zoe, request.to_bytes());
        let post = |by: &Party, path: &str, bytes: &[u8]| {
            scene.post(by, &format!("/{id}/{path}"), bytes.to_vec()).ok();
        };
        if state == State::Terminated {
            let end = scene.moved(&scene.zoe, &id, MoveKind::Terminate);
            post(&scene.zoe, "termination", &end.to_bytes());
        }
        if matches!(state, State::Requested | State::Terminated) {
            return id;
        }
        post(&scene.acme, "offers", &self.counter.to_bytes());
        if state == State::Offered {
            return id;
        }
        scene.accept(&id).ok();
        if state == State::Accepted {
            return id;
        }
        post(&scene.acme, "agreement", &self.alone);
        if state == State::Agreed {
            return id;
        }
        post(&scene.zoe, "agreement/verification", &self.both);
        id
    }
}

const REACHED: [State; 6] = [
    State::Requested,
    State::Offered,
    State::Accepted,
    State::Agreed,
    State::Finalized,
    State::Terminated,
];

#[test]
fn only_the_next_message_moves_a_negotiation() {
    let course = Course::new();
    let scene = &course.scene;
    let again = scene.request(&course.counter, &["count lteq 4 call"]);
    let messages: [(&str, &Party, Vec<u8>); 4] = [
        ("request", &scene.zoe, again.to_bytes()),
        ("offers", &scene.acme, course.counter.to_bytes()),
        ("agreement", &scene.acme, course.alone.clone()),
        ("agreement/verification", &scene.zoe, course.both.clone()),
    ];
    let follows = |state: State, path: &str| match (state, path) {
        (State::Requested, "offers") | (State::Offered, "request") => true,
        (State::Accepted, "agreement") | (State::Agreed, "agreement/verification") => true,
        // The message that led to this state may be repeated.
        (State::Offered | State::Accepted | State::Agreed | State::Finalized, "offers") => true,
        (State::Agreed | State::Finalized, "agreement") => true,
        (State::Finalized, "agreement/verification") => true,
        _ => false,
    };
    for state in REACHED {
        for (path, by, bytes) in &messages {
            let id = course.to(state);
            let reply = scene.post(by, &format!("/{id}/{path}"), bytes.clone());
            if follows(state, path) {
                reply.ok();
            } else if state == State::Requested && *path == "agreement" {
                // A direct agreement to the request is a valid transition, too, but this one is
                // about the counter-offer.
                reply.problem(422, "negotiation-refused");
            } else {
                let problem = reply.problem(409, "conflict");
                assert_eq!(problem["state"], state.name(), "{problem}");
            }
        }
    }
}

#[test]
fn a_negotiation_is_ended_by_those_who_may_and_moves_belong_to_one() {
    let course = Course::new();
    let scene = &course.scene;
    for state in REACHED {
        for by in [&scene.acme, &scene.zoe] {
            let id = course.to(state);
            let end = scene.moved(by, &id, MoveKind::Terminate);
            let reply = scene.post(by, &format!("/{id}/termination"), end.to_bytes());
            let may = match state {
                State::Requested | State::Offered | State::Accepted => true,
                State::Agreed => by.name == "zoe",
                State::Verified | State::Finalized | State::Terminated => false,
            };
            assert_eq!(reply.status == 200, may, "{state}: {} {}", by.name, reply.text());
        }
    }
    let (one, other) = (course.to(State::Offered), course.to(State::Offered));
    let refused = |by: &Party, path: String, bytes: Vec<u8>| {
        scene.post(by, &path, bytes).problem(422, "negotiation-refused");
    };
    let accept = scene.moved(&scene.zoe, &one, MoveKind::Accept);
    refused(&scene.zoe, format!("/{other}/events"), accept.to_bytes());
    refused(&scene.acme, format!("/{one}/events"), accept.to_bytes());
    let accept = scene.moved(&scene.acme, &one, MoveKind::Accept);
    refused(&scene.acme, format!("/{one}/events"), accept.to_bytes());
    refused(&scene.zoe, String::new(), course.alone.clone());
    let request = scene.request(&course.offer, &["count lteq 3 call"]);
    refused(&scene.acme, String::new(), request.to_bytes());
}

#[test]
fn a_publisher_agrees_to_nothing_that_is_not_its_own() {
    let scene = Scene::new();
    let mallory = scene.host.party("mallory");
    // Mallory offers acme's model: privately, and in response to a request that names her as its
    // publisher.
    let stolen = mallory.offer_of(scene.clauses(&[]), vec![scene.zoe.key.party()]);
    scene.post(&mallory, "", stolen.to_bytes()).problem(422, "offer-refused");
    let request = scene.request(&stolen, &[]);
    scene.post(&scene.zoe, "", request.to_bytes()).problem(422, "negotiation-refused");
}

#[test]
fn what_was_said_is_still_there_after_a_restart() {
    let scene = Scene::new();
    let offer = scene.listed(&["count lteq 1 call"]);
    let id = scene.begin(&scene.zoe, scene.request(&offer, &["count lteq 2 call"]).to_bytes());
    let counter = scene.private(&["count lteq 2 call"]);
    scene.post(&scene.acme, &format!("/{id}/offers"), counter.to_bytes()).ok();
    scene.accept(&id).ok();
    let before = scene.show(&scene.zoe, &id);
    let Scene { host, acme, zoe, published } = scene;
    let host = TestHost::builder().data(host.stop()).start();
    let scene = Scene { host, acme, zoe, published };
    assert_eq!(scene.show(&scene.zoe, &id), before);
    let agreement = Agreement::accept(&counter, scene.zoe.key.party(), Timestamp::now());
    let mut proposal =
        Proposal::sign(agreement.expect("accepted"), &scene.acme.key).expect("signed");
    scene.post(&scene.acme, &format!("/{id}/agreement"), proposal.to_bytes()).ok();
    proposal.add_signature(&scene.zoe.key).expect("signed");
    scene.post(&scene.zoe, &format!("/{id}/agreement/verification"), proposal.to_bytes()).ok();
    let Scene { host, acme, zoe, published } = scene;
    let host = TestHost::builder().data(host.stop()).start();
    let scene = Scene { host, acme, zoe, published };
    assert_eq!(scene.state(&id), "FINALIZED");
    scene.call().ok();
}

#[test]
fn a_party_begins_so_many_negotiations_and_no_more() {
    let host =
        TestHost::builder().config(|config| config.market.negotiations_per_party_max = 2).start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    let published = host.publish(&acme, &plugin("echo"));
    let scene = Scene { host, acme, zoe, published };
    let offer = scene.listed(&[]);
    let begin =
        || scene.post(&scene.zoe, "", scene.request(&offer, &["count lteq 2 call"]).to_bytes());
    let first = begin().ok().json()["id"].as_str().expect("text").to_owned();
    let end = scene.moved(&scene.zoe, &first, MoveKind::Terminate);
    scene.post(&scene.zoe, &format!("/{first}/termination"), end.to_bytes()).ok();
    begin().ok();
    let refused = begin().problem(422, "negotiation-refused");
    assert!(
        refused["detail"].as_str().expect("text").contains("negotiations_per_party_max"),
        "{refused}"
    );
    // Negotiations that others start do not count towards the publisher's limit.
    scene.begin(&scene.acme, scene.private(&[]).to_bytes());
}

#[test]
fn a_party_s_negotiations_are_listed_in_pages_the_oldest_first() {
    let scene = Scene::new();
    let begun: Vec<_> = (1..=5)
        .map(|count| {
            let offer = scene.private(&[&format!("count lteq {count} call")]);
            scene.begin(&scene.acme, offer.to_bytes())
        })
        .collect();
    for party in [&scene.acme, &scene.zoe] {
        let (mut seen, mut query) = (Vec::new(), "?limit=2".to_owned());
        loop {
            let list = scene.host.get(&format!("/api/negotiations{query}")).bearer(&party.api_key);
            let list = list.send().ok().json();
            let page = list["negotiations"].as_array().expect("a list").clone();
            assert!(page.len() <= 2, "{list}");
            seen.extend(page.iter().map(|one| one["id"].as_str().expect("text").to_owned()));
            match list["next"].as_str() {
                Some(next) => query = format!("?limit=2&after={next}"),
                None => break,
            }
        }
        assert_eq!(seen, begun);
    }
    let yan = scene.host.party("yan");
    let none = scene.host.get("/api/negotiations").bearer(&yan.api_key).send().ok().json();
    assert_eq!(none["negotiations"], json!([]));
    let wrong = scene.host.get("/api/negotiations?after=x").bearer(&yan.api_key).send();
    wrong.problem(400, "invalid-request");
}
