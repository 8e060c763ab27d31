//! Each `fix` of a failure works: its commands are run unchanged, and then the failed command
//! succeeds, or fails for the next reason. The test goes from an empty home to an exhausted
//! agreement.
//!
//! `cli/tests/fixes.rs` tests for every text whether the commands of a fix exist; `doctor.rs` tests
//! the fixes of `hospes doctor`. Not tested, because only a person can do it: starting a host
//! (`hospes serve`), waiting, asking the operator, and choosing another name, file or version.

use std::path::PathBuf;
use std::process::Output;

use serde_json::Value;
use system_tests::{HostProcess, Request, plugin};
use tempfile::TempDir;

/// A host, and the homes of people who have never used it.
struct Scene {
    folder: TempDir,
    host: HostProcess,
}

/// The home in which a command runs.
#[derive(Clone, Copy)]
enum Who {
    Publisher,
    Consumer,
}

impl Scene {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let host = HostProcess::start(&folder.path().join("data"));
        std::fs::write(folder.path().join("echo.wasm"), plugin("echo")).expect("written");
        Self { folder, host }
    }

    fn home(&self, who: Who) -> PathBuf {
        self.folder.path().join(match who {
            Who::Publisher => "home-of-acme",
            Who::Consumer => "home-of-zoe",
        })
    }

    fn run(&self, who: Who, arguments: &[&str]) -> Output {
        let mut command = HostProcess::command();
        command.arg("--json").args(arguments).current_dir(self.folder.path());
        command.env("HOSPES_HOME", self.home(who)).env_remove("HOSPES_AS");
        command.env("HOSPES_HOST", &self.host.address).env("HOSPES_OPERATOR", &self.host.operator);
        command.output().expect("it runs")
    }

    /// The output of a command, which must succeed.
    #[track_caller]
    fn done(&self, who: Who, arguments: &[&str]) -> Value {
        let output = self.run(who, arguments);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}{error}");
        serde_json::from_str(&said).unwrap_or_default()
    }

    /// The fix for a command, which must fail.
    #[track_caller]
    fn fix(&self, who: Who, arguments: &[&str]) -> String {
        let output = self.run(who, arguments);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        let failure: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
        failure["fix"].as_str().unwrap_or_else(|| panic!("no fix: {failure}")).to_owned()
    }

    /// Runs the commands of a fix, with placeholders replaced as in `places`. All must succeed.
    #[track_caller]
    fn follow(&self, who: Who, fix: &str, count: usize, places: &[(&str, &str)]) {
        let quoted = fix.split('`').skip(1).step_by(2);
        let mut commands: Vec<&str> = quoted.filter(|part| part.starts_with("hospes ")).collect();
        if fix.starts_with("hospes ") {
            commands.push(fix);
        }
        assert_eq!(commands.len(), count, "{fix}");
        for command in commands {
            let word =
                |word| places.iter().find(|(place, _)| *place == word).map_or(word, |to| to.1);
            let words = command.split(' ').skip(1).flat_map(|one| word(one).split(' '));
            self.done(who, &words.collect::<Vec<_>>());
        }
    }
}

use Who::{Consumer, Publisher};

const CALL: [&str; 4] = ["call", "acme/echo/echo-u8", "--arg", "v=7"];

/// From an empty home to an account, following the fixes.
#[track_caller]
fn settle(scene: &Scene, who: Who, name: &str) {
    let no_key = scene.fix(who, &["account", "show"]);
    scene.follow(who, &no_key, 1, &[("NAME", name)]);
    let no_account = scene.fix(who, &["account", "show"]);
    scene.follow(who, &no_account, 1, &[("DIR", "data")]);
    scene.done(who, &["account", "show"]);
}

/// Publishes a bundle and offers one call per party, following the fixes.
fn offer(scene: &Scene) {
    let unsigned = scene.fix(Publisher, &["publish", "echo.wasm"]);
    scene.follow(Publisher, &unsigned, 1, &[]);
    scene.done(Publisher, &["publish", "echo.wasm"]);
    // The consumer cannot see the model yet.
    let not_found = scene.fix(Consumer, &CALL);
    scene.follow(Consumer, &not_found, 2, &[]);
    let no_offer = scene.fix(Consumer, &["agree", "acme/echo", "--yes"]);
    scene.follow(Consumer, &no_offer, 1, &[]);
    let what = ["offer", "new", "acme/echo", "--bundle", "echo.wasm", "--function", "echo-u8"];
    let new = [&what[..], &["--calls", "1", "--until", "30d", "-o", "echo.offer"]].concat();
    scene.done(Publisher, &new);
    let there = scene.fix(Publisher, &new);
    assert!(there.contains("`--force`"), "{there}");
    scene.done(Publisher, &[&new[..], &["--force"]].concat());
    scene.done(Publisher, &["offer", "publish", "echo.offer"]);
}

#[test]
fn what_a_failure_says_to_do_works() {
    let scene = Scene::start();
    settle(&scene, Publisher, "acme");
    settle(&scene, Consumer, "zoe");
    offer(&scene);

    let unasked = scene.fix(Consumer, &["agree", "acme/echo"]);
    assert!(unasked.contains("`--yes`"), "{unasked}");
    let not_permitted = scene.fix(Consumer, &CALL);
    scene.follow(Consumer, &not_permitted, 2, &[("OFFER", "acme/echo --yes")]);
    let mine = scene.done(Consumer, &["agreement", "list"]);
    let agreement = mine["agreements"][0]["id"].as_str().expect("an agreement").to_owned();
    scene.done(Publisher, &["agreement", "sign", &agreement, "--yes"]);
    let signed = scene.fix(Publisher, &["agreement", "sign", &agreement, "--yes"]);
    scene.follow(Publisher, &signed, 1, &[]);

    let wrong = scene.fix(Consumer, &["call", "acme/echo/echo-u8", "--arg", "v=hello"]);
    let page = wrong.split(' ').next().expect("an address");
    assert!(page.ends_with("/acme/echo/docs"), "{wrong}");
    assert_eq!(Request::new("GET", page).send().status, 200);
    assert_eq!(Request::new("GET", page.replace("docs", "openapi.json")).send().status, 200);
    scene.done(Consumer, &CALL);
    let used_up = scene.fix(Consumer, &CALL);
    scene.follow(Consumer, &used_up, 2, &[("OFFER", "acme/echo --yes")]);

    let nobody = ["nobody", "--data", "data"];
    let nobody = scene.fix(Publisher, &[&["admin", "keys"][..], &nobody].concat());
    scene.follow(Publisher, &nobody, 1, &[("DIR", "data")]);
    let no_key = ["admin", "revoke", "0123456789abcdef", "--reason", "lost", "--data", "data"];
    let no_key = scene.fix(Publisher, &no_key);
    scene.follow(Publisher, &no_key, 1, &[("NAME", "zoe"), ("DIR", "data")]);
    let listed = scene.done(Publisher, &["offer", "list"]);
    let offered = listed["offers"][0]["id"].as_str().expect("one").to_owned();
    let foreign = scene.fix(Consumer, &["offer", "withdraw", &offered]);
    scene.follow(Consumer, &foreign, 1, &[]);

    let admin = |words: &[&str]| scene.done(Publisher, &[words, &["--data", "data"]].concat());
    admin(&["admin", "suspend", "zoe", "--reason", "unpaid"]);
    let stopped = scene.fix(Consumer, &CALL);
    scene.follow(Consumer, &stopped, 1, &[]);
    admin(&["admin", "resume", "zoe"]);
    admin(&["admin", "withdraw", "acme/echo@1.0.0", "--reason", "mines coins"]);
    let withdrawn = scene.fix(Consumer, &CALL);
    scene.follow(Consumer, &withdrawn, 1, &[]);
    // The command that the operator is told when a version is out of service.
    admin(&["admin", "out-of-service", "list"]);

    let missing = scene.fix(Consumer, &["--as", "ann", "agree", "acme/echo", "--yes"]);
    scene.follow(Consumer, &missing, 2, &[]);
    let unclear = scene.fix(Consumer, &["account", "show"]);
    assert!(unclear.contains("`--as NAME`") && unclear.contains("ann, zoe"), "{unclear}");
    scene.done(Consumer, &["account", "show", "--as", "zoe"]);
}
