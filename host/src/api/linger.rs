//! Closes a connection so that a client that is still sending can read the error.
//!
//! A client that is refused before its body has arrived keeps sending. If the connection were closed at once, the system would reset it,
//! and most clients would report a broken pipe instead of the response. So the response is sent, the sending side is closed, and further
//! input is discarded within limits of its own. No request waits for that.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use tokio::time::{Instant, Sleep, sleep};

/// Maximum bytes discarded after a refusal.
const LINGER_BYTES_MAX: usize = 128 << 20;

/// Maximum duration of that, and maximum pause between bytes.
const LINGER_TIME_MAX: Duration = Duration::from_secs(10);
const LINGER_SILENCE_MAX: Duration = Duration::from_secs(1);

/// How soon after a refusal a connection must close to linger. A later close is an idle one.
const REFUSED_WITHIN: Duration = Duration::from_millis(200);

/// Bytes discarded at once.
const PIECE_BYTES: usize = 16 << 10;

/// When the last request of a connection was refused, shared by the code that serves and the code that closes it.
#[derive(Debug, Clone)]
pub(super) struct Refusals {
    began: Instant,
    /// In milliseconds since then; `MAX` for never.
    last: Arc<AtomicU64>,
}

impl Refusals {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), last: Arc::new(AtomicU64::new(u64::MAX)) }
    }

    /// Records an error response, perhaps sent before the body arrived.
    pub(super) fn note(&self) {
        self.last.store(self.millis(), Ordering::Relaxed);
    }

    fn is_recent(&self) -> bool {
        let last = self.last.load(Ordering::Relaxed);
        last != u64::MAX && self.millis().saturating_sub(last) < REFUSED_WITHIN.as_millis() as u64
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }
}

/// A connection that lingers when it closes after a refusal.
pub(super) struct Lingering<I> {
    io: I,
    refusals: Refusals,
    closing: Option<Closing>,
}

struct Closing {
    /// Whether our side is closed.
    is_shut: bool,
    left: usize,
    since: Instant,
    silence: Pin<Box<Sleep>>,
}

impl<I> Lingering<I> {
    pub(super) fn new(io: I, refusals: Refusals) -> Self {
        Self { io, refusals, closing: None }
    }
}

impl Closing {
    fn new() -> Self {
        Self {
            is_shut: false,
            left: LINGER_BYTES_MAX,
            since: Instant::now(),
            silence: Box::pin(sleep(LINGER_SILENCE_MAX)),
        }
    }

    /// Discards input until it ends or a limit is reached.
    fn poll<I: Read + Unpin>(&mut self, io: &mut I, context: &mut Context<'_>) -> Poll<()> {
        let mut space = [MaybeUninit::uninit(); PIECE_BYTES];
        loop {
            let mut piece = ReadBuf::uninit(&mut space);
            match Pin::new(&mut *io).poll_read(context, piece.unfilled()) {
                Poll::Pending => return self.silence.as_mut().poll(context),
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) => {}
            }
            let bytes = piece.filled().len();
            let is_over = bytes == 0 || bytes > self.left;
            if is_over || self.since.elapsed() > LINGER_TIME_MAX {
                return Poll::Ready(());
            }
            self.left -= bytes;
            self.silence.as_mut().reset(Instant::now() + LINGER_SILENCE_MAX);
        }
    }
}

impl<I: Read + Unpin> Read for Lingering<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<I: Read + Write + Unpin> Write for Lingering<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { io, refusals, closing } = &mut *self;
        if closing.is_none() && !refusals.is_recent() {
            return Pin::new(io).poll_shutdown(context);
        }
        let closing = closing.get_or_insert_with(Closing::new);
        if !closing.is_shut {
            ready!(Pin::new(&mut *io).poll_shutdown(context))?;
            closing.is_shut = true;
        }
        closing.poll(io, context).map(Ok)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, pieces)
    }
}
