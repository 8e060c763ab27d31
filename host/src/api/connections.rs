//! The connections of a listener: how many, from where, and which one is closed when there is no room.
//!
//! A connection is unauthenticated until it has sent a valid key. Unauthenticated connections have a share of the places; when it is full,
//! the longest idle one makes room for the newest. So nobody without a key can block others by holding connections open. An account keeps
//! its connections while it has less than three times the unreserved places; any more count like unauthenticated ones. If no such place is
//! left, the account with the most gives one up, so authenticated clients always find a place.

mod unread;

pub(super) use self::unread::Room;
use self::unread::Unread;

use std::collections::{BTreeMap, HashMap};
use std::future::poll_fn;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::admission::may_take_more;
use crate::config;
use crate::id::AccountName;

/// Memory of an idle unauthenticated connection, in bytes: buffers, header tables, tasks.
pub(super) const CONNECTION_BYTES: u64 = 64 << 10;

/// Refused requests on one unauthenticated HTTP/2 connection before it is closed: unread refusals take memory too.
const REFUSED_MAX: usize = 8;

/// Unauthenticated clients may have three of four places.
const STRANGERS_SHARE: (usize, usize) = (3, 4);

/// The places of one listener.
pub(super) struct Connections {
    places: Arc<Semaphore>,
    all: usize,
    strangers_max: usize,
    per_address_max: usize,
    trusted: Trusted,
    state: Mutex<State>,
}

/// Whether an address is a trusted proxy's, whose connections carry other clients.
type Trusted = Box<dyn Fn(IpAddr) -> bool + Send + Sync>;

#[derive(Default)]
struct State {
    addresses: HashMap<IpAddr, usize>,
    /// Places that accounts keep, by arrival.
    accounts: HashMap<AccountName, BTreeMap<u64, Arc<Signal>>>,
    /// Number of kept places, including operators'.
    kept: usize,
    /// All, by arrival.
    seats: HashMap<u64, Arc<Signal>>,
    /// Unauthenticated connections and those above an account's share, by last request.
    strangers: BTreeMap<u64, Arc<Signal>>,
    next: u64,
}

/// The state that a connection is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Told {
    Stay,
    /// Finish the open requests, then close.
    Finish,
    /// Make room.
    Leave,
    /// Close as soon as the finished responses have had a moment to be sent.
    Go,
}

/// Sets the state. The connection reads it on every poll, which costs no more than two loads.
#[derive(Default)]
struct Signal {
    is_proxy: bool,
    unread: Unread,
    told: AtomicU8,
    waker: AtomicWaker,
    /// Last request, among unauthenticated connections. This and the next field change under the table's lock.
    order: AtomicU64,
    is_kept: AtomicBool,
    /// Requests in progress.
    streams: AtomicUsize,
}

impl Signal {
    fn tell(&self, told: Told) {
        self.told.fetch_max(told as u8, Ordering::AcqRel);
        self.waker.wake();
    }

    fn told(&self) -> Told {
        match self.told.load(Ordering::Acquire) {
            0 => Told::Stay,
            1 => Told::Finish,
            2 => Told::Leave,
            _ => Told::Go,
        }
    }

    fn is_kept(&self) -> bool {
        self.is_kept.load(Ordering::Acquire)
    }

    fn is_quiet(&self) -> bool {
        self.streams.load(Ordering::Acquire) == 0
    }
}

impl Connections {
    /// At most `most` places, and no more than the settings allow.
    pub(super) fn new(api: &config::Api, most: usize, trusted: Trusted) -> Arc<Self> {
        let all = api.connections_max.get().min(most).clamp(1, Semaphore::MAX_PERMITS);
        let (some, of) = STRANGERS_SHARE;
        let memory = usize::try_from(api.strangers_part_bytes() / CONNECTION_BYTES);
        let strangers_max = (all * some / of).min(memory.unwrap_or(usize::MAX)).max(1);
        Arc::new(Self {
            places: Arc::new(Semaphore::new(all)),
            all,
            strangers_max,
            per_address_max: api.connections_per_address_max.get(),
            trusted,
            state: Mutex::default(),
        })
    }

    /// A place for a new connection. If none is free, the longest idle unauthenticated connection or one of the largest account closes. If
    /// neither exists, waits. `None` if the address has reached its limit.
    pub(super) async fn seat(self: &Arc<Self>, peer: IpAddr) -> Option<Arc<Seat>> {
        let origin = origin(peer);
        if !self.enter(peer, origin) {
            return None;
        }
        // Counted from here on; dropping it while it waits gives the place back.
        let entered = Entered { table: Arc::clone(self), origin };
        let place = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => place,
            Err(_) => {
                self.make_room();
                Arc::clone(&self.places).acquire_owned().await.ok()?
            }
        };
        let signal = Arc::new(Signal { is_proxy: (self.trusted)(peer), ..Signal::default() });
        let number = {
            let mut state = self.state();
            if state.strangers.len() >= self.strangers_max {
                state.evict();
            }
            let number = state.admit(Arc::clone(&signal));
            state.seats.insert(number, Arc::clone(&signal));
            number
        };
        let seat = Seat {
            entered,
            _place: place,
            number,
            known: AtomicBool::new(false),
            account: Mutex::default(),
            signal,
            refused: AtomicUsize::new(0),
            last: Mutex::new(Instant::now()),
            sent: AtomicU64::new(0),
        };
        Some(Arc::new(seat))
    }

    /// Tells all connections to finish, and resolves when every place is free.
    pub(super) async fn finish(&self) {
        self.state().seats.values().for_each(|signal| signal.tell(Told::Finish));
        let all = u32::try_from(self.all).unwrap_or(u32::MAX);
        let _ = self.places.acquire_many(all).await;
    }

    fn make_room(&self) {
        let mut state = self.state();
        if state.strangers.is_empty() {
            state.give_up(1);
        }
        state.evict();
    }

    fn enter(&self, peer: IpAddr, origin: IpAddr) -> bool {
        let mut state = self.state();
        let count = state.addresses.entry(origin).or_default();
        if *count >= self.per_address_max && !(self.trusted)(peer) {
            return false;
        }
        *count += 1;
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl State {
    fn admit(&mut self, signal: Arc<Signal>) -> u64 {
        self.next += 1;
        signal.order.store(self.next, Ordering::Release);
        self.strangers.insert(self.next, signal);
        self.next
    }

    /// Lets the oldest idle connection of the largest account make room, if it has more than `more_than`. Returns whether it does.
    fn give_up(&mut self, more_than: usize) -> bool {
        let most = self.accounts.values_mut().max_by_key(|own| own.len());
        let Some(own) = most.filter(|own| own.len() > more_than) else { return false };
        let quiet = own.iter().find(|(_, signal)| signal.is_quiet()).or_else(|| own.iter().next());
        let number = quiet.map(|(number, _)| *number);
        let Some(signal) = number.and_then(|number| own.remove(&number)) else { return false };
        signal.is_kept.store(false, Ordering::Release);
        self.kept -= 1;
        self.admit(signal);
        true
    }

    /// Lets an account keep a connection, out of `all` places, if its share allows. The operator always may.
    fn keep(&mut self, account: Option<&AccountName>, number: u64, all: usize) {
        let Some(signal) = self.seats.get(&number).cloned() else { return };
        if signal.told() >= Told::Leave {
            return;
        }
        if let Some(name) = account {
            let own = self.accounts.get(name).map_or(0, BTreeMap::len);
            if !self.is_its_share(name, all) && !self.give_up(own + 1) {
                return;
            }
            self.accounts.entry(name.clone()).or_default().insert(number, Arc::clone(&signal));
        }
        signal.is_kept.store(true, Ordering::Release);
        self.kept += 1;
        self.strangers.remove(&signal.order.load(Ordering::Acquire));
    }

    /// Whether an account may keep one more of `all` places without another giving one up.
    fn is_its_share(&self, account: &AccountName, all: usize) -> bool {
        let own = self.accounts.get(account).map_or(0, BTreeMap::len);
        may_take_more(own, all.saturating_sub(self.kept))
    }
}

fn release<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// The client's address as far as it identifies one: the owner of an IPv6 address usually has 2^64 of them.
fn origin(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

/// Counts one connection of an address. Dropping it releases the count.
struct Entered {
    table: Arc<Connections>,
    origin: IpAddr,
}

impl Drop for Entered {
    fn drop(&mut self) {
        release(&mut self.table.state().addresses, &self.origin);
    }
}

/// One connection's place. Dropping it frees the place.
pub(super) struct Seat {
    entered: Entered,
    _place: OwnedSemaphorePermit,
    number: u64,
    known: AtomicBool,
    account: Mutex<Option<AccountName>>,
    signal: Arc<Signal>,
    /// Requests refused for lack of room.
    refused: AtomicUsize,
    last: Mutex<Instant>,
    /// Bytes sent on it.
    sent: AtomicU64,
}

impl Seat {
    /// Whether it has authenticated.
    pub(super) fn is_known(&self) -> bool {
        self.known.load(Ordering::Acquire)
    }

    /// Records that it sent this account's key, or the operator's token. An account keeps connections above its share only while there is
    /// room.
    pub(super) fn know(&self, account: Option<&AccountName>) {
        let table = &self.entered.table;
        let mut state = table.state();
        // Two HTTP/2 requests may authenticate at once with different accounts: the first one wins.
        if self.known.swap(true, Ordering::AcqRel) {
            return;
        }
        *self.account() = account.cloned();
        state.keep(account, self.number, table.all);
    }

    /// Records a request. Dropping the returned value ends it.
    pub(super) fn begin(self: &Arc<Self>) -> Stream {
        self.signal.streams.fetch_add(1, Ordering::AcqRel);
        if !self.signal.is_kept() {
            let account = self.account().clone();
            let mut state = self.entered.table.state();
            let order = self.signal.order.load(Ordering::Acquire);
            if let Some(signal) = state.strangers.remove(&order) {
                state.admit(signal);
            }
            // There may be room by now. Do not evict on every request: that scans all accounts.
            let all = self.entered.table.all;
            if account.as_ref().is_some_and(|name| state.is_its_share(name, all)) {
                state.keep(account.as_ref(), self.number, all);
            }
        }
        Stream(Arc::clone(self))
    }

    /// Counts a request refused for its memory. An unauthenticated client that goes on is closed; a proxy is not, because it asks for
    /// others.
    pub(super) fn refuse(&self) {
        let refused = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
        if refused >= REFUSED_MAX && !self.signal.is_proxy && !self.is_known() {
            self.signal.tell(Told::Go);
        }
    }

    /// Whether it closes as soon as its responses have had a moment to be sent.
    pub(super) fn is_going(&self) -> bool {
        self.signal.told() == Told::Go
    }

    /// Whether it has to make room.
    pub(super) fn is_leaving(&self) -> bool {
        self.signal.told() >= Told::Leave
    }

    /// Whether no request is in progress.
    pub(super) fn is_quiet(&self) -> bool {
        self.signal.is_quiet()
    }

    /// How long it has been idle.
    pub(super) fn idle(&self) -> Duration {
        if self.is_quiet() { self.last().elapsed() } else { Duration::ZERO }
    }

    /// Records bytes sent.
    pub(super) fn count_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes sent so far.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Resolves when it must make room.
    pub(super) async fn leaving(&self) {
        poll_fn(|context| match self.told(context) {
            Told::Leave | Told::Go => Poll::Ready(()),
            Told::Stay | Told::Finish => Poll::Pending,
        })
        .await;
    }

    /// Its state. The task is woken when it changes.
    pub(super) fn told(&self, context: &Context<'_>) -> Told {
        self.signal.waker.register(context.waker());
        self.signal.told()
    }

    fn account(&self) -> MutexGuard<'_, Option<AccountName>> {
        self.account.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn last(&self) -> MutexGuard<'_, Instant> {
        self.last.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let account = self.account().take();
        let mut state = self.entered.table.state();
        state.seats.remove(&self.number);
        state.strangers.remove(&self.signal.order.load(Ordering::Acquire));
        if self.signal.is_kept() {
            state.kept -= 1;
        }
        if let Some(account) = account
            && let Some(own) = state.accounts.get_mut(&account)
        {
            own.remove(&self.number);
            if own.is_empty() {
                state.accounts.remove(&account);
            }
        }
    }
}

/// A request in progress. A complete response waiting to be sent no longer counts: it is the peer's turn.
pub(super) struct Stream(Arc<Seat>);

impl Drop for Stream {
    fn drop(&mut self) {
        *self.0.last() = Instant::now();
        self.0.signal.streams.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(all: usize, per_address: usize) -> Arc<Connections> {
        let api = config::Api {
            connections_max: all.try_into().expect("not zero"),
            connections_per_address_max: per_address.try_into().expect("not zero"),
            ..config::Api::default()
        };
        Connections::new(&api, all, Box::new(|peer| peer == IpAddr::from([10, 0, 0, 1])))
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    async fn seated(table: &Arc<Connections>, last: u8) -> Arc<Seat> {
        table.seat(address(last)).await.expect("there is room")
    }

    #[tokio::test]
    async fn an_address_has_a_limit_and_a_trusted_proxy_has_none() {
        let table = table(8, 2);
        let held = [seated(&table, 1).await, seated(&table, 1).await];
        assert!(table.seat(address(1)).await.is_none());
        assert!(table.seat(address(2)).await.is_some());
        drop(held);
        assert!(table.seat(address(1)).await.is_some());
        let proxy = IpAddr::from([10, 0, 0, 1]);
        let behind = [table.seat(proxy).await, table.seat(proxy).await, table.seat(proxy).await];
        assert!(behind.iter().all(Option::is_some));
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().expect("an address");
        assert_eq!(origin(mapped), address(1));
        let (one, other) = ("2001:db8::1", "2001:db8::ffff:1");
        let of = |text: &str| origin(text.parse().expect("an address"));
        assert_eq!(of(one), of(other));
    }

    #[tokio::test]
    async fn the_stranger_who_asked_nothing_for_longest_makes_room() {
        let table = table(4, 100);
        let (first, second) = (seated(&table, 1).await, seated(&table, 2).await);
        let third = seated(&table, 3).await;
        drop(first.begin());
        let fourth = seated(&table, 4).await;
        assert!(second.is_leaving(), "three of four places are for strangers");
        assert!(!first.is_leaving() && !third.is_leaving());
        assert!(!fourth.is_leaving());
    }

    #[tokio::test]
    async fn who_goes_on_asking_without_room_goes_but_for_proxies_and_those_with_a_key() {
        let table = table(8, 100);
        let (stranger, known) = (seated(&table, 1).await, seated(&table, 2).await);
        let proxy = table.seat(IpAddr::from([10, 0, 0, 1])).await.expect("there is room");
        known.know(Some(&"zoe".parse().expect("a name")));
        let seats = [&stranger, &known, &proxy];
        for _ in 1..REFUSED_MAX {
            seats.iter().for_each(|seat| seat.refuse());
        }
        assert!(!stranger.is_going(), "one more may be refused");
        seats.iter().for_each(|seat| seat.refuse());
        assert!(stranger.is_going() && !known.is_leaving() && !proxy.is_leaving());
    }

    #[tokio::test]
    async fn who_has_a_key_keeps_its_place() {
        let table = table(4, 100);
        let (zoe, ann) = ("zoe".parse().expect("a name"), "ann".parse().expect("a name"));
        let (first, second) = (seated(&table, 1).await, seated(&table, 2).await);
        first.know(Some(&zoe));
        second.know(Some(&ann));
        for _ in 0..20 {
            let stranger = seated(&table, 9).await;
            assert!(!stranger.is_leaving());
        }
        assert!(!first.is_leaving() && !second.is_leaving());
    }

    #[tokio::test]
    async fn a_connection_that_shows_two_keys_is_the_first_ones() {
        let table = table(4, 100);
        let seat = kept_by(&table, "zoe").await;
        seat.know(Some(&"ann".parse().expect("a name")));
        drop(seat);
        assert!(table.state().accounts.is_empty(), "nothing is left of it");
    }

    #[tokio::test]
    async fn an_account_cannot_keep_all_places() {
        let table = table(4, 100);
        let zoe = "zoe".parse().expect("a name");
        let mut seats = Vec::new();
        for _ in 0..4 {
            let seat = seated(&table, 1).await;
            seat.know(Some(&zoe));
            seats.push(seat);
        }
        let next = tokio::spawn({
            let table = Arc::clone(&table);
            async move { table.seat(address(2)).await.is_some() }
        });
        tokio::task::yield_now().await;
        let gone = seats.iter().position(|seat| seat.is_leaving());
        assert_eq!(gone, Some(3), "the first three are its share");
        seats.remove(3);
        assert!(next.await.expect("no panic"), "there is room");
        seats.clear();
        assert!(table.state().accounts.is_empty() && table.state().strangers.is_empty());
        assert!(table.state().addresses.is_empty());
    }
    async fn kept_by(table: &Arc<Connections>, name: &str) -> Arc<Seat> {
        let seat = seated(table, 1).await;
        seat.know(Some(&name.parse().expect("a name")));
        seat
    }

    #[tokio::test]
    async fn two_accounts_do_not_keep_all_places_between_them() {
        let table = table(16, 100);
        let mut seats = Vec::new();
        for index in 0..16 {
            seats.push(kept_by(&table, if index % 2 == 0 { "zoe" } else { "ann" }).await);
        }
        let next = tokio::spawn({
            let table = Arc::clone(&table);
            async move { kept_by(&table, "bob").await }
        });
        tokio::task::yield_now().await;
        let gone: Vec<_> = (0..16).filter(|index| seats[*index].is_leaving()).collect();
        assert_eq!(gone, [14], "seven each are their shares; the older of the others goes");
        seats.remove(14);
        let bob = next.await.expect("no panic");
        assert!(bob.signal.is_kept(), "it has the smallest share of all");
    }

    #[tokio::test]
    async fn where_everything_is_kept_who_has_most_gives_one_up_that_is_asked_nothing() {
        let table = table(4, 100);
        let mut seats = Vec::new();
        for name in ["zoe", "zoe", "zoe", "ann"] {
            seats.push(kept_by(&table, name).await);
        }
        assert!(seats.iter().all(|seat| seat.signal.is_kept()), "nothing is left");
        let busy = seats[0].begin();
        let next = tokio::spawn({
            let table = Arc::clone(&table);
            async move { kept_by(&table, "bob").await }
        });
        tokio::task::yield_now().await;
        let gone: Vec<_> = (0..4).filter(|index| seats[*index].is_leaving()).collect();
        assert_eq!(gone, [1], "the first of zoe's is busy");
        seats.remove(1);
        let bob = next.await.expect("no panic");
        assert!(bob.signal.is_kept());
        drop((busy, bob, seats));
        let state = table.state();
        assert_eq!((state.kept, state.seats.len(), state.accounts.len()), (0, 0, 0));
    }
}
