//! Every error of the host, as clients see it. No match has a catch-all arm.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Problem, ProblemKind, is_for_now};
use crate::admission::{AdmissionError, ApartError, Late, TurnError};
use crate::agreement::events::EventError;
use crate::agreement::negotiation::NegotiationError;
use crate::backup::BackupError;
use crate::call::arguments::ArgumentsError;
use crate::causes::in_a_line;
use crate::deploy::DeployError;
use crate::inference::{ComputeError, LoadError, WORKERS_WAIT};
use crate::invoke::InvokeError;
use crate::operations::OperationError;
use crate::outcome::{GuestFailure, RefusalJson};
use crate::sandbox::SandboxError;
use crate::state::accounts::AuthError;
use crate::state::agreements::{AgreementsError, LifeError, PermitError, SimulationError};
use crate::state::deployments::ResolveError;
use crate::state::market::MarketError;
use crate::state::negotiations::NegotiationsError;

impl Problem {
    /// The plugin's own error, as JSON.
    pub fn plugin_refused(error: &RefusalJson) -> Self {
        let value: Value = serde_json::from_slice(&error.0).unwrap_or(Value::Null);
        let detail = match &value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        Self::new(ProblemKind::PluginRefused, detail).with("error", value)
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        match &error {
            AuthError::Missing
            | AuthError::Malformed
            | AuthError::Mistyped
            | AuthError::Unknown
            | AuthError::Revoked { .. } => {
                Self::new(ProblemKind::Unauthenticated, error.to_string())
            }
            AuthError::Stopped { standing, cause, .. } => {
                Self::new(ProblemKind::AccountStopped, error.to_string())
                    .with("standing", standing.name())
                    .with("since", cause.at.to_string())
                    .with("reason", cause.reason.as_ref())
            }
            AuthError::NoAccount(_) | AuthError::NoKey(_) => {
                Self::new(ProblemKind::NotFound, error.to_string())
            }
            AuthError::NotAKeyId(_) | AuthError::KeyName { .. } => {
                Self::new(ProblemKind::InvalidRequest, error.to_string())
            }
            AuthError::UnusableKey(_) => Self::new(ProblemKind::InvalidRequest, in_a_line(&error)),
            AuthError::Closed(_)
            | AuthError::NameTaken(_)
            | AuthError::PartyTaken { .. }
            | AuthError::NotYourKey(_)
            | AuthError::KeyKnown(_)
            | AuthError::Aside(_)
            | AuthError::MayBeAside(_)
            | AuthError::TooManyKeys => Self::new(ProblemKind::Conflict, error.to_string()),
            AuthError::Randomness | AuthError::Store(_) | AuthError::Damaged { .. } => {
                Self::internal(&error)
            }
        }
    }
}

impl From<ResolveError> for Problem {
    fn from(error: ResolveError) -> Self {
        let kind = match &error {
            ResolveError::Reference(_) => ProblemKind::InvalidRequest,
            ResolveError::NoModel(_)
            | ResolveError::NoVersion { .. }
            | ResolveError::NoFunction { .. } => ProblemKind::NotFound,
            ResolveError::VersionTaken { .. } | ResolveError::InService { .. } => {
                ProblemKind::Conflict
            }
            ResolveError::Loading { .. } | ResolveError::Busy { .. } => ProblemKind::Busy,
            ResolveError::OutOfService { .. } => ProblemKind::OutOfService,
            ResolveError::Withdrawn { .. } => ProblemKind::Withdrawn,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<PermitError> for Problem {
    fn from(error: PermitError) -> Self {
        let kind = match &error {
            PermitError::TooManyRefused => ProblemKind::AccountLimit,
            PermitError::NoAgreement { .. }
            | PermitError::NotYours(_)
            | PermitError::OtherVersion { .. }
            | PermitError::NotInForce { .. }
            | PermitError::Denied { .. } => ProblemKind::NotPermitted,
        };
        let problem = Self::new(kind, error.to_string());
        match &error {
            PermitError::TooManyRefused => problem.retry_after(Duration::from_secs(1)),
            PermitError::NoAgreement { model } => problem.with("model", json!(model)),
            PermitError::NotYours(id) => problem.with("agreement", json!(id)),
            PermitError::OtherVersion { bundle, .. } => problem.with("bundle", json!(bundle)),
            PermitError::NotInForce { agreement, .. } => {
                problem.with("agreement", json!(agreement))
            }
            PermitError::Denied { report } => problem
                .with("agreement", json!(report.agreement()))
                .with("clauses", json!(report.unmet()))
                .with("report", json!(report)),
        }
    }
}

impl From<AdmissionError> for Problem {
    fn from(error: AdmissionError) -> Self {
        match &error {
            AdmissionError::Exhausted { exhausted, ends } => {
                let problem = Self::new(ProblemKind::LimitReached, error.to_string())
                    .with("clause", exhausted.limit.term())
                    .with("code", exhausted.limit.code())
                    .with("limit", exhausted.max)
                    .with("remaining", 0)
                    .with("ends", json!(ends.map(|ends| ends.to_string())));
                match exhausted.retry_after {
                    Some(after) => problem.retry_after(after),
                    None => problem,
                }
            }
            AdmissionError::QueueFull { .. }
            | AdmissionError::QueueShareFull { .. }
            | AdmissionError::QueueTimeout { .. }
            | AdmissionError::Left => Self::new(ProblemKind::Busy, error.to_string()),
            AdmissionError::Overdue { .. } => {
                Self::new(ProblemKind::PluginDeadline, error.to_string())
            }
            AdmissionError::Late(late) => (*late).into(),
        }
    }
}

impl From<Late> for Problem {
    fn from(late: Late) -> Self {
        match late.again_after() {
            Some(after) => Self::new(ProblemKind::Busy, late.to_string()).retry_after(after),
            None => Self::new(ProblemKind::PluginDeadline, late.to_string()),
        }
    }
}

impl From<TurnError> for Problem {
    fn from(error: TurnError) -> Self {
        let detail = error.to_string();
        match error {
            TurnError::Timeout { .. } | TurnError::Full { .. } | TurnError::ShareFull { .. } => {
                Self::new(ProblemKind::Busy, detail)
            }
            TurnError::NoRoom { max, setting, .. } => {
                Self::new(ProblemKind::Busy, detail).with("setting", setting).with("limit", max)
            }
            TurnError::TooMany { max, setting } => Self::new(ProblemKind::AccountLimit, detail)
                .with("setting", setting)
                .with("limit", max)
                .retry_after(Duration::from_secs(1)),
            TurnError::TooOften { after, .. } => {
                Self::new(ProblemKind::AccountLimit, detail).retry_after(after)
            }
        }
    }
}

impl From<ApartError> for Problem {
    fn from(error: ApartError) -> Self {
        match error {
            ApartError::Turn(error) => error.into(),
            ApartError::Panicked(panic) => Self::internal(&panic),
        }
    }
}

impl From<InvokeError> for Problem {
    fn from(error: InvokeError) -> Self {
        match error {
            InvokeError::Auth(error) => error.into(),
            InvokeError::Resolve(error) => error.into(),
            InvokeError::Permit(error) => error.into(),
            InvokeError::Arguments(ArgumentsError::Apart(error)) => error.into(),
            InvokeError::Arguments(error) => {
                Self::new(ProblemKind::InvalidArguments, error.to_string())
            }
            InvokeError::Admission { error, report } => {
                let problem = Self::from(error);
                match report {
                    Some(report) => problem
                        .with("agreement", json!(report.agreement()))
                        .with("report", json!(report)),
                    None => problem,
                }
            }
            InvokeError::Instantiate(SandboxError::PoolExhausted) => {
                Self::new(ProblemKind::Busy, SandboxError::PoolExhausted.to_string())
            }
            InvokeError::Instantiate(error) => Self::internal(&error),
            InvokeError::Compute(ComputeError::Late(late)) => late.into(),
            InvokeError::Compute(error) => {
                Self::new(ProblemKind::Busy, error.to_string()).retry_after(WORKERS_WAIT)
            }
            InvokeError::Receipt(error) if error.is_for_now() => {
                // Logged once elsewhere, not on every call.
                let detail = "the host cannot write receipts now, so nothing ran or was charged; try again later";
                Self::new(ProblemKind::Unavailable, detail)
            }
            InvokeError::Receipt(_) => Self::internal(&error),
        }
    }
}

impl From<GuestFailure> for Problem {
    fn from(failure: GuestFailure) -> Self {
        let kind = match &failure {
            GuestFailure::Deadline { .. } | GuestFailure::CpuTime { .. } => {
                ProblemKind::PluginDeadline
            }
            GuestFailure::Stopped | GuestFailure::Terms { .. } => ProblemKind::NotPermitted,
            GuestFailure::InputTooLarge { .. } => ProblemKind::BodyTooLarge,
            GuestFailure::InputTooSlow { .. } => ProblemKind::RequestTimeout,
            GuestFailure::InputUnkept { .. } => ProblemKind::Busy,
            GuestFailure::OutputTooLarge { .. }
            | GuestFailure::OutputUncontrolled { .. }
            | GuestFailure::OutputUnsendable { .. } => ProblemKind::OutputRefused,
            GuestFailure::HostMemory { .. } => ProblemKind::Busy,
            GuestFailure::Trap { .. }
            | GuestFailure::MemoryLimit { .. }
            | GuestFailure::TableLimit { .. }
            | GuestFailure::StackOverflow
            | GuestFailure::HandleLimit { .. }
            | GuestFailure::TensorLimit { .. }
            | GuestFailure::HostcallLimit { .. }
            | GuestFailure::ComputationLost { .. }
            | GuestFailure::Disconnected
            | GuestFailure::Unread => ProblemKind::PluginFailed,
            GuestFailure::ComputationPaused { .. } => ProblemKind::Busy,
        };
        let problem = Self::new(kind, failure.to_string()).with("failure", failure.code());
        match failure {
            GuestFailure::ComputationPaused { wait, .. } => problem.retry_after(wait),
            _ => problem,
        }
    }
}

impl From<DeployError> for Problem {
    fn from(error: DeployError) -> Self {
        match error {
            DeployError::Model { source: LoadError::BackedOff { wait }, .. } => {
                Self::new(ProblemKind::Busy, in_a_line(&error)).retry_after(wait)
            }
            DeployError::Model { source: LoadError::Workers { .. }, .. } => {
                Self::new(ProblemKind::Busy, in_a_line(&error)).retry_after(WORKERS_WAIT)
            }
            DeployError::NoRoom { .. } => Self::new(ProblemKind::Busy, error.to_string()),
            DeployError::Bundle(_)
            | DeployError::NeverFits(_)
            | DeployError::NotYours { .. }
            | DeployError::Model { .. }
            | DeployError::Trial { .. }
            | DeployError::Document { .. }
            | DeployError::Room(_) => Self::new(ProblemKind::BundleRefused, in_a_line(&error)),
            DeployError::Version(error) => error.into(),
            DeployError::Sandbox(
                SandboxError::Extent(_)
                | SandboxError::Compile(_)
                | SandboxError::CompileTimeout { .. }
                | SandboxError::CompilerEnded { .. }
                | SandboxError::Capability(_)
                | SandboxError::NoExport { .. }
                | SandboxError::UnsupportedType { .. }
                | SandboxError::Types(_)
                | SandboxError::Start { .. },
            ) => Self::new(ProblemKind::BundleRefused, in_a_line(&error)),
            DeployError::Sandbox(SandboxError::PoolExhausted | SandboxError::CompileTurn(_)) => {
                Self::new(ProblemKind::Busy, in_a_line(&error))
            }
            DeployError::Sandbox(
                SandboxError::Engine(_)
                | SandboxError::Cache { .. }
                | SandboxError::Thread(_)
                | SandboxError::CompilerPanicked(_)
                | SandboxError::CompileWorker(_)
                | SandboxError::Instantiate(_),
            )
            | DeployError::Registry(_)
            | DeployError::Store(_) => Self::internal(&error),
        }
    }
}

impl From<MarketError> for Problem {
    fn from(error: MarketError) -> Self {
        let kind = match &error {
            MarketError::Offer(_)
            | MarketError::NotYours
            | MarketError::NotYourModel { .. }
            | MarketError::NotLive { .. }
            | MarketError::NoFunction { .. }
            | MarketError::Uncontrolled { .. }
            | MarketError::NoResale { .. }
            | MarketError::Wider(_)
            | MarketError::TooMany { .. }
            | MarketError::TooLarge { .. }
            | MarketError::OtherModel { .. }
            | MarketError::Itself(_) => ProblemKind::OfferRefused,
            MarketError::NotFound(_) | MarketError::NotYourOffer(_) => ProblemKind::NotFound,
            MarketError::Withdrawn { .. } | MarketError::TakenBack { .. } => ProblemKind::Withdrawn,
            MarketError::Parent(_) | MarketError::Store(_) => {
                return Self::internal(&error);
            }
        };
        Self::new(kind, in_a_line(&error))
    }
}

impl From<AgreementsError> for Problem {
    fn from(error: AgreementsError) -> Self {
        let kind = match &error {
            AgreementsError::Agreement(_)
            | AgreementsError::Statement(_)
            | AgreementsError::NotParty
            | AgreementsError::UnknownOffer(_)
            | AgreementsError::NotSuperseding(_)
            | AgreementsError::NoParent(_)
            | AgreementsError::Wider(_)
            | AgreementsError::Event(_)
            | AgreementsError::MandateElsewhere { .. }
            | AgreementsError::Retired(_)
            | AgreementsError::Held(_)
            | AgreementsError::Ahead { .. }
            | AgreementsError::TooMany { .. }
            | AgreementsError::TooManyProposed { .. } => ProblemKind::AgreementRefused,
            AgreementsError::NotFound(_) => ProblemKind::NotFound,
            AgreementsError::NotHere(_) => ProblemKind::AgreementRefused,
            AgreementsError::Aside { .. } => ProblemKind::OutOfService,
            AgreementsError::Store(_)
            | AgreementsError::Damaged { .. }
            | AgreementsError::DamagedEvent { .. } => {
                return Self::internal(&error);
            }
        };
        Self::new(kind, in_a_line(&error))
    }
}

impl From<OperationError> for Problem {
    fn from(error: OperationError) -> Self {
        match error {
            OperationError::Auth(error) => error.into(),
            OperationError::Resolve(error) => error.into(),
            OperationError::Market(error) => error.into(),
            OperationError::Agreement(error) => error.into(),
            OperationError::Target { .. }
            | OperationError::NoReason
            | OperationError::OwnCode(_)
            | OperationError::TooManyShown { .. }
            | OperationError::Shown(_)
            | OperationError::OtherLog(_)
            | OperationError::Unsound(_) => {
                Self::new(ProblemKind::InvalidRequest, in_a_line(&error))
            }
            OperationError::NotWithdrawn(_)
            | OperationError::NotFrozen(_)
            | OperationError::OtherRecord { .. }
            | OperationError::AccountStopped(_) => {
                Self::new(ProblemKind::Conflict, error.to_string())
            }
            OperationError::NotAside { .. } => Self::new(ProblemKind::NotFound, error.to_string()),
            // The operator gets the reason: nobody else sees this.
            OperationError::NotWritten(_)
            | OperationError::NotKept(_)
            | OperationError::NotLogged(_)
            | OperationError::Store(_)
            | OperationError::Token(_) => for_the_operator(&error),
            OperationError::Publications(_) => Self::internal(&error),
        }
    }
}

impl From<BackupError> for Problem {
    fn from(error: BackupError) -> Self {
        for_the_operator(&error)
    }
}

/// The failure of disk or log, with all causes.
fn for_the_operator(error: &(dyn std::error::Error + 'static)) -> Problem {
    let kind = if is_for_now(error) { ProblemKind::Unavailable } else { ProblemKind::Busy };
    Problem::new(kind, in_a_line(error))
}

impl From<SimulationError> for Problem {
    fn from(error: SimulationError) -> Self {
        match error {
            SimulationError::Agreements(error) => error.into(),
            SimulationError::Offer(_) => Self::new(ProblemKind::OfferRefused, in_a_line(&error)),
        }
    }
}

impl From<LifeError> for Problem {
    fn from(error: LifeError) -> Self {
        match error {
            LifeError::Agreements(error) => error.into(),
            LifeError::Event(
                EventError::Fork { .. } | EventError::Over { .. } | EventError::OutOfOrder { .. },
            ) => Self::new(ProblemKind::Conflict, in_a_line(&error)),
            LifeError::Frozen { .. } => Self::new(ProblemKind::OutOfService, error.to_string()),
            LifeError::Event(_) | LifeError::NotSigned(_) => {
                Self::new(ProblemKind::EventRefused, in_a_line(&error))
            }
        }
    }
}

impl From<NegotiationsError> for Problem {
    fn from(error: NegotiationsError) -> Self {
        match error {
            NegotiationsError::Negotiation(NegotiationError::State { state, turn, .. }) => {
                Self::new(ProblemKind::Conflict, error.to_string())
                    .with("state", state.name())
                    .with("turn", json!(turn))
            }
            NegotiationsError::Negotiation(_)
            | NegotiationsError::NotYou
            | NegotiationsError::UnknownOffer(_)
            | NegotiationsError::TooMany { .. } => {
                Self::new(ProblemKind::NegotiationRefused, in_a_line(&error))
            }
            NegotiationsError::NotFound(_) => Self::new(ProblemKind::NotFound, error.to_string()),
            NegotiationsError::Market(error) => error.into(),
            NegotiationsError::Agreement(error) => error.into(),
            NegotiationsError::Store(_) | NegotiationsError::Damaged { .. } => {
                Self::internal(&error)
            }
        }
    }
}
