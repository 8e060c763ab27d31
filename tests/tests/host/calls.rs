//! The life of a call, end to end: who may call what, on which terms, and what it leaves behind.

use std::time::Duration;

use hospes::clock::{Clock, ManualClock};
use hospes::id::Digest;
use hospes::receipt::{ReceiptProof, Salt};
use serde_json::{Value, json};
use system_tests::{Limited as _, Party, Reply, TestHost, plugin, terms};

const ECHO: &str = "acme/echo/echo-u8";

fn echo(host: &TestHost, caller: &Party) -> Reply {
    host.call(caller, ECHO).json(r#"{"v":7}"#).send()
}

fn agreements(host: &TestHost, party: &Party) -> Vec<Value> {
    let listed = host.get("/api/agreements").bearer(&party.api_key).send().ok().json();
    listed["agreements"].as_array().expect("a list").clone()
}

#[test]
fn from_a_bundle_to_a_verified_receipt() {
    let host = TestHost::start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    let published = host.publish(&acme, &plugin("echo"));
    let denied = echo(&host, &zoe);
    denied.problem(404, "not-found");

    let limited = || terms("echo-u8").limit(&format!("count lteq {} call", 2));
    let offer = acme.offer(&published.0, published.1, vec![limited()]);
    host.post("/api/offers").bearer(&acme.api_key).body(offer.to_bytes()).send().ok();
    let market = host.get("/api/market").send().ok().json();
    assert_eq!(market["offers"][0]["id"], json!(offer.id().to_string()));
    let problem = echo(&host, &zoe).problem(403, "not-permitted");
    assert!(problem["detail"].as_str().expect("text").contains("no agreement"), "{problem}");

    let mut proposal = zoe.accept(&offer);
    let half = host.submit(&zoe, &proposal.to_bytes()).ok().json();
    assert_eq!((&half["state"], &half["missing"]), (&json!("proposed"), &json!(["publisher"])));
    echo(&host, &zoe).problem(403, "not-permitted");
    proposal.add_signature(&acme.key).expect("the publisher");
    assert_eq!(host.submit(&acme, &proposal.to_bytes()).ok().json()["state"], "active");

    let first = echo(&host, &zoe).ok();
    assert_eq!((first.text().as_str(), first.header("hospes-remaining")), ("7", Some("1")));
    assert!(first.header("server-timing").is_some_and(|timing| timing.contains("run;dur=")));
    assert_eq!(echo(&host, &zoe).ok().header("hospes-remaining"), Some("0"));
    let used_up = echo(&host, &zoe).problem(429, "limit-reached");
    assert_eq!((&used_up["limit"], &used_up["remaining"]), (&json!(2), &json!(0)));

    let call = first.header("hospes-receipt").expect("a receipt");
    let proof =
        |party: &Party| host.get(&format!("/api/receipts/{call}")).bearer(&party.api_key).send();
    let salt: Salt = first.header("hospes-salt").expect("a salt").parse().expect("a salt");
    let receipt = ReceiptProof::parse(&proof(&zoe).ok().body).expect("a proof");
    let verified = receipt.verify(&host.host().party()).expect("genuine");
    assert_eq!((verified.used, verified.max), (Some(1), Some(2)));
    assert_eq!(verified.agreement, Some(*proposal.id()));
    verified.check_input(Some(&salt), br#"{"v":7}"#).expect("what was sent");
    verified.check_output(Some(&salt), b"7").expect("what came back");
    assert!(verified.check_input(Some(&salt), br#"{"v":8}"#).is_err());
    proof(&acme).ok();
    proof(&host.party("eve")).problem(404, "not-found");

    let receipts = host.get("/api/receipts").bearer(&acme.api_key).send().ok().json();
    let results: Vec<_> = receipts["receipts"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|r| r["result"].clone())
        .collect();
    // Of the two calls without an agreement, only one is logged per minute.
    let expected = [
        json!("denied: count-used-up"),
        json!("answered"),
        json!("answered"),
        json!("denied: no-agreement"),
    ];
    assert_eq!(results, expected, "the latest comes first");
}

#[test]
fn strangers_are_told_nothing() {
    let host = TestHost::start();
    let acme = host.party("acme");
    host.publish(&acme, &plugin("echo"));
    let call = || host.post(&format!("/{ECHO}")).json(r#"{"v":7}"#);
    call().send().problem(401, "unauthenticated");
    let malformed = call().bearer("hsp_").send().problem(401, "unauthenticated");
    assert_eq!(
        malformed["detail"],
        "the API key is malformed: it must be `hsp_` and 72 hexadecimal digits"
    );
    let (most, last) = acme.api_key.split_at(acme.api_key.len() - 1);
    let mistyped = format!("{most}{}", if last == "0" { "1" } else { "0" });
    let mistyped = call().bearer(&mistyped).send().problem(401, "unauthenticated");
    assert_eq!(
        mistyped["detail"],
        "the API key is mistyped: its checksum does not match; copy it again"
    );
    let unknown = acme.api_key.replace("hsp_", "hsp_0");
    call().bearer(&unknown[..unknown.len() - 1]).send().problem(401, "unauthenticated");
    call()
        .header("authorization", format!("Basic {}", acme.api_key))
        .send()
        .problem(401, "unauthenticated");
    // A model hidden from the caller cannot be told from a missing one.
    let zoe = host.party("zoe");
    let there =
        host.call(&zoe, ECHO).json(r#"{"v":7}"#).send().problem(404, "not-found").to_string();
    let not = host
        .call(&zoe, "acme/none/echo-u8")
        .json(r#"{"v":7}"#)
        .send()
        .problem(404, "not-found")
        .to_string();
    assert_eq!(there.replace("echo", "X"), not.replace("none", "X").replace("echo", "X"));
    host.get("/acme/echo").send().problem(404, "not-found");
    host.get("/acme/echo").bearer(&acme.api_key).send().ok();
}

#[test]
fn the_operator_s_routes_are_the_operator_s() {
    let host = TestHost::start();
    let zoe = host.party("zoe");
    let wanted = json!({"name": "eve", "party": Party::key_of("eve").party()}).to_string();
    host.post("/accounts").bearer(&zoe.api_key).json(&wanted).send().problem(404, "not-found");
    let public = host.get("/metrics").send().problem(404, "not-found")["detail"].to_string();
    assert!(public.contains("functions are called with POST"), "{public}");
    let operators = host.operator("GET", "/metrics").send().problem(404, "not-found");
    let operators = operators["detail"].to_string();
    assert!(operators.contains("the operator's listener: GET /status"), "{operators}");
    host.get("/status").send().problem(404, "not-found");
    let wrong = host.operator("DELETE", "/accounts").send().problem(405, "method-not-allowed");
    assert!(wrong["detail"].as_str().expect("text").ends_with("use GET and POST"), "{wrong}");
    host.operator("POST", "/accounts")
        .bearer("x")
        .json(&wanted)
        .send()
        .problem(401, "unauthenticated");
    let status = host.operator("GET", "/status");
    let address = status.send().ok();
    assert_eq!(address.json()["draining"], false);
    let other = host.operator("POST", "/accounts").json(
        r#"{"name":"zoe","party":"did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"}"#,
    );
    other.send().problem(409, "conflict");
}

#[test]
fn terms_are_enforced_on_every_call() {
    let clock = ManualClock::at("2026-12-01T00:00:00Z".parse().expect("a time"));
    let host = TestHost::builder().clock(Clock::Manual(clock.clone())).start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    let published = host.publish(&acme, &plugin("echo"));
    let spec = terms("echo-string")
        .limit("dateTime gteq 2026-12-02T00:00:00Z")
        .limit("dateTime lt 2026-12-03T00:00:00Z")
        .limit("inputBytes lteq 12")
        .limit("outputBytes lteq 5");
    host.agree(&acme, &zoe, &published, vec![spec]);
    let call = |function: &str, body: &str| {
        host.call(&zoe, &format!("acme/echo/{function}")).json(body).send()
    };
    let clause = |reply: Reply| reply.problem(403, "not-permitted")["clauses"][0].clone();

    assert_eq!(clause(call("echo-string", r#"{"v":"a"}"#))["leftOperand"], "dateTime");
    clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(call("echo-string", r#"{"v":"a"}"#).ok().text(), "\"a\"");
    let unmet = clause(call("echo-string", r#"{"v":"123456"}"#));
    assert_eq!(
        (&unmet["leftOperand"], &unmet["seen"]),
        (&json!("hospes:inputBytes"), &json!("14"))
    );
    let large = call("echo-string", r#"{"v":"1234"}"#);
    let problem = large.problem(502, "output-refused");
    assert_eq!(problem["failure"], "output-too-large");
    assert!(
        problem["detail"]
            .as_str()
            .expect("text")
            .contains("6 bytes, more than the 5 that the agreement allows")
    );
    assert_eq!(clause(call("echo-u8", r#"{"v":1}"#))["leftOperand"], "hospes:function");
    clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(clause(call("echo-string", r#"{"v":"a"}"#))["leftOperand"], "dateTime");
    assert_eq!(agreements(&host, &zoe)[0]["state"], "ended");
}

#[test]
fn the_count_is_never_overshot_whatever_runs_at_once() {
    const CALLS: u64 = 50;
    let host = TestHost::start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    let published = host.publish(&acme, &plugin("echo"));
    let limited = terms("echo-u8").limit(&format!("count lteq {} call", CALLS));
    host.agree(&acme, &zoe, &published, vec![limited]);
    let answered: u64 = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| (0..20).filter(|_| echo(&host, &zoe).status == 200).count() as u64)
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().expect("no panic")).sum()
    });
    assert_eq!(answered, CALLS);
    assert_eq!(agreements(&host, &zoe)[0]["rules"][0]["used"], CALLS);
}

#[test]
fn of_several_agreements_one_with_calls_left_is_used_or_the_one_named() {
    let host = TestHost::start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    let published = host.publish(&acme, &plugin("echo"));
    let limited = |count| vec![terms("echo-u8").limit(&format!("count lteq {} call", count))];
    let one = host.agree(&acme, &zoe, &published, limited(1));
    let two = host.agree(&acme, &zoe, &published, limited(1));
    let named = |id: &Digest| {
        host.call(&zoe, ECHO).json(r#"{"v":7}"#).header("hospes-agreement", id.to_string()).send()
    };
    named(&two).ok();
    named(&two).problem(429, "limit-reached");
    echo(&host, &zoe).ok();
    named(&one).problem(429, "limit-reached");
    echo(&host, &zoe).problem(429, "limit-reached");
    named(&Digest::of(b"another")).problem(403, "not-permitted");
}

#[test]
fn versions_never_change_and_references_choose_one() {
    let host = TestHost::start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    let bundle = acme.sign(&plugin("echo"));
    let published = host.publish(&acme, &plugin("echo"));
    host.try_publish(&acme, &bundle).ok();
    host.agree(&acme, &zoe, &published, vec![terms("echo-u8")]);
    let call = |reference: &str| {
        host.call(&zoe, &format!("acme/echo{reference}/echo-u8")).json(r#"{"v":7}"#).send()
    };
    for reference in ["", "@1.0.0", "@v1.0.0", &format!("@{}", published.1)] {
        call(reference).ok();
    }
    call("@2.0.0").problem(404, "not-found");
    call("@nonsense").problem(400, "invalid-request");
    host.call(&zoe, "acme/echo/echo-u9").json("{}").send().problem(404, "not-found");
    let other = host.try_publish(&host.party("eve"), &bundle);
    other.problem(422, "bundle-refused");
}

#[test]
fn everything_is_there_again_after_a_restart() {
    let host = TestHost::start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    let published = host.publish(&acme, &plugin("echo"));
    let iris = host.publish(&acme, &plugin("iris"));
    let limited = terms("echo-u8").limit(&format!("count lteq {} call", 3));
    host.agree(&acme, &zoe, &published, vec![limited]);
    host.agree(&acme, &zoe, &iris, vec![terms("infer")]);
    echo(&host, &zoe).ok();
    let party = host.host().party();
    let data = host.stop();

    let host = TestHost::builder().data(data).start();
    assert_eq!(host.host().party(), party);
    assert_eq!(echo(&host, &zoe).ok().header("hospes-remaining"), Some("1"));
    host.call(&zoe, "acme/iris/infer").octets([0; 16]).send().ok();
}

#[test]
fn one_data_directory_is_for_one_host() {
    let host = TestHost::start();
    let data = host.stop();
    let first = TestHost::builder().data(data.clone()).start();
    let error = TestHost::builder().data(data).try_start().err().expect("in use");
    assert!(error.contains("in use by another host"), "{error}");
    drop(first);
}

#[test]
fn a_caller_that_hangs_up_is_still_metered() {
    use std::io::Write as _;
    let host = TestHost::builder()
        .config(|config| config.sandbox.deadline = Duration::from_secs(1))
        .start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    let published = host.publish(&acme, &system_tests::wat_guest("spin", &[]));
    host.agree(&acme, &zoe, &published, vec![terms("run")]);
    let mut stream = std::net::TcpStream::connect(host.address()).expect("connects");
    write!(
        stream,
        "POST /acme/spin/run HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: 2\r\n\r\n{{}}",
        zoe.api_key
    )
    .expect("sent");
    std::thread::sleep(Duration::from_millis(300));
    drop(stream);
    let metered = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        agreements(&host, &zoe)[0]["rules"][0]["used"] == 1
    });
    assert!(metered, "the call has a receipt although the client disconnected");
}

#[test]
fn a_full_host_says_when_to_come_back() {
    let host = TestHost::builder()
        .config(|config| {
            config.sandbox.deadline = Duration::from_secs(2);
            config.admission.slots_max = 1.try_into().expect("not zero");
            config.admission.queue_length_max = 1;
            config.admission.queue_wait_max = Duration::from_millis(200);
        })
        .start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    let published = host.publish(&acme, &system_tests::wat_guest("spin", &[]));
    host.agree(&acme, &zoe, &published, vec![terms("run")]);
    let run = || host.call(&zoe, "acme/spin/run").json("").send();
    std::thread::scope(|scope| {
        let running = scope.spawn(run);
        std::thread::sleep(Duration::from_millis(200));
        let busy: Vec<_> = (0..3).map(|_| scope.spawn(run)).collect();
        for reply in busy {
            let reply = reply.join().expect("no panic");
            reply.problem(503, "busy");
            assert_eq!(reply.header("retry-after"), Some("1"));
        }
        running.join().expect("no panic").problem(504, "plugin-deadline");
    });
    assert_eq!(
        agreements(&host, &zoe)[0]["rules"][0]["used"],
        1,
        "only calls that ran are counted"
    );
}

#[test]
fn a_host_that_stops_lets_running_calls_end() {
    let host =
        TestHost::builder().config(|config| config.sandbox.deadline = Duration::from_secs(1));
    let host = host.start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    let published = host.publish(&acme, &system_tests::wat_guest("spin", &[]));
    host.agree(&acme, &zoe, &published, vec![terms("run")]);
    let call = host.call(&zoe, "acme/spin/run").json("");
    let running = std::thread::spawn(move || call.send());
    std::thread::sleep(Duration::from_millis(300));
    let data = host.stop();
    let reply = running.join().expect("an answer");
    reply.problem(504, "plugin-deadline");

    let host = TestHost::builder().data(data).start();
    assert_eq!(agreements(&host, &zoe)[0]["rules"][0]["used"], 1, "the call was counted");
}

#[test]
fn what_one_party_may_leave_here_is_bounded_and_named() {
    let host = TestHost::builder()
        .config(|config| {
            config.market.offers_per_publisher_max = 1;
            config.market.agreements_per_party_max = 2;
        })
        .start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    let published = host.publish(&acme, &plugin("echo"));
    let offer = acme.offer(&published.0, published.1, vec![terms("echo-u8")]);
    let list = |bytes: Vec<u8>| host.post("/api/offers").bearer(&acme.api_key).body(bytes).send();
    list(offer.to_bytes()).ok();
    list(offer.to_bytes()).ok();
    let other = acme.offer(&published.0, published.1, vec![terms("echo-u16")]);
    let problem = list(other.to_bytes()).problem(422, "offer-refused");
    let detail = problem["detail"].as_str().expect("text");
    assert!(detail.contains("`market.offers_per_publisher_max`"), "{detail}");

    for _ in 0..2 {
        host.submit(&zoe, &zoe.accept(&offer).to_bytes()).ok();
    }
    let refused = host.submit(&zoe, &zoe.accept(&offer).to_bytes());
    let problem = refused.problem(422, "agreement-refused");
    let detail = problem["detail"].as_str().expect("text");
    assert!(detail.contains("`market.agreements_per_party_max`"), "{detail}");
    assert_eq!(agreements(&host, &zoe).len(), 2);
}
