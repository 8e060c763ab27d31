//! Lost receipts are detected: by the host when it starts, and by parties that compare checkpoints.

use std::path::Path;

use hospes::receipt::Consistency;
use system_tests::{HostProcess, Party, Request, TestHost, terms, wat_guest};

/// A host with a model that `zoe` may call.
fn served() -> (TestHost, Party) {
    let host = TestHost::start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    let published = host.publish(&acme, &wat_guest("noop", &[]));
    host.agree(&acme, &zoe, &published, vec![terms("nothing")]);
    (host, zoe)
}

fn call(host: &TestHost, zoe: &Party) -> String {
    let reply = host.call(zoe, "acme/noop/nothing").json("{}").send().ok();
    reply.header("hospes-receipt").expect("a receipt").to_owned()
}

/// Starts a host on data whose receipts were changed, or returns its error.
fn started_after(meanwhile: impl FnOnce(&Path)) -> Result<TestHost, String> {
    let (host, zoe) = served();
    for _ in 0..5 {
        call(&host, &zoe);
    }
    let data = host.stop();
    meanwhile(&data.path().join("data/receipts"));
    TestHost::builder().data(data).try_start()
}

#[test]
fn a_log_without_its_checkpoint_is_refused() {
    let remove = |folder: &Path| std::fs::remove_file(folder.join("checkpoint")).expect("removed");
    let error = started_after(remove).map(drop).expect_err("it does not start");
    assert!(error.contains("7 receipts, and its checkpoint"), "{error}");
}

#[test]
fn a_log_that_was_cut_and_has_lost_its_checkpoint_is_refused() {
    let error = started_after(|folder| {
        let log = std::fs::File::options().write(true).open(folder.join("receipts.log"));
        let log = log.expect("opens");
        let length = log.metadata().expect("it exists").len();
        log.set_len(length / 2).expect("cut");
        std::fs::remove_file(folder.join("checkpoint")).expect("removed");
    });
    let error = error.map(drop).expect_err("it does not start");
    assert!(error.contains("its checkpoint"), "{error}");
}

#[test]
fn a_new_log_in_the_place_of_the_old_one_is_refused() {
    let error = started_after(|folder| std::fs::remove_dir_all(folder).expect("removed"));
    let error = error.map(drop).expect_err("it does not start");
    assert!(error.contains("the log holds 0 receipts"), "{error}");
}

/// The host once started empty and knew none of its parties.
#[test]
fn receipts_without_the_records_of_accounts_are_refused() {
    let harms: [fn(&Path); 2] = [
        |records| std::fs::remove_file(records).expect("removed"),
        |records| std::fs::write(records, "").expect("emptied"),
    ];
    for harm in harms {
        let error = started_after(|receipts| harm(&receipts.with_file_name("state.redb")));
        let error = error.map(drop).expect_err("it does not start");
        assert!(error.contains("restore it from a backup"), "{error}");
    }
}

#[test]
fn an_older_log_with_its_own_checkpoint_is_refused() {
    let (host, zoe) = served();
    call(&host, &zoe);
    let data = host.stop();
    let receipts = data.path().join("data/receipts");
    let files = ["receipts.log", "checkpoint"];
    for file in files {
        std::fs::copy(receipts.join(file), data.path().join(file)).expect("copied");
    }
    let host = TestHost::builder().data(data).start();
    for _ in 0..3 {
        call(&host, &zoe);
    }
    let data = host.stop();
    for file in files {
        std::fs::copy(data.path().join(file), receipts.join(file)).expect("put back");
    }
    let error = TestHost::builder().data(data).try_start().map(drop).expect_err("refused");
    assert!(error.contains("the log holds 3 receipts"), "{error}");
}

#[test]
fn what_was_not_touched_starts() {
    started_after(|_| ()).expect("it starts");
}

#[test]
fn parties_see_by_two_receipts_that_the_log_has_only_grown() {
    let (host, zoe) = served();
    let folder = tempfile::tempdir().expect("a directory");
    let path = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    for name in ["first", "last"] {
        let receipt = (0..3).map(|_| call(&host, &zoe)).last().expect("three calls");
        let proof = host.get(&format!("/api/receipts/{receipt}")).bearer(&zoe.api_key).send().ok();
        std::fs::write(path(name), proof.body).expect("written");
    }
    std::fs::write(path("now"), host.get("/api/checkpoint").send().ok().body).expect("written");
    let party = host.host().party().to_string();
    let url = format!("http://{}", host.address());
    let check = |old: &str, new: &str, more: &[&str]| {
        let (old, new) = (path(old), path(new));
        let arguments = ["receipt", "consistency", &old, &new, "--host-party", &party];
        let output = HostProcess::run(&[&arguments[..], more].concat());
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let kept = path("proof");
    let (holds, said) = check("first", "last", &["-o", &kept, "--host", &url]);
    assert!(holds && said.contains("begins with the 5 signed earlier"), "{said}");
    let proof = Consistency::parse(&std::fs::read(&kept).expect("readable")).expect("a proof");
    assert!(proof.to_bytes().len() > 60);
    // Without the host, and against a plain checkpoint.
    let (holds, said) = check("first", "last", &["--proof", &kept, "--host", "http://127.0.0.1:1"]);
    assert!(holds, "{said}");
    assert!(check("first", "now", &["--host", &url]).0);
    // A proof for other sizes, or with the two swapped, proves nothing.
    assert!(!check("last", "first", &["--proof", &kept]).0);
    assert!(!check("now", "last", &["--proof", &kept]).0);
    let text = std::fs::read_to_string(&kept).expect("readable");
    let hash = text.split('"').find(|part| part.len() == 44).expect("a hash").to_owned();
    let wrong = text.replace(&hash, &format!("AAAA{}", &hash[4..]));
    std::fs::write(&kept, wrong).expect("written");
    let (holds, said) = check("first", "last", &["--proof", &kept]);
    assert!(!holds && said.contains("does not begin with"), "{said}");
}

#[test]
fn a_consistency_proof_is_asked_for_by_numbers_of_receipts() {
    let (host, zoe) = served();
    let receipt = (0..3).map(|_| call(&host, &zoe)).last().expect("three calls");
    host.get(&format!("/api/receipts/{receipt}")).bearer(&zoe.api_key).send().ok();
    let get = |query: &str| {
        let url = format!("http://{}/api/log/consistency{query}", host.address());
        Request::new("GET", url).send()
    };
    assert_eq!(get("?from=1&to=3").ok().json()["path"].as_array().expect("hashes").len(), 2);
    // Two accounts were opened before the three calls.
    assert_eq!(get("?from=0").ok().json()["to"], 5);
    get("?from=3&to=2").problem(404, "not-found");
    get("?from=1&to=6").problem(404, "not-found");
    get("").problem(400, "invalid-request");
    get("?from=x").problem(400, "invalid-request");
    get("?from=1&size=2").problem(400, "invalid-request");
}
