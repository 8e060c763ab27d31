//! Digests of data sets, as anybody can compute them with `sha256sum`.
//!
//! A file's digest is that of its bytes. A folder's is that of what `sha256sum` prints for its files in the order of their paths:
//!
//! ```sh
//! cd FOLDER && find . -type f | sed 's|^\./||' | LC_ALL=C sort | tr '\n' '\0' | xargs -0 sha256sum | sha256sum
//! ```
//!
//! A path that is neither, such as `fashion/train` for the pair of files of IDX, means the files beside it whose names begin so, with `-`
//! after it. Their digest is that of a folder of them.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use hospes_core::id::{Digest, Hasher};

/// Most files of a data set, and deepest folder in it.
const FILES_MAX: usize = 5_000_000;
const DEPTH_MAX: usize = 32;

/// Why a data set has no digest.
#[derive(Debug, thiserror::Error)]
pub enum DataSetError {
    #[error("cannot read `{}`", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("`{}` is neither a file nor a folder, so it has no digest: take it out of the data set", path.display())]
    Kind { path: PathBuf },
    #[error("`{}` has more than {FILES_MAX} files or folders deeper than {DEPTH_MAX}: name a smaller folder", path.display())]
    Size { path: PathBuf },
    #[error("the name of `{}` is not text or has a line break, so its digest would be ambiguous: rename it", path.display())]
    Name { path: PathBuf },
    #[error(
        "data set `{name}` at `{}` has changed: its digest is {found}, the recipe says {stated}; run `hospes train RECIPE --lock` if it should be trained on as it is now", path.display()
    )]
    Changed { name: String, path: PathBuf, found: String, stated: String },
}

/// A data set as it was read: what it is, and how large.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub digest: Digest,
    pub bytes: u64,
    pub files: u64,
}

/// Reads a file or a folder whole. Links are followed where they lead to files.
///
/// # Errors
/// [`DataSetError`].
pub fn digest(path: &Path) -> Result<Seen, DataSetError> {
    if !path.exists() {
        let files = beginning(path);
        if !files.is_empty() {
            return of_files(files);
        }
    }
    let (digest, bytes) = match kind(path)? {
        Kind::File => of_file(path)?,
        Kind::Folder => return of_folder(path),
    };
    Ok(Seen { digest, bytes, files: 1 })
}

enum Kind {
    File,
    Folder,
}

fn kind(path: &Path) -> Result<Kind, DataSetError> {
    let failed = |source| DataSetError::Read { path: path.to_owned(), source };
    let about = std::fs::metadata(path).map_err(failed)?;
    match (about.is_file(), about.is_dir()) {
        (true, _) => Ok(Kind::File),
        (_, true) => Ok(Kind::Folder),
        // A pipe would be waited for.
        (false, false) => Err(DataSetError::Kind { path: path.to_owned() }),
    }
}

fn of_folder(path: &Path) -> Result<Seen, DataSetError> {
    let mut files = Vec::new();
    walk(path, 0, &mut files, path)?;
    let named: Result<Vec<(String, PathBuf)>, DataSetError> = files
        .into_iter()
        .map(|file| {
            let name = file.strip_prefix(path).ok().and_then(Path::to_str);
            match name.filter(|name| !name.contains(['\n', '\r', '\\'])).map(str::to_owned) {
                Some(name) => Ok((name, file)),
                None => Err(DataSetError::Name { path: file }),
            }
        })
        .collect();
    of_files(named?)
}

/// The files whose names begin like this path's, with `-` after it.
fn beginning(path: &Path) -> Vec<(String, PathBuf)> {
    let Some((folder, name)) = path.parent().zip(path.file_name().and_then(|name| name.to_str()))
    else {
        return Vec::new();
    };
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(|entry| entry.ok());
    let named =
        entries.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())));
    let begin = format!("{name}-");
    named.filter(|(name, path)| name.starts_with(&begin) && path.is_file()).collect()
}

fn of_files(mut named: Vec<(String, PathBuf)>) -> Result<Seen, DataSetError> {
    named.sort();
    let mut all = Hasher::default();
    let mut bytes = 0;
    for (name, file) in &named {
        let (digest, length) = of_file(file)?;
        bytes += length;
        all.update(format!("{}  {name}\n", digest.hex()).as_bytes());
    }
    Ok(Seen { digest: all.finish(), bytes, files: named.len() as u64 })
}

fn walk(
    folder: &Path,
    depth: usize,
    files: &mut Vec<PathBuf>,
    top: &Path,
) -> Result<(), DataSetError> {
    let failed = |source| DataSetError::Read { path: folder.to_owned(), source };
    if depth > DEPTH_MAX {
        return Err(DataSetError::Size { path: top.to_owned() });
    }
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        match kind(&path)? {
            Kind::File => files.push(path),
            Kind::Folder => walk(&path, depth + 1, files, top)?,
        }
        if files.len() > FILES_MAX {
            return Err(DataSetError::Size { path: top.to_owned() });
        }
    }
    Ok(())
}

fn of_file(path: &Path) -> Result<(Digest, u64), DataSetError> {
    let failed = |source| DataSetError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let (mut hasher, mut bytes) = (Hasher::default(), 0);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer).map_err(failed)?;
        if read == 0 {
            return Ok((hasher.finish(), bytes));
        }
        hasher.update(&buffer[..read]);
        bytes += read as u64;
    }
}
