//! Where a host can run: without a home, on a read-only root, by host names; and that it does not
//! reveal its paths.

use std::path::Path;
use std::process::Command;

use hospes::backend::BackendKind;
use hospes::tensor::DataType;
use serde_json::json;
use system_tests::{
    HostProcess, Request, TestHost, built, identity, model_bundle, plugin, release, terms,
    wat_guest,
};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_host_starts_without_a_home() {
    let folder = tempfile::tempdir().expect("a directory");
    let data = folder.path().join("data");
    let mut command = HostProcess::serving(&data);
    command.env_clear();
    let host = HostProcess::ready(command);
    assert_eq!(Request::new("GET", format!("{}/healthz", host.address)).send().status, 200);
    // The same holds for commands that need no key; others report that there is no home.
    let run = |arguments: &[&str]| {
        HostProcess::command().args(arguments).env_clear().output().expect("it runs")
    };
    let bundle = built("plugins/echo.wasm");
    for arguments in [
        &["serve", "--print-config"][..],
        &["inspect", bundle.to_str().expect("text")],
        &["market", "--host", &host.address],
        &["profile", "terms"],
        &[
            "admin",
            "accounts",
            "--operator",
            &host.operator,
            "--data",
            data.to_str().expect("text"),
        ],
    ] {
        let output = run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    }
    for arguments in [&["keys", "list"][..], &["account", "show"], &["keys", "new", "acme"]] {
        let output = run(arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(
            said.contains("no home directory") && said.contains("fix: name one with `--home DIR`"),
            "{said}"
        );
    }
    // An empty `HOME` counts as none, not as the current directory.
    let output = HostProcess::command().args(["keys", "list"]).env_clear().env("HOME", "").output();
    assert_eq!(output.expect("it runs").status.code(), Some(1));
}

/// Workers start in another directory, so with `--data data` they silently found no library.
#[test]
fn libraries_are_found_from_wherever_a_worker_begins() {
    let mut config = hospes::config::Config::default();
    config.data.dir = "data".into();
    let libraries = hospes::host::inference_settings(&config).libraries;
    assert!(!libraries.is_empty());
    assert!(libraries.iter().all(|library| library.is_absolute()), "{libraries:?}");
}

#[test]
fn a_host_runs_on_a_root_that_is_read_only() {
    let folder = tempfile::tempdir().expect("a directory");
    let data = folder.path().join("data");
    std::fs::create_dir(&data).expect("made");
    let binary = HostProcess::command();
    // In a mount namespace where only the data directory is writable.
    let script = "mount --make-rprivate / && mount --bind \"$1\" \"$1\" && mount -o remount,ro,bind / && cd / \
        && ! touch /written 2>/dev/null \
        && exec \"$0\" --json serve --listen 127.0.0.1:0 --operator-listen 127.0.0.1:0 --data \"$1\"";
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", script]).arg(binary.get_program()).arg(&data);
    command
        .env_remove("HOME")
        .env("TMPDIR", "/nowhere")
        .env("HOSPES_ONNXRUNTIME", TestHost::onnxruntime());
    let host = HostProcess::ready(command);
    let (acme, zoe) = (host.party(&data, "acme"), host.party(&data, "zoe"));
    host.agree((&acme, &zoe), &plugin("echo"), "echo-u8");
    host.agree((&acme, &zoe), &model_bundle("same", identity(DataType::F32, 1), None), "infer");
    let call = |path: &str, body: &str| {
        let request = Request::new("POST", format!("{}/{path}", host.address));
        request.bearer(&zoe.api_key).json(body).send().ok().text()
    };
    assert_eq!(call("acme/echo/echo-u8", r#"{"v":7}"#), "7");
    let same = call(
        "acme/same/infer",
        r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[0.5]}]}"#,
    );
    assert!(same.contains("0.5"), "{same}");
}

#[test]
fn listeners_have_names() {
    let folder = tempfile::tempdir().expect("a directory");
    let config = folder.path().join("hospes.toml");
    std::fs::write(&config, "[api]\nlisten = \"localhost:0\"\n").expect("written");
    let mut command = HostProcess::command();
    command.args(["--json", "serve", "--operator-listen", "localhost:0"]);
    command.arg("--config").arg(&config).arg("--data").arg(folder.path().join("data"));
    let host = HostProcess::ready(command);
    for address in [&host.address, &host.operator] {
        assert_eq!(
            Request::new("GET", format!("{address}/healthz")).send().status,
            200,
            "{address}"
        );
    }
    let refused = |address: &str| {
        let data = folder.path().join("other");
        let data = data.to_str().expect("text");
        let output = HostProcess::run(&["serve", "--listen", address, "--data", data]);
        (output.status.code(), text(&output.stderr))
    };
    let (code, said) = refused("localhost");
    assert!(code == Some(2) && said.contains("`localhost:8080`"), "{said}");
    let (code, said) = refused("no-such-name.invalid:0");
    assert!(
        code == Some(1) && said.contains("no-such-name.invalid:0") && said.contains("api.listen"),
        "{said}"
    );
}

#[test]
fn account_new_follows_the_host_that_is_named() {
    let folder = tempfile::tempdir().expect("a directory");
    let at = |name: &str| folder.path().join(name);
    let (one, two) = (HostProcess::start(&at("one")), HostProcess::start(&at("two")));
    let run = |arguments: &[&str]| {
        let output = HostProcess::command().args(arguments).env("HOSPES_HOME", at("home")).output();
        output.expect("it runs")
    };
    assert!(run(&["keys", "new", "acme"]).status.success());
    let data = |name: &str| at(name).to_str().expect("text").to_owned();
    // Without `--operator`, the port is read from the host's data directory.
    let opened = run(&["account", "new", "acme", "--host", &two.address, "--data", &data("two")]);
    assert!(opened.status.success(), "{}", text(&opened.stderr));
    let accounts = |name: &str| {
        let listed = run(&["--json", "admin", "accounts", "--data", &data(name)]);
        text(&listed.stdout)
    };
    assert!(accounts("two").contains("\"acme\"") && !accounts("one").contains("\"acme\""));
    // If the data directory belongs to another host, no account is opened there.
    let again = ["account", "new", "acme", "--force", "--data", &data("one")];
    let wrong = run(&[&again[..], &["--host", &two.address]].concat());
    let said = text(&wrong.stderr);
    assert!(
        wrong.status.code() == Some(1) && said.contains("belongs to a different host"),
        "{said}"
    );
    assert!(!accounts("one").contains("\"acme\""));
    let right = ["--operator", &one.operator, "--host", &one.address];
    let right = run(&[&again[..], &right].concat());
    assert!(right.status.success(), "{}", text(&right.stderr));
}

/// Every error that a publisher can get when a bundle is refused.
#[test]
fn no_error_for_publishers_shows_a_path_of_the_host() {
    let soon = std::time::Duration::from_secs(1);
    let host = TestHost::builder().config(|config| config.sandbox.deadline = soon).start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    let mut answers = Vec::new();
    let mut publish = |bytes: &[u8]| answers.push(host.try_publish(&acme, bytes).text());
    publish(b"nonsense");
    publish(&plugin("echo"));
    publish(&zoe.sign(&plugin("echo")));
    for guest in ["start-memory", "start-spin", "claim"] {
        publish(&acme.sign(&wat_guest(guest, &[])));
    }
    for model in [b"nonsense".to_vec(), identity(DataType::F32, 1)[..20].to_vec()] {
        for backend in [None, Some(BackendKind::Tract), Some(BackendKind::Onnxruntime)] {
            publish(&acme.sign(&model_bundle("broken", model.clone(), backend)));
        }
    }
    let good = host.publish(&acme, &release("good", "1.0.0", identity(DataType::F32, 1)));
    host.agree(&acme, &zoe, &good, vec![terms("infer")]);
    // The stored files are damaged, and then the model is loaded again.
    let folder = host.host().config().data.dir.clone();
    let unload = |action: &str| {
        let path = format!("/v2/repository/models/acme%2Fgood/{action}");
        host.post(&path).bearer(&acme.api_key).send()
    };
    unload("unload").ok();
    for kept in ["bundles/bundles", "bundles/models"] {
        for entry in std::fs::read_dir(folder.join(kept)).expect("readable") {
            std::fs::write(entry.expect("readable").path(), b"damaged").expect("written");
        }
    }
    let damaged = unload("load");
    assert!(damaged.status >= 500, "{}", damaged.text());
    answers.push(damaged.text());
    // Files replace the folders, so nothing can be stored.
    for kept in ["bundles/bundles", "compiled"] {
        std::fs::remove_dir_all(folder.join(kept)).expect("removed");
        std::fs::write(folder.join(kept), b"").expect("written");
    }
    let bundle = acme.sign(&release("next", "1.0.0", identity(DataType::F32, 2)));
    let unkept = host.try_publish(&acme, &bundle);
    assert!(unkept.status >= 500, "{}", unkept.text());
    answers.push(unkept.text());
    answers.push(host.call(&zoe, "acme/good/infer").json("{}").send().text());

    assert!(answers.len() > 10);
    no_paths(&answers, &folder);
}

/// A host without the library, or without the requested one.
#[test]
fn no_error_of_a_host_without_a_library_shows_where_it_looked() {
    let host =
        TestHost::builder().config(|config| config.inference.onnxruntime_library = None).start();
    let acme = host.party("acme");
    let bundle = model_bundle("same", identity(DataType::F32, 1), Some(BackendKind::Onnxruntime));
    let answer = host.try_publish(&acme, &acme.sign(&bundle)).text();
    no_paths(
        &[answer, json!(host.get("/v2").send().json()).to_string()],
        &host.host().config().data.dir,
    );
}

#[track_caller]
fn no_paths(answers: &[String], data: &Path) {
    let library = TestHost::onnxruntime();
    let own = std::env::current_exe().expect("a path");
    let folders = [data, library.parent().expect("a folder"), own.parent().expect("a folder")];
    for answer in answers {
        for folder in folders {
            let folder = folder.to_str().expect("text");
            assert!(!answer.contains(folder), "{answer}");
        }
        for place in
            ["/usr/", "/tmp/", "/home/", "/root/", "libonnxruntime", "state.redb", ".cwasm", ".rs:"]
        {
            assert!(!answer.contains(place), "{place}: {answer}");
        }
    }
}
