//! Compares the imports between the host's modules with the table of layers in ARCHITECTURE.md: a
//! module uses only those in earlier rows and those to its left, so there are no cycles, not even
//! within a layer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{Source, sources};
use system_tests::workspace;

/// The imports of each module, each with a file that has it.
type Imports = BTreeMap<String, BTreeMap<String, String>>;

/// The modules in the table's order: a module may import only earlier ones.
fn order() -> Vec<String> {
    let page = std::fs::read_to_string(workspace().join("ARCHITECTURE.md")).expect("readable");
    let (_, rows) = page.split_once("| layer | modules |\n| --- | --- |\n").expect("the table");
    // The first row lists crates.
    let rows = rows.lines().take_while(|row| row.starts_with('|')).skip(1);
    rows.flat_map(|row| row.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

/// The crates, by the names under which the library re-exports them and their modules.
fn crates() -> BTreeSet<String> {
    let lib = std::fs::read_to_string(workspace().join("host/src/lib.rs")).expect("readable");
    let reexports = lib.split("pub use hospes_").skip(1);
    let reexports = reexports.filter_map(|rest| rest.split(';').next());
    reexports.flat_map(|names| names.split(|c| !is_name(c))).map(str::to_owned).collect()
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The module of an import or a file. Each module of `state` counts separately, and so does their
/// shared code.
fn module<'p>(mut path: impl Iterator<Item = &'p str>) -> String {
    match (path.next().unwrap_or_default(), path.next()) {
        ("state", Some(of_state)) if of_state.starts_with(char::is_lowercase) => {
            format!("state::{of_state}")
        }
        (name, _) => name.to_owned(),
    }
}

fn module_of(file: &Path) -> String {
    let path = file.with_extension("");
    module(path.iter().filter_map(|part| part.to_str()))
}

/// The modules that code names after `crate::`.
fn named(code: &str) -> BTreeSet<String> {
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("crate::").filter(|(at, _)| !code[..*at].ends_with(is_name)) {
        tree(&code[at + "crate::".len()..], "", &mut paths);
    }
    paths.iter().map(|path| module(path.split("::"))).collect()
}

/// Expands a tree of imports into paths. Returns the rest of the code.
fn tree<'c>(code: &'c str, above: &str, paths: &mut Vec<String>) -> &'c str {
    let code = code.trim_start();
    if let Some(mut rest) = code.strip_prefix('{') {
        loop {
            rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
            if rest.is_empty() || rest.starts_with('}') {
                return rest.get(1..).unwrap_or_default();
            }
            rest = tree(rest, above, paths).trim_start_matches(|c| c != ',' && c != '}');
        }
    }
    let (name, rest) = code.split_at(code.find(|c| !is_name(c)).unwrap_or(code.len()));
    let path = if above.is_empty() { name.to_owned() } else { format!("{above}::{name}") };
    match rest.strip_prefix("::").filter(|_| !name.is_empty()) {
        Some(below) => tree(below, &path, paths),
        None => {
            paths.push(path);
            rest
        }
    }
}

fn imports(sources: &[Source]) -> Imports {
    let mut imports = Imports::new();
    for source in sources {
        let (own, file) = (module_of(&source.path), source.path.display().to_string());
        let others = imports.entry(own.clone()).or_default();
        for other in named(&source.code).into_iter().filter(|other| *other != own) {
            others.insert(other, file.clone());
        }
    }
    imports
}

/// The shortest chain of imports from one module to another, including both.
fn way(imports: &Imports, from: &str, to: &str) -> Option<Vec<String>> {
    let mut ways = vec![vec![from.to_owned()]];
    let mut seen = BTreeSet::from([from.to_owned()]);
    while !ways.is_empty() {
        if let Some(found) = ways.iter().find(|way| way.last().is_some_and(|last| last == to)) {
            return Some(found.clone());
        }
        let mut longer = Vec::new();
        for way in ways {
            let next = way.last().and_then(|last| imports.get(last));
            for next in next.into_iter().flat_map(BTreeMap::keys) {
                if seen.insert(next.clone()) {
                    longer.push(way.iter().chain([next]).cloned().collect());
                }
            }
        }
        ways = longer;
    }
    None
}

#[test]
fn imports_go_up_or_left_in_the_table_and_never_in_circles() {
    let (order, crates) = (order(), crates());
    let sources: Vec<_> = sources().into_iter().filter(|source| !source.is_of_crate).collect();
    let imports = imports(&sources);
    let place = |module: &str| order.iter().position(|known| known == module);
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for (own, others) in imports.iter().filter(|(own, _)| *own != "lib") {
        let Some(at) = place(own) else {
            wrong.push(format!("`{own}` is missing from the table of layers"));
            continue;
        };
        for (other, file) in others.iter().filter(|(other, _)| !crates.contains(*other)) {
            seen += 1;
            let Some(there) = place(other) else {
                wrong.push(format!("{file}: `crate::{other}` is missing from the table of layers"));
                continue;
            };
            if there > at {
                let circle = way(&imports, other, own).map(|back| back.join(" -> "));
                let why = circle.map_or("which comes later in the table".to_owned(), |back| {
                    format!("which makes a cycle: {own} -> {back}")
                });
                wrong.push(format!("{file}: `{own}` uses `{other}`, {why}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 60, "found only {seen} imports: does this test still parse them?");
}

/// Other modules must be named from the crate's root, because the test above sees only those names.
#[test]
fn modules_are_named_from_the_root() {
    for Source { path, code, .. } in sources().iter().filter(|source| !source.is_of_crate) {
        let depth = path.iter().count() - usize::from(path.starts_with("state"));
        let up = "super::".repeat(depth);
        let is_outside = code.contains(&format!(" {up}")) || code.contains(&format!("({up}"));
        assert!(!is_outside, "{}: `{up}` leaves its module", path.display());
    }
}

#[test]
fn trees_of_imports_are_read_to_two_names() {
    let code = "use crate::{deploy, state::{market::{self, Market}, accounts::Auth as A}};\n\
                use crate::state::Shared; use crate::state::receipts::Receipts;\n\
                use hospes_crate::not; x(crate::id::Digest)";
    let all = ["deploy", "id", "state", "state::accounts", "state::market", "state::receipts"];
    assert_eq!(named(code), all.map(str::to_owned).into());
}

#[test]
fn a_circle_is_found() {
    let edges = [("host", "deploy"), ("deploy", "sandbox"), ("deploy", "store"), ("store", "host")];
    let mut imports = Imports::new();
    for (from, to) in edges {
        imports.entry(from.into()).or_default().insert(to.into(), "file".into());
    }
    let circle = way(&imports, "deploy", "host").expect("a cycle");
    assert_eq!(circle, ["deploy", "store", "host"]);
    assert_eq!(way(&imports, "sandbox", "host"), None);
}
