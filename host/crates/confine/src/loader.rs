//! Starts a confined Python by its dynamic loader.
//!
//! TensorFlow asks `/proc/self/exe` for its program. If that is a Python, it opens `/proc/self/cmdline`, which no confined program can, and aborts.
//! Started by the loader, its program is the loader. Python finds its environment by the name that it is given.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The dynamic loaders of Linux with glibc.
const LOADERS: [&str; 2] = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];

/// Linkers write the loader's name near the beginning of a program.
const HEAD_BYTES: u64 = 4096;

/// A loader has a few hundred kB.
const LOADER_BYTES_MAX: u64 = 4 << 20;

/// The command that starts this program confined, without arguments yet.
pub(super) fn command(program: &Path) -> Command {
    let Some((loader, real)) = python(program) else { return Command::new(program) };
    let mut command = Command::new(loader);
    command.arg("--argv0").arg(program).arg(real);
    command
}

/// The loader that this program names, and the program's own file, if it is a Python that can be started so.
fn python(program: &Path) -> Option<(&'static str, PathBuf)> {
    let real = std::fs::canonicalize(program).ok()?;
    let name = real.file_name()?.as_encoded_bytes();
    if !name.starts_with(b"python") {
        return None;
    }
    let head = head(&real, HEAD_BYTES).filter(|head| head.starts_with(b"\x7fELF"))?;
    let is_named = |loader: &&&str| has(&head, &[loader.as_bytes(), b"\0"].concat());
    let loader = *LOADERS.iter().find(is_named)?;
    // Since glibc 2.33.
    let can_name = has(&self::head(Path::new(loader), LOADER_BYTES_MAX)?, b"--argv0");
    can_name.then_some((loader, real))
}

fn head(path: &Path, bytes_max: u64) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    File::open(path).ok()?.take(bytes_max).read_to_end(&mut head).ok()?;
    Some(head)
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
