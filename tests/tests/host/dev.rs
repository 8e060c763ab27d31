//! `hospes dev`: one command from a model or plugin to a correct response, and a new version
//! whenever the files change.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use system_tests::{HostProcess, Request, workspace};

/// How long to wait for an event on a busy machine. Components that contain CPython take long to
/// compile.
const PATIENCE: Duration = Duration::from_secs(180);

/// From the command to the first correct response. The target is about 3 s; a machine that runs all
/// tests at once is slower.
const FIRST_ANSWER_MAX: Duration = Duration::from_secs(20);

/// A flower's measurements as JSON, and its species.
const SETOSA: &str = "[5.1,3.5,1.4,0.2]";

/// The running command. Killed when dropped.
pub(super) struct Dev {
    child: Child,
    events: Receiver<Value>,
}

impl Dev {
    pub(super) fn start(path: &Path) -> Self {
        let mut command = HostProcess::command();
        command.args(["--json", "dev"]).arg(path).stdout(Stdio::piped()).stderr(Stdio::null());
        command.arg("--data").arg(workspace().join("target/runtime"));
        let mut child = command.spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let (said, events) = mpsc::channel();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let event = serde_json::from_str(&line).expect("each line is a document");
                if said.send(event).is_err() {
                    break;
                }
            }
        });
        Self { child, events }
    }

    /// The next event of this kind.
    pub(super) fn event(&self, kind: &str) -> Value {
        let mut before = Vec::new();
        loop {
            let event = self.events.recv_timeout(PATIENCE);
            let event = event.unwrap_or_else(|_| panic!("no `{kind}` after {before:?}"));
            if event["event"] == kind {
                return event;
            }
            before.push(event);
        }
    }

    /// Ends it by a signal: `-INT` like Ctrl-C, `-HUP` like a closed terminal.
    fn end(mut self, signal: &str) -> Option<i32> {
        let mut kill = Command::new("kill");
        let sent = kill.args([signal, &self.child.id().to_string()]).status().expect("it runs");
        assert!(sent.success());
        self.child.wait().expect("a child of this process").code()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn iris() -> PathBuf {
    workspace().join("plugins/target/models/iris/model.onnx")
}

/// The command that calls a function, as it was printed.
pub(super) fn command(published: &Value, function: &str) -> String {
    let calls = published["calls"].as_array().expect("a list");
    let call = calls.iter().find(|call| call["function"] == function);
    call.expect("the function")["command"].as_str().expect("text").to_owned()
}

/// Prints how long it took until the first correct response.
#[expect(clippy::print_stdout, reason = "the performance log wants the figure")]
pub(super) fn says_how_soon(what: &str, started: Instant) -> Duration {
    let took = started.elapsed();
    println!("`hospes dev`, {what}: the first correct response after {:.2} s", took.as_secs_f64());
    took
}

/// The same, and fails if it took too long.
fn soon(what: &str, started: Instant) {
    let took = says_how_soon(what, started);
    assert!(took < FIRST_ANSWER_MAX, "{what}: {took:?}");
}

/// Runs a command as if it were pasted into a shell.
pub(super) fn pasted(command: &str) -> Value {
    let output = Command::new("bash").args(["-c", command]).output().expect("it runs");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The temporary directory of the command.
fn directory(ready: &Value) -> PathBuf {
    PathBuf::from(ready["directory"].as_str().expect("a path"))
}

fn kind_of(answer: &Value) -> &Value {
    let outputs = answer["outputs"].as_array().unwrap_or_else(|| panic!("{answer}"));
    &outputs.iter().find(|output| output["name"] == "label").expect("a label")["data"][0]
}

#[test]
fn a_model_answers_right_soon_by_the_command_that_is_printed_and_nothing_is_left() {
    let started = Instant::now();
    let dev = Dev::start(&iris());
    let ready = dev.event("ready");
    let published = dev.event("published");
    assert_eq!((&published["model"], &published["version"]), (&"dev/iris".into(), &"1.0.0".into()));
    let command = command(&published, "infer");
    let flower = command.replace("[1,1,1,1]", SETOSA);
    assert_ne!(flower, command, "the input has the model's shape");
    assert_eq!(*kind_of(&pasted(&flower)), 0);
    soon("a small model", started);
    assert!(kind_of(&pasted(&command)).is_i64(), "the printed command works unchanged");

    let page = published["page"].as_str().expect("an address");
    assert!(page.ends_with("/dev/iris/docs"), "{page}");
    assert_eq!(Request::new("GET", page).send().status, 200);
    assert_eq!(Request::new("GET", page.replace("docs", "openapi.json")).send().status, 200);

    let folder = directory(&ready);
    assert!(folder.join("data/state.redb").is_file());
    assert_eq!(dev.end("-INT"), Some(0));
    assert!(!folder.exists(), "{}", folder.display());
}

#[test]
fn a_changed_model_is_published_anew_and_a_broken_one_is_waited_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("flower.onnx");
    let model = std::fs::read(iris()).expect("readable");
    std::fs::write(&path, "no model").expect("written");
    let dev = Dev::start(&path);
    let kept = directory(&dev.event("ready"));
    let refused = dev.event("not-published");
    let error = refused["error"].as_str().expect("text");
    assert!(error.contains("cannot pack") && refused["causes"][0].is_string(), "{refused}");

    std::fs::write(&path, &model).expect("written");
    let published = dev.event("published");
    assert_eq!(published["model"], "dev/flower");
    let first = command(&published, "infer");
    assert!(kind_of(&pasted(&first)).is_i64());

    std::fs::write(&path, &model[..model.len() / 2]).expect("written");
    dev.event("not-published");
    assert!(kind_of(&pasted(&first)).is_i64(), "the previous version still serves");

    std::fs::write(&path, &model).expect("written");
    let again = dev.event("published");
    assert_ne!(again["version"], published["version"]);
    assert_eq!(command(&again, "infer"), first, "the same command still works");
    for folder in ["bundles/bundles", "bundles/models", "compiled"] {
        let files = std::fs::read_dir(kept.join("data").join(folder)).expect("readable");
        assert_eq!(files.count(), 1, "`{folder}` still has the previous version");
    }
    assert!(kind_of(&pasted(&first)).is_i64());
    assert_eq!(dev.end("-HUP"), Some(0));
    assert!(!kept.exists(), "{}", kept.display());
}

#[test]
fn a_plugin_s_directory_is_called_by_its_types() {
    let module = workspace().join("plugins/target/flower-c/flower-c.wasm");
    assert!(module.is_file(), "`{}` is missing: run `plugins/build flower-c`", module.display());
    let started = Instant::now();
    let dev = Dev::start(&workspace().join("plugins/flower-c"));
    let published = dev.event("published");
    assert_eq!(published["model"], "dev/flower-c");
    let command = command(&published, "classify");
    let labels = pasted(&command.replace("[0.5]", SETOSA));
    assert_eq!(labels[0]["name"], "setosa", "{labels}");
    soon("a plugin in C", started);
}

/// A model exported from this library (`tests/oracle/exports.py`) is served unchanged, and its
/// results match the library's.
fn answers_as(library: &str) {
    let folder = workspace().join("tests/fixtures/exports");
    let said = std::fs::read(folder.join(format!("{library}.json"))).expect("readable");
    let said: Value = serde_json::from_slice(&said).expect("JSON");
    let started = Instant::now();
    let dev = Dev::start(&folder.join(format!("{library}.onnx")));
    let command = command(&dev.event("published"), "infer");
    assert!(command.contains("[1,1,1,1]"), "{command}");
    let ask = |flower: &Value| pasted(&command.replace("[1,1,1,1]", &flower.to_string()));
    let first = ask(&said["flowers"][0]);
    soon(library, started);
    let rest = said["flowers"].as_array().expect("a list")[1..].iter().map(ask);
    let scores = said["scores"].as_array().expect("a list");
    for (answer, expected) in std::iter::once(first).chain(rest).zip(scores) {
        let outputs = answer["outputs"].as_array().unwrap_or_else(|| panic!("{answer}"));
        let mut ours = outputs.iter().filter_map(|output| numbers(&output["data"]));
        let expected = numbers(expected).expect("three numbers");
        let close = |ours: [f64; 3]| {
            ours.iter().zip(expected).all(|(one, other)| (one - other).abs() < 1e-4)
        };
        assert!(ours.any(close), "{answer}, and {library}: {expected:?}");
    }
}

/// Three numbers, if `data` is that.
fn numbers(data: &Value) -> Option<[f64; 3]> {
    let numbers: Option<Vec<f64>> = data.as_array()?.iter().map(Value::as_f64).collect();
    numbers?.try_into().ok()
}

#[test]
fn a_model_of_scikit_learn_answers_as_its_library_does() {
    answers_as("sklearn");
}

#[test]
fn a_model_of_pytorch_answers_as_its_library_does() {
    answers_as("torch");
}

#[test]
fn what_is_not_there_is_said_at_once() {
    let output = HostProcess::run(&["dev", "does-not-exist.onnx"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("does-not-exist.onnx") && said.contains("fix: "), "{said}");
    let empty = tempfile::tempdir().expect("a folder");
    let output = HostProcess::run(&["dev", empty.path().to_str().expect("text")]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("no `hospes.toml`") && said.contains("hospes new"), "{said}");
    // No change makes a model of these, so nobody waits for one.
    for (name, start, wanted) in [
        ("net.pt", &b"PK\x03\x04"[..], "`hospes convert`"),
        ("forest.pkl", b"\x80\x04\x95", "`hospes convert`"),
        ("m.wasm", b"\0asm", "already packed"),
    ] {
        let file = empty.path().join(name);
        std::fs::write(&file, start).expect("written");
        let output = HostProcess::run(&["dev", file.to_str().expect("text")]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("not an ONNX model but") && said.contains(wanted), "{said}");
    }
}
