//! The sandbox of one call: its limits, and what it reaches of the host.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use crate::admission::Admission;
use crate::call::http::Bounds;
use crate::call::{AnswerForm, Call};
use crate::host::Host;
use crate::inference;
use crate::sandbox::{CallContext, CallLimits, Instance, SandboxError};
use crate::state::agreements::Grant;
use crate::state::deployments::Function;

/// Creates the sandbox for a call admitted at `began`, with the limits of host, bundle, agreement and caller.
///
/// # Errors
/// [`SandboxError`].
pub(super) async fn instantiate(
    host: &Host,
    function: &Function,
    grant: &Grant,
    call: &Call,
    (admission, began): (&Admission, Instant),
) -> Result<Instance, SandboxError> {
    let tensor_bytes_max = host.config().inference.tensor_bytes_max.get();
    let limits = function.narrow(host.sandbox.call_limits(began, tensor_bytes_max));
    let limits = within(call, grant.narrow_limits(limits, admission));
    let context = context((host, function), grant, admission, call);
    host.sandbox.instantiate(function.guest(), function.graphs(), limits, context).await
}

/// The limits of a call with the caller's deadline.
fn within(call: &Call, limits: CallLimits) -> CallLimits {
    let patience = call.patience.and_then(|patience| limits.began.checked_add(patience));
    let deadline = patience.map_or(limits.deadline, |until| until.min(limits.deadline));
    CallLimits { deadline, ..limits }
}

fn context(
    (host, function): (&Host, &Function),
    grant: &Grant,
    admission: &Admission,
    call: &Call,
) -> CallContext {
    CallContext {
        call: call.id,
        agreement: grant.agreement().copied(),
        caller: computes_for(host, grant),
        account: grant.account().clone(),
        input_bytes: call.payload.bytes().len(),
        purpose: call.purpose.clone(),
        output_bytes_max: grant.output_limit(admission).0,
        gate: grant.gate(admission),
        stop: grant.stops(function).or_left(call.left.clone()),
        log: Arc::clone(function.deployment().log()),
        sink: match &call.form {
            AnswerForm::Stream(streaming) => {
                let limit = grant.output_limit(admission);
                streaming.open(function, grant.controls(admission), limit)
            }
            AnswerForm::Json
            | AnswerForm::Octets
            | AnswerForm::Protocol(_)
            | AnswerForm::Response(_) => None,
        },
        responder: match &call.form {
            AnswerForm::Response(exchange) => Some(exchange.open(Bounds {
                input: grant.input_limit(admission),
                output: grant.output_limit(admission),
                controlled: !grant.controls(admission).is_open(),
            })),
            AnswerForm::Json
            | AnswerForm::Octets
            | AnswerForm::Protocol(_)
            | AnswerForm::Stream(_) => None,
        },
    }
}

/// The account that models are computed for, with its share of the turns.
fn computes_for(host: &Host, grant: &Grant) -> inference::Caller {
    let weight = host.config().admission.weights.get(grant.account()).copied();
    let weight = weight.unwrap_or(NonZeroU32::MIN);
    inference::Caller { number: grant.caller().number(), weight }
}
