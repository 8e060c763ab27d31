//! The sandbox of one call: its limits, and what it reaches of the host.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use crate::admission::{Admission, Wish};
use crate::call::http::Bounds;
use crate::call::{AnswerForm, Call, Urgency};
use crate::config::Batches;
use crate::host::Host;
use crate::inference::{self, ComputeError, Meets};
use crate::sandbox::{CallContext, CallLimits, Input, Instance, SandboxError};
use crate::state::agreements::Grant;
use crate::state::deployments::{Function, Loaded};

/// Creates the sandbox for a call admitted at `began`, with the limits of host, bundle, agreement and caller.
///
/// # Errors
/// [`SandboxError`].
pub(super) async fn instantiate(
    host: &Host,
    (function, loaded): (&Function, &Loaded),
    grant: &Grant,
    call: &Call,
    (admission, began): (&Admission, Instant),
) -> Result<Instance, SandboxError> {
    let tensor_bytes_max = host.config().inference.tensor_bytes_max.get();
    let limits = function.narrow(host.sandbox.call_limits(began, tensor_bytes_max));
    let limits = within(call, grant.narrow_limits(limits, admission));
    let context = context((host, function, loaded), grant, admission, call);
    host.sandbox.instantiate(loaded.guest(), loaded.graphs(), limits, context).await
}

/// What a call asks for besides a sandbox.
pub(super) fn wish(function: &Function, call: &Call) -> Wish {
    let Urgency { priority, until } = call.urgency;
    Wish { priority, takes: function.deployment().statistics().took(), until }
}

/// Whether the call's models can be computed now, and in time: before its guest is, which would be charged. Only of a model without code is
/// it known what it will be given.
///
/// # Errors
/// [`ComputeError`].
pub(super) fn check_models(
    host: &Host,
    (function, loaded): (&Function, &Loaded),
    grant: &Grant,
    call: &Call,
    input: &Input,
) -> Result<(), ComputeError> {
    let mut graphs = loaded.graphs().values();
    graphs.clone().try_for_each(|graph| graph.check_seat())?;
    match (graphs.next(), call.urgency.until) {
        (Some(graph), Some(until)) if function.deployment().is_codeless() => {
            let job = inference::Call {
                caller: computes_for(host, grant),
                priority: call.urgency.priority,
                ..inference::Call::of_nobody(until)
            };
            graph.check_time(input.tensors(), &job)
        }
        _ => Ok(()),
    }
}

/// The limits of a call with the caller's deadline.
fn within(call: &Call, limits: CallLimits) -> CallLimits {
    let deadline = call.urgency.until.map_or(limits.deadline, |until| until.min(limits.deadline));
    CallLimits { deadline, ..limits }
}

fn context(
    (host, function, loaded): (&Host, &Function, &Loaded),
    grant: &Grant,
    admission: &Admission,
    call: &Call,
) -> CallContext {
    let speakers = loaded.speakers();
    CallContext {
        call: call.id,
        agreement: grant.agreement().copied(),
        caller: computes_for(host, grant),
        priority: call.urgency.priority,
        meets: meets(host, grant, admission),
        account: grant.account().clone(),
        input_bytes: call.payload.bytes().len(),
        purpose: call.purpose.clone(),
        output_bytes_max: grant.output_limit(admission).0,
        speakers: Arc::clone(speakers),
        scope: (!speakers.is_empty()).then(|| grant.prefix_scope()),
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

/// Whose computations may be joined with those of the call.
fn meets(host: &Host, grant: &Grant, admission: &Admission) -> Meets {
    match host.config().inference.batches {
        Batches::Off => Meets::Nobody,
        Batches::Shared if grant.leaves_company_to_the_host(admission) => Meets::Others,
        Batches::Account | Batches::Shared => Meets::Own,
    }
}

/// The account that models are computed for, with its share of the turns.
fn computes_for(host: &Host, grant: &Grant) -> inference::Caller {
    let weight = host.config().admission.weights.get(grant.account()).copied();
    let weight = weight.unwrap_or(NonZeroU32::MIN);
    inference::Caller { number: grant.caller().number(), weight }
}
