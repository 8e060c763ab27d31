//! A full or broken disk: calls are refused with 503 and not counted, the host reports that it is
//! not ready, and recovers by itself once there is space or the disk works again.
//!
//! The full disk is a small file system if mounting is permitted, otherwise a limit on the
//! process's file sizes. The broken disk is a library preloaded into the host (`tests/shims`).

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use system_tests::{
    HostProcess, Limited as _, Party, Reply, Request, TestHost, terms, wat_guest, workspace,
};
use tempfile::TempDir;

const CALLS_MAX: u64 = 10_000_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// A disk that can be filled.
struct Disk {
    folder: TempDir,
    is_mounted: bool,
}

impl Disk {
    fn new() -> Self {
        let folder = TempDir::new().expect("a directory");
        let mut mount = Command::new("mount");
        let mount = mount.args(["-t", "tmpfs", "-o", "size=32m", "tmpfs"]).arg(folder.path());
        let is_mounted = mount.output().is_ok_and(|output| output.status.success());
        // If mounting is not permitted, a limit on file sizes replaces it.
        Self { folder, is_mounted }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The limit on file sizes: the size of the records' file, so that neither more records nor the
    /// log's reserve fit.
    fn limit(&self) -> u64 {
        self.data().join("state.redb").metadata().expect("it exists").len()
    }

    fn filler(&self) -> PathBuf {
        self.folder.path().join("filler")
    }

    /// Fills the disk completely, or stops the host's files from growing.
    fn fill(&self, host: Option<&HostProcess>) {
        if !self.is_mounted {
            return host.map_or((), |host| limit(host, &self.limit().to_string()));
        }
        let mut filler = File::create(self.filler()).expect("a file");
        for size in [1 << 20, 1 << 12, 1] {
            while filler.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn free(&self, host: Option<&HostProcess>) {
        if !self.is_mounted {
            return limit(host.expect("a process"), "unlimited");
        }
        std::fs::remove_file(self.filler()).expect("removed");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.is_mounted {
            let _ = Command::new("umount").arg("-l").arg(self.folder.path()).status();
        }
    }
}

fn limit(host: &HostProcess, bytes: &str) {
    let mut prlimit = Command::new("prlimit");
    let limited = prlimit.args([&format!("--pid={}", host.id()), &format!("--fsize={bytes}:")]);
    assert!(limited.status().expect("it runs").success(), "neither mount nor prlimit works");
}

/// Publishes a guest on a host on this disk, and lets `zoe` call it.
fn prepare(data: &Path) -> Party {
    let host = TestHost::start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    let published = host.publish(&acme, &wat_guest("noop", &[]));
    let counted = terms("nothing").limit(&format!("count lteq {CALLS_MAX} call"));
    host.agree(&acme, &zoe, &published, vec![counted]);
    let made = host.stop();
    let copied = Command::new("cp").arg("-a").arg(made.path().join("data")).arg(data).status();
    assert!(copied.expect("it runs").success());
    zoe
}

fn get(host: &HostProcess, path: &str) -> u16 {
    Request::new("GET", format!("{}{path}", host.address)).send().status
}

fn status(host: &HostProcess, data: &Path) -> Value {
    let token = std::fs::read_to_string(data.join("operator.token")).expect("written");
    let request = Request::new("GET", format!("{}/status", host.operator));
    request.bearer(token.trim()).send().ok().json()
}

/// Opens an account, which writes a record.
fn open(host: &HostProcess, data: &Path, name: &str) -> Reply {
    let token = std::fs::read_to_string(data.join("operator.token")).expect("written");
    let wanted = json!({"name": name, "party": Party::key_of(name).party()}).to_string();
    let request = Request::new("POST", format!("{}/accounts", host.operator));
    request.bearer(token.trim()).json(&wanted).send()
}

fn used(host: &HostProcess, zoe: &Party) -> u64 {
    let listed = Request::new("GET", format!("{}/api/agreements", host.address));
    let listed = listed.bearer(&zoe.api_key).send().ok().json();
    listed["agreements"][0]["rules"][0]["used"].as_u64().expect("a count")
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "not true within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Calls until told to stop, and counts the responses: released, and refused because the disk is
/// full.
fn call(url: &str, zoe: &Party, stop: &AtomicBool, [answered, refused]: [&AtomicU64; 2]) {
    while !stop.load(Ordering::Relaxed) {
        let reply = Request::new("POST", url).bearer(&zoe.api_key).json("{}").send();
        if reply.status == 200 {
            answered.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        reply.problem(503, "unavailable");
        assert!(reply.header("retry-after").is_some());
        refused.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_disk_that_is_filled_and_freed_under_load_costs_no_count_and_no_restart() {
    let disk = Disk::new();
    let data = disk.data();
    let zoe = prepare(&data);
    let mut host = HostProcess::start_with(&data, "[api]\ndrain_delay = \"0s\"\n");
    let url = format!("{}/acme/noop/nothing", host.address);
    let (stop, answered, refused) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| call(&url, &zoe, &stop, [&answered, &refused]));
        }
        for _ in 0..3 {
            let before = count(&answered);
            until("calls are answered", || count(&answered) > before + 50);
            disk.fill(Some(&host));
            let before = count(&refused);
            until("calls are refused", || count(&refused) > before + 50);
            until("the host reports that it is not ready", || get(&host, "/readyz") == 503);
            assert_eq!(get(&host, "/v2/health/ready"), 503);
            assert_eq!(get(&host, "/healthz"), 200);
            disk.free(Some(&host));
            until("the host is ready again", || get(&host, "/readyz") == 200);
            assert_eq!(get(&host, "/v2/health/ready"), 200);
        }
        let before = count(&answered);
        until("calls are answered", || count(&answered) > before + 50);
        stop.store(true, Ordering::Relaxed);
    });
    let answered = count(&answered);
    assert_eq!(used(&host, &zoe), answered, "as counted in memory");
    assert_eq!(status(&host, &data)["receipts"], json!(answered));
    host.signal("TERM");
    host.wait();
    let host = HostProcess::start(&data);
    assert_eq!(used(&host, &zoe), answered, "as read back from the receipts");
}

#[test]
fn a_host_starts_on_a_full_disk_and_takes_calls_when_there_is_room() {
    let disk = Disk::new();
    let data = disk.data();
    let zoe = prepare(&data);
    disk.fill(None);
    let host = HostProcess::begin(&data, (!disk.is_mounted).then(|| disk.limit()));
    until("it lives", || {
        let request = Request::new("GET", format!("{}/healthz", host.address));
        request.try_send().is_ok_and(|reply| reply.status == 200)
    });
    let call = || {
        let request = Request::new("POST", format!("{}/acme/noop/nothing", host.address));
        request.bearer(&zoe.api_key).json("{}").send()
    };
    until("its records are read", || get(&host, "/api/host") == 200);
    assert_eq!(get(&host, "/readyz"), 503);
    call().problem(503, "unavailable");
    disk.free(Some(&host));
    until("it is ready", || get(&host, "/readyz") == 200);
    call().ok();
    open(&host, &data, "eve").ok();
}

#[test]
fn records_that_could_not_be_written_can_be_written_when_there_is_room() {
    let disk = Disk::new();
    let data = disk.data();
    let _ = prepare(&data);
    let host = HostProcess::start(&data);
    let open = |name: &str| open(&host, &data, name);
    disk.fill(Some(&host));
    // The free space inside the file is used up first.
    let refused = (0..200_000).map(|number| open(&format!("party{number}")));
    let refused = refused.into_iter().find(|reply| reply.status != 201).expect("the file fills up");
    refused.problem(503, "unavailable");
    assert!(refused.header("retry-after").is_some());
    disk.free(Some(&host));
    until("accounts are opened again", || open("eve").status == 201);
    until("it is ready", || get(&host, "/readyz") == 200);
}

/// A disk whose writes can be made to fail.
struct BrokenDisk {
    folder: TempDir,
}

impl BrokenDisk {
    fn new() -> Self {
        Self { folder: TempDir::new().expect("a directory") }
    }

    fn path(&self, name: &str) -> PathBuf {
        // The path as the kernel reports it.
        self.folder.path().canonicalize().expect("it exists").join(name)
    }

    fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// A host whose writes to its data directory fail whenever the test wants.
    fn serve(&self) -> HostProcess {
        let library = self.path("broken-disk.so");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library);
        compiler.arg(workspace().join("tests/shims/broken_disk.c")).arg("-ldl");
        let compiled = compiler.output().expect("Rust needs a C compiler, too");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        let settings = self.path("hospes.toml");
        std::fs::write(&settings, "[api]\ndrain_delay = \"0s\"\n").expect("written");
        let mut serving = HostProcess::serving(&self.data());
        serving.arg("--config").arg(settings).env("LD_PRELOAD", library);
        serving.env("BROKEN_DISK_FOLDER", self.data());
        serving.env("BROKEN_DISK_FLAG", self.path("flag"));
        HostProcess::ready(serving)
    }

    fn fail(&self) {
        std::fs::write(self.path("flag"), "").expect("written");
    }

    fn mend(&self) {
        std::fs::remove_file(self.path("flag")).expect("removed");
    }
}

/// Opens accounts one after the other until told to stop. Returns the opened ones; all others were
/// refused because of the disk.
fn open_accounts(host: &HostProcess, data: &Path, stop: &AtomicBool) -> Vec<String> {
    let mut opened = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("party{number}");
        let reply = open(host, data, &name);
        if reply.status == 201 {
            opened.push(name);
            continue;
        }
        reply.problem(503, "unavailable");
        assert!(reply.header("retry-after").is_some());
        std::thread::sleep(Duration::from_millis(20));
    }
    opened
}

#[test]
fn a_disk_that_fails_and_works_again_loses_nothing_that_was_answered() {
    let disk = BrokenDisk::new();
    let data = disk.data();
    let zoe = prepare(&data);
    let mut host = disk.serve();
    let url = format!("{}/acme/noop/nothing", host.address);
    let (stop, answered, refused) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let why = |path: &str| {
        let reply = Request::new("GET", format!("{}{path}", host.address)).send();
        (reply.status == 503).then(|| reply.text())
    };
    let opened = std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| call(&url, &zoe, &stop, [&answered, &refused]));
        }
        let opening = scope.spawn(|| open_accounts(&host, &data, &stop));
        for _ in 0..3 {
            let before = count(&answered);
            until("calls are answered", || count(&answered) > before + 50);
            disk.fail();
            let before = count(&refused);
            until("calls are refused", || count(&refused) > before + 50);
            for path in ["/readyz", "/v2/health/ready"] {
                until("the host reports why it is not ready", || {
                    why(path).is_some_and(|why| why.contains("the host cannot"))
                });
            }
            until("no account is opened", || open(&host, &data, "late").status == 503);
            assert_eq!(get(&host, "/healthz"), 200);
            disk.mend();
            until("the host is ready again", || get(&host, "/readyz") == 200);
            assert_eq!(get(&host, "/v2/health/ready"), 200);
        }
        let before = count(&answered);
        until("calls are answered", || count(&answered) > before + 50);
        stop.store(true, Ordering::Relaxed);
        opening.join().expect("no panic")
    });
    assert!(open(&host, &data, "eve").status == 201, "the host opens accounts again");
    let answered = count(&answered);
    assert_eq!(used(&host, &zoe), answered, "as counted in memory");
    // The host may exit at any time, even while the disk fails.
    disk.fail();
    host.kill();
    let host = HostProcess::start(&data);
    assert_eq!(used(&host, &zoe), answered, "as read back from the receipts");
    assert!(!opened.is_empty(), "no account was opened");
    let token = std::fs::read_to_string(data.join("operator.token")).expect("written");
    let is_lost = |name: &&String| {
        let request = Request::new("GET", format!("{}/accounts/{name}", host.operator));
        request.bearer(token.trim()).send().status != 200
    };
    let lost = opened.iter().filter(is_lost);
    assert_eq!(lost.collect::<Vec<_>>(), [""; 0], "opened accounts are lost");
}
