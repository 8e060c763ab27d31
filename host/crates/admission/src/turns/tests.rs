//! Compares the queue with a slow and simple model, and checks its guarantees.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// The same queue as a list, which is searched linearly.
#[derive(Default)]
struct Model {
    /// Key, estimate, priority and number of arrival.
    waiting: Vec<(u8, u64, Priority, u64)>,
    times: BTreeMap<u8, u128>,
    since: BTreeMap<u8, u64>,
    now: u128,
    came: u64,
}

impl Model {
    fn weight(key: u8) -> u32 {
        u32::from(key % 3) + 1
    }

    fn span(key: u8, cost: u64) -> u128 {
        u128::from(cost) * SCALE / u128::from(Self::weight(key))
    }

    fn time(&mut self, key: u8) -> &mut u128 {
        let now = self.now;
        self.times.entry(key).or_insert(now)
    }

    fn push(&mut self, key: u8, priority: Priority, estimate: u64) -> u64 {
        if !self.waiting.iter().any(|(other, ..)| *other == key) {
            let now = self.now;
            let time = self.time(key);
            *time = (*time).max(now);
            self.since.insert(key, self.came);
        }
        self.waiting.push((key, estimate, priority, self.came));
        self.came += 1;
        self.came - 1
    }

    fn next(&mut self, excluded: Option<u8>) -> Option<(u8, u64)> {
        let keys = self.waiting.iter().map(|(key, ..)| *key);
        let keys = keys.filter(|key| Some(*key) != excluded);
        let key = keys.min_by_key(|key| (self.times[key], self.since[key]))?;
        let own = self.waiting.iter().enumerate().filter(|(_, (other, ..))| *other == key);
        let (place, _) = own.min_by_key(|(_, (_, _, priority, number))| (*priority, *number))?;
        let (_, estimate, _, number) = self.waiting.remove(place);
        self.now = self.now.max(self.times[&key]);
        *self.time(key) += Self::span(key, estimate);
        Some((key, number))
    }
}

#[derive(Debug, Clone)]
enum Step {
    Push(u8, Priority, u64),
    Next(Option<u8>),
    Pass(u8, u64),
    Settle(u8, u64, u64),
    Remove(u8, u64),
}

fn step() -> impl Strategy<Value = Step> {
    let (key, cost) = (0..5_u8, 0..50_u64);
    prop_oneof![
        3 => (key.clone(), 0..12_u64, cost.clone())
            .prop_map(|(key, priority, cost)| Step::Push(key, Priority::of(priority), cost)),
        3 => proptest::option::of(key.clone()).prop_map(Step::Next),
        1 => (key.clone(), cost.clone()).prop_map(|(key, cost)| Step::Pass(key, cost)),
        1 => (key.clone(), cost.clone(), cost).prop_map(|(key, e, a)| Step::Settle(key, e, a)),
        1 => (key, 0..40_u64).prop_map(|(key, number)| Step::Remove(key, number)),
    ]
}

fn weights() -> ById<u8, NonZeroU32> {
    (0..5).map(|key| (key, NonZeroU32::new(Model::weight(key)).expect("not zero"))).collect()
}

proptest! {
    #[test]
    fn the_line_is_the_model(steps in vec(step(), 1..200)) {
        let (mut turns, mut model) = (Turns::new(weights()), Model::default());
        let mut tickets: Vec<Ticket> = Vec::new();
        for step in steps {
            match step {
                Step::Push(key, priority, cost) => {
                    let number = model.push(key, priority, cost);
                    let ticket = turns.push(key, priority, Cost::guess(cost), number);
                    prop_assert_eq!(ticket, Ticket { priority, number });
                    tickets.push(ticket);
                }
                Step::Next(excluded) => {
                    let turn = turns.next_turn_of(|key| Some(*key) != excluded);
                    prop_assert_eq!(turn.map(|turn| (turn.key, turn.waiter)), model.next(excluded));
                }
                Step::Pass(key, cost) => {
                    turns.pass(&key, cost);
                    if !model.waiting.iter().any(|(other, ..)| *other == key) {
                        model.now = model.now.max(*model.time(key));
                        let now = model.now;
                        *model.time(key) = now;
                    }
                    *model.time(key) += Model::span(key, cost);
                }
                Step::Settle(key, estimate, actual) => {
                    turns.settle(&key, estimate, actual);
                    let time = *model.time(key);
                    *model.time(key) = if actual >= estimate {
                        time + Model::span(key, actual - estimate)
                    } else {
                        time.saturating_sub(Model::span(key, estimate - actual))
                    };
                }
                Step::Remove(key, number) => {
                    let Some(ticket) = tickets.iter().find(|ticket| ticket.number == number) else {
                        continue;
                    };
                    let place = model.waiting.iter().position(|w| (w.0, w.3) == (key, number));
                    let removed = place.map(|place| model.waiting.remove(place).3);
                    prop_assert_eq!(turns.remove(&key, *ticket), removed);
                }
            }
            prop_assert_eq!(turns.len(), model.waiting.len());
            for key in 0..5 {
                let of = model.waiting.iter().filter(|w| w.0 == key).count();
                prop_assert_eq!(turns.len_of(&key), of);
            }
        }
        // The resource is never idle while somebody waits.
        for _ in 0..model.waiting.len() {
            prop_assert!(turns.next_turn().is_some());
        }
        prop_assert!(turns.next_turn().is_none() && turns.is_empty());
    }

    /// No account that always waits gets more than its share plus one quantum, whatever the costs and estimates are.
    #[test]
    fn shares_differ_by_no_more_than_the_dearest_turn(
        costs in vec((1..1000_u64, 0..1000_u64), 50..300),
    ) {
        let mut turns = Turns::new(weights());
        let mut got = [0_u64; 5];
        for key in 0..5 {
            turns.push(key, Priority::DEFAULT, Cost::guess(costs[0].1), ());
        }
        for (actual, estimate) in costs {
            let Turn { key, estimate: charged, waiter: () } = turns.next_turn().expect("all wait");
            turns.settle(&key, charged, actual);
            got[usize::from(key)] += actual;
            // The priority that it asks for gets an account nothing from others.
            turns.push(key, Priority::of(key.into()), Cost::guess(estimate), ());
            for one in 0..5_u8 {
                for other in 0..5_u8 {
                    let share = |key: u8| got[usize::from(key)] as f64 / f64::from(Model::weight(key));
                    let quantum = |key: u8| 1000.0 / f64::from(Model::weight(key));
                    let apart = share(one) - share(other);
                    prop_assert!(apart <= quantum(one) + quantum(other), "{:?}", got);
                }
            }
        }
    }
}

fn push<K: Clone + Eq + Hash + Ord, W>(turns: &mut Turns<K, W>, key: K, cost: u64, waiter: W) {
    turns.push(key, Priority::DEFAULT, Cost::guess(cost), waiter);
}

fn known(estimate: u64) -> Cost {
    Cost { estimate, is_known: true }
}

#[test]
fn priority_orders_the_waiters_of_one_account() {
    let mut turns = Turns::default();
    for (number, priority) in [0, 9, 1, 5, 0, 1, 2].into_iter().enumerate() {
        turns.push("zoe", Priority::of(priority), Cost::guess(1), number);
    }
    let served: Vec<_> = std::iter::from_fn(|| turns.next_turn()).map(|turn| turn.waiter).collect();
    assert_eq!(served, [2, 5, 6, 0, 3, 4, 1]);
}

#[test]
fn who_is_taken_along_pays_for_it_and_others_keep_their_places() {
    let mut turns = Turns::default();
    for (key, waiter) in [("ann", 1), ("bob", 2), ("ann", 3), ("bob", 4), ("zoe", 5)] {
        push(&mut turns, key, 10, waiter);
    }
    let even = |_: &&str, waiter: &i32| waiter % 2 == 0;
    let along = turns.next_turn_that(even).map(|turn| (turn.key, turn.waiter));
    assert_eq!(along, Some(("bob", 2)), "not the first who waits, but the first that fits");
    let served: Vec<_> = std::iter::from_fn(|| turns.next_turn()).map(|turn| turn.waiter).collect();
    assert_eq!(served, [1, 5, 3, 4], "bob has had a turn");
    assert!(turns.next_turn_that(even).is_none() && turns.is_empty());
}

#[test]
fn what_comes_before_a_waiter_is_its_own_account_s_and_as_much_of_each_other() {
    let mut turns = Turns::default();
    for _ in 0..100 {
        turns.push("crowd", Priority::DEFAULT, known(10), ());
    }
    assert_eq!(turns.ahead(&"crowd", Priority::DEFAULT), 1000, "all of them");
    assert_eq!(turns.ahead(&"crowd", Priority::of(1)), 0, "the first of its account");
    assert_eq!(turns.ahead(&"zoe", Priority::DEFAULT), 0, "a newcomer is next");
    for _ in 0..3 {
        turns.push("zoe", Priority::DEFAULT, known(10), ());
    }
    assert_eq!(turns.ahead(&"zoe", Priority::DEFAULT), 60, "three of each");
    turns.push("zoe", Priority::of(9), Cost::guess(1000), ());
    assert_eq!(turns.ahead(&"zoe", Priority::of(9)), 60, "a guess does not count");
    while turns.next_turn().is_some() {}
    assert_eq!(turns.ahead(&"zoe", Priority::of(9)), 0);
}

proptest! {
    /// What is said to come before a waiter does: it is never more than what is then served before it.
    #[test]
    fn no_more_is_said_to_come_before_a_waiter_than_comes(
        line in vec((0..5_u8, 0..10_u64, 1..50_u64), 0..60), taken in 0..40_usize,
        (key, priority) in (0..5_u8, 0..10_u64),
    ) {
        let mut turns = Turns::new(weights());
        for (key, priority, cost) in line {
            turns.push(key, Priority::of(priority), known(cost), Some(cost));
        }
        for _ in 0..taken {
            let _ = turns.next_turn();
        }
        let said = turns.ahead(&key, Priority::of(priority));
        turns.push(key, Priority::of(priority), known(1), None);
        let before = std::iter::from_fn(|| turns.next_turn()?.waiter).sum::<u64>();
        prop_assert!(said <= before, "{said} {before}");
    }
}

#[test]
fn one_that_comes_late_waits_for_one_turn_of_a_crowd() {
    let mut turns = Turns::default();
    for number in 0..200 {
        push(&mut turns, "crowd", 10, number);
    }
    for _ in 0..50 {
        let turn = turns.next_turn().expect("they wait");
        turns.settle(&turn.key, turn.estimate, 30_000);
    }
    push(&mut turns, "late", 10, 1000);
    assert_eq!(turns.next_turn().map(|turn| turn.waiter), Some(1000));
    assert_eq!(turns.len_of(&"crowd"), 150);
}

#[test]
fn nobody_saves_up_turns_by_staying_away() {
    let mut turns = Turns::default();
    for _ in 0..1000 {
        push(&mut turns, "busy", 1, ());
        assert_eq!(turns.next_turn().map(|turn| turn.key), Some("busy"));
    }
    for _ in 0..20 {
        push(&mut turns, "busy", 1, ());
        push(&mut turns, "back", 1, ());
    }
    let served: Vec<_> = std::iter::from_fn(|| turns.next_turn()).map(|turn| turn.key).collect();
    let first = served[..20].iter().filter(|key| **key == "back").count();
    assert!((9..=11).contains(&first), "{served:?}");
}

#[test]
fn accounts_that_have_gone_are_forgotten() {
    let mut turns = Turns::default();
    for key in 1..10_000 {
        for key in [0, key] {
            push(&mut turns, key, 1, ());
            assert!(turns.next_turn().is_some());
        }
    }
    assert!(turns.accounts.len() <= REMEMBERED_MIN + 2, "{}", turns.accounts.len());
}

/// An account's weight was once set before the queue forgot it, so that its next turn cost as much as others'.
#[test]
fn an_account_has_its_weight_in_every_turn_however_many_others_there_are() {
    type Key = (u32, NonZeroU32);
    let weight = NonZeroU32::new(4).expect("not zero");
    let mut turns = Turns::weighed_by(|(_, weight): &Key| *weight);
    for key in (0..100).map(|number| (number, weight)) {
        // Each of these may be the one at which the queue forgets.
        push(&mut turns, key, 8, ());
        let before = turns.accounts[&key].time;
        assert!(turns.next_turn().is_some());
        assert_eq!(turns.accounts[&key].time - before, span(8, weight), "{key:?} has waited");
        turns.settle(&key, 8, 0);
        let before = turns.accounts[&key].time;
        turns.pass(&key, 8);
        assert_eq!(turns.accounts[&key].time - before, span(8, weight), "{key:?} has not waited");
        turns.settle(&key, 8, 0);
    }
    assert!(turns.accounts.len() < 100, "some were forgotten");
}
