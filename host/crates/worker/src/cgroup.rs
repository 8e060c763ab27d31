//! A control group per worker: a kernel limit on all that it holds, including what its address space does not count, and a count of OOM
//! kills.
//!
//! Groups are made only where the host was given part of the tree: in a group that systemd marks as delegated (`Delegate=yes`), or in a
//! container's root group. Root's ability to write everywhere is no permission: the machine's root group is the system's, and every other
//! belongs to its creator.
//! Elsewhere workers run without groups, and [`missing`] says why.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hospes_config::machine::{OWN_GROUPS, own_group};
use rustix::process::{Pid, test_kill_process};

use super::Limits;

/// Name prefix of groups; the host's process and a number follow.
const PREFIX: &str = "hospes-worker-";

/// The subgroup that the host moves into if it is in the group that it divides: version 2 permits either groups or processes in one.
const OWN_LEAF: &str = "hospes-host";

/// The required controllers.
const CONTROLLERS: [&str; 2] = ["memory", "pids"];

/// Maximum bytes read of a file: a machine with many mounts lists them all.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Maximum groups examined when removing those of earlier hosts.
const LISTED_MAX: usize = 100_000;

/// A process that has just ended may still count briefly.
const REMOVE_TRIES: u32 = 10;
const REMOVE_PAUSE: Duration = Duration::from_millis(1);

/// What a worker may map before it is confined and use afterwards: this program, libraries, and the GiB that mimalloc reserves at once.
const PROGRAM_BYTES: u64 = 1536 << 20;
/// The same per thread: a stack, and what the C library reserves for its allocator.
const THREAD_BYTES: u64 = 128 << 20;

/// Threads besides the computing ones and libraries' own.
const OTHER_TASKS: u64 = 32;

/// Limits of a worker's group: above what a worker within its own limits can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Bytes of memory, including the kernel's for it.
    pub memory_bytes_max: u64,
    /// Processes and threads.
    pub tasks_max: u64,
}

impl Share {
    /// For a worker with these limits, this much memory shared with its host, and this many computing threads.
    pub fn new(limits: &Limits, shared_bytes: u64, threads: u64) -> Self {
        let parts = [
            limits.memory_bytes_max,
            limits.file_bytes_max,
            shared_bytes,
            PROGRAM_BYTES,
            THREAD_BYTES.saturating_mul(threads),
        ];
        Self {
            // The kernel accepts no larger value; no machine has it.
            memory_bytes_max: parts.into_iter().fold(0, u64::saturating_add).min(1 << 60),
            tasks_max: threads.saturating_mul(2).saturating_add(OTHER_TASKS).min(1 << 20),
        }
    }
}

/// Why workers have no groups of their own, as text for [`super::Confinement`]; `None` if they have.
pub fn missing() -> Option<String> {
    tree().err().map(|why| format!("cgroup: {why}"))
}

/// Where this host makes groups. Determined once.
fn tree() -> Result<&'static Tree, &'static str> {
    static TREE: OnceLock<Result<Tree, String>> = OnceLock::new();
    TREE.get_or_init(Tree::look).as_ref().map_err(String::as_str)
}

/// Numbers this host's groups.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// The folders in which groups are made.
#[derive(Debug, PartialEq, Eq)]
enum Tree {
    Unified(PathBuf),
    /// Version 1 has a tree per controller, or one for several.
    Legacy {
        memory: PathBuf,
        pids: PathBuf,
    },
}

impl Tree {
    /// Finds the folders, removes groups left by killed hosts, and tries to make one.
    fn look() -> Result<Self, String> {
        let groups = text(Path::new(OWN_GROUPS))?;
        let mounts = text(Path::new("/proc/self/mountinfo"))?;
        let tree = Self::find(&groups, &mounts)?;
        for folder in tree.folders() {
            sweep(folder);
        }
        let trial = Share { memory_bytes_max: PROGRAM_BYTES, tasks_max: OTHER_TASKS };
        Group::new(&tree, trial)?;
        Ok(tree)
    }

    fn find(groups: &str, mounts: &str) -> Result<Self, String> {
        if let (Some(own), Some(mount)) = (own_group(groups, ""), Mount::of(mounts, "")) {
            let folder = mount.folder(&own)?;
            // Next to version 1 it has none of them. (A group may also lack them because its parent has not enabled them yet.)
            if has(&mount.at.join("cgroup.controllers"), &CONTROLLERS)? {
                return divisible(&own, &folder).map(Self::Unified);
            }
        }
        let [memory, pids] = CONTROLLERS.map(|controller| {
            let lacking = || format!("this machine has no cgroup controller `{controller}`");
            let own = own_group(groups, controller).ok_or_else(lacking)?;
            let folder = Mount::of(mounts, controller).ok_or_else(lacking)?.folder(&own)?;
            if is_given(&own, &folder) { Ok(folder) } else { Err(not_delegated(&own)) }
        });
        Ok(Self::Legacy { memory: memory?, pids: pids? })
    }

    fn folders(&self) -> Vec<&Path> {
        match self {
            Self::Unified(folder) => vec![folder],
            Self::Legacy { memory, pids } if memory == pids => vec![memory],
            Self::Legacy { memory, pids } => vec![memory, pids],
        }
    }
}

fn not_delegated(own: &Path) -> String {
    format!("this host's group `{}` is not delegated to it", own.display())
}

/// The group in which others can be made, with controllers enabled: the host's own or its parent, whichever was delegated.
fn divisible(own: &Path, folder: &Path) -> Result<PathBuf, String> {
    // Only the machine's root group has no type.
    let is_typed = |folder: &Path| folder.join("cgroup.type").exists();
    let is_root = own == Path::new("/") && is_typed(folder);
    // A host started by one that has already moved down, as by `podman exec`, is there too.
    let is_leaf = own == Path::new("/").join(OWN_LEAF);
    // A service manager was given its group for its services, as each user's is, not for us.
    let is_managed = |folder: &Path| folder.join("init.scope").exists();
    let is_above =
        |above: &Path| !is_managed(above) && ((is_leaf && is_typed(above)) || is_delegated(above));
    let above = own.parent().and(folder.parent()).filter(|above| is_above(above));
    let folder = match above {
        _ if is_root || is_delegated(folder) => folder,
        Some(above) => above,
        None => return Err(not_delegated(own)),
    };
    let controllers = folder.join("cgroup.controllers");
    if !has(&controllers, &CONTROLLERS)? {
        return Err(format!("`{}` lacks `memory` or `pids`", controllers.display()));
    }
    let control = folder.join("cgroup.subtree_control");
    if !has(&control, &CONTROLLERS)? {
        // The machine's root group may have both.
        if above != Some(folder) && is_typed(folder) {
            go_down(own, folder)?;
        }
        write(&control, "+memory +pids")?;
    }
    Ok(folder.to_owned())
}

/// Moves this process into a subgroup, if it is the only one here.
fn go_down(own: &Path, folder: &Path) -> Result<(), String> {
    let process = std::process::id().to_string();
    if text(&folder.join("cgroup.procs"))?.lines().any(|other| other != process) {
        return Err(format!("the group `{}` has other processes too", own.display()));
    }
    let leaf = folder.join(OWN_LEAF);
    match std::fs::create_dir(&leaf) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(failed(&leaf, &error)),
        _ => write(&leaf.join("cgroup.procs"), &process),
    }
}

/// Whether systemd, or an administrator in the same way, has delegated this group.
fn is_delegated(folder: &Path) -> bool {
    ["user.delegate", "trusted.delegate"].iter().any(|name| {
        let mut value = [0; 8];
        let length = rustix::fs::getxattr(folder, *name, value.as_mut_slice());
        length.is_ok_and(|length| value.get(..length) == Some(b"1"))
    })
}

/// Whether this version 1 group was delegated to the host. Only the machine's root group has an agent.
fn is_given(own: &Path, folder: &Path) -> bool {
    let is_first = own == Path::new("/");
    let is_agent_s = || folder.join("release_agent").exists();
    is_delegated(folder) || if is_first { !is_agent_s() } else { belongs_to_user(folder) }
}

/// Whether this version 1 group was delegated to the host's user: root owns them all anyway.
fn belongs_to_user(folder: &Path) -> bool {
    let user = rustix::process::geteuid();
    !user.is_root() && std::fs::metadata(folder).is_ok_and(|found| found.uid() == user.as_raw())
}

/// A mount of a group tree.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    /// The mounted part of the tree.
    root: PathBuf,
    at: PathBuf,
}

impl Mount {
    /// The mount of this controller's tree, or of version 2 if it is empty. See proc_pid_mountinfo(5).
    fn of(mounts: &str, controller: &str) -> Option<Self> {
        mounts.lines().find_map(|line| {
            let (place, kind) = line.split_once(" - ")?;
            let mut kind = kind.split(' ');
            let is_it = match (kind.next()?, controller) {
                ("cgroup2", "") => true,
                ("cgroup", named) if !named.is_empty() => {
                    kind.next_back()?.split(',').any(|option| option == named)
                }
                _ => false,
            };
            // A path with spaces is escaped: groups are mounted at none.
            let mut place = place.split(' ').skip(3).take(2).filter(|path| !path.contains('\\'));
            let (root, at) = (place.next()?.into(), place.next()?.into());
            is_it.then_some(Self { root, at })
        })
    }

    /// The path of a group in this mount.
    fn folder(&self, group: &Path) -> Result<PathBuf, String> {
        let below = group.strip_prefix(&self.root).ok();
        let below = below.filter(|below| !below.components().any(|part| part.as_os_str() == ".."));
        let below =
            below.ok_or_else(|| format!("the group `{}` cannot be seen here", group.display()))?;
        // Without a trailing slash, which would confuse `parent`.
        Ok(self.at.components().chain(below.components()).collect())
    }
}

/// Removes groups of hosts that ended without doing so. This host has none yet.
fn sweep(folder: &Path) {
    let Ok(listed) = std::fs::read_dir(folder) else { return };
    for entry in listed.take(LISTED_MAX).flatten() {
        if entry.file_name().to_str().and_then(maker).is_some_and(is_gone) {
            // The worker may still be ending; the next host finds it.
            let _ = std::fs::remove_dir(entry.path());
        }
    }
}

/// The process that made a group of this name, if a host did.
fn maker(name: &str) -> Option<u32> {
    let (process, number) = name.strip_prefix(PREFIX)?.split_once('-')?;
    number.parse::<u64>().ok()?;
    process.parse().ok()
}

fn is_gone(process: u32) -> bool {
    let number = i32::try_from(process).ok().and_then(Pid::from_raw);
    let gone = |number| test_kill_process(number) == Err(rustix::io::Errno::SRCH);
    process == std::process::id() || number.is_some_and(gone)
}

/// One worker's group. Removed when dropped, after the worker has ended.
#[derive(Debug)]
pub(super) struct Group {
    /// One, or one per controller.
    folders: Vec<PathBuf>,
    /// The file that counts OOM kills in it.
    events: PathBuf,
}

impl Group {
    /// A group for a worker of this host, if it makes groups.
    ///
    /// # Errors
    /// The system's error.
    pub(super) fn of_host(share: Share) -> Result<Option<Self>, String> {
        tree().ok().map(|tree| Self::new(tree, share)).transpose()
    }

    fn new(tree: &Tree, share: Share) -> Result<Self, String> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        let mut group = Self { folders: Vec::new(), events: PathBuf::new() };
        for folder in tree.folders() {
            let folder = folder.join(&name);
            std::fs::create_dir(&folder).map_err(|error| failed(&folder, &error))?;
            // From here on it is removed on failure.
            group.folders.push(folder);
        }
        let bytes = share.memory_bytes_max.to_string();
        let pids = match tree {
            Tree::Unified(folder) => {
                let folder = folder.join(&name);
                write(&folder.join("memory.max"), &bytes)?;
                write_if_there(&folder.join("memory.swap.max"), "0")?;
                group.events = folder.join("memory.events");
                folder
            }
            Tree::Legacy { memory, pids } => {
                let folder = memory.join(&name);
                write(&folder.join("memory.limit_in_bytes"), &bytes)?;
                // Memory and swap together, so there is no swap.
                write_if_there(&folder.join("memory.memsw.limit_in_bytes"), &bytes)?;
                group.events = folder.join("memory.oom_control");
                pids.join(&name)
            }
        };
        write(&pids.join("pids.max"), &share.tasks_max.to_string())?;
        Ok(group)
    }

    /// Moves a process into it.
    ///
    /// # Errors
    /// The system's error.
    pub(super) fn add(&self, process: u32) -> Result<(), String> {
        let process = process.to_string();
        self.folders.iter().try_for_each(|folder| write(&folder.join("cgroup.procs"), &process))
    }

    /// How often the kernel killed a process in it for lack of memory; `None` if unknown.
    pub(super) fn ended_for_memory(&self) -> Option<u64> {
        count(&text(&self.events).ok()?)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let mut left = std::mem::take(&mut self.folders);
        left.retain(|folder| std::fs::remove_dir(folder).is_err());
        if left.is_empty() {
            return;
        }
        // Serving threads do not wait.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || remove_all(&left))),
            Err(_none) => remove_all(&left),
        }
    }
}

/// The count in the lines of `memory.events`, or of `memory.oom_control`.
fn count(events: &str) -> Option<u64> {
    events.lines().find_map(|line| line.strip_prefix("oom_kill "))?.parse().ok()
}

fn remove_all(folders: &[PathBuf]) {
    for folder in folders {
        if let Err(error) = remove(folder) {
            tracing::warn!(group = %folder.display(), %error, "a worker's control group could not be removed; the next start removes it");
        }
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    let mut tries = 1;
    loop {
        match std::fs::remove_dir(folder) {
            Err(error) if error.kind() == ErrorKind::ResourceBusy && tries < REMOVE_TRIES => {
                tries += 1;
                std::thread::sleep(REMOVE_PAUSE);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            done => return done,
        }
    }
}

fn failed(path: &Path, error: &io::Error) -> String {
    format!("`{}`: {error}", path.display())
}

fn text(path: &Path) -> Result<String, String> {
    let mut text = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| failed(path, &error))?;
    file.take(FILE_BYTES_MAX).read_to_end(&mut text).map_err(|error| failed(path, &error))?;
    // Any user of the machine may mount something at a path that is not UTF-8.
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Whether a list in a file contains all of these.
fn has(list: &Path, wanted: &[&str]) -> Result<bool, String> {
    let list = text(list)?;
    Ok(wanted.iter().all(|name| list.split_whitespace().any(|listed| listed == *name)))
}

/// Never creates a file: the kernel creates those of a group.
fn write(path: &Path, value: &str) -> Result<(), String> {
    let mut file =
        OpenOptions::new().write(true).open(path).map_err(|error| failed(path, &error))?;
    // In one call, as the kernel requires.
    file.write_all(value.as_bytes()).map_err(|error| failed(path, &error))
}

/// Kernels that do not count swap have no file for it.
fn write_if_there(path: &Path, value: &str) -> Result<(), String> {
    if path.exists() { write(path, value) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_below_where_their_tree_is_mounted() {
        let mounts = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
            35 31 0:32 /docker/x /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n\
            36 31 0:33 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        let folder = |controller, group: &str| {
            let found = Mount::of(mounts, controller)?.folder(Path::new(group));
            Some(found.map(|path| path.display().to_string()))
        };
        let at = |path: &str| Some(Ok(path.to_owned()));
        assert_eq!(folder("", "/"), at("/sys/fs/cgroup/unified"));
        assert_eq!(folder("", "/a/b"), at("/sys/fs/cgroup/unified/a/b"));
        assert_eq!(folder("cpuacct", "/c"), at("/sys/fs/cgroup/cpu/c"));
        assert_eq!(folder("memory", "/docker/x/y"), at("/sys/fs/cgroup/memory/y"));
        // Not in this container's part of the tree.
        for unseen in ["/docker", "/docker/x/../y", "/../z"] {
            assert!(folder("memory", unseen).expect("mounted").is_err(), "{unseen}");
        }
        assert_eq!(folder("pids", "/"), None);
        assert_eq!(Mount::of("1 2 3\n - cgroup2\n1 2 3 / - cgroup2 x y", ""), None);
        let strange = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(strange.path(), b"9 1 0:9 / /home/\xff - fuse x y\n0::/a\n")
            .expect("written");
        let read = text(strange.path()).expect("what others are called is no matter");
        assert_eq!(own_group(&read, ""), Some("/a".into()));
    }

    #[test]
    fn only_hosts_groups_are_removed_and_only_of_those_that_have_gone() {
        assert_eq!(maker("hospes-worker-71-0"), Some(71));
        for other in
            ["hospes-host", "hospes-worker-71", "hospes-worker-71-x", "x-hospes-worker-1-1"]
        {
            assert_eq!(maker(other), None, "{other}");
        }
        // What a process of this number made is older than this process; and the first process always runs.
        assert!(is_gone(std::process::id()) && !is_gone(1) && !is_gone(0) && !is_gone(u32::MAX));
    }

    #[test]
    fn a_group_holds_all_that_its_worker_s_own_limits_permit() {
        let limits = Limits { memory_bytes_max: 1 << 32, file_bytes_max: 5, cpu_max: None };
        let share = Share::new(&limits, 7, 4);
        assert_eq!(share.memory_bytes_max, (1 << 32) + 5 + 7 + PROGRAM_BYTES + 4 * THREAD_BYTES);
        assert_eq!(share.tasks_max, 40);
        let endless = Limits { memory_bytes_max: u64::MAX, ..limits };
        assert_eq!(Share::new(&endless, u64::MAX, u64::MAX).memory_bytes_max, 1 << 60);
    }

    #[test]
    fn what_the_kernel_ended_is_counted_in_both_versions() {
        assert_eq!(count("low 0\nhigh 0\nmax 61\noom 2\noom_kill 1\noom_group_kill 0\n"), Some(1));
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\noom_kill 0\n"), Some(0));
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\n"), None);
    }

    #[test]
    fn a_group_is_divided_only_if_it_was_given_away_and_nobody_else_is_in_it() {
        let folder = tempfile::tempdir().expect("a directory");
        let (folder, own) = (folder.path(), Path::new("/unit"));
        let file = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, text).expect("written");
        };
        file("cgroup.type", "domain");
        file("cgroup.controllers", "cpu memory pids\n");
        file("cgroup.subtree_control", "");
        file("cgroup.procs", &format!("{}\n1\n", std::process::id()));
        file("hospes-host/cgroup.procs", "");
        file("host/cgroup.procs", "");
        let below = |name: &str| divisible(&own.join(name), &folder.join(name));
        for refused in [divisible(own, folder), below("host"), below("hospes-host")] {
            assert!(refused.expect_err("nobody's").contains("is not delegated"));
        }
        let (name, flags) = ("user.delegate", rustix::fs::XattrFlags::empty());
        if rustix::fs::setxattr(folder, name, b"1", flags).is_err() {
            return; // Folders have none here; the kernel's groups do.
        }
        let refused = divisible(own, folder).expect_err("not alone");
        assert!(refused.contains("the group `/unit` has other processes"), "{refused}");
        // Who is below finds it as it is. (The file keeps what is written, as the kernel does in its way.)
        assert_eq!(below("host").as_deref(), Ok(folder));
        file("cgroup.subtree_control", "");
        file("cgroup.procs", &format!("{}\n", std::process::id()));
        assert_eq!(divisible(own, folder).as_deref(), Ok(folder));
        let moved = std::fs::read_to_string(folder.join("hospes-host/cgroup.procs"));
        assert_eq!(moved.expect("readable"), std::process::id().to_string());
        file("init.scope/cgroup.procs", "");
        assert!(below("host").expect_err("systemd's").contains("is not delegated"));
        std::fs::remove_dir_all(folder.join("init.scope")).expect("removed");
        file("cgroup.controllers", "cpu memory\n");
        assert!(divisible(own, folder).expect_err("one is lacking").contains("`pids`"));
    }

    #[test]
    fn the_machine_s_first_group_is_nobody_s_even_if_root_can_write_there() {
        let folder = tempfile::tempdir().expect("a directory");
        let at = folder.path().display();
        let mounts = format!("1 0 0:1 / {at} rw - cgroup cgroup rw,memory,pids\n");
        let found = || Tree::find("1:memory,pids:/\n", &mounts);
        let given = || folder.path().to_owned();
        assert_eq!(found(), Ok(Tree::Legacy { memory: given(), pids: given() }), "a container's");
        std::fs::write(folder.path().join("release_agent"), "").expect("written");
        assert!(found().expect_err("the machine's").contains("is not delegated"));
        for name in ["cgroup.controllers", "cgroup.subtree_control"] {
            std::fs::write(folder.path().join(name), "memory pids\n").expect("written");
        }
        let first = || divisible(Path::new("/"), folder.path());
        assert!(first().expect_err("the machine's").contains("is not delegated"));
        let leaf = folder.path().join(OWN_LEAF);
        assert!(divisible(&Path::new("/").join(OWN_LEAF), &leaf).is_err());
        std::fs::write(folder.path().join("cgroup.type"), "domain").expect("written");
        assert_eq!(first(), Ok(given()), "a container's");
        assert_eq!(divisible(&Path::new("/").join(OWN_LEAF), &leaf), Ok(given()));
    }

    /// Runs where groups can be made; elsewhere it says why not, and workers run without.
    #[test]
    fn a_group_ends_whom_it_holds_when_memory_runs_out_and_goes_away() {
        let share = Share { memory_bytes_max: 32 << 20, tasks_max: 8 };
        let Some(group) = Group::of_host(share).expect("made") else {
            let why = missing().expect("why not");
            assert!(why.starts_with("cgroup: ") && why.len() > 20, "{why}");
            return;
        };
        assert_eq!((missing(), group.ended_for_memory()), (None, Some(0)));
        let mut child = std::process::Command::new("sh")
            .args(["-c", "read go; exec tail /dev/zero"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("it runs");
        group.add(child.id()).expect("added");
        let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", child.id()));
        assert!(groups.expect("readable").contains(PREFIX));
        drop(child.stdin.take());
        let status = child.wait().expect("it ends");
        assert!(!status.success());
        assert_eq!(group.ended_for_memory(), Some(1));
        let folders = group.folders.clone();
        drop(group);
        assert!(!folders.is_empty() && folders.iter().all(|folder| !folder.exists()));
    }
}
