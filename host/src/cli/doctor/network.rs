//! Checks the addresses to listen on, and the certificate.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::running::{Running, is_host, state, url};
use super::{Finding, Subject, chain, sh};
use crate::api;
use crate::config::ListenAddress;
use hospes_cli::client::Client;

/// A certificate that expires sooner should be renewed now.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_hours(14 * 24);

/// One of the two listeners.
struct Listener<'c> {
    whose: &'static str,
    address: &'c ListenAddress,
    option: &'static str,
    is_operator: bool,
}

/// Whether the addresses are free, or the running host listens on them.
pub(super) fn ports(subject: &Subject) -> Vec<Finding> {
    let api = &subject.config.api;
    let (everybody, operator) = (&api.listen, &api.operator_listen);
    if everybody == operator && everybody.port() != 0 {
        return vec![Finding::problem(
            format!("`api.listen` and `api.operator_listen` are both {everybody}"),
            "choose another one with `--operator-listen 127.0.0.1:8081`",
        )];
    }
    if let Some(elsewhere) = running_elsewhere(subject) {
        return elsewhere;
    }
    let listeners = [
        Listener { whose: "everybody", address: everybody, option: "--listen", is_operator: false },
        Listener {
            whose: "the operator",
            address: operator,
            option: "--operator-listen",
            is_operator: true,
        },
    ];
    listeners.iter().flat_map(|listener| port(subject, listener)).collect()
}

/// The findings if the host on this directory runs with other addresses than these settings have. It does not need these, so it is no
/// problem if another host or program has them.
fn running_elsewhere(subject: &Subject) -> Option<Vec<Finding>> {
    let api = &subject.config.api;
    let url = subject.running.elsewhere(&api.operator_listen)?;
    Some(vec![
        Finding::ok(format!("{url} for the operator: the running host answers there")),
        Finding::ok(format!(
            "{} and {}, the addresses of these settings, were not checked, because the running host has others",
            api.listen, api.operator_listen
        )),
    ])
}

fn port(subject: &Subject, listener: &Listener<'_>) -> Vec<Finding> {
    let Listener { whose, address, option, is_operator } = listener;
    let another = format!("choose another with `{option}`");
    let bound = TcpListener::bind((address.host(), address.port())).map(drop);
    let mut found = vec![match bound {
        Ok(()) if address.port() == 0 => {
            Finding::ok(format!("{address} for {whose}: the host picks a free port"))
        }
        Ok(()) => Finding::ok(format!("{address} for {whose} is free")),
        Err(error) => match error.kind() {
            io::ErrorKind::AddrInUse => taken(subject, listener),
            io::ErrorKind::PermissionDenied => Finding::problem(
                format!("{address} for {whose}: only root may use ports below 1024"),
                format!("`AmbientCapabilities=CAP_NET_BIND_SERVICE` in its unit, or {another}"),
            ),
            io::ErrorKind::AddrNotAvailable => Finding::problem(
                format!("{address} for {whose} is not an address of this machine"),
                format!("`ip -brief address` lists them; {another}"),
            ),
            _ => Finding::problem(format!("{address} for {whose}: {error}"), another),
        },
    }];
    if *is_operator && !is_loopback(address) {
        found.push(Finding::warning(
            format!(
                "{address} for {whose} can be reached from other machines, and is not encrypted"
            ),
            "keep it off the network: `--operator-listen 127.0.0.1:8081`",
        ));
    }
    found
}

/// Who listens on an address that a host would use.
fn taken(subject: &Subject, listener: &Listener<'_>) -> Finding {
    let Listener { whose, address, option, is_operator } = listener;
    let another = format!("choose another with `{option}`");
    let port = address.port();
    let stop =
        format!("stop what listens there (`ss -ltnp 'sport = :{port}'` shows it), or {another}");
    let ours = || Finding::ok(format!("{address} for {whose}: the running host answers there"));
    if *is_operator && subject.running.is_at(address) {
        return ours();
    }
    if let Running::Silent(_) = subject.running {
        let detail =
            format!("{address} for {whose} is taken, most likely by the host that does not answer");
        return Finding::warning(detail, format!("see `host`; if it is another program, {stop}"));
    }
    let is_tls = !is_operator && subject.config.api.tls_certificate.is_some();
    let Some(url) = url(address, is_tls) else {
        return Finding::problem(format!("{address} for {whose} is taken"), stop);
    };
    match Client::looking(url, None).document::<Value>("/api/host") {
        Ok((who, _)) if subject.is_own(&who) => ours(),
        Ok((who, _)) if who["party"].is_string() => {
            let party = who["party"].as_str().unwrap_or_default();
            taken_by(
                subject,
                format!("{address} for {whose} is taken by another host, {party}"),
                stop,
            )
        }
        Err(failure) if state(&failure) == Some("loading") => Finding::warning(
            format!("{address} for {whose}: a starting host answers there"),
            format!("try again shortly; if it is not this host, {another}"),
        ),
        Err(failure) if is_host(&failure) => {
            taken_by(subject, format!("{address} for {whose} is taken by another host"), stop)
        }
        Ok(_) | Err(_) => {
            taken_by(subject, format!("{address} for {whose} is taken by another program"), stop)
        }
    }
}

/// The finding for an address that others have. A host that already runs on the directory listens at another.
fn taken_by(subject: &Subject, detail: String, stop: String) -> Finding {
    match subject.running {
        Running::Yes(_) => Finding::warning(
            format!("{detail}; the running host listens at another address"),
            format!(
                "give `hospes doctor` the settings of the running host; if it is to restart with these, {stop}"
            ),
        ),
        Running::No | Running::Silent(_) | Running::Starting => Finding::problem(detail, stop),
    }
}

impl Subject {
    /// Whether the host that answers is the data directory's.
    fn is_own(&self, host: &Value) -> bool {
        let party = host["party"].as_str();
        let own = self.secrets.as_ref().ok().and_then(Option::as_ref).map(ToString::to_string);
        party.is_some()
            && (party == own.as_deref()
                || self.running.status().is_some_and(|own| own["party"].as_str() == party))
    }
}

fn is_loopback(address: &ListenAddress) -> bool {
    let found = (address.host(), address.port()).to_socket_addrs();
    found.is_ok_and(|mut found| found.all(|found: SocketAddr| found.ip().is_loopback()))
}

/// Whether the certificate is valid, and for how long.
pub(super) fn tls(subject: &Subject) -> Vec<Finding> {
    let api = &subject.config.api;
    let certificate = match api::certificate(api) {
        Ok(None) if is_loopback(&api.listen) => {
            return vec![Finding::ok(
                "connections are not encrypted, but come only from this machine",
            )];
        }
        Ok(None) => {
            return vec![Finding::warning(
                format!("connections to {} are not encrypted", api.listen),
                "set `api.tls_certificate` and `api.tls_key`, or put a TLS proxy in front",
            )];
        }
        Err(error) => return vec![unusable(error, subject)],
        Ok(Some(validity)) => validity,
    };
    let name = api.tls_certificate.as_deref().unwrap_or(Path::new("")).display();
    let renew = "replace the certificate, and restart the host";
    let now = subject.clock.now();
    let date = |at: Timestamp| at.strftime("%F").to_string();
    let mut found = vec![match certificate {
        None => Finding::warning(format!("`{name}` has no readable expiry date"), renew),
        Some(valid) if valid.until < now => {
            Finding::problem(format!("`{name}` expired on {}", date(valid.until)), renew)
        }
        Some(valid) if valid.from > now => Finding::problem(
            format!("`{name}` is valid only from {} on", date(valid.from)),
            format!("check the clock; if it is right, {renew}"),
        ),
        Some(valid) if valid.until.duration_since(now) < RENEW_BEFORE => {
            Finding::warning(format!("`{name}` expires on {}", date(valid.until)), renew)
        }
        Some(valid) => Finding::ok(format!(
            "`{name}` matches its key, and is valid until {}",
            date(valid.until)
        )),
    }];
    found.extend(api.tls_key.as_deref().and_then(exposed));
    found
}

fn unusable(error: api::TlsError, subject: &Subject) -> Finding {
    let api = &subject.config.api;
    let at = |path: &Option<std::path::PathBuf>| path.as_deref().map(sh).unwrap_or_default();
    let (certificate, key) = (at(&api.tls_certificate), at(&api.tls_key));
    let fix = match &error {
        api::TlsError::Half => "set both or none".to_owned(),
        api::TlsError::Pem { path, .. } => {
            format!("name a PEM file that the host's user can read; see `ls -l {}`", sh(path))
        }
        api::TlsError::Pair(_) => format!(
            "name the key that the certificate was made for: of a pair, `openssl x509 -noout -pubkey -in {certificate}` and \
             `openssl pkey -pubout -in {key}` print the same"
        ),
    };
    Finding::problem(chain(error), fix)
}

/// Whether everybody can read the certificate's key. A group may: some systems give programs access that way.
fn exposed(key: &Path) -> Option<Finding> {
    const EVERYBODY: u32 = 0o007;
    let mode = fs::metadata(key).ok()?.permissions().mode();
    (mode & EVERYBODY != 0).then(|| {
        Finding::problem(
            format!("everybody on this machine can read the key `{}`", key.display()),
            format!("`chmod o= {}`, and replace the key if somebody may have read it", sh(key)),
        )
    })
}
