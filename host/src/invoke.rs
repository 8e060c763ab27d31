//! THE REQUEST PATH: the life of one call, from a credential and some bytes to a response and a receipt.
//!
//! [`invoke`] tells it in order. The output of each line is the input of the next.
//!
//! **An [`InvokeError`] charges nothing. An [`Invocation`] has exactly one receipt, whether the guest succeeded or not. If the receipt
//! cannot be written, the caller gets an error and pays nothing.**

mod denied;
mod release;
mod sandbox;

use std::time::Instant;

use crate::admission::{Admission, AdmissionError};
use crate::agreement::Report;
use crate::call::arguments::{self, ArgumentsError};
use crate::call::{Call, Timings};
use crate::host::Host;
use crate::inference::ComputeError;
use crate::outcome::{Outcome, Reply};
use crate::receipt::{Issued, ReceiptError};
use crate::sandbox::SandboxError;
use crate::state::accounts::AuthError;
use crate::state::agreements::{Grant, PermitError};
use crate::state::deployments::ResolveError;
use crate::state::receipts::Salt;
use crate::visibility;

/// A call that ran.
#[derive(Debug)]
pub struct Invocation {
    pub outcome: Outcome<Reply>,
    /// The receipt, already written.
    pub receipt: Issued,
    /// Opens the receipt's commitments to the input and the output. Only the caller gets it.
    pub salt: Salt,
    pub timings: Timings,
}

/// Why a call did not run. Nothing was charged.
#[derive(Debug, thiserror::Error)]
pub enum InvokeError {
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    #[error(transparent)]
    Permit(PermitError),
    #[error(transparent)]
    Arguments(#[from] ArgumentsError),
    #[error("{error}")]
    Admission {
        error: AdmissionError,
        /// What is left under each rule, if the agreement refused.
        report: Option<Box<Report>>,
    },
    #[error(transparent)]
    Instantiate(#[from] SandboxError),
    /// No worker process can compute the call's models now.
    #[error(transparent)]
    Compute(#[from] ComputeError),
    #[error("the receipt could not be written, so nothing was released or charged")]
    Receipt(#[from] ReceiptError),
}

/// Calls a function.
///
/// Waits for a sandbox, the guest and its inference. Callers should poll the future to its end, so that a call is metered even if the
/// client hangs up ([`Call::left`]).
///
/// # Errors
/// [`InvokeError`] names the stage that refused; nothing was charged. Refusals by agreement and admission have their own receipt.
pub async fn invoke(host: &Host, call: Call) -> Result<Invocation, InvokeError> {
    let began = Instant::now();
    let caller = host.auth.recognise(&call.credential)?;
    let function = visibility::reach(host, &caller, &call.target).await?;
    let grant = host.agreements.permit(&caller, &function, &call);
    let grant = grant.map_err(denied::permit(host, &caller, &function, &call))?;
    let input = arguments::read(&function, &call, host.reader(&caller)).await?;
    let grant = grant.narrow(&function, &call, &input);
    let grant = grant.map_err(denied::input(host, &function, &call))?;
    let loaded = host.deployments.ready(&function).await?; // stays loaded until the end of the call
    let turn = (grant.account(), &sandbox::wish(&function, &call));
    let admission = Admission::admit(&host.slots, turn, grant.allowances(), call.abandoned()).await;
    let admission = admission.map_err(denied::admission(host, &grant, &function, &call))?;
    sandbox::check_models(host, (&function, &loaded), &grant, &call, &input)?;
    host.receipts.take_calls()?; // reserves room in the log for this call
    let admitted = Instant::now();
    let instance =
        sandbox::instantiate(host, (&function, &loaded), &grant, &call, (&admission, admitted))
            .await?;
    let instantiated = Instant::now();
    let outcome = instance.run(loaded.entry(function.name()), input).await; // no `?`: a guest failure is charged too
    let ran = admitted + outcome.used.wall;
    let outcome = release::check(&grant, &admission, &function, &call.form, outcome);
    let issued = host.receipts.issue(&grant, &function, &call, admission, &outcome);
    let (receipt, salt) = issued.await?;
    let timings = Timings { began, admitted, instantiated, ran, ended: Instant::now() };
    grant.count(&function, &timings, outcome.result.is_ok(), receipt.at);
    Ok(Invocation { outcome, receipt, salt, timings })
}

/// The permission that a call would get now, without making the call. [`invoke`] starts with the same check.
///
/// # Errors
/// [`InvokeError`], with the same receipt as for a call.
pub fn permit(host: &Host, call: &Call) -> Result<Grant, InvokeError> {
    let caller = host.auth.recognise(&call.credential)?;
    let function = visibility::resolve(host, &caller, &call.target)?;
    let grant = host.agreements.permit(&caller, &function, call);
    grant.map_err(denied::permit(host, &caller, &function, call))
}
