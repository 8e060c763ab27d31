//! Files and folders by digest, as anybody can compute them with `sha256sum`.
//!
//! A file's digest is that of its bytes. A folder's is that of what `sha256sum` prints for its files in the order of their paths, which is
//! in-toto's `dirHash` and `Hash1` of Go's `golang.org/x/mod/sumdb/dirhash`:
//!
//! ```sh
//! cd FOLDER && find -L . -type f | cut -c3- | LC_ALL=C sort | tr '\n' '\0' | xargs -0 sha256sum | sha256sum
//! ```
//!
//! A path that is neither, such as `fashion/train` for the pair of files of IDX, means the files beside it whose names begin so, with `-`
//! after it. Their digest is that of a folder of them.
//!
//! A link to a file counts as the file. A link to a folder is refused: it may lead out of the folder, or round in a circle.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::id::{Digest, Hasher};

/// Most files of a folder.
pub const FOLDER_FILES_MAX: usize = 5_000_000;

/// Most folders inside each other.
pub const FOLDER_DEPTH_MAX: usize = 32;

/// Why a file or a folder has no digest.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    #[error("`{}` cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` has more than the {FOLDER_FILES_MAX} files allowed: pack them into fewer", path.display())]
    TooManyFiles { path: PathBuf },
    #[error("`{}` lies more than {FOLDER_DEPTH_MAX} folders deep: move it up", path.display())]
    TooDeep { path: PathBuf },
    #[error("the name of `{}` is not UTF-8, or has a line break or `\\`: rename it", path.display())]
    Name { path: PathBuf },
    #[error("`{}` is neither a file nor a folder: remove it", path.display())]
    Special { path: PathBuf },
    #[error("`{}` is a link to a folder, which is not followed: put the folder itself there, or name it by itself", path.display())]
    LinkedFolder { path: PathBuf },
    #[error("`{}` holds no files", path.display())]
    Empty { path: PathBuf },
}

/// What lies at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    File { digest: Digest, bytes: u64 },
    Files(Files),
}

impl Found {
    /// The digest of the file, or of all.
    pub fn digest(&self) -> Digest {
        match self {
            Self::File { digest, .. } => *digest,
            Self::Files(files) => files.digest(),
        }
    }

    /// Their size together.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::File { bytes, .. } | Self::Files(Files { bytes, .. }) => *bytes,
        }
    }
}

/// Several files: those of a folder, or those whose names begin alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// Their digests by their paths within the folder, with `/`. There is at least one.
    pub digests: BTreeMap<String, Digest>,
    /// Their size together.
    pub bytes: u64,
}

impl Files {
    /// The digest of all.
    pub fn digest(&self) -> Digest {
        dir_hash(self.digests.iter().map(|(path, digest)| (path.as_str(), *digest)))
    }
}

/// Reads a file, or all files that a path means.
///
/// # Errors
/// [`FilesError`].
pub fn read(path: &Path) -> Result<Found, FilesError> {
    let mut listed = Listed { top: path, digests: BTreeMap::new(), bytes: 0 };
    match fs::metadata(path) {
        Ok(about) if about.is_file() => {
            let (digest, bytes) = read_file(path)?;
            return Ok(Found::File { digest, bytes });
        }
        Ok(about) if about.is_dir() => listed.folder(path, "", 0)?,
        // A pipe would be waited for.
        Ok(_) => return Err(FilesError::Special { path: path.to_owned() }),
        Err(source) => {
            let files = beginning(path);
            if files.is_empty() {
                return Err(FilesError::Read { path: path.to_owned(), source });
            }
            files.into_iter().try_for_each(|(name, file)| listed.file(name, &file))?;
        }
    }
    let Listed { digests, bytes, .. } = listed;
    if digests.is_empty() {
        return Err(FilesError::Empty { path: path.to_owned() });
    }
    Ok(Found::Files(Files { digests, bytes }))
}

/// The digest of a file, and its size in bytes.
///
/// # Errors
/// [`FilesError::Read`].
pub fn read_file(path: &Path) -> Result<(Digest, u64), FilesError> {
    /// Size of the buffer.
    const READ_BYTES: usize = 1 << 16;
    let failed = |source| FilesError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let mut buffer = vec![0; READ_BYTES];
    let (mut hasher, mut total) = (Hasher::default(), 0);
    loop {
        let count = file.read(&mut buffer).map_err(failed)?;
        if count == 0 {
            return Ok((hasher.finish(), total));
        }
        hasher.update(buffer.get(..count).unwrap_or_default());
        total += count as u64;
    }
}

/// What a path means: the file or folder itself, or the files whose names begin so. Nothing if it means nothing.
pub fn meant(path: &Path) -> Vec<PathBuf> {
    if path.exists() {
        return vec![path.to_owned()];
    }
    beginning(path).into_values().collect()
}

/// The digest of several files, which must come in the order of their paths.
pub fn dir_hash<'f>(files: impl IntoIterator<Item = (&'f str, Digest)>) -> Digest {
    let mut hasher = Hasher::default();
    for (path, digest) in files {
        hasher.update(format!("{}  {path}\n", digest.hex()).as_bytes());
    }
    hasher.finish()
}

/// The files whose names begin like this path's, with `-` after it, by name.
fn beginning(path: &Path) -> BTreeMap<String, PathBuf> {
    let name = path.file_name().and_then(|name| name.to_str());
    let Some((folder, name)) = path.parent().zip(name) else { return BTreeMap::new() };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let begin = format!("{name}-");
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let named = entries.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry)));
    let begins = named.filter(|(name, _)| name.starts_with(&begin) && is_plain(name));
    begins.map(|(name, entry)| (name, entry.path())).filter(|(_, path)| path.is_file()).collect()
}

struct Listed<'p> {
    top: &'p Path,
    digests: BTreeMap<String, Digest>,
    bytes: u64,
}

impl Listed<'_> {
    fn folder(&mut self, folder: &Path, prefix: &str, depth: usize) -> Result<(), FilesError> {
        if depth > FOLDER_DEPTH_MAX {
            return Err(FilesError::TooDeep { path: folder.to_owned() });
        }
        let failed = |path: &Path, source| FilesError::Read { path: path.to_owned(), source };
        for entry in fs::read_dir(folder).map_err(|source| failed(folder, source))? {
            let entry = entry.map_err(|source| failed(folder, source))?;
            let path = entry.path();
            let name = entry.file_name();
            let name = name.to_str().filter(|name| is_plain(name));
            let name = name.ok_or_else(|| FilesError::Name { path: path.clone() })?;
            let name = format!("{prefix}{name}");
            let is_link = entry.file_type().map_err(|source| failed(&path, source))?.is_symlink();
            let about = fs::metadata(&path).map_err(|source| failed(&path, source))?;
            match (about.is_dir(), about.is_file()) {
                (true, _) if is_link => return Err(FilesError::LinkedFolder { path }),
                (true, _) => self.folder(&path, &(name + "/"), depth + 1)?,
                (_, true) => self.file(name, &path)?,
                (false, false) => return Err(FilesError::Special { path }),
            }
        }
        Ok(())
    }

    fn file(&mut self, name: String, path: &Path) -> Result<(), FilesError> {
        if self.digests.len() == FOLDER_FILES_MAX {
            return Err(FilesError::TooManyFiles { path: self.top.to_owned() });
        }
        let (digest, bytes) = read_file(path)?;
        self.digests.insert(name, digest);
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
    }
}

/// Whether `sha256sum` prints a name as it is.
fn is_plain(name: &str) -> bool {
    !name.contains(['\n', '\r', '\\'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn several(path: &Path) -> Files {
        match read(path).expect("readable") {
            Found::Files(files) => files,
            Found::File { .. } => panic!("one file"),
        }
    }

    #[test]
    fn a_folder_s_digest_is_what_sha256sum_gives() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("a")).expect("made");
        fs::write(folder.path().join("a/1.png"), "one").expect("written");
        fs::write(folder.path().join("a.txt"), "two").expect("written");
        let files = several(folder.path());
        // find . -type f | cut -c3- | LC_ALL=C sort | xargs sha256sum | sha256sum
        let known = "sha256:28910096ac465940dd3ac2b2d8153cd1ba9fd3f76038662d845f271cbabd7f26";
        assert_eq!(files.digest().to_string(), known);
        assert_eq!((files.digests.len(), files.bytes), (2, 6));
        let one = read(&folder.path().join("a.txt")).expect("readable");
        assert_eq!(one, Found::File { digest: Digest::of(b"two"), bytes: 3 });
    }

    #[test]
    fn a_path_that_is_not_there_means_the_files_that_begin_so() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["t-images", "t-labels", "test-images", "t"] {
            fs::write(folder.path().join(name), name).expect("written");
        }
        let path = folder.path().join("t");
        assert_eq!(meant(&path), std::slice::from_ref(&path), "what is there is meant itself");
        fs::remove_file(&path).expect("removed");
        assert_eq!(meant(&path).len(), 2);
        let files = several(&path);
        assert_eq!(files.digests.keys().collect::<Vec<_>>(), ["t-images", "t-labels"]);
        fs::create_dir(folder.path().join("pair")).expect("made");
        for name in ["t-images", "t-labels"] {
            fs::rename(folder.path().join(name), folder.path().join("pair").join(name))
                .expect("moved");
        }
        assert_eq!(several(&folder.path().join("pair")), files, "as a folder of them");
        let error = read(&path).expect_err("nothing");
        assert!(meant(&path).is_empty() && matches!(error, FilesError::Read { .. }), "{error}");
    }

    #[test]
    fn what_has_no_digest_says_why() {
        let folder = tempfile::tempdir().expect("a folder");
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).expect("made");
        let refused = || read(&inner).expect_err("must be refused");
        assert!(matches!(refused(), FilesError::Empty { .. }));
        fs::write(inner.join("two\nlines"), "").expect("written");
        assert!(matches!(refused(), FilesError::Name { .. }));
        fs::remove_file(inner.join("two\nlines")).expect("removed");
        let _socket = std::os::unix::net::UnixListener::bind(inner.join("socket")).expect("bound");
        assert!(matches!(refused(), FilesError::Special { .. }));
        fs::remove_file(inner.join("socket")).expect("removed");
        let deep = inner.join("d/".repeat(FOLDER_DEPTH_MAX + 1));
        fs::create_dir_all(&deep).expect("made");
        assert!(matches!(refused(), FilesError::TooDeep { .. }));
    }

    #[test]
    fn links_to_files_count_and_links_to_folders_are_refused_by_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let (inner, other) = (folder.path().join("inner"), folder.path().join("other"));
        fs::create_dir(&inner).expect("made");
        fs::create_dir(&other).expect("made");
        fs::write(other.join("file"), "outside").expect("written");
        symlink(other.join("file"), inner.join("linked")).expect("made");
        assert_eq!(several(&inner).digests["linked"], Digest::of(b"outside"));
        for (name, to) in [("circle", &inner), ("out", &other)] {
            symlink(to, inner.join(name)).expect("made");
            let said = read(&inner).expect_err("refused").to_string();
            assert!(said.contains(&format!("inner/{name}` is a link to a folder")), "{said}");
            fs::remove_file(inner.join(name)).expect("removed");
        }
        // Whoever names a link means what it leads to.
        symlink(&inner, folder.path().join("named")).expect("made");
        assert_eq!(several(&folder.path().join("named")), several(&inner));
    }
}
