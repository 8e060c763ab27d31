//! Simulates a call: would it be permitted, and if not, why?

use std::sync::Arc;

use jiff::Timestamp;

use super::{Agreements, AgreementsError, Standing};
use crate::agreement::{
    Agreement, AgreementError, CallFacts, Facts, InputFacts, Report, SignedOffer, Terms, Versions,
};
use crate::capability::Capabilities;
use crate::id::{Digest, FunctionName};
use crate::ledger::Usage;
use crate::state::accounts::Caller;
use crate::state::deployments::{Deployment, Deployments};

/// A simulated call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Simulated {
    pub function: FunctionName,
    pub input_bytes: u64,
    /// Rows of its batch; 1 by default.
    pub rows: u64,
    pub purpose: Option<String>,
    /// When it would begin; now by default.
    pub at: Option<Timestamp>,
}

/// Why the call could not be simulated.
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    #[error(transparent)]
    Agreements(#[from] AgreementsError),
    #[error("the offer could not be read as an agreement")]
    Offer(#[from] AgreementError),
}

impl Agreements {
    /// Evaluates a call under one of the caller's agreements, in force or not.
    ///
    /// # Errors
    /// [`AgreementsError::NotFound`], also for other parties' agreements.
    pub fn simulate(
        &self,
        caller: &Caller,
        id: &Digest,
        call: &Simulated,
        deployments: &Deployments,
    ) -> Result<Report, SimulationError> {
        let standing = self.find(caller, id)?;
        let agreement = &*standing.document()?;
        let live = live(agreement, deployments);
        let facts = self.simulated(call, live.as_deref());
        let input = Some(InputFacts { rows: call.rows, tensors: &[] });
        let report = match &standing {
            Standing::Active(active) => {
                let report = active.report(&facts, input);
                match active.in_force(facts.now, self.as_of()) {
                    Ok(()) => report,
                    Err(reason) => {
                        report.obstructed(format!("the agreement is not in force: {reason}"))
                    }
                }
            }
            Standing::Proposed(_) => {
                let terms = Terms::preview(standing.id(), agreement);
                preview(agreement, &terms, &facts, input).obstructed(
                    "the agreement is not in force: not both parties have signed".to_owned(),
                )
            }
        };
        Ok(missing(report, live.as_deref()))
    }

    /// Evaluates a call under an offer, as if it had just been accepted and signed.
    ///
    /// # Errors
    /// [`SimulationError::Offer`] if the offer is not for the caller.
    pub fn simulate_offer(
        &self,
        caller: &Caller,
        offer: &SignedOffer,
        call: &Simulated,
        deployments: &Deployments,
    ) -> Result<Report, SimulationError> {
        let agreement = Agreement::accept(offer, *caller.party(), self.now())?;
        let live = live(&agreement, deployments);
        let facts = self.simulated(call, live.as_deref());
        let terms = Terms::preview(offer.id(), &agreement);
        let input = Some(InputFacts { rows: call.rows, tensors: &[] });
        Ok(missing(preview(&agreement, &terms, &facts, input), live.as_deref()))
    }

    fn simulated<'a>(&'a self, call: &'a Simulated, live: Option<&Deployment>) -> CallFacts<'a> {
        CallFacts {
            function: &call.function,
            now: call.at.unwrap_or_else(|| self.now()),
            input_bytes: call.input_bytes,
            purpose: call.purpose.as_deref(),
            country: self.country.as_deref(),
            imports: live.map_or_else(Capabilities::default, |live| live.imports()),
        }
    }
}

fn preview(
    agreement: &Agreement,
    terms: &Terms,
    facts: &CallFacts<'_>,
    input: Option<InputFacts<'_>>,
) -> Report {
    let usage = vec![Usage::default(); terms.rules().len()];
    Report::new(agreement.clauses(), terms, &Facts { call: *facts, input }, &usage)
}

fn missing(report: Report, live: Option<&Deployment>) -> Report {
    match live {
        Some(_) => report,
        None => {
            report.obstructed("none of the agreement's versions is live on this host".to_owned())
        }
    }
}

/// The newest live version covered by an agreement.
fn live(agreement: &Agreement, deployments: &Deployments) -> Option<Arc<Deployment>> {
    let target = &agreement.clauses().target;
    match &target.versions {
        Versions::Bundle(digest) => deployments.by_digest(&target.model, digest),
        versions @ Versions::Range { .. } => deployments
            .of(&target.model)
            .into_iter()
            .rfind(|live| versions.cover(live.digest(), live.version())),
    }
}
