//! Receipts: what the host records about each call. The receipt is the charge.
//!
//! Charging a call and writing its receipt are one step, and the response is released only afterwards. At start, the usage of agreements is
//! restored from the receipts.

use std::path::Path;
use std::time::Duration;

use crate::admission::{Admission, Spent};
use crate::call::{Call, Payload};
use crate::clock::Clock;
use crate::id::{Digest, Party};
use crate::key::PartyKey;
use crate::outcome::{GuestFailure, Outcome, Reply, Spoken};
use crate::receipt::{CallResult, ChainId, Commitment, Draft, Issued, Log, Receipt, ReceiptError};
use crate::state::accounts::Caller;
use crate::state::agreements::{Grant, Refusals};
use crate::state::deployments::Function;

pub use crate::receipt::Salt;

/// The log name for a host key.
pub fn origin(host: &Party) -> String {
    format!("hospes/{host}")
}

/// The receipts of this host.
pub struct Receipts {
    log: Log,
    clock: Clock,
}

impl Receipts {
    /// Opens the log in `folder` and passes every receipt to `replay`, in order.
    ///
    /// # Errors
    /// [`ReceiptError`] if the log cannot be read or is damaged.
    pub fn open(
        folder: &Path,
        key: &PartyKey,
        origin: String,
        flush_interval: Duration,
        clock: Clock,
        replay: impl FnMut(&Receipt),
    ) -> Result<Self, ReceiptError> {
        let log = Log::open(folder, key, origin, flush_interval, replay)?;
        Ok(Self { log, clock })
    }

    /// The log, for proofs and checkpoints.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Counts a call and numbers its receipt in one step, then waits until the receipt is written. The salt opens the receipt's
    /// commitments.
    ///
    /// # Errors
    /// [`ReceiptError`]; the call was not counted.
    pub async fn issue(
        &self,
        grant: &Grant,
        function: &Function,
        call: &Call,
        admission: Admission,
        outcome: &Outcome<Reply>,
    ) -> Result<(Issued, Salt), ReceiptError> {
        let salt = Salt::generate();
        let mut draft = self.draft(grant.caller(), grant.publisher(), function, call, &salt);
        let (rule, reservation) = admission.end();
        let agreement = grant.agreement().copied();
        if let Some(agreement) = agreement {
            draft.chain = ChainId::Agreement(agreement);
            (draft.agreement, draft.rule) = (Some(agreement), Some(rule));
        }
        draft.max = reservation.calls_max();
        draft.wall_micros = u64::try_from(outcome.used.wall.as_micros()).unwrap_or(u64::MAX);
        draft.memory_bytes = outcome.used.memory_bytes;
        draft.spoken = Some(outcome.used.spoken).filter(|spoken| *spoken != Spoken::default());
        draft.result = result(&outcome.result);
        let output = match &outcome.result {
            Ok(reply) => Some(reply.bytes()),
            Err(_) => Some(outcome.released.as_ref()).filter(|released| !released.is_empty()),
        };
        if let Some(output) = output {
            draft.output = Some(Commitment::of(&salt, "output", output));
            draft.output_bytes = output.len() as u64;
        }
        if let Payload::Request(exchange) = &call.payload {
            // The response is known only now.
            let input = exchange.received();
            draft.input = Commitment::of(&salt, "input", &input);
            draft.input_bytes = input.len() as u64;
        }
        let bytes = draft.input_bytes.saturating_add(draft.output_bytes);
        let spent = Spent { bytes, wall: outcome.used.wall };
        let (place, charged) = reservation.commit(&spent, |charge| {
            // A publisher's own calls are not counted.
            if agreement.is_some() {
                draft.used = Some(charge.calls);
                draft.rows = Some(charge.rows);
                draft.tokens = Some(charge.tokens).filter(|tokens| *tokens > 0);
                draft.price = charge.price;
            }
            self.log.enqueue(draft)
        })?;
        match self.log.written(&place).await {
            Ok(()) => Ok((*place, salt)),
            Err(lost) => {
                // Runs before the number is given up: until then no other receipt is written.
                charged.take_back();
                Err(lost)
            }
        }
    }

    /// Whether the log has room for another call. Asked before the call runs.
    ///
    /// # Errors
    /// [`ReceiptError::Full`], [`ReceiptError::Stopped`].
    pub fn take_calls(&self) -> Result<(), ReceiptError> {
        self.log.takes_calls()
    }

    /// Writes the receipt of a refused call, unless its caller had too many refusals. Counts nothing.
    ///
    /// # Errors
    /// [`ReceiptError`].
    pub fn deny(&self, refused: &Refused<'_>, refusals: &Refusals) -> Result<(), ReceiptError> {
        // The remaining room is reserved for calls that run.
        self.log.takes_calls()?;
        if !refusals.has_receipt(refused.caller.party(), refused.agreement.is_some()) {
            return Ok(());
        }
        let Refused { caller, publisher, function, call, agreement, code } = refused;
        let mut draft = self.draft(caller, *publisher, function, call, &Salt::generate());
        if let Some(agreement) = agreement {
            draft.chain = ChainId::Agreement(*agreement);
            draft.agreement = Some(*agreement);
        }
        draft.result = CallResult::Denied { code: (*code).into() };
        self.log.append(draft).map(drop)
    }

    fn draft(
        &self,
        caller: &Caller,
        publisher: Party,
        function: &Function,
        call: &Call,
        salt: &Salt,
    ) -> Draft {
        let input = call.payload.bytes();
        Draft {
            call: call.id,
            at: self.clock.now(),
            caller: *caller.party(),
            publisher,
            chain: ChainId::Caller(*caller.party()),
            agreement: None,
            model: function.deployment().model().clone(),
            bundle: *function.deployment().digest(),
            function: function.name().clone(),
            rule: None,
            used: None,
            max: None,
            rows: None,
            tokens: None,
            spoken: None,
            price: None,
            purpose: call.purpose.as_deref().map(Box::from),
            input: Commitment::of(salt, "input", input),
            input_bytes: input.len() as u64,
            output: None,
            output_bytes: 0,
            wall_micros: 0,
            memory_bytes: 0,
            result: CallResult::Answered,
        }
    }
}

fn result(result: &Result<Reply, GuestFailure>) -> CallResult {
    match result {
        Ok(Reply::Json(_) | Reply::Octets(_) | Reply::Encoded { .. } | Reply::Streamed { .. }) => {
            CallResult::Answered
        }
        Ok(Reply::RefusalJson(_)) => CallResult::Refused,
        Err(failure) => CallResult::Failed { code: failure.code().into() },
    }
}

/// A refused call of a known party.
pub struct Refused<'a> {
    pub caller: &'a Caller,
    pub publisher: Party,
    pub function: &'a Function,
    pub call: &'a Call,
    /// The agreement that refused it, if one covers the call.
    pub agreement: Option<Digest>,
    /// A stable name for the reason.
    pub code: &'static str,
}
