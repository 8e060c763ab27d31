//! Files that a confined worker's libraries open by name.
//!
//! A native library may take a file by its path only, but a worker has no file system: the kernel traps the calls that name files
//! ([`CALLS`]), and a signal handler in this process answers them. It knows one folder with two files, which are descriptors that the host
//! has passed. Every other name gets "not implemented", as every other forbidden call. No name ever reaches the kernel.

use std::ffi::{CStr, c_char, c_int, c_long, c_void};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

use serde::{Deserialize, Serialize};

/// The folder. The worker's system calls never see a real one of this name.
pub const FOLDER: &str = "/hospes-files";

/// A file in the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Name {
    Model,
    Weights,
}

impl Name {
    const ALL: [Self; 2] = [Self::Model, Self::Weights];

    /// Its name in the folder.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Weights => "weights",
        }
    }

    /// Its whole path.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Model => "/hospes-files/model",
            Self::Weights => "/hospes-files/weights",
        }
    }

    /// Its descriptor, or [`NONE`].
    fn descriptor(self) -> &'static AtomicI32 {
        static DESCRIPTORS: [AtomicI32; Name::ALL.len()] =
            [const { AtomicI32::new(NONE) }; Name::ALL.len()];
        &DESCRIPTORS[self as usize]
    }
}

/// The descriptor of a file that is not there.
const NONE: c_int = -1;

/// A file that can be opened by its name until this is dropped.
#[derive(Debug)]
pub struct Offered {
    name: Name,
    _file: OwnedFd,
}

impl Offered {
    /// Makes this file the one with this name, in place of any other.
    pub fn new(name: Name, file: OwnedFd) -> Self {
        name.descriptor().store(file.as_raw_fd(), Ordering::Release);
        Self { name, _file: file }
    }
}

impl Drop for Offered {
    fn drop(&mut self) {
        self.name.descriptor().store(NONE, Ordering::Release);
    }
}

/// The calls that are answered here.
#[cfg(target_arch = "x86_64")]
pub(crate) const CALLS: &[i64] = &[
    libc::SYS_openat,
    libc::SYS_newfstatat,
    libc::SYS_readlinkat,
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_readlink,
];
#[cfg(not(target_arch = "x86_64"))]
pub(crate) const CALLS: &[i64] = &[libc::SYS_openat, libc::SYS_newfstatat, libc::SYS_readlinkat];

/// What the library looks up to learn which file it has opened.
const OPEN_FILES: &[u8] = b"/proc/self/fd/";

/// Answers the calls of this process that the kernel traps, from now on.
///
/// # Errors
/// If the system refuses the handler.
pub(crate) fn answer_calls() -> Result<(), String> {
    // SAFETY: `sigaction` reads a whole value, whose handler has the signature that `SA_SIGINFO` asks for.
    #[expect(unsafe_code, reason = "a signal handler has no safe call")]
    let done = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handle as extern "C" fn(_, _, _) as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut())
    };
    if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error().to_string()) }
}

/// Runs on the thread that made the trapped call, in its place: it takes no lock and allocates nothing.
#[expect(unsafe_code, reason = "registers and the caller's memory are reached through pointers")]
extern "C" fn handle(_signal: c_int, _info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a context to a handler with `SA_SIGINFO`, and it stays valid until the handler returns. `errno` belongs to
    // this thread.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        let registers = &mut *context.cast::<libc::ucontext_t>();
        let call = Trapped::read(registers);
        set_result(registers, call.answer());
        *errno = before;
    }
}

/// A trapped call.
struct Trapped {
    number: c_long,
    arguments: [c_long; 4],
}

#[cfg(target_arch = "x86_64")]
impl Trapped {
    fn read(context: &libc::ucontext_t) -> Self {
        let register = |which: c_int| context.uc_mcontext.gregs[which.cast_unsigned() as usize];
        Self {
            number: register(libc::REG_RAX),
            arguments: [libc::REG_RDI, libc::REG_RSI, libc::REG_RDX, libc::REG_R10].map(register),
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn set_result(context: &mut libc::ucontext_t, result: c_long) {
    context.uc_mcontext.gregs[libc::REG_RAX.cast_unsigned() as usize] = result;
}

#[cfg(target_arch = "aarch64")]
impl Trapped {
    fn read(context: &libc::ucontext_t) -> Self {
        let register = |which: usize| context.uc_mcontext.regs[which].cast_signed();
        Self { number: register(8), arguments: [0, 1, 2, 3].map(register) }
    }
}

#[cfg(target_arch = "aarch64")]
fn set_result(context: &mut libc::ucontext_t, result: c_long) {
    context.uc_mcontext.regs[0] = result.cast_unsigned();
}

impl Trapped {
    /// The result, as the kernel would return it.
    fn answer(&self) -> c_long {
        let [first, second, third, fourth] = self.arguments;
        #[cfg(target_arch = "x86_64")]
        match self.number {
            libc::SYS_open => return open(text(first)),
            libc::SYS_stat | libc::SYS_lstat => return stat(text(first), second),
            libc::SYS_readlink => return read_link(text(first), second, third),
            _ => {}
        }
        match self.number {
            libc::SYS_openat => open(text(second)),
            // How newer C libraries look at an open file.
            libc::SYS_newfstatat
                if fourth & c_long::from(libc::AT_EMPTY_PATH) != 0 && text(second).is_empty() =>
            {
                stat_open(first, third)
            }
            libc::SYS_newfstatat => stat(text(second), third),
            libc::SYS_readlinkat => read_link(text(second), third, fourth),
            _ => -c_long::from(libc::ENOSYS),
        }
    }
}

/// A caller's text.
#[expect(unsafe_code, reason = "it is behind a caller's pointer")]
fn text<'c>(address: c_long) -> &'c [u8] {
    if address == 0 {
        return b"";
    }
    // SAFETY: the caller passes a C string, as the call demands. Another pointer faults, as the process's own mistake.
    unsafe { CStr::from_ptr(address as *const c_char) }.to_bytes()
}

/// What a path names here.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Folder,
    File(Name),
    /// Nothing in the folder.
    Nothing,
    /// Outside the folder.
    Outside,
}

fn place(path: &[u8]) -> Place {
    if let Some(name) = Name::ALL.into_iter().find(|name| name.path().as_bytes() == path) {
        return Place::File(name);
    }
    match path.strip_prefix(FOLDER.as_bytes()) {
        Some([] | b"/") => Place::Folder,
        Some([b'/', ..]) => Place::Nothing,
        _ => Place::Outside,
    }
}

#[expect(unsafe_code, reason = "descriptors that others hold have no safe call")]
fn open(path: &[u8]) -> c_long {
    let file = match place(path) {
        Place::File(name) => name.descriptor().load(Ordering::Acquire),
        Place::Folder | Place::Nothing => NONE,
        Place::Outside => return -c_long::from(libc::ENOSYS),
    };
    if file == NONE {
        return -c_long::from(libc::ENOENT);
    }
    // SAFETY: it takes no pointer. The new descriptor is the caller's, as if it had opened the file.
    let opened = unsafe { libc::fcntl(file, libc::F_DUPFD_CLOEXEC, 0) };
    if opened < 0 { -c_long::from(last_error()) } else { opened.into() }
}

#[expect(unsafe_code, reason = "the result goes to where the caller says")]
fn stat(path: &[u8], into: c_long) -> c_long {
    match place(path) {
        Place::File(name) => match name.descriptor().load(Ordering::Acquire) {
            NONE => -c_long::from(libc::ENOENT),
            file => stat_open(file.into(), into),
        },
        Place::Folder => {
            // SAFETY: a `stat` of zeros is valid, and the caller passes room for one. On these architectures the kernel's is the same.
            unsafe {
                let mut folder: libc::stat = std::mem::zeroed();
                folder.st_mode = libc::S_IFDIR | 0o500;
                folder.st_nlink = 1;
                (into as *mut libc::stat).write_unaligned(folder);
            }
            0
        }
        Place::Nothing => -c_long::from(libc::ENOENT),
        Place::Outside => -c_long::from(libc::ENOSYS),
    }
}

#[expect(unsafe_code, reason = "the result goes to where the caller says")]
fn stat_open(file: c_long, into: c_long) -> c_long {
    // SAFETY: the kernel checks the pointer. `syscall`, because the C library would make the trapped call again.
    let done = unsafe { libc::syscall(libc::SYS_fstat, file, into) };
    if done < 0 { -c_long::from(last_error()) } else { done }
}

/// Nothing here is a link, except that an open file's entry names the weights, which alone are opened to be read.
#[expect(unsafe_code, reason = "the result goes to where the caller says")]
fn read_link(path: &[u8], into: c_long, room: c_long) -> c_long {
    let target = Name::Weights.path().as_bytes();
    if path.starts_with(OPEN_FILES) {
        let bytes = target.len().min(usize::try_from(room).unwrap_or_default());
        // SAFETY: the caller passes room for that many bytes.
        unsafe { std::ptr::copy_nonoverlapping(target.as_ptr(), into as *mut u8, bytes) };
        return bytes.cast_signed() as c_long;
    }
    match place(path) {
        Place::Folder | Place::File(_) => -c_long::from(libc::EINVAL),
        Place::Nothing => -c_long::from(libc::ENOENT),
        Place::Outside => -c_long::from(libc::ENOSYS),
    }
}

fn last_error() -> c_int {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_folder_and_its_two_files_have_names() {
        for name in Name::ALL {
            assert_eq!(name.path(), format!("{FOLDER}/{}", name.text()));
            assert_eq!(place(name.path().as_bytes()), Place::File(name));
        }
        assert_eq!(place(FOLDER.as_bytes()), Place::Folder);
        for nothing in ["/hospes-files/virtual.onnx", "/hospes-files/../etc/hostname"] {
            assert_eq!(place(nothing.as_bytes()), Place::Nothing, "{nothing}");
        }
        for outside in ["", "/", "/etc/hostname", "/hospes-filesystem", "hospes-files/model"] {
            assert_eq!(place(outside.as_bytes()), Place::Outside, "{outside}");
        }
    }
}
