//! Loading models: a model that is slow, never loads or fails every call affects only its
//! publisher.

use std::time::{Duration, Instant};

use hospes::backend::BackendKind;
use hospes::config::{BackendChoice, Config};
use hospes::tensor::DataType;
use serde_json::Value;
use system_tests::model::{Graph, element, scalar};
use system_tests::{
    Reply, TestHost, documented, hostile_worker, identity, model_bundle, model_input, terms,
    wat_guest_as,
};

const BYTES: &str =
    r#"{"inputs": [{"name": "x", "datatype": "UINT8", "shape": [2], "data": [1, 2]}]}"#;

/// A host with malicious workers, which do what a model tells them.
fn host(settings: impl FnOnce(&mut Config)) -> TestHost {
    let hostile = |config: &mut Config| {
        config.inference.worker_program = Some(hostile_worker());
        settings(config);
    };
    TestHost::builder().config(hostile).start()
}

/// A model that tells the worker to do this.
fn told(word: &str) -> Vec<u8> {
    documented(&identity(DataType::U8, 1), &format!("hostile:{word};"))
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "not true in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_model_that_never_loads_holds_up_no_other_publisher() {
    let host = host(|_| {});
    let (acme, zoe, yan) = (host.party("acme"), host.party("zoe"), host.party("yan"));
    let signed = acme.sign(&model_bundle("stuck", told("hang"), None));
    let stuck = host.post("/api/bundles").bearer(&acme.api_key).octets(signed);
    // The response would take a minute, so nothing waits for it.
    std::thread::spawn(move || drop(stuck.try_send()));
    until("acme's worker loads", || !host.host().inference().workers().is_empty());
    let began = Instant::now();
    let published = host.publish(&zoe, &model_bundle("quick", told("good"), None));
    host.agree(&zoe, &yan, &published, vec![terms("infer")]);
    host.call(&yan, "zoe/quick/infer").json(BYTES).send().ok();
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn versions_that_never_load_keep_no_other_publisher_s_out_of_reach() {
    let first = host(|_| {});
    let (acme, zoe, yan) = (first.party("acme"), first.party("zoe"), first.party("yan"));
    for number in 0..6 {
        let model = told(&format!("tract-hang;{number}"));
        first.publish(&acme, &model_bundle(&format!("m{number}"), model, None));
    }
    let published = first.publish(&zoe, &model_bundle("quick", told("good"), None));
    first.agree(&zoe, &yan, &published, vec![terms("infer")]);
    let data = first.stop();
    // With tract, acme's models never load. Their names come first, and they are more than the host
    // loads at once.
    let host = TestHost::builder().data(data).config(|config| {
        config.inference.worker_program = Some(hostile_worker());
        config.inference.backend = BackendKind::Tract.into();
    });
    let host = host.start();
    for number in 0..6 {
        let stuck = host.call(&acme, &format!("acme/m{number}/infer")).json(BYTES);
        // The response would take a minute, so nothing waits for it.
        std::thread::spawn(move || drop(stuck.try_send()));
    }
    until("acme's versions are being loaded", || {
        host.operator("GET", "/status").send().ok().json()["loading"] == 6
    });
    host.call(&yan, "zoe/quick/infer").json(BYTES).send().ok();
    assert_eq!(host.operator("GET", "/status").send().ok().json()["loading"], 6);
}

#[test]
fn a_model_that_is_computed_once_and_not_again_gives_its_turn_back() {
    let host = host(|config| config.sandbox.deadline = Duration::from_secs(1));
    let acme = host.party("acme");
    let models: Vec<_> = (0..8)
        .map(|number| model_input(&format!("m{number}"), told(&format!("1-silence;{number}"))))
        .collect();
    let began = Instant::now();
    let signed = acme.sign(&wat_guest_as("noop", "moody", &models));
    let published = host.try_publish(&acme, &signed).ok().json();
    // Each trial may take a second, and all together two.
    assert!(began.elapsed() < Duration::from_secs(7), "{:?}", began.elapsed());
    let tried = published["models"].as_array().expect("a list");
    let said: Vec<_> = tried.iter().map(|model| model["not_computed"].as_str()).collect();
    assert_eq!(said[0], Some("it was computed once, but not again in time"), "{tried:?}");
    assert_eq!((said.len(), said[7]), (8, Some("there was no time left for it")), "{tried:?}");
}

/// The smallest integer divided by -1, whatever `x` is.
fn fatal() -> Vec<u8> {
    Graph::new()
        .input("x", element::I64, &[-1])
        .weights(&scalar("nothing", 0))
        .weights(&scalar("least", i64::MIN))
        .weights(&scalar("minus", -1))
        .node("Mul", &["x", "nothing"], &["zero"], &[])
        .node("Add", &["zero", "least"], &["number"], &[])
        .node("Div", &["number", "minus"], &["y"], &[])
        .result("y", element::I64)
        .model()
}

#[test]
fn a_model_that_ends_its_worker_whatever_it_is_given_does_not_go_live() {
    let host = TestHost::start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    let honest = host.publish(&acme, &model_bundle("honest", identity(DataType::U8, 1), None));
    host.agree(&acme, &zoe, &honest, vec![terms("infer")]);
    let bundle = acme.sign(&model_bundle("fatal", fatal(), Some(BackendKind::Onnxruntime)));
    let refused = |reply: Reply| {
        reply.problem(422, "bundle-refused")["detail"].as_str().expect("text").to_owned()
    };
    let said = refused(host.try_publish(&acme, &bundle));
    assert!(said.contains("for every input") && said.contains("SIGFPE"), "{said}");
    // It is refused again at once, while it is backed off.
    refused(host.try_publish(&acme, &bundle));
    host.call(&zoe, "acme/honest/infer").json(BYTES).send().ok();
}

/// What the host's status lists as out of service, with the reasons.
fn out_of_service(host: &TestHost) -> Vec<(String, String)> {
    let status = host.operator("GET", "/status").send().ok().json();
    let text = |entry: &Value, member: &str| entry[member].as_str().expect("text").to_owned();
    let listed = status["out_of_service"].as_array().expect("a list");
    listed.iter().map(|entry| (text(entry, "model"), text(entry, "reason"))).collect()
}

#[test]
fn a_model_is_tried_out_again_when_another_backend_computes_it() {
    let first = host(|_| {});
    let (acme, zoe) = (first.party("acme"), first.party("zoe"));
    for (name, word) in [("good", "good"), ("picky", "tract-fails")] {
        let published = first.publish(&acme, &model_bundle(name, told(word), None));
        first.agree(&acme, &zoe, &published, vec![terms("infer")]);
    }
    // Unloading and reloading a model must not reset its state.
    let load = |host: &TestHost, what: &str| {
        let path = format!("/v2/repository/models/acme/picky/{what}");
        host.post(&path).bearer(&acme.api_key).json("{}").send().ok();
    };
    load(&first, "unload");
    load(&first, "load");
    let with = |data, backend| {
        let settings = |config: &mut Config| {
            config.inference.worker_program = Some(hostile_worker());
            config.inference.backend = backend;
        };
        TestHost::builder().data(data).config(settings).start()
    };
    let call = |host: &TestHost, name: &str| {
        host.call(&zoe, &format!("acme/{name}/infer")).json(BYTES).send()
    };
    let host = with(first.stop(), BackendKind::Tract.into());
    call(&host, "good").ok();
    call(&host, "picky").problem(503, "out-of-service");
    let out = out_of_service(&host);
    assert_eq!((out.len(), out[0].0.as_str()), (1, "acme/picky"), "{out:?}");
    assert!(out[0].1.contains("computed by `tract`, is unusable"), "{out:?}");

    let host = with(host.stop(), BackendChoice::Auto);
    call(&host, "picky").ok();
    assert!(out_of_service(&host).is_empty());
}
