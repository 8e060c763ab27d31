//! Evaluation: clauses as lines of text, then calls. The compiled terms and the explanation must
//! agree, and nothing may panic.
#![no_main]

use std::time::Duration;

use hospes::admission::{Ledger, Spent, Want};
use hospes::agreement::{
    Agreement, CallFacts, Clauses, Decision, Facts, InputFacts, Offer, Permission, Report,
    SignedOffer, Target, Terms, Versions, render,
};
use hospes::capability::Capability;
use hospes::id::Digest;
use hospes::key::PartyKey;
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u64, &str)| {
    let (seed, text) = input;
    let issued = Timestamp::from_second(1_796_083_200).expect("a time");
    let function: hospes::id::FunctionName = "f".parse().expect("a name");
    let target = Target {
        model: "acme/m".parse().expect("a model"),
        versions: Versions::Bundle(Digest::of(b"m")),
    };
    let mut clauses = Clauses::new(target, vec![Permission::new(function.clone())]);
    for line in text.lines().take(24) {
        let before = clauses.clone();
        if clauses.add_line(line, issued).is_err() {
            assert_eq!(clauses, before, "an invalid line changes nothing");
        }
    }
    let [acme, zoe] = [[1; 32], [2; 32]].map(|secret| PartyKey::from_secret(&secret));
    let Ok(offer) = Offer::new(acme.party(), clauses, Vec::new()) else { return };
    let Ok(offer) = SignedOffer::sign(offer, &acme) else { return };
    assert_eq!(SignedOffer::parse(&offer.to_bytes()).expect("a written offer parses"), offer);
    let Ok(agreement) = Agreement::accept(&offer, zoe.party(), issued) else { return };
    assert!(!render(&agreement).is_empty());
    let terms = Terms::preview(offer.id(), &agreement);
    let ledgers: Vec<_> =
        terms.rules().iter().map(|rule| Ledger::new(rule.limits().clone(), None)).collect();
    for turn in 0..6_u32 {
        let bits = seed.rotate_left(turn * 11);
        let after = Duration::from_millis(bits % 100_000 * u64::from(turn));
        let facts = CallFacts {
            function: &function,
            now: issued.checked_add(after).expect("a time"),
            input_bytes: bits % 300,
            purpose: ["urn:x:a", "urn:x:b"].get((bits % 3) as usize).copied(),
            country: None,
            imports: Capability::ALL
                .into_iter()
                .filter(|one| bits >> (*one as u32) & 1 == 1)
                .collect(),
        };
        let input = InputFacts { rows: 1 + bits % 5, tensors: &[] };
        let rules = terms.narrow(terms.permits(&facts), &input);
        let usage: Vec<_> = ledgers.iter().map(|ledger| ledger.usage(facts.now)).collect();
        let want = Want {
            now: facts.now,
            rows: input.rows,
            input_bytes: facts.input_bytes,
            output_bytes_max: bits % 1000,
            wall_max: Duration::from_millis(bits % 5000 + 1),
        };
        let report = Report::new(
            agreement.clauses(),
            &terms,
            &Facts { call: facts, input: Some(input) },
            &usage,
        );
        let reserved = rules.iter().find_map(|rule| ledgers[usize::from(rule)].reserve(&want).ok());
        assert_eq!(report.decision == Decision::Permitted, reserved.is_some(), "{report}");
        assert!(!report.to_string().is_empty());
        if let Some(reservation) = reserved {
            let spent = Spent { bytes: bits % 2000, wall: Duration::from_millis(bits % 9000) };
            let _charged = reservation.commit(&spent, Ok::<_, ()>).expect("charged");
        }
    }
});
