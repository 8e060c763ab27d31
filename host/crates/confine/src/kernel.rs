//! What a forked process gives up before it becomes the program. The one home of this crate's `unsafe`.
//!
//! Between `fork` and `exec` only one thread of the caller is left, so nothing here may allocate or lock. All that needs memory is made before,
//! in [`Plan`].
//!
//! Three processes: the *outer* one leaves the caller's namespaces, and is the caller's child. The *first* process of the new namespace is its
//! child; when it ends, the kernel ends all others there. Its child becomes the program. Outer and first run nothing foreign, and nothing foreign
//! can look into them.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, PipeWriter, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::fs::{Mode, OFlags};
use rustix::process::{DumpableBehavior, Pid, Resource, Signal};
use seccompiler::BpfProgram;

use super::limits::lower_limit;

/// All that the child needs, made before the fork.
pub(crate) struct Plan {
    /// `None` without confinement.
    pub(crate) inside: Option<Inside>,
    pub(crate) limits: [(Resource, u64); 6],
    pub(crate) nice: i32,
    /// Where it says which step failed, or how the program ended.
    pub(crate) report: PipeWriter,
    /// The caller's process.
    pub(crate) caller: Option<Pid>,
}

/// What keeps the program inside.
pub(crate) struct Inside {
    /// The lines of `uid_map` and `gid_map`.
    pub(crate) user: String,
    pub(crate) group: String,
    /// The folder that it may write to.
    pub(crate) writable: CString,
    /// Landlock's rules.
    pub(crate) rules: OwnedFd,
    pub(crate) filter: BpfProgram,
}

/// A step that can fail. Its number goes through the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Session,
    Namespaces,
    Users,
    Mounts,
    Processes,
    Parent,
    Limits,
    Landlock,
    Filter,
    Files,
}

const STEPS: [(Step, &str); 10] = [
    (Step::Session, "setsid"),
    (Step::Namespaces, "unshare"),
    (Step::Users, "uid_map"),
    (Step::Mounts, "mount_setattr"),
    (Step::Processes, "fork"),
    (Step::Parent, "prctl"),
    (Step::Limits, "setrlimit"),
    (Step::Landlock, "landlock_restrict_self"),
    (Step::Filter, "seccomp"),
    (Step::Files, "close_range"),
];

/// What the report's eight bytes say: a number that is no step's, then the status as of `wait`.
const ENDED: u32 = u32::MAX;

/// What a process said before it became the program, or after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Report {
    Failed(Step, &'static str),
    /// The status as of `wait`.
    Ended(i32),
}

impl Report {
    /// The last complete one of these bytes.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let last = bytes.chunks_exact(8).next_back()?;
        let number = |at: usize| last.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
        let (kind, value) = (number(0)?, number(4)?);
        if kind == ENDED {
            return Some(Self::Ended(value.cast_signed()));
        }
        let (step, name) = STEPS.get(usize::try_from(kind).ok()?)?;
        Some(Self::Failed(*step, name))
    }
}

/// Lets the command's process go through the plan before it becomes the program.
pub(crate) fn arm(command: &mut Command, plan: Plan) {
    // SAFETY: `enter` makes system calls only and neither allocates nor locks, so it does not matter what the caller's other threads held.
    #[expect(unsafe_code, reason = "the new process is limited before it becomes the program")]
    unsafe {
        command.pre_exec(move || plan.enter());
    }
}

impl Plan {
    fn enter(&self) -> io::Result<()> {
        // Away from the terminal, and a group that can be ended as a whole.
        self.step(Step::Session, rustix::process::setsid())?;
        if let Some(inside) = &self.inside {
            self.step(Step::Namespaces, leave_namespaces())?;
            self.step(Step::Users, inside.become_users())?;
            self.step(Step::Mounts, inside.write_there_only())?;
        }
        self.step(Step::Parent, end_with(self.caller))?;
        if let Some(inside) = &self.inside {
            self.step(Step::Processes, self.become_program())?;
            self.step(Step::Limits, self.limit())?;
            self.step(Step::Landlock, inside.landlock())?;
            // The last one: it forbids the calls above.
            self.step(Step::Files, close_at_exec())?;
            return self.step(Step::Filter, inside.filter());
        }
        self.step(Step::Limits, self.limit())?;
        self.step(Step::Files, close_at_exec())
    }

    /// Says which step failed.
    fn step<T, E: Into<io::Error>>(&self, step: Step, done: Result<T, E>) -> io::Result<()> {
        let Err(error) = done else { return Ok(()) };
        let at = STEPS.iter().position(|(known, _)| *known == step);
        self.say(at.and_then(|at| u32::try_from(at).ok()).unwrap_or(0), 0);
        Err(error.into())
    }

    fn say(&self, kind: u32, value: i32) {
        let mut message = [0; 8];
        let (first, second) = message.split_at_mut(4);
        first.copy_from_slice(&kind.to_ne_bytes());
        second.copy_from_slice(&value.to_ne_bytes());
        // A short message to a pipe is written at once, and nobody is left to be told of a failure.
        let _ = (&self.report).write(&message);
    }

    fn limit(&self) -> io::Result<()> {
        for (resource, most) in self.limits {
            lower_limit(resource, most)?;
        }
        Ok(rustix::process::nice(self.nice).map(drop)?)
    }

    /// Returns in the process that becomes the program only.
    fn become_program(&self) -> io::Result<()> {
        let (alive, mut outer) = io::pipe()?;
        if let Some(first) = fork()? {
            self.close_all_but(outer.as_raw_fd());
            wait_for(first, |_| ());
            let _ = outer.flush();
            leave();
        }
        drop(outer);
        end_with(None)?;
        // The outer process may have ended before that took effect; then nobody holds the other end.
        let mut watched = [rustix::event::PollFd::new(&alive, rustix::event::PollFlags::IN)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        if rustix::event::poll(&mut watched, Some(&now))? > 0 {
            leave();
        }
        if let Some(program) = fork()? {
            self.close_all_but(self.report.as_raw_fd());
            wait_for(program, |status| self.say(ENDED, status));
            // The kernel ends whatever the program left behind.
            leave();
        }
        end_with(None)?;
        Ok(())
    }

    /// Closes all files but one and the report, also the caller's end of them: who waits for their end must not wait for this process.
    fn close_all_but(&self, kept: i32) {
        let (kept, report) = (kept.cast_unsigned(), self.report.as_raw_fd().cast_unsigned());
        let (low, high) = (kept.min(report), kept.max(report));
        for (from, to) in
            [(0, low.checked_sub(1)), (low + 1, high.checked_sub(1)), (high + 1, Some(u32::MAX))]
        {
            if let Some(to) = to.filter(|to| from <= *to) {
                // The descriptors belong to values of the caller, which this process never drops: it ends with `leave`.
                close_range(from, to, 0).ok();
            }
        }
    }
}

impl Inside {
    /// Inside, the caller's user is `nobody`: a program that is started has no privileges then, even if the caller is root.
    fn become_users(&self) -> io::Result<()> {
        write(c"/proc/self/setgroups", b"deny")?;
        write(c"/proc/self/uid_map", self.user.as_bytes())?;
        write(c"/proc/self/gid_map", self.group.as_bytes())
    }

    /// Makes all files read-only but those of the one folder, and goes there. Landlock has no right for permissions, times and attributes of files,
    /// so it keeps nobody from changing them.
    fn write_there_only(&self) -> io::Result<()> {
        // Nothing of this reaches the caller's mounts.
        mount(c"none", c"/", libc::MS_REC | libc::MS_PRIVATE)?;
        mount(&self.writable, &self.writable, libc::MS_BIND | libc::MS_REC)?;
        let all = libc::AT_RECURSIVE.cast_unsigned();
        set_mount(c"/", all, libc::MOUNT_ATTR_RDONLY, 0)?;
        set_mount(&self.writable, 0, 0, libc::MOUNT_ATTR_RDONLY)?;
        // It was in the folder's read-only view.
        Ok(rustix::process::chdir(&*self.writable)?)
    }

    fn landlock(&self) -> io::Result<()> {
        no_new_privileges()?;
        // SAFETY: it reads no memory, and the descriptor is open.
        #[expect(unsafe_code, reason = "the library's call allocates")]
        let done =
            unsafe { libc::syscall(libc::SYS_landlock_restrict_self, self.rules.as_raw_fd(), 0) };
        checked(done)
    }

    fn filter(&self) -> io::Result<()> {
        // What it returns says no more, and would allocate nothing.
        seccompiler::apply_filter(&self.filter).map_err(|_| io::Error::last_os_error())
    }
}

fn write(path: &CStr, bytes: &[u8]) -> io::Result<()> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    File::from(file).write(bytes).map(drop)
}

fn checked(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn leave_namespaces() -> io::Result<()> {
    let new = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWPID;
    // SAFETY: it reads no memory; the process has one thread.
    #[expect(unsafe_code, reason = "there is no safe call for it")]
    let done = unsafe { libc::unshare(new) };
    checked(done.into())
}

fn mount(from: &CStr, at: &CStr, flags: libc::c_ulong) -> io::Result<()> {
    let none = std::ptr::null::<libc::c_void>();
    // SAFETY: both paths end with zero and live here; the kernel reads neither a type nor data with these flags.
    #[expect(unsafe_code, reason = "there is no safe call for it")]
    let done = unsafe { libc::mount(from.as_ptr(), at.as_ptr(), none.cast(), flags, none) };
    checked(done.into())
}

/// Sets and clears attributes of the mount at this path.
fn set_mount(at: &CStr, flags: libc::c_uint, set: u64, clear: u64) -> io::Result<()> {
    // `struct mount_attr`: what to set, what to clear, how it propagates, whose user namespace.
    let change = [set, clear, 0, 0];
    // SAFETY: the path ends with zero; the kernel reads as many bytes as it is told, which live here.
    #[expect(unsafe_code, reason = "there is no safe call for it")]
    let done = unsafe {
        let size = size_of_val(&change);
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            at.as_ptr(),
            flags,
            change.as_ptr(),
            size,
        )
    };
    checked(done)
}

fn no_new_privileges() -> io::Result<()> {
    // SAFETY: it reads no memory.
    #[expect(unsafe_code, reason = "there is no safe call for it")]
    let done = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    checked(done.into())
}

/// Ends this process when its parent does, and lets nobody look into its memory, which is a copy of the caller's until it becomes the program.
/// `parent` is who it should be, if it can be seen from here.
fn end_with(parent: Option<Pid>) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    if parent.is_some() && rustix::process::getppid() != parent {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(())
}

/// A copy of this process; `None` in the copy. The C library's own would run other libraries' handlers.
fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: without flags for shared memory it is `fork`: the copy has its own stack and memory, and one thread as this process has.
    #[expect(unsafe_code, reason = "there is no safe call for it")]
    let number = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    checked(number)?;
    Ok(i32::try_from(number).ok().and_then(Pid::from_raw))
}

/// Waits for this child, and for orphans meanwhile.
fn wait_for(child: Pid, ended: impl Fn(i32)) {
    let mut status = 0;
    loop {
        // SAFETY: it writes the status, which lives here.
        #[expect(unsafe_code, reason = "the safe call hides the status")]
        let number = unsafe { libc::waitpid(-1, &raw mut status, 0) };
        if number == child.as_raw_nonzero().get() {
            return ended(status);
        }
        if number < 0 && io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return;
        }
    }
}

/// Ends this process at once.
fn leave() -> ! {
    // SAFETY: it does not return, and what the caller would flush is the caller's.
    #[expect(unsafe_code, reason = "the standard library's exit runs the caller's handlers")]
    unsafe {
        libc::_exit(0)
    }
}

/// Files that the caller's libraries have opened do not reach the program.
fn close_at_exec() -> io::Result<()> {
    close_range(3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

fn close_range(from: u32, to: u32, flags: u32) -> io::Result<()> {
    // SAFETY: it reads no memory. Whoever closes descriptors of living values here never drops them.
    #[expect(unsafe_code, reason = "there is no safe call for it")]
    let done = unsafe { libc::syscall(libc::SYS_close_range, from, to, flags) };
    checked(done)
}
