//! Where a model comes from, through the front door: packed with its proof, published, shown in the market, compared with the files, and
//! refused where the proof is about another model.

use std::path::{Path, PathBuf};
use std::process::Output;

use hospes::bundle::provenance::{Artifact, Base, Content, DataSet, Trainer, Training};
use hospes::dsse::Envelope;
use hospes::id::Digest;
use hospes::key::PartyKey;
use serde_json::{Value, json};
use system_tests::{HostProcess, Party, TestHost, simple, terms};

/// A model, and the files of a training that made it.
struct Run {
    folder: tempfile::TempDir,
}

pub(crate) const README: &str = "---\nlicense: mit\ntags: [flowers]\npipeline_tag: tabular-classification\nmodel-index:\n- name: iris\n  results:\n\
\x20 - dataset: {name: iris, split: test}\n    metrics:\n    - {type: accuracy, value: 0.9667}\n---\n# Iris\n\nSorts flowers.\n";

impl Run {
    fn new(key: &PartyKey) -> Self {
        let run = Self { folder: tempfile::tempdir().expect("a folder") };
        std::fs::create_dir_all(run.path("data/train/setosa")).expect("folders");
        run.write("model.onnx", &simple());
        run.write("data/train/setosa/1.csv", b"5.1,3.5,1.4,0.2\n");
        run.write("data/test.csv", b"6.3,3.3,6.0,2.5\n");
        run.write("recipe.toml", b"[native]\nseed = 7\n");
        run.write("events.jsonl", b"{\"epoch\": 1}\n");
        run.write("README.md", README.as_bytes());
        let test = Digest::of(b"6.3,3.3,6.0,2.5\n");
        let (metrics, data) = (json!({"accuracy": 0.95}), json!({"test": {"sha256": test}}));
        let report =
            json!({"version": 1, "metrics": metrics, "data": data, "recipe": {"native": {}}});
        run.write("report.json", report.to_string().as_bytes());
        let proof = run.training().sign(key).expect("within the limits");
        run.write("provenance.dsse", &proof.to_bytes());
        run
    }

    fn training(&self) -> Training {
        let file = |name: &str| Artifact::of_file(&self.path(name)).expect("it is there");
        let data = |name: &str, path: &str| DataSet {
            name: name.to_owned(),
            path: Some(path.to_owned()),
            content: Content::of(&self.path(path)).expect("it is there"),
            licence: Some("CC0-1.0".to_owned()),
        };
        let at = |text: &str| text.parse().expect("a time");
        Training {
            model: file("model.onnx"),
            report: Some(file("report.json")),
            events: Some(file("events.jsonl")),
            recipe: file("recipe.toml"),
            seed: Some(7),
            parameters: [("epochs".to_owned(), json!(10))].into(),
            environment: Default::default(),
            data: vec![data("train", "data/train"), data("test", "data/test.csv")],
            code: Vec::new(),
            lock: None,
            base: None,
            trainer: Trainer { name: "hospes-train".to_owned(), version: "0.1.0".to_owned() },
            started: at("2026-11-30T06:00:00Z"),
            finished: at("2026-11-30T06:10:00Z"),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("text").to_owned()
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).expect("written");
    }

    /// Packs `model` with the proof and more options.
    fn pack(&self, model: &str, more: &[&str]) -> Output {
        let (model, out) = (self.text(model), self.text("iris.wasm"));
        let proof = self.text("provenance.dsse");
        let basic = ["--json", "pack", &model, "--name", "iris", "--force", "-o", &out];
        HostProcess::run(&[&basic[..], &["--provenance", &proof], more].concat())
    }

    fn bundle(&self) -> Vec<u8> {
        std::fs::read(self.path("iris.wasm")).expect("packed")
    }

    fn verify(&self, more: &[&str]) -> (Option<i32>, Value) {
        let bundle = self.text("iris.wasm");
        let said = HostProcess::run(&[&["--json", "verify-lineage", &bundle], more].concat());
        (said.status.code(), json_of(&said))
    }
}

#[track_caller]
fn json_of(said: &Output) -> Value {
    let shown = String::from_utf8_lossy(&said.stderr);
    serde_json::from_slice(&said.stdout).unwrap_or_else(|_| panic!("{shown}"))
}

fn plain(arguments: &[&str]) -> String {
    let said = HostProcess::run(arguments);
    String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned()
}

/// The results of a `verify-lineage`, by what was compared.
fn results(said: &Value) -> Vec<(String, String)> {
    let checks = said["checks"].as_array().expect("a list");
    let text = |check: &'_ Value, member: &str| -> String {
        check[member].as_str().expect("text").to_owned()
    };
    checks.iter().map(|check| (text(check, "what"), text(check, "result"))).collect()
}

/// The signed proof of a training.
pub(crate) fn proof() -> Vec<u8> {
    let run = Run::new(&Party::key_of("acme"));
    std::fs::read(run.path("provenance.dsse")).expect("a proof")
}

fn list(host: &TestHost, acme: &Party, bundle: &[u8]) -> Value {
    let (model, digest) = host.publish(acme, bundle);
    let offer = acme.offer(&model, digest, vec![terms("infer")]);
    host.post("/api/offers").bearer(&acme.api_key).body(offer.to_bytes()).send().ok();
    host.get("/api/market").send().ok().json()["offers"][0].clone()
}

#[test]
fn a_model_is_published_with_its_proof_and_the_market_shows_it() {
    let host = TestHost::start();
    let acme = host.party("acme");
    let run = Run::new(&acme.key);
    let base = Base { name: "acme/embed@1.0.0".to_owned(), sha256: Digest::of(b"base") };
    let training = Training { base: Some(base.clone()), ..run.training() };
    let proof = training.sign(&acme.key).expect("within the limits");
    run.write("provenance.dsse", &proof.to_bytes());
    let (readme, report) = (run.text("README.md"), run.text("report.json"));
    let packed = json_of(&run.pack("model.onnx", &["--card", &readme, "--report", &report]));
    let manifest = &packed["manifest"];
    assert_eq!(manifest["licence"], "MIT", "{packed}");
    let offer = list(&host, &acme, &run.bundle());
    let lineage = &offer["lineage"];
    assert_eq!(lineage["signer"], acme.key.party().to_string(), "{offer}");
    assert_eq!((&lineage["slsa_build_level"], &lineage["seed"]), (&json!(1), &json!(7)));
    let model = Digest::of(&simple()).to_string();
    assert_eq!(
        (&lineage["model"], &lineage["model_in_bundle"], &lineage["signer_is_publisher"]),
        (&json!(model), &json!(true), &json!(true)),
        "{offer}"
    );
    assert_eq!(lineage["data"][1]["name"], "test");
    assert_eq!(lineage["data"][1]["licence"], "CC0-1.0");
    assert_eq!(lineage["base"], json!({"name": base.name, "sha256": base.sha256}));
    assert_eq!(
        (&offer["tags"], &offer["task"]),
        (&json!(["flowers"]), &json!("tabular-classification"))
    );
    let found = |at: usize| {
        let one = &offer["evaluations"][at];
        (one["by"].clone(), one["metric"].clone(), one["value"].clone(), one["data"].clone())
    };
    let wanted = |by: &str, value: f64, data: &str| {
        (json!(by), json!("accuracy"), json!(value), json!(data))
    };
    assert_eq!(found(0), wanted("trainer", 0.95, "test"));
    assert_eq!(found(1), wanted("publisher", 0.9667, "iris (test)"));
    // The same on the model's own page, and as people read it.
    let page = host.get("/acme/iris").send().ok().json();
    assert_eq!((&page["lineage"], &page["evaluations"]), (lineage, &offer["evaluations"]));
    let market = plain(&["market", "--long", "--host", &format!("http://{}", host.address())]);
    assert!(market.contains("trained by hospes-train 0.1.0"), "{market}");
    assert!(market.contains("accuracy 0.9667 on iris (test), stated by the publisher"), "{market}");
    let shown = plain(&["inspect", &run.text("iris.wasm")]);
    assert!(shown.contains("SLSA build level 1: who trained it says so"), "{shown}");
}

#[test]
fn a_changed_byte_breaks_the_proof_and_is_named() {
    let key = Party::key_of("acme");
    let run = Run::new(&key);
    assert!(run.pack("model.onnx", &[]).status.success());
    let signed = hospes::bundle::sign(&run.bundle(), &key).expect("sound");
    run.write("iris.wasm", &signed);
    let home = run.folder.path().to_str().expect("text").to_owned();
    let (recipe, report, events) =
        (run.text("recipe.toml"), run.text("report.json"), run.text("events.jsonl"));
    let all = ["--data", &home, "--recipe", &recipe, "--report", &report, "--events", &events];
    let (code, said) = run.verify(&all);
    assert_eq!((code, &said["holds"]), (Some(0), &json!(true)), "{said}");
    assert!(results(&said).iter().all(|(_, result)| result == "ok"), "{said}");
    assert_eq!(results(&said).len(), 7);
    for (name, what) in [
        ("data/train/setosa/1.csv", "data train"),
        ("data/test.csv", "data test"),
        ("recipe.toml", "recipe"),
        ("report.json", "report"),
        ("events.jsonl", "events"),
    ] {
        let before = std::fs::read(run.path(name)).expect("a file");
        let mut bytes = before.clone();
        bytes[0] ^= 1;
        run.write(name, &bytes);
        let (code, said) = run.verify(&all);
        let broken: Vec<_> =
            results(&said).into_iter().filter(|(_, result)| result != "ok").collect();
        assert_eq!(
            (code, broken),
            (Some(1), vec![(what.to_owned(), "changed".to_owned())]),
            "{said}"
        );
        let file = Path::new(name).file_name().and_then(|name| name.to_str()).expect("text");
        assert!(said.to_string().contains(file), "{said}");
        run.write(name, &before);
    }
    // What is not here is said, and breaks nothing.
    let (code, said) = run.verify(&["--recipe", &recipe]);
    assert_eq!(code, Some(0));
    let open = results(&said).into_iter().filter(|(_, result)| result == "not-checked");
    assert_eq!(open.count(), 4, "{said}");
    let shown = plain(&["verify-lineage", &run.text("iris.wasm")]);
    assert!(shown.contains("not checked  recipe: name it with `--recipe`"), "{shown}");
    let last = "nothing contradicts the lineage, but 5 of 7 were not checked";
    assert!(shown.contains(last), "{shown}");
    let named = |name: &str, at: &str| format!("{name}={}", run.text(at));
    let (train, test) = (named("train", "data/train"), named("test", "data/test.csv"));
    let (code, said) = run.verify(&["--data", &train, "--data", &test]);
    assert_eq!((code, said["not_checked"].clone()), (Some(0), json!(3)), "{said}");
    let (code, said) = run.verify(&["--data", &named("tset", "data/test.csv")]);
    assert_eq!(
        (code, said["error"].clone()),
        (Some(1), json!("the training had no data set `tset`"))
    );
    // A folder that does not exist is an error: nothing in it could be checked.
    for option in ["--data", "--code"] {
        let (code, said) = run.verify(&[option, &run.text("nowhere")]);
        assert_eq!((code, &said["error"]), (Some(1), &json!("cannot compare")), "{said}");
        assert!(said.to_string().contains("nowhere` cannot be read"), "{said}");
    }
    let (code, said) = run.verify(&["--base", &recipe]);
    let error = said["error"].as_str().expect("a refusal");
    assert!(code == Some(1) && error.starts_with("the proof names no base"), "{said}");
    // A changed byte of the proof itself breaks the bundle.
    let needle = b"vnd.in-toto+json";
    let at = signed.windows(needle.len()).position(|window| window == needle);
    let mut changed = signed;
    changed[at.expect("it is there")] ^= 1;
    run.write("iris.wasm", &changed);
    let shown = plain(&["verify-lineage", &run.text("iris.wasm")]);
    assert!(shown.contains("the provenance changed after the bundle was signed"), "{shown}");
}

#[test]
fn a_proof_of_another_model_is_refused_when_packed_and_by_the_host() {
    let host = TestHost::start();
    let acme = host.party("acme");
    let run = Run::new(&acme.key);
    // The same model with a name: other bytes, so another model to whoever compares digests.
    let other = [&simple()[..], b"\x1a\x05other"].concat();
    run.write("other.onnx", &other);
    let refused = run.pack("other.onnx", &[]);
    let said = json_of(&refused).to_string();
    assert!(
        !refused.status.success() && said.contains("the provenance is about the model"),
        "{said}"
    );
    // Its descendant is taken, if its publisher says so.
    let trained = format!("optimised={}", run.text("model.onnx"));
    assert!(run.pack("other.onnx", &["--derived-from", &trained]).status.success());
    let offer = list(&host, &acme, &run.bundle());
    assert_eq!(offer["derived_from"][0]["how"], "optimised", "{offer}");
    // A bundle that was put together by hand, signed by its publisher.
    let plain = system_tests::model_bundle("hand-made", other, None);
    let forged = with_proof(&acme.sign(&plain), &run, &acme.key);
    let refused = host.try_publish(&acme, &forged);
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert!(refused.text().contains("the provenance is about the model"), "{}", refused.text());
}

#[test]
fn somebody_elses_proof_is_not_shown_as_one_of_the_bundles_model() {
    let host = TestHost::start();
    let mallory = host.party("mallory");
    let alice = Party::key_of("alice");
    let run = Run::new(&alice);
    run.write("other.onnx", &[&simple()[..], b"\x1a\x05other"].concat());
    let trained = Digest::of(&simple()).to_string();
    let claim = format!("optimised={trained}");
    assert!(run.pack("other.onnx", &["--derived-from", &claim]).status.success());
    let offer = list(&host, &mallory, &run.bundle());
    let lineage = &offer["lineage"];
    assert_eq!(
        (&lineage["signer"], &lineage["signer_is_publisher"], &lineage["model"]),
        (&json!(alice.party().to_string()), &json!(false), &json!(trained)),
        "{offer}"
    );
    let about = (&lineage["model_in_bundle"], &lineage["model_then"]);
    assert_eq!(about, (&json!(false), &json!("optimised")), "{offer}");
    let market = plain(&["market", "--long", "--host", &format!("http://{}", host.address())]);
    let signed = hospes::bundle::sign(&run.bundle(), &mallory.key).expect("sound");
    run.write("iris.wasm", &signed);
    let shown = plain(&["inspect", &run.text("iris.wasm")]);
    for said in [market, shown] {
        let claim = "the model that this one was optimised from, as its publisher says, was trained by hospes-train 0.1.0";
        assert!(said.contains(claim) && said.contains(&trained), "{said}");
        assert!(!said.contains("  trained by"), "{said}");
        assert!(said.contains(&format!("{}, who is not the publisher", alice.party())), "{said}");
    }
    let said = json_of(&HostProcess::run(&["--json", "inspect", &run.text("iris.wasm")]));
    let proof = &said["extras"]["provenance"];
    let about = (&proof["model_in_bundle"], &proof["model_then"], &proof["signer_is_publisher"]);
    assert_eq!(about, (&json!(false), &json!("optimised"), &json!(false)), "{said}");
}

/// A signed bundle with the proof of `run`, signed again without any checks.
fn with_proof(signed: &[u8], run: &Run, key: &PartyKey) -> Vec<u8> {
    const NAME: &[u8] = b"\x10hospes:signature";
    let named = signed.windows(NAME.len()).rposition(|window| window == NAME).expect("signed");
    let envelope = Envelope::parse(&signed[named + NAME.len()..]).expect("an envelope");
    let size = leb(signed.len() - named);
    let rest = &signed[..named - size.len() - 1];
    let proof = std::fs::read(run.path("provenance.dsse")).expect("a proof");
    let unsigned = [rest, &section(b"hospes:provenance", &proof)].concat();
    let mut payload: Value = serde_json::from_slice(envelope.payload()).expect("JSON");
    payload["provenance"] = json!(Digest::of(&proof));
    payload["sha256"] = json!(Digest::of(&unsigned));
    let payload = serde_json_canonicalizer::to_vec(&payload).expect("JSON");
    let envelope = Envelope::sign(envelope.payload_type(), payload, key).expect("small");
    [unsigned, section(b"hospes:signature", &envelope.to_bytes())].concat()
}

fn section(name: &[u8], payload: &[u8]) -> Vec<u8> {
    let named = [&leb(name.len()), name].concat();
    [&[0], &leb(named.len() + payload.len())[..], &named, payload].concat()
}

fn leb(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}
