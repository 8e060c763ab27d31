//! What the machine has for this process.

use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Bytes that are assumed where the system does not say how much memory there is.
const UNKNOWN_BYTES: u64 = 2 << 30;

/// Most files that connections leave to the rest of the process: to the operator, its records, its log, its workers and uploads.
const FILES_RESERVED_MAX: usize = 512;

/// Lets this process have as many files open as it may ask for: what a shell gives is often 1,024.
pub fn raise_files_max() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // Where that is not possible, connections have less room.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}

/// Connections that may be open at once without taking the files that everything else needs: half of what this process may have open,
/// or all but 512.
pub fn connections_max() -> usize {
    unreserved(files())
}

/// Files that those connections leave to everything else.
pub fn files_reserved() -> usize {
    reserved(files())
}

/// Files that this process may have open; none if as many as it likes.
pub fn files_max() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Files that it needs so that it can have so many connections.
pub fn files_for(connections: usize) -> usize {
    connections.saturating_add(FILES_RESERVED_MAX)
}

/// Bytes that each of its files may have; none if as many as it likes.
pub fn file_bytes_max() -> Option<u64> {
    getrlimit(Resource::Fsize).current
}

/// Bytes of address space that it may have; none if as many as it likes.
pub fn address_bytes_max() -> Option<u64> {
    getrlimit(Resource::As).current
}

/// Processes and threads that its user or its control group may have, whichever is less; none if as many as it likes.
pub fn tasks_max() -> Option<u64> {
    let is_root = rustix::process::geteuid().is_root();
    // The kernel does not hold root to it. See getrlimit(2).
    let of_user = getrlimit(Resource::Nproc).current.filter(|_| !is_root);
    group_limits("pids.max").into_iter().chain(of_user).min()
}

fn files() -> usize {
    files_max().and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX)
}

fn unreserved(files: usize) -> usize {
    (files - reserved(files)).max(1)
}

fn reserved(files: usize) -> usize {
    (files / 2).min(FILES_RESERVED_MAX)
}

/// Bytes of memory that this process may have: the machine's, or less where a control group says so.
pub fn memory_bytes() -> u64 {
    let machine = std::fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.as_deref().and_then(total).unwrap_or(UNKNOWN_BYTES);
    group_limits("memory.max").into_iter().fold(machine, u64::min)
}

/// Memory mappings that the kernel allows a process. See sysctl(5), `vm.max_map_count`.
pub fn mappings_max() -> u64 {
    /// The kernel's own default.
    const UNKNOWN: u64 = 65_530;
    let text = std::fs::read_to_string("/proc/sys/vm/max_map_count").ok();
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(UNKNOWN)
}

/// The limits of this name of the process's control group and of those above it.
fn group_limits(name: &str) -> Vec<u64> {
    let groups = std::fs::read_to_string(OWN_GROUPS).ok();
    let own = groups.as_deref().and_then(|groups| own_group(groups, ""));
    own.map(|own| limits(Path::new("/sys/fs/cgroup"), &own, name)).unwrap_or_default()
}

/// The machine's, as `/proc/meminfo` says it.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kib.checked_mul(1024)
}

/// The file that lists this process's control groups.
pub const OWN_GROUPS: &str = "/proc/self/cgroup";

/// This process's control group for a controller, from the text of [`OWN_GROUPS`]; that of version 2 if `controller` is empty. The path
/// begins with `/` and is the one within the tree of groups. See cgroups(7).
pub fn own_group(groups: &str, controller: &str) -> Option<PathBuf> {
    groups.lines().find_map(|line| {
        let (number, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let is_it = match controller {
            "" => number == "0" && controllers.is_empty(),
            named => controllers.split(',').any(|one| one == named),
        };
        (is_it && path.starts_with('/')).then(|| PathBuf::from(path))
    })
}

/// The limits of the group and of those above it.
fn limits(root: &Path, own: &Path, name: &str) -> Vec<u64> {
    let limit = |group: &Path| {
        let text = std::fs::read_to_string(root.join(group).join(name)).ok()?;
        text.trim().parse().ok() // or `max`
    };
    own.strip_prefix("/").unwrap_or(own).ancestors().filter_map(limit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_limit_counts() {
        let folder = tempfile::tempdir().expect("a directory");
        let inner = folder.path().join("outer/inner");
        std::fs::create_dir_all(&inner).expect("made");
        std::fs::write(inner.join("memory.max"), "max\n").expect("written");
        std::fs::write(folder.path().join("outer/memory.max"), "536870912\n").expect("written");
        let own = own_group("1:name=systemd:/x\n0::/outer/inner\n", "").expect("version 2");
        assert_eq!(limits(folder.path(), &own, "memory.max"), [536_870_912]);
        assert_eq!(own_group("12:memory:/x\n", ""), None);
    }

    const UNIFIED: &str = "0::/system.slice/hospes.service/host\n";
    const LEGACY: &str = "9:name=systemd:/\n8:pids:/\n4:memory:/a/b:c\n3:cpu,cpuacct:/d\n0::/\n";

    #[test]
    fn the_groups_of_this_process_are_read_in_both_versions() {
        let found =
            |groups, controller| own_group(groups, controller).map(|p| p.display().to_string());
        assert_eq!(found(UNIFIED, "").as_deref(), Some("/system.slice/hospes.service/host"));
        assert_eq!(found(UNIFIED, "memory"), None);
        assert_eq!(found(LEGACY, "").as_deref(), Some("/"));
        assert_eq!(found(LEGACY, "memory").as_deref(), Some("/a/b:c"));
        assert_eq!(found(LEGACY, "pids").as_deref(), Some("/"));
        assert_eq!(found(LEGACY, "cpuacct").as_deref(), Some("/d"));
        for other in ["", "0:", "0::", "::", "x\n0:memory:relative"] {
            let both = (own_group(other, ""), own_group(other, "memory"));
            assert_eq!(both, (None, None), "{other:?}");
        }
    }

    #[test]
    fn connections_leave_files_to_the_rest() {
        assert_eq!([0, 1, 100, 1024, 20_000].map(unreserved), [1, 1, 50, 512, 19_488]);
        assert!(connections_max() >= 1);
    }

    #[test]
    fn the_machine_says_what_it_has() {
        let text = "MemFree: 1 kB\nMemTotal:       8131932 kB\n";
        assert_eq!(total(text), Some(8_131_932 * 1024));
        assert!(memory_bytes() > 64 << 20);
    }
}
