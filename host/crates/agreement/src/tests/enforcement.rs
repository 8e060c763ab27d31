//! Tests of agreements: what compiled terms allow, why not, and the page that says so.

use super::*;
use crate::ledger::Usage;
use hospes_core::capability::{Capabilities, Capability};

fn facts<'a>(function: &'a FunctionName, now: &str, input_bytes: u64) -> CallFacts<'a> {
    CallFacts {
        function,
        now: at(now),
        input_bytes,
        purpose: None,
        country: None,
        imports: Capabilities::default(),
    }
}

fn permitted(terms: &Terms, name: &str, now: &str, input_bytes: u64) -> Vec<u16> {
    let function = function(name);
    terms.permits(&facts(&function, now, input_bytes)).iter().collect()
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
    let end = "2027-01-01T00:00:00Z";
    for (operator, before, then, after) in [
        ("lteq", true, true, false),
        ("lt", true, false, false),
        ("gt", false, false, true),
        ("gteq", false, true, true),
    ] {
        let terms =
            terms_of(vec![limited(open_spec("f"), &[&format!("dateTime {operator} {end}")])]);
        let allows = |now: &str| !permitted(&terms, "f", now, 1).is_empty();
        assert_eq!(allows("2026-12-31T23:59:59.999999Z"), before, "{operator}");
        assert_eq!(allows(end), then, "{operator}");
        assert_eq!(allows("2027-01-01T00:00:00.000001Z"), after, "{operator}");
    }
}

#[test]
fn a_rule_carries_what_is_checked_later() {
    let terms = Terms::compile(&signed());
    let rule = &terms.rules()[0];
    assert_eq!(rule.output_bytes_max(), Some(4096));
    assert_eq!(rule.ends(), Some(at("2027-12-01T00:00:00Z")));
    assert_eq!(rule.limits().most, [Some(1000), None, None, None]);
    assert_eq!(terms.rules()[1].function().as_str(), "embed");
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
    let call = facts(&function, "2028-01-01T00:00:00Z", 3_000_000);
    let report = |call: &CallFacts<'_>| {
        let facts = Facts { call: *call, input: None };
        Report::new(agreement().clauses(), &terms, &facts, &[Usage::default(); 2])
    };
    let denied = report(&call);
    assert_eq!(denied.decision, Decision::Denied);
    assert_eq!(
        denied.to_string(),
        "no permission of the agreement allows this call: `/permission/0/constraint/2` requires `dateTime` before \
         2027-12-01T00:00:00Z, but it is 2028-01-01T00:00:00Z; `/permission/0/constraint/3` requires `hospes:inputBytes` at \
         most 2097152 bytes, but it is 3000000"
    );
    assert_eq!(
        serde_json::to_value(denied.unmet()[1]).expect("plain data"),
        serde_json::json!({
            "clause": "/permission/0/constraint/3",
            "leftOperand": "hospes:inputBytes",
            "satisfactionState": "Unsatisfied",
            "enforcement": "prevent",
            "seen": "3000000",
            "wanted": "at most 2097152 bytes",
        })
    );
    let other = "segment".parse().expect("a function name");
    let denied = report(&CallFacts { function: &other, ..call });
    let named = denied.unmet().into_iter().filter(|unmet| unmet.operand == "hospes:function");
    assert_eq!(named.count(), 2, "every rule is for another function: {denied}");
    let embed = "embed".parse().expect("a function name");
    assert_eq!(report(&CallFacts { function: &embed, ..call }).decision, Decision::Permitted);
}

#[test]
fn a_prohibition_wins_and_what_is_not_known_is_held_against_the_caller() {
    let now = at("2026-11-24T12:00:00Z");
    let of = |lines: &[&str]| {
        let mut clauses = Clauses::new(target(), vec![open_spec("f"), open_spec("g")]);
        lines.iter().for_each(|line| clauses.add_line(line, now).expect(line));
        let offer = Offer::new(publisher().party(), clauses, Vec::new()).expect("well-formed");
        let offer = SignedOffer::sign(offer, &publisher()).expect("signed");
        let agreement = Agreement::accept(&offer, consumer().party(), now).expect("accepted");
        Terms::preview(offer.id(), &agreement)
    };
    let (f, g) = (function("f"), function("g"));
    let call = facts(&f, "2027-01-01T00:00:00Z", 1);
    let with = |purpose, country| CallFacts { purpose, country, ..call };
    let german = Some("http://publications.europa.eu/resource/authority/country/DEU");
    let allows = |terms: &Terms, facts: &CallFacts<'_>| !terms.permits(facts).is_empty();

    assert!(
        !allows(&of(&["prohibit execute"]), &call),
        "an unconstrained prohibition is unconditional"
    );
    let only_g = of(&["prohibit execute g"]);
    assert!(allows(&only_g, &call) && !allows(&only_g, &CallFacts { function: &g, ..call }));
    let purposes = of(&["prohibit execute where purpose isAnyOf urn:x:spam"]);
    assert!(allows(&purposes, &call) && allows(&purposes, &with(Some("urn:x:mail"), None)));
    assert!(!allows(&purposes, &with(Some("urn:x:spam"), None)));
    let unless = of(&["prohibit execute where purpose isNoneOf urn:x:mail"]);
    assert!(!allows(&unless, &call) && allows(&unless, &with(Some("urn:x:mail"), None)));
    // Both of two constraints have to hold, as ODRL has it.
    let both = of(&[
        "prohibit execute where purpose isAnyOf urn:x:spam and dateTime lt 2026-12-31T00:00:00Z",
    ]);
    assert!(allows(&both, &with(Some("urn:x:spam"), None)));
    for line in [
        "prohibit execute where spatial isAnyOf DEU",
        "spatial isNoneOf DEU",
        "spatial isAnyOf FRA",
    ] {
        let terms = of(&[line]);
        assert!(!allows(&terms, &call), "{line}: the country is not known");
        assert!(!allows(&terms, &with(None, german)), "{line}");
    }
    assert!(allows(&of(&["spatial isAnyOf DEU,FRA"]), &with(None, german)));
    assert!(!allows(&of(&["purpose isNoneOf urn:x:spam"]), &call), "a purpose has to be declared");
    let withheld = of(&["hostCapability isNoneOf clock"]);
    let imports = |one| CallFacts { imports: [one].into_iter().collect(), ..call };
    assert!(
        allows(&withheld, &imports(Capability::Random))
            && !allows(&withheld, &imports(Capability::Clock))
    );
}

#[test]
fn the_page_says_what_is_enforced() {
    let page = render(&agreement());
    let expected = format!(
        "Agreement to use acme/digits\n\n\
         Publisher: {}\nConsumer:  {}\nDrawn up:  2026-11-24T12:00:00Z\nFrom:      {}\nVersions:  bundle {}\n\n\
         Permission 0\n\
         \x20 [prevent] The consumer may execute the function `classify`.\n\
         \x20 [prevent] At most 1000 calls in all.\n\
         \x20 [prevent] Calls begin at 2026-12-01T00:00:00Z or later.\n\
         \x20 [prevent] Calls begin before 2027-12-01T00:00:00Z.\n\
         \x20 [prevent] The arguments of a call are at most 2097152 bytes.\n\
         \x20 [prevent] An answer of more than 4096 bytes is not released.\n\n\
         Permission 1\n\
         \x20 [prevent] The consumer may execute the function `embed`.\n\n\
         For the whole agreement\n\
         \x20 [prevent] A call that no permission allows is refused. A prohibition that applies overrides every permission.\n\
         \x20 [prevent] No other version of the model runs under these terms.\n\
         \x20 [prevent] When the agreement is suspended or ended, running calls may finish.\n\
         \x20 [record]  The host writes a receipt for every call that runs, and for refused calls, except when there are many in a row.\n\
         \x20 [detect]  Verifying the receipts shows whether one was dropped or changed.\n\n\
         [prevent] the host makes a violation impossible; [detect] it relies on a statement, or becomes visible later; [record] it is a promise.\n",
        publisher().party(),
        consumer().party(),
        offer().id(),
        Digest::of(b"bundle"),
    );
    assert_eq!(page, expected);
    assert!(render_offer(offer().offer()).contains("any party that accepts this offer"));
    let lines = offer_lines(offer().offer());
    assert!(
        lines[0].starts_with("classify: At most 1000 calls in all. Calls begin at"),
        "{lines:?}"
    );
    assert_eq!(lines[1], "embed: No limits.");
}

#[test]
fn a_part_is_no_wider_than_the_whole() {
    let now = at("2026-11-24T12:00:00Z");
    let of = |lines: &[&str]| {
        let mut clauses = Clauses::new(target(), vec![open_spec("f")]);
        lines.iter().for_each(|line| clauses.add_line(line, now).expect(line));
        clauses
    };
    let above = of(&[
        "grant-use 2",
        "count lteq 100 call",
        "purpose isAnyOf urn:x:a,urn:x:b",
        "inputShape lteq 8,0,3",
        "timeInterval eq PT1S",
        "hostCapability isNoneOf clock",
        "callRate lteq 5 PT1S",
        "dateTime lt 2027-01-01T00:00:00Z",
        "prohibit distribute outputs",
        "on-suspend abort",
    ]);
    let same = [
        "grant-use 1",
        "count lteq 100 call",
        "purpose isAnyOf urn:x:a",
        "inputShape lteq 8,9,3",
        "timeInterval eq PT2S",
        "hostCapability isNoneOf clock,random",
        "callRate lteq 4 PT1S",
        "dateTime lt 2026-12-01T00:00:00Z",
        "prohibit distribute outputs",
        "on-suspend abort",
        "topK lteq 1",
    ];
    assert_eq!(parent_rules(&of(&same), &above), Ok(vec![0]));
    let wider = [
        (0, "grant-use 2", "/permission"),
        (1, "count lteq 101 call", "/permission/0"),
        (1, "count lteq 5 row", "/permission/0"),
        (2, "purpose isAnyOf urn:x:a,urn:x:c", "/permission/0"),
        (2, "purpose isNoneOf urn:x:c", "/permission/0"),
        (3, "inputShape lteq 8,9,0", "/permission/0"),
        (4, "timeInterval eq PT0.5S", "/permission/0"),
        (5, "hostCapability isNoneOf random", "/permission/0"),
        (6, "callRate lteq 5 PT0.5S", "/permission/0"),
        (7, "dateTime lteq 2027-01-01T00:00:00Z", "/permission/0"),
        (8, "prohibit derive outputs", "/prohibition"),
        (9, "on-suspend finish", "/hospes:onSuspend"),
    ];
    for (place, line, pointer) in wider {
        let mut lines = same;
        lines[place] = line;
        let refused = parent_rules(&of(&lines), &above).expect_err(line);
        assert_eq!(refused.pointer, pointer, "{line}: {refused}");
    }
    let closed = of(&["count lteq 100 call"]);
    assert_eq!(parent_rules(&closed, &closed).expect_err("no grant").pointer, "/inheritFrom");
}

#[test]
fn every_template_makes_an_offer_that_reads_back() {
    let now = at("2026-11-24T12:00:00Z");
    for template in &templates::TEMPLATES {
        let mut clauses = Clauses::new(target(), vec![open_spec("f"), open_spec("g")]);
        template.apply(&mut clauses, &[], now).expect(template.name);
        let offer = Offer::new(publisher().party(), clauses, Vec::new()).expect(template.name);
        let offer = SignedOffer::sign(offer, &publisher()).expect("signed");
        assert_eq!(SignedOffer::parse(&offer.to_bytes()).expect(template.name), offer);
        for (hole, default) in template.holes() {
            assert!(!default.is_empty(), "{}: {hole}", template.name);
        }
    }
    let trial = templates::Template::named("trial").expect("a template");
    let mut clauses = Clauses::new(target(), vec![limited(open_spec("f"), &["count lteq 7 call"])]);
    trial.apply(&mut clauses, &[("rate".to_owned(), "9".to_owned())], now).expect("filled");
    let count = clauses.permissions[0].constraint(Operand::Count).expect("a count");
    assert_eq!(count.value, RightOperand::Integer(7), "what was said expressly counts");
    assert_eq!(
        clauses.permissions[0].constraint(Operand::CallRate).expect("a rate").value,
        RightOperand::Integer(9)
    );
    let wrong = trial.apply(&mut clauses, &[("colour".to_owned(), "red".to_owned())], now);
    assert!(wrong.expect_err("no such hole").to_string().contains("`calls`"));
}

#[test]
fn what_could_not_be_read_again_is_not_written_either() {
    // Found by fuzzing: a price in a currency that is none was signed, and then nobody could read the offer.
    let now = at("2026-11-24T12:00:00Z");
    for line in
        ["price 0.5 EU{{{ per call", "price 0.5 eur per call", "price 0.5 EUR per call free 0"]
    {
        let mut clauses = Clauses::new(target(), vec![open_spec("f")]);
        clauses.add_line(line, now).expect("its words are a price's");
        let refused = Offer::new(publisher().party(), clauses, Vec::new());
        assert!(
            matches!(refused, Err(AgreementError::Malformed { pointer, .. }) if pointer == "/permission/0/duty"),
            "{line}"
        );
    }
    for verb in [registry::Verb::Execute, registry::Verb::Train, registry::Verb::Inform] {
        let mut clauses = Clauses::new(target(), vec![open_spec("f")]);
        clauses.prohibitions.push(Prohibition {
            bound: Role::Consumer,
            ban: Ban::Data { verb, asset: Asset::Outputs },
            constraints: Vec::new(),
        });
        let fits = Offer::new(publisher().party(), clauses, Vec::new()).is_ok();
        assert_eq!(fits, verb == registry::Verb::Train, "{verb:?}");
        let mut clauses = Clauses::new(target(), vec![open_spec("f")]);
        clauses.obligations.push(Obligation { bound: Role::Consumer, verb });
        let fits = Offer::new(publisher().party(), clauses, Vec::new()).is_ok();
        assert_eq!(fits, verb == registry::Verb::Inform, "{verb:?}");
    }
}

#[test]
fn lines_that_are_no_clauses_say_why() {
    let now = at("2026-11-24T12:00:00Z");
    for (line, why) in [
        ("", "OPERAND OPERATOR VALUE"),
        ("colour eq red", "no operand `colour`"),
        ("count eq 5 call", "`lteq` with `count`"),
        ("count lteq five call", "not a whole number"),
        ("count lteq 5", "a value and a unit"),
        ("count lteq 5 parsec", "not a unit"),
        ("version gteq 1.0.0", "only"),
        ("purpose isAnyOf spam", "expected an IRI"),
        ("dateTime lt tomorrow", "not a date"),
        ("prohibit sing inputs", "not an action"),
        ("prohibit derive weights", "neither `inputs` nor `outputs`"),
        ("oblige auditor attribute", "neither `publisher` nor `consumer`"),
        ("price 0.1 EUR per call paid", "free N"),
        ("notice P1M", "P30D"),
    ] {
        let mut clauses = Clauses::new(target(), vec![open_spec("f")]);
        let before = clauses.clone();
        let error = clauses.add_line(line, now).expect_err(line).to_string();
        assert!(error.contains(why), "{line}: {error}");
        assert_eq!(clauses, before, "{line}");
    }
}

#[test]
fn the_profile_s_files_are_written_from_the_table() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../profile");
    let page = folder.join("README.md");
    let text = std::fs::read_to_string(&page).unwrap_or_default();
    let (begin, end) = ("<!-- tables -->\n", "<!-- /tables -->");
    let before = text.split_once(begin).map_or(text.as_str(), |(before, _)| before);
    let after = text.split_once(end).map_or("", |(_, after)| after);
    let tables = profile::tables();
    let files = [
        (folder.join("registry/1.json"), RegistryVersion::newest().text()),
        (folder.join("wording.json"), profile::wording()),
        (folder.join("schema.json"), profile::schema()),
        (page, format!("{before}{begin}{tables}{end}{after}")),
    ];
    for (path, wanted) in files {
        // To write them anew: `make profile`.
        if std::env::var_os("HOSPES_WRITE_PROFILE").is_some() {
            std::fs::write(&path, &wanted).expect("writable");
        }
        let found = std::fs::read_to_string(&path).expect("a file");
        assert!(
            found == wanted,
            "`{}` is not what the table says: run `make profile`",
            path.display()
        );
    }
}
