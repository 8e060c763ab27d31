//! What a foreign program left in its folder, opened by its caller, who may do more than the program.
//!
//! The program may have put links to the caller's own files there, pipes that nobody writes to, or files without end.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Why something that was left is not taken.
#[derive(Debug, thiserror::Error)]
pub enum LeftError {
    #[error("`{}` is not a file, or lies behind a link: let the program write a file there", path.display())]
    NotAFile { path: PathBuf },
    #[error("`{}` is larger than the {max} bytes that are read: let the program write less", path.display())]
    Large { path: PathBuf, max: u64 },
    #[error("cannot read `{}`, which the program left", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Opens this file below the folder; `None` if it is not there. `name` may have folders. No link is followed but of the path to the folder itself,
/// which must lie where the program could not write.
///
/// # Errors
/// [`LeftError`].
pub fn open(folder: &Path, name: &Path) -> Result<Option<File>, LeftError> {
    let path = folder.join(name);
    let failed = |error: Errno| LeftError::Read { path: path.clone(), source: error.into() };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty()).map_err(failed)?;
    // A pipe would be waited for without `NONBLOCK`.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let opened = rustix::io::retry_on_intr(|| {
        rustix::fs::openat2(&folder, name, flags, Mode::empty(), beneath)
    });
    let file = match opened {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        // A link, a way out of the folder, a file as a folder, a socket.
        Err(Errno::LOOP | Errno::XDEV | Errno::NOTDIR | Errno::NXIO) => {
            return Err(LeftError::NotAFile { path });
        }
        Err(error) => return Err(failed(error)),
    };
    let about = file.metadata();
    match about.map_err(|source| LeftError::Read { path: path.clone(), source })?.is_file() {
        true => Ok(Some(file)),
        false => Err(LeftError::NotAFile { path }),
    }
}

/// Reads this file below the folder whole, at most `max` bytes; `None` if it is not there.
///
/// # Errors
/// [`LeftError`].
pub fn read(folder: &Path, name: &Path, max: u64) -> Result<Option<Vec<u8>>, LeftError> {
    let Some(file) = open(folder, name)? else { return Ok(None) };
    let path = || folder.join(name);
    let mut bytes = Vec::new();
    let read = file.take(max.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|source| LeftError::Read { path: path(), source })?;
    if bytes.len() as u64 > max {
        return Err(LeftError::Large { path: path(), max });
    }
    Ok(Some(bytes))
}

/// Removes a file, a link itself, or a folder with all that is in it, if it is there.
///
/// However deep folders lie inside each other, two of them are open at a time: inner ones are moved up and emptied there.
///
/// # Errors
/// Why something cannot be removed.
pub fn remove(path: &Path) -> io::Result<()> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(about) if about.is_dir() => remove_folder(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn remove_folder(path: &Path) -> io::Result<()> {
    let top = rustix::fs::open(path, FOLDER, Mode::empty())?;
    let mut moved = 0_u64;
    let mut empty = |name: &CStr| {
        let inner = rustix::fs::openat(&top, name, FOLDER, Mode::empty())?;
        each(&inner, |name| move_up(&inner, name, &top, &mut moved))?;
        rustix::fs::unlinkat(&top, name, AtFlags::REMOVEDIR)
    };
    // A list of names may lack those that were added while it was read.
    while each(&top, &mut empty)? {}
    std::fs::remove_dir(path)
}

/// Removes what is in a folder, and calls `inner` for each folder in it. Whether there was something.
fn each(
    folder: &OwnedFd,
    mut inner: impl FnMut(&CStr) -> Result<(), Errno>,
) -> Result<bool, Errno> {
    let mut found = false;
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        found = true;
        match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
            Err(Errno::ISDIR) => inner(name)?,
            removed => removed?,
        }
    }
    Ok(found)
}

/// Removes an empty folder, or moves one to the top under a name that is free there.
fn move_up(from: &OwnedFd, name: &CStr, top: &OwnedFd, moved: &mut u64) -> Result<(), Errno> {
    match rustix::fs::unlinkat(from, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        removed => return removed,
    }
    loop {
        *moved += 1;
        match rustix::fs::renameat(from, name, top, format!("moved-{moved}")) {
            // The program has left something under this name.
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
            renamed => return renamed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn files_are_read_and_links_pipes_and_endless_ones_are_not() {
        let place = tempfile::tempdir().expect("a folder");
        let (own, secret) = (place.path().join("own"), place.path().join("secret"));
        std::fs::create_dir_all(own.join("model")).expect("a folder");
        std::fs::create_dir(own.join("deep")).expect("a folder");
        std::fs::write(&secret, "secret").expect("written");
        std::fs::write(own.join("model/model.onnx"), "made").expect("written");
        let get = |name: &str| read(&own, Path::new(name), 4);
        assert_eq!(get("model/model.onnx").expect("read"), Some(b"made".to_vec()));
        assert_eq!(get("absent").expect("absent"), None);
        assert_eq!(get("model/absent").expect("absent"), None);
        std::fs::write(own.join("large"), "large").expect("written");
        assert!(matches!(get("large"), Err(LeftError::Large { max: 4, .. })));
        symlink(&secret, own.join("link")).expect("made");
        symlink("model/model.onnx", own.join("inner")).expect("made");
        symlink(place.path(), own.join("out")).expect("made");
        symlink("absent", own.join("dangling")).expect("made");
        let pipe = rustix::fs::Mode::RUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, own.join("pipe"), pipe).expect("made");
        let _socket = std::os::unix::net::UnixListener::bind(own.join("socket")).expect("bound");
        let names = [
            "link",
            "inner",
            "out/secret",
            "dangling",
            "pipe",
            "socket",
            "deep",
            "../secret",
            "large/x",
        ];
        for name in names {
            let error = get(name).expect_err(name);
            assert!(matches!(error, LeftError::NotAFile { .. }), "{name}: {error}");
        }
    }

    #[test]
    fn folders_are_removed_however_deep_and_nothing_behind_links() {
        let place = tempfile::tempdir().expect("a folder");
        let (own, kept) = (place.path().join("own"), place.path().join("kept"));
        std::fs::create_dir(&kept).expect("a folder");
        std::fs::write(kept.join("file"), "mine").expect("written");
        std::fs::create_dir_all(own.join("moved-1/a")).expect("folders");
        symlink(&kept, own.join("link")).expect("made");
        // Deeper than files may be open, and than a path may be long.
        let mut folder = rustix::fs::open(&own, FOLDER, Mode::empty()).expect("opened");
        for _ in 0..5_000 {
            rustix::fs::mkdirat(&folder, "d", Mode::RWXU).expect("made");
            rustix::fs::symlinkat(&kept, &folder, "out").expect("made");
            folder = rustix::fs::openat(&folder, "d", FOLDER, Mode::empty()).expect("opened");
        }
        remove(&own).expect("removed");
        assert!(!own.exists() && kept.join("file").exists());
        symlink(&kept, &own).expect("made");
        remove(&own).expect("removed");
        remove(&own).expect("it is not there");
        assert!(!own.is_symlink() && kept.join("file").exists());
    }
}
