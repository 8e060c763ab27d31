//! `hospes new`: in each language, from nothing to a correct response with the commands that it
//! prints. The toolchains are those that `make plugins` installed; if one is missing, its
//! language's test fails.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use serde_json::Value;
use system_tests::{HostProcess, workspace};

use super::dev::{Dev, command, pasted, says_how_soon};

/// A new plugin's directory, and the printed commands.
struct Plugin {
    /// Removed when dropped.
    folder: tempfile::TempDir,
    told: Value,
    /// A folder with the author's programs, which is searched first.
    tools: Option<PathBuf>,
    /// Shell text before the build command; `tests_with` is the same for the test command.
    builds_with: String,
    tests_with: String,
}

impl Plugin {
    fn new(language: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let made = HostProcess::command()
            .args(["--json", "new", "greeter", "--lang", language])
            .current_dir(folder.path())
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&made.stderr);
        let told = serde_json::from_slice(&made.stdout).unwrap_or_else(|_| panic!("{said}"));
        let (builds_with, tests_with) = (String::new(), String::new());
        Self { folder, told, tools: None, builds_with, tests_with }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("greeter")
    }

    fn told(&self, what: &str) -> &str {
        self.told[what].as_str().expect("a command")
    }

    /// Runs a command as its author would.
    fn run(&self, told: &str) {
        let usual = std::env::var_os("PATH").expect("set");
        let usual: Vec<PathBuf> = std::env::split_paths(&usual).collect();
        let path = std::env::join_paths(self.tools.iter().chain(&usual)).expect("a path");
        let output = Command::new("bash")
            .args(["-c", told])
            .current_dir(self.path())
            .env("PATH", path)
            // The settings of the cargo that runs this test must not affect the build of the
            // plugin.
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("RUSTFLAGS")
            .output()
            .expect("it runs");
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "`{told}`: {}", String::from_utf8_lossy(&said));
    }

    fn build(&self) {
        self.run(&format!("{} {}", self.builds_with, self.told("build")));
    }

    /// Builds the plugin, runs its tests, and gets a correct response from it.
    fn greets(&self) -> (Dev, String) {
        self.build();
        self.run(&format!("{} {}", self.tests_with, self.told("test")));
        let started = Instant::now();
        let dev = Dev::start(&self.path());
        let greet = command(&dev.event("published"), "greet");
        let to_zoe = greet.replace("\"text\"", "\"Zoe\"");
        assert_ne!(to_zoe, greet, "the example contains the name to replace");
        assert_eq!(pasted(&to_zoe), "Hello, Zoe!");
        says_how_soon(self.told("build"), started);
        (dev, greet)
    }
}

/// A folder installed by `plugins/build` that must contain this program.
fn brought(folder: &str, program: &str, plugin: &str) -> PathBuf {
    let folder = workspace().join("plugins/target").join(folder);
    let program = folder.join(program);
    assert!(program.exists(), "`{}` is missing: run `plugins/build {plugin}`", program.display());
    folder
}

#[test]
fn a_plugin_in_rust_builds_tests_and_answers() {
    let mut plugin = Plugin::new("rust");
    // The plugins here have compiled the same dependencies, and their versions are already
    // downloaded. Compiling them again would take a minute.
    symlink(workspace().join("plugins/target"), plugin.path().join("target")).expect("linked");
    let versions = workspace().join("plugins/Cargo.lock");
    fs::copy(versions, plugin.path().join("Cargo.lock")).expect("copied");
    let build = workspace().join("plugins/build");
    plugin.builds_with = format!("'{}' --with wasm32-unknown-unknown", build.display());
    let native = workspace().join("target/plugins-native");
    plugin.tests_with = format!("CARGO_TARGET_DIR='{}'", native.display());
    plugin.greets();
}

#[test]
fn a_plugin_in_python_builds_tests_and_answers() {
    let mut plugin = Plugin::new("python");
    plugin.tools = Some(brought("venv/bin", "componentize-py", "flower-python"));
    plugin.greets();
}

#[test]
fn a_plugin_in_javascript_builds_tests_and_answers() {
    let plugin = Plugin::new("js");
    // As `npm install` would do.
    let modules = brought("languages/npm/node_modules", ".bin/componentize-qjs", "flower-js");
    symlink(modules, plugin.path().join("node_modules")).expect("linked");
    plugin.greets();
}

#[test]
fn a_plugin_in_c_builds_tests_answers_and_is_published_when_it_is_built_again() {
    let mut plugin = Plugin::new("c");
    plugin.tools = Some(brought("tools/bin", "wit-bindgen", "flower-c"));
    let (dev, greet) = plugin.greets();
    let source = plugin.path().join("greeting.c");
    let text = fs::read_to_string(&source).expect("readable");
    fs::write(&source, text.replace("Hello, ", "Good day, ")).expect("written");
    plugin.build();
    assert_ne!(dev.event("published")["version"], "0.1.0");
    assert_eq!(pasted(&greet), "Good day, text!");
}
