//! Tests of provenance: what is written is read back, other tools' additions are passed over, lies and changes are named.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use super::*;

fn key() -> PartyKey {
    PartyKey::from_secret(&[7; 32])
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

/// A training with everything that can be recorded.
pub(crate) fn training() -> Training {
    let file = |name: &str| Artifact::of_bytes(name, name.as_bytes());
    Training {
        model: file("model.onnx"),
        report: Some(file("report.json")),
        events: Some(file("events.jsonl")),
        recipe: file("recipe.toml"),
        seed: Some(u64::MAX),
        parameters: [("lr".to_owned(), json!(0.02)), ("epochs".to_owned(), json!(10))].into(),
        environment: [("threads".to_owned(), json!(1))].into(),
        data: vec![DataSet {
            name: "train".to_owned(),
            path: Some("data/train.npz".to_owned()),
            content: Content::File { sha256: Digest::of(b"rows"), bytes: 4 },
            licence: Some("MIT".to_owned()),
        }],
        code: vec![
            Code::Git {
                commit: "0d".repeat(20),
                uri: Some("https://example.com/repository".to_owned()),
            },
            Code::Files {
                path: "train.py".to_owned(),
                content: Content::File { sha256: Digest::of(b"import torch"), bytes: 12 },
            },
        ],
        lock: Some(file("requirements.txt")),
        base: Some(Base { name: "acme/embed@1.0.0".to_owned(), sha256: Digest::of(b"base") }),
        trainer: Trainer { name: "hospes-train".to_owned(), version: "0.1.0".to_owned() },
        started: at("2026-11-30T06:00:00Z"),
        finished: at("2026-11-30T06:10:00.5Z"),
    }
}

pub(crate) fn signed(training: &Training) -> Vec<u8> {
    training.sign(&key()).expect("within the limits").to_bytes()
}

/// The statement of [`training`] after `change`, signed again.
fn changed(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let envelope = training().sign(&key()).expect("within the limits");
    let mut statement = serde_json::from_slice(envelope.payload()).expect("JSON");
    change(&mut statement);
    let payload = serde_json::to_vec(&statement).expect("JSON");
    Envelope::sign(PAYLOAD_TYPE, payload, &key()).expect("small").to_bytes()
}

fn refused(envelope: &[u8]) -> ProvenanceError {
    Provenance::parse(envelope).expect_err("must be refused")
}

#[test]
fn what_is_signed_is_read_back() {
    let read = Provenance::parse(&signed(&training())).expect("sound");
    assert_eq!((read.training(), read.signer()), (&training(), key().party()));
}

#[test]
fn the_members_are_those_of_in_toto_and_slsa() {
    let envelope = training().sign(&key()).expect("within the limits");
    let statement: Value = serde_json::from_slice(envelope.payload()).expect("JSON");
    assert_eq!(envelope.payload_type(), "application/vnd.in-toto+json");
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
    let hex = |bytes: &[u8]| Digest::of(bytes).hex();
    assert_eq!(statement["subject"][0]["digest"]["sha256"], hex(b"model.onnx"));
    assert_eq!(statement["subject"][1]["digest"]["sha256"], hex(b"report.json"));
    let build = &statement["predicate"]["buildDefinition"];
    assert_eq!(build["buildType"], "urn:hospes:train:1");
    assert_eq!(build["externalParameters"]["seed"], u64::MAX);
    assert_eq!(build["externalParameters"]["recipe"]["digest"]["sha256"], hex(b"recipe.toml"));
    let dependencies = build["resolvedDependencies"].as_array().expect("a list");
    assert_eq!(dependencies.len(), 5);
    assert_eq!(dependencies[0]["annotations"]["license"], "MIT");
    assert_eq!(dependencies[0]["annotations"]["contentSize"], 4);
    assert_eq!(dependencies[1]["digest"]["gitCommit"], "0d".repeat(20));
    let run = &statement["predicate"]["runDetails"];
    assert_eq!(run["builder"]["id"], key().party().to_string());
    assert_eq!(run["builder"]["hospes_level"], "SLSA_BUILD_LEVEL_1");
    assert_eq!(run["byproducts"].as_array().expect("a list").len(), 2);
    assert_eq!(run["metadata"]["startedOn"], "2026-11-30T06:00:00Z");
}

#[test]
fn additions_of_others_are_passed_over_where_in_toto_allows_them() {
    let read = Provenance::parse(&changed(|statement| {
        statement["colour"] = json!("violet");
        statement["subject"][0]["mediaType"] = json!("application/onnx");
        statement["predicate"]["runDetails"]["acme_note"] = json!({"deep": [1]});
        let build = &mut statement["predicate"]["buildDefinition"];
        let other = json!({"uri": "pkg:pypi/numpy", "digest": {"blake2b": "00"}});
        build["resolvedDependencies"].as_array_mut().expect("a list").push(other);
    }));
    assert_eq!(read.expect("sound").training(), &training());
    let unknown = changed(|statement| {
        statement["predicate"]["buildDefinition"]["externalParameters"]["colour"] = json!("red");
    });
    assert!(matches!(refused(&unknown), ProvenanceError::Statement(_)));
}

#[test]
fn another_kind_level_or_builder_is_refused() {
    let kind = |change: fn(&mut Value)| match refused(&changed(change)) {
        ProvenanceError::Kind { member, .. } => member,
        error => panic!("{error:?}"),
    };
    assert_eq!(kind(|s| s["_type"] = json!("https://in-toto.io/Statement/v0.1")), "_type");
    assert_eq!(kind(|s| s["predicateType"] = json!("https://slsa.dev/vsa/v1")), "predicateType");
    let build_type = |s: &mut Value| {
        s["predicate"]["buildDefinition"]["buildType"] = json!("urn:hospes:train:2");
    };
    assert_eq!(kind(build_type), "buildType");
    let level = |s: &mut Value| {
        s["predicate"]["runDetails"]["builder"]["hospes_level"] = json!("SLSA_BUILD_LEVEL_3");
    };
    assert_eq!(kind(level), "builder.hospes_level");
    let builder =
        changed(|s| s["predicate"]["runDetails"]["builder"]["id"] = json!("did:key:z6Mk"));
    assert!(matches!(refused(&builder), ProvenanceError::Builder { .. }));
    let nothing = changed(|s| s["subject"] = json!([]));
    assert!(matches!(refused(&nothing), ProvenanceError::Missing { .. }));
    let md5 = changed(|s| s["subject"][0]["digest"] = json!({"md5": "00"}));
    assert!(matches!(refused(&md5), ProvenanceError::Digest { .. }));
    let commit = changed(|s| {
        s["predicate"]["buildDefinition"]["resolvedDependencies"][1]["digest"]["gitCommit"] =
            json!("HEAD");
    });
    assert!(matches!(refused(&commit), ProvenanceError::Digest { .. }));
}

#[test]
fn every_bit_of_the_document_counts() {
    let text = signed(&training());
    let mut flipped = text.clone();
    for at in (0..text.len()).step_by(7) {
        flipped[at] ^= 1 << (at % 8);
        refused(&flipped);
        flipped[at] = text[at];
    }
    Provenance::parse(&flipped).expect("as it was");
    let other = Envelope::sign("application/json", b"{}".to_vec(), &key()).expect("small");
    assert!(matches!(refused(&other.to_bytes()), ProvenanceError::PayloadType { .. }));
    let mut two = training().sign(&key()).expect("within the limits");
    two.add_signature(&PartyKey::from_secret(&[8; 32])).expect("a second");
    assert!(matches!(refused(&two.to_bytes()), ProvenanceError::Signers { count: 2 }));
}

#[test]
fn limits_hold_when_it_is_written_and_when_it_is_read() {
    let bytes = PROVENANCE_TEXT_BYTES_MAX + 1;
    let name = "n".repeat(bytes);
    let mut long = training();
    long.trainer.version.clone_from(&name);
    let refusal = long.sign(&key()).expect_err("too long");
    assert!(matches!(refusal, ProvenanceError::TextTooLong { member: "trainer.version", .. }));
    let long = changed(|s| s["subject"][0]["name"] = json!(name));
    assert!(matches!(refused(&long), ProvenanceError::TextTooLong { member: "model", .. }));
    let escape = changed(|s| s["subject"][0]["name"] = json!("\u{1b}[2J"));
    assert!(matches!(refused(&escape), ProvenanceError::ControlCharacter { member: "model" }));
    let mut many = training();
    many.data = vec![many.data[0].clone(); DATA_SETS_MAX + 1];
    let refusal = many.sign(&key()).expect_err("too many");
    assert!(matches!(refusal, ProvenanceError::TooMany { what: "data sets", .. }));
    let mut many = training();
    many.parameters = (0..=PARAMETERS_MAX).map(|n| (n.to_string(), json!(n))).collect();
    let refusal = many.sign(&key()).expect_err("too many");
    assert!(matches!(refusal, ProvenanceError::TooMany { what: "parameters", .. }));
    let refusal = refused(&changed(|s| {
        let dependencies = &mut s["predicate"]["buildDefinition"]["resolvedDependencies"];
        let dependencies = dependencies.as_array_mut().expect("a list");
        let base =
            dependencies.iter().find(|one| one["annotations"]["hospes_kind"] == "base").cloned();
        dependencies.push(base.expect("one"));
    }));
    assert!(matches!(refusal, ProvenanceError::TooMany { what: "bases", .. }), "{refusal:?}");
    let mut backwards = training();
    std::mem::swap(&mut backwards.started, &mut backwards.finished);
    assert!(matches!(backwards.sign(&key()), Err(ProvenanceError::Backwards)));
}

fn listing(folder: &Path) -> Listing {
    match Content::of(folder).expect("files") {
        Content::Folder(listing) => listing,
        Content::File { .. } => panic!("it is a file"),
    }
}

#[test]
fn a_folder_of_many_files_is_listed_by_its_folders() {
    let folder = tempfile::tempdir().expect("a folder");
    for class in ["boot", "shirt"] {
        fs::create_dir(folder.path().join(class)).expect("a folder");
        for n in 0..PARTS_MAX {
            fs::write(folder.path().join(format!("{class}/{n}.png")), [n as u8]).expect("a file");
        }
    }
    let before = listing(folder.path());
    assert_eq!(
        before.parts.iter().map(|part| &*part.path).collect::<Vec<_>>(),
        ["boot/", "shirt/"]
    );
    fs::write(folder.path().join("shirt/7.png"), [8]).expect("a file");
    fs::write(folder.path().join("labels.csv"), "").expect("a file");
    let now = listing(folder.path());
    assert_eq!(before.changes(&now), ["`shirt/` changed", "`labels.csv` is new"]);
    assert_eq!(now.changes(&before), ["`labels.csv` is missing", "`shirt/` changed"]);
}

#[test]
fn parts_are_dropped_before_the_document_grows_too_large() {
    let part = |n: usize| Part { path: format!("{}{n}", "p".repeat(400)), digest: Digest::of(b"") };
    let listing = |digest: &[u8], count: usize| {
        Content::Folder(Listing {
            digest: Digest::of(digest),
            bytes: 0,
            files: count as u64,
            parts: (0..count).map(part).collect(),
        })
    };
    let mut large = training();
    for (data, count) in [(b"one", 250), (b"two", 150)] {
        let content = listing(data, count);
        large.data.push(DataSet { content, ..large.data[0].clone() });
    }
    let read = Provenance::parse(&signed(&large)).expect("sound");
    let parts = |at: usize| match &read.training().data[at].content {
        Content::Folder(listing) => (listing.files, listing.parts.len()),
        Content::File { .. } => panic!("a folder was written"),
    };
    assert_eq!((parts(1), parts(2)), ((250, 0), (150, 150)));
}

#[test]
fn a_changed_byte_is_named_and_what_is_not_here_is_said() {
    let home = tempfile::tempdir().expect("a folder");
    let path = |name: &str| home.path().join(name);
    let write = |name: &str, text: &str| fs::write(path(name), text).expect("a file");
    fs::create_dir_all(path("data/train/boot")).expect("folders");
    for (name, text) in [
        ("data/train/boot/1.png", "one"),
        ("data/train/boot/2.png", "two"),
        ("data/test.npz", "rows"),
        ("recipe.toml", "seed = 7"),
        ("report.json", "{}"),
        ("events.jsonl", "{}\n"),
    ] {
        write(name, text);
    }
    let data = |name: &str, at: &str| DataSet {
        name: name.to_owned(),
        path: Some(at.to_owned()),
        content: Content::of(&path(at)).expect("it is there"),
        licence: None,
    };
    let file = |name: &str| Artifact::of_file(&path(name)).expect("it is there");
    let training = Training {
        recipe: file("recipe.toml"),
        report: Some(file("report.json")),
        events: Some(file("events.jsonl")),
        data: vec![data("train", "data/train"), data("test", "data/test.npz")],
        code: Vec::new(),
        lock: None,
        base: None,
        ..training()
    };
    let proof = Provenance::parse(&signed(&training)).expect("sound");
    let here = Places {
        data: Some(home.path().to_owned()),
        recipe: Some(path("recipe.toml")),
        report: Some(path("report.json")),
        ..Places::default()
    };
    let found = |places: &Places| -> Vec<(String, Finding)> {
        let checks = proof.check(places).expect("all can be read");
        checks.into_iter().map(|check| (check.what, check.finding)).collect()
    };
    let before = found(&here);
    assert_eq!(before.len(), 5);
    assert!(before[..4].iter().all(|(_, finding)| *finding == Finding::Same), "{before:?}");
    assert_eq!(before[4].1, Finding::NotChecked("name it with `--events`".to_owned()));
    // One byte of each.
    for (name, text, which, named) in [
        ("data/train/boot/2.png", "twp", "data train", "`boot/2.png` changed"),
        ("data/test.npz", "rowt", "data test", "test.npz` has digest"),
        ("recipe.toml", "seed = 8", "recipe", "recipe.toml` has digest"),
        ("report.json", "[]", "report", "report.json` has digest"),
    ] {
        let as_it_was = fs::read(path(name)).expect("a file");
        write(name, text);
        let changed: Vec<_> = found(&here)
            .into_iter()
            .filter(|(_, found)| matches!(found, Finding::Changed(_)))
            .collect();
        let [(what, Finding::Changed(lines))] = &changed[..] else { panic!("{changed:?}") };
        assert!(what == which && lines.iter().any(|line| line.contains(named)), "{changed:?}");
        fs::write(path(name), as_it_was).expect("a file");
    }
    assert_eq!(found(&here), before);
    let nothing = found(&Places::default());
    assert!(nothing.iter().all(|(_, found)| matches!(found, Finding::NotChecked(_))));
    let stranger = found(&Places { lock: Some(path("recipe.toml")), ..here });
    assert!(matches!(&stranger[5], (what, Finding::Changed(_)) if what == "lock file"));
}

/// What others signed must not make a command read elsewhere.
#[test]
fn a_recorded_path_never_leads_out_of_the_folder() {
    let home = tempfile::tempdir().expect("a folder");
    fs::create_dir(home.path().join("in")).expect("a folder");
    fs::write(home.path().join("secret"), "rows").expect("a file");
    for path in ["../secret", "/etc/passwd", "./../secret"] {
        let mut lying = training();
        lying.data[0].path = Some(path.to_owned());
        lying.data.push(DataSet { name: "other".to_owned(), ..lying.data[0].clone() });
        let proof = Provenance::parse(&signed(&lying)).expect("sound");
        let places = Places { data: Some(home.path().join("in")), ..Places::default() };
        let checks = proof.check(&places).expect("nothing is read");
        assert!(matches!(checks[0].finding, Finding::NotChecked(_)), "{path}: {checks:?}");
    }
}

#[test]
fn a_pair_of_files_is_found_again_and_a_changed_one_is_named() {
    let home = tempfile::tempdir().expect("a folder");
    let path = |name: &str| home.path().join(name);
    fs::create_dir(path("digits")).expect("a folder");
    for name in ["digits/train-images", "digits/train-labels", "digits/t10k-images"] {
        fs::write(path(name), name).expect("a file");
    }
    let content = Content::of(&path("digits/train")).expect("a pair");
    assert!(matches!(&content, Content::Folder(listing) if listing.files == 2));
    let data = DataSet {
        name: "train".to_owned(),
        path: Some("digits/train".to_owned()),
        content,
        licence: None,
    };
    let training = Training { data: vec![data], code: Vec::new(), ..training() };
    let proof = Provenance::parse(&signed(&training)).expect("sound");
    let found = |place: PathBuf| {
        let places = Places { data: Some(place), ..Places::default() };
        proof.check(&places).expect("all can be read").swap_remove(0).finding
    };
    for place in [path(""), path("digits"), path("digits/train")] {
        assert_eq!(found(place.clone()), Finding::Same, "{place:?}");
    }
    fs::write(path("digits/train-labels"), "changed").expect("a file");
    let Finding::Changed(lines) = found(path("")) else { panic!("it was changed") };
    assert!(lines.contains(&"`train-labels` changed".to_owned()), "{lines:?}");
}

#[test]
fn an_unchanged_data_set_is_never_called_changed_for_its_neighbours() {
    let home = tempfile::tempdir().expect("a folder");
    let path = |name: &str| home.path().join(name);
    for folder in ["fd", "test", "elsewhere"] {
        fs::create_dir(path(folder)).expect("a folder");
    }
    // A folder of the data set's own name, and files beside it.
    for name in ["fd/t10k-images-idx3-ubyte", "fd/t10k-labels-idx1-ubyte", "test/1.png", "notes"] {
        fs::write(path(name), name).expect("a file");
    }
    let content = Content::of(&path("fd/t10k")).expect("a pair");
    let found = |said: &str, data: Option<&str>, named: Option<&str>| {
        let (name, path_said) = ("test".to_owned(), Some(said.to_owned()));
        let data_set = DataSet { name, path: path_said, content: content.clone(), licence: None };
        let training = Training { data: vec![data_set], code: Vec::new(), ..training() };
        let proof = Provenance::parse(&signed(&training)).expect("sound");
        let places = Places {
            data: data.map(path),
            data_sets: named.map(|named| ("test".to_owned(), path(named))).into_iter().collect(),
            ..Places::default()
        };
        proof.check(&places).expect("all can be read").swap_remove(0).finding
    };
    for said in ["fd/t10k", "./fd/t10k"] {
        assert_eq!(found(said, Some(""), None), Finding::Same, "{said}");
    }
    let absolute = path("gone/fd/t10k");
    let absolute = absolute.to_str().expect("text");
    assert_eq!(found(absolute, Some("fd"), None), Finding::Same);
    assert_eq!(found(absolute, None, Some("fd/t10k")), Finding::Same);
    for place in [None, Some(""), Some("elsewhere")] {
        let Finding::NotChecked(why) = found(absolute, place, None) else { panic!("{place:?}") };
        assert!(why.contains("absolute") && why.contains("`--data test=PATH`"), "{why}");
    }
    fs::write(path("fd/t10k-labels-idx1-ubyte"), "changed").expect("a file");
    for (data, named) in [(Some(""), None), (None, Some("fd/t10k")), (Some("fd"), None)] {
        let changed = found("fd/t10k", data, named);
        assert!(matches!(changed, Finding::Changed(_)), "{data:?}: {changed:?}");
    }
}
