//! Agreements count everything, whatever it looks like: tokens of every width, and every byte.

use hospes::tensor::DataType;
use serde_json::{Value, json};
use system_tests::{Limited as _, Party, TestHost, identity, model_bundle, plugin, terms};

fn rules(host: &TestHost, party: &Party) -> Value {
    let listed = host.get("/api/agreements").bearer(&party.api_key).send().ok().json();
    listed["agreements"][0]["rules"][0].clone()
}

#[test]
fn tokens_are_counted_in_integers_of_every_type() {
    for (ty, counts) in [
        (DataType::I8, true),
        (DataType::I16, true),
        (DataType::I32, true),
        (DataType::I64, true),
        (DataType::U8, true),
        (DataType::U16, true),
        (DataType::U32, true),
        (DataType::U64, true),
        (DataType::F32, false),
        (DataType::Bool, false),
    ] {
        let host = TestHost::start();
        let (acme, zoe) = (host.party("acme"), host.party("zoe"));
        let published = host.publish(&acme, &model_bundle("tokens", identity(ty, 1), None));
        host.agree(&acme, &zoe, &published, vec![terms("infer").limit("count lteq 50 token")]);
        let data: Vec<Value> =
            (0..20).map(|n| if ty == DataType::Bool { json!(n > 9) } else { json!(n) }).collect();
        let body = json!({"inputs": [{"name": "x", "datatype": ty.to_string(), "shape": [20], "data": data}]});
        let call = || host.call(&zoe, "acme/tokens/infer").json(&body.to_string()).send();
        call().ok();
        call().ok();
        let third = call();
        if counts {
            assert_eq!(third.status, 403, "{ty}: {}", third.text());
            assert!(third.text().contains("tokens"), "{ty}: {}", third.text());
        } else {
            assert_eq!(third.status, 200, "{ty}: {}", third.text());
        }
        assert_eq!(rules(&host, &zoe)["tokens"], if counts { 40 } else { 0 }, "{ty}");
    }
}

#[test]
fn a_limit_of_bytes_that_is_used_up_runs_no_guest() {
    let host = TestHost::start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    let published = host.publish(&acme, &plugin("echo"));
    let most = "count lteq 20 byte";
    host.agree(&acme, &zoe, &published, vec![terms("echo-bytes").limit(most)]);
    let call = |bytes: &[u8]| {
        let request = host.call(&zoe, "acme/echo/echo-bytes").octets(bytes);
        request.header("accept", "application/octet-stream").send()
    };
    call(&[7; 10]).ok();
    assert_eq!(rules(&host, &zoe)["bytes"], 20);
    // Not even a call without input runs, as none of its output could be released.
    for _ in 0..3 {
        let refused = call(&[]).problem(429, "limit-reached");
        assert_eq!(refused["code"], "count-used-up", "{refused}");
        let premises =
            refused["report"]["ruleReport"][0]["premiseReport"].as_array().expect("a list");
        let count = premises.iter().find(|one| one["leftOperand"] == "count").expect("it is there");
        assert_eq!(count["satisfactionState"], "Unsatisfied", "{refused}");
    }
    let rules = rules(&host, &zoe);
    assert_eq!((&rules["used"], &rules["bytes"]), (&json!(1), &json!(20)));
}
