//! `hospes admin` as an operator uses it, on a host in its own process, which is killed in between.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;
use system_tests::{HostProcess, Party, Reply, Request, plugin};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

struct Operated {
    host: HostProcess,
    data: PathBuf,
    home: PathBuf,
}

impl Operated {
    fn start(folder: &Path) -> Self {
        let data = folder.join("data");
        Self { host: HostProcess::start(&data), data, home: folder.join("home") }
    }

    /// Kills the host with SIGKILL, whatever it is doing, and starts it again on the same data.
    fn kill_and_start(&mut self) {
        self.host.kill();
        self.host = HostProcess::start(&self.data);
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = HostProcess::command();
        command
            .args(arguments)
            .env("HOSPES_HOME", &self.home)
            .env("HOSPES_HOST", &self.host.address);
        command.output().expect("it runs")
    }

    #[track_caller]
    fn admin(&self, arguments: &[&str]) -> String {
        let output = self.try_admin(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn try_admin(&self, arguments: &[&str]) -> Output {
        let data = self.data.to_str().expect("text");
        self.run(&[&["admin"], arguments, &["--data", data]].concat())
    }

    fn echo(&self, caller: &Party) -> Reply {
        let request = Request::new("POST", format!("{}/acme/echo/echo-u8", self.host.address));
        request.bearer(&caller.api_key).json(r#"{"v":7}"#).send()
    }
}

#[test]
fn what_the_operator_did_outlasts_being_killed() {
    let folder = tempfile::tempdir().expect("a directory");
    let mut operated = Operated::start(folder.path());
    let (acme, zoe) =
        (operated.host.party(&operated.data, "acme"), operated.host.party(&operated.data, "zoe"));
    operated.host.agree((&acme, &zoe), &plugin("echo"), "echo-u8");
    operated.echo(&zoe).ok();

    let done = operated.admin(&["suspend", "zoe", "--reason", "floods the host"]);
    assert!(done.contains("done: suspend-account zoe"), "{done}");
    operated.kill_and_start();
    operated.echo(&zoe).problem(403, "account-stopped");
    let accounts = operated.admin(&["accounts"]);
    let line = accounts.lines().find(|line| line.starts_with("zoe")).expect("listed");
    assert!(line.contains("suspended") && line.contains("floods the host"), "{line}");
    operated.admin(&["resume", "zoe"]);
    operated.kill_and_start();
    operated.echo(&zoe).ok();

    operated.admin(&["withdraw", "acme/echo@1.0.0", "--reason", "mines coins"]);
    operated.kill_and_start();
    operated.echo(&zoe).problem(410, "withdrawn");
    assert!(operated.admin(&["withdrawn"]).contains("acme/echo@1.0.0"));
    operated.admin(&["reinstate", "acme/echo@1.0.0"]);
    operated.echo(&zoe).ok();

    let keys = operated.admin(&["keys", "zoe"]);
    let key =
        keys.lines().nth(1).and_then(|line| line.split(' ').next()).expect("a key").to_owned();
    operated.admin(&["revoke", &key, "--reason", "leaked"]);
    operated.kill_and_start();
    operated.echo(&zoe).problem(401, "unauthenticated");
    assert!(operated.admin(&["keys", "zoe"]).contains("leaked"));

    let log = operated.admin(&["log"]);
    let deeds = [
        "open-account",
        "open-account",
        "suspend-account",
        "resume-account",
        "withdraw-version",
        "reinstate-version",
        "revoke-key",
    ];
    for (number, deed) in deeds.iter().enumerate() {
        let line = log.lines().nth(number + 1).expect("an entry");
        assert!(line.starts_with(&number.to_string()) && line.contains(deed), "{line}");
    }
    assert!(log.contains("verified: 7"), "{log}");
    let party = operated.host.party.clone();
    operated.admin(&["log", "--host-party", &party]);
    let other = Party::key_of("another host").party().to_string();
    let refused = operated.try_admin(&["log", "--host-party", &other]);
    assert!(!refused.status.success(), "the log belongs to another host");
    assert!(text(&refused.stderr).contains("not proven"), "{}", text(&refused.stderr));
    assert!(operated.admin(&["status"]).contains(&party));
}

#[test]
fn what_cannot_be_done_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a directory");
    let operated = Operated::start(folder.path());
    // A command that stops something is invalid without a reason.
    for without in [
        &["suspend", "zoe"][..],
        &["close", "zoe"],
        &["withdraw", "acme/echo"],
        &["revoke", "0123456789abcdef"],
    ] {
        assert_eq!(operated.try_admin(without).status.code(), Some(2), "{without:?}");
    }
    let refused = |arguments: &[&str]| {
        let output = operated.try_admin(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        text(&output.stderr)
    };
    assert!(refused(&["suspend", "zoe", "--reason", "x"]).contains("there is no account `zoe`"));
    assert!(refused(&["revoke", "zoe", "--reason", "x"]).contains("hospes admin keys"));
    assert!(
        refused(&["withdraw", "acme/echo@1", "--reason", "x"])
            .contains("such as `acme/iris@1.0.0`")
    );
    let other = folder.path().join("other-token");
    std::fs::write(&other, "0".repeat(64)).expect("written");
    let other = other.to_str().expect("text");
    let operator = &operated.host.operator;
    let output =
        operated.run(&["admin", "accounts", "--operator", operator, "--token-file", other]);
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("--token-file FILE"), "{said}");
}

#[test]
fn an_account_sees_where_it_stands_and_revokes_its_own_keys() {
    let folder = tempfile::tempdir().expect("a directory");
    let operated = Operated::start(folder.path());
    let data = operated.data.to_str().expect("text");
    let run = |arguments: &[&str]| {
        let output = operated.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    run(&["keys", "new", "acme"]);
    run(&["account", "new", "acme", "--data", data, "--key-name", "old laptop"]);
    let first = run(&["--json", "account", "keys"]);
    let first: Value = serde_json::from_str(&first).expect("JSON");
    let first = first["key"].as_str().expect("an identifier").to_owned();
    let again = operated.run(&["account", "new", "acme", "--data", data]);
    let said = text(&again.stderr);
    assert!(again.status.code() == Some(1) && said.contains("`--force`"), "{said}");
    let only = run(&["--json", "account", "keys"]);
    let only: Value = serde_json::from_str(&only).expect("JSON");
    assert_eq!(
        (&only["key"], only["keys"].as_array().map(Vec::len)),
        (&first.as_str().into(), Some(1))
    );
    let another = run(&["account", "new", "acme", "--data", data, "--force"]);
    assert!(another.contains("still valid"), "{another}");
    let keys = run(&["account", "keys"]);
    assert!(keys.contains("old laptop") && keys.contains(&first), "{keys}");
    run(&["account", "revoke", &first, "--reason", "gone"]);
    let shown = run(&["account", "show"]);
    assert!(shown.contains("standing  open") && shown.contains("revoke-key"), "{shown}");
    operated.admin(&["suspend", "acme", "--reason", "unpaid"]);
    let shown = run(&["account", "show"]);
    assert!(shown.contains("suspended since") && shown.contains("unpaid"), "{shown}");
    let token = operated.admin(&["token", "rotate"]);
    assert!(token.contains("token"), "{token}");
    operated.admin(&["accounts"]);
}
