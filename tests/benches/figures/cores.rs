//! Pins the servers and the client to separate cores. If the scheduler decides, they sometimes
//! share one, and the figures of the same program differ by half.

use std::process::Command;
use std::sync::OnceLock;

/// The core of every server and of everything else in this process.
const SERVER: &str = "0";

const CLIENT: &str = "1";

/// Whether the servers have a core of their own.
static APART: OnceLock<bool> = OnceLock::new();

/// Pins this process, and every thread that it starts from now on, to the servers' core. Returns
/// false if there is only one core or no `taskset`; then the scheduler decides.
pub fn set_apart() -> bool {
    *APART.get_or_init(|| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let process = std::process::id().to_string();
        let arguments = ["--all-tasks", "--cpu-list", "--pid", SERVER, &process];
        let moved = Command::new("taskset").args(arguments).output();
        cores > 1 && moved.is_ok_and(|output| output.status.success())
    })
}

/// A command for a client without its arguments, pinned to its own core if the servers have theirs.
pub fn client(program: &str) -> Command {
    if !set_apart() {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", CLIENT, program]);
    command
}

/// Does `work` in a thread that is pinned to the clients' core, if the servers have their own.
pub fn as_client<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            if set_apart() {
                move_here();
            }
            work()
        });
        client.join().expect("it does not panic")
    })
}

/// Pins only this thread to the clients' core.
fn move_here() {
    let thread = std::fs::read_link("/proc/thread-self").expect("Linux has /proc/thread-self");
    let thread = thread.file_name().expect("the thread ID is last");
    let arguments = ["--cpu-list", "--pid", CLIENT].map(std::ffi::OsStr::new);
    let moved = Command::new("taskset").args(arguments).arg(thread).output();
    assert!(
        moved.is_ok_and(|output| output.status.success()),
        "taskset pinned the servers, so it can pin this thread"
    );
}
