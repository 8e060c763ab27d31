//! Runs a connection until it ends, is told to end, or has been idle for too long.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::server::graceful::GracefulConnection;
use tokio::time::{Instant, Sleep, sleep};

use super::super::answer::BoxError;
use super::super::connections::{Seat, Told};

/// How long an idle connection may take to close.
const CLOSE_TIME: Duration = Duration::from_secs(2);

/// The same for one that must make room while a request is running. Without one it closes at once.
const LEAVE_TIME: Duration = Duration::from_millis(200);

/// The same for one with too many refusals for lack of room: enough for a client to read them. If it does not read, they are held as long.
const GO_TIME: Duration = Duration::from_millis(20);

/// Maximum idle time, with and without authentication.
#[derive(Debug, Clone, Copy)]
pub(super) struct Idle {
    pub(super) known: Duration,
    pub(super) stranger: Duration,
    /// A peer that reads at this rate is not idle.
    pub(super) bytes_per_second_min: u64,
}

impl Idle {
    fn of(&self, seat: &Seat) -> Duration {
        if seat.is_known() { self.known } else { self.stranger }
    }
}

/// Serves `connection` to its end. Without `idle` the connection handles idleness itself.
pub(super) async fn drive<C>(connection: C, seat: &Seat, idle: Option<Idle>) -> Result<(), BoxError>
where
    C: GracefulConnection,
    C::Error: Into<BoxError>,
{
    let mut connection = pin!(connection);
    let mut silence = idle.map(|idle| Silence {
        idle,
        timer: Box::pin(sleep(idle.of(seat))),
        sent: 0,
        since: Instant::now(),
    });
    let mut told = Told::Stay;
    let mut end: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|context| {
        if let Poll::Ready(ended) = connection.as_mut().poll(context) {
            return Poll::Ready(ended.map_err(Into::into));
        }
        let now = seat.told(context);
        let silent = silence.as_mut().is_some_and(|silence| silence.is_too_long(seat, context));
        // Complete responses waiting to be sent no longer count as requests; authenticated clients still get them.
        if now == Told::Leave && seat.is_quiet() && !seat.is_known() {
            return Poll::Ready(Ok(()));
        }
        if now > told || (silent && end.is_none()) {
            if told == Told::Stay {
                connection.as_mut().graceful_shutdown();
            }
            let time = match now {
                Told::Go => Some(GO_TIME),
                _ if silent => Some(CLOSE_TIME),
                Told::Leave => Some(LEAVE_TIME),
                Told::Stay | Told::Finish => None,
            };
            if let Some(time) = time {
                end = Some(Box::pin(sleep(time)));
            }
            told = now.max(Told::Finish);
            // Poll once more: it may have finished.
            if let Poll::Ready(ended) = connection.as_mut().poll(context) {
                return Poll::Ready(ended.map_err(Into::into));
            }
        }
        match &mut end {
            Some(end) => end.as_mut().poll(context).map(Ok),
            None => Poll::Pending,
        }
    })
    .await
}

/// Watches a connection for idleness.
struct Silence {
    idle: Idle,
    timer: Pin<Box<Sleep>>,
    /// Bytes sent at the last check, and its time.
    sent: u64,
    since: Instant,
}

impl Silence {
    /// Whether the connection has been idle for too long. Schedules the next check.
    fn is_too_long(&mut self, seat: &Seat, context: &mut Context<'_>) -> bool {
        while self.timer.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            let allowed = self.idle.of(seat);
            let left = allowed.saturating_sub(seat.idle());
            let wait = if left.is_zero() && !self.is_read(seat, now) {
                self.timer.as_mut().reset(now + allowed);
                return true;
            } else if left.is_zero() {
                allowed
            } else {
                left
            };
            self.timer.as_mut().reset(now + wait);
        }
        false
    }

    /// Whether the peer has read anything since the last check.
    fn is_read(&mut self, seat: &Seat, now: Instant) -> bool {
        let (sent, since) = (seat.sent(), now - self.since);
        let enough = since.as_millis() * u128::from(self.idle.bytes_per_second_min) / 1000;
        let is_read = u128::from(sent - self.sent) >= enough.max(1);
        (self.sent, self.since) = (sent, now);
        is_read
    }
}
