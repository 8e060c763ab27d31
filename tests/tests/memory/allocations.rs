//! Evaluating an agreement allocates no memory, because every call does it.

use hospes::agreement::{Agreement, CallFacts, InputFacts, Permission, Terms};
use hospes::capability::Capabilities;
use hospes::id::Digest;
use jiff::Timestamp;
use system_tests::{Limited as _, Party};

use crate::counting::allocations;

#[test]
fn evaluating_64_rules_allocates_nothing() {
    const LINES: [&str; 9] = [
        "count lteq 1000000 call",
        "dateTime gteq 2026-01-01T00:00:00Z",
        "dateTime lt 2099-01-01T00:00:00Z",
        "dailyWindow eq 00:00-24:00 Europe/Paris",
        "purpose isAnyOf https://w3id.org/dpv#AcademicResearch,https://w3id.org/dpv#ResearchAndDevelopment",
        "inputBytes lteq 1048576",
        "batchRows lteq 64",
        "hostCapability isNoneOf clock,network",
        "topK lteq 5",
    ];
    let rules = (0..64).map(|number| {
        let function = format!("function-{number}").parse().expect("a name");
        LINES.iter().fold(Permission::new(function), |permission, line| permission.limit(line))
    });
    let party =
        |name: &str| Party { name: name.into(), key: Party::key_of(name), api_key: String::new() };
    let (acme, zoe) = (party("acme"), party("zoe"));
    let offer = acme.offer(&"acme/m".parse().expect("a model"), Digest::of(b"m"), rules.collect());
    let agreement = Agreement::accept(&offer, zoe.key.party(), Timestamp::now()).expect("accepted");
    let terms = Terms::preview(offer.id(), &agreement);
    let function = "function-63".parse().expect("a name");
    let facts = CallFacts {
        function: &function,
        now: Timestamp::now(),
        input_bytes: 100,
        purpose: Some("https://w3id.org/dpv#ResearchAndDevelopment"),
        country: None,
        imports: Capabilities::default(),
    };
    let before = allocations();
    let rules = terms.narrow(terms.permits(&facts), &InputFacts { rows: 1, tensors: &[] });
    let after = allocations();
    assert_eq!(rules.iter().collect::<Vec<_>>(), [63]);
    assert_eq!(after - before, 0, "allocations");
    assert!(allocations() > after, "the allocations are counted");
}
