//! Keeps a connection going until it ends, or until it has been told to, or until nobody has asked anything on it for too long.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::server::graceful::GracefulConnection;
use tokio::time::{Instant, Sleep, sleep};

use super::super::answer::BoxError;
use super::super::connections::{Seat, Told};

/// Time that a connection has to close that nobody has asked anything on for too long.
const CLOSE_TIME: Duration = Duration::from_secs(2);

/// The same of one that has to make room while something is asked on it. Without, it goes at once.
const LEAVE_TIME: Duration = Duration::from_millis(200);

/// The same of one on which too much was refused for lack of room: enough for whoever reads to read the refusals. Those of whoever
/// does not are held as long.
const GO_TIME: Duration = Duration::from_millis(20);

/// How long a connection may go without requests: of somebody with a key, and of a stranger.
#[derive(Debug, Clone, Copy)]
pub(super) struct Idle {
    pub(super) known: Duration,
    pub(super) stranger: Duration,
    /// Who still reads answers at this rate is not silent.
    pub(super) bytes_per_second_min: u64,
}

impl Idle {
    fn of(&self, seat: &Seat) -> Duration {
        if seat.is_known() { self.known } else { self.stranger }
    }
}

/// Serves `connection` to its end. Without `idle` it looks after silence itself.
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
        // Whole answers that wait to be sent are not counted as asked for any more: who has shown a key gets them still.
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
            // Once more: it may have nothing left to do.
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

/// Looks after the silence of a connection.
struct Silence {
    idle: Idle,
    timer: Pin<Box<Sleep>>,
    /// What had been sent when it was looked at last, and when that was.
    sent: u64,
    since: Instant,
}

impl Silence {
    /// Whether nobody has asked or read anything for too long. Looks again when that can be.
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

    /// Whether what is sent is being read, since this was asked last.
    fn is_read(&mut self, seat: &Seat, now: Instant) -> bool {
        let (sent, since) = (seat.sent(), now - self.since);
        let enough = since.as_millis() * u128::from(self.idle.bytes_per_second_min) / 1000;
        let is_read = u128::from(sent - self.sent) >= enough.max(1);
        (self.sent, self.since) = (sent, now);
        is_read
    }
}
