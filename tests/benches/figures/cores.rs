//! Keeps servers and client on a core each. Left to the scheduler they share one at times, and figures of the same program then differ
//! by half.

use std::process::Command;
use std::sync::OnceLock;

/// Every server, and whatever else is in this process.
const SERVER: &str = "0";

const CLIENT: &str = "1";

/// Whether the servers have a core of their own.
static APART: OnceLock<bool> = OnceLock::new();

/// Keeps this process, and every thread that it starts from now on, on the servers' core. False if there is only one core, or no
/// `taskset` to do it with: then the scheduler decides.
pub fn set_apart() -> bool {
    *APART.get_or_init(|| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let process = std::process::id().to_string();
        let arguments = ["--all-tasks", "--cpu-list", "--pid", SERVER, &process];
        let moved = Command::new("taskset").args(arguments).output();
        cores > 1 && moved.is_ok_and(|output| output.status.success())
    })
}

/// A client, to be given its arguments. On a core of its own, if the servers are.
pub fn client(program: &str) -> Command {
    if !set_apart() {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", CLIENT, program]);
    command
}

/// Does `work` in a thread that is on the clients' core, if the servers have one of their own.
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

/// Moves this thread, and no other, to the clients' core.
fn move_here() {
    let thread = std::fs::read_link("/proc/thread-self").expect("Linux says which thread this is");
    let thread = thread.file_name().expect("its number is last");
    let arguments = ["--cpu-list", "--pid", CLIENT].map(std::ffi::OsStr::new);
    let moved = Command::new("taskset").args(arguments).arg(thread).output();
    assert!(
        moved.is_ok_and(|output| output.status.success()),
        "it can be moved, as the servers were"
    );
}
