//! The command line as scripts and people use it. `tests/demo` covers the main path; these tests
//! cover the rest.

use std::path::Path;
use std::process::Output;

use serde_json::Value;
use system_tests::{HostProcess, workspace};

fn run(arguments: &[&str]) -> Output {
    HostProcess::run(arguments)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Subcommands that have a help page, as the help lists them.
fn subcommands(path: &[&str]) -> Vec<String> {
    let help = run(&[path, &["--help"]].concat());
    let help = text(&help.stdout);
    let Some(list) = help.split("Commands:\n").nth(1) else { return Vec::new() };
    let names = list.lines().take_while(|line| !line.is_empty());
    let names = names.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .filter(|name| name != "help")
        .collect()
}

#[test]
fn every_command_teaches_with_an_example() {
    let mut seen = 0;
    for command in subcommands(&[]) {
        let page = text(&run(&[command.as_str(), "--help"]).stdout);
        let inner = subcommands(&[&command]);
        let paths = if inner.is_empty() {
            vec![vec![command.as_str()]]
        } else {
            inner.iter().map(|inner| vec![command.as_str(), inner.as_str()]).collect()
        };
        for path in paths {
            let output = run(&[&path[..], &["--help"]].concat());
            let help = text(&output.stdout);
            assert!(output.status.success(), "{path:?}");
            let taught = help.contains("Example:") || page.contains("Example:");
            assert!(taught, "`hospes {}` has no example:\n{help}", path.join(" "));
            seen += 1;
        }
    }
    assert!(seen >= 15, "{seen} commands");
}

#[test]
fn completions_are_made_for_each_shell() {
    for (shell, said) in
        [("bash", "complete -F"), ("zsh", "#compdef hospes"), ("fish", "complete -c hospes")]
    {
        let output = run(&["completions", shell]);
        assert!(text(&output.stdout).contains(said), "{shell}");
    }
}

#[test]
fn errors_say_what_to_do_and_have_exit_codes() {
    let usage = run(&["pack"]);
    assert_eq!(usage.status.code(), Some(2));
    let missing = run(&["inspect", "does-not-exist.wasm"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).starts_with("error: "), "{}", text(&missing.stderr));
    let json = run(&["--json", "inspect", "does-not-exist.wasm"]);
    assert_eq!(json.status.code(), Some(1));
    let error: Value = serde_json::from_slice(&json.stdout).expect("`--json` errors are JSON");
    assert!(error["error"].is_string() && error["causes"].is_array(), "{error}");
}

#[test]
fn packing_twice_gives_the_same_bytes_and_inspecting_shows_them() {
    let folder = tempfile::tempdir().expect("a directory");
    let model = workspace().join("plugins/target/models/iris/model.onnx");
    let packed = |name: &str| {
        let out = folder.path().join(name);
        let (model, path) = (model.to_str().expect("text"), out.to_str().expect("text"));
        let output = run(&["pack", model, "--name", "iris", "--licence", "Apache-2.0", "-o", path]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        out
    };
    let (one, two) = (packed("one.wasm"), packed("two.wasm"));
    assert_eq!(std::fs::read(&one).expect("read"), std::fs::read(two).expect("read"));
    let built =
        run(&["build", "plugins/echo", "-o", folder.path().join("a.wasm").to_str().expect("text")]);
    assert!(built.status.success());
    run(&["build", "plugins/echo", "-o", folder.path().join("b.wasm").to_str().expect("text")]);
    let read = |name: &str| std::fs::read(folder.path().join(name)).expect("read");
    assert_eq!(read("a.wasm"), read("b.wasm"));

    let shown = run(&["--json", "inspect", one.to_str().expect("text")]);
    let shown: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    assert_eq!(shown["manifest"]["name"], "iris");
    assert!(shown["signer"].is_null());
    let imports: Vec<_> =
        shown["imports"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert!(imports.iter().all(|import| import.starts_with("wasi:nn/")), "{imports:?}");
}

#[test]
fn a_wasip1_plugin_imports_what_it_declares_and_no_wasi() {
    let shown = run(&["--json", "inspect", "target/plugins/classify.wasm"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    let imports: Vec<_> =
        shown["imports"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    let ours =
        |import: &&str| import.starts_with("wasi:nn/") || import.starts_with("hospes:plugin/");
    assert!(!imports.is_empty() && imports.iter().all(ours), "{imports:?}");
}

#[test]
fn the_runtime_list_says_what_is_usable_and_why_not() {
    let folder = tempfile::tempdir().expect("a directory");
    let list = |data: &Path| -> Value {
        let output = run(&["--json", "runtime", "list", "--data", data.to_str().expect("text")]);
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let backends = list(folder.path());
    let onnxruntime = &backends["backends"][0];
    if onnxruntime["usable"] == false {
        let reason = onnxruntime["reason"].as_str().expect("a reason");
        assert!(reason.contains("hospes runtime install onnxruntime"), "{reason}");
    }
    assert_eq!(
        (&backends["backends"][1]["backend"], &backends["backends"][1]["usable"]),
        (&"tract".into(), &true.into())
    );
    let data = workspace().join("target/runtime");
    let installed = list(&data);
    assert_eq!(installed["backends"][0]["usable"], true, "{installed}");
    // The directory as containers name it.
    let mut command = HostProcess::command();
    command.args(["--json", "runtime", "list"]).env("HOSPES_DATA", data);
    let named = command.output().expect("it runs").stdout;
    assert_eq!(serde_json::from_slice::<Value>(&named).expect("JSON"), installed);
}

#[test]
fn the_settings_that_are_printed_are_read_again() {
    let folder = tempfile::tempdir().expect("a directory");
    let printed = run(&["serve", "--print-config"]);
    let file = folder.path().join("hospes.toml");
    std::fs::write(&file, &printed.stdout).expect("written");
    let again = run(&["serve", "--config", file.to_str().expect("text"), "--print-config"]);
    assert_eq!(text(&printed.stdout), text(&again.stdout));
    let shown = text(&printed.stdout);
    for line in
        ["# tls_key = \"PATH\"", "# onnxruntime_library = \"PATH\"", "proposal_lifetime = \"30d\""]
    {
        assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
    }
    std::fs::write(&file, "[sandbox]\nmemory = 1\n").expect("written");
    let wrong = run(&["serve", "--config", file.to_str().expect("text")]);
    let error = text(&wrong.stderr);
    assert!(
        error.contains("unknown field `memory`") && error.contains("--print-config"),
        "{error}"
    );
}

#[test]
fn a_host_that_is_told_to_stop_stops_and_says_so() {
    let folder = tempfile::tempdir().expect("a directory");
    let mut host = HostProcess::start(&folder.path().join("data"));
    let told = std::process::Command::new("kill").args(["-TERM", &host.id().to_string()]).status();
    assert!(told.expect("it runs").success());
    assert!(host.wait().success(), "SIGTERM ends it with success");
}
