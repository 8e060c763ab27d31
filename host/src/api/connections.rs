//! Who is connected to a listener: how many, from where, and who has to go when there is no room.
//!
//! A connection is a stranger's until it has shown a key that is known here. Strangers have a share of the places; when it is full,
//! the one that has asked nothing for longest makes room for the newest. So nobody without a key can keep others out by holding
//! connections open. An account keeps connections as long as it has less than three times the places that nobody keeps; those above are
//! like a stranger's. Where no such place is left, who has most gives one up: so those with a key always find a place.

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

/// What a connection of a stranger holds that asks nothing, in bytes: buffers, tables of headers, tasks.
pub(super) const CONNECTION_BYTES: u64 = 64 << 10;

/// Requests on one HTTP/2 connection of a stranger that are refused before it is closed: refusals that nobody reads are held as well.
const REFUSED_MAX: usize = 8;

/// Of four places, strangers may have three.
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

/// Whether an address is that of a proxy, whose connections are other people's.
type Trusted = Box<dyn Fn(IpAddr) -> bool + Send + Sync>;

#[derive(Default)]
struct State {
    addresses: HashMap<IpAddr, usize>,
    /// What accounts keep, by when it came.
    accounts: HashMap<AccountName, BTreeMap<u64, Arc<Signal>>>,
    /// How many are kept, those of operators too.
    kept: usize,
    /// All, by when they came.
    seats: HashMap<u64, Arc<Signal>>,
    /// Those who have shown no key, and what accounts have above their share, by when they asked last.
    strangers: BTreeMap<u64, Arc<Signal>>,
    next: u64,
}

/// What a connection is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Told {
    Stay,
    /// Answer what is asked already, and close.
    Finish,
    /// Make room.
    Leave,
    /// Close as soon as the answers that are there have had a moment to go out.
    Go,
}

/// Tells it. Looked at whenever the connection is polled, so it costs no more than two loads then.
#[derive(Default)]
struct Signal {
    is_proxy: bool,
    unread: Unread,
    told: AtomicU8,
    waker: AtomicWaker,
    /// When it asked last, among strangers. Changed, as the next one, under the lock of the table.
    order: AtomicU64,
    is_kept: AtomicBool,
    /// Requests that are being answered.
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

    /// A place for a new connection. Without a free one, that of the stranger who has asked nothing for longest, or one of whoever has
    /// most; if everybody has one, waits. None if its address has as many as it may have.
    pub(super) async fn seat(self: &Arc<Self>, peer: IpAddr) -> Option<Arc<Seat>> {
        let origin = origin(peer);
        if !self.enter(peer, origin) {
            return None;
        }
        // From here on it is counted, and given back if this is dropped while it waits.
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

    /// Tells all to finish, and resolves when every place is free again.
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

    /// Puts a connection of whoever keeps most, and more than so many, among those that make room: the oldest that is asked nothing.
    /// Whether there is such an account.
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

    /// Lets an account keep a connection, of `all` places, if its share allows that; the operator any.
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

    /// Whether an account may keep one more of `all` places without anybody's giving one up.
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

/// Where a connection comes from, as far as it can be told apart: whoever has one address of version 6 has 2^64 of them.
fn origin(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

/// Counted for its address. Dropping it gives that back.
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
    /// Requests that were refused for lack of room.
    refused: AtomicUsize,
    last: Mutex<Instant>,
    /// Bytes that have been sent on it.
    sent: AtomicU64,
}

impl Seat {
    /// Whether it has shown a key that is known here.
    pub(super) fn is_known(&self) -> bool {
        self.known.load(Ordering::Acquire)
    }

    /// It has shown the key of this account, or the operator's token. An account that has many connections already keeps those above
    /// its share only as long as there is room.
    pub(super) fn know(&self, account: Option<&AccountName>) {
        let table = &self.entered.table;
        let mut state = table.state();
        // Two requests of HTTP/2 may find out at once, with keys of two accounts: it is the first one's.
        if self.known.swap(true, Ordering::AcqRel) {
            return;
        }
        *self.account() = account.cloned();
        state.keep(account, self.number, table.all);
    }

    /// A request has come. Dropping what this gives says that it is over.
    pub(super) fn begin(self: &Arc<Self>) -> Stream {
        self.signal.streams.fetch_add(1, Ordering::AcqRel);
        if !self.signal.is_kept() {
            let account = self.account().clone();
            let mut state = self.entered.table.state();
            let order = self.signal.order.load(Ordering::Acquire);
            if let Some(signal) = state.strangers.remove(&order) {
                state.admit(signal);
            }
            // There may be room by now. With every request nobody is made to give one up: that looks through all accounts.
            let all = self.entered.table.all;
            if account.as_ref().is_some_and(|name| state.is_its_share(name, all)) {
                state.keep(account.as_ref(), self.number, all);
            }
        }
        Stream(Arc::clone(self))
    }

    /// A request was refused that would hold too much. A stranger who goes on asking has to go; a proxy asks for others.
    pub(super) fn refuse(&self) {
        let refused = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
        if refused >= REFUSED_MAX && !self.signal.is_proxy && !self.is_known() {
            self.signal.tell(Told::Go);
        }
    }

    /// Whether it closes as soon as its answers have had a moment to go out.
    pub(super) fn is_going(&self) -> bool {
        self.signal.told() == Told::Go
    }

    /// Whether it has to make room.
    pub(super) fn is_leaving(&self) -> bool {
        self.signal.told() >= Told::Leave
    }

    /// Whether nothing is being answered here.
    pub(super) fn is_quiet(&self) -> bool {
        self.signal.is_quiet()
    }

    /// How long nothing has been asked or answered here.
    pub(super) fn idle(&self) -> Duration {
        if self.is_quiet() { self.last().elapsed() } else { Duration::ZERO }
    }

    /// Bytes have been sent on it.
    pub(super) fn count_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes that have been sent on it so far.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Resolves when it has to make room.
    pub(super) async fn leaving(&self) {
        poll_fn(|context| match self.told(context) {
            Told::Leave | Told::Go => Poll::Ready(()),
            Told::Stay | Told::Finish => Poll::Pending,
        })
        .await;
    }

    /// What it is told. The task is woken when that changes.
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

/// A request that is being answered. A whole answer that waits to be sent is none any more: then the peer has the next turn.
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
