//! Liveness, readiness and the host's identity.

use super::answer::{Answer, done};
use super::problem::{Problem, ProblemKind};
use crate::host::{Host, NotReady};
use crate::wire::status::{self, Health, Healthy};

/// Whether this is where load balancers ask for the host's health. What they get is small.
pub(super) fn is_health(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz" | "/v2/health/live" | "/v2/health/ready")
}

/// `GET /healthz`: the process is live.
pub(super) fn live() -> Answer {
    done(&Health { status: Healthy::Ok })
}

/// `GET /readyz`: the host is ready for calls.
pub(super) fn ready(host: &Host) -> Result<Answer, Problem> {
    match host.readiness() {
        Ok(()) => Ok(done(&Health { status: Healthy::Ready })),
        Err(why) => Err(not_ready(&why)),
    }
}

/// Why the host is not ready.
pub(super) fn not_ready(why: &NotReady) -> Problem {
    let problem = Problem::new(ProblemKind::Unavailable, why.to_string());
    match why {
        NotReady::Draining => problem.with("state", "draining"),
        NotReady::Receipts => problem.with("state", "no-receipts"),
        NotReady::Records => problem.with("state", "no-records"),
        NotReady::Workers { concerned, of } => {
            problem.with("state", "no-workers").with("concerned", *concerned).with("versions", *of)
        }
        NotReady::Loading { left, of } => {
            problem.with("state", "loading").with("left", *left).with("versions", *of)
        }
    }
}

/// `GET /api/host`: the key that verifies this host's receipts.
pub(super) fn identity(host: &Host) -> Result<Answer, Problem> {
    let log = host.receipts.log();
    Ok(done(&status::Host {
        party: host.party(),
        log: status::Log { origin: log.origin().to_owned(), verifier: log.verifier_key() },
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }))
}
