//! Refused calls leave a limited number of receipts, and never hide real ones.

use hospes::id::Digest;
use serde_json::Value;
use system_tests::scene::Scene;
use system_tests::{Party, Reply, TestHost, plugin, terms};

/// All receipts of a list, page by page.
fn pages(host: &TestHost, party: &Party, query: &str, limit: usize) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/receipts?{query}&limit={limit}{after}");
        let page = host.get(&path).bearer(&party.api_key).send().ok().json();
        let receipts = page["receipts"].as_array().expect("a list");
        assert!(receipts.len() <= limit);
        all.extend(receipts.iter().cloned());
        match page["next"].as_str() {
            Some(next) => {
                assert_eq!(receipts.last().expect("a receipt")["call"], next);
                after = format!("&after={next}");
            }
            None => return all,
        }
    }
}

#[test]
fn a_stranger_s_thousand_refused_calls_leave_two_receipts_and_hide_none() {
    let scene = Scene::new(&plugin("echo"));
    let agreement = scene.agree(&scene.acme, &scene.zoe, scene.clauses("echo-u8", &[]));
    let real: Vec<String> = (0..3)
        .map(|_| {
            scene.call(&scene.zoe).ok().header("hospes-receipt").expect("a receipt").to_owned()
        })
        .collect();
    let mallory = scene.host.party("mallory");
    let before = scene.host.host().clock().now();
    let refuse = |count: usize| {
        let mut replies = (0..count).map(|_| scene.call(&mallory));
        replies.all(|reply: Reply| reply.status == 403 || reply.status == 429)
    };
    assert!(refuse(1000));
    // After a thousand in a row, refusals become short.
    let short = (0..200).map(|_| scene.call(&mallory)).find(|reply| reply.status == 429);
    let short = short.expect("a short refusal");
    short.problem(429, "account-limit");
    assert_eq!(short.header("retry-after"), Some("1"));
    assert_eq!(before, scene.host.host().clock().now(), "the test's clock does not move");
    let listed = pages(&scene.host, &mallory, "", 100);
    assert!(listed.len() <= 2, "one receipt per minute: {}", listed.len());
    // Others are unaffected, and the real receipts are where they were.
    scene.call(&scene.zoe).ok();
    let host = &scene.host;
    let under = pages(host, &scene.acme, &format!("agreement={agreement}"), 2);
    assert_eq!(under.len(), 4);
    for (shown, call) in under.iter().rev().zip(&real) {
        assert_eq!(
            (&shown["call"], &shown["result"]),
            (&Value::from(call.as_str()), &"answered".into())
        );
    }
    assert!(pages(host, &scene.acme, "", 100).len() <= 6);
}

#[test]
fn receipts_are_listed_by_agreement_page_by_page_for_its_parties() {
    let scene = Scene::new(&plugin("echo"));
    let first =
        scene.agree(&scene.acme, &scene.zoe, scene.clauses("echo-u8", &["count lteq 7 call"]));
    let call = |agreement: &Digest| {
        let request = scene.host.call(&scene.zoe, "acme/echo/echo-u8").json(r#"{"v":1}"#);
        request.header("hospes-agreement", agreement.to_string()).send()
    };
    let mut expected: Vec<Value> = (0..7)
        .map(|_| call(&first).ok().header("hospes-receipt").expect("a receipt").into())
        .collect();
    let second = scene.agree(&scene.acme, &scene.zoe, scene.clauses("echo-u8", &[]));
    let other: Value = call(&second).ok().header("hospes-receipt").expect("a receipt").into();
    call(&first).problem(429, "limit-reached");
    expected.reverse();
    for limit in [1, 2, 3, 7, 8, 9, 100] {
        for party in [&scene.acme, &scene.zoe] {
            let listed = pages(&scene.host, party, &format!("agreement={first}"), limit);
            assert_eq!(listed.len(), 8, "seven calls and one refusal");
            let calls: Vec<_> = listed[1..].iter().map(|one| one["call"].clone()).collect();
            assert_eq!(calls, expected);
            assert_eq!(pages(&scene.host, party, "", limit).len(), 9);
        }
    }
    // A cursor or agreement of another list, of another party, or that does not exist.
    let get = |party: &Party, query: String| {
        scene.host.get(&format!("/api/receipts?{query}")).bearer(&party.api_key).send()
    };
    let other = other.as_str().expect("text");
    get(&scene.zoe, format!("agreement={first}&after={other}")).problem(404, "not-found");
    get(&scene.zoe, "agreement=sha256:00".to_owned()).problem(404, "not-found");
    get(&scene.zoe, format!("agreement={}", Digest::of(b"none"))).problem(404, "not-found");
    let mallory = scene.host.party("mallory");
    get(&mallory, format!("agreement={first}")).problem(404, "not-found");
    get(&mallory, format!("after={other}")).problem(404, "not-found");
    for wrong in ["limit=0", "limit=101", "limit=", "page=2", "after=x&limit=1x"] {
        assert!(matches!(get(&scene.zoe, wrong.to_owned()).status, 400 | 404), "{wrong}");
    }
}

#[test]
fn a_consumer_s_refusals_under_its_agreement_leave_so_many_receipts_and_no_more() {
    let host = TestHost::start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    let published = host.publish(&acme, &plugin("echo"));
    let once = system_tests::Limited::limit(terms("echo-u8"), "count lteq 1 call");
    let agreement = host.agree(&acme, &zoe, &published, vec![once]);
    let call = || host.call(&zoe, "acme/echo/echo-u8").json(r#"{"v":1}"#).send();
    call().ok();
    for _ in 0..300 {
        call().problem(429, "limit-reached");
    }
    let listed = pages(&host, &zoe, &format!("agreement={agreement}"), 100);
    assert!((101..=110).contains(&listed.len()), "{}", listed.len());
    assert_eq!(listed.last().expect("the real call")["result"], "answered");
}
