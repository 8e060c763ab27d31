//! What every front does with a call: authentication, choice of agreement, the call of [`invoke`], and receipt headers. The only place that
//! calls [`invoke`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use hyper::body::{Body as _, Incoming};
use tokio::sync::mpsc;

use super::body;
use super::detached::{Detached, Leaving};
use super::intake::Intake;
use super::pieces::Running;
use super::problem::{Problem, ProblemKind};
use crate::admission::{Pace, Priority, READ_HERE_BYTES_MAX};
use crate::call::http::Exchange;
use crate::call::pieces::{PieceEncoder, Streaming};
use crate::call::{AnswerForm, Call, Payload, Timings, Urgency};
use crate::config::Config;
use crate::host::Host;
use crate::id::{CallId, Digest, IdError, ModelName};
use crate::invoke::{Invocation, InvokeError, invoke, permit};
use crate::outcome::{GuestFailure, Reply};
use crate::receipt::Issued;
use crate::state::accounts::{Caller, Credential};
use crate::state::deployments::{Deployment, Reference, Target};
use crate::state::receipts::Salt;
use crate::visibility;

const AGREEMENT: HeaderName = HeaderName::from_static("hospes-agreement");
const PURPOSE: HeaderName = HeaderName::from_static("hospes-purpose");
const RECEIPT: HeaderName = HeaderName::from_static("hospes-receipt");
const SALT: HeaderName = HeaderName::from_static("hospes-salt");
const REMAINING: HeaderName = HeaderName::from_static("hospes-remaining");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Buffer size for the values of a response's own headers.
const HEADER_VALUES_BYTES: usize = 256;

/// Maximum length of a declared purpose, in bytes.
const PURPOSE_BYTES_MAX: usize = 256;

/// A caller with a valid key, and the call's headers. Built before the body is read, so that unauthenticated clients cannot make the host
/// hold one. `invoke` checks again and decides.
pub(super) struct Front<'h> {
    host: &'h Arc<Host>,
    id: CallId,
    credential: Credential,
    caller: Caller,
    agreement: Option<Digest>,
    purpose: Option<Arc<str>>,
    urgency: Urgency,
}

/// A call that ran: its response and receipt data.
pub(super) struct Done {
    pub(super) result: Result<Reply, GuestFailure>,
    pub(super) papers: Papers,
}

/// Why there is no response.
#[derive(Debug)]
pub(super) enum NoAnswer {
    Refused(InvokeError),
    Failed(Problem),
}

impl From<NoAnswer> for Problem {
    fn from(error: NoAnswer) -> Self {
        match error {
            NoAnswer::Refused(error) => error.into(),
            NoAnswer::Failed(problem) => problem,
        }
    }
}

impl<'h> Front<'h> {
    /// Reads who calls, and how, from the headers.
    pub(super) fn open(host: &'h Arc<Host>, headers: &HeaderMap) -> Result<Self, Problem> {
        let credential = Credential::read(body::bearer(headers))?;
        let caller = host.auth.recognise(&credential)?;
        let agreement = text(headers, &AGREEMENT)?.map(str::parse).transpose();
        Ok(Self {
            host,
            id: CallId::new(host.clock().now()),
            credential,
            caller,
            agreement: agreement
                .map_err(|error: IdError| invalid(format!("`Hospes-Agreement`: {error}")))?,
            purpose: text(headers, &PURPOSE)?.map(purpose).transpose()?,
            urgency: Urgency::default(),
        })
    }

    /// Waits until the called version is described, for fronts that need that before the call.
    pub(super) async fn awaken(&self, model: &ModelName, reference: &Reference) {
        if let Ok(caller) = self.host.auth.recognise(&self.credential) {
            visibility::awaken(self.host, &caller, model, reference).await;
        }
    }

    /// The called version, if the caller may know of it. Without one the call goes on: `invoke` reports why.
    pub(super) fn version(
        &self,
        model: &ModelName,
        reference: &Reference,
    ) -> Option<Arc<Deployment>> {
        let caller = self.host.auth.recognise(&self.credential).ok()?;
        visibility::version(self.host, Some(&caller), model, reference).ok()
    }

    /// Whether the call would be permitted now, as far as can be told without its arguments. A refusal gets a receipt like any refused
    /// call, without a commitment to the input.
    pub(super) async fn permits(&self, target: &Target) -> Result<(), NoAnswer> {
        self.awaken(&target.model, &target.reference).await;
        let call = Call {
            id: self.id,
            credential: self.credential,
            target: target.clone(),
            agreement: self.agreement,
            purpose: self.purpose.clone(),
            payload: Payload::Json(Bytes::new()),
            form: AnswerForm::Json,
            urgency: Urgency::default(),
            gone: None,
            left: None,
        };
        permit(self.host, &call).map(drop).map_err(NoAnswer::Refused)
    }

    /// The same check, made before reading a body that may be large. `invoke` checks in any case.
    pub(super) async fn permits_body(
        &self,
        target: &Target,
        body: &Incoming,
    ) -> Result<(), NoAnswer> {
        let is_small =
            body.size_hint().upper().is_some_and(|upper| upper <= READ_HERE_BYTES_MAX as u64);
        if is_small { Ok(()) } else { self.permits(target).await }
    }

    /// The error for a malformed body. Only callers who may call learn what is wrong with it; others get the refusal.
    pub(super) async fn fault(&self, target: &Target, problem: impl Into<Problem>) -> NoAnswer {
        let refused = self.permits(target).await.err();
        refused.unwrap_or_else(|| NoAnswer::Failed(problem.into()))
    }

    /// Runs the parsing of `bytes` bytes, off the serving threads if they are many.
    pub(super) async fn apart<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        Ok(self.host.reader(&self.caller).apart(bytes, work).await?)
    }

    /// Limits for reading the call's body.
    pub(super) fn intake(&self) -> Intake<'_> {
        Intake::call(self.host, &self.caller)
    }

    /// The call's identifier.
    pub(super) fn id(&self) -> CallId {
        self.id
    }

    /// The same with the time that the caller will wait from now on, and its priority.
    pub(super) fn urgent(mut self, (patience, priority): (Option<Duration>, Priority)) -> Self {
        let until = patience.and_then(|patience| Instant::now().checked_add(patience));
        self.urgency = Urgency { priority, until };
        self
    }

    /// Makes the call.
    pub(super) async fn call(
        self,
        target: Target,
        payload: Payload,
        form: AnswerForm,
    ) -> Result<Done, NoAnswer> {
        let (_, call) = self.make(target, payload, form);
        call.await
    }

    /// Makes a call with a streamed response.
    pub(super) fn stream(
        self,
        target: Target,
        payload: Payload,
        encoder: Arc<dyn PieceEncoder>,
    ) -> Running {
        let (streaming, taken) = Streaming::new(encoder, reading(self.host.config()));
        let keep_alive = self.host.config().api.event_keep_alive;
        let (id, call) = self.make(target, payload, AnswerForm::Stream(streaming));
        Running { id, call: Box::pin(call), taken, keep_alive }
    }

    /// Makes a call to an HTTP handler.
    pub(super) fn exchange(
        self,
        target: Target,
        (exchange, taken): (Arc<Exchange>, mpsc::Receiver<Bytes>),
    ) -> Running {
        let form = AnswerForm::Response(Arc::clone(&exchange));
        let keep_alive = self.host.config().api.event_keep_alive;
        let (id, call) = self.make(target, Payload::Request(exchange), form);
        Running { id, call: Box::pin(call), taken, keep_alive }
    }

    fn make(
        self,
        target: Target,
        payload: Payload,
        form: AnswerForm,
    ) -> (CallId, impl Future<Output = Result<Done, NoAnswer>> + Send + use<>) {
        let Self { host, id, credential, caller: _, agreement, purpose, urgency } = self;
        let leaving = Leaving::default();
        let call = Call {
            id,
            credential,
            target,
            agreement,
            purpose,
            payload,
            form,
            urgency,
            gone: Some(Arc::clone(&leaving.gone)),
            left: Some(Arc::clone(&leaving.left)),
        };
        let host = Arc::clone(host);
        let call = async move {
            // Yield, so that other ready requests are read first: consecutive calls find their code in the caches (D34).
            tokio::task::yield_now().await;
            invoke(&host, call).await
        };
        let invocation = Detached::new(call, leaving);
        let made = async move {
            let invocation = invocation
                .await
                .map_err(|panic| NoAnswer::Failed(Problem::internal(&panic)))?
                .map_err(NoAnswer::Refused)?;
            let Invocation { outcome, receipt, salt, timings } = invocation;
            Ok(Done { result: outcome.result, papers: Papers { receipt, salt, timings } })
        };
        (id, made)
    }
}

/// How slowly a caller may read a streamed response.
pub(super) fn reading(config: &Config) -> Pace {
    Pace::of(&config.api, config.sandbox.deadline).before_others()
}

fn purpose(iri: &str) -> Result<Arc<str>, Problem> {
    let is_iri = iri.len() <= PURPOSE_BYTES_MAX
        && iri.split_once(':').is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty())
        && !iri.contains(char::is_whitespace);
    if is_iri {
        return Ok(iri.into());
    }
    Err(invalid(format!("`Hospes-Purpose` must be an IRI of at most {PURPOSE_BYTES_MAX} bytes")))
}

/// A header that may occur once.
fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Problem> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            let value = value.to_str();
            value.map(Some).map_err(|_| invalid(format!("header `{name}` is not plain text")))
        }
        (Some(_), Some(_)) => Err(invalid(format!("header `{name}` appears twice"))),
    }
}

fn invalid(detail: String) -> Problem {
    Problem::new(ProblemKind::InvalidRequest, detail)
}

/// Headers of every call's response: its receipt, the salt that opens it, and its timings.
pub(super) struct Papers {
    receipt: Issued,
    salt: Salt,
    timings: Timings,
}

impl Papers {
    /// Identifies the call at the beginning of a stream; the rest follows in the trailers.
    pub(super) fn announce(call: CallId, headers: &mut HeaderMap) {
        let mut text = [0; CallId::TEXT_BYTES];
        if let Ok(value) = HeaderValue::from_str(call.encode(&mut text)) {
            headers.insert(RECEIPT, value);
        }
    }

    /// Adds these headers.
    pub(super) fn accompany(&self, headers: &mut HeaderMap) {
        let Self { receipt, salt, timings } = self;
        // On every call, so one allocation holds all the values.
        let mut text = BytesMut::with_capacity(HEADER_VALUES_BYTES);
        let mut insert = |name: HeaderName, text: &mut BytesMut| {
            if let Ok(value) = HeaderValue::from_maybe_shared(text.split().freeze()) {
                headers.insert(name, value);
            }
        };
        let mut call = [0; CallId::TEXT_BYTES];
        text.extend_from_slice(receipt.call.encode(&mut call).as_bytes());
        insert(RECEIPT, &mut text);
        text.extend_from_slice(&salt.digits());
        insert(SALT, &mut text);
        if let (Some(max), Some(used)) = (receipt.max, receipt.used) {
            put_number(&mut text, max.saturating_sub(used));
            insert(REMAINING, &mut text);
        }
        let Timings { began, admitted, instantiated, ran, ended } = *timings;
        let spans = [
            ("admit", admitted - began),
            ("start", instantiated - admitted),
            ("run", ran - instantiated),
            ("settle", ended - ran),
        ];
        server_timing(spans, &mut text);
        insert(SERVER_TIMING, &mut text);
    }
}

/// The spans in milliseconds, to the microsecond (W3C Server Timing). Without `format!`, which took as long as checking the agreement.
fn server_timing(spans: [(&str, Duration); 4], text: &mut BytesMut) {
    for (index, (name, span)) in spans.into_iter().enumerate() {
        if index > 0 {
            text.extend_from_slice(b", ");
        }
        text.extend_from_slice(name.as_bytes());
        text.extend_from_slice(b";dur=");
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        put_number(text, micros / 1000);
        let digits = micros % 1000;
        let digit = |unit: u64| b'0' + (digits / unit % 10) as u8;
        text.extend_from_slice(&[b'.', digit(100), digit(10), digit(1)]);
    }
}

fn put_number(text: &mut BytesMut, number: u64) {
    text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}
