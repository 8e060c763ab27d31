//! Landlock: which files a process may open. Used for foreign programs here and for the host's own workers.

use std::path::{Path, PathBuf};

use ::landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, PathBeneath, PathFd,
    Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetError, Scope,
};

use super::error::ConfineError;

/// The newest version of Landlock requested; an older kernel enforces what it knows.
pub const VERSION: ABI = ABI::V6;

/// The oldest one that keeps files from being opened, moved and cut (Linux 6.2).
const OLDEST: ABI = ABI::V3;

/// Devices that every program may use. Nothing is behind them.
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// Rules that forbid what this kernel's Landlock can forbid: files by path, TCP, signals and abstract sockets of others. Open files stay open.
///
/// # Errors
/// The library's, which are not expected.
pub fn nothing() -> Result<RulesetCreated, RulesetError> {
    forbid(Ruleset::default().set_compatibility(CompatLevel::BestEffort))
}

fn forbid(rules: Ruleset) -> Result<RulesetCreated, RulesetError> {
    rules
        .handle_access(AccessFs::from_all(VERSION))?
        .handle_access(AccessNet::from_all(VERSION))?
        .scope(Scope::from_all(VERSION))?
        .create()
}

/// What each version of Landlock added. See landlock(7).
const BROUGHT: [(ABI, &str); 6] = [
    (ABI::V1, "opening files"),
    (ABI::V2, "moving files to other folders"),
    (ABI::V3, "cutting files"),
    (ABI::V4, "TCP"),
    (ABI::V5, "device control"),
    (ABI::V6, "signals and abstract sockets"),
];

/// Whether this version restricts everything that [`nothing`] asks for.
///
/// # Errors
/// What it does not block.
pub fn complete(known: ABI) -> Result<(), String> {
    let brought = BROUGHT.iter().position(|(abi, _)| *abi == known);
    let lacking: Vec<&str> = match brought {
        Some(last) => BROUGHT.iter().skip(last + 1).map(|(_, what)| *what).collect(),
        // Newer than anything requested.
        None => Vec::new(),
    };
    if lacking.is_empty() {
        return Ok(());
    }
    Err(format!(
        "the kernel has {known:?} of {VERSION:?}, which does not block {}",
        lacking.join(", ")
    ))
}

/// Rules for a program that reads these and writes there. Namespaces forbid what an older Landlock does not know.
pub(crate) fn rules(readable: &[PathBuf], writable: &Path) -> Result<RulesetCreated, ConfineError> {
    let lacks = |error: RulesetError| ConfineError::Landlock(error.to_string());
    let required = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let required = required.handle_access(AccessFs::from_all(OLDEST)).map_err(lacks)?;
    let mut rules = forbid(required.set_compatibility(CompatLevel::BestEffort)).map_err(lacks)?;
    for path in readable {
        rules = allow(rules, path, AccessFs::from_read(VERSION))?;
    }
    for device in DEVICES.iter().map(Path::new).filter(|path| path.exists()) {
        rules = allow(rules, device, AccessFs::ReadFile | AccessFs::WriteFile)?;
    }
    allow(rules, writable, AccessFs::from_all(VERSION))
}

fn allow(
    rules: RulesetCreated,
    path: &Path,
    access: impl Into<::landlock::BitFlags<AccessFs>>,
) -> Result<RulesetCreated, ConfineError> {
    let fails = |source| ConfineError::Path { path: path.to_owned(), source };
    let is_folder = std::fs::metadata(path).map_err(fails)?.is_dir();
    let opened = PathFd::new(path).map_err(|error| fails(std::io::Error::other(error)))?;
    let mut access = access.into();
    if !is_folder {
        access &= AccessFs::from_file(VERSION);
    }
    let added = rules.add_rule(PathBeneath::new(opened, access));
    added.map_err(|error| ConfineError::Landlock(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_knows_a_part_of_landlock_is_not_called_complete() {
        assert_eq!(complete(VERSION), Ok(()));
        let lacking = complete(ABI::V3).expect_err("not complete");
        for what in ["V3 of V6", "TCP", "device control", "signals and abstract sockets"] {
            assert!(lacking.contains(what), "{what}: {lacking}");
        }
        assert!(!lacking.contains("cutting files"), "{lacking}");
    }

    #[test]
    fn a_path_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let absent = folder.path().join("absent");
        let error = rules(std::slice::from_ref(&absent), folder.path()).expect_err("it is absent");
        assert!(matches!(&error, ConfineError::Path { path, .. } if *path == absent), "{error}");
    }
}
