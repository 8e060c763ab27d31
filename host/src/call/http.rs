//! A request to a component's HTTP handler, and its response (`wasi:http`): what of both crosses the boundary.
//!
//! Both are counted and kept on the way, because the receipt commits to them. The request's commitment covers its line, the headers that
//! the handler gets, sorted by name, an empty line, and the body as far as it was read. The response's covers status, headers, an empty
//! line, body and trailers. Removed before are the caller's key, cookies, and headers that would affect the whole site.

mod headers;

use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header, request, response};
use http_body::Frame;
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::admission::{Pace, Watch};
use crate::call::pieces::PIECES_MAX;
use crate::outcome::{GuestFailure, OutputLimit, Reply};
use crate::sandbox::{Body, BodyError, Responder};

/// How long a response's first bytes wait for the rest: a short response is sent with its receipt, in one piece.
const WHOLE_WITHIN: Duration = Duration::from_millis(5);

/// Maximum response bytes that wait.
const HELD_BYTES_MAX: usize = 64 << 10;

/// Limits in bytes, over all that is counted.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Of the request.
    pub input: u64,
    /// Of the response, and who set it.
    pub output: (u64, OutputLimit),
    /// Whether the agreement controls output. A response can carry anything, so it is then blocked.
    pub controlled: bool,
}

/// One request and its response.
pub struct Exchange {
    /// The request's line and headers, as committed to.
    head: Bytes,
    /// The request body's declared length.
    length: Option<u64>,
    /// Whether the response has no body, whatever its headers say.
    bodiless: bool,
    /// Until the handler takes it.
    request: Mutex<Option<http::Request<Body>>>,
    bounds: OnceLock<Bounds>,
    input: Mutex<Vec<u8>>,
    output: Mutex<Output>,
    /// Why the request was stopped.
    refused: OnceLock<GuestFailure>,
    pieces: mpsc::Sender<Bytes>,
    /// How long the handler waits for the reader of its response.
    reader: Mutex<Watch>,
}

#[derive(Default)]
struct Output {
    /// Until it is sent.
    head: Option<response::Parts>,
    /// All counted bytes, and how many of them were sent.
    counted: Vec<u8>,
    left: usize,
    /// Body bytes waiting to be sent.
    held: Vec<u8>,
    trailers: Option<HeaderMap>,
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("head", &self.head).finish_non_exhaustive()
    }
}

impl Exchange {
    /// The exchange for a request, and the receiver of the response body's pieces.
    pub fn new(
        mut parts: request::Parts,
        body: Body,
        length: Option<u64>,
        pace: Pace,
    ) -> (Arc<Self>, mpsc::Receiver<Bytes>) {
        headers::inward(&mut parts.headers);
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut head = format!("{} {path}\n", parts.method).into_bytes();
        write_headers(&parts.headers, &mut head);
        head.push(b'\n');
        let (pieces, taken) = mpsc::channel(PIECES_MAX);
        let exchange = Self {
            input: Mutex::new(head.clone()),
            head: head.into(),
            length,
            bodiless: parts.method == Method::HEAD,
            request: Mutex::new(Some(http::Request::from_parts(parts, body))),
            bounds: OnceLock::new(),
            output: Mutex::default(),
            refused: OnceLock::new(),
            pieces,
            reader: Mutex::new(Watch::new(pace)),
        };
        (Arc::new(exchange), taken)
    }

    /// The request's line and headers, as committed to.
    pub fn head(&self) -> &Bytes {
        &self.head
    }

    /// Size of the whole request; `None` if its body declares no length.
    pub fn length(&self) -> Option<u64> {
        self.length.map(|length| length.saturating_add(self.head.len() as u64))
    }

    /// The request, for the handler. Can be taken once.
    pub(crate) fn request(self: &Arc<Self>) -> Option<http::Request<Body>> {
        let request = lock(&self.request).take()?;
        let through = Arc::clone(self);
        Some(request.map(|body| Counted { body, through }.boxed_unsync()))
    }

    /// Opens request and response within these limits. Until then no body bytes pass.
    pub(crate) fn open(self: &Arc<Self>, bounds: Bounds) -> Arc<dyn Responder> {
        let _ = self.bounds.set(bounds);
        Arc::<Self>::clone(self)
    }

    /// What the handler received of the request. Taken once, after the call has ended.
    pub(crate) fn received(&self) -> Vec<u8> {
        std::mem::take(&mut *lock(&self.input))
    }

    /// The limit that the request exceeded, if any.
    pub(crate) fn refusal(&self) -> Option<&GuestFailure> {
        self.refused.get()
    }

    /// Ends the response and returns all of it, as committed to.
    pub(crate) fn finish(&self) -> Reply {
        let mut output = lock(&self.output);
        let rest = std::mem::take(&mut output.held).into();
        Reply::Streamed { bytes: std::mem::take(&mut output.counted).into(), rest }
    }

    /// What was sent of a failed response.
    pub(crate) fn released(&self) -> Bytes {
        let output = lock(&self.output);
        Bytes::copy_from_slice(&output.counted[..output.left])
    }

    /// The response's status and headers, once: with its first piece or when the call has ended.
    pub fn take_head(&self) -> Option<response::Parts> {
        lock(&self.output).head.take()
    }

    /// The response's trailers, once the call has ended.
    pub fn take_trailers(&self) -> HeaderMap {
        lock(&self.output).trailers.take().unwrap_or_default()
    }

    /// Counts what the handler is about to receive.
    fn count_in(&self, bytes: &[u8]) -> Result<(), BodyError> {
        let mut input = lock(&self.input);
        let max = self.bounds.get().map_or(0, |bounds| bounds.input);
        let wanted = (input.len() + bytes.len()) as u64;
        if wanted > max {
            let failure = GuestFailure::InputTooLarge { max };
            let error = failure.to_string();
            let _ = self.refused.set(failure);
            return Err(error.into());
        }
        input.extend_from_slice(bytes);
        Ok(())
    }

    /// Counts what is about to be sent.
    fn count_out(&self, bytes: &[u8]) -> Result<(), GuestFailure> {
        if let Some(refused) = self.refusal() {
            return Err(refused.clone());
        }
        let (max, limit) = self.bounds.get().map_or((0, OutputLimit::Host), |bounds| bounds.output);
        let mut output = lock(&self.output);
        let wanted = (output.counted.len() + bytes.len()) as u64;
        if wanted > max {
            return Err(GuestFailure::OutputTooLarge { bytes: wanted, max, limit });
        }
        output.counted.extend_from_slice(bytes);
        Ok(())
    }

    /// Sends what is held, even if only the head. Waits for the reader, but not forever: others need the sandbox.
    async fn release(&self) -> Result<(), GuestFailure> {
        let mut reserve = pin!(self.pieces.reserve());
        let permit = poll_fn(|context| match reserve.as_mut().poll(context) {
            Poll::Ready(permit) => {
                Poll::Ready(permit.map_err(|_closed| GuestFailure::Disconnected))
            }
            Poll::Pending => {
                lock(&self.reader).poll_wait(context).map(|_slow| Err(GuestFailure::Unread))
            }
        });
        let permit = permit.await?;
        let mut output = lock(&self.output);
        lock(&self.reader).moved(output.held.len() as u64);
        output.left = output.counted.len();
        permit.send(std::mem::take(&mut output.held).into());
        Ok(())
    }

    async fn forward(&self, response: http::Response<Body>) -> Result<(), GuestFailure> {
        if self.bounds.get().is_none_or(|bounds| bounds.controlled) {
            let reason = "a response of HTTP can carry anything".to_owned();
            return Err(GuestFailure::OutputUncontrolled { reason });
        }
        let (mut head, mut body) = response.into_parts();
        if head.status.is_informational() {
            let reason = format!("{} is not the status of a response", head.status.as_u16());
            return Err(GuestFailure::OutputUnsendable { reason });
        }
        headers::outward(&mut head.headers);
        let announced = length(&head.headers)?;
        let bodiless = self.bodiless || [204, 304].contains(&head.status.as_u16());
        let mut line = format!("{}\n", head.status.as_u16()).into_bytes();
        write_headers(&head.headers, &mut line);
        line.push(b'\n');
        self.count_out(&line)?;
        lock(&self.output).head = Some(head);
        let (mut begun, mut sent) = (false, 0);
        let whole_until = Instant::now() + WHOLE_WITHIN;
        loop {
            let frame = match begun {
                true => body.frame().await,
                false => match timeout_at(whole_until, body.frame()).await {
                    Ok(frame) => frame,
                    Err(_elapsed) => {
                        self.release().await?;
                        begun = true;
                        continue;
                    }
                },
            };
            let Some(frame) = frame else { break };
            let broken =
                |error| GuestFailure::Trap { reason: format!("its response broke off: {error}") };
            match frame.map_err(broken)?.into_data() {
                Ok(bytes) if bodiless || bytes.is_empty() => {}
                Ok(bytes) => {
                    self.count_out(&bytes)?;
                    let held = {
                        let mut output = lock(&self.output);
                        output.held.extend_from_slice(&bytes);
                        output.held.len()
                    };
                    sent += bytes.len() as u64;
                    // The last announced bytes wait for the receipt.
                    let last = announced == Some(sent);
                    if !last && (begun || held >= HELD_BYTES_MAX) {
                        self.release().await?;
                        begun = true;
                    }
                }
                Err(frame) => self.trail(frame)?,
            }
        }
        match announced.filter(|announced| !bodiless && *announced != sent) {
            None => Ok(()),
            Some(announced) => Err(GuestFailure::OutputUnsendable {
                reason: format!("it announced {announced} bytes and wrote {sent}"),
            }),
        }
    }

    fn trail(&self, frame: Frame<Bytes>) -> Result<(), GuestFailure> {
        let Ok(mut trailers) = frame.into_trailers() else { return Ok(()) };
        headers::outward(&mut trailers);
        let mut lines = vec![b'\n'];
        write_headers(&trailers, &mut lines);
        self.count_out(&lines)?;
        lock(&self.output).trailers = Some(trailers);
        Ok(())
    }
}

impl Responder for Exchange {
    fn respond(&self, response: http::Response<Body>) -> BoxFuture<'_, Result<(), GuestFailure>> {
        Box::pin(self.forward(response))
    }
}

/// Nothing panics while holding this lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The declared length. Two could mean different ends to intermediaries.
fn length(headers: &HeaderMap) -> Result<Option<u64>, GuestFailure> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let length = match (lengths.next(), lengths.next()) {
        (None, _) => return Ok(None),
        (Some(length), None) => length.to_str().ok().and_then(|length| length.parse().ok()),
        (Some(_), Some(_)) => None,
    };
    let reason = "its `Content-Length` is not one number".to_owned();
    length.map(Some).ok_or(GuestFailure::OutputUnsendable { reason })
}

/// One line each, sorted by name.
fn write_headers(headers: &HeaderMap, out: &mut Vec<u8>) {
    let mut lines: Vec<(&HeaderName, &HeaderValue)> = headers.iter().collect();
    lines.sort_by_key(|(name, _)| name.as_str());
    for (name, value) in lines {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.push(b'\n');
    }
}

/// The request's body, counted as the handler reads it.
struct Counted {
    body: Body,
    through: Arc<Exchange>,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let frame = match ready!(Pin::new(&mut this.body).poll_frame(context)) {
            None => return Poll::Ready(None),
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                // The caller gets this error, whatever the handler makes of it.
                if let Some(failure) = error.downcast_ref::<GuestFailure>() {
                    let _ = this.through.refused.set(failure.clone());
                }
                return Poll::Ready(Some(Err(error)));
            }
        };
        Poll::Ready(Some(match (frame.data_ref(), frame.trailers_ref()) {
            (Some(bytes), _) => this.through.count_in(bytes).map(|()| frame),
            (None, Some(trailers)) => {
                let mut lines = vec![b'\n'];
                write_headers(trailers, &mut lines);
                this.through.count_in(&lines).map(|()| frame)
            }
            (None, None) => Ok(frame),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
