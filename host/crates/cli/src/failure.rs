//! A command's failure: the error, its causes, and a fix.
//!
//! Shown as `error: …`, one `because: …` per cause, and `fix: …` where a fix is known. Exit code 1; clap itself exits with 2
//! for a wrong command line.

use std::error::Error;
use std::fmt;
use std::path::Path;

use serde_json::{Value, json};

use super::screen::printable;

/// Most causes shown.
const CAUSES_MAX: usize = 8;

/// A command that was refused or failed. Every error of the library converts into one.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure(Box<Parts>);

/// Boxed, to keep `Result` small.
#[derive(Debug, Clone, PartialEq, Default)]
struct Parts {
    message: String,
    causes: Vec<String>,
    fix: Option<String>,
    details: Option<Value>,
    receipt: Option<String>,
}

impl Failure {
    /// A failure without a cause.
    pub fn new(message: impl Into<String>) -> Self {
        Self(Box::new(Parts { message: message.into(), ..Parts::default() }))
    }

    /// A failure to do something with a file.
    pub fn file(action: &str, path: &Path, error: &std::io::Error) -> Self {
        let mut failure = Self::new(format!("cannot {action} `{}`", path.display()));
        failure.0.causes.push(error.to_string());
        failure
    }

    /// Adds a fix.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.0.fix = Some(fix.into());
        self
    }

    /// Wraps the failure in a message that says what was being done.
    #[must_use]
    pub fn during(mut self, message: impl Into<String>) -> Self {
        let cause = std::mem::replace(&mut self.0.message, message.into());
        self.0.causes.insert(0, cause);
        self.0.causes.truncate(CAUSES_MAX);
        self
    }

    /// Adds details for programs, shown only with `--json`.
    #[must_use]
    pub fn details(mut self, details: Value) -> Self {
        self.0.details = Some(details);
        self
    }

    /// Names the refusal's receipt.
    #[must_use]
    pub fn receipt(mut self, call: Option<&str>) -> Self {
        self.0.receipt = call.map(str::to_owned);
        self
    }

    /// The failure and its causes, without the fix.
    pub fn in_a_line(&self) -> String {
        let Parts { message, causes, .. } = &*self.0;
        causes.iter().fold(message.clone(), |text, cause| format!("{text}: {cause}"))
    }

    /// The problem that the host returned, if any.
    pub fn problem(&self) -> Option<&Value> {
        self.0.details.as_ref()
    }

    /// The failure as JSON.
    pub fn to_json(&self) -> Value {
        let Parts { message, causes, fix, details, receipt } = &*self.0;
        json!({
            "error": message,
            "causes": causes,
            "fix": fix,
            "details": details,
            "receipt": receipt,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", Indented(&self.0.message))?;
        for cause in &self.0.causes {
            write!(f, "\n  because: {}", Indented(cause))?;
        }
        if let Some(fix) = &self.0.fix {
            write!(f, "\n  fix: {}", Indented(fix))?;
        }
        match &self.0.receipt {
            Some(call) => write!(f, "\n  receipt: {call}"),
            None => Ok(()),
        }
    }
}

/// Text that may come from others: control characters are removed, and its lines are indented so that none looks like ours.
struct Indented<'t>(&'t str);

impl fmt::Display for Indented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(self.0).replace('\n', "\n    "))
    }
}

// `Failure` is not an `Error` itself, so that every error can convert into it.
impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut failure = Self::new(error.to_string());
        let mut source = error.source();
        let mut depth = 0;
        while let Some(cause) = source.filter(|_| depth < CAUSES_MAX) {
            let text = cause.to_string();
            let before = failure.0.causes.last().unwrap_or(&failure.0.message);
            // Some errors say their cause themselves.
            if !before.contains(text.trim()) {
                failure.0.causes.push(text);
            }
            source = cause.source();
            depth += 1;
        }
        failure
    }
}

/// Adds what was being done, or a fix, to an error.
pub trait During<T> {
    /// Puts `message` in front of the failure.
    ///
    /// # Errors
    /// The failure itself.
    fn during(self, message: impl FnOnce() -> String) -> Result<T, Failure>;

    /// Adds a fix.
    ///
    /// # Errors
    /// The failure itself.
    fn or_fix(self, fix: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Into<Failure>> During<T> for Result<T, E> {
    fn during(self, message: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| error.into().during(message()))
    }

    fn or_fix(self, fix: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| error.into().fix(fix()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the outer thing")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn shows_the_causes_and_the_fix() {
        let failure = Failure::from(Outer(std::io::Error::other("the inner thing")))
            .during("cannot do it")
            .fix("do it otherwise");
        assert_eq!(
            failure.to_string(),
            "error: cannot do it\n  because: the outer thing\n  because: the inner thing\n  fix: do it otherwise"
        );
        let json = failure.details(json!({"status": 429})).to_json();
        assert_eq!(json["error"], "cannot do it");
        assert_eq!(json["causes"][1], "the inner thing");
        assert_eq!(json["details"]["status"], 429);
    }

    #[test]
    fn a_cause_that_was_said_already_is_not_repeated() {
        #[derive(Debug, thiserror::Error)]
        #[error("the recipe is not valid: {0}")]
        struct Told(#[source] std::io::Error);
        let failure = Failure::from(Told(std::io::Error::other("line 3\n  |\n")));
        assert_eq!(failure.0.causes, Vec::<String>::new());
    }

    #[test]
    fn a_loop_of_causes_ends() {
        #[derive(Debug)]
        struct Endless;
        impl fmt::Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("again")
            }
        }
        impl Error for Endless {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&Endless)
            }
        }
        assert!(Failure::from(Endless).0.causes.len() <= CAUSES_MAX);
    }
}
