//! Checks the host that runs on the data directory, if any. It has the records open, so it is asked about them.

use std::net::IpAddr;
use std::path::Path;

use serde_json::Value;

use super::{Finding, Subject, sh};
use crate::config::{Config, ListenAddress, OPERATOR_ADDRESS_FILE};
use crate::host::HostError;
use crate::start::look;
use crate::store::{Aside, StoreError};
use hospes_cli::client::{Client, HostUrl};
use hospes_cli::failure::Failure;
use hospes_cli::operator::{read_line, read_token};

/// Whether a host runs.
pub(super) enum Running {
    No,
    /// It has the records open, but does not answer.
    Silent(Failure),
    /// It is starting.
    Starting,
    Yes(Box<Told>),
}

/// A host's report on itself.
pub(super) struct Told {
    url: HostUrl,
    /// `GET /status`.
    status: Value,
    /// `GET /readyz`.
    ready: Result<(), Failure>,
}

impl Running {
    /// Checks whether a process has the records open, and asks it.
    pub(super) fn look(config: &Config, records: &Result<Option<Vec<Aside>>, HostError>) -> Self {
        if !matches!(records, Err(HostError::Store(StoreError::InUse { .. }))) {
            return Running::No;
        }
        let data = &config.data.dir;
        let token = match read_token(&data.join(look::SECRETS[1])) {
            Ok(token) => token,
            Err(failure) => return Running::Silent(failure),
        };
        let mut silent = Failure::new("the address of its operator's listener is unknown");
        for url in addresses(config, data) {
            let client = Client::looking(url.clone(), Some(token.clone()));
            match client.document::<Value>("/status") {
                Ok((status, _)) => {
                    let ready = client.get("/readyz").map(drop);
                    return Running::Yes(Box::new(Told { url, status, ready }));
                }
                Err(failure) if state(&failure) == Some("loading") => return Running::Starting,
                Err(failure) => silent = failure,
            }
        }
        Running::Silent(silent)
    }

    /// The host's report, if there is one.
    pub(super) fn status(&self) -> Option<&Value> {
        match self {
            Running::Yes(told) => Some(&told.status),
            Running::No | Running::Silent(_) | Running::Starting => None,
        }
    }

    /// Where the running host's operator's listener is, if not at this address.
    pub(super) fn elsewhere(&self, address: &ListenAddress) -> Option<&HostUrl> {
        match self {
            Running::Yes(told) => {
                (address.port() != 0 && !self.is_at(address)).then_some(&told.url)
            }
            Running::No | Running::Silent(_) | Running::Starting => None,
        }
    }

    /// Whether the running host's operator's listener is at this address.
    pub(super) fn is_at(&self, address: &ListenAddress) -> bool {
        match self {
            Running::Yes(told) => told.url.authority().ends_with(&format!(":{}", address.port())),
            Running::Starting => true,
            Running::No | Running::Silent(_) => false,
        }
    }
}

/// Whether the response is from a host.
pub(super) fn is_host(failure: &Failure) -> bool {
    let kind = failure.problem().and_then(|problem| problem["type"].as_str());
    kind.is_some_and(|kind| kind.starts_with("urn:hospes:"))
}

/// The operator's listener's address: the one that the host wrote down, or else the settings'. Never both, because the operator's token
/// is sent there, and another program may listen at the other address.
fn addresses(config: &Config, data: &Path) -> Vec<HostUrl> {
    let kept = read_line(&data.join(OPERATOR_ADDRESS_FILE)).ok();
    let kept = kept.and_then(|url| url.parse().ok());
    kept.or_else(|| url(&config.api.operator_listen, false)).into_iter().collect()
}

/// The URL of a listener; `None` if its port is picked at start.
pub(super) fn url(address: &ListenAddress, is_tls: bool) -> Option<HostUrl> {
    let host = match address.host().parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) if ip.is_unspecified() => "127.0.0.1".to_owned(),
        Ok(IpAddr::V6(ip)) if ip.is_unspecified() => "[::1]".to_owned(),
        Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
        Ok(IpAddr::V4(_)) | Err(_) => address.host().to_owned(),
    };
    let authority = format!("{host}:{}", address.port());
    (address.port() != 0).then(|| HostUrl::new(is_tls, &authority, "")).flatten()
}

/// The state of a host that takes no calls.
pub(super) fn state(failure: &Failure) -> Option<&str> {
    failure.problem()?["state"].as_str()
}

/// Whether a host runs, takes calls, and is of this version.
pub(super) fn host(subject: &Subject) -> Vec<Finding> {
    let told = match &subject.running {
        Running::No => return vec![Finding::ok("none runs on this data directory")],
        Running::Starting => {
            return vec![Finding::warning(
                "it is starting and takes no calls yet",
                "try again shortly; its log shows the progress",
            )];
        }
        Running::Silent(failure) => {
            let why = failure.in_a_line();
            let records = subject.data().join("state.redb");
            return vec![Finding::problem(
                format!("a process has the records open and does not answer: {why}"),
                format!(
                    "`fuser -v {}` shows the process; if it is a host that hangs, kill and restart it",
                    sh(&records)
                ),
            )];
        }
        Running::Yes(told) => told,
    };
    let own = env!("CARGO_PKG_VERSION");
    let version = told.status["version"].as_str().unwrap_or("of another version");
    let mut found = vec![match &told.ready {
        Ok(()) => Finding::ok(format!("hospes {version} runs at {}, and is ready", told.url)),
        Err(failure) => not_ready(failure),
    }];
    if version != own {
        found.push(Finding::warning(
            format!("the running host is version {version}, but this program is {own}"),
            "restart the host to run this version, or use the host's own program",
        ));
    }
    found
}

fn not_ready(failure: &Failure) -> Finding {
    let detail = format!("it takes no calls: {}", failure.in_a_line());
    match state(failure) {
        Some("draining") => Finding::warning(detail, "it is stopping; restart it if it should run"),
        Some("loading") => Finding::warning(detail, "try again shortly"),
        Some("no-receipts" | "no-records") => Finding::problem(
            detail,
            "see `space`, and check the disk; the host then continues by itself",
        ),
        Some("no-workers") => Finding::problem(detail, "see `kernel`, `limits` and `memory`"),
        _ => Finding::problem(detail, "see the host's log"),
    }
}
