//! The conformance corpus: the same files with the library and over HTTP; every change of an
//! accepted envelope; the signatures.

use std::collections::BTreeSet;
use std::time::Duration;

use hospes::admission::{Ledger, Spent, Want};
use hospes::agreement::registry::{Class, TERMS, TermPlace};
use hospes::agreement::{
    Agreement, CallFacts, Clauses, InputFacts, Offer, Permission, Proposal, SignedAgreement,
    SignedOffer, Target, Terms, Versions,
};
use hospes::capability::{Capabilities, Capability};
use hospes::clock::{Clock, ManualClock};
use hospes::dsse::Envelope;
use hospes::id::{Digest, FunctionName, ModelName};
use hospes::key::PartyKey;
use hospes::tensor::DataType;
use jiff::Timestamp;
use serde_json::{Value, json};
use system_tests::{
    Party, Reply, TestHost, Vector, identity, model_bundle, plugin, vectors, wat_guest, workspace,
};

const NOON: &str = "2026-12-01T12:00:00Z";
const GERMANY: &str = "http://publications.europa.eu/resource/authority/country/DEU";

fn noon() -> Timestamp {
    NOON.parse().expect("a time")
}

fn acme() -> PartyKey {
    Party::key_of("acme")
}

#[test]
fn every_term_has_its_cases() {
    let names = |folder: &str| -> BTreeSet<String> {
        vectors(folder).into_iter().map(|vector| vector.name).collect()
    };
    let [valid, invalid, permit, deny] = ["valid", "invalid", "permit", "deny"].map(names);
    for term in &TERMS {
        let short = term.name.trim_start_matches("hospes:");
        let has = |names: &BTreeSet<String>| {
            names
                .iter()
                .any(|name| name.strip_prefix(short).is_some_and(|rest| rest.starts_with('-')))
        };
        assert!(valid.contains(&format!("term-{short}")), "valid/term-{short} is missing");
        for kind in ["sibling-of", "operator-with"] {
            let wanted = format!("unknown-{kind}-{short}");
            assert!(invalid.contains(&wanted), "invalid/{wanted} is missing");
        }
        assert!(has(&permit), "permit/{short}-… is missing");
        // A mere promise is never a reason to deny.
        let denies = term.class != Class::Record && term.place != TermPlace::Data;
        assert_eq!(has(&deny), denies, "deny/{short}-…");
    }
}

#[test]
fn documents_are_read_or_refused_as_the_corpus_says() {
    let bundle = Digest::of(b"bundle");
    for vector in vectors("valid") {
        let envelope = vector.envelope(&acme(), &bundle);
        let offer =
            SignedOffer::parse(&envelope).unwrap_or_else(|e| panic!("{}: {e}", vector.name));
        assert_eq!(offer.to_bytes(), envelope, "{}", vector.name);
        let again = serde_json_canonicalizer::to_vec(offer.offer()).expect("JSON");
        assert_eq!(again, vector.payload(&acme(), &bundle), "{}: nothing is dropped", vector.name);
    }
    for vector in vectors("invalid") {
        let refused = SignedOffer::parse(&vector.envelope(&acme(), &bundle));
        let error = refused.err().unwrap_or_else(|| panic!("{} was read", vector.name)).to_string();
        check_refusal(&vector, &error);
    }
}

fn check_refusal(vector: &Vector, error: &str) {
    if let Some(pointer) = vector.text("pointer") {
        assert!(error.contains(&format!("`{pointer}`")), "{}: {error}", vector.name);
    }
    let contains = vector.text("contains").unwrap_or_default();
    assert!(error.contains(contains), "{}: {error}", vector.name);
}

struct Scene {
    host: TestHost,
    acme: Party,
    zoe: Party,
    clock: std::sync::Arc<ManualClock>,
}

impl Scene {
    fn new() -> Self {
        let clock = ManualClock::at(noon());
        let host = TestHost::builder()
            .clock(Clock::Manual(clock.clone()))
            .config(|config| config.api.country = "DEU".into())
            .config(|config| config.market.offers_per_publisher_max = 10_000)
            .start();
        let (acme, zoe) = (host.party("acme"), host.party("zoe"));
        Self { host, acme, zoe, clock }
    }

    fn list(&self, offer: &[u8]) -> Reply {
        self.host.post("/api/offers").bearer(&self.acme.api_key).body(offer).send()
    }
}

#[test]
fn documents_are_read_or_refused_over_http_as_the_corpus_says() {
    let scene = Scene::new();
    let (_, bundle) = scene.host.publish(&scene.acme, &plugin("echo"));
    for vector in vectors("invalid") {
        let reply = scene.list(&vector.envelope(&scene.acme.key, &bundle));
        let problem = reply.problem(422, "offer-refused");
        check_refusal(&vector, problem["detail"].as_str().expect("text"));
    }
    assert_eq!(scene.host.get("/api/market").send().ok().json()["offers"], json!([]));
    for vector in vectors("valid") {
        let envelope = vector.envelope(&scene.acme.key, &bundle);
        let listed = scene.list(&envelope);
        assert_eq!(listed.status, 201, "{}: {}", vector.name, listed.text());
        let id = listed.json()["id"].as_str().expect("text").to_owned();
        let shown =
            scene.host.get(&format!("/api/offers/{id}")).bearer(&scene.zoe.api_key).send().ok();
        assert_eq!(shown.body, envelope, "{}", vector.name);
    }
}

/// The clauses of a case, applied to a model.
fn clauses(vector: &Vector, model: &ModelName, bundle: Digest) -> Clauses {
    let version = |index: usize| {
        vector.json["versions"][index].as_str().map(|v| v.parse().expect("a version"))
    };
    let versions = match (version(0), version(1)) {
        (None, None) => Versions::Bundle(bundle),
        (from, before) => Versions::Range { from, before },
    };
    let function = vector.text("function").unwrap_or("echo-u8").parse().expect("a name");
    let target = Target { model: model.clone(), versions };
    let mut clauses = Clauses::new(target, vec![Permission::new(function)]);
    for line in vector.json["clauses"].as_array().expect("a list") {
        let line = line.as_str().expect("text");
        clauses.add_line(line, noon()).unwrap_or_else(|error| panic!("{}: {error}", vector.name));
    }
    clauses
}

struct Call<'a> {
    json: &'a Value,
    function: FunctionName,
    body: String,
    at: Timestamp,
}

impl<'a> Call<'a> {
    fn all(vector: &'a Vector) -> impl Iterator<Item = Self> + 'a {
        vector.json["calls"].as_array().expect("a list").iter().map(move |json| {
            let function =
                json["function"].as_str().or(vector.text("function")).unwrap_or("echo-u8");
            let body = match &json["body"] {
                Value::Null if function == "run" => "{}".to_owned(),
                Value::Null => json!({"v": 1}).to_string(),
                body => body.to_string(),
            };
            let at = json["at"].as_str().unwrap_or(NOON).parse().expect("a time");
            Self { json, function: function.parse().expect("a name"), body, at }
        })
    }

    fn expects(&self) -> (&'a str, &'a str) {
        let expect = self.json["expect"].as_str().expect("text");
        expect.split_once(':').unwrap_or((expect, ""))
    }

    fn rows(&self) -> u64 {
        let body: Value = serde_json::from_str(&self.body).expect("JSON");
        body["v"].as_array().map_or(1, Vec::len) as u64
    }
}

fn imports(vector: &Vector) -> Capabilities {
    let names = vector.json["imports"].as_array().into_iter().flatten();
    names
        .map(|name| Capability::named(name.as_str().expect("text")).expect("a capability"))
        .collect()
}

#[test]
fn calls_are_permitted_or_denied_as_the_corpus_says() {
    for folder in ["permit", "deny"] {
        for vector in vectors(folder) {
            let model = "acme/echo".parse().expect("a model");
            let clauses = clauses(&vector, &model, Digest::of(b"echo"));
            let offer = Offer::new(acme().party(), clauses, Vec::new());
            let offer = SignedOffer::sign(
                offer.unwrap_or_else(|e| panic!("{}: {e}", vector.name)),
                &acme(),
            );
            let offer = offer.expect("signed");
            let agreement = Agreement::accept(&offer, Party::key_of("zoe").party(), noon());
            let terms = Terms::preview(offer.id(), &agreement.expect("accepted"));
            let ledgers: Vec<_> =
                terms.rules().iter().map(|rule| Ledger::new(rule.limits().clone(), None)).collect();
            let mut held = Vec::new();
            for call in Call::all(&vector) {
                let (expected, why) = call.expects();
                let version = semver::Version::new(1, 0, 0);
                let admitted = terms.covers(&Digest::of(b"echo"), &version)
                    && admit(&vector, &call, &terms, &ledgers, &mut held);
                // Failures while the call runs, and offers that a publisher may not make, are
                // tested over HTTP.
                let later = expected == "fail" || why == "hospes:outputFields";
                let wanted = expected != "deny" || later;
                assert_eq!(admitted, wanted, "{folder}/{}: {}", vector.name, call.json);
            }
        }
    }
}

/// Evaluates, reserves and charges one call, as the host does.
fn admit(
    vector: &Vector,
    call: &Call<'_>,
    terms: &Terms,
    ledgers: &[std::sync::Arc<Ledger>],
    held: &mut Vec<hospes::admission::Reservation>,
) -> bool {
    let input_bytes = call.body.len() as u64;
    let facts = CallFacts {
        function: &call.function,
        now: call.at,
        input_bytes,
        purpose: call.json["purpose"].as_str(),
        country: Some(GERMANY),
        imports: imports(vector),
    };
    let tensors = match vector.text("model") {
        Some(_) => hospes::tensor::json::parse_inputs(call.body.as_bytes()).expect("tensors"),
        None => Vec::new(),
    };
    let input = InputFacts { rows: call.rows(), tensors: &tensors };
    let rules = terms.narrow(terms.permits(&facts), &input);
    let want = Want {
        now: call.at,
        rows: call.rows(),
        input_bytes,
        output_bytes_max: 1 << 20,
        wall_max: Duration::from_secs(30),
    };
    let reserved = rules.iter().find_map(|rule| ledgers[usize::from(rule)].reserve(&want).ok());
    let Some(reservation) = reserved else { return false };
    if call.json["holds"] == true {
        held.push(reservation);
        return true;
    }
    if let Some(tab) = reservation.tokens() {
        tab.take(call.json["tokens"].as_u64().unwrap_or(0));
    }
    let bytes = input_bytes + call.json["answerBytes"].as_u64().unwrap_or(0);
    let wall = Duration::from_micros(call.json["wallMicros"].as_u64().unwrap_or(10));
    let _ = reservation.commit(&Spent { bytes, wall }, Ok::<_, ()>).expect("charged");
    true
}

/// The bundle that a case calls.
fn bundle(vector: &Vector) -> Vec<u8> {
    match (vector.text("guest"), vector.text("model")) {
        (Some(guest), _) => wat_guest(guest, &[]),
        (None, Some(ty)) => {
            let ty: DataType = ty.parse().expect("a type");
            model_bundle(&format!("identity-{}", ty.name().to_lowercase()), identity(ty, 2), None)
        }
        (None, None) => plugin("echo"),
    }
}

#[test]
fn calls_are_permitted_or_denied_over_http_as_the_corpus_says() {
    for folder in ["permit", "deny"] {
        let mut published: Vec<(Vec<u8>, (ModelName, Digest))> = Vec::new();
        let mut scene = Scene::new();
        for vector in vectors(folder) {
            // Each case gets a new party, so agreements do not mix. The clock only moves forward,
            // so a case in the past needs a new host.
            let start = Call::all(&vector).map(|call| call.at).min().expect("a call");
            if scene.host.host().clock().now() > start.min(noon()) {
                scene = Scene::new();
                published.clear();
            }
            let bytes = bundle(&vector);
            let known =
                published.iter().find(|(known, _)| *known == bytes).map(|(_, model)| model.clone());
            let model = known.unwrap_or_else(|| {
                let model = scene.host.publish(&scene.acme, &bytes);
                published.push((bytes, model.clone()));
                model
            });
            run_case(&scene, &vector, &model);
        }
    }
}

fn run_case(scene: &Scene, vector: &Vector, (model, digest): &(ModelName, Digest)) {
    let consumer =
        scene.host.party(&format!("c{}", &Digest::of(vector.name.as_bytes()).hex()[..20]));
    let offer = scene.acme.offer_of(clauses(vector, model, *digest), Vec::new());
    let listed = scene.list(&offer.to_bytes());
    let first = Call::all(vector).next().expect("a call").expects();
    if [("deny", "version"), ("deny", "hospes:outputFields")].contains(&first) {
        listed.problem(422, "offer-refused");
        return;
    }
    assert_eq!(listed.status, 201, "{}: {}", vector.name, listed.text());
    let accepted = Agreement::accept(&offer, consumer.key.party(), scene.host.host().clock().now());
    let mut proposal = Proposal::sign(accepted.expect("accepted"), &consumer.key).expect("signed");
    proposal.add_signature(&scene.acme.key).expect("signed");
    scene.host.submit(&consumer, &proposal.to_bytes()).ok();
    std::thread::scope(|scope| {
        for call in Call::all(vector) {
            let now = scene.host.host().clock().now();
            scene.clock.advance(call.at.duration_since(now.min(call.at)).unsigned_abs());
            let path = format!("{model}/{}", call.function);
            let mut request = scene.host.call(&consumer, &path).json(&call.body);
            if let Some(purpose) = call.json["purpose"].as_str() {
                request = request.header("hospes-purpose", purpose);
            }
            let simulated = simulate(scene, &consumer, &proposal, &call);
            if call.json["holds"] == true {
                scope.spawn(|| request.send());
                std::thread::sleep(Duration::from_millis(500));
                continue;
            }
            check_reply(vector, &call, &request.send(), &simulated);
        }
    });
}

fn simulate(scene: &Scene, consumer: &Party, proposal: &Proposal, call: &Call<'_>) -> Value {
    let wanted = json!({
        "function": call.function,
        "inputBytes": call.body.len(),
        "rows": call.rows(),
        "purpose": call.json["purpose"],
    });
    let path = format!("/api/agreements/{}/simulate", proposal.id());
    scene.host.post(&path).bearer(&consumer.api_key).json(&wanted.to_string()).send().ok().json()
}

fn check_reply(vector: &Vector, call: &Call<'_>, reply: &Reply, simulated: &Value) {
    let context = format!("{}: {} {}", vector.name, call.json, reply.text());
    let decision = simulated["decision"].as_str().expect("text");
    match call.expects() {
        ("permit", _) => {
            assert_eq!((reply.status, decision), (200, "permitted"), "{context}");
            if !call.json["answer"].is_null() {
                assert_eq!(reply.json(), call.json["answer"], "{context}");
            }
        }
        ("fail", code) => {
            assert_eq!(decision, "permitted", "{context}");
            assert_eq!(reply.json()["failure"], code, "{context}");
        }
        (_, why) => {
            // Only a call knows the arguments' tensors; a simulation does not.
            let tensors = ["hospes:inputShape", "hospes:inputDtype"].contains(&why);
            assert!(decision == "denied" || tensors, "{context}");
            let problem = reply.json();
            let clauses = problem["clauses"].as_array().into_iter().flatten();
            let named = problem["clause"] == why
                || clauses.clone().any(|clause| clause["leftOperand"] == why);
            let prohibited = why == "prohibition"
                && problem["report"]["ruleReport"].to_string().contains("ProhibitionReport");
            assert!([403, 429].contains(&reply.status) && (named || prohibited), "{context}");
        }
    }
}

/// Agreements of the corpus, signed by both.
fn signed_corpus() -> Vec<(String, Vec<u8>)> {
    let (acme, zoe) = (acme(), Party::key_of("zoe"));
    vectors("valid")
        .iter()
        .map(|vector| {
            let offer =
                SignedOffer::parse(&vector.envelope(&acme, &Digest::of(b"bundle"))).expect("valid");
            let agreement = Agreement::accept(&offer, zoe.party(), noon()).expect("accepted");
            let mut proposal = Proposal::sign(agreement, &zoe).expect("signed");
            proposal.add_signature(&acme).expect("signed");
            (vector.name.clone(), proposal.to_bytes())
        })
        .collect()
}

/// In the shortest of twenty agreements, every byte is replaced by every other value. In the others
/// each single bit is flipped; with `HOSPES_STORM`, they are treated like the shortest.
#[test]
fn no_single_byte_change_of_an_accepted_envelope_is_accepted() {
    const BITS: [u8; 8] = [1, 2, 4, 8, 16, 32, 64, 128];
    let mut corpus = signed_corpus();
    assert!(corpus.len() >= 20, "{} agreements", corpus.len());
    corpus.sort_by_key(|(_, bytes)| bytes.len());
    let every: Vec<u8> = (1..=u8::MAX).collect();
    let check = |(name, bytes): &(String, Vec<u8>), changes: &[u8]| -> usize {
        SignedAgreement::parse(bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut changed = bytes.clone();
        for index in 0..bytes.len() {
            for change in changes {
                changed[index] ^= change;
                assert!(
                    SignedAgreement::parse(&changed).is_err(),
                    "{name}: byte {index} ^ {change:#x}"
                );
                changed[index] = bytes[index];
            }
        }
        bytes.len() * changes.len()
    };
    let all = std::env::var_os("HOSPES_STORM").is_some();
    let changes: usize = corpus[..20]
        .iter()
        .enumerate()
        .map(|(index, one)| check(one, if all || index == 0 { &every } else { &BITS }))
        .sum();
    assert!(changes > 500_000, "{changes} changes");
}

#[test]
fn only_one_signature_of_each_role_makes_an_agreement() {
    const AGREEMENT: &str = "application/vnd.hospes.agreement.v1+json";
    let (a, b, other) = (acme(), Party::key_of("zoe"), Party::key_of("mallory"));
    let (_, bytes) = signed_corpus().swap_remove(0);
    let payload = Envelope::parse(&bytes).expect("an envelope").payload().to_vec();
    let with = |kind: &str, payload: &[u8], keys: &[&PartyKey]| {
        let (first, rest) = keys.split_first()?;
        let mut envelope = Envelope::sign(kind, payload.to_vec(), first).expect("small");
        for key in rest {
            envelope.add_signature(key).ok()?;
        }
        SignedAgreement::parse(&envelope.to_bytes()).ok()
    };
    let agreed = |keys: &[&PartyKey]| with(AGREEMENT, &payload, keys).is_some();
    assert!(agreed(&[&a, &b]) && agreed(&[&b, &a]), "the signatures may be in either order");
    for keys in [&[][..], &[&a], &[&b], &[&a, &a], &[&a, &other], &[&other, &b], &[&a, &b, &other]]
    {
        assert!(!agreed(keys), "{} signatures", keys.len());
    }
    for kind in ["application/vnd.hospes.offer.v1+json", "application/vnd.in-toto+json", ""] {
        assert!(with(kind, &payload, &[&a, &b]).is_none(), "`{kind}`");
    }
    // Two signatures over different payloads do not make an agreement.
    let (_, second) = signed_corpus().swap_remove(1);
    let (first, second) =
        (String::from_utf8(bytes).expect("text"), String::from_utf8(second).expect("text"));
    let spliced = format!(
        "{}{}",
        &first[..first.find(r#","signatures""#).expect("it exists")],
        &second[second.find(r#","signatures""#).expect("it exists")..]
    );
    assert!(SignedAgreement::parse(spliced.as_bytes()).is_err());
}

#[test]
fn the_specifications_own_examples() {
    let path = workspace().join("tests/vectors/specifications.json");
    let examples: Value =
        serde_json::from_str(&std::fs::read_to_string(path).expect("text")).expect("JSON");
    let all = |kind: &str| examples[kind].as_array().expect("a list").clone();
    let text = |example: &Value, member: &str| example[member].as_str().expect("text").to_owned();
    for example in all("jcs") {
        let input: Value = serde_json::from_str(&text(&example, "input")).expect("JSON");
        let written = serde_json_canonicalizer::to_string(&input).expect("JSON");
        assert_eq!(written, text(&example, "output"), "{}", example["source"]);
    }
    for example in all("dsse") {
        let (kind, payload) = (text(&example, "payloadType"), text(&example, "payload"));
        let envelope =
            Envelope::sign(&kind, payload.into_bytes(), &acme()).expect("small").to_bytes();
        let envelope: Value = serde_json::from_slice(&envelope).expect("JSON");
        let signature = base64(envelope["signatures"][0]["sig"].as_str().expect("text"));
        let message = text(&example, "encoding").into_bytes();
        hospes::key::verify(&acme().party(), &message, &signature.try_into().expect("64 bytes"))
            .expect("signed");
    }
    for example in all("did-key") {
        let party: hospes::id::Party = text(&example, "did").parse().expect("a party");
        assert_eq!(hospes::id::hex(party.public_key()), text(&example, "publicKey"));
    }
}

/// RFC 4648 section 4, character by character.
fn base64(text: &str) -> Vec<u8> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
    for letter in text.bytes().filter(|letter| *letter != b'=') {
        let value = LETTERS.iter().position(|known| *known == letter).expect("a letter of base64");
        bits = bits << 6 | u32::try_from(value).expect("below 64");
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    bytes
}
