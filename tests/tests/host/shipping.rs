//! The systemd unit, the image and the build in `host/dist`: systemd accepts the unit, both start a
//! host with valid settings, the image's health check uses readiness, and the build invokes cargo
//! for the shipped binary.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;
use std::time::{Duration, Instant};

use hospes::config::Config;
use system_tests::{HostProcess, workspace};

/// The highest exposure that systemd may report for the unit, in tenths: 0 is locked down, 100 is
/// open. A host needs sockets.
const EXPOSURE_MAX: &str = "15";

fn shipped(name: &str) -> String {
    std::fs::read_to_string(workspace().join("host/dist").join(name)).expect("readable")
}

/// The rest of the line after `before`.
fn after<'a>(text: &'a str, before: &str) -> &'a str {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(before));
    line.unwrap_or_else(|| panic!("there is no `{before}`"))
}

/// The words of a JSON-form instruction in the Containerfile that begins with `first`.
fn words(instruction: &str, first: &str) -> Vec<String> {
    let start = format!("{instruction} [\"{first}\"");
    let containerfile = shipped("Containerfile");
    let words = format!("[\"{first}\"{}", after(&containerfile, &start));
    serde_json::from_str(&words).unwrap_or_else(|error| panic!("{words}: {error}"))
}

/// The settings of `hospes` with these arguments.
fn settings<'a>(arguments: impl IntoIterator<Item = &'a str>, data: Option<&str>) -> String {
    let mut command = HostProcess::command();
    command.args(arguments).arg("--print-config").env_remove("HOSPES_CONFIG");
    match data {
        Some(data) => command.env("HOSPES_DATA", data),
        None => command.env_remove("HOSPES_DATA"),
    };
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn systemd_accepts_the_unit_and_finds_it_locked_down() {
    let program = HostProcess::program();
    let unit =
        shipped("hospes.service").replace("/usr/local/bin/hospes", program.to_str().expect("text"));
    // The unit with its optional lines, which are comments of the form `#Name=value`.
    let offered: String = unit
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
        .flat_map(|line| [line, "\n"])
        .collect();
    assert_ne!(unit, offered, "the unit has no optional lines");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("hospes.service");
    for unit in [unit, offered] {
        std::fs::write(&path, unit).expect("written");
        let threshold = format!("--threshold={EXPOSURE_MAX}");
        for arguments in [&["verify", "--man=no"][..], &["security", "--offline=true", &threshold]]
        {
            let analyzed = Command::new("systemd-analyze").args(arguments).arg(&path).output();
            let output = match analyzed {
                // `make test` installs it if possible, and reports if not.
                Err(error) if error.kind() == ErrorKind::NotFound => return,
                output => output.expect("it runs"),
            };
            let (said, errors) =
                (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(output.status.success(), "{arguments:?}: {said}{errors}");
            // Unknown settings are only warnings.
            assert!(!errors.contains("hospes.service"), "{arguments:?}: {errors}");
        }
    }
}

#[test]
fn the_unit_starts_a_host_and_waits_for_its_calls() {
    let unit = shipped("hospes.service");
    let command = after(&unit, "ExecStart=").replace("%S", "/var/lib");
    let shown = settings(command.split(' ').skip(1), None);
    assert!(shown.contains("dir = \"/var/lib/hospes\""), "{shown}");

    let wait: u64 = after(&unit, "TimeoutStopSec=").parse().expect("seconds");
    let api = Config::default().api;
    // Plus time for the last writes to disk.
    let needed = api.drain_delay + api.drain_timeout + Duration::from_secs(10);
    assert!(Duration::from_secs(wait) >= needed, "{wait} s, but a host may need {needed:?}");
}

#[test]
fn the_image_starts_a_host_that_everybody_reaches() {
    let command = [words("ENTRYPOINT", "hospes"), words("CMD", "--listen")].concat();
    let data = after(&shipped("Containerfile"), "ENV HOSPES_DATA=").to_owned();
    assert_eq!(after(&shipped("Containerfile"), "VOLUME "), data);
    let shown = settings(command.iter().skip(1).map(String::as_str), Some(&data));
    assert!(shown.contains(&format!("dir = \"{data}\"")), "{shown}");
    assert!(shown.contains("\nlisten = \"0.0.0.0:8080\""), "{shown}");
    assert!(shown.contains("operator_listen = \"127.0.0.1:8081\""), "{shown}");
}

#[test]
fn the_image_s_health_check_asks_whether_the_host_is_ready() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let host = HostProcess::start_with(&data, "[api]\ndrain_delay = \"60s\"\n");
    let port = host.operator.rsplit_once(':').expect("a port").1;
    let check: Vec<String> =
        words("CMD", "bash").iter().map(|word| word.replace("8081", port)).collect();
    let is_healthy = || {
        let output = Command::new(&check[0]).args(&check[1..]).output().expect("it runs");
        output.status.success()
    };
    assert!(is_healthy(), "{check:?}");
    // It still accepts calls but is no longer ready.
    host.signal("TERM");
    let began = Instant::now();
    while is_healthy() {
        assert!(began.elapsed() < Duration::from_secs(10), "a stopping host is still healthy");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Replaces the tools of the build: records each call, and creates the files that the tools would.
const TOOL: &str = r#"#!/bin/bash
call="${0##*/} $*"
echo "$call" >>"$TOOLS/calls"
case $call in
"rustc -vV") echo "host: here" ;;
"rustc --print sysroot") echo "$TOOLS" ;;
"cargo build "*) install -D /dev/null "$CARGO_TARGET_DIR/here/dist/hospes" ;;
"cargo cyclonedx --quiet "*) touch host/hospes.cdx.json host/crates/core/hospes.cdx.json tests/hospes.cdx.json ;;
llvm-profdata*) touch target/dist-counting/calls.profdata ;;
esac
"#;

#[test]
fn what_is_built_and_measured_is_what_is_shipped() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |path: &str| folder.path().join(path);
    for path in ["host/dist", "host/crates/core", "tests", "tools/lib/rustlib/here/bin"] {
        fs::create_dir_all(at(path)).expect("made");
    }
    for path in ["Cargo.lock", "LICENSE", "host/dist/build"] {
        fs::copy(workspace().join(path), at(path)).expect("copied");
    }
    fs::write(at("tools/tool"), TOOL).expect("written");
    fs::set_permissions(at("tools/tool"), Permissions::from_mode(0o755)).expect("a mode");
    for tool in ["cargo", "git", "rustc", "lib/rustlib/here/bin/llvm-profdata"] {
        symlink(at("tools/tool"), at("tools").join(tool)).expect("linked");
    }
    let tools = at("tools").display().to_string();
    let path = format!("{tools}:{}", std::env::var("PATH").expect("set"));
    let build = |arguments: &[&str]| {
        let mut command = Command::new("bash");
        command.arg(at("host/dist/build")).args(arguments).env("TOOLS", &tools).env("PATH", &path);
        let output = command.env("CARGO", "cargo").output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    build(&[]);
    for file in ["hospes", "hospes.cdx.json", "LICENSE", "SHA256SUMS"] {
        assert!(at("target/dist-release").join(file).is_file(), "{file}");
    }
    for list in
        ["host/hospes.cdx.json", "host/crates/core/hospes.cdx.json", "tests/hospes.cdx.json"]
    {
        assert!(!at(list).exists(), "`{list}` was not removed");
    }
    build(&["--bench", "noop_http"]);
    let calls = fs::read_to_string(at("tools/calls")).expect("readable");
    let is_of = |command: &str| calls.lines().filter(|call| call.starts_with(command)).count();
    // Benchmarks use the shipped profile, and the three builds include one for the benchmark.
    assert_eq!((is_of("cargo build "), is_of("cargo bench ")), (3, 2), "{calls}");
    for call in calls.lines().filter(|call| !call.starts_with("cargo cyclonedx")) {
        let (cargo_s, _) = call.split_once(" -- ").unwrap_or((call, ""));
        let is_so = cargo_s.contains(" --profile dist --target here ");
        assert_eq!(is_so, call.starts_with("cargo "), "{call}");
    }
    assert!(calls.trim_end().ends_with(" -- noop_http"), "{calls}");
}
