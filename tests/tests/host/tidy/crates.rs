//! The diagram of the crates in ARCHITECTURE.md, generated from Cargo's metadata, and dependencies
//! that some crates must not have.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;
use system_tests::workspace;

/// The markers around the diagram in ARCHITECTURE.md.
const BEGIN: &str = "<!-- from `cargo metadata`, written by `make crates` -->\n";
const END: &str = "<!-- end -->\n";

/// The crates that read and evaluate documents, and their commands, compile in seconds and run
/// anywhere: an auditor needs neither sandbox nor server.
const OF_DOCUMENTS: [&str; 7] = [
    "hospes-core",
    "hospes-onnx",
    "hospes-receipt",
    "hospes-bundle",
    "hospes-agreement",
    "hospes-wire",
    "hospes-cli",
];

/// The workspace's crates, each with its direct dependencies in the workspace.
type Crates = BTreeMap<String, BTreeSet<String>>;

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(arguments).arg("--offline").current_dir(workspace());
    let output = command.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn crates() -> Crates {
    let metadata = cargo(&["metadata", "--format-version", "1", "--no-deps"]);
    let metadata: Value = serde_json::from_str(&metadata).expect("JSON");
    let name = |value: &Value| value["name"].as_str().expect("a name").to_owned();
    let packages = metadata["packages"].as_array().expect("a list").iter();
    packages
        .map(|package| {
            let needs = package["dependencies"].as_array().expect("a list").iter();
            // Development and build dependencies have another kind.
            let needs = needs.filter(|one| one["path"].is_string() && one["kind"].is_null());
            (name(package), needs.map(name).collect())
        })
        .collect()
}

/// All direct and indirect dependencies of a crate.
fn all_below(crates: &Crates, name: &str) -> BTreeSet<String> {
    let mut below = BTreeSet::new();
    let mut waiting = vec![name];
    while let Some(name) = waiting.pop() {
        for needed in crates.get(name).into_iter().flatten() {
            if below.insert(needed.clone()) {
                waiting.push(needed);
            }
        }
    }
    below
}

/// What only tests and measures; not in the picture.
const AROUND: [&str; 2] = ["system-tests", "benches"];

/// The diagram of what is shipped; arrows that follow from others are left out.
fn picture(crates: &Crates) -> String {
    let short = |name: &str| name.strip_prefix("hospes-").unwrap_or(name).to_owned();
    let mut lines = String::from("```mermaid\ngraph TD\n");
    for (name, needs) in crates.iter().filter(|(name, _)| !AROUND.contains(&name.as_str())) {
        let farther: BTreeSet<_> =
            needs.iter().flat_map(|needed| all_below(crates, needed)).collect();
        let direct: Vec<_> = needs.difference(&farther).map(|needed| short(needed)).collect();
        let arrows = if direct.is_empty() { "" } else { " --> " };
        lines += &format!("    {}{arrows}{}\n", short(name), direct.join(" & "));
    }
    lines + "```\n"
}

#[test]
fn the_picture_of_the_crates_is_theirs() {
    let path = workspace().join("ARCHITECTURE.md");
    let page = std::fs::read_to_string(&path).expect("readable");
    let (before, rest) = page.split_once(BEGIN).expect("the begin marker");
    let (shown, after) = rest.split_once(END).expect("the end marker");
    let drawn = picture(&crates());
    if std::env::var_os("HOSPES_WRITE_CRATES").is_some() {
        let page = [before, BEGIN, &drawn, END, after].concat();
        std::fs::write(&path, page).expect("written");
    } else {
        assert_eq!(shown, drawn, "the crates in ARCHITECTURE.md are outdated: run `make crates`");
    }
}

#[test]
fn no_crate_needs_itself() {
    let crates = crates();
    assert!(crates.len() > 10, "{crates:?}");
    for name in crates.keys() {
        assert!(!all_below(&crates, name).contains(name), "{name} needs itself");
    }
}

#[test]
fn crates_of_documents_need_no_sandbox_and_no_server() {
    for name in OF_DOCUMENTS {
        let tree = ["tree", "--edges", "normal,features", "--prefix", "none", "--package", name];
        let tree = cargo(&tree);
        let needs: BTreeSet<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        assert!(needs.contains(name), "{tree}");
        for heavy in ["wasmtime", "hyper", "tract-onnx", "ort", "mio", "redb", "clap"] {
            let is_program = name == "hospes-cli" && heavy == "clap";
            assert!(is_program || !needs.contains(heavy), "{name} needs {heavy}");
        }
        // Tokio's locks and channels need no runtime.
        let runtime = tree.lines().find(|line| line.starts_with("tokio feature \"rt"));
        assert_eq!(runtime, None, "{name} needs tokio's runtime");
    }
}

#[test]
fn a_picture_has_no_arrow_that_others_lead_along() {
    let needs = |name: &str, needs: &[&str]| -> (String, BTreeSet<String>) {
        (format!("hospes-{name}"), needs.iter().map(|name| format!("hospes-{name}")).collect())
    };
    let all = [needs("a", &["b", "c", "d"]), needs("b", &["c"]), needs("c", &[]), needs("d", &[])];
    let crates = Crates::from(all);
    let drawn = "```mermaid\ngraph TD\n    a --> b & d\n    b --> c\n    c\n    d\n```\n";
    assert_eq!(picture(&crates), drawn);
}
