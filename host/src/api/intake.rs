//! Reads request bodies: only from permitted senders, limited in size and time, and within the host's memory budget.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Extensions, HeaderMap, Request};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use serde::de::DeserializeOwned;

use super::admin::check_operator;
use super::body::{self, check_declared, padding};
use super::compression::{self, Coding};
use super::pace::{Broken, Paced};
use super::problem::{Problem, ProblemKind};
use crate::admission::{Asker, BodiesError, Held, Holder, Pace};
use crate::dsse::ENVELOPE_BYTES_MAX;
use crate::host::Host;
use crate::outcome::GuestFailure;
use crate::sandbox::{Body, BodyError};
use crate::state::accounts::Caller;
use crate::value::parse::without_bom;

/// A body up to this size that arrived with its head is part of the connection's buffer, and counted there.
const UNCOUNTED_BYTES_MAX: usize = 16 << 10;

/// Bytes of a body without a length that may arrive before it is read: an HTTP/2 stream's window.
const UNREAD_BYTES_MAX: u64 = 1 << 20;

/// Who sends a body, its maximum size, and its time limit.
#[derive(Clone, Copy)]
pub struct Intake<'h> {
    host: &'h Host,
    from: Holder<'h>,
    bytes_max: u64,
    time_max: Duration,
}

impl<'h> Intake<'h> {
    fn new(host: &'h Host, from: Holder<'h>, bytes_max: u64) -> Self {
        Self { host, from, bytes_max, time_max: host.config().api.body_read_timeout }
    }

    /// A call's body.
    pub fn call(host: &'h Host, caller: &'h Caller) -> Self {
        Self::document(host, caller, host.config().api.body_bytes_max)
    }

    /// An account's document of at most `bytes_max` bytes.
    pub fn document(host: &'h Host, caller: &'h Caller, bytes_max: u64) -> Self {
        Self::new(host, Holder::Account(&caller.account().name), bytes_max)
    }

    /// A small body from anybody.
    pub fn anybody(host: &'h Host, from: &'h Extensions, bytes_max: u64) -> Self {
        Self::new(host, anybody(from), bytes_max)
    }

    /// A body from the operator.
    pub fn operator(host: &'h Host, bytes_max: u64) -> Self {
        Self::new(host, Holder::Operator, bytes_max)
    }

    fn asker(&self) -> Asker {
        match self.from {
            Holder::Stranger | Holder::Connection(_) => Asker::Stranger,
            Holder::Account(name) => Asker::Account(name.clone()),
            Holder::Operator => Asker::Operator,
        }
    }

    /// The minimum speed.
    fn pace(&self) -> Pace {
        Pace::of(&self.host.config().api, self.time_max)
    }

    /// Reads and decompresses a whole body.
    ///
    /// # Errors
    /// 415 for an unknown coding, 413 naming the limit, 408 if it is too slow, 429 or 503 if there is no room for it now. 400 if the
    /// connection broke off or the content does not match its headers.
    pub async fn read(self, headers: &HeaderMap, body: Incoming) -> Result<Bytes, Problem> {
        self.read_aligned(headers, body, 0).await
    }

    /// Like [`Self::read`], for a JSON document.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn read_json(self, headers: &HeaderMap, body: Incoming) -> Result<Bytes, Problem> {
        let bytes = self.read(headers, body).await?;
        Ok(bytes.slice_ref(without_bom(&bytes)))
    }

    /// Streams the body to a consumer that stores it. The amount that may arrive before it is read is reserved from the start.
    ///
    /// # Errors
    /// 429 or 503 if there is no room now.
    pub fn flow(self, body: Incoming) -> Result<Body, Problem> {
        let declared = body.size_hint().exact().unwrap_or(UNREAD_BYTES_MAX);
        let mut held = self.host.bodies.open(self.from);
        held.fits(declared)
            .and_then(|()| held.grow(declared.min(UNREAD_BYTES_MAX)))
            .map_err(no_room)?;
        let body = Paced::new(body, self.pace().before_others());
        Ok(Flow { body, held, come: 0 }.boxed_unsync())
    }

    /// Like [`Self::read`], with the byte at `offset` aligned like a tensor. Costs one copy, as joining a body's pieces does.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn read_aligned(
        self,
        headers: &HeaderMap,
        body: Incoming,
        offset: usize,
    ) -> Result<Bytes, Problem> {
        let coding = Coding::of_request(headers)?;
        let Some(coding) = coding else { return self.as_sent(body, offset).await };
        let bytes = self.as_sent(body, 0).await?;
        let turn = self.host.lines.reading.take(&self.asker()).await?;
        // The final size is unknown, so there must be room for the maximum once the whole body is here.
        let mut held = self.host.bodies.take(self.from, self.bytes_max).map_err(no_room)?;
        let whole =
            compression::inflate(bytes, Some(coding), (self.bytes_max, offset), Some(turn)).await?;
        held.shrink(whole.len() as u64);
        Ok(held.keep(whole))
    }

    /// The whole body, unchanged.
    async fn as_sent(self, body: Incoming, offset: usize) -> Result<Bytes, Problem> {
        check_declared(&body, self.bytes_max)?;
        let declared = body.size_hint().exact().and_then(|length| usize::try_from(length).ok());
        let declared = declared.unwrap_or(0);
        // Without tensors or a length there is nothing to gain.
        let aligned = offset > 0 && declared > offset;
        let padding = if aligned { padding(offset) } else { 0 };
        let uncounted = match self.from {
            Holder::Stranger | Holder::Connection(_) => 0,
            Holder::Account(_) | Holder::Operator => UNCOUNTED_BYTES_MAX,
        };
        let mut buffer = Buffer {
            only: Bytes::new(),
            joined: Vec::new(),
            padding,
            declared,
            uncounted,
            held: self.host.bodies.open(self.from),
        };
        if declared > uncounted {
            // Check before the first byte, to reject early what could not be held to the end. Memory is charged as it arrives.
            buffer.held.fits((padding + declared) as u64).map_err(no_room)?;
        }
        let mut body = Paced::new(body, self.pace());
        while let Some(frame) = body.frame().await {
            let Ok(piece) = frame.map_err(body::broken)?.into_data() else { continue };
            if (buffer.len() + piece.len()) as u64 > self.bytes_max {
                return Err(body::too_large(None, self.bytes_max));
            }
            buffer.push(piece, aligned).map_err(no_room)?;
        }
        Ok(buffer.end())
    }
}

/// A JSON document from an account, possibly empty, and the account. The key is checked before anything is read.
///
/// # Errors
/// As [`Intake::read`]; 401 and 403 for the key.
pub(super) async fn document(
    host: &Host,
    request: Request<Incoming>,
    bytes_max: u64,
) -> Result<(Caller, Bytes), Problem> {
    let (parts, body) = request.into_parts();
    let caller = host.auth.authenticate(body::bearer(&parts.headers))?;
    let intake = Intake::document(host, &caller, bytes_max);
    let bytes = intake.read_json(&parts.headers, body).await?;
    Ok((caller, bytes))
}

/// A type of the API from an account, and the account.
///
/// # Errors
/// As [`Intake::read`]; 401 and 403 for the key, 400 if nothing came or it is not of the type.
pub(super) async fn required<T: DeserializeOwned>(
    host: &Host,
    request: Request<Incoming>,
    bytes_max: u64,
) -> Result<(Caller, T), Problem> {
    let (caller, bytes) = document(host, request, bytes_max).await?;
    Ok((caller, read(&there(bytes)?)?))
}

/// The same where the body may be left out: the type's default.
///
/// # Errors
/// As [`required`], except that nothing need come.
pub(super) async fn optional<T: DeserializeOwned + Default>(
    host: &Host,
    request: Request<Incoming>,
    bytes_max: u64,
) -> Result<(Caller, T), Problem> {
    let (caller, bytes) = document(host, request, bytes_max).await?;
    let document = if bytes.is_empty() { T::default() } else { read(&bytes)? };
    Ok((caller, document))
}

/// The same for a signed document, which is read elsewhere.
///
/// # Errors
/// As [`Intake::read`]; 401 and 403 for the key, 400 if nothing came.
pub(super) async fn signed(
    host: &Host,
    request: Request<Incoming>,
) -> Result<(Caller, Bytes), Problem> {
    let (caller, bytes) = document(host, request, ENVELOPE_BYTES_MAX as u64).await?;
    Ok((caller, there(bytes)?))
}

/// What the operator sends, as a type of the API. The token is checked before anything is read.
///
/// # Errors
/// As of [`Intake::read`]; 401 for the token, 400 if nothing came or it is not of the type.
pub(super) async fn from_operator<T: DeserializeOwned>(
    host: &Host,
    request: Request<Incoming>,
    bytes_max: u64,
) -> Result<T, Problem> {
    let (parts, body) = request.into_parts();
    check_operator(host, &parts.headers)?;
    let bytes = Intake::operator(host, bytes_max).read_json(&parts.headers, body).await?;
    read(&there(bytes)?)
}

/// A body that a route needs.
fn there(bytes: Bytes) -> Result<Bytes, Problem> {
    if bytes.is_empty() { Err(body::missing()) } else { Ok(bytes) }
}

/// A type of the API, from a document in JSON.
///
/// # Errors
/// 400 if it is not of the type.
fn read<T: DeserializeOwned>(document: &[u8]) -> Result<T, Problem> {
    // Each is an object. The derived parsers would also accept an array of the members' values, and name the host's own types.
    if document.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        let detail = "the body is not what this route takes: expected an object";
        return Err(Problem::new(ProblemKind::InvalidRequest, detail));
    }
    serde_json::from_slice(document)
        .map_err(|error| Problem::new(ProblemKind::InvalidRequest, error.to_string()))
}

/// A body that goes on as it comes. What has come of it is held until the last of it is dropped.
struct Flow {
    body: Paced<Incoming>,
    held: Held,
    come: u64,
}

impl http_body::Body for Flow {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let Some(frame) = ready!(Pin::new(&mut this.body).poll_frame(context)) else {
            return Poll::Ready(None);
        };
        let frame = match frame {
            Ok(frame) => frame,
            Err(Broken::TooSlow(slow)) => {
                let failure = GuestFailure::InputTooSlow { reason: slow.to_string() };
                return Poll::Ready(Some(Err(failure.into())));
            }
            Err(Broken::Off(error)) => return Poll::Ready(Some(Err(error.into()))),
        };
        this.come += frame.data_ref().map_or(0, |bytes| bytes.len() as u64);
        let more = this.come.saturating_sub(this.held.bytes());
        if let Err(error) = this.held.grow(more) {
            let failure = GuestFailure::InputUnkept { reason: error.to_string() };
            return Poll::Ready(Some(Err(failure.into())));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body in transit.
struct Buffer {
    /// The first piece, while it is the only one: it is not copied.
    only: Bytes,
    joined: Vec<u8>,
    padding: usize,
    declared: usize,
    /// Bytes of a one-piece body that are not charged.
    uncounted: usize,
    held: Held,
}

impl Buffer {
    fn len(&self) -> usize {
        self.only.len() + self.joined.len().saturating_sub(self.padding)
    }

    fn push(&mut self, piece: Bytes, aligned: bool) -> Result<(), BodiesError> {
        if self.joined.is_empty() && self.only.is_empty() && !aligned {
            if piece.len() > self.uncounted {
                self.hold(piece.len())?;
            }
            self.only = piece;
            return Ok(());
        }
        if self.joined.is_empty() {
            let come = self.padding + self.only.len() + piece.len();
            self.hold(come)?;
            // Reserves the declared size, so that nothing is copied again. Only received bytes are touched.
            if self.joined.try_reserve_exact(come.max(self.padding + self.declared)).is_err() {
                // The machine cannot reserve that much. Less may arrive.
                self.joined.reserve_exact(come);
            }
            self.joined.resize(self.padding, 0);
            self.joined.extend_from_slice(&std::mem::take(&mut self.only));
        }
        let wanted = self.joined.len() + piece.len();
        if wanted > self.joined.capacity() {
            self.reserve(wanted.max(self.joined.capacity() * 2))?;
        }
        self.hold(wanted)?;
        self.joined.extend_from_slice(&piece);
        Ok(())
    }

    /// Makes room for `all` bytes. Pages are touched only as bytes arrive.
    fn reserve(&mut self, all: usize) -> Result<(), BodiesError> {
        self.hold(all)?;
        self.joined.reserve_exact(all - self.joined.len());
        Ok(())
    }

    /// Charges what is missing to `all` bytes.
    fn hold(&mut self, all: usize) -> Result<(), BodiesError> {
        self.held.grow((all as u64).saturating_sub(self.held.bytes()))
    }

    fn end(mut self) -> Bytes {
        if self.joined.is_empty() {
            return match self.held.bytes() {
                0 => self.only,
                _ => self.held.keep(self.only),
            };
        }
        let padding = self.padding;
        let whole = std::mem::take(&mut self.joined);
        self.held.keep(whole).slice(padding..)
    }
}

/// Who an anonymous request's memory is charged to: its connection's share. A connection that has authenticated has none, because its
/// account is known.
pub(super) fn anybody(of_request: &Extensions) -> Holder<'_> {
    of_request.get().map_or(Holder::Stranger, Holder::Connection)
}

/// There is no room for a body now.
#[expect(clippy::needless_pass_by_value, reason = "it is handed to `map_err`")]
pub(super) fn no_room(error: BodiesError) -> Problem {
    let kind = if error.own { ProblemKind::AccountLimit } else { ProblemKind::Busy };
    let (setting, max) = (error.setting, error.max);
    Problem::new(kind, error.to_string())
        .with("setting", setting)
        .with("limit", max)
        .retry_after(NO_ROOM_RETRY)
}

/// `Retry-After` for lack of room.
const NO_ROOM_RETRY: Duration = Duration::from_secs(1);
