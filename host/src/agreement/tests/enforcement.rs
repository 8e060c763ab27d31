//! Tests of agreements: what compiled terms allow, and the page that says so.

use proptest::prelude::*;

use super::*;

fn permitted(terms: &Terms, name: &str, now: &str, input_bytes: u64) -> Vec<u16> {
    let function = function(name);
    let facts = CallFacts { function: &function, now: at(now), input_bytes };
    terms.permits(&facts).map(|permit| permit.rule).collect()
}

#[test]
fn the_boundaries_of_dates_and_bytes() {
    let terms = Terms::compile(&signed());
    for (now, allowed) in [
        ("2026-11-30T23:59:59.999999999Z", false),
        ("2026-12-01T00:00:00Z", true),
        ("2027-11-30T23:59:59.999999999Z", true),
        ("2027-12-01T00:00:00Z", false),
    ] {
        assert_eq!(!permitted(&terms, "classify", now, 1).is_empty(), allowed, "{now}");
        assert_eq!(permitted(&terms, "embed", now, 1), [1], "embed has no dates");
    }
    assert_eq!(permitted(&terms, "classify", "2027-01-01T00:00:00Z", 2_097_152), [0]);
    assert_eq!(permitted(&terms, "classify", "2027-01-01T00:00:00Z", 2_097_153), [0_u16; 0]);
    assert_eq!(permitted(&terms, "other", "2027-01-01T00:00:00Z", 1), [0_u16; 0]);
    let mut inclusive = agreement();
    inclusive.policy.permissions[1].constraints =
        vec![Constraint::Until(at("2027-01-01T00:00:00Z"))];
    let mut proposal = Proposal::sign(inclusive, &consumer()).expect("a party");
    proposal.add_signature(&publisher()).expect("the other party");
    let terms = Terms::compile(&proposal.complete().expect("both roles"));
    assert_eq!(permitted(&terms, "embed", "2027-01-01T00:00:00Z", 1), [1]);
    assert_eq!(permitted(&terms, "embed", "2027-01-01T00:00:00.000000001Z", 1), [0_u16; 0]);
}

#[test]
fn a_permit_carries_what_is_checked_later() {
    let terms = Terms::compile(&signed());
    let function = function("classify");
    let facts = CallFacts { function: &function, now: at("2027-01-01T00:00:00Z"), input_bytes: 1 };
    let ends = Some(at("2027-12-01T00:00:00Z"));
    let permit = Permit { rule: 0, output_bytes_max: Some(4096), ends };
    assert_eq!(terms.permits(&facts).collect::<Vec<_>>(), [permit]);
    let rules: Vec<_> =
        terms.rules().map(|r| (r.rule, r.count_max, r.ends, r.function.as_str())).collect();
    assert_eq!(rules, [(0, Some(1000), ends, "classify"), (1, None, None, "embed")]);
    assert_eq!(terms.agreement(), signed().id());
    assert_eq!(terms.assignee(), &consumer().party());
}

#[test]
fn terms_end_when_every_rule_has_ended() {
    assert!(!Terms::compile(&signed()).is_ended(at("2099-01-01T00:00:00Z")), "embed never ends");
    let terms = terms_of(vec![full_spec()]);
    assert!(!terms.is_ended(at("2026-01-01T00:00:00Z")), "not begun is not ended");
    assert!(!terms.is_ended(at("2027-11-30T23:59:59Z")));
    assert!(terms.is_ended(at("2027-12-01T00:00:00Z")));
}

#[test]
fn a_denial_names_the_clause_what_was_seen_and_what_is_wanted() {
    let terms = Terms::compile(&signed());
    let function = function("classify");
    let facts =
        CallFacts { function: &function, now: at("2028-01-01T00:00:00Z"), input_bytes: 3_000_000 };
    let denial = terms.denial(&facts);
    assert_eq!(
        denial.to_string(),
        "no permission of the agreement allows this call: permission 0 wants `dateTime` before 2027-12-01T00:00:00Z, and \
         it is 2028-01-01T00:00:00Z; permission 0 wants `hospes:inputBytes` at most 2097152, and it is 3000000"
    );
    assert_eq!(
        serde_json::to_string(&denial.clauses[1]).expect("plain data"),
        r#"{"rule":0,"clause":"hospes:inputBytes","seen":"3000000","wanted":"at most 2097152"}"#
    );
    let other = "segment".parse().expect("a function name");
    let denial = terms.denial(&CallFacts { function: &other, ..facts });
    let named: Vec<_> =
        denial.clauses.iter().filter(|unmet| unmet.clause == Clause::Function).collect();
    assert_eq!(named.len(), 2, "every rule is for another function: {denial}");
}

#[test]
fn the_page_says_what_is_enforced() {
    let page = render(&agreement());
    let expected = format!(
        "Agreement to use acme/digits\n\n\
         Publisher: {}\nConsumer:  {}\nAccepted:  2026-11-24T12:00:00Z\nOffer:     {}\nBundle:    {}\n\n\
         Permission 0\n\
         \x20 [prevent] The consumer may execute the function `classify`.\n\
         \x20 [prevent] At most 1000 calls in all.\n\
         \x20 [prevent] Calls begin at 2026-12-01T00:00:00Z or later.\n\
         \x20 [prevent] Calls begin before 2027-12-01T00:00:00Z.\n\
         \x20 [prevent] The arguments of a call are at most 2097152 bytes.\n\
         \x20 [prevent] An answer of more than 4096 bytes is not released.\n\n\
         Permission 1\n\
         \x20 [prevent] The consumer may execute the function `embed`.\n\n\
         For all permissions\n\
         \x20 [prevent] Whatever no permission allows is refused.\n\
         \x20 [prevent] No other version of the model runs under these terms.\n\
         \x20 [record]  Every call, and every refused call of the consumer, leaves a receipt.\n\
         \x20 [detect]  A receipt that was dropped or changed shows when receipts are verified.\n\n\
         [prevent] the host makes it impossible; [detect] it shows afterwards; [record] it is written down.\n",
        publisher().party(),
        consumer().party(),
        offer().id(),
        Digest::of(b"bundle"),
    );
    assert_eq!(page, expected);
    assert!(render_offer(offer().offer()).contains("whoever accepts this offer"));
    let first = "classify: at most 1000 calls, from 2026-12-01T00:00:00Z, before 2027-12-01T00:00:00Z, \
                 arguments of at most 2097152 bytes, answers of at most 4096 bytes";
    assert_eq!(offer_lines(offer().offer()), [first, "embed: no limits"]);
}

fn any_spec() -> impl Strategy<Value = PermissionSpec> {
    let second = || proptest::option::of(0_i64..20);
    let bytes = || proptest::option::of(0_u64..20);
    (0..3_usize, proptest::option::of(1_u64..5), second(), second(), bytes(), bytes()).prop_map(
        |(name, count, from, until, input_bytes_max, output_bytes_max)| PermissionSpec {
            function: function(["a", "b", "c"][name]),
            count,
            from: from.map(second_at),
            until: until.map(second_at),
            input_bytes_max,
            output_bytes_max,
        },
    )
}

fn second_at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a small number")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn terms_decide_as_the_specification_reads(
        specs in proptest::collection::vec(any_spec(), 1..5),
        calls in proptest::collection::vec((0..3_usize, 0_i64..20, 0_u64..20), 1..40),
    ) {
        let sensible = |spec: &PermissionSpec| match (spec.from, spec.until) {
            (Some(from), Some(until)) => from < until,
            _ => true,
        };
        prop_assume!(specs.iter().all(sensible));
        let terms = terms_of(specs.clone());
        for (name, second, input_bytes) in calls {
            let (function, now) = (function(["a", "b", "c"][name]), second_at(second));
            let facts = CallFacts { function: &function, now, input_bytes };
            let expected: Vec<_> = specs.iter().enumerate().filter(|(_, spec)| {
                spec.function == function
                    && spec.from.is_none_or(|from| from <= now)
                    && spec.until.is_none_or(|until| now < until)
                    && spec.input_bytes_max.is_none_or(|max| input_bytes <= max)
            }).map(|(rule, _)| rule).collect();
            let seen: Vec<_> = terms.permits(&facts).map(|permit| usize::from(permit.rule)).collect();
            prop_assert_eq!(&seen, &expected);
            // A denial has a reason exactly when nothing is permitted for this function.
            prop_assert!(!seen.is_empty() || !terms.denial(&facts).clauses.is_empty());
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(odrl::read_offer(&bytes).is_err());
        prop_assert!(Proposal::parse(&bytes).is_err());
    }
}
