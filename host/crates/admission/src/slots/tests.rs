//! Tests the turns and shares of accounts.

use std::sync::Arc;

use super::*;

fn name(text: &str) -> AccountName {
    text.parse().expect("a name")
}

fn line(slots: usize, queue_length_max: usize) -> Arc<Slots> {
    Arc::new(Slots::new(Line {
        slots: slots.try_into().expect("not zero"),
        queue_length_max,
        queue_wait_max: Duration::from_millis(50),
        weights: ById::default(),
    }))
}

#[tokio::test]
async fn a_call_waits_its_turn_and_no_longer_than_allowed() {
    let (slots, zoe) = (line(1, 1), name("zoe"));
    let held = slots.acquire(&zoe, &Wish::default()).await.expect("free");
    let refused = slots.acquire(&zoe, &Wish::default()).await.expect_err("busy");
    assert!(matches!(refused, AdmissionError::QueueTimeout { .. }), "{refused}");
    drop(held);
    assert!(slots.acquire(&zoe, &Wish::default()).await.is_ok());
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_a_caller_who_left_holds_no_place() {
    let (slots, zoe) = (line(1, 1), name("zoe"));
    let held = slots.acquire(&zoe, &Wish::default()).await.expect("free");
    let wait = |slots: &Arc<Slots>| {
        let (slots, zoe) = (Arc::clone(slots), name("zoe"));
        tokio::spawn(async move { slots.acquire(&zoe, &Wish::default()).await.map(drop) })
    };
    let waiting = wait(&slots);
    tokio::task::yield_now().await;
    let refused = slots.acquire(&zoe, &Wish::default()).await.expect_err("full");
    assert!(matches!(refused, AdmissionError::QueueFull { queue_length_max: 1, .. }));
    waiting.abort();
    let _ = waiting.await;
    let next = wait(&slots);
    tokio::task::yield_now().await;
    drop(held);
    assert!(next.await.expect("no panic").is_ok(), "the place was free again");
}

/// Takes all that one account may have now.
async fn greedy(slots: &Slots, account: &str) -> Vec<Slot> {
    let mut held = Vec::new();
    while let Ok(slot) = slots.acquire(&name(account), &Wish::default()).await {
        held.push(slot);
    }
    held
}

#[tokio::test]
async fn no_account_takes_all_sandboxes() {
    let slots = line(64, 0);
    let first = greedy(&slots, "mallory").await;
    assert_eq!(first.len(), 48, "three quarters");
    let second = greedy(&slots, "malcolm").await;
    assert_eq!((second.len(), slots.free()), (12, 4), "three quarters of the rest");
    assert!(
        slots.acquire(&name("zoe"), &Wish::default()).await.is_ok(),
        "there is room for a third"
    );
    drop(first);
    let second: Vec<_> = second.into_iter().chain(greedy(&slots, "malcolm").await).collect();
    assert_eq!(second.len(), 48);
    drop(second);
    assert_eq!(slots.free(), 64);
}

#[tokio::test]
async fn one_account_does_not_fill_the_queue_for_others() {
    let slots = line(1, 64);
    let held = slots.acquire(&name("mallory"), &Wish::default()).await.expect("free");
    let mut waiting = Vec::new();
    for _ in 0..200 {
        let slots = Arc::clone(&slots);
        let mallory = name("mallory");
        waiting.push(tokio::spawn(async move {
            slots.acquire(&mallory, &Wish::default()).await.map(drop)
        }));
    }
    while slots.turns.waiting() < 48 {
        tokio::task::yield_now().await;
    }
    let zoe = tokio::spawn({
        let slots = Arc::clone(&slots);
        async move { slots.acquire(&name("zoe"), &Wish::default()).await.map(drop) }
    });
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    assert_eq!(slots.turns.waiting(), 49, "mallory has three quarters of the places, zoe one");
    drop(held);
    assert!(zoe.await.expect("no panic").is_ok());
    let mut refused = 0;
    for call in waiting {
        match call.await.expect("no panic") {
            Ok(()) => {}
            Err(AdmissionError::QueueShareFull { own: 48, queue_length_max: 64 }) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(refused, 200 - 48);
    assert_eq!(slots.free(), 1);
}

#[tokio::test]
async fn who_waits_behind_a_crowd_of_another_account_is_next() {
    let slots = line(1, 100);
    let held = slots.acquire(&name("mallory"), &Wish::default()).await.expect("free");
    let (ended, mut order) = tokio::sync::mpsc::unbounded_channel();
    let enter = |account: &'static str| {
        let (slots, ended) = (Arc::clone(&slots), ended.clone());
        tokio::spawn(async move {
            let slot = slots.acquire(&name(account), &Wish::default()).await.expect("a turn");
            std::thread::sleep(Duration::from_millis(1));
            ended.send(account).expect("the test waits");
            drop(slot);
        });
    };
    for _ in 0..20 {
        enter("mallory");
    }
    tokio::task::yield_now().await;
    enter("zoe");
    enter("zoe");
    tokio::task::yield_now().await;
    std::thread::sleep(Duration::from_millis(5));
    drop(held);
    let mut served = Vec::new();
    for _ in 0..22 {
        served.push(order.recv().await.expect("all are served"));
    }
    let last = served.iter().rposition(|account| *account == "zoe");
    assert!(last < Some(6), "{served:?}");
}
