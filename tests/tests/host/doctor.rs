//! `hospes doctor`: each problem comes with a fix that works, healthy parts are not reported as
//! problems, and nothing is changed.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use hospes::store::{Store, Table};
use serde_json::Value;
use system_tests::{HostProcess, TestHost};
use tempfile::TempDir;

/// The data directory of a host that was killed as if by a power loss, and its settings.
struct Scene {
    folder: TempDir,
    data: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        HostProcess::start(&data).kill();
        Self { folder, data }
    }

    fn state(&self) -> PathBuf {
        self.data.join("state.redb")
    }

    /// Runs the doctor with these settings, on free ports.
    fn report(&self, settings: &str) -> Report {
        let config = self.folder.path().join("hospes.toml");
        fs::write(&config, settings).expect("written");
        let config = config.to_str().expect("text");
        self.report_with(&["--config", config, "--listen", FREE, "--operator-listen", FREE])
    }

    fn report_with(&self, arguments: &[&str]) -> Report {
        let data = self.data.to_str().expect("text");
        let output = HostProcess::run(&[&["--json", "doctor", "--data", data], arguments].concat());
        let said = String::from_utf8_lossy(&output.stdout);
        let report = Report(serde_json::from_str(&said).unwrap_or_else(|_| {
            panic!("{said}{}", String::from_utf8_lossy(&output.stderr));
        }));
        let problems = report.0["problems"].as_u64().expect("a number");
        assert_eq!(output.status.code(), Some(i32::from(problems > 0)), "{report:?}");
        report
    }
}

const FREE: &str = "127.0.0.1:0";

#[derive(Debug)]
struct Report(Value);

impl Report {
    fn findings(&self) -> &[Value] {
        self.0["findings"].as_array().expect("a list")
    }

    /// The only finding of this check with this severity; its detail must contain `part`.
    fn one(&self, severity: &str, check: &str, part: &str) -> &Value {
        let is_it = |finding: &&Value| finding["check"] == check && finding["severity"] == severity;
        let found: Vec<_> = self.findings().iter().filter(is_it).collect();
        let [one] = found[..] else { panic!("{severity} {check}: {found:#?} of {self:#?}") };
        assert!(one["detail"].as_str().expect("text").contains(part), "`{part}`: {one}");
        assert_eq!(one["fix"].is_string(), severity != "ok", "{one}");
        one
    }

    fn problem(&self, check: &str, part: &str) -> &str {
        assert_eq!(self.0["problems"], 1, "{self:#?}");
        self.one("problem", check, part)["fix"].as_str().expect("text")
    }

    fn has_no_problem(&self) {
        assert_eq!(self.0["problems"], 0, "{self:#?}");
    }
}

/// Every file with its bytes, its mode and its modification time.
fn files(folder: &Path) -> BTreeMap<PathBuf, (Vec<u8>, u32, std::time::SystemTime)> {
    let mut all = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("readable") {
            let path = entry.expect("readable").path();
            let meta = fs::metadata(&path).expect("readable");
            let (mode, written) = (meta.permissions().mode(), meta.modified().expect("a time"));
            let bytes = if meta.is_dir() { Vec::new() } else { fs::read(&path).expect("readable") };
            if meta.is_dir() {
                folders.push(path.clone());
            }
            all.insert(path, (bytes, mode, written));
        }
    }
    all
}

#[test]
fn a_healthy_directory_has_no_problem_and_is_not_changed() {
    let scene = Scene::new();
    let before = files(&scene.data);
    let library = TestHost::onnxruntime();
    let report = scene.report(&format!(
        "[inference]\nonnxruntime_library = {:?}\n",
        library.to_str().expect("text")
    ));
    report.has_no_problem();
    for check in ["data", "permissions", "keys", "records", "clock", "runtime", "tls", "host"] {
        report.one("ok", check, "");
    }
    let checks: Vec<_> = report.findings().iter().map(|finding| &finding["check"]).collect();
    for check in ["space", "kernel", "limits", "memory", "ports"] {
        assert!(checks.iter().any(|seen| *seen == check), "{check}: {checks:?}");
    }
    assert!(files(&scene.data) == before, "something was changed");

    // A directory that does not exist yet is fine, and is not created. The output for people is
    // text.
    let new = scene.folder.path().join("new");
    let new = new.to_str().expect("text");
    let output =
        HostProcess::run(&["doctor", "--data", new, "--listen", FREE, "--operator-listen", FREE]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.starts_with("ok       data"), "{said}");
    assert!(!Path::new(new).exists());
}

#[test]
fn a_library_that_is_missing_is_a_problem_if_it_was_asked_for() {
    let scene = Scene::new();
    let named = "[inference]\nonnxruntime_library = \"/nowhere/libonnxruntime.so\"\n";
    let report = scene.report(named);
    let fix = report.problem("runtime", "/nowhere/libonnxruntime.so");
    assert!(fix.contains("hospes runtime install onnxruntime --data /"), "{fix}");
    let report = scene.report("[inference]\nbackend = \"tract\"\n");
    report.has_no_problem();
    report.one("ok", "runtime", "tract");
}

#[test]
fn a_certificate_that_cannot_be_used_is_a_problem() {
    let scene = Scene::new();
    let path = |name: &str| scene.folder.path().join(name);
    let write = |name: &str, text: String| {
        fs::write(path(name), text).expect("written");
        fs::set_permissions(path(name), Permissions::from_mode(0o600)).expect("a mode");
    };
    let keys = [(); 2].map(|()| rcgen::KeyPair::generate().expect("a key"));
    let certificate = |until: i32| {
        let mut wanted =
            rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        wanted.not_before = rcgen::date_time_ymd(2019, 1, 1);
        wanted.not_after = rcgen::date_time_ymd(until, 1, 1);
        wanted.self_signed(&keys[0]).expect("signed").pem()
    };
    write("sound.pem", certificate(2999));
    write("expired.pem", certificate(2020));
    write("key.pem", keys[0].serialize_pem());
    write("other.pem", keys[1].serialize_pem());
    let report = |certificate: &str, key: &str| {
        let (certificate, key) = (path(certificate), path(key));
        scene.report(&format!(
            "[api]\ntls_certificate = {:?}\ntls_key = {:?}\n",
            certificate.to_str().expect("text"),
            key.to_str().expect("text")
        ))
    };
    let sound = report("sound.pem", "key.pem");
    sound.has_no_problem();
    sound.one("ok", "tls", "valid until 2999-01-01");
    report("expired.pem", "key.pem").problem("tls", "expired on 2020-01-01");
    let fix = report("sound.pem", "other.pem").problem("tls", "do not match").to_owned();
    assert!(fix.contains("openssl pkey -pubout -in"), "{fix}");
    report("nowhere.pem", "key.pem").problem("tls", "nowhere.pem");
    fs::set_permissions(path("key.pem"), Permissions::from_mode(0o644)).expect("a mode");
    report("sound.pem", "key.pem").problem("tls", "everybody on this machine can read");
}

#[test]
fn secrets_that_others_can_read_are_a_problem_and_the_fix_mends_it() {
    let scene = Scene::new();
    let token = scene.data.join("operator.token");
    fs::set_permissions(&token, Permissions::from_mode(0o644)).expect("a mode");
    // The data directory still keeps other users out.
    let report = scene.report("");
    report.has_no_problem();
    report.one("warning", "permissions", "operator.token");
    fs::set_permissions(&scene.data, Permissions::from_mode(0o755)).expect("a mode");
    let fix = scene.report("").problem("permissions", "operator.token").to_owned();
    let command = fix.split('`').nth(1).expect("a command");
    assert!(Command::new("sh").args(["-c", command]).status().expect("it runs").success());
    let report = scene.report("");
    report.has_no_problem();
    report.one("ok", "permissions", "");
}

#[test]
fn a_port_that_is_taken_is_a_problem() {
    let scene = Scene::new();
    let taken = TcpListener::bind(FREE).expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let report = scene.report_with(&["--listen", &address, "--operator-listen", FREE]);
    let fix = report.problem("ports", "another program");
    assert!(fix.contains("ss -ltnp") && fix.contains("--listen"), "{fix}");
    let both = scene.report_with(&["--listen", "[::1]:9", "--operator-listen", "[::1]:9"]);
    both.problem("ports", "are both");
}

#[test]
fn records_that_a_host_would_not_read_are_named_and_left_alone() {
    let scene = Scene::new();
    {
        let store = Store::open(&scene.state()).expect("opens");
        store.put(Table::Offers, "torn", b"{}").expect("writes");
    }
    let before = files(&scene.data);
    scene.report("").problem("records", "`torn` of offers");
    assert!(files(&scene.data) == before, "something was changed");
    {
        let store = Store::open(&scene.state()).expect("opens");
        store.put(Table::Host, "format", b"2").expect("writes");
    }
    let before = files(&scene.data);
    let fix = scene.report("").problem("records", "format 2").to_owned();
    assert!(fix.contains("newer host"), "{fix}");
    assert!(files(&scene.data) == before, "something was changed");
}

#[test]
fn a_running_host_is_asked_and_goes_on() {
    let scene = Scene::new();
    let host = HostProcess::start(&scene.data);
    let [everybody, operator] = host.listeners().map(|address| address.to_string());
    let report = scene.report_with(&["--listen", &everybody, "--operator-listen", &operator]);
    report.has_no_problem();
    report.one("ok", "host", concat!("hospes ", env!("CARGO_PKG_VERSION")));
    report.one("ok", "records", "the running host");
    let ports: Vec<_> =
        report.findings().iter().filter(|finding| finding["check"] == "ports").collect();
    assert_eq!(ports.len(), 2, "{ports:?}");
    for port in ports {
        let detail = port["detail"].as_str().expect("text");
        assert!(detail.contains("the running host answers there"), "{detail}");
    }
    // A running host may use other addresses than the settings, even if another host has those.
    let other = Scene::new();
    let theirs = HostProcess::start(&other.data);
    let [their_everybody, their_operator] = theirs.listeners().map(|address| address.to_string());
    let settings = ["--listen", &their_everybody, "--operator-listen", &their_operator];
    let report = scene.report_with(&settings);
    report.has_no_problem();
    let ports: Vec<_> =
        report.findings().iter().filter(|finding| finding["check"] == "ports").collect();
    let said = format!("{ports:?}");
    assert!(said.contains(&operator) && said.contains("were not checked"), "{said}");
    let report = scene.report_with(&["--listen", &their_everybody, "--operator-listen", &operator]);
    report.has_no_problem();
    report.one("warning", "ports", "the running host listens at another address");
    drop(theirs);
    // A host on another data directory is another host.
    let report = other.report_with(&["--listen", &everybody, "--operator-listen", FREE]);
    report.problem("ports", "another host");
    let asked = system_tests::Request::new("GET", format!("{}/readyz", host.address));
    assert_eq!(asked.send().status, 200);
}
