//! Locates ONNX Runtime's library and installs it from the official Python package.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use hospes_config as config;
use hospes_core::id::{Digest, IdError};

/// The installed version. `ort` needs API version 31.
const VERSION: &str = "1.31.1";

/// Path of the library in the package.
const MEMBER: &str = "onnxruntime/capi/libonnxruntime.so.1.31.1";

/// Name of the library where it is installed.
const LIBRARY: &str = "libonnxruntime.so";

/// Maximum size of the extracted library, in bytes.
const LIBRARY_BYTES_MAX: u64 = 256 << 20;

/// Where Linux distributions install it.
const SYSTEM: [&str; 4] =
    ["/usr/local/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib"];

/// A known package, with the registry's checksum.
struct Package {
    architecture: &'static str,
    platform: &'static str,
    sha256: &'static str,
}

const PACKAGES: [Package; 2] = [
    Package {
        architecture: "x86_64",
        platform: "manylinux_2_28_x86_64",
        sha256: "sha256:5752bd508126ae7c49894d3b9d2e83f0c3d487319246d04c444b393308d7ad7f",
    },
    Package {
        architecture: "aarch64",
        platform: "manylinux_2_28_aarch64",
        sha256: "sha256:da05378364c44d4407e463982d2bf8d5e4cfea873283757e48beeb41df97b7f3",
    },
];

/// Why the library could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    #[error(
        "there is no package of onnxruntime {VERSION} for `{}`: set `inference.onnxruntime_library` to a library of your own",
        std::env::consts::ARCH
    )]
    NoPackage,
    #[error("`{}` cannot be run", python.display())]
    Python {
        python: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("pip could not fetch onnxruntime {VERSION}: {reason}")]
    Pip { reason: String },
    #[error("pip fetched a package with checksum {seen}, not the pinned {pinned}")]
    Checksum { pinned: Digest, seen: Digest },
    #[error("the pinned checksum is wrong")]
    Pin(#[from] IdError),
    #[error("the package cannot be opened")]
    Package(#[from] zip::result::ZipError),
    #[error("the library in the package is larger than {LIBRARY_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the library could not be written to `{}`", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// The default paths of the library, in order: environment variable, beside the binary, data directory, system.
pub fn places(data: &Path) -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = config::library_from_environment().into_iter().collect();
    places.extend(config::binary_directory().map(|folder| folder.join(LIBRARY)));
    places.push(installed(data));
    places.extend(SYSTEM.map(|folder| Path::new(folder).join(LIBRARY)));
    places
}

/// Where [`install`] puts the library.
fn installed(data: &Path) -> PathBuf {
    data.join("runtime").join(format!("onnxruntime-{VERSION}")).join(LIBRARY)
}

/// Installs the official library into the data directory, through `python`'s pip. `progress` gets each step.
///
/// # Errors
/// [`RuntimeError`]; nothing was changed.
pub fn install(
    data: &Path,
    python: &Path,
    mut progress: impl FnMut(&str),
) -> Result<PathBuf, RuntimeError> {
    let package = PACKAGES.iter().find(|package| package.architecture == std::env::consts::ARCH);
    let package = package.ok_or(RuntimeError::NoPackage)?;
    let target = installed(data);
    let failed = |source| RuntimeError::Write { path: target.clone(), source };
    let folder = target.parent().unwrap_or(data);
    fs::create_dir_all(folder).map_err(failed)?;
    let scratch = tempfile::tempdir_in(folder).map_err(failed)?;
    progress(&format!("fetching onnxruntime {VERSION} (24 MB)"));
    let wheel = fetch(package, python, scratch.path())?;
    progress("checking it");
    let bytes = fs::read(wheel).map_err(failed)?;
    let (pinned, seen) = (package.sha256.parse()?, Digest::of(&bytes));
    if seen != pinned {
        return Err(RuntimeError::Checksum { pinned, seen });
    }
    progress("unpacking the library");
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(bytes))?;
    let mut library = Vec::new();
    let member = archive.by_name(MEMBER)?;
    member.take(LIBRARY_BYTES_MAX + 1).read_to_end(&mut library).map_err(failed)?;
    if library.len() as u64 > LIBRARY_BYTES_MAX {
        return Err(RuntimeError::TooLarge);
    }
    let fresh = scratch.path().join(LIBRARY);
    fs::write(&fresh, library).and_then(|()| fs::rename(&fresh, &target)).map_err(failed)?;
    Ok(target)
}

fn fetch(package: &Package, python: &Path, folder: &Path) -> Result<PathBuf, RuntimeError> {
    // Fetches the same file whatever Python version runs pip, because the package is only unpacked.
    let output = Command::new(python)
        .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"])
        .args(["--only-binary=:all:", "--implementation=cp", "--python-version=311", "--abi=cp311"])
        .arg(format!("--platform={}", package.platform))
        .arg(format!("onnxruntime=={VERSION}"))
        .arg("--dest")
        .arg(folder)
        .output()
        .map_err(|source| RuntimeError::Python { python: python.into(), source })?;
    let failed = |reason: String| RuntimeError::Pip { reason };
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let last = text.lines().rev().find(|line| !line.trim().is_empty());
        return Err(failed(last.unwrap_or("it said nothing").to_owned()));
    }
    let entries = fs::read_dir(folder).map_err(|error| failed(error.to_string()))?;
    let mut paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let wheel = paths.find(|path| path.extension().is_some_and(|extension| extension == "whl"));
    wheel.ok_or_else(|| failed("it left no package".into()))
}
