//! The source tree follows the architecture: who may use whom, what belongs in one place, how large
//! files are.

mod crates;
mod layers;

use std::path::{Path, PathBuf};

use system_tests::workspace;

/// Text that may occur only in these files or folders, which are below `host/src` or in a crate.
const HOMES: [(&str, &[&str]); 17] = [
    ("wasmtime::", &["sandbox"]),
    ("wasmtime_wasi", &["sandbox"]),
    ("ort::", &["inference/backend/onnxruntime"]),
    ("tract_onnx::", &["inference/backend/tract.rs"]),
    ("hyper::", &["api"]),
    ("StatusCode", &["api"]),
    // The host's own routes read queries as types, from which the documents have their parameters.
    ("uri().query()", &["api/query.rs", "api/openai/models.rs", "api/oip/metadata.rs"]),
    ("uri.query()", &["api/functions.rs", "api/oip/repository.rs", "api/wasi_http.rs"]),
    ("clap::", &["cli"]),
    ("ureq::", &["cli"]),
    ("hospes_cli::", &["cli"]),
    ("redb::", &["store/redb"]),
    (
        "std::env::",
        &["config.rs", "cli", "inference/runtime.rs", "worker/confine.rs", "confine/filter.rs"],
    ),
    ("SystemTime::now", &["clock.rs"]),
    ("Timestamp::now", &["clock.rs"]),
    ("std::process::exit", &[]),
    (
        "unsafe {",
        &[
            "confine/kernel.rs",
            "inference/backend/onnxruntime/decoding.rs",
            "inference/backend/onnxruntime/strings.rs",
            "inference/language/mapped.rs",
            "sandbox/cache.rs",
            "sandbox/canonical",
            "sandbox/instance.rs",
            "sandbox/stream.rs",
            "worker/channel.rs",
            "worker/confine.rs",
            "worker/files.rs",
            "worker/memory.rs",
            "worker/process.rs",
        ],
    ),
];

const LINES_MAX: usize = 600;

const README_LINES_MAX: usize = 200;

struct Source {
    /// The path below `host/src`; for a crate, where it would be if the crate were a module.
    path: PathBuf,
    is_of_crate: bool,
    /// The code without comments and without the tests at its end.
    code: String,
    lines: usize,
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    files(folder, "rs")
}

/// Every file with this extension, except in build outputs, downloads and hidden folders.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                let name = path.file_name().expect("a name").to_string_lossy().into_owned();
                let is_other = ["target", "node_modules"].contains(&name.as_str());
                if !is_other && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|end| end == extension) {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// The source folders, each with the name of its crate, if any.
fn roots() -> Vec<(PathBuf, Option<String>)> {
    let host = workspace().join("host");
    let crates = std::fs::read_dir(host.join("crates")).expect("readable").map(|entry| {
        let path = entry.expect("readable").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        (path.join("src"), Some(name))
    });
    std::iter::once((host.join("src"), None)).chain(crates).collect()
}

/// Where a crate's file would be if the crate were a module; some modules count under their own
/// names.
fn place(of_crate: Option<&str>, below: &Path) -> PathBuf {
    let Some(name) = of_crate else { return below.to_owned() };
    let is_own = name == "core" || ["controls", "ledger"].contains(&module(below).as_str());
    if is_own {
        return below.to_owned();
    }
    if below == Path::new("lib.rs") {
        return format!("{name}.rs").into();
    }
    Path::new(name).join(below)
}

fn sources() -> Vec<Source> {
    let is_test = |path: &Path| {
        path.components().any(|part| part.as_os_str() == "tests")
            || path.ends_with("tests.rs")
            || path.ends_with("sample.rs")
    };
    let mut sources = Vec::new();
    for (root, of_crate) in roots() {
        for path in rust_files(&root) {
            let below = path.strip_prefix(&root).expect("below the root");
            if is_test(below) {
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("text");
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            let code: String = code
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"))
                .flat_map(|line| [line, "\n"])
                .collect();
            sources.push(Source {
                path: place(of_crate.as_deref(), below),
                is_of_crate: of_crate.is_some(),
                lines: text.lines().count(),
                code,
            });
        }
    }
    sources
}

fn module(path: &Path) -> String {
    let first = path.components().next().expect("a path").as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

#[test]
fn what_has_a_home_stays_there() {
    let sources = sources();
    for (text, homes) in HOMES {
        for source in &sources {
            let at_home = homes.iter().any(|home| {
                source.path.starts_with(home) || source.path == Path::new(&format!("{home}.rs"))
            });
            assert!(at_home || !names(&source.code, text), "{}: `{text}`", source.path.display());
        }
    }
}

/// Whether `text` occurs in the code other than as the end of a longer name.
fn names(code: &str, text: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(text).any(|(at, _)| !code[..at].ends_with(is_name))
}

#[test]
fn only_the_one_path_runs_a_guest() {
    for source in sources() {
        let path = source.path.to_string_lossy().into_owned();
        let runs =
            source.code.contains(".instantiate(") || source.code.contains("Admission::admit(");
        let may = ["invoke.rs", "invoke/sandbox.rs", "deploy/warm.rs", "sandbox.rs"];
        let may = may.contains(&path.as_str());
        assert!(may || !runs, "{path}: only `invoke` runs guests, and `deploy` warms them");
        let calls = source.code.contains("invoke(&host");
        assert!(
            !calls || path == "api/calls.rs",
            "{path}: every front calls through `api/calls.rs`"
        );
    }
}

#[test]
fn files_are_short() {
    for folder in ["host", "guest-sdk", "plugins", "tests"] {
        for path in rust_files(&workspace().join(folder)) {
            let lines = std::fs::read_to_string(&path).expect("text").lines().count();
            assert!(lines <= LINES_MAX, "{}: {lines} lines, more than {LINES_MAX}", path.display());
        }
    }
    let sources = sources();
    let total: usize = sources.iter().map(|source| source.lines).sum();
    assert!(total / sources.len() < 300, "the average file must be short");
}

#[test]
fn the_reference_lists_every_problem() {
    let page = std::fs::read_to_string(workspace().join("host/docs/calling.md")).expect("readable");
    for kind in hospes::api::ProblemKind::ALL {
        let (code, status, title) = kind.parts();
        let row = format!("| `{code}` | {} | {title} |", status.as_u16());
        assert!(page.contains(&row), "host/docs/calling.md lacks: {row}");
    }
}

#[test]
fn the_readme_is_short() {
    let readme = std::fs::read_to_string(workspace().join("README.md")).expect("readable");
    let lines = readme.lines().count();
    assert!(lines <= README_LINES_MAX, "README.md: {lines} lines; reference is in host/docs");
}

#[test]
fn links_between_documents_resolve() {
    let mut seen = 0;
    for path in files(&workspace(), "md") {
        let text = std::fs::read_to_string(&path).expect("text");
        let folder = path.parent().expect("a folder");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            if file.is_empty() || link.contains("://") {
                continue;
            }
            assert!(folder.join(file).exists(), "{}: `{link}` is a broken link", path.display());
            seen += 1;
        }
    }
    assert!(seen > 100, "found only {seen} links: does this test still parse them?");
}
