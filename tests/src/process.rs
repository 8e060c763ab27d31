//! The `hospes` binary as a separate process, for tests that kill it or use its command line.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use hospes::id::{Digest, ModelName};
use serde_json::Value;

use crate::bundles::workspace;
use crate::{Party, Request, terms};

/// The resources of a host and its workers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Bytes of memory.
    pub resident: u64,
    pub descriptors: usize,
    pub processes: usize,
}

fn held(process: u32) -> Option<(u64, usize)> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let resident: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    let descriptors = std::fs::read_dir(format!("/proc/{process}/fd")).ok()?.count();
    Some((resident * 1024, descriptors))
}

/// Scans `/proc` because not every kernel has the `children` file.
fn children(parent: u32) -> Vec<u32> {
    let all = std::fs::read_dir("/proc")
        .expect("readable")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let is_child = |process: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        // The name before it may contain anything.
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        rest.split(' ').nth(2) == Some(&parent.to_string())
    };
    all.filter(is_child).collect()
}

/// A host in its own process. Killed when dropped.
pub struct HostProcess {
    child: Child,
    pub address: String,
    pub operator: String,
    pub party: String,
}

impl HostProcess {
    /// The path of the binary, which is beside those of the tests.
    ///
    /// # Panics
    /// If it does not exist.
    pub fn program() -> PathBuf {
        program("hospes")
    }

    /// A command that runs the binary.
    pub fn command() -> Command {
        Command::new(Self::program())
    }

    /// Runs a command until it exits.
    pub fn run(arguments: &[&str]) -> Output {
        Self::command().args(arguments).current_dir(workspace()).output().expect("it runs")
    }

    /// Starts a host on `data`, on free ports, and waits until it is ready.
    ///
    /// # Panics
    /// If it does not become ready.
    pub fn start(data: &Path) -> Self {
        Self::start_with(data, "")
    }

    /// The same with these settings, as TOML.
    ///
    /// # Panics
    /// As [`HostProcess::start`].
    pub fn start_with(data: &Path, settings: &str) -> Self {
        Self::started(Self::serve(&mut Self::command(), data, ["127.0.0.1:0"; 2], settings))
    }

    /// Spawns a command that runs a host with `--json` and waits until it is ready.
    ///
    /// # Panics
    /// If it does not become ready.
    pub fn ready(mut command: Command) -> Self {
        Self::started(command.stdout(Stdio::piped()).spawn().expect("it starts"))
    }

    fn started(mut child: Child) -> Self {
        let mut text = String::new();
        let mut lines = BufReader::new(child.stdout.take().expect("piped"));
        // The output is one JSON document; a part of it does not parse.
        let ready: Value = loop {
            let read = lines.read_line(&mut text).expect("readable");
            assert!(read > 0, "the host ended before it was ready: {text}");
            if let Ok(ready) = serde_json::from_str(&text) {
                break ready;
            }
        };
        let member = |name: &str| ready[name].as_str().expect("text").to_owned();
        let (address, operator) = (member("address"), member("operator_address"));
        Self { child, address, operator, party: member("party") }
    }

    /// Starts a host whose files may not grow beyond `file_bytes_max`, without waiting until it is
    /// ready.
    ///
    /// # Panics
    /// If there are no free ports.
    pub fn begin(data: &Path, file_bytes_max: Option<u64>) -> Self {
        let ports = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let [address, operator] = ports.map(|port| port.local_addr().expect("bound").to_string());
        let mut command = match file_bytes_max {
            Some(bytes) => {
                let mut limited = Command::new("prlimit");
                limited.arg(format!("--fsize={bytes}:")).arg(Self::command().get_program());
                limited
            }
            None => Self::command(),
        };
        let child = Self::serve(&mut command, data, [&address, &operator], "");
        let url = |address| format!("http://{address}");
        Self { child, address: url(address), operator: url(operator), party: String::new() }
    }

    fn serve(
        command: &mut Command,
        data: &Path,
        [address, operator]: [&str; 2],
        settings: &str,
    ) -> Child {
        command.args(["--json", "serve", "--listen", address, "--operator-listen", operator]);
        if !settings.is_empty() {
            let path = data.with_extension("toml");
            std::fs::write(&path, settings).expect("written");
            command.arg("--config").arg(path);
        }
        let command = command.arg("--data").arg(data);
        command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts")
    }

    /// Sends it a signal, such as `TERM`.
    ///
    /// # Panics
    /// If that fails.
    pub fn signal(&self, name: &str) {
        let mut kill = Command::new("kill");
        let sent = kill.args([format!("-{name}"), self.id().to_string()]);
        assert!(sent.status().expect("it runs").success(), "SIG{name} was not sent");
    }

    /// A command that runs a host on `data`, on free ports.
    pub fn serving(data: &Path) -> Command {
        let mut command = Self::command();
        command.args(["--json", "serve", "--listen", "127.0.0.1:0"]);
        command.args(["--operator-listen", "127.0.0.1:0", "--data"]).arg(data);
        command.stderr(Stdio::null());
        command
    }

    /// Starts a host that may have `files` files open.
    ///
    /// # Panics
    /// If it does not become ready.
    pub fn with_files(data: &Path, files: usize) -> Self {
        let serving = Self::serving(data);
        let mut limited = Command::new("prlimit");
        limited.arg(format!("--nofile={files}:{files}")).arg(serving.get_program());
        limited.args(serving.get_args());
        Self::ready(limited)
    }

    /// Opens an account for the party with this name.
    ///
    /// # Panics
    /// If it is refused.
    pub fn party(&self, data: &Path, name: &str) -> Party {
        let token = std::fs::read_to_string(data.join("operator.token")).expect("it exists");
        let key = Party::key_of(name);
        let wanted = serde_json::json!({"name": name, "party": key.party()}).to_string();
        let request = Request::new("POST", format!("{}/accounts", self.operator));
        let opened = request.bearer(token.trim()).json(&wanted).send().ok().json();
        let api_key = opened["key"].as_str().expect("a key").to_owned();
        Party { name: name.into(), key, api_key }
    }

    /// Publishes a bundle of `publisher` and signs an agreement on one of its functions for both.
    ///
    /// # Panics
    /// If any request is refused.
    pub fn agree(&self, (publisher, consumer): (&Party, &Party), bundle: &[u8], function: &str) {
        let published = self.publish(publisher, bundle);
        self.agree_to((publisher, consumer), &published, &[function]);
    }

    /// Signs a bundle and publishes it. Returns its model and digest.
    ///
    /// # Panics
    /// If it is refused.
    pub fn publish(&self, publisher: &Party, bundle: &[u8]) -> (ModelName, Digest) {
        let published = self.post("/api/bundles", publisher, publisher.sign(bundle));
        let text = |member: &str| published[member].as_str().expect("text").to_owned();
        (text("model").parse().expect("a model"), text("digest").parse().expect("a digest"))
    }

    /// Signs an agreement on functions of a published bundle for both.
    ///
    /// # Panics
    /// If any request is refused.
    pub fn agree_to(
        &self,
        (publisher, consumer): (&Party, &Party),
        (model, digest): &(ModelName, Digest),
        functions: &[&str],
    ) {
        let functions = functions.iter().map(|function| terms(function)).collect();
        let offer = publisher.offer(model, *digest, functions);
        self.post("/api/offers", publisher, offer.to_bytes());
        let mut proposal = consumer.accept(&offer);
        proposal.add_signature(&publisher.key).expect("the publisher");
        let agreed = self.post("/api/agreements", consumer, proposal.to_bytes());
        assert_eq!(agreed["state"], "active", "{agreed}");
    }

    fn post(&self, path: &str, party: &Party, bytes: Vec<u8>) -> Value {
        let request = Request::new("POST", format!("{}{path}", self.address));
        request.bearer(&party.api_key).octets(bytes).send().ok().json()
    }

    /// What it and its workers use, according to the kernel.
    ///
    /// # Panics
    /// If it has ended.
    pub fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        let mut left = vec![self.id()];
        while let Some(process) = left.pop() {
            // A worker may exit while it is inspected.
            let Some((resident, descriptors)) = held(process) else { continue };
            usage.processes += 1;
            usage.resident += resident;
            usage.descriptors += descriptors;
            left.extend(children(process));
        }
        assert!(usage.processes > 0, "the host has ended");
        usage
    }

    /// The addresses of the public and the operator's listener.
    ///
    /// # Panics
    /// If the host did not report them.
    pub fn listeners(&self) -> [SocketAddr; 2] {
        [&self.address, &self.operator]
            .map(|url| url.trim_start_matches("http://").parse().expect("an address"))
    }

    /// The process ID.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it exits.
    ///
    /// # Panics
    /// If there is nothing to wait for.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        self.child.wait().expect("a child of this process")
    }

    /// Kills it with SIGKILL and waits until it exits.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for HostProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The path of the malicious worker.
///
/// # Panics
///
/// If it is missing; the message says what to do.
pub fn hostile_worker() -> PathBuf {
    program("hostile-worker")
}

/// The path of the program that runs another as on a kernel without Landlock.
///
/// # Panics
///
/// If it is missing; the message says what to do.
pub fn without_landlock() -> PathBuf {
    program("without-landlock")
}

/// The path of the host of a later version.
///
/// # Panics
///
/// If it is missing; the message says what to do.
pub fn later_host() -> PathBuf {
    program("later-host")
}

/// A program of this workspace, found beside the running one, or above it if that is a test.
fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a path");
    let folder = own.parent().expect("a folder");
    let folder =
        if folder.ends_with("deps") { folder.parent().expect("a parent folder") } else { folder };
    let program = folder.join(name);
    assert!(program.is_file(), "`{}` is missing: build the binaries first", program.display());
    program
}
