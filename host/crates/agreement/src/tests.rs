//! Tests of agreements: the document and its signatures; `enforcement` has the rest.

mod enforcement;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use super::document::odrl;
use super::*;
use hospes_core::dsse::Envelope;
use hospes_core::id::{FunctionName, ModelName};
use hospes_core::key::PartyKey;

const AGREEMENT_TYPE: &str = "application/vnd.hospes.agreement.v1+json";

fn key(seed: u8) -> PartyKey {
    PartyKey::from_secret(&[seed; 32])
}

fn publisher() -> PartyKey {
    key(1)
}

fn consumer() -> PartyKey {
    key(2)
}

fn model() -> ModelName {
    "acme/digits".parse().expect("a model name")
}

fn function(name: &str) -> FunctionName {
    name.parse().expect("a function name")
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn open_spec(name: &str) -> Permission {
    Permission::new(function(name))
}

fn limited(permission: Permission, lines: &[&str]) -> Permission {
    let now = at("2026-11-24T12:00:00Z");
    lines.iter().fold(permission, |permission, line| permission.limited(line, now).expect(line))
}

fn full_spec() -> Permission {
    limited(
        open_spec("classify"),
        &[
            "count lteq 1000 call",
            "dateTime gteq 2026-12-01T00:00:00Z",
            "dateTime lt 2027-12-01T00:00:00Z",
            "inputBytes lteq 2097152",
            "outputBytes lteq 4096",
        ],
    )
}

fn target() -> Target {
    Target { model: model(), versions: Versions::Bundle(Digest::of(b"bundle")) }
}

fn offer_of(specs: Vec<Permission>) -> Result<Offer, AgreementError> {
    Offer::new(publisher().party(), Clauses::new(target(), specs), Vec::new())
}

fn offer() -> SignedOffer {
    let mut offer = offer_of(vec![full_spec(), open_spec("embed")]).expect("well-formed");
    offer.policy.uid = uuid::Uuid::from_u128(1);
    SignedOffer::sign(offer, &publisher()).expect("the assigner's key")
}

fn agreement() -> Agreement {
    let now = at("2026-11-24T12:00:00Z");
    let mut agreement =
        Agreement::accept(&offer(), consumer().party(), now).expect("another party");
    agreement.policy.uid = uuid::Uuid::from_u128(2);
    agreement
}

fn signed() -> SignedAgreement {
    let mut proposal = Proposal::sign(agreement(), &consumer()).expect("a party");
    proposal.add_signature(&publisher()).expect("the other party");
    proposal.complete().expect("both roles")
}

fn terms_of(specs: Vec<Permission>) -> Terms {
    let offer = SignedOffer::sign(offer_of(specs).expect("well-formed"), &publisher());
    let now = at("2026-11-24T12:00:00Z");
    let agreement = Agreement::accept(&offer.expect("signed"), consumer().party(), now);
    let mut proposal = Proposal::sign(agreement.expect("accepted"), &consumer()).expect("a party");
    proposal.add_signature(&publisher()).expect("the other party");
    Terms::compile(&proposal.complete().expect("both roles"))
}

/// The payload of the example, with one text replaced, signed properly by the consumer.
fn altered(from: &str, to: &str) -> AgreementError {
    let json =
        String::from_utf8(odrl::write_agreement(&agreement()).expect("small")).expect("text");
    assert!(json.contains(from), "`{from}` is not in {json}");
    let payload = json.replacen(from, to, 1).into_bytes();
    let envelope = Envelope::sign(AGREEMENT_TYPE, payload, &consumer()).expect("small");
    Proposal::parse(&envelope.to_bytes()).expect_err(to)
}

#[test]
fn the_document_is_odrl_in_canonical_json() {
    let json =
        String::from_utf8(odrl::write_agreement(&agreement()).expect("small")).expect("text");
    let expected = concat!(
        r#"{"@context":["http://www.w3.org/ns/odrl.jsonld","urn:hospes:context:1"],"@type":"Agreement","#,
        r#""assignee":"did:key:z6Mkj3PUd1WjvaDhNZhhhXQdz5UnZXmS7ehtx8bsPpD47kKc","#,
        r#""assigner":"did:key:z6MkonAu7bPfLMqBKTHJqnztedj73amSUiRNSQxk1KeACMsD","conflict":"prohibit","#,
        r#""hospes:issued":{"@type":"xsd:dateTime","@value":"2026-11-24T12:00:00Z"},"#,
        r#""hospes:offer":"OFFER","hospes:onSuspend":"finish","hospes:registry":"REGISTRY","permission":[{"action":[{"rdf:value":{"@id":"odrl:execute"},"#,
        r#""refinement":[{"leftOperand":"hospes:function","operator":"eq","rightOperand":"classify"}]}],"#,
        r#""constraint":[{"leftOperand":"count","operator":"lteq","rightOperand":1000,"unit":"hospes:call"},"#,
        r#"{"leftOperand":"dateTime","operator":"gteq","rightOperand":{"@type":"xsd:dateTime","@value":"2026-12-01T00:00:00Z"}},"#,
        r#"{"leftOperand":"dateTime","operator":"lt","rightOperand":{"@type":"xsd:dateTime","@value":"2027-12-01T00:00:00Z"}},"#,
        r#"{"leftOperand":"hospes:inputBytes","operator":"lteq","rightOperand":2097152,"unit":"hospes:byte"},"#,
        r#"{"leftOperand":"hospes:outputBytes","operator":"lteq","rightOperand":4096,"unit":"hospes:byte"}]},"#,
        r#"{"action":[{"rdf:value":{"@id":"odrl:execute"},"#,
        r#""refinement":[{"leftOperand":"hospes:function","operator":"eq","rightOperand":"embed"}]}]}],"#,
        r#""profile":"urn:hospes:profile:1","target":"urn:hospes:model:acme/digits@BUNDLE","#,
        r#""uid":"urn:uuid:00000000-0000-0000-0000-000000000002"}"#,
    )
    .replace("OFFER", &offer().id().to_string())
    .replace("REGISTRY", &RegistryVersion::newest().digest().to_string())
    .replace("BUNDLE", &Digest::of(b"bundle").to_string())
    .replace("did:key:z6Mkj3PUd1WjvaDhNZhhhXQdz5UnZXmS7ehtx8bsPpD47kKc", &consumer().party().to_string())
    .replace("did:key:z6MkonAu7bPfLMqBKTHJqnztedj73amSUiRNSQxk1KeACMsD", &publisher().party().to_string());
    assert_eq!(json, expected);
}

#[test]
fn reads_what_it_writes() {
    assert_eq!(SignedOffer::parse(&offer().to_bytes()).expect("its own form"), offer());
    assert_eq!(SignedAgreement::parse(&signed().to_bytes()).expect("its own form"), signed());
    assert_eq!(*signed().id(), Digest::of(&odrl::write_agreement(&agreement()).expect("small")));
    // A permission may end with a date or before it, and the order of constraints is the document's.
    let mut other = agreement();
    let end = at("2027-01-01T00:00:00.000001Z");
    let lines = [
        format!("dateTime lteq {end}"),
        "outputBytes lteq 0".into(),
        format!("count lteq {INTEGER_MAX} call"),
    ];
    other.policy.clauses.permissions[1] =
        limited(open_spec("embed"), &lines.each_ref().map(String::as_str));
    let json = odrl::write_agreement(&other).expect("small");
    assert_eq!(odrl::read_agreement(&json).expect("its own form"), other);
}

#[test]
fn every_single_byte_change_of_an_envelope_is_refused() {
    let bytes = signed().to_bytes();
    for index in 0..bytes.len() {
        for change in [1, 0x20, 0x80] {
            let mut changed = bytes.clone();
            changed[index] ^= change;
            assert!(SignedAgreement::parse(&changed).is_err(), "byte {index} with {change:#x}");
        }
    }
    for length in 0..bytes.len() {
        assert!(SignedAgreement::parse(&bytes[..length]).is_err(), "cut at {length}");
    }
}

#[test]
fn what_is_not_known_is_refused_with_its_place() {
    let cases = [
        ("urn:hospes:profile:1", "urn:hospes:profile:2", "/profile"),
        ("urn:hospes:context:1", "urn:hospes:context:2", "/@context"),
        (r#""@type":"Agreement""#, r#""@type":"Offer""#, "/@type"),
        (r#""conflict":"prohibit""#, r#""conflict":"perm""#, "/conflict"),
        ("odrl:execute", "odrl:distribute", "/permission/0/action/0/rdf:value/@id"),
        ("hospes:function", "hospes:export", "/permission/0/action/0/refinement/0/leftOperand"),
        ("hospes:onSuspend\":\"finish", "hospes:onSuspend\":\"wait", "/hospes:onSuspend"),
        (
            r#""operator":"eq""#,
            r#""operator":"neq""#,
            "/permission/0/action/0/refinement/0/operator",
        ),
        (
            r#""leftOperand":"count""#,
            r#""leftOperand":"virtualLocation""#,
            "/permission/0/constraint/0/leftOperand",
        ),
        (r#""operator":"lteq""#, r#""operator":"eq""#, "/permission/0/constraint/0/operator"),
        (r#""operator":"gteq""#, r#""operator":"isA""#, "/permission/0/constraint/1/operator"),
        ("hospes:call", "hospes:flop", "/permission/0/constraint/0/unit"),
        ("hospes:byte", "hospes:call", "/permission/0/constraint/3/unit"),
        (
            r#"{"@type":"xsd:dateTime","@value":"2026-12"#,
            r#"{"@type":"xsd:date","@value":"2026-12"#,
            "/permission/0/constraint/1/rightOperand/@type",
        ),
    ];
    for (from, to, wanted) in cases {
        match altered(from, to) {
            AgreementError::Unknown { pointer, .. } => assert_eq!(pointer, wanted),
            other => panic!("{to}: {other}"),
        }
    }
}

#[test]
fn what_is_malformed_is_refused_with_its_place() {
    let cases = [
        (
            r#""rightOperand":1000"#,
            r#""rightOperand":1000.0"#,
            "/permission/0/constraint/0/rightOperand",
        ),
        (
            r#""rightOperand":1000"#,
            r#""rightOperand":-1"#,
            "/permission/0/constraint/0/rightOperand",
        ),
        (
            r#""rightOperand":1000"#,
            r#""rightOperand":"1000""#,
            "/permission/0/constraint/0/rightOperand",
        ),
        (
            r#""rightOperand":1000"#,
            r#""rightOperand":1e3"#,
            "/permission/0/constraint/0/rightOperand",
        ),
        (
            "2026-12-01T00:00:00Z",
            "2026-12-01T00:00:00+00:00",
            "/permission/0/constraint/1/rightOperand/@value",
        ),
        (
            "2026-12-01T00:00:00Z",
            "2026-12-01T00:00:00.0Z",
            "/permission/0/constraint/1/rightOperand/@value",
        ),
        (
            "2026-12-01T00:00:00Z",
            "2026-12-01 00:00:00Z",
            "/permission/0/constraint/1/rightOperand/@value",
        ),
        (r#""classify""#, r#""Classify""#, "/permission/0/action/0/refinement/0/rightOperand"),
        ("acme/digits@", "acme/digits#", "/target"),
        ("urn:uuid:", "urn:oid:", "/uid"),
        (r#","unit":"hospes:call""#, "", "/permission/0/constraint/0/unit"),
    ];
    for (from, to, wanted) in cases {
        match altered(from, to) {
            AgreementError::Malformed { pointer, .. } => assert_eq!(pointer, wanted, "{to}"),
            other => panic!("{to}: {other}"),
        }
    }
}

#[test]
fn members_that_are_unknown_missing_or_twice_are_refused() {
    let added = altered(r#","operator":"lteq""#, r#","gracePeriod":"P1D","operator":"lteq""#);
    assert!(
        matches!(&added, AgreementError::Malformed { pointer, reason }
            if pointer.starts_with("/permission/0/constraint/0") && reason.contains("gracePeriod")),
        "{added}"
    );
    let empty = altered(r#""profile""#, r#""prohibition":[],"profile""#);
    assert!(
        matches!(empty, AgreementError::NotCanonical { .. }),
        "an empty list is left out: {empty}"
    );
    let policies = altered(r#""profile""#, r#""inheritAllowed":true,"profile""#);
    assert!(policies.to_string().contains("inheritAllowed"), "{policies}");
    let twice = altered(r#""unit":"hospes:call""#, r#""unit":"hospes:call","unit":"hospes:call""#);
    assert!(twice.to_string().contains("duplicate"), "{twice}");
    let missing = altered(r#""conflict":"prohibit","#, "");
    assert!(missing.to_string().contains("conflict"), "{missing}");
    let actions = altered(r#""action":[{"#, r#""action":[{},{"#);
    assert!(matches!(actions, AgreementError::Malformed { .. }), "{actions}");
    let null = altered(
        r#""hospes:issued":{"@type":"xsd:dateTime","@value":"2026-11-24T12:00:00Z"}"#,
        r#""hospes:issued":null"#,
    );
    assert!(
        matches!(&null, AgreementError::Malformed { pointer, .. } if pointer == "/hospes:issued"),
        "{null}"
    );
}

#[test]
fn a_second_spelling_is_refused() {
    for (from, to) in [
        (r#""conflict":"#, r#""conflict": "#),
        ("acme", r"\u0061cme"),
        (r#""unit":"hospes:call"}"#, r#""unit":"hospes:call"} "#),
        (r#"{"@context""#, r#" {"@context""#),
    ] {
        assert!(matches!(altered(from, to), AgreementError::NotCanonical { .. }), "{to}");
    }
    let tail = altered("000002\"}", "000002\"}{}");
    assert!(matches!(tail, AgreementError::Malformed { .. }), "{tail}");
}

#[test]
fn an_offer_and_an_agreement_are_never_taken_for_each_other() {
    let wrong = SignedOffer::parse(&signed().to_bytes());
    assert!(matches!(wrong, Err(AgreementError::PayloadType { .. })));
    let wrong = Proposal::parse(&offer().to_bytes());
    assert!(matches!(wrong, Err(AgreementError::PayloadType { .. })));
    // Nor by relabelling the bytes and signing them anew.
    let payload = odrl::write_offer(offer().offer()).expect("small");
    let relabelled = Envelope::sign(AGREEMENT_TYPE, payload, &publisher()).expect("small");
    let wrong = Proposal::parse(&relabelled.to_bytes());
    assert!(matches!(wrong, Err(AgreementError::Unknown { pointer, .. }) if pointer == "/@type"));
}

#[test]
fn both_roles_must_sign_and_nobody_else() {
    let one = |key: &PartyKey| Proposal::sign(agreement(), key);
    assert!(matches!(one(&key(3)), Err(AgreementError::NotAParty { .. })));
    for (first, second, missing) in
        [(publisher(), consumer(), Role::Consumer), (consumer(), publisher(), Role::Publisher)]
    {
        let proposal = one(&first).expect("a party");
        assert_eq!(proposal.missing(), [missing]);
        assert!(!proposal.signed_by(missing));
        let unsigned = SignedAgreement::parse(&proposal.to_bytes());
        assert!(matches!(unsigned, Err(AgreementError::Unsigned { role, .. }) if role == missing));
        let mut proposal = proposal.clone().complete().expect_err("one signature is missing");
        let twice = proposal.add_signature(&first);
        assert!(matches!(twice, Err(AgreementError::Envelope(DsseError::SignedTwice { .. }))));
        let stranger = proposal.add_signature(&key(3));
        assert!(matches!(stranger, Err(AgreementError::NotAParty { .. })));
        let theirs = one(&second).expect("a party");
        proposal.merge(&theirs).expect("the same agreement");
        assert_eq!(proposal.missing(), []);
        assert_eq!(proposal.complete().expect("both roles").id(), signed().id());
    }
}

#[test]
fn signatures_of_strangers_and_over_other_bytes_are_refused() {
    let payload = odrl::write_agreement(&agreement()).expect("small");
    for keys in [vec![key(3)], vec![publisher(), consumer(), key(3)]] {
        let mut envelope =
            Envelope::sign(AGREEMENT_TYPE, payload.clone(), &keys[0]).expect("small");
        keys[1..].iter().for_each(|key| envelope.add_signature(key).expect("a new party"));
        let refused = SignedAgreement::parse(&envelope.to_bytes());
        assert!(matches!(refused, Err(AgreementError::Envelope(DsseError::Stranger { .. }))));
    }
    // The publisher's signature over its own, more generous copy does not fit ours.
    let mut other = agreement();
    other.policy.clauses.permissions[0].constraints.clear();
    let theirs = Proposal::sign(other, &publisher()).expect("a party");
    let mut ours = Proposal::sign(agreement(), &consumer()).expect("a party");
    assert!(matches!(ours.merge(&theirs), Err(AgreementError::OtherAgreement)));
    let (ours, theirs) = (ours.to_bytes(), theirs.to_bytes());
    let (ours, theirs) = (String::from_utf8_lossy(&ours), String::from_utf8_lossy(&theirs));
    let payload_end = ours.find(r#"","payloadType"#).expect("a payload");
    let theirs_end = theirs.find(r#"","payloadType"#).expect("a payload");
    let forged = format!("{}{}", &ours[..payload_end], &theirs[theirs_end..]);
    let refused = Proposal::parse(forged.as_bytes());
    assert!(matches!(refused, Err(AgreementError::Envelope(DsseError::Forged { .. }))));
}

#[test]
fn an_offer_is_signed_by_its_assigner_alone() {
    let plain = offer().offer().clone();
    let refused = SignedOffer::sign(plain.clone(), &consumer());
    assert!(matches!(refused, Err(AgreementError::NotAParty { .. })));
    let payload = odrl::write_offer(&plain).expect("small");
    let kind = "application/vnd.hospes.offer.v1+json";
    let mut both = Envelope::sign(kind, payload, &publisher()).expect("small");
    both.add_signature(&consumer()).expect("a new party");
    let refused = SignedOffer::parse(&both.to_bytes());
    assert!(matches!(refused, Err(AgreementError::Envelope(DsseError::Stranger { .. }))));
}

#[test]
fn an_offer_is_accepted_whole_or_not_at_all() {
    agreement().matches(&offer()).expect("as offered");
    let mut more = agreement();
    more.policy.clauses.permissions[0].constraints[0].value = RightOperand::Integer(1001);
    let refused = more.matches(&offer());
    assert!(matches!(refused, Err(AgreementError::NotAsOffered { pointer: "/permission" })));
    let mut other = agreement();
    other.policy.clauses.target.versions = Versions::Bundle(Digest::of(b"another"));
    assert!(matches!(
        other.matches(&offer()),
        Err(AgreementError::NotAsOffered { pointer: "/target" })
    ));
    let mut other = agreement();
    other.policy.assigner = key(3).party();
    assert!(matches!(
        other.matches(&offer()),
        Err(AgreementError::NotAsOffered { pointer: "/assigner" })
    ));
    let mut other = agreement();
    other.offer = Digest::of(b"another");
    assert!(matches!(other.matches(&offer()), Err(AgreementError::OtherOffer { .. })));
    let own = Agreement::accept(&offer(), publisher().party(), at("2026-11-24T12:00:00Z"));
    assert!(matches!(own, Err(AgreementError::SameParty { .. })));
}

#[test]
fn two_agreements_on_the_same_offer_are_two() {
    let now = at("2026-11-24T12:00:00Z");
    let accept = || Agreement::accept(&offer(), consumer().party(), now).expect("accepted");
    assert_ne!(accept(), accept());
}

#[test]
fn limits_of_a_document() {
    let specs = |count: usize| vec![full_spec(); count];
    for count in [0, 65] {
        let refused = offer_of(specs(count));
        assert!(
            matches!(refused, Err(AgreementError::RuleCount { what: "permissions", count: seen, .. }) if seen == count)
        );
    }
    // What has no place in a document is refused when it is signed, and what is read is looked at no further.
    let longest = limited(
        open_spec(&"f".repeat(63)),
        &[
            "count lteq 9007199254740991 call",
            "dateTime gteq 2026-12-01T00:00:00.123456789Z",
            "inputBytes lteq 9007199254740991",
        ],
    );
    let offer =
        SignedOffer::sign(offer_of(vec![longest; 64]).expect("64 are allowed"), &publisher());
    assert!(SignedOffer::parse(&offer.expect("it fits").to_bytes()).is_ok());
    let mut large = full_spec();
    large.constraints[0].value = RightOperand::Integer(INTEGER_MAX + 1);
    let refused = offer_of(vec![large]);
    assert!(matches!(refused, Err(AgreementError::Malformed { pointer, .. })
        if pointer == "/permission/0/constraint/0/rightOperand"));
    let bytes = PAYLOAD_BYTES_MAX + 1;
    let refused = odrl::read_offer(&vec![b' '; bytes]);
    assert!(matches!(refused, Err(AgreementError::TooLarge { bytes: seen }) if seen == bytes));
    let bans = |count| {
        let mut clauses = Clauses::new(target(), vec![full_spec()]);
        for number in 0..count {
            clauses
                .add_line(&format!("prohibit execute f-{number}"), at("2026-11-24T12:00:00Z"))
                .expect("a clause");
        }
        Offer::new(publisher().party(), clauses, Vec::new())
    };
    bans(64).expect("64 are allowed");
    assert!(matches!(bans(65), Err(AgreementError::RuleCount { what: "prohibitions", .. })));
    let parties: Vec<_> = (10..75).map(|seed| key(seed).party()).collect();
    let clauses = Clauses::new(target(), vec![full_spec()]);
    let refused = Offer::new(publisher().party(), clauses, parties);
    assert!(matches!(refused, Err(AgreementError::Audience { count: 65 })));
}

#[test]
fn a_permission_that_never_allows_anything_is_refused() {
    let ended = limited(
        open_spec("f"),
        &["dateTime gteq 2026-12-01T00:00:00Z", "dateTime lt 2026-12-01T00:00:00Z"],
    );
    let refused = offer_of(vec![ended]);
    assert!(
        matches!(refused, Err(AgreementError::NeverAllows { pointer, .. }) if pointer == "/permission/0")
    );
    let moment = limited(
        open_spec("f"),
        &["dateTime gteq 2026-12-01T00:00:00Z", "dateTime lteq 2026-12-01T00:00:00Z"],
    );
    offer_of(vec![moment]).expect("one moment is not none");
    let mut never = full_spec();
    never.constraints[0].value = RightOperand::Integer(0);
    assert!(matches!(
        offer_of(vec![never]),
        Err(AgreementError::Malformed { pointer, .. }) if pointer == "/permission/0/constraint/0/rightOperand"
    ));
    let twice =
        altered(r#""leftOperand":"hospes:outputBytes""#, r#""leftOperand":"hospes:inputBytes""#);
    assert!(
        matches!(twice, AgreementError::Repeated { pointer } if pointer == "/permission/0/constraint/4")
    );
}

#[test]
fn a_party_that_cannot_sign_is_refused() {
    let weak = Party::from_public_key([0; 32]);
    let offered = Offer::new(weak, Clauses::new(target(), vec![full_spec()]), Vec::new());
    assert!(matches!(offered, Err(AgreementError::WeakParty { pointer: "/assigner", .. })));
    let accepted = Agreement::accept(&offer(), weak, at("2026-11-24T12:00:00Z"));
    assert!(matches!(accepted, Err(AgreementError::WeakParty { pointer: "/assignee", .. })));
}

#[test]
fn the_envelope_s_payload_is_the_document() {
    let envelope: serde_json::Value =
        serde_json::from_slice(&signed().to_bytes()).expect("an envelope is JSON");
    let payload = STANDARD.decode(envelope["payload"].as_str().expect("text")).expect("base64");
    assert_eq!(payload, serde_json_canonicalizer::to_vec(signed().agreement()).expect("JSON"));
}
