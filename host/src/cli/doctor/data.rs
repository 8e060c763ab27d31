//! Checks the data directory: whether a host can use it, and what it would find there.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{Access, AtFlags, CWD};
use serde_json::Value;

use super::{Finding, Subject, chain, sh};
use crate::config::about_bytes;
use crate::host::{HostError, SecretsError, TIME_FILE};
use crate::start::look;
use crate::store::StoreError;

/// With less, a host soon cannot write receipts and so takes no calls.
const SPACE_BYTES_MIN: u64 = 64 << 20;

/// With fewer, a host soon cannot make files.
const FILES_MIN: u64 = 1000;

/// Most records to show one by one.
const RECORDS_SHOWN_MAX: usize = 10;

/// A clock with an earlier time was never set.
const RELEASED: &str = "2025-01-01T00:00:00Z";

/// Whether the directory can be read and written, or can be made.
pub(super) fn directory(subject: &Subject) -> Vec<Finding> {
    let data = subject.data();
    let (path, at) = (data.display(), sh(data));
    let another = "or choose another directory with `--data`";
    let finding = match fs::metadata(data) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let above = existing(data);
            match may_write(&above) {
                Ok(()) => Finding::ok(format!("`{path}` does not exist yet; a host makes it")),
                Err(error) => Finding::problem(
                    format!("`{path}` cannot be made in `{}`: {error}", above.display()),
                    format!(
                        "as root: `install -d -m 700 -o {} {at}`, {another}",
                        rustix::process::geteuid().as_raw()
                    ),
                ),
            }
        }
        Err(error) => Finding::problem(
            format!("`{path}` cannot be examined: {error}"),
            format!("run this as the host's user, {another}"),
        ),
        Ok(meta) if !meta.is_dir() => Finding::problem(
            format!("`{path}` is not a directory"),
            "choose another directory with `--data`",
        ),
        Ok(meta) => usable(data, meta.uid()),
    };
    vec![finding]
}

fn usable(data: &Path, owner: u32) -> Finding {
    let (path, own) = (data.display(), rustix::process::geteuid().as_raw());
    match may_write(data) {
        Err(rustix::io::Errno::ROFS) => Finding::problem(
            format!("`{path}` is on a file system that is mounted read-only"),
            "mount it read-write, or choose another directory with `--data`",
        ),
        Err(error) => Finding::problem(
            format!("`{path}` belongs to user {owner}, and user {own} cannot write there: {error}"),
            format!("run the host as user {owner}, or as root: `chown -R {own} {}`", sh(data)),
        ),
        Ok(()) if owner != own => Finding::warning(
            format!("`{path}` belongs to user {owner}, but the doctor runs as user {own}"),
            format!(
                "run host and doctor as user {owner}, or give it away: `chown -R {own} {}`",
                sh(data)
            ),
        ),
        Ok(()) => Finding::ok(format!("`{path}` can be read and written")),
    }
}

/// The path, or the nearest existing folder above it.
fn existing(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let above = path.ancestors().find(|above| above.exists());
    above.unwrap_or(Path::new("/")).to_owned()
}

fn may_write(folder: &Path) -> rustix::io::Result<()> {
    let all = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    rustix::fs::accessat(CWD, folder, all, AtFlags::EACCESS)
}

/// Whether the disk has room.
pub(super) fn space(subject: &Subject) -> Vec<Finding> {
    let folder = existing(subject.data());
    let (disk, at) = match rustix::fs::statvfs(&folder) {
        Ok(disk) => (disk, sh(&folder)),
        Err(error) => {
            return vec![Finding::warning(
                format!("cannot read the free space of `{}`: {error}", folder.display()),
                format!("see what `df {}` says", sh(&folder)),
            )];
        }
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let bundle = subject.config.bundle.bundle_bytes_max;
    let left = format!("{} are free", about_bytes(free));
    let space = if free < SPACE_BYTES_MIN {
        Finding::problem(
            format!("{left}: a host that cannot write receipts takes no calls"),
            format!("make room; `du -xh {at} | sort -h | tail` shows the largest folders"),
        )
    } else if free < bundle {
        Finding::warning(
            format!("{left}, less than one bundle's limit ({})", about_bytes(bundle)),
            "make room, or lower `bundle.bundle_bytes_max` in the settings",
        )
    } else {
        Finding::ok(left)
    };
    // Some file systems have no limit and report 0 of 0.
    if disk.f_files > 0 && disk.f_favail < FILES_MIN {
        let detail = format!("the file system has room for only {} files", disk.f_favail);
        let fix = format!("delete files there; `df -i {at}` shows how many it takes");
        return vec![space, Finding::problem(detail, fix)];
    }
    vec![space]
}

/// Whether others can read the owner's secrets.
pub(super) fn permissions(subject: &Subject) -> Vec<Finding> {
    let data = subject.data();
    let Ok(folder) = fs::metadata(data) else { return Vec::new() };
    let (mut open, mut foreign) = (Vec::new(), Vec::new());
    let looked = look::each_file(data, |path, meta| {
        if look::lets_others_in(meta) {
            open.push(path.to_owned());
        }
        if meta.uid() != folder.uid() {
            foreign.push(path.to_owned());
        }
    });
    let at = sh(data);
    let mut found = Vec::new();
    if let Err((path, error)) = looked {
        found.push(Finding::problem(
            format!("`{}` cannot be read: {error}", path.display()),
            format!("run this as the host's user, or as root: `chown -R {} {at}`", folder.uid()),
        ));
    }
    let is_secret = |path: &PathBuf| look::SECRETS.iter().any(|name| *path == data.join(name));
    // A secret is safe in a folder that others cannot enter.
    if look::lets_others_in(&folder) && open.iter().any(is_secret) {
        let secrets: Vec<PathBuf> = open.iter().filter(|path| is_secret(path)).cloned().collect();
        found.push(Finding::problem(
            format!("others can read the host's secrets: {}", some(&secrets)),
            format!(
                "`chmod -R go= {at}`; if somebody may have read the token: `hospes admin token rotate --data {at}`"
            ),
        ));
    } else if !open.is_empty() {
        found.push(Finding::warning(
            format!("others have access to {}; a host changes that when it starts", some(&open)),
            format!("`chmod -R go= {at}`"),
        ));
    }
    if !foreign.is_empty() {
        found.push(Finding::warning(
            format!(
                "these do not belong to the directory's user ({}): {}",
                folder.uid(),
                some(&foreign)
            ),
            format!("as root: `chown -R {} {at}`", folder.uid()),
        ));
    }
    if found.is_empty() {
        found.push(Finding::ok("only its owner has access to the directory"));
    }
    found
}

/// The first of these paths, and the number of others.
fn some(paths: &[PathBuf]) -> String {
    match paths {
        [] => String::new(),
        [one] => format!("`{}`", one.display()),
        [first, rest @ ..] => format!("`{}` and {} more", first.display(), rest.len()),
    }
}

/// Whether the host's own secrets can be used.
pub(super) fn keys(subject: &Subject) -> Vec<Finding> {
    vec![match &subject.secrets {
        Ok(Some(party)) => Finding::ok(format!("the host is {party}")),
        Ok(None) if subject.data().join(look::SECRETS[0]).exists() => {
            Finding::ok("the host's key is read when only its owner has access")
        }
        Ok(None) => Finding::ok("a host makes its key when it first starts"),
        Err(error) => Finding::problem(chain(error), keys_fix(error, subject.data())),
    }]
}

fn keys_fix(error: &SecretsError, data: &Path) -> String {
    match error {
        SecretsError::Damaged(path) => {
            format!("`rm {}`; a host makes a new one when it starts", sh(path))
        }
        SecretsError::Key(_) => format!(
            "restore `{}` from a backup: receipts are verified with it",
            data.join(look::SECRETS[0]).display()
        ),
        SecretsError::File { .. } | SecretsError::Randomness => {
            "run this as the host's user; if the file is damaged, restore it from a backup".into()
        }
    }
}

/// Whether all records can be read.
pub(super) fn records(subject: &Subject) -> Vec<Finding> {
    let restore = "stop the host if one runs, and restore `state.redb` from a backup";
    match &subject.records {
        Ok(None) => vec![Finding::ok("there are none yet")],
        Ok(Some(aside)) if aside.is_empty() => vec![Finding::ok("all can be read")],
        Ok(Some(aside)) => {
            let aside = aside.iter().map(|aside| (aside.table.name(), &*aside.key, &*aside.reason));
            set_aside(&aside.collect::<Vec<_>>())
        }
        Err(HostError::Store(StoreError::InUse { .. })) => of_running(subject),
        Err(HostError::Store(error @ StoreError::Newer { .. })) => vec![Finding::problem(
            error.to_string(),
            "start the newer host, or restore `state.redb` from a backup",
        )],
        // `keys` says it.
        Err(HostError::Secrets(_)) => Vec::new(),
        Err(error) => vec![Finding::problem(chain(error), restore)],
    }
}

fn set_aside(records: &[(&str, &str, &str)]) -> Vec<Finding> {
    let fix = "start the newer host that wrote it, restore `state.redb` from a backup, or remove it with `hospes admin out-of-service remove`; everything else serves";
    let shown = records.iter().take(RECORDS_SHOWN_MAX);
    let mut found: Vec<Finding> = shown
        .map(|(table, key, reason)| {
            Finding::problem(format!("a host sets aside `{key}` of {table}: {reason}"), fix)
        })
        .collect();
    if let Some(more) = records.len().checked_sub(RECORDS_SHOWN_MAX + 1) {
        found.push(Finding::problem(
            format!("and {} more", more + 1),
            "start a host, and see `hospes admin out-of-service list --data DIR`",
        ));
    }
    found
}

/// The same, according to the running host.
fn of_running(subject: &Subject) -> Vec<Finding> {
    let Some(status) = subject.running.status() else {
        return vec![Finding::warning(
            "a host has them open, and does not report on them",
            "ask again when the host is ready, or stop it",
        )];
    };
    let member = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    let list = |name: &str| status[name].as_array().cloned().unwrap_or_default();
    let entries: Vec<[String; 3]> = list("records_set_aside")
        .iter()
        .map(|entry| ["kind", "key", "reason"].map(|name| member(entry, name)))
        .collect();
    let entries: Vec<_> =
        entries.iter().map(|[kind, key, reason]| (&**kind, &**key, &**reason)).collect();
    let mut found = set_aside(&entries);
    let broken = list("out_of_service");
    if let Some(first) = broken.first() {
        let (model, version) = (member(first, "model"), member(first, "version"));
        found.push(Finding::problem(
            format!(
                "{} published versions are out of service, such as {model}@{version}: {}",
                broken.len(),
                member(first, "reason")
            ),
            format!(
                "fix the cause, then `hospes admin out-of-service retry {model}@{version} --data {}`",
                sh(subject.data())
            ),
        ));
    }
    if found.is_empty() {
        found.push(Finding::ok("the running host has them open, and has read all of them"));
    }
    found
}

/// Whether the clock's time is plausible.
pub(super) fn clock(subject: &Subject) -> Vec<Finding> {
    let now = subject.clock.now();
    let set = "set the clock, and synchronise it: `timedatectl set-ntp true`";
    if RELEASED.parse::<Timestamp>().is_ok_and(|released| now < released) {
        return vec![Finding::problem(format!("the clock says {now}"), set)];
    }
    let file = subject.data().join(TIME_FILE);
    vec![match look::time_kept(subject.data()) {
        Some(Ok(known)) if look::is_behind(now, known) => Finding::problem(
            format!(
                "it is {now}, earlier than the last time that the host saw ({known}): agreements are checked against the later one"
            ),
            format!("{set}; if the later one was wrong, stop the host and `rm {}`", sh(&file)),
        ),
        Some(Err(_)) => Finding::warning(
            format!("`{}` holds no time, so a host ignores it", file.display()),
            format!("`rm {}`; a host writes a new one", sh(&file)),
        ),
        Some(Ok(_)) | None => Finding::ok(format!("it is {}", now.strftime("%F %T UTC"))),
    }]
}
