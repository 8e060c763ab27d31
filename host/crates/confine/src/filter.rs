//! System calls that a foreign program does not have: sockets other than internet ones, namespaces, other processes, and what has
//! often had holes. Python and its libraries need none of them.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

use super::error::ConfineError;

/// Set in the numbers of x32, another name for the same calls.
#[cfg(target_arch = "x86_64")]
const OTHER_NAMES: i64 = 0x4000_0000;

/// Any use of these.
const FORBIDDEN: [i64; 33] = [
    // A filter cannot read its flags. Libraries fall back to `clone`.
    libc::SYS_clone3,
    // Namespaces: in a new one it would have privileges.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_mount_setattr,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // Files by handle, past every path.
    libc::SYS_open_by_handle_at,
    // A filter cannot read the mode it gives to a new file. Libraries fall back to `openat`.
    libc::SYS_openat2,
    // It does what this filter would not see.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // Keys, which belong to no namespace.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // The kernel itself.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_kexec_load,
    libc::SYS_acct,
    libc::SYS_swapon,
    libc::SYS_quotactl,
];

/// `clone`'s flags for new namespaces.
const NAMESPACES: u64 = (libc::CLONE_NEWUSER
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP)
    .cast_unsigned() as u64;

/// Calls that give a file its mode, and which argument that is.
const MODES: &[(i64, u8)] = &[
    (libc::SYS_fchmod, 1),
    (libc::SYS_fchmodat, 2),
    (libc::SYS_fchmodat2, 2),
    (libc::SYS_mkdirat, 2),
    (libc::SYS_mknodat, 2),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_chmod, 1),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_creat, 1),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mkdir, 1),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mknod, 1),
];

/// Calls that may make a file, and which of their arguments are the flags and the mode.
const OPENS: &[(i64, u8, u8)] = &[
    (libc::SYS_openat, 2, 3),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, 1, 2),
];

/// The flags with which a file is made. That of a file without a name has another bit, too, which opens folders.
const MAKES: [i32; 2] = [libc::O_CREAT, libc::O_TMPFILE & !libc::O_DIRECTORY];

/// The bits of a socket's type that are its kind.
const SOCKET_KIND: u64 = 0xf;

/// The filter, compiled.
pub(crate) fn program() -> Result<BpfProgram, ConfineError> {
    let made = |why: seccompiler::BackendError| ConfineError::Filter(why.to_string());
    let arch = std::env::consts::ARCH.try_into().map_err(made)?;
    let filter = SeccompFilter::new(
        rules().map_err(made)?,
        SeccompAction::Allow,
        // As from an older kernel, so that libraries can fall back.
        SeccompAction::Errno(libc::ENOSYS.cast_unsigned()),
        arch,
    );
    filter.and_then(TryInto::try_into).map_err(made)
}

fn rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        FORBIDDEN.iter().map(|call| (*call, Vec::new())).collect();
    let is = |operator: SeccompCmpOp, value: u64| {
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, operator, value)
    };
    // A socket in the file system reaches a service of the user or of root (D-Bus, Docker), and Landlock does not see it. Those of hypervisors,
    // radio and packets belong to no network namespace.
    let others = SeccompRule::new(vec![
        is(SeccompCmpOp::Ne, libc::AF_INET.cast_unsigned().into())?,
        is(SeccompCmpOp::Ne, libc::AF_INET6.cast_unsigned().into())?,
    ])?;
    rules.insert(libc::SYS_socket, vec![others]);
    // Half a pair of datagram sockets can send to any other by its path, such as the system's log. The kind's higher bits are flags.
    let mut pairs = Vec::new();
    for kind in [libc::SOCK_DGRAM, libc::SOCK_RAW] {
        let operator = SeccompCmpOp::MaskedEq(SOCKET_KIND);
        let kind = kind.cast_unsigned().into();
        let kind = SeccompCondition::new(1, SeccompCmpArgLen::Dword, operator, kind)?;
        pairs.push(SeccompRule::new(vec![kind])?);
    }
    rules.insert(libc::SYS_socketpair, pairs);
    let mut namespaces = Vec::new();
    for bit in (0..u32::BITS).map(|bit| 1u64 << bit).filter(|bit| NAMESPACES & bit != 0) {
        namespaces.push(SeccompRule::new(vec![is(SeccompCmpOp::MaskedEq(bit), bit)?])?);
    }
    rules.insert(libc::SYS_clone, namespaces);
    // The user inside is the caller outside: a program with this bit would run as the caller, whoever starts it. The bit for groups is not
    // refused, because folders pass it on; other users do not reach the folder.
    let bit = |argument: u8, bit: u64| {
        let operator = SeccompCmpOp::MaskedEq(bit);
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, bit)
    };
    let set_user = u64::from(libc::S_ISUID);
    for (call, mode) in MODES {
        rules.insert(*call, vec![SeccompRule::new(vec![bit(*mode, set_user)?])?]);
    }
    for (call, flags, mode) in OPENS {
        let made = MAKES.map(|flag| {
            let makes = bit(*flags, flag.cast_unsigned().into())?;
            SeccompRule::new(vec![makes, bit(*mode, set_user)?])
        });
        rules.insert(*call, made.into_iter().collect::<Result<_, _>>()?);
    }
    #[cfg(target_arch = "x86_64")]
    {
        let twice: Vec<_> =
            rules.iter().map(|(call, rules)| (call | OTHER_NAMES, rules.clone())).collect();
        rules.extend(twice);
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_compiles_and_leaves_what_programs_need() {
        let rules = rules().expect("sound");
        for call in [libc::SYS_execve, libc::SYS_renameat2, libc::SYS_prctl] {
            assert!(!rules.contains_key(&call), "{call}");
        }
        // Without that bit files are made and changed.
        assert_eq!(rules.get(&libc::SYS_openat).map(Vec::len), Some(2));
        assert_eq!(rules.get(&libc::SYS_fchmodat).map(Vec::len), Some(1));
        assert_eq!(rules.get(&libc::SYS_clone).map(Vec::len), Some(7));
        // Pairs of streams stay.
        assert_eq!(rules.get(&libc::SYS_socketpair).map(Vec::len), Some(2));
        program().expect("it compiles");
    }
}
