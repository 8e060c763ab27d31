//! Errors of the host and of the SDK's own checks.

use std::fmt;

use crate::bindings::wasi::nn::errors;

/// The kind of an [`Error`]. The kinds are the error codes of `wasi:nn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// An argument has the wrong name, type or shape.
    InvalidArgument,
    /// The model does not have its declared format.
    InvalidEncoding,
    /// The call has reached its deadline.
    Timeout,
    /// The model failed while it ran.
    RuntimeError,
    /// The host does not support this.
    UnsupportedOperation,
    /// A limit of the host is exceeded.
    TooLarge,
    /// The model or the output does not exist.
    NotFound,
    /// Not permitted.
    Security,
    /// The reason is not known.
    Unknown,
}

/// An error. It converts to a `String`, so `?` works in a function whose WIT result is `result<…, string>`.
///
/// ```
/// use hospes_sdk::{Error, ErrorKind};
///
/// fn label(index: usize) -> Result<&'static str, String> {
///     let labels = ["cat", "dog"];
///     let label = labels.get(index).ok_or_else(|| Error::new(ErrorKind::NotFound, format!("no label {index}")))?;
///     Ok(label)
/// }
///
/// assert_eq!(label(7), Err("no label 7".to_owned()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

impl Error {
    /// Creates an error of the plugin.
    ///
    /// ```
    /// use hospes_sdk::{Error, ErrorKind};
    ///
    /// let error = Error::new(ErrorKind::TooLarge, "picture of 90 megapixels, at most 40");
    /// assert_eq!(error.kind(), ErrorKind::TooLarge);
    /// ```
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The kind of this error.
    ///
    /// ```
    /// use hospes_sdk::{Error, ErrorKind};
    ///
    /// assert_eq!(Error::new(ErrorKind::NotFound, "no output").kind(), ErrorKind::NotFound);
    /// ```
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<Error> for String {
    fn from(error: Error) -> Self {
        error.message
    }
}

impl From<errors::Error> for Error {
    fn from(error: errors::Error) -> Self {
        use errors::ErrorCode as Code;
        let kind = match error.code() {
            Code::InvalidArgument => ErrorKind::InvalidArgument,
            Code::InvalidEncoding => ErrorKind::InvalidEncoding,
            Code::Timeout => ErrorKind::Timeout,
            Code::RuntimeError => ErrorKind::RuntimeError,
            Code::UnsupportedOperation => ErrorKind::UnsupportedOperation,
            Code::TooLarge => ErrorKind::TooLarge,
            Code::NotFound => ErrorKind::NotFound,
            Code::Security => ErrorKind::Security,
            Code::Unknown => ErrorKind::Unknown,
        };
        Self { kind, message: error.data() }
    }
}
