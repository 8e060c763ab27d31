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

/// `GET /readyz`: the host is ready for calls. Anybody may ask, so the response says why not and no more.
pub(super) fn ready(host: &Host) -> Result<Answer, Problem> {
    readiness(host, not_ready)
}

/// `GET /readyz` on the operator's listener: also how many versions are concerned.
pub(super) fn ready_in_detail(host: &Host) -> Result<Answer, Problem> {
    readiness(host, |why| match why {
        NotReady::Workers { concerned, of } => {
            not_ready(why).with("concerned", *concerned).with("versions", *of)
        }
        NotReady::Draining | NotReady::Receipts | NotReady::Records => not_ready(why),
    })
}

fn readiness(host: &Host, problem: impl FnOnce(&NotReady) -> Problem) -> Result<Answer, Problem> {
    match host.readiness() {
        Ok(()) => Ok(done(&Health { status: Healthy::Ready })),
        Err(why) => Err(problem(&why)),
    }
}

fn not_ready(why: &NotReady) -> Problem {
    let state = match why {
        NotReady::Draining => "draining",
        NotReady::Receipts => "no-receipts",
        NotReady::Records => "no-records",
        NotReady::Workers { .. } => "no-workers",
    };
    Problem::new(ProblemKind::Unavailable, why.to_string()).with("state", state)
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
