//! Offers, as publishers and consumers handle them on the command line, with a host in its own
//! process.

use std::path::PathBuf;
use std::process::Output;

use serde_json::Value;
use system_tests::{HostProcess, plugin, workspace};
use tempfile::TempDir;

/// A host with the accounts of a publisher, `acme`, and a consumer, `zoe`; their keys are in one
/// home.
struct Scene {
    folder: TempDir,
    host: HostProcess,
}

impl Scene {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let host = HostProcess::start(&folder.path().join("data"));
        let scene = Self { folder, host };
        for name in ["acme", "zoe"] {
            scene.done(&["keys", "new", name]);
            let operator = ["--operator", &*scene.host.operator, "--data", "data"];
            scene.done(&[&["account", "new", name][..], &operator].concat());
        }
        scene
    }

    /// The same, and `acme` has published `echo`.
    fn with_echo() -> Self {
        let scene = Self::start();
        std::fs::write(scene.path("echo.wasm"), plugin("echo")).expect("written");
        scene.done(&["sign", "echo.wasm", "--as", "acme"]);
        scene.done(&["publish", "echo.wasm", "--as", "acme"]);
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = HostProcess::command();
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("HOSPES_HOME", self.path("home"))
            .env("HOSPES_HOST", &self.host.address);
        command.output().expect("it runs")
    }

    /// The output of a command, which must succeed.
    #[track_caller]
    fn done(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.done(&[&["--json"], arguments].concat());
        serde_json::from_str(&text).expect("JSON")
    }

    /// The error of a command, which must fail.
    #[track_caller]
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", text(&output.stdout));
        text(&output.stderr)
    }

    /// Writes a signed offer of `calls` calls to a file. Returns its identifier.
    fn new_offer(&self, file: &str, calls: &str) -> String {
        let what = ["offer", "new", "acme/echo", "--bundle", "echo.wasm", "--function", "echo-u8"];
        let terms = ["--calls", calls, "--until", "30d", "--as", "acme", "-o", file];
        id(&self.json(&[&what[..], &terms].concat()))
    }

    /// The state of one of the publisher's offers.
    fn state(&self, offer: &str) -> String {
        let listed = self.json(&["offer", "list", "--as", "acme"]);
        let offers = listed["offers"].as_array().expect("a list");
        let found =
            offers.iter().find(|one| one["id"] == offer).expect("the publisher's list contains it");
        found["state"].as_str().expect("text").to_owned()
    }

    fn kill_and_start(&mut self) {
        self.host.kill();
        self.host = HostProcess::start(&self.path("data"));
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn id(document: &Value) -> String {
    document["id"].as_str().expect("an id").to_owned()
}

#[test]
fn a_withdrawn_offer_accepts_nobody_new_and_ends_nothing() {
    let mut scene = Scene::with_echo();
    let offer = scene.new_offer("echo.offer", "3");
    scene.done(&["offer", "publish", "echo.offer", "--as", "acme"]);
    assert_eq!(scene.state(&offer), "listed");
    let agreement = id(&scene.json(&["agree", &offer, "--yes", "--as", "zoe"]));
    scene.done(&["agreement", "sign", &agreement, "--yes", "--as", "acme"]);

    let strange = scene.refused(&["offer", "withdraw", &offer, "--as", "zoe"]);
    assert!(strange.contains("you have no offer"), "{strange}");
    scene.done(&["offer", "withdraw", &offer, "--as", "acme"]);
    scene.done(&["offer", "withdraw", &offer, "--as", "acme"]);
    for killed in [false, true] {
        if killed {
            scene.kill_and_start();
        }
        assert_eq!(scene.state(&offer), "withdrawn", "killed: {killed}");
        assert!(scene.done(&["market"]).contains("nothing is offered"), "killed: {killed}");
        let refused = scene.refused(&["agree", "echo.offer", "--yes", "--as", "zoe"]);
        assert!(refused.contains("not in this host's market"), "{refused}");
        let gone = scene.refused(&["agree", &offer, "--yes", "--as", "zoe"]);
        assert!(gone.contains("withdrawn by its publisher"), "{gone}");
        scene.done(&["call", "acme/echo/echo-u8", "--arg", "v=7", "--as", "zoe"]);
    }

    // The publisher can still see it, and may list it again.
    scene.done(&["offer", "show", &offer, "--as", "acme"]);
    scene.done(&["offer", "publish", "echo.offer", "--as", "acme"]);
    assert_eq!(scene.state(&offer), "listed");
    scene.kill_and_start();
    assert_eq!(scene.state(&offer), "listed");
}

#[test]
fn what_waits_for_a_signature_is_counted_and_signed_once_the_offer_is_published_again() {
    let scene = Scene::with_echo();
    let offer = scene.new_offer("echo.offer", "3");
    scene.done(&["offer", "publish", "echo.offer", "--as", "acme"]);
    let agreement = id(&scene.json(&["agree", &offer, "--yes", "--as", "zoe"]));
    let said = scene.done(&["offer", "withdraw", &offer, "--as", "acme"]);
    assert!(said.contains("warning: 1 agreement to the withdrawn offer waits"), "{said}");
    let withdrawn = scene.json(&["offer", "withdraw", &offer, "--as", "acme"]);
    assert_eq!(withdrawn["open_proposals"], 1, "{withdrawn}");
    let sign = ["agreement", "sign", &*agreement, "--yes", "--as", "acme"];
    let refused = scene.refused(&sign);
    assert!(refused.contains("publish the offer again"), "{refused}");

    scene.done(&["offer", "publish", "echo.offer", "--as", "acme"]);
    let new = scene.new_offer("new.offer", "5");
    let replaced = scene.json(&["offer", "replace", &offer, "new.offer", "--as", "acme"]);
    assert_eq!((&replaced["id"], &replaced["open_proposals"]), (&new.into(), &1.into()));
    scene.refused(&sign);
    scene.done(&["offer", "publish", "echo.offer", "--as", "acme"]);
    scene.done(&sign);
    let withdrawn = scene.json(&["offer", "withdraw", &offer, "--as", "acme"]);
    assert_eq!(withdrawn["open_proposals"], 0, "both have signed: {withdrawn}");
}

#[test]
fn a_proposal_says_why_the_host_did_not_sign_under_an_open_offer() {
    let scene = Scene::with_echo();
    let offer = scene.new_offer("echo.offer", "3");
    scene.done(&["offer", "publish", "echo.offer", "--as", "acme"]);
    scene.done(&["offer", "open", &offer, "--max", "5", "--until", "30d", "--as", "acme"]);
    let first = scene.json(&["agree", &offer, "--yes", "--as", "zoe"]);
    assert_eq!((&first["state"], first.get("why")), (&"active".into(), Some(&Value::Null)));
    let second = scene.json(&["agree", &offer, "--yes", "--as", "zoe"]);
    assert_eq!(second["state"], "proposed");
    let why = second["why"].as_str().expect("a reason").to_owned();
    assert!(why.contains("1 agreement with one consumer"), "{why}");
    let said = scene.done(&["agree", &offer, "--yes", "--as", "zoe"]);
    assert!(said.contains(&why) && said.contains("the publisher signs next"), "{said}");
}

#[test]
fn a_replacement_takes_the_place_of_an_offer_or_changes_nothing() {
    let mut scene = Scene::with_echo();
    let old = scene.new_offer("old.offer", "3");
    scene.done(&["offer", "publish", "old.offer", "--as", "acme"]);
    let new = scene.new_offer("new.offer", "5");
    let same = scene.refused(&["offer", "replace", &old, "old.offer", "--as", "acme"]);
    assert!(same.contains("cannot replace itself"), "{same}");
    let other = scene.new_offer("other.offer", "7");
    let strange = scene.refused(&["offer", "replace", &other, "new.offer", "--as", "acme"]);
    assert!(strange.contains("you have no offer"), "{strange}");
    assert_eq!(scene.state(&old), "listed");

    let said = scene.done(&["offer", "replace", &old, "new.offer", "--as", "acme"]);
    assert!(said.contains(&new) && said.contains(&old), "{said}");
    scene.kill_and_start();
    assert_eq!([scene.state(&old), scene.state(&new)], ["withdrawn", "listed"]);
    let market = scene.done(&["market"]);
    assert!(market.contains(&new) && !market.contains(&old), "{market}");
}

/// Withdrawn offers make room, so a publisher can keep replacing its offers.
#[test]
fn withdrawn_offers_are_forgotten_where_there_is_no_room() {
    let mut scene = Scene::with_echo();
    scene.host.kill();
    let settings = "[market]\noffers_per_publisher_max = 2\n";
    scene.host = HostProcess::start_with(&scene.path("data"), settings);
    let mut old = scene.new_offer("0.offer", "1");
    scene.done(&["offer", "publish", "0.offer", "--as", "acme"]);
    for number in 1..4 {
        let file = format!("{number}.offer");
        let new = scene.new_offer(&file, &(number + 1).to_string());
        scene.done(&["offer", "replace", &old, &file, "--as", "acme"]);
        assert_eq!([scene.state(&old), scene.state(&new)], ["withdrawn", "listed"]);
        old = new;
    }
    let listed = scene.json(&["offer", "list", "--as", "acme"]);
    assert_eq!(listed["offers"].as_array().map(Vec::len), Some(2), "{listed}");
}

#[test]
fn a_model_is_agreed_to_by_its_name_where_it_has_one_offer() {
    let scene = Scene::with_echo();
    let none = scene.refused(&["agree", "acme/echo", "--yes", "--as", "zoe"]);
    assert!(none.contains("no offer for `acme/echo`"), "{none}");
    let one = scene.new_offer("one.offer", "3");
    scene.done(&["offer", "publish", "one.offer", "--as", "acme"]);
    let agreed = scene.json(&["agree", "acme/echo", "--yes", "--as", "zoe"]);
    assert_eq!((&agreed["offer"], &agreed["model"]), (&one.clone().into(), &"acme/echo".into()));

    let two = scene.new_offer("two.offer", "5");
    scene.done(&["offer", "publish", "two.offer", "--as", "acme"]);
    let several = scene.refused(&["agree", "acme/echo", "--yes", "--as", "zoe"]);
    assert!(several.contains(&one) && several.contains(&two), "{several}");
    assert!(several.contains("At most 5 calls") && several.contains("hospes agree sha256:"));
    scene.done(&["offer", "withdraw", &one, "--as", "acme"]);
    let agreed = scene.json(&["agree", "acme/echo", "--yes", "--as", "zoe"]);
    assert_eq!(agreed["offer"], two.as_str());
}

#[test]
fn the_list_of_agreements_says_what_is_used_and_left_of_each_limit() {
    let scene = Scene::with_echo();
    let what = ["offer", "new", "acme/echo", "--bundle", "echo.wasm", "--function", "echo-u8"];
    let limits = ["--calls", "3", "--clause", "meteredTime lteq PT1M", "--as", "acme"];
    scene.done(&[&what[..], &limits].concat());
    scene.done(&["offer", "publish", "echo.offer", "--as", "acme"]);
    let agreement = id(&scene.json(&["agree", "acme/echo", "--yes", "--as", "zoe"]));
    scene.done(&["agreement", "sign", &agreement, "--yes", "--as", "acme"]);
    scene.done(&["call", "acme/echo/echo-u8", "--arg", "v=7", "--as", "zoe"]);
    let listed = scene.done(&["agreement", "list", "--as", "zoe"]);
    assert!(listed.contains("1 of 3 calls") && listed.contains("2 calls, 59."), "{listed}");
    let listed = scene.json(&["agreement", "list", "--as", "zoe"]);
    let limits = listed["agreements"][0]["rules"][0]["limits"].as_array().expect("a list");
    for limit in limits {
        let number = |member: &str| limit[member].as_u64().expect("a number");
        assert_eq!(number("used") + number("left"), number("max"), "{limit}");
    }
    let names: Vec<_> = limits.iter().map(|limit| &limit["limit"]).collect();
    assert_eq!(names, ["calls", "timeMicros"]);
}

#[test]
fn yes_prints_a_line_and_a_question_comes_after_the_whole_text() {
    let scene = Scene::with_echo();
    scene.new_offer("echo.offer", "3");
    scene.done(&["offer", "publish", "echo.offer", "--as", "acme"]);
    // There is no terminal, so nothing is signed.
    let shown = scene.refused(&["agree", "acme/echo", "--as", "zoe"]);
    assert!(shown.contains("At most 3 calls") && shown.contains("`--yes`"), "{shown}");
    let said = |arguments: &[&str]| {
        let output = scene.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        (text(&output.stdout), text(&output.stderr))
    };
    let (agreed, line) = said(&["--json", "agree", "acme/echo", "--yes", "--as", "zoe"]);
    let agreement = id(&serde_json::from_str(&agreed).expect("JSON"));
    let (_, other) = said(&["agreement", "sign", &agreement, "--yes", "--as", "acme"]);
    for (line, role) in [(line, "consumer `zoe`"), (other, "publisher `acme`")] {
        assert_eq!(line.lines().count(), 1, "{line}");
        assert!(line.contains("acme/echo (echo-u8)") && line.contains(role), "{line}");
    }
}

#[test]
fn several_bundles_are_signed_and_published_and_those_that_fail_stop_no_others() {
    let scene = Scene::start();
    for name in ["echo", "parrot"] {
        std::fs::write(scene.path(&format!("{name}.wasm")), plugin(name)).expect("written");
    }
    std::fs::write(scene.path("broken.wasm"), b"no bundle").expect("written");
    let files = ["broken.wasm", "echo.wasm", "parrot.wasm"];
    for command in ["sign", "publish"] {
        let output = scene.run(&[&[command], &files[..], &["--as", "acme"]].concat());
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        let said = text(&output.stdout);
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(lines.len(), 3, "{said}");
        assert!(lines[0].starts_with("broken.wasm: FAILED: "), "{said}");
        for (line, file) in lines.iter().zip(files).skip(1) {
            let begin = format!("{file}: {}", if command == "sign" { "signed" } else { "live: " });
            assert!(line.starts_with(&begin), "{said}");
        }
    }
    // Publishing the same bundles again succeeds.
    let again = scene.json(&["publish", "echo.wasm", "parrot.wasm", "--as", "acme"]);
    assert_eq!(again["failed"], 0, "{again}");
    assert_eq!(again["files"][1]["model"], "acme/parrot");
    let both = scene.refused(&["sign", "echo.wasm", "parrot.wasm", "-o", "x", "--as", "acme"]);
    assert!(both.contains("several bundles"), "{both}");
}

#[test]
fn no_command_overwrites_a_file_unless_it_is_told_to() {
    let scene = Scene::with_echo();
    scene.new_offer("echo.offer", "3");
    scene.done(&["offer", "publish", "echo.offer", "--as", "acme"]);
    let agreement = id(&scene.json(&["agree", "acme/echo", "--yes", "--as", "zoe"]));
    scene.done(&["agreement", "sign", &agreement, "--yes", "--as", "acme"]);
    let model = workspace().join("plugins/target/models/iris/model.onnx");
    let plugin = workspace().join("plugins/echo");
    let offer = ["offer", "new", "acme/echo", "--bundle", "echo.wasm", "--function", "echo-u8"];
    let call = ["call", "acme/echo/echo-u8", "--arg", "v=7", "--as", "zoe"];
    let commands: [&[&str]; 8] = [
        &["pack", model.to_str().expect("text"), "--name", "iris", "-o"],
        &["build", plugin.to_str().expect("text"), "-o"],
        &["sign", "echo.wasm", "--as", "acme", "-o"],
        &[&offer[..], &["--as", "acme", "-o"]].concat(),
        &["agreement", "show", &agreement, "--as", "zoe", "-o"],
        &[&call[..], &["-o"]].concat(),
        &[&call[..], &["--receipt"]].concat(),
        &["backup", "--data", "data", "--operator", &scene.host.operator, "-o"],
    ];
    for command in commands {
        std::fs::write(scene.path("out"), b"mine").expect("written");
        let refused = scene.refused(&[command, &["out"]].concat());
        assert!(refused.contains("already exists") && refused.contains("`--force`"), "{refused}");
        assert_eq!(std::fs::read(scene.path("out")).expect("it exists"), b"mine", "{command:?}");
        scene.done(&[command, &["out", "--force"]].concat());
        assert_ne!(std::fs::read(scene.path("out")).expect("it exists"), b"mine", "{command:?}");
    }
    let used = scene.json(&["agreement", "list", "--as", "zoe"]);
    assert_eq!(
        used["agreements"][0]["rules"][0]["used"], 2,
        "commands were refused before the call was made"
    );
}
