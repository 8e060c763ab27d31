//! `hospes doctor`: checks everything that a host needs, and reports problems with fixes.
//!
//! Changes nothing, with or without a running host. A check is one function of [`CHECKS`]; [`Subject`] holds what several of them
//! need. It reads the host's files with the host's own code, so that both agree.

mod data;
mod machine;
mod network;
mod running;

use std::path::Path;

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::MakeRuntime;
use super::serve::{Settings, outlive_file_size};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::host::{HostError, SecretsError};
use crate::id::Party;
use crate::start::look;
use crate::store::Aside;
use hospes_cli::Context;
use hospes_cli::failure::{During as _, Failure};
use hospes_cli::screen::{Answer, printable};
use hospes_cli::shell::path as sh;
use machine::Workers;
use running::Running;

/// Diagnose a host and suggest fixes.
///
/// Checks the data directory, its space, records, keys and permissions, the clock, the library and kernel features for inference, the
/// process's limits, the addresses to listen on, the certificate, and the host if one runs. Takes the same settings as `hospes serve`;
/// run it as the same user. Changes nothing.
///
/// `problem`: the host does not start, wrongly refuses requests, or exposes its secrets. `warning`: it runs, but could run better or
/// more safely. The exit code is 1 if there is a problem.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  hospes doctor --data ./data\n  \
    hospes doctor --config hospes.toml --json")]
pub struct Doctor {
    #[command(flatten)]
    settings: Settings,
}

/// What the checks examine.
struct Subject {
    config: Config,
    clock: Clock,
    /// The data directory's party, from its key, or why its secrets cannot be used.
    secrets: Result<Option<Party>, SecretsError>,
    /// The records that a host would set aside.
    records: Result<Option<Vec<Aside>>, HostError>,
    running: Running,
    workers: Workers,
}

impl Subject {
    fn data(&self) -> &Path {
        &self.config.data.dir
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
    Ok,
    Warning,
    Problem,
}

impl Severity {
    fn name(self) -> &'static str {
        match self {
            Severity::Ok => "ok",
            Severity::Warning => "warning",
            Severity::Problem => "problem",
        }
    }
}

/// A check's finding. Problems and warnings have a fix.
#[derive(Debug, Serialize)]
struct Finding {
    severity: Severity,
    detail: String,
    fix: Option<String>,
}

impl Finding {
    fn ok(detail: impl Into<String>) -> Self {
        Self { severity: Severity::Ok, detail: detail.into(), fix: None }
    }

    fn warning(detail: impl Into<String>, fix: impl Into<String>) -> Self {
        let fix = Some(fix.into());
        Self { severity: Severity::Warning, detail: detail.into(), fix }
    }

    fn problem(detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { severity: Severity::Problem, ..Self::warning(detail, fix) }
    }
}

type Check = fn(&Subject) -> Vec<Finding>;

/// The checks, in display order.
const CHECKS: [(&str, Check); 14] = [
    ("data", data::directory),
    ("space", data::space),
    ("permissions", data::permissions),
    ("keys", data::keys),
    ("records", data::records),
    ("clock", data::clock),
    ("runtime", machine::runtime),
    ("artefacts", machine::artefacts),
    ("kernel", machine::kernel),
    ("limits", machine::limits),
    ("memory", machine::memory),
    ("ports", network::ports),
    ("tls", network::tls),
    ("host", running::host),
];

impl Doctor {
    pub fn run(self, context: &Context, make_runtime: MakeRuntime) -> Result<Answer, Failure> {
        let config = self.settings.read()?;
        // As a host does when it starts, and for this process only.
        config::machine::raise_files_max();
        let clock = context.clock.clone();
        let runtime = make_runtime().during(|| "cannot start threads".into())?;
        let workers = runtime.block_on(async {
            // As a host does: the limit also applies to the workers' shared memory.
            let _limited = outlive_file_size().during(|| "cannot wait for signals".into())?;
            Ok::<_, Failure>(Workers::look(&config).await)
        })?;
        runtime.shutdown_background();
        let records = look::records(&config, &clock);
        let running = Running::look(&config, &records);
        let secrets = look::secrets(&config.data.dir);
        Ok(answer(&Subject { config, clock, secrets, records, running, workers }))
    }
}

fn answer(subject: &Subject) -> Answer {
    let found: Vec<(&str, Finding)> = CHECKS
        .iter()
        .flat_map(|(name, check)| check(subject).into_iter().map(move |finding| (*name, finding)))
        .collect();
    let count = |severity| found.iter().filter(|(_, found)| found.severity == severity).count();
    let (problems, warnings) = (count(Severity::Problem), count(Severity::Warning));
    let mut plain = String::new();
    for (name, Finding { severity, detail, fix }) in &found {
        // One line each, whatever file names or others' text contain.
        let line = |text: &str| printable(&text.replace('\n', " "));
        plain += &format!("{:<7}  {name:<11}  {}\n", severity.name(), line(detail));
        if let Some(fix) = fix {
            plain += &format!("{:22}fix: {}\n", "", line(fix));
        }
    }
    plain += &match (problems, warnings) {
        (0, 0) => "all is well".to_owned(),
        (problems, warnings) => {
            format!("{}, {}", counted(problems, "problem"), counted(warnings, "warning"))
        }
    };
    let findings: Vec<_> = found
        .iter()
        .map(|(name, Finding { severity, detail, fix })| {
            json!({"check": name, "severity": severity, "detail": detail, "fix": fix})
        })
        .collect();
    let json = json!({
        "problems": problems,
        "warnings": warnings,
        "findings": findings,
        "data": subject.data().display().to_string(),
        "version": env!("CARGO_PKG_VERSION"),
    });
    if problems > 0 { Answer::Refused { plain, json } } else { Answer::new(plain, json) }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// An error and its causes, in one line.
fn chain(error: impl std::error::Error) -> String {
    Failure::from(error).in_a_line()
}
