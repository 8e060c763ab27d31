//! Runs a program as if the kernel had no Landlock: `without-landlock PROGRAM ARGUMENT…`.
//! Landlock's system calls fail for it and all its children as if they did not exist.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let program = arguments.next().expect("a program to run");
    let filter = SeccompFilter::new(
        BTreeMap::from([(libc::SYS_landlock_create_ruleset, Vec::new())]),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSYS.cast_unsigned()),
        std::env::consts::ARCH.try_into().expect("a supported architecture"),
    );
    let filter: BpfProgram = filter.and_then(TryInto::try_into).expect("a sound filter");
    seccompiler::apply_filter(&filter).expect("the kernel supports filters");
    let error = Command::new(&program).args(arguments).exec();
    panic!("{}: {error}", program.display());
}
