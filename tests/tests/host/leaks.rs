//! Output controls against covert channels: a guest that hides a secret wherever it can, and what
//! is released of it.

use hospes::agreement::Permission;
use serde_json::json;
use system_tests::{Limited as _, TestHost, terms, wat_guest};

#[test]
fn a_guest_that_leaks_gets_out_what_top_k_and_decimals_permit() {
    let host = TestHost::start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    let published = host.publish(&acme, &wat_guest("leak", &[]));
    let controls = ["topK lteq 2", "outputDecimals lteq 2", "outputFields isAnyOf label,score"];
    let permissions = [("run", 80), ("refuse", 80), ("trap", 80), ("flood", 30)];
    let permissions = permissions.map(|(function, bytes)| {
        let most = terms(function).limit(&format!("outputBytes lteq {bytes}"));
        controls.iter().fold(most, |permission: Permission, line| permission.limit(line))
    });
    host.agree(&acme, &zoe, &published, permissions.to_vec());
    let call = |function: &str, secret: u32| {
        let path = format!("acme/leak/{function}");
        host.call(&zoe, &path).json(&json!({ "secret": secret }).to_string()).send()
    };
    let best = r#"[{"label":"cat","score":0.91},{"label":"dog","score":0.05}]"#;
    for secret in [0, 1, 2, 7, 15, 16, 12_345, 0x3f_ffff, u32::MAX] {
        assert_eq!(call("run", secret).ok().text(), best, "{secret}");
    }
    // A refusal's text, the kind of failure or the size of an oversized output must not reveal
    // anything.
    for function in ["refuse", "trap", "flood"] {
        let replies: Vec<_> =
            [0x0041_0000, 1, 2, 3, u32::MAX].map(|secret| call(function, secret)).into();
        for reply in &replies {
            assert_ne!(reply.status, 200, "{function}");
            let first = &replies[0];
            assert_eq!((reply.status, &reply.body), (first.status, &first.body), "{function}");
        }
    }
    assert_eq!(call("flood", 3).json()["failure"], "output-too-large");
}
