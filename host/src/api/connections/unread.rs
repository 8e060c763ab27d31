//! Unread responses of unauthenticated clients: the client with the most is the first to make room.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::{Seat, Signal, State, Told};
use crate::admission::bodies::Own;
use crate::admission::{BodiesError, Held};

/// Open responses that an unauthenticated client may have without being the first to make room: more than a browser opens for a page.
const UNREAD_MAX: usize = 16;

/// Open health responses per connection when the unauthenticated budget is full.
const HEALTH_UNREAD_MAX: usize = 2;

/// Requests of one connection that may wait for room, outside the unauthenticated budget.
const WAITING_MAX: usize = 4;

/// A connection's unread responses.
#[derive(Debug, Default)]
pub(super) struct Unread {
    answers: AtomicUsize,
    health: AtomicUsize,
    waiting: AtomicUsize,
    /// Their size in bytes.
    own: Own,
}

impl Unread {
    fn answers(&self) -> usize {
        self.answers.load(Ordering::Acquire)
    }
}

/// Memory of an unauthenticated request until its response has been read.
#[must_use]
pub(in crate::api) struct Room {
    takes: Takes,
    signal: Arc<Signal>,
}

enum Takes {
    Bytes(Held),
    /// A health response, which always has room.
    Health,
    /// A refusal.
    Nothing,
}

impl Room {
    /// Who is charged.
    pub(in crate::api) fn own(&self) -> &Own {
        &self.signal.unread.own
    }

    /// Takes this many more bytes.
    pub(in crate::api) fn grow(&mut self, bytes: u64) -> Result<(), BodiesError> {
        match &mut self.takes {
            Takes::Bytes(held) => held.grow(bytes),
            Takes::Health | Takes::Nothing => Ok(()),
        }
    }

    /// The same bytes, released when the last share of them is dropped.
    pub(in crate::api) fn keep(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Kept { bytes, _room: self })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let Unread { answers, health, .. } = &self.signal.unread;
        answers.fetch_sub(1, Ordering::AcqRel);
        if matches!(self.takes, Takes::Health) {
            health.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// A request that waits for room. Dropping it lets another wait.
#[must_use]
pub(in crate::api) struct Waiting(Arc<Signal>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.unread.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

struct Kept {
    bytes: Bytes,
    _room: Room,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl State {
    /// Closes the unauthenticated client with the most unread responses, if it has more than the limit. Proxies carry other clients'
    /// responses.
    fn evict_who_has_more_than(&mut self, answers: usize) -> bool {
        let all = self.strangers.iter().filter(|(_, signal)| !signal.is_proxy);
        let most = all.map(|(order, signal)| (signal.unread.answers(), *order)).max();
        let Some((_, order)) = most.filter(|(most, _)| *most > answers) else { return false };
        if let Some(signal) = self.strangers.remove(&order) {
            signal.tell(Told::Leave);
        }
        true
    }

    /// Closes an unauthenticated client: one that does not read, or else the longest idle one.
    pub(super) fn evict(&mut self) {
        if self.evict_who_has_more_than(UNREAD_MAX) {
            return;
        }
        if let Some((_, signal)) = self.strangers.pop_first() {
            signal.tell(Told::Leave);
        }
    }
}

impl Seat {
    /// Its part of the unauthenticated budget.
    pub(in crate::api) fn own(&self) -> &Own {
        &self.signal.unread.own
    }

    /// Charges a request of this size.
    pub(in crate::api) fn room(&self, held: Held) -> Room {
        self.open(Takes::Bytes(held))
    }

    /// Where a refusal waits to be read.
    pub(in crate::api) fn room_for_refusal(&self) -> Room {
        self.open(Takes::Nothing)
    }

    fn open(&self, takes: Takes) -> Room {
        self.signal.unread.answers.fetch_add(1, Ordering::AcqRel);
        Room { takes, signal: Arc::clone(&self.signal) }
    }

    /// Room for a health response, whatever others hold; `None` if the peer does not read them.
    pub(in crate::api) fn room_for_health(&self) -> Option<Room> {
        one_more(&self.signal.unread.health, HEALTH_UNREAD_MAX)?;
        Some(self.open(Takes::Health))
    }

    /// Lets a request wait for room; `None` if too many are waiting.
    pub(in crate::api) fn wait(&self) -> Option<Waiting> {
        one_more(&self.signal.unread.waiting, WAITING_MAX)?;
        Some(Waiting(Arc::clone(&self.signal)))
    }

    /// Makes the client with the most unread responses, and more than this one, make room. Returns whether there is one.
    pub(in crate::api) fn oust(&self) -> bool {
        let own = self.signal.unread.answers();
        self.entered.table.state().evict_who_has_more_than(own.max(1))
    }
}

fn one_more(open: &AtomicUsize, max: usize) -> Option<()> {
    let more = |open: usize| (open < max).then_some(open + 1);
    open.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok().map(drop)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::super::Connections;
    use super::*;
    use crate::admission::{Bodies, BodyLimits, Holder};
    use crate::config;

    const ANSWER_BYTES: u64 = 10;

    fn bodies() -> Bodies {
        Bodies::new(BodyLimits { all: 1, account: 1, strangers: 1000 })
    }

    /// Eight places, six of them for unauthenticated clients.
    fn table() -> Arc<Connections> {
        let eight = 8.try_into().expect("not zero");
        let api = config::Api { connections_max: eight, ..config::Api::default() };
        Connections::new(&api, usize::MAX, Box::new(|peer| peer == IpAddr::from([10, 0, 0, 1])))
    }

    async fn seated(table: &Arc<Connections>, last: u8) -> Arc<Seat> {
        table.seat(IpAddr::from([10, 0, 0, last])).await.expect("there is room")
    }

    fn ask(bodies: &Bodies, seat: &Seat, times: usize) -> Vec<Room> {
        let held = || bodies.take(Holder::Connection(seat.own()), ANSWER_BYTES);
        (0..times).map_while(|_| Some(seat.room(held().ok()?))).collect()
    }

    fn is_leaving(seat: &Seat) -> bool {
        seat.signal.told() == Told::Leave
    }

    #[tokio::test]
    async fn who_does_not_read_goes_before_who_asks_nothing() {
        let (table, bodies) = (table(), bodies());
        let first = seated(&table, 2).await;
        let proxy = seated(&table, 1).await;
        let deaf = seated(&table, 3).await;
        let _other_people_s = ask(&bodies, &proxy, UNREAD_MAX + 2);
        let unread = ask(&bodies, &deaf, UNREAD_MAX + 1);
        drop(deaf.begin());
        let _more = [seated(&table, 4).await, seated(&table, 5).await, seated(&table, 6).await];
        assert!(!is_leaving(&first) && !is_leaving(&deaf), "there is room for six");
        let _seventh = seated(&table, 7).await;
        assert!(is_leaving(&deaf) && !is_leaving(&first) && !is_leaving(&proxy));
        drop(unread);
        assert_eq!(deaf.signal.unread.answers(), 0);
        let _eighth = seated(&table, 8).await;
        assert!(is_leaving(&first), "nobody else is deaf");
    }

    #[tokio::test]
    async fn who_finds_no_room_ousts_who_has_left_more_unread() {
        let (table, bodies) = (table(), bodies());
        let (deaf, next) = (seated(&table, 2).await, seated(&table, 3).await);
        assert!(!next.oust(), "nobody has anything");
        let unread = ask(&bodies, &deaf, 100);
        assert_eq!(unread.len(), 75, "three times what is left");
        assert!(!deaf.oust(), "it has most itself");
        assert_eq!(ask(&bodies, &next, 1).len(), 1, "something is left");
        assert!(next.oust() && is_leaving(&deaf) && !is_leaving(&next));
        drop(unread);
        assert_eq!(bodies.used(), (0, 0));
    }

    #[tokio::test]
    async fn four_requests_of_a_connection_wait_for_room() {
        let table = table();
        let (one, other) = (seated(&table, 2).await, seated(&table, 3).await);
        let mut waiting: Vec<Waiting> = std::iter::from_fn(|| one.wait()).take(100).collect();
        assert_eq!(waiting.len(), WAITING_MAX);
        assert!(other.wait().is_some(), "each has its own");
        waiting.pop();
        assert!(one.wait().is_some(), "one of them waits no more");
    }

    #[tokio::test]
    async fn a_connection_has_two_answers_about_health_for_which_there_is_no_room() {
        let table = table();
        let seat = seated(&table, 2).await;
        let open = [seat.room_for_health(), seat.room_for_health()];
        assert!(open.iter().all(Option::is_some) && seat.room_for_health().is_none());
        let kept = open.map(|room| room.expect("some").keep(Bytes::from_static(b"ok")));
        assert!(seat.room_for_health().is_none(), "they are not read yet");
        drop(kept);
        assert!(seat.room_for_health().is_some());
    }
}
