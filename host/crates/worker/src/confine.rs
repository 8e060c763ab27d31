//! What a worker gives up before it reads anything foreign: files, network, other processes, privileges, unlimited memory.
//!
//! Each layer is there in case another has a hole. What the kernel does not support is reported, not ignored.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};
use std::time::Duration;

use hospes_confine::set_limit;
use landlock::{
    AccessFs, LandlockStatus, RulesetCreatedAttr as _, RulesetStatus, path_beneath_rules,
};
use rustix::process::Resource;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};
use serde::{Deserialize, Serialize};

use super::files;

/// The user that workers of a root host become: `nobody`.
const NOBODY: u32 = 65534;

/// Maximum open files of a worker.
const FILES_MAX: u64 = 32;

/// A worker's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of address space beyond what is mapped at confinement.
    pub memory_bytes_max: u64,
    /// Maximum size of a written file in bytes: memory files are not counted above.
    pub file_bytes_max: u64,
    /// Processor time; `None` for a long-lived worker.
    pub cpu_max: Option<Duration>,
}

/// What could not be given up, and why. Empty if all is well.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    pub missing: Vec<String>,
}

/// What is readable during an initialisation that may start threads: nothing, CPU features, and information about this process.
const READ_AT_BEGINNING: [&str; 4] =
    ["/dev/null", "/proc/cpuinfo", "/proc/self", "/sys/devices/system/cpu"];

/// Gives up what a worker does not need, and every open file except `keep` and the standard ones. Call it while the process has one thread;
/// later threads are confined too. If a library has started one already, this reports it: Landlock binds one thread, the system call filter
/// all.
pub fn confine(limits: Limits, keep: &[BorrowedFd<'_>]) -> Confinement {
    confine_with(limits, keep, (&[], NICE, || ())).0
}

/// The same around an initialisation that starts threads. Files, network and signals are given up before it, except [`READ_AT_BEGINNING`];
/// the rest afterwards on all threads, except Landlock's part. Threads that compute for long lower their priority by [`NICE_MORE`].
pub fn confine_around<T>(
    limits: Limits,
    keep: &[BorrowedFd<'_>],
    begin: impl FnOnce() -> T,
) -> (Confinement, T) {
    confine_with(limits, keep, (&READ_AT_BEGINNING, NICE - NICE_MORE, begin))
}

/// The same, with what is readable meanwhile. If that is nothing, no extra layer is needed.
fn confine_with<T>(
    limits: Limits,
    keep: &[BorrowedFd<'_>],
    (readable, nice, begin): (&[&str], i32, impl FnOnce() -> T),
) -> (Confinement, T) {
    let mut missing = Vec::new();
    let mut step = |what: &str, done: Result<(), String>| {
        if let Err(why) = done {
            missing.push(format!("{what}: {why}"));
        }
    };
    // When memory runs out, the kernel kills a worker rather than its host.
    step("threads", be_alone());
    // Like guest threads: serving threads come first.
    step("nice", rustix::process::nice(nice).map(drop).map_err(text));
    step("oom_score_adj", std::fs::write("/proc/self/oom_score_adj", "1000").map_err(text));
    let early = if readable.is_empty() { Ok(()) } else { landlock(readable) };
    let begun = begin();
    step("files", leave_files(keep));
    step("rlimits", rlimits(limits));
    step("landlock", early.and(landlock(&[])));
    step("user", leave_root());
    step("seccomp", seccomp());
    (Confinement { missing }, begun)
}

/// Added to the worker's nice value.
const NICE: i32 = 10;

/// The part of that which a worker that begins with [`confine_around`] leaves to its threads: a thread of lower value has three times the
/// share of a core.
const NICE_MORE: i32 = 5;

/// Lowers this thread's priority from that of [`confine_around`] to that of other workers. On Linux each thread has its own.
///
/// # Errors
/// If the system does not permit it. The thread then has more of the cores than it should.
pub fn be_nice() -> std::io::Result<()> {
    Ok(rustix::process::nice(NICE_MORE).map(drop)?)
}

/// From here on no thread or process can be started: the worker has all that it needs.
pub fn start_no_more_threads() {
    // Does not bind root; `seccomp` forbids processes in any case.
    let _ = limit(Resource::Nproc, 0);
}

/// Ends this process at once, whatever its other threads do: libraries' exit handlers could wait for them.
pub fn exit_now() -> ! {
    // SAFETY: it does not return, and a worker has nothing to flush.
    #[expect(unsafe_code, reason = "the standard library's exit runs foreign destructors")]
    unsafe {
        libc::_exit(0)
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn limit(resource: Resource, most: u64) -> Result<(), String> {
    set_limit(resource, most).map_err(text)
}

fn rlimits(limits: Limits) -> Result<(), String> {
    limit(Resource::Core, 0)?;
    limit(Resource::Nofile, FILES_MAX)?;
    limit(Resource::Fsize, limits.file_bytes_max)?;
    limit(Resource::As, mapped_bytes()?.saturating_add(limits.memory_bytes_max))?;
    limits.cpu_max.map_or(Ok(()), |max| limit(Resource::Cpu, max.as_secs().max(1)))
}

/// Landlock binds the calling thread.
fn be_alone() -> Result<(), String> {
    match std::fs::read_dir("/proc/self/task").map_err(text)?.count() {
        1 => Ok(()),
        threads => Err(format!("{threads} already run, but Landlock confines only one of them")),
    }
}

/// Libraries open files by themselves: ONNX Runtime opens a database in the user's home. Replace them by `/dev/null`.
fn leave_files(keep: &[BorrowedFd<'_>]) -> Result<(), String> {
    let nothing = std::fs::File::open("/dev/null").map_err(text)?;
    let listed = std::fs::read_dir("/proc/self/fd").map_err(text)?;
    let open: Vec<RawFd> = listed
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|file| *file > libc::STDERR_FILENO && *file != nothing.as_raw_fd())
        .filter(|file| !keep.iter().any(|kept| kept.as_raw_fd() == *file))
        .collect();
    for file in open {
        let replaced = replace(file, &nothing);
        if replaced < 0 {
            return Err(text(std::io::Error::last_os_error()));
        }
    }
    Ok(())
}

#[expect(unsafe_code, reason = "the libraries' files are theirs, and nobody hands them over")]
fn replace(file: RawFd, by: &std::fs::File) -> libc::c_int {
    // SAFETY: the descriptor's file is closed and replaced by `/dev/null`, so its user reads and writes nothing.
    // (The directory listing is among them and already closed, so there is one extra.)
    unsafe { libc::dup2(by.as_raw_fd(), file) }
}

/// This process's address space. See proc_pid_statm(5).
fn mapped_bytes() -> Result<u64, String> {
    let statm = std::fs::read_to_string("/proc/self/statm").map_err(text)?;
    let pages = statm.split(' ').next().and_then(|pages| pages.parse::<u64>().ok());
    let pages = pages.ok_or("`/proc/self/statm` does not say how much memory is mapped")?;
    Ok(pages.saturating_mul(rustix::param::page_size() as u64))
}

/// No file by path except these for reading, no TCP, no signals to others. Open files stay open.
fn landlock(readable: &[&str]) -> Result<(), String> {
    let status = hospes_confine::landlock::nothing()
        .and_then(|rules| {
            rules.add_rules(path_beneath_rules(
                readable,
                AccessFs::from_read(hospes_confine::landlock::VERSION),
            ))
        })
        .and_then(landlock::RulesetCreated::restrict_self)
        .map_err(text)?;
    if !status.no_new_privs {
        return Err("the kernel did not drop the privileges".into());
    }
    match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, _) => Err("the kernel does not have it enabled".into()),
        (_, LandlockStatus::Available { effective_abi, .. }) => {
            hospes_confine::landlock::complete(effective_abi)
        }
        (RulesetStatus::FullyEnforced, _) => Ok(()),
        (RulesetStatus::PartiallyEnforced, _) => {
            Err("the kernel supports only a part of it".into())
        }
    }
}

/// A root host's worker becomes nobody: it cannot signal, trace or read the host.
fn leave_root() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let done = |result: libc::c_int| {
        if result == 0 { Ok(()) } else { Err(text(std::io::Error::last_os_error())) }
    };
    // SAFETY: these read no memory except an empty list. The C library's calls change all threads, unlike raw system calls.
    #[expect(unsafe_code, reason = "there is no safe call for it")]
    let (groups, group, user) = unsafe {
        (
            libc::setgroups(0, std::ptr::null()),
            libc::setresgid(NOBODY, NOBODY, NOBODY),
            libc::setresuid(NOBODY, NOBODY, NOBODY),
        )
    };
    done(groups).and_then(|()| done(group)).and_then(|()| done(user))
}

/// The system calls needed for computing. All others return "not implemented", so that libraries can fall back. Those that name files are
/// trapped and answered by [`files`]. The kernel applies the strictest of all filters.
fn seccomp() -> Result<(), String> {
    files::answer_calls()?;
    let trapped = files::CALLS.iter().map(|call| (*call, Vec::new())).collect();
    apply(trapped, SeccompAction::Allow, SeccompAction::Trap)?;
    apply(rules()?, SeccompAction::Errno(libc::ENOSYS.cast_unsigned()), SeccompAction::Allow)
}

/// Applies a filter to all threads: one action for calls without a rule, and one for those with a rule.
fn apply(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    without: SeccompAction,
    with: SeccompAction,
) -> Result<(), String> {
    let architecture = std::env::consts::ARCH.try_into().map_err(text)?;
    let filter = SeccompFilter::new(rules, without, with, architecture);
    let program: BpfProgram = filter.and_then(TryInto::try_into).map_err(text)?;
    seccompiler::apply_filter_all_threads(&program).map_err(text)
}

fn rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>, String> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    let own = u64::from(std::process::id());
    let only = |argument: u8, operator: SeccompCmpOp, value: u64| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Qword, operator, value)
            .and_then(|condition| SeccompRule::new(vec![condition]))
            .map(|rule| vec![rule])
            .map_err(text)
    };
    let thread = libc::CLONE_THREAD.cast_unsigned().into();
    let executable = libc::PROT_EXEC.cast_unsigned().into();
    // Threads, not processes. A filter cannot read `clone3`'s flags.
    rules.insert(libc::SYS_clone, only(0, SeccompCmpOp::MaskedEq(thread), thread)?);
    // No new code.
    rules.insert(libc::SYS_mmap, only(2, SeccompCmpOp::MaskedEq(executable), 0)?);
    rules.insert(libc::SYS_mprotect, only(2, SeccompCmpOp::MaskedEq(executable), 0)?);
    // `abort` ends only this process.
    rules.insert(libc::SYS_tgkill, only(0, SeccompCmpOp::Eq, own)?);
    // Limits may be read, and set for this process only: `start_no_more_threads` needs that.
    rules.insert(libc::SYS_prlimit64, only(0, SeccompCmpOp::Eq, 0)?);
    rules.insert(
        libc::SYS_prctl,
        only(0, SeccompCmpOp::Eq, libc::PR_SET_NAME.cast_unsigned().into())?,
    );
    let mut commands = Vec::new();
    for command in FCNTL {
        commands.extend(only(1, SeccompCmpOp::Eq, command.cast_unsigned().into())?);
    }
    rules.insert(libc::SYS_fcntl, commands);
    // Threads of this process may lower their own priority; raising it takes a privilege that is gone.
    for call in [libc::SYS_getpriority, libc::SYS_setpriority] {
        let own = [0, 1].map(|argument| {
            SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)
        });
        let own = own.into_iter().collect::<Result<Vec<_>, _>>().and_then(SeccompRule::new);
        rules.insert(call, vec![own.map_err(text)?]);
    }
    Ok(rules)
}

/// Operations on open files. Without `F_SETOWN` and `F_SETSIG`, by which a file signals another process.
const FCNTL: [libc::c_int; 7] = [
    libc::F_GETFL,
    libc::F_SETFL,
    libc::F_GETFD,
    libc::F_SETFD,
    libc::F_DUPFD_CLOEXEC,
    libc::F_ADD_SEALS,
    libc::F_GET_SEALS,
];

const ALLOWED: &[i64] = &[
    // memory
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    // files already open
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_close,
    libc::SYS_recvmsg,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_ppoll,
    // threads and time
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    // signals to itself, and exit
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_of_system_calls_compiles_and_has_as_many_as_the_documents_say() {
        let rules = rules().expect("sound");
        assert_eq!(rules.len(), 50);
        assert_eq!(rules.get(&libc::SYS_fcntl).map(Vec::len), Some(FCNTL.len()));
        for call in files::CALLS {
            assert!(
                !rules.contains_key(call),
                "{call}: answered in the process, never by the kernel"
            );
        }
        for call in [libc::SYS_memfd_create, libc::SYS_openat, libc::SYS_socket, libc::SYS_execve] {
            assert!(!rules.contains_key(&call), "{call}");
        }
    }
}
