//! Compares the host's evaluation and quota with the reference model, on random agreements and
//! calls.

use std::time::Duration;

use hospes::admission::{Ledger, Reservation, Spent, Want};
use hospes::agreement::{
    Agreement, CallFacts, Clauses, Decision, Facts, InputFacts, Offer, Permission, Report,
    SignedOffer, Target, Terms, Versions,
};
use hospes::capability::Capability;
use hospes::id::{Digest, FunctionName};
use jiff::Timestamp;
use std::sync::Arc;
use system_tests::{Asked, Party, Reference, Verdict};

const TRACES: u64 = 100_000;
const STEPS: usize = 10;
const COUNTRY: &str = "http://publications.europa.eu/resource/authority/country/";
const EPOCH: i64 = 1_796_083_200; // 2026-12-01T00:00:00Z

/// SplitMix64 (Steele, Lea, Flood 2014): a trace depends only on its number.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u64) as usize]
    }
}

fn at(second: u64) -> Timestamp {
    Timestamp::from_second(EPOCH + second as i64).expect("a time")
}

const PURPOSES: [&str; 3] = ["urn:x:a", "urn:x:b", "urn:x:c"];

fn constraint(random: &mut Random) -> String {
    let hour = random.below(24);
    match random.below(19) {
        0 => format!("dateTime {} {}", random.one(&["lt", "lteq"]), at(random.below(120))),
        1 => format!("dateTime {} {}", random.one(&["gt", "gteq"]), at(random.below(60))),
        2 => format!(
            "dailyWindow eq {hour:02}:{:02}-{:02}:01 {}",
            random.below(60),
            random.below(24),
            random.one(&["UTC", "Europe/Paris", "Asia/Kolkata", "America/New_York"])
        ),
        3 => format!("purpose isAnyOf {}", random.one(&["urn:x:a", "urn:x:a,urn:x:b"])),
        4 => format!("purpose isNoneOf {}", random.one(&PURPOSES)),
        5 => format!(
            "spatial {} {}",
            random.one(&["isAnyOf", "isNoneOf"]),
            random.one(&["DEU", "FRA", "DEU,FRA"])
        ),
        6 => format!("timeInterval eq PT{}S", 1 + random.below(8)),
        7 => format!("elapsedTime lteq PT{}S", 1 + random.below(40)),
        8 => format!("meteredTime lteq PT{}S", 1 + random.below(12)),
        9 => format!("count lteq {} call", 1 + random.below(5)),
        10 => format!("count lteq {} row", 1 + random.below(9)),
        11 => format!("count lteq {} byte", 1 + random.below(400)),
        12 => format!("callsPerInterval lteq {} PT{}S", 1 + random.below(3), 5 + random.below(20)),
        13 => {
            let calls = 1 + random.below(3);
            format!("callRate lteq {calls} PT{}S", calls * (1 + random.below(6)))
        }
        14 => format!("concurrency lteq {}", 1 + random.below(3)),
        15 => format!("inputBytes lteq {}", random.below(60)),
        16 => format!("outputBytes lteq {}", random.below(90)),
        17 => format!("batchRows lteq {}", 1 + random.below(4)),
        _ => {
            format!("hostCapability isNoneOf {}", random.one(&["clock", "stdout", "clock,random"]))
        }
    }
}

/// Random clauses that can be signed; contradictory ones are drawn again.
fn clauses(random: &mut Random) -> Clauses {
    loop {
        let functions = 1 + random.below(3);
        let permissions = (0..functions).map(|_| {
            let mut permission = Permission::new(random.one(&["f", "g"]).parse().expect("a name"));
            for _ in 0..random.below(4) {
                let line = constraint(random);
                if let Ok(limited) = permission.clone().limited(&line, at(0)) {
                    permission = limited;
                }
            }
            permission
        });
        let target = Target {
            model: "acme/m".parse().expect("a model"),
            versions: Versions::Bundle(Digest::of(b"m")),
        };
        let mut clauses = Clauses::new(target, permissions.collect());
        if random.below(4) == 0 {
            let unit = random.one(&["call", "row"]);
            let price = format!(
                "price 0.{} EUR per {unit}{}",
                1 + random.below(9),
                random.one(&["", " free 1", " free 2"])
            );
            clauses.add_line(&price, at(0)).expect("a price");
            clauses
                .add_line(&format!("credit lteq {} EUR", 1 + random.below(2)), at(0))
                .expect("credit");
        }
        if random.below(3) == 0 {
            // Contradictory clauses are rejected, so they are drawn again.
            loop {
                let gate = constraint(random);
                let fits = ["dateTime", "dailyWindow", "purpose", "spatial"]
                    .iter()
                    .any(|name| gate.starts_with(name));
                let line = format!("prohibit execute{} where {gate}", random.one(&["", " f"]));
                if fits && clauses.add_line(&line, at(0)).is_ok() {
                    break;
                }
            }
        }
        if Offer::new(Party::key_of("acme").party(), clauses.clone(), Vec::new()).is_ok() {
            return clauses;
        }
    }
}

struct Scene {
    agreement: Agreement,
    terms: Terms,
    ledgers: Vec<Arc<Ledger>>,
}

impl Scene {
    fn new(clauses: Clauses) -> Self {
        let (acme, zoe) = (Party::key_of("acme"), Party::key_of("zoe").party());
        let offer = Offer::new(acme.party(), clauses, Vec::new()).expect("an offer");
        let signed = SignedOffer::sign(offer, &acme).expect("signed");
        let agreement = Agreement::accept(&signed, zoe, at(0)).expect("accepted");
        let terms = Terms::preview(signed.id(), &agreement);
        let ledgers =
            terms.rules().iter().map(|rule| Ledger::new(rule.limits().clone(), None)).collect();
        Self { agreement, terms, ledgers }
    }

    /// Follows the host's steps: rules, arguments, then the first ledger with enough left.
    fn begin(&self, asked: &Asked) -> (Verdict, Option<Reservation>) {
        let function: FunctionName = asked.function.parse().expect("a name");
        let facts = CallFacts {
            function: &function,
            now: asked.at,
            input_bytes: asked.input_bytes,
            purpose: asked.purpose.as_deref(),
            country: asked.country.as_deref(),
            imports: asked.imports.iter().filter_map(|name| Capability::named(name)).collect(),
        };
        let input = InputFacts { rows: asked.rows, tensors: &[] };
        let rules = self.terms.narrow(self.terms.permits(&facts), &input);
        let usage: Vec<_> = self.ledgers.iter().map(|ledger| ledger.usage(asked.at)).collect();
        let facts = Facts { call: facts, input: Some(input) };
        let report = Report::new(self.agreement.clauses(), &self.terms, &facts, &usage);
        let mut verdict =
            (if rules.is_empty() { Verdict::Denied } else { Verdict::Exhausted }, None);
        for number in rules.iter() {
            let rule = &self.terms.rules()[usize::from(number)];
            let want = Want {
                now: asked.at,
                rows: asked.rows,
                input_bytes: asked.input_bytes,
                output_bytes_max: asked
                    .output_bytes_max
                    .min(rule.output_bytes_max().unwrap_or(u64::MAX)),
                wall_max: asked.wall_max.min(rule.bounds().wall.unwrap_or(Duration::MAX)),
            };
            if let Ok(reservation) = self.ledgers[usize::from(number)].reserve(&want) {
                let begins = Verdict::Begins {
                    rule: usize::from(number),
                    output_bytes_max: reservation.output_bytes_max(asked.input_bytes),
                    wall_max: reservation.wall_max(),
                };
                verdict = (begins, Some(reservation));
                break;
            }
        }
        // The explanation interprets the document; it must agree with the compiled terms.
        let permitted = matches!(verdict.0, Verdict::Begins { .. });
        assert_eq!(report.decision == Decision::Permitted, permitted, "{asked:?}: {report}");
        assert!(permitted || !report.unmet().is_empty(), "{report}");
        verdict
    }
}

fn asked(random: &mut Random, now: u64) -> Asked {
    Asked {
        function: random.one(&["f", "g"]).to_owned(),
        at: at(now),
        purpose: (random.below(4) > 0).then(|| random.one(&PURPOSES).to_owned()),
        country: (random.below(4) > 0).then(|| format!("{COUNTRY}{}", random.one(&["DEU", "FRA"]))),
        imports: if random.below(2) == 0 {
            Vec::new()
        } else {
            vec![random.one(&["clock", "random"]).to_owned()]
        },
        input_bytes: random.below(70),
        output_bytes_max: 100,
        wall_max: Duration::from_secs(5),
        rows: 1 + random.below(5),
    }
}

/// Runs one trace. Returns the number of calls that began.
fn trace(number: u64) -> u64 {
    let mut random = Random(number);
    let scene = Scene::new(clauses(&mut random));
    let payload = serde_json_canonicalizer::to_vec(&scene.agreement).expect("JSON");
    let mut model = Reference::new(&payload);
    let mut running: Vec<(usize, Reservation)> = Vec::new();
    let (mut now, mut began) = (random.below(90), 0);
    for step in 0..STEPS {
        now += random.below(9);
        if !running.is_empty() && random.below(2) == 0 {
            let (call, reservation) = running.remove(random.below(running.len() as u64) as usize);
            let (bytes, wall) = (random.below(180), Duration::from_millis(random.below(7000)));
            let _ = reservation.commit(&Spent { bytes, wall }, Ok::<_, ()>).expect("charged");
            model.end(call, bytes, wall);
            continue;
        }
        let asked = asked(&mut random, now);
        let (expected, call) = model.begin(&asked);
        let (seen, reservation) = scene.begin(&asked);
        assert_eq!(
            seen,
            expected,
            "trace {number}, step {step}: {asked:?}\n{}",
            String::from_utf8_lossy(&payload)
        );
        if let Some(reservation) = reservation {
            running.push((call, reservation));
            began += 1;
        }
    }
    began
}

#[test]
fn the_host_decides_as_the_reference_model_on_100_000_random_traces() {
    let began: u64 = std::thread::scope(|scope| {
        let halves = [0, 1].map(|half| {
            scope.spawn(move || (0..TRACES / 2).map(|number| trace(number * 2 + half)).sum::<u64>())
        });
        halves.map(|half| half.join().expect("they agree")).iter().sum()
    });
    // If all or no calls began, the comparison would prove little.
    assert!((TRACES..TRACES * 6).contains(&began), "{began} calls began");
}
