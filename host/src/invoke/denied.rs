//! Refused calls of known parties: each gets a receipt, and its caller the error.

use super::InvokeError;
use crate::admission::AdmissionError;
use crate::call::Call;
use crate::host::Host;
use crate::state::accounts::Caller;
use crate::state::agreements::{Grant, PermitError};
use crate::state::deployments::Function;
use crate::state::receipts::Refused;

/// No agreement permits the call.
pub(super) fn permit(
    host: &Host,
    caller: &Caller,
    function: &Function,
    call: &Call,
) -> impl FnOnce(PermitError) -> InvokeError {
    move |error| {
        let (agreement, code) = match &error {
            PermitError::NoAgreement { .. } => (None, Some("no-agreement")),
            PermitError::NotYours(_) => (None, Some("not-your-agreement")),
            PermitError::OtherVersion { .. } => (None, Some("other-version")),
            PermitError::Denied { report } => (Some(*report.agreement()), Some("terms")),
            PermitError::NotInForce { agreement, .. } => (Some(*agreement), Some("not-in-force")),
            PermitError::TooManyRefused => (None, None),
        };
        let publisher = function.deployment().publisher();
        let refused =
            code.map(|code| Refused { caller, publisher, function, call, agreement, code });
        write(host, refused, InvokeError::Permit(error))
    }
}

/// The agreement does not permit these arguments.
pub(super) fn input(
    host: &Host,
    function: &Function,
    call: &Call,
) -> impl FnOnce((Box<Grant>, PermitError)) -> InvokeError {
    move |(grant, error)| {
        let is_explained = !matches!(error, PermitError::TooManyRefused);
        let refused = is_explained.then(|| under(&grant, function, call, "terms"));
        write(host, refused, InvokeError::Permit(error))
    }
}

/// The call may not start now. A merely busy host is no refusal and leaves no receipt.
pub(super) fn admission(
    host: &Host,
    grant: &Grant,
    function: &Function,
    call: &Call,
) -> impl FnOnce(AdmissionError) -> InvokeError {
    move |error| {
        let code = match &error {
            AdmissionError::Exhausted { exhausted, .. } => Some(exhausted.limit.code()),
            AdmissionError::QueueFull { .. }
            | AdmissionError::QueueShareFull { .. }
            | AdmissionError::QueueTimeout { .. }
            | AdmissionError::Overdue { .. }
            | AdmissionError::Late(_)
            | AdmissionError::Left => None,
        };
        let report = code.and_then(|_| grant.report(function, call)).map(Box::new);
        let refused = code.map(|code| under(grant, function, call, code));
        write(host, refused, InvokeError::Admission { error, report })
    }
}

/// A call refused although an agreement covers it.
fn under<'a>(
    grant: &'a Grant,
    function: &'a Function,
    call: &'a Call,
    code: &'static str,
) -> Refused<'a> {
    Refused {
        caller: grant.caller(),
        publisher: grant.publisher(),
        function,
        call,
        agreement: grant.agreement().copied(),
        code,
    }
}

/// Writes a receipt if the call was refused by agreement, and returns the caller's error.
fn write(host: &Host, refused: Option<Refused<'_>>, error: InvokeError) -> InvokeError {
    match refused.map(|refused| host.receipts.deny(&refused, host.agreements.refusals())) {
        None | Some(Ok(())) => error,
        Some(Err(error)) => InvokeError::Receipt(error),
    }
}
