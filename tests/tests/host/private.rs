//! Privacy: versions that were not offered, and the host's files.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use hospes::tensor::DataType;
use serde_json::json;
use system_tests::{TestHost, identity, plugin, release, terms};

/// The Ed25519 points of order 1, 2 and 4, and two of order 8.
const SMALL_ORDER: [&str; 5] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
];

#[test]
fn a_stranger_is_told_of_no_version_that_is_not_offered() {
    let host = TestHost::start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    let model = || identity(DataType::F32, 1);
    let open = host.publish(&acme, &release("open", "1.0.0", model()));
    let secret = host.publish(&acme, &release("open", "2.0.0-secret", model()));
    let newer = host.publish(&acme, &release("open", "3.1.4", model()));
    let offer = acme.offer(&open.0, open.1, vec![terms("infer")]);
    host.post("/api/offers").bearer(&acme.api_key).body(offer.to_bytes()).send().ok();

    // A version that was not offered cannot be told from one that does not exist.
    for hidden in ["2.0.0-secret".to_owned(), "3.1.4".to_owned(), secret.1.to_string()] {
        let path = |version: &str| format!("/acme/open@{version}");
        for key in [None, Some(&zoe.api_key)] {
            let get = |version: &str| {
                let request = host.get(&path(version));
                key.map_or(request.clone(), |key| request.bearer(key)).send()
            };
            let detail = |version: &str| {
                let problem = get(version).problem(404, "not-found");
                problem["detail"].as_str().expect("text").replace(version, "VERSION")
            };
            let nowhere =
                if hidden.len() > 20 { format!("sha256:{:064}", 7) } else { "9.9.9".into() };
            assert_eq!(detail(&hidden), detail(&nowhere));
            assert!(detail("9.9.9").ends_with("it has `1.0.0`"), "{}", detail("9.9.9"));
        }
        let call = host.call(&zoe, &format!("acme/open@{hidden}/infer")).json("{}").send();
        call.problem(404, "not-found");
    }
    // Without a version, it is the highest that the caller may see.
    let shown = |request: system_tests::Request| request.send().ok().json()["version"].clone();
    assert_eq!(shown(host.get("/acme/open")), "1.0.0");
    assert_eq!(shown(host.get("/acme/open").bearer(&acme.api_key)), "3.1.4");
    let versions = |key: &str| {
        host.get("/v2/models/acme%2Fopen").bearer(key).send().ok().json()["versions"].clone()
    };
    assert_eq!(versions(&zoe.api_key), json!(["1.0.0"]));
    assert_eq!(versions(&acme.api_key), json!(["1.0.0", "2.0.0-secret", "3.1.4"]));
    let index = host.post("/v2/repository/index").bearer(&zoe.api_key).send().ok().text();
    assert!(
        index.contains("1.0.0") && !index.contains("secret") && !index.contains("3.1.4"),
        "{index}"
    );

    // An agreement also lets its consumer see its version.
    let only_zoe = acme.offer_of(
        hospes::agreement::Clauses::new(
            hospes::agreement::Target {
                model: newer.0.clone(),
                versions: hospes::agreement::Versions::Bundle(newer.1),
            },
            vec![terms("infer")],
        ),
        vec![zoe.key.party()],
    );
    host.post("/api/offers").bearer(&acme.api_key).body(only_zoe.to_bytes()).send().ok();
    assert_eq!(shown(host.get("/acme/open").bearer(&zoe.api_key)), "3.1.4");
    assert_eq!(shown(host.get("/acme/open")), "1.0.0");
}

#[test]
fn an_account_for_a_key_of_small_order_is_refused() {
    let host = TestHost::start();
    for (number, key) in SMALL_ORDER.iter().enumerate() {
        let bytes: Vec<u8> = (0..32)
            .map(|at| u8::from_str_radix(&key[2 * at..2 * at + 2], 16).expect("digits"))
            .collect();
        let party = hospes::id::Party::from_public_key(bytes.try_into().expect("32 bytes"));
        let wanted = json!({"name": format!("weak-{number}"), "party": party});
        let refused = host.operator("POST", "/accounts").json(&wanted.to_string()).send();
        let problem = refused.problem(400, "invalid-request");
        assert!(
            problem["detail"].as_str().is_some_and(|text| text.contains("small order")),
            "{problem}"
        );
    }
}

fn all(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_owned()];
    let mut next = 0;
    while let Some(path) = found.get(next).cloned() {
        if path.is_dir() {
            let entries = fs::read_dir(path).expect("readable");
            found.extend(entries.map(|entry| entry.expect("readable").path()));
        }
        next += 1;
    }
    found
}

#[test]
fn files_of_the_data_directory_are_readable_by_their_owner_only() {
    let host = TestHost::start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    let published = host.publish(&acme, &plugin("echo"));
    host.publish(&acme, &release("open", "1.0.0", identity(DataType::F32, 1)));
    host.agree(&acme, &zoe, &published, vec![terms("echo-u8")]);
    host.call(&zoe, "acme/echo/echo-u8").json(r#"{"v":7}"#).send().ok();
    let data = host.stop();
    let mode = |path: &Path| fs::metadata(path).expect("it exists").permissions().mode() & 0o777;
    let folder = data.path().join("data");
    let check = |when: &str| {
        let found = all(&folder);
        assert!(found.len() > 10, "{found:?}");
        for path in found {
            let private = if path.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode(&path), private, "{when}: {}", path.display());
        }
    };
    check("made by this host");
    for path in all(&folder) {
        let open = if path.is_dir() { 0o755 } else { 0o644 };
        // Keys have always been private, and the host refuses one that others can read.
        if path.extension().is_none_or(|end| end != "pem") {
            fs::set_permissions(&path, Permissions::from_mode(open)).expect("a mode");
        }
    }
    let host = TestHost::builder().data(std::sync::Arc::clone(&data)).start();
    check("made by an older host");
    host.call(&zoe, "acme/echo/echo-u8").json(r#"{"v":7}"#).send().ok();
}
