//! What a confined process can open by name, from inside such a process.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::Command;

use hospes_worker::Limits;
use hospes_worker::confine::{confine, exit_now};
use hospes_worker::files::{FOLDER, Name, Offered};

/// The last line of a child that found everything as it should be.
const DONE: &str = "nothing else can be opened";

/// Runs a test of this file in a process of its own.
fn child(test: &str, path: &std::path::Path) -> String {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program)
        .args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"])
        .env("READABLE", path)
        .output()
        .expect("runs");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_confined_process_opens_what_the_host_passed_by_name_and_no_other_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let readable = folder.path().join("readable");
    fs::write(&readable, "for everybody").expect("written");
    let said = child("inside", &readable);
    assert!(said.contains(DONE), "{said}");
}

fn memory_file(content: &[u8]) -> OwnedFd {
    let file = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC);
    let mut file = File::from(file.expect("a memory file"));
    file.write_all(content).expect("written");
    file.into()
}

#[test]
#[ignore = "run in a process of its own, which it confines"]
fn inside() {
    let readable = std::env::var("READABLE").expect("the parent says");
    let (weights, model) = (memory_file(b"weights"), memory_file(b""));
    let parent = rustix::process::getppid().expect("the parent").as_raw_pid();
    let limits = Limits { memory_bytes_max: 1 << 30, file_bytes_max: 16, cpu_max: None };
    // The test's threads are beyond Landlock, so this shows that the filter alone is enough.
    drop(confine(limits, &[weights.as_fd(), model.as_fd()]));

    assert!(File::open(Name::Weights.path()).is_err(), "nothing was offered yet");
    let offered = Offered::new(Name::Weights, weights);
    let mut file = File::open(Name::Weights.path()).expect("offered");
    let mut content = Vec::new();
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0)).expect("a file");
    file.read_to_end(&mut content).expect("read");
    assert_eq!(content, b"weights");
    assert_eq!(fs::metadata(Name::Weights.path()).expect("there").len(), 7);
    assert!(fs::metadata(FOLDER).expect("there").is_dir());
    drop(offered);
    assert!(File::open(Name::Weights.path()).is_err(), "no longer offered");
    let _offered = Offered::new(Name::Model, model);
    let mut written = File::create(Name::Model.path()).expect("offered");
    written.write_all(b"sixteen bytes ok").expect("within the limit");

    let made = format!("{readable}.made");
    for path in [
        "/etc/hostname",
        &readable,
        "/proc/self/exe",
        "/proc/self/fd/0",
        &format!("/proc/{parent}/fd/0"),
        &format!("/proc/{parent}/environ"),
        &format!("{FOLDER}/../etc/hostname"),
        "/",
    ] {
        assert!(File::open(path).is_err(), "{path}");
        assert!(fs::metadata(path).is_err(), "not even whether it exists: {path}");
        assert!(OpenOptions::new().append(true).open(path).is_err(), "{path}");
    }
    assert!(File::create(&made).is_err(), "a new file");
    assert!(fs::read_link("/proc/self/exe").is_err());
    let mut out = std::io::stdout();
    writeln!(out, "{DONE}").expect("written");
    out.flush().expect("written");
    // The test harness could not end a confined process cleanly.
    exit_now();
}
