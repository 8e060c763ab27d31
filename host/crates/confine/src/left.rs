//! What a foreign program left in its folder, opened by its caller, who may do more than the program.
//!
//! The program may have put links to the caller's own files there, pipes that nobody writes to, or files without end.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
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
}
