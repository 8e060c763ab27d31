//! Closes a connection so that a client that is still sending reads why.
//!
//! Who is refused before the body has come, sends on. If the connection were closed then, the system would answer with a reset, and
//! most clients would report a broken pipe in place of the answer. So the answer is sent, the sending side closed, and what still
//! comes is thrown away, within bounds of its own: no request waits for that, and nothing of it is kept.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use tokio::time::{Instant, Sleep, sleep};

/// Most bytes that are read and thrown away behind a refusal.
const LINGER_BYTES_MAX: usize = 128 << 20;

/// Most time that is spent on it, and most time without any of them.
const LINGER_TIME_MAX: Duration = Duration::from_secs(10);
const LINGER_SILENCE_MAX: Duration = Duration::from_secs(1);

/// How soon after a refusal a connection closes because of it. One that closes later was idle.
const REFUSED_WITHIN: Duration = Duration::from_millis(200);

/// Bytes that are thrown away at once.
const PIECE_BYTES: usize = 16 << 10;

/// When the last request of a connection was refused: what serves it says so to what closes it.
#[derive(Debug, Clone)]
pub(super) struct Refusals {
    began: Instant,
    /// In milliseconds since then; the largest number for never.
    last: Arc<AtomicU64>,
}

impl Refusals {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), last: Arc::new(AtomicU64::new(u64::MAX)) }
    }

    /// A request was answered with an error, perhaps before its body had come.
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

    /// Throws away what comes, until nothing more does or the bounds are reached.
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
