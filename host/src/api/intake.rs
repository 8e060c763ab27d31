//! Takes request bodies in: from those who may send one, bounded in size and in time, and within the budget of what the host holds.

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

/// A body that came in one piece with its head, and is no larger, is a part of what the connection has read: it is counted there.
const UNCOUNTED_BYTES_MAX: usize = 16 << 10;

/// Bytes of a body without a length that may have come before anybody reads them: the window of a stream of HTTP/2.
const UNREAD_BYTES_MAX: u64 = 1 << 20;

/// Who sends a body, and how much of one, and for how long.
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

    /// The body of a call.
    pub fn call(host: &'h Host, caller: &'h Caller) -> Self {
        Self::document(host, caller, host.config().api.body_bytes_max)
    }

    /// A document of an account, of at most `bytes_max` bytes.
    pub fn document(host: &'h Host, caller: &'h Caller, bytes_max: u64) -> Self {
        Self::new(host, Holder::Account(&caller.account().name), bytes_max)
    }

    /// What anybody may send: little.
    pub fn anybody(host: &'h Host, from: &'h Extensions, bytes_max: u64) -> Self {
        Self::new(host, anybody(from), bytes_max)
    }

    /// What the operator sends.
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

    /// How slowly it may come.
    fn pace(&self) -> Pace {
        Pace::of(&self.host.config().api, self.time_max)
    }

    /// Reads a whole body, as it was before it was compressed.
    ///
    /// # Errors
    /// 415 for a coding that is not known, 413 naming the limit, 408 if it comes too slowly, 429 or 503 if there is no room for it
    /// now, or 400 if the connection broke off or what came is not what it says.
    pub async fn read(self, headers: &HeaderMap, body: Incoming) -> Result<Bytes, Problem> {
        self.read_aligned(headers, body, 0).await
    }

    /// Like [`Self::read`], of a document in JSON.
    ///
    /// # Errors
    /// As of [`Self::read`].
    pub async fn read_json(self, headers: &HeaderMap, body: Incoming) -> Result<Bytes, Problem> {
        let bytes = self.read(headers, body).await?;
        Ok(bytes.slice_ref(without_bom(&bytes)))
    }

    /// Lets the body through as it comes, for somebody who keeps it: what may have come before it is read is held from the start.
    ///
    /// # Errors
    /// 429 or 503 if there is no room for it now.
    pub fn flow(self, body: Incoming) -> Result<Body, Problem> {
        let declared = body.size_hint().exact().unwrap_or(UNREAD_BYTES_MAX);
        let mut held = self.host.bodies.open(self.from);
        held.fits(declared)
            .and_then(|()| held.grow(declared.min(UNREAD_BYTES_MAX)))
            .map_err(no_room)?;
        let body = Paced::new(body, self.pace().before_others());
        Ok(Flow { body, held, come: 0 }.boxed_unsync())
    }

    /// Like [`Self::read`]; the byte at `offset` is put where a tensor can begin. Costs one copy, as joining the pieces of a body does.
    ///
    /// # Errors
    /// As of [`Self::read`].
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
        // What it grows to is not known before: there has to be room for all that it may come to, once all of it is there.
        let mut held = self.host.bodies.take(self.from, self.bytes_max).map_err(no_room)?;
        let whole =
            compression::inflate(bytes, Some(coding), (self.bytes_max, offset), Some(turn)).await?;
        held.shrink(whole.len() as u64);
        Ok(held.keep(whole))
    }

    /// The whole body, as it came.
    async fn as_sent(self, body: Incoming, offset: usize) -> Result<Bytes, Problem> {
        check_declared(&body, self.bytes_max)?;
        let declared = body.size_hint().exact().and_then(|length| usize::try_from(length).ok());
        let declared = declared.unwrap_or(0);
        // Without tensors or a length there is nothing to be won.
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
            // Before the first byte: who could not be kept to the end is told so at once. It is held as it comes.
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

/// A document in JSON that an account sends, and who that is. The key is checked before anything is read.
///
/// # Errors
/// As of [`Intake::read`]; 401 and 403 for the key.
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

/// The same for what somebody has signed.
///
/// # Errors
/// As of [`document`].
pub(super) async fn signed(
    host: &Host,
    request: Request<Incoming>,
) -> Result<(Caller, Bytes), Problem> {
    document(host, request, ENVELOPE_BYTES_MAX as u64).await
}

/// What the operator sends, as a type of the API. The token is checked before anything is read.
///
/// # Errors
/// As of [`Intake::read`]; 401 for the token, 400 for what is not of the type.
pub(super) async fn from_operator<T: DeserializeOwned>(
    host: &Host,
    request: Request<Incoming>,
    bytes_max: u64,
) -> Result<T, Problem> {
    let (parts, body) = request.into_parts();
    check_operator(host, &parts.headers)?;
    read(&Intake::operator(host, bytes_max).read_json(&parts.headers, body).await?)
}

/// A type of the API, from a document in JSON.
///
/// # Errors
/// 400 if it is not of the type.
pub(super) fn read<T: DeserializeOwned>(document: &[u8]) -> Result<T, Problem> {
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

/// A body that is coming.
struct Buffer {
    /// The first piece, as long as it is the only one: it is not copied.
    only: Bytes,
    joined: Vec<u8>,
    padding: usize,
    declared: usize,
    /// Bytes that a body of one piece may have without being counted.
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
            // For all that is announced, so that nothing is copied again. Only as much as has come is memory.
            if self.joined.try_reserve_exact(come.max(self.padding + self.declared)).is_err() {
                // The machine has not that much to promise. What comes may be less.
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

    /// Makes room for `all` bytes. The room is only touched as bytes come.
    fn reserve(&mut self, all: usize) -> Result<(), BodiesError> {
        self.hold(all)?;
        self.joined.reserve_exact(all - self.joined.len());
        Ok(())
    }

    /// Takes what is missing to `all` bytes.
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

/// In whose name a request takes what anybody may: its connection's, which has a share of that. One that has shown a key before has
/// none: its account is known.
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

/// After which time there may be room again.
const NO_ROOM_RETRY: Duration = Duration::from_secs(1);
