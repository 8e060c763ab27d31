//! A version that cannot be loaded affects nothing else, and the listeners respond from the first
//! moment.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hospes::api::Listeners;
use hospes::backend::BackendKind;
use hospes::config::Config;
use hospes::id::{Digest, ModelName};
use hospes::store::{Store, Table};
use hospes::tensor::DataType;
use serde_json::{Value, json};
use system_tests::{
    HostProcess, Party, Reply, Request, TestHost, documented, identity, model_bundle, model_input,
    terms, wat_guest_as,
};
use tempfile::TempDir;

const TENSOR: &str = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[2],"data":[1.5,2.5]}]}"#;

/// A host with ten models of `acme`, `m0` to `m9`, that `zoe` may call.
struct Ten {
    host: TestHost,
    acme: Party,
    zoe: Party,
    published: Vec<(ModelName, Digest)>,
}

impl Ten {
    fn start() -> Self {
        let host = TestHost::start();
        let (acme, zoe) = (host.party("acme"), host.party("zoe"));
        let published = (0..10).map(|number| {
            // All weights differ, by the number of dimensions or the type.
            let ty = if number < 5 { DataType::F32 } else { DataType::F64 };
            let bundle = model_bundle(&format!("m{number}"), identity(ty, 1 + number % 5), None);
            let published = host.publish(&acme, &bundle);
            host.agree(&acme, &zoe, &published, vec![terms("infer")]);
            published
        });
        let published = published.collect();
        Self { host, acme, zoe, published }
    }

    /// Stops the host, changes its data, and starts it again.
    fn restart(self, meanwhile: impl FnOnce(&Path)) -> Self {
        let Self { host, acme, zoe, published } = self;
        let data = host.stop();
        meanwhile(&data.path().join("data"));
        Self { host: TestHost::builder().data(data).start(), acme, zoe, published }
    }

    fn call(&self, number: usize) -> Reply {
        let shape = vec![1; 1 + number % 5];
        let ty = if number < 5 { "FP32" } else { "FP64" };
        let tensor = json!({"name": "x", "datatype": ty, "shape": shape, "data": [1.5]});
        let body = json!({"inputs": [tensor]}).to_string();
        self.host.call(&self.zoe, &format!("acme/m{number}/infer")).json(&body).send()
    }

    fn out_of_service(&self) -> Vec<Value> {
        let status = self.host.operator("GET", "/status").send().ok().json();
        status["out_of_service"].as_array().expect("a list").clone()
    }

    fn operate(&self, what: &str, number: usize) -> Reply {
        let which = json!({"model": format!("acme/m{number}"), "version": "1.0.0"}).to_string();
        self.host.operator("POST", &format!("/out-of-service/{what}")).json(&which).send()
    }
}

fn bundle_of(data: &Path, digest: &Digest) -> PathBuf {
    data.join("bundles/bundles").join(digest.hex())
}

/// The path of the weights that a stored bundle names in its first line.
fn weights_of(data: &Path, digest: &Digest) -> PathBuf {
    let kept = std::fs::read(bundle_of(data, digest)).expect("readable");
    let line = kept.split(|byte| *byte == b'\n').next().expect("a line");
    let index: Value = serde_json::from_slice(line).expect("JSON");
    let sha256 = index["models"][0]["sha256"].as_str().expect("a digest").to_owned();
    data.join("bundles/models").join(sha256.trim_start_matches("sha256:"))
}

#[test]
fn three_of_ten_models_are_broken_and_seven_serve() {
    let ten = Ten::start();
    let (missing, damaged) = (ten.published[1].1, ten.published[4].1);
    let hidden = TempDir::new().expect("a directory");
    let kept = hidden.path().join("kept");
    let ten = ten.restart(|data| {
        std::fs::rename(bundle_of(data, &missing), &kept).expect("moved");
        std::fs::write(weights_of(data, &damaged), b"no model").expect("written");
        let store = Store::open(&data.join("state.redb")).expect("opens");
        store.put(Table::Publications, "acme/m7@1.0.0", b"{\"model\":").expect("written");
    });
    for number in 0..10 {
        match number {
            1 | 4 | 7 => drop(ten.call(number).problem(503, "out-of-service")),
            _ => drop(ten.call(number).ok()),
        }
    }
    ten.host.get("/readyz").send().ok();

    let broken = ten.out_of_service();
    let models: Vec<_> = broken.iter().map(|entry| entry["model"].clone()).collect();
    assert_eq!(models, ["acme/m1", "acme/m4", "acme/m7"], "{broken:?}");
    assert_eq!(broken[0]["publisher"], "acme");
    assert_eq!(broken[0]["version"], "1.0.0");
    assert_eq!(broken[0]["digest"], missing.to_string());
    assert!(broken[0]["reason"].as_str().expect("text").contains("missing"), "{broken:?}");
    assert!(broken[1]["reason"].as_str().expect("text").contains("damaged"), "{broken:?}");
    assert_eq!(broken[2]["digest"], Value::Null, "{broken:?}");

    // Other protocols report the same.
    let ready = ten.host.get("/v2/models/acme/m1/ready").bearer(&ten.zoe.api_key).send();
    assert_eq!((ready.status, ready.json()["ready"].clone()), (503, json!(false)));
    let infer = ten.host.post("/v2/models/acme/m1/infer").bearer(&ten.zoe.api_key);
    assert_eq!(infer.json(TENSOR).send().status, 503);
    // A caller without access to a model gets the same response as for a name that does not exist.
    let eve = ten.host.party("eve");
    let hidden = ten.host.post("/acme/unheard/infer").bearer(&eve.api_key).json(TENSOR).send();
    hidden.problem(404, "not-found");

    // The version number stays taken, and a retry restores what was repaired.
    ten.operate("retry", 1).problem(503, "out-of-service");
    ten.operate("retry", 0).problem(409, "conflict");
    let data = ten.host.data();
    std::fs::rename(&kept, bundle_of(&data, &missing)).expect("moved back");
    ten.operate("retry", 1).ok();
    ten.call(1).ok();

    // A removed version stays removed after a restart.
    ten.operate("withdraw", 4).ok();
    ten.operate("withdraw", 7).ok();
    ten.call(4).problem(404, "not-found");
    let ten = ten.restart(|_| ());
    ten.call(4).problem(404, "not-found");
    ten.call(7).problem(404, "not-found");
    assert_eq!(ten.out_of_service(), Vec::<Value>::new());

    // The operator's actions are in the log.
    let actions = ten.host.operator("GET", "/actions").send().ok().json();
    let actions = actions["actions"].as_array().expect("a list").clone();
    let deeds =
        actions.iter().filter(|action| action["target"] != "acme" && action["target"] != "zoe");
    let deeds: Vec<_> = deeds.map(|a| (a["action"].clone(), a["target"].clone())).collect();
    let deed = |action: &str, model: u8| (json!(action), json!(format!("acme/m{model}@1.0.0")));
    for wanted in
        [deed("retry-version", 1), deed("take-out-version", 4), deed("take-out-version", 7)]
    {
        assert!(deeds.contains(&wanted), "{deeds:?}");
    }
    assert!(!deeds.contains(&deed("retry-version", 0)), "m0 was not out of service: {deeds:?}");

    // Publishing the same bytes again repairs the damage.
    let bundle = ten.acme.sign(&model_bundle("m4", identity(DataType::F32, 5), None));
    ten.host.try_publish(&ten.acme, &bundle).ok();
    ten.call(4).ok();
}

#[test]
fn models_that_are_hidden_stay_hidden_when_they_are_out_of_service() {
    let host = TestHost::start();
    let (acme, eve) = (host.party("acme"), host.party("eve"));
    let (_, digest) = host.publish(&acme, &model_bundle("own", identity(DataType::F32, 1), None));
    let data = host.stop();
    std::fs::remove_file(bundle_of(&data.path().join("data"), &digest)).expect("removed");
    let host = TestHost::builder().data(data).start();
    let call = |party| host.call(party, "acme/own/infer").json(TENSOR).send();
    call(&eve).problem(404, "not-found");
    call(&acme).problem(503, "out-of-service");
}

#[test]
fn a_setting_takes_models_out_of_service_and_not_the_host() {
    let host = TestHost::start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    for (name, backend) in [("pinned", Some(BackendKind::Onnxruntime)), ("free", None)] {
        let bundle = model_bundle(name, identity(DataType::F32, 1), backend);
        let published = host.publish(&acme, &bundle);
        host.agree(&acme, &zoe, &published, vec![terms("infer")]);
    }
    let tract = |config: &mut Config| config.inference.backend = BackendKind::Tract.into();
    let host = TestHost::builder().data(host.stop()).config(tract).start();
    let call = |name: &str| host.call(&zoe, &format!("acme/{name}/infer")).json(TENSOR).send();
    call("free").ok();
    call("pinned").problem(503, "out-of-service");
    let status = host.operator("GET", "/out-of-service").send().ok().json();
    let reason = status["out_of_service"][0]["reason"].as_str().expect("text").to_owned();
    assert!(reason.contains("allows `tract` only"), "{reason}");

    // With a lower limit on code, all versions are out of service, but the host runs.
    let small = |config: &mut Config| config.bundle.code_bytes_max = 16;
    let host = TestHost::builder().data(host.stop()).config(small).start();
    host.get("/readyz").send().ok();
    let call = host.call(&zoe, "acme/free/infer").json(TENSOR).send();
    call.problem(503, "out-of-service");
}

#[test]
fn the_operator_lists_and_retries_what_is_out_of_service_by_a_command() {
    let host = TestHost::start();
    let acme = host.party("acme");
    let (_, digest) = host.publish(&acme, &model_bundle("own", identity(DataType::F32, 1), None));
    let data = host.stop();
    let folder = data.path().join("data");
    let (kept, away) = (bundle_of(&folder, &digest), data.path().join("away"));
    std::fs::rename(&kept, &away).expect("moved");
    let host = TestHost::builder().data(data).start();
    let folder = folder.to_str().expect("text");
    let operator = host.operator_url();
    let admin = |action: &[&str]| {
        let arguments = [
            &["admin", "out-of-service"][..],
            action,
            &["--operator", &operator, "--data", folder],
        ];
        let output = HostProcess::run(&arguments.concat());
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    };
    let (done, said) = admin(&["list"]);
    assert!(done && said.contains("acme/own@1.0.0") && said.contains("missing"), "{said}");
    let (done, said) = admin(&["retry", "acme/own@1.0.0"]);
    assert!(!done && said.contains("out of service"), "{said}");
    std::fs::rename(&away, &kept).expect("moved back");
    let (done, said) = admin(&["retry", "acme/own@1.0.0"]);
    assert!(done && said.contains("in service again"), "{said}");
    let (done, said) = admin(&["list"]);
    assert!(done && said.contains("every published version is in service,"), "{said}");

    // What the operator withdrew comes back by another command.
    let wanted = r#"{"action":"withdraw-model","target":"acme/own","reason":"a court said so"}"#;
    host.operator("POST", "/actions").json(wanted).send().ok();
    for action in ["retry", "withdraw"] {
        let (done, said) = admin(&[action, "acme/own@1.0.0"]);
        assert!(!done && said.contains("a court said so"), "{said}");
        assert!(said.contains("`hospes admin reinstate acme/own`"), "{said}");
    }
}

/// Publishes `count` versions by ten publishers. `zoe` has an agreement on the last; every tenth
/// has a model.
fn many(count: usize) -> (TestHost, Party) {
    let host = TestHost::start();
    let zoe = host.party("zoe");
    let publishers: Vec<_> = (0..10).map(|number| host.party(&format!("acme{number}"))).collect();
    for number in 0..count {
        let publisher = &publishers[number * 10 / count];
        // Its own weights.
        let weights = documented(&identity(DataType::F32, 1), &number.to_string());
        let models = [model_input("model", weights)];
        let models = if number % 10 == 9 { &models[..] } else { &[] };
        let bundle = wat_guest_as("noop", &format!("m{number}"), models);
        let published = host.publish(publisher, &bundle);
        if number + 1 == count {
            host.agree(publisher, &zoe, &published, vec![terms("nothing")]);
        }
    }
    (host, zoe)
}

#[test]
fn a_thousand_versions_are_ready_within_two_seconds_and_nothing_is_written_again() {
    let (host, zoe) = many(1000);
    let data = host.stop();
    let folder = data.path().join("data");
    let written = |folder: &Path| {
        let files = std::fs::read_dir(folder.join("bundles/bundles")).expect("readable");
        let files = files.map(|file| {
            let file = file.expect("readable");
            let changed = file.metadata().and_then(|metadata| metadata.modified());
            (file.file_name(), changed.expect("a time"))
        });
        files.collect::<std::collections::BTreeMap<_, _>>()
    };
    let before = written(&folder);
    let began = Instant::now();
    let host = HostProcess::start(&folder);
    let ready = Request::new("GET", format!("{}/readyz", host.address)).send();
    let took = began.elapsed();
    ready.ok();
    assert!(took < Duration::from_secs(2), "{took:?}");
    let call = Request::new("POST", format!("{}/acme9/m999/nothing", host.address));
    call.bearer(&zoe.api_key).json("{}").send().ok();
    // Nothing else is loaded.
    let token = std::fs::read_to_string(folder.join("operator.token")).expect("readable");
    let status = Request::new("GET", format!("{}/status", host.operator));
    let status = status.bearer(token.trim()).send().ok().json();
    assert_eq!((&status["models"], &status["out_of_service"]), (&json!(1000), &json!([])));
    assert_eq!((&status["loaded"]["loads"], &status["loading"]), (&json!(1), &json!(0)));
    assert_eq!(written(&folder), before);
}

#[test]
fn versions_of_an_older_host_are_described_by_loading_them_once() {
    let (host, zoe) = many(20);
    let data = host.stop();
    let store = Store::open(&data.path().join("data/state.redb")).expect("opens");
    for key in store.keys(Table::Descriptions).expect("readable") {
        store.remove(Table::Descriptions, &key).expect("removed");
    }
    drop(store);
    // A call need not wait for the others.
    let host = TestHost::builder().data(data).start();
    host.call(&zoe, "acme9/m19/nothing").json("{}").send().ok();
    let status = |host: &TestHost| host.operator("GET", "/status").send().ok().json();
    let deadline = Instant::now() + Duration::from_secs(60);
    while status(&host)["loaded"]["loads"] != 20 {
        assert!(Instant::now() < deadline, "not all have been loaded: {}", status(&host));
        std::thread::sleep(Duration::from_millis(20));
    }
    let host = TestHost::builder().data(host.stop()).start();
    let page = host.get("/acme9/m19").bearer(&zoe.api_key).send().ok().json();
    assert_eq!(page["functions"][0]["name"], "nothing", "{page}");
    let status = status(&host);
    assert_eq!((&status["models"], &status["out_of_service"]), (&json!(20), &json!([])));
    assert_eq!((&status["loaded"]["loads"], &status["loading"]), (&json!(0), &json!(0)));
}

#[test]
fn the_listeners_answer_before_the_host_has_started() {
    let mut config = Config::default();
    config.api.listen.set_port(0);
    config.api.operator_listen.set_port(0);
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let listeners = runtime.block_on(Listeners::bind(&config)).expect("bound");
    let address = listeners.address().expect("bound");
    let (started, starts) = tokio::sync::oneshot::channel::<()>();
    let lobby = runtime.spawn(async move { listeners.while_starting(starts).await });
    let get = |path: &str| Request::new("GET", format!("http://{address}{path}")).send();
    get("/healthz").ok();
    let loading = get("/readyz");
    assert_eq!(loading.problem(503, "unavailable")["state"], "loading");
    assert!(loading.header("retry-after").is_some());
    let call =
        Request::new("POST", format!("http://{address}/acme/iris/infer")).json(TENSOR).send();
    call.problem(503, "unavailable");
    started.send(()).expect("the lobby still runs");
    runtime.block_on(lobby).expect("no panic").expect("no error");
}
