//! Why a model was not converted.

use std::io;
use std::path::PathBuf;

/// Why a model was not converted. Every message ends with what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The file is not what it seems.
    #[error("{what} is damaged at {place}: {why}; {fix}")]
    Broken { what: &'static str, place: String, why: String, fix: &'static str },
    /// The source has something that ONNX, or this command, has not.
    #[error("{what} ({place}) cannot be converted; {fix}")]
    Unsupported { what: String, place: String, fix: String },
    #[error("`{}` is not of a known format; give `--from`, one of {}", path.display(), super::Source::NAMES)]
    Unknown { path: PathBuf },
    #[error("`{}` has {bytes} bytes, more than the {max} allowed; export it to ONNX with its own library", path.display())]
    Large { path: PathBuf, bytes: u64, max: u64 },
    #[error("`{}` cannot be read; check the path and its permissions", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{what}; {fix}")]
    Refused { what: String, fix: String },
    #[error(
        "the converted model cannot be written as ONNX; please report it with the source's version"
    )]
    Written(#[source] Box<hospes_onnx::ModelRefused>),
    #[error(transparent)]
    Confine(#[from] Box<hospes_confine::ConfineError>),
    #[error(transparent)]
    Left(#[from] hospes_confine::left::LeftError),
    #[error(transparent)]
    Rows(#[from] Box<hospes_data::DataError>),
}

pub(crate) const AGAIN: &str = "save it again with the library that made it";

pub(crate) fn broken(
    what: &'static str,
    place: impl Into<String>,
    why: impl Into<String>,
) -> ConvertError {
    ConvertError::Broken { what, place: place.into(), why: why.into(), fix: AGAIN }
}

pub(crate) fn unsupported(
    what: impl Into<String>,
    place: impl Into<String>,
    fix: impl Into<String>,
) -> ConvertError {
    ConvertError::Unsupported { what: what.into(), place: place.into(), fix: fix.into() }
}

pub(crate) fn refused(what: impl Into<String>, fix: impl Into<String>) -> ConvertError {
    ConvertError::Refused { what: what.into(), fix: fix.into() }
}
