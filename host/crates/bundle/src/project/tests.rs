use std::fs;

use super::*;
use crate::{Shape, inspect, sample};

const CODE: &str = r#"
[package]
name = "sample"
version = "1.2.0-rc.1"
licence = "MIT OR Apache-2.0"
summary = "A sample"

[card]
limitations = "Many."

[build]
module = "../target/sample.wasm"
wit = "wit"
world = "sample"

[[models]]
name = "weights"
path = "../target/model.onnx"
encoding = "onnx"
batch_axis = 0
device = "cpu"
backend = "tract"

[limits]
deadline_ms = 5000
"#;

const WIT: &str = "package sample:plugin@0.1.0;
interface host {}
interface extra { /// Doubles.
    double: func(value: u32) -> u32; }
world sample { import host; export extra; /// Detects.
    export detect: func(value: u32) -> u32; }";

/// A plugin's directory with this `hospes.toml` and the outputs of a build.
fn plugin(toml: &str) -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().expect("a folder");
    let directory = root.path().join("plugin");
    fs::create_dir_all(directory.join("wit")).expect("made");
    fs::create_dir(root.path().join("target")).expect("made");
    fs::write(directory.join(PROJECT_FILE), toml).expect("written");
    fs::write(directory.join("wit/sample.wit"), WIT).expect("written");
    fs::write(root.path().join("target/sample.wasm"), sample::component()).expect("written");
    fs::write(root.path().join("target/model.onnx"), sample::ONNX).expect("written");
    (root, directory)
}

fn refused(toml: &str) -> ProjectError {
    let (root, directory) = plugin(toml);
    let out = root.path().join("out.wasm");
    let result = Project::read(&directory).and_then(|project| project.pack_to_file(&out));
    assert!(!out.exists());
    result.expect_err("must be refused")
}

#[test]
fn a_directory_becomes_the_same_bundle_every_time() {
    let (root, directory) = plugin(CODE);
    let project = Project::read(&directory).expect("a plugin");
    assert_eq!(project.name().as_str(), "sample");
    let outs = ["one.wasm", "two.wasm"].map(|name| root.path().join(name));
    let [manifest, again] =
        outs.each_ref().map(|out| project.pack_to_file(out).expect("packed").manifest);
    assert_eq!(manifest, again);
    assert_eq!(fs::read(&outs[0]).expect("there"), fs::read(&outs[1]).expect("there"));
    let inspection = inspect(&outs[0]).expect("sound");
    assert_eq!(*inspection.manifest(), manifest);
    assert_eq!(inspection.signer(), None);
    assert_eq!(manifest.version.to_string(), "1.2.0-rc.1");
    assert_eq!(manifest.card.limitations.as_deref(), Some("Many."));
    assert_eq!(manifest.limits.deadline_ms, Some(5000));
    let docs: Vec<_> = manifest.functions.iter().filter_map(|f| f.docs.as_deref()).collect();
    assert_eq!(docs.len(), 2, "{docs:?}");
    let model = &manifest.models[0];
    assert_eq!((model.device, model.backend), (Device::Cpu, Some(BackendKind::Tract)));
    assert_eq!(model.sha256, Digest::of(sample::ONNX));
}

#[test]
fn a_directory_without_code_gets_the_built_in_guest() {
    let toml = CODE.replace("[build]", "").replace("module = \"../target/sample.wasm\"", "");
    let toml = toml.replace("wit = \"wit\"", "").replace("world = \"sample\"", "");
    assert!(matches!(refused(&toml), ProjectError::NoCode), "the model has another name");
    let decoder = toml.replace("\"onnx\"", "\"decoder\"");
    assert!(matches!(refused(&decoder), ProjectError::NoSpeaker), "no code speaks with it");
    let (root, directory) = plugin(&toml.replace("\"weights\"", "\"model\""));
    let out = root.path().join("out.wasm");
    let manifest =
        Project::read(&directory).expect("a plugin").pack_to_file(&out).expect("packed").manifest;
    assert_eq!(manifest.functions[0].name.as_str(), "infer");
    let bundle = fs::read(&out).expect("there");
    assert_eq!(
        Shape::read(&bundle).expect("a component"),
        Shape::read(&passthrough().expect("ours")).expect("a component")
    );
}

#[test]
fn a_bundle_has_the_permissions_of_any_other_file() {
    use std::os::unix::fs::MetadataExt as _;
    let (root, directory) = plugin(CODE);
    let out = root.path().join("out.wasm");
    Project::read(&directory).expect("a plugin").pack_to_file(&out).expect("packed");
    let mode = |path: &Path| fs::metadata(path).expect("there").mode();
    assert_eq!(mode(&out), mode(&directory.join(PROJECT_FILE)));
}

#[test]
fn the_plugins_of_this_repository_are_read() {
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../plugins");
    for (name, functions) in [
        ("classify", "classify"),
        ("filetype", "identify"),
        ("foreign", "probe"),
        ("iris", "infer"),
        ("lenet", "infer"),
    ] {
        let project = Project::read(&plugins.join(name)).expect(name);
        assert_eq!(project.name().as_str(), name);
        let specs = project.exports(&[]).expect(name).functions;
        assert_eq!(specs.len(), 1, "{name}");
        assert_eq!(specs[0].name.as_str(), functions);
        assert!(specs[0].docs.is_some(), "{name}");
    }
}

#[test]
fn what_the_file_cannot_say_is_refused() {
    let with = |from: &str, to: &str| {
        assert!(CODE.contains(from), "{from}");
        refused(&CODE.replace(from, to))
    };
    for (from, to) in [
        ("[limits]", "[limit]"),
        ("deadline_ms", "deadline_s"),
        ("[card]", "[card]\nauthor = \"me\""),
        ("encoding = \"onnx\"", "encoding = \"pickle\""),
        ("encoding = \"onnx\"", "encoding = \"onnx\"\nsha256 = \"abc\""),
        ("encoding = \"onnx\"", ""),
        ("name = \"sample\"", "name = \"../sample\""),
        ("name = \"weights\"", "name = \"a/b\""),
        ("1.2.0-rc.1", "1.2"),
        ("summary", "# summary"),
        ("batch_axis = 0", "batch_axis = -1"),
        ("\"cpu\"", "\"tpu\""),
        ("[package]", "[package"),
    ] {
        assert!(matches!(with(from, to), ProjectError::Toml { .. }), "{to}");
    }
    assert!(matches!(
        with("\"../target/model", "\"/target/model"),
        ProjectError::AbsolutePath { .. }
    ));
    assert!(matches!(with("\"wit\"", "\"/wit\""), ProjectError::AbsolutePath { .. }));
    assert!(matches!(with("/sample.wasm", "/other.wasm"), ProjectError::Module { .. }));
    assert!(matches!(with("/sample.wasm", "/model.onnx"), ProjectError::Componentize(_)));
    assert!(matches!(
        with("world = \"sample\"", "world = \"other\""),
        ProjectError::Wit(WitError::World { .. })
    ));
    assert!(matches!(
        with("wit = \"wit\"", "wit = \"wat\""),
        ProjectError::Wit(WitError::Read { .. })
    ));
    assert!(matches!(
        with("/model.onnx", "/other.onnx"),
        ProjectError::Pack(PackError::Read { .. })
    ));
    assert!(matches!(with("= 5000", "= 0"), ProjectError::Pack(PackError::Manifest(_))));
    let pin = format!("batch_axis = 0\nsha256 = \"{}\"", Digest::of(b"other"));
    assert!(matches!(with("batch_axis = 0", &pin), ProjectError::Pack(PackError::Pin { .. })));
    let long = format!("{CODE}\n#{}", " ".repeat(1 << 20));
    assert!(matches!(refused(&long), ProjectError::TooLarge { .. }));
    let absent = Project::read(Path::new("does/not/exist"));
    assert!(matches!(absent, Err(ProjectError::Read { .. })));
}

#[test]
fn without_a_world_the_component_says_what_it_exports() {
    let bare = CODE.replace("wit = \"wit\"\nworld = \"sample\"\n", "");
    assert_ne!(bare, CODE);
    let (root, directory) = plugin(&bare);
    let out = root.path().join("out.wasm");
    let packed = Project::read(&directory).and_then(|project| project.pack_to_file(&out));
    let manifest = packed.expect("packed").manifest;
    let mut exports: Vec<_> = manifest.functions.iter().map(|f| f.export.as_str()).collect();
    exports.sort_unstable();
    assert_eq!(exports, ["detect", "sample:plugin/extra@0.1.0#double"]);
    assert!(manifest.functions.iter().all(|function| function.docs.is_none()));

    let half = CODE.replace("world = \"sample\"\n", "");
    assert!(matches!(refused(&half), ProjectError::HalfWorld));
}

const LINEAGE: &str = r#"
[lineage]
provenance = "run/provenance.dsse"
profile = "run/profile.json"
card = "README.md"
reports = ["run/report.json"]
derived_from = [{ model = "sha256:0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d", how = "converted" }]
"#;

#[test]
fn a_plugin_says_where_its_model_comes_from() {
    let (root, directory) = plugin(&format!("{CODE}{LINEAGE}"));
    let mut training = crate::provenance::tests::training();
    training.model.sha256 = Digest::of(sample::ONNX);
    fs::create_dir(directory.join("run")).expect("made");
    let profile = hospes_evidence::Profile::new(Digest::of(b"rows"), 2_000, Vec::new(), Vec::new());
    let profile = serde_json::to_vec(&profile.expect("enough rows")).expect("JSON");
    let report = format!(
        r#"{{"metrics": {{"accuracy": 0.9}}, "data": {{"test": {{"sha256": "{}"}}}}, "recipe": {{"native": {{}}}}}}"#,
        Digest::of(b"rows")
    );
    for (name, bytes) in [
        ("run/provenance.dsse", crate::provenance::tests::signed(&training)),
        ("run/profile.json", profile.clone()),
        ("run/report.json", report.into_bytes()),
        ("README.md", b"---\nlicense: gpl-3.0\ntags: [a, {}]\n---\n# Sample".to_vec()),
    ] {
        fs::write(directory.join(name), bytes).expect("written");
    }
    let out = root.path().join("out.wasm");
    let project = Project::read(&directory).expect("sound");
    assert_eq!(project.places().len(), 8);
    let packed = project.pack_to_file(&out).expect("packed");
    let Packed { manifest, notes, .. } = packed;
    // The file's own words come before the card's.
    assert_eq!(manifest.licence.as_str(), "MIT OR Apache-2.0");
    assert_eq!(
        (manifest.card.limitations.as_deref(), &manifest.card.tags[..]),
        (Some("Many."), &["a".to_owned()][..])
    );
    assert_eq!((manifest.evaluations.len(), manifest.derived_from.len(), notes.len()), (1, 1, 1));
    let extras = inspect(&out).expect("sound").extras().clone();
    assert_eq!(extras.provenance().map(|proof| proof.training()), Some(&training));
    assert_eq!((extras.profile_bytes(), extras.card_bytes()), (Some(profile.len()), Some(47)));
    // What is named must be there, beside the plugin.
    fs::remove_file(directory.join("README.md")).expect("removed");
    let missing = project.pack_to_file(&out).expect_err("missing");
    assert!(matches!(missing, ProjectError::Origin(OriginError::Read { .. })), "{missing:?}");
    let absolute = refused(&format!("{CODE}{}", LINEAGE.replace("README.md", "/README.md")));
    assert!(matches!(absolute, ProjectError::AbsolutePath { member: "lineage.card", .. }));
    let unknown = refused(&format!("{CODE}[lineage]\nproof = \"a\"\n"));
    assert!(matches!(unknown, ProjectError::Toml { .. }));
}
