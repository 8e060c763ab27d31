//! Tests of receipts of calls that end at the same time, or during a write.

use super::*;

#[tokio::test]
async fn receipts_of_calls_that_end_together_are_written_together_and_before_anybody_is_told() {
    let folder = folder();
    let log = Arc::new(open(folder.path()).expect("a new log"));
    let before = fs::metadata(folder.path().join(LOG_FILE)).expect("there").len();
    let issued: Vec<_> =
        (0..5).map(|number| log.enqueue(draft(number, 1)).expect("a place")).collect();
    let length = || fs::metadata(folder.path().join(LOG_FILE)).expect("there").len();
    assert_eq!((log.size(), length()), (0, before), "nothing is written yet");
    let waits = issued.iter().map(|issued| log.written(issued));
    for written in futures_util::future::join_all(waits).await {
        written.expect("written");
    }
    drop(issued);
    assert_eq!(log.size(), 5);
    assert!(length() > before);
    let late = log.enqueue(draft(5, 1)).expect("a place");
    // Reading writes pending receipts first.
    assert_eq!(log.find(&call(5)).expect("read").map(|receipt| receipt.call), Some(call(5)));
    log.written(&late).await.expect("written already");
    drop(late);
    drop(log);
    assert_eq!(replayed(folder.path()).len(), 6);
}

#[tokio::test]
async fn who_writes_holds_up_nobody_who_wants_a_place() {
    let folder = folder();
    let log = open(folder.path()).expect("a new log");
    let places = std::thread::scope(|scope| {
        log.while_writing(|| {
            let others = scope.spawn(|| [0, 1].map(|number| log.enqueue(draft(number, 1))));
            let begun = std::time::Instant::now();
            while !others.is_finished() {
                assert!(begun.elapsed() < Duration::from_secs(10), "they wait for the write");
                std::thread::yield_now();
            }
            others.join().expect("no panic")
        })
    });
    let issued = places.map(|place| place.expect("a place"));
    assert_eq!((log.size(), [issued[0].index, issued[1].index]), (0, [0, 1]));
    log.written(&issued[1]).await.expect("written");
    drop(issued);
    drop(log);
    assert_eq!(replayed(folder.path()).len(), 2);
}

#[tokio::test]
async fn a_group_that_could_not_be_written_does_not_exist_and_its_callers_are_told() {
    let folder = folder();
    let log = open(folder.path()).expect("a new log");
    log.append(draft(0, 1)).expect("written");
    log.fail_writes();
    let issued: Vec<_> =
        (1..4).map(|number| log.enqueue(draft(number, 1)).expect("a place")).collect();
    let waits = issued.iter().map(|issued| log.written(issued));
    for written in futures_util::future::join_all(waits).await {
        let told =
            matches!(written, Err(ReceiptError::Write { .. } | ReceiptError::Stopped { .. }));
        assert!(told, "{written:?}");
    }
    assert_eq!(log.size(), 1);
    assert_eq!(log.find(&call(2)).expect("read"), None);
    assert_eq!(log.recent(&party(2), 10).expect("read").len(), 1, "what was written is still read");

    // The disk accepts writes again. Until a call with a lost receipt has been uncounted, nothing is written.
    log.mend_writes();
    assert!(matches!(log.takes_calls(), Err(ReceiptError::Stopped { .. })));
    drop(issued);
    log.mend_writes();
    log.takes_calls().expect("it goes on");
    // The call gets the same place in the log and in its chain.
    assert_eq!(log.append(draft(2, 1)).expect("written").index, 1);
    assert_eq!(log.find(&call(1)).expect("read"), None);
    assert_eq!(log.find(&call(2)).expect("read").map(|receipt| receipt.sequence), Some(1));
    log.proof(&call(2)).expect("in the log").verify(&key().party()).expect("it verifies");
    drop(log);
    assert_eq!(replayed(folder.path()).len(), 2);
}

#[tokio::test]
async fn who_left_before_the_receipt_was_written_holds_up_no_recovery() {
    let folder = folder();
    let log = open(folder.path()).expect("a new log");
    drop(log.enqueue(draft(0, 1)).expect("a place"));
    let place = log.enqueue(draft(1, 1)).expect("a place");
    log.fail_writes();
    log.written(&place).await.expect_err("the disk is full");
    drop(place);
    log.mend_writes();
    assert_eq!(log.append(draft(2, 1)).expect("written").index, 0);
}

#[test]
fn what_was_not_synced_is_written_again_before_anything_else() {
    let folder = folder();
    let log = open(folder.path()).expect("a new log");
    log.append(draft(0, 1)).expect("written");
    log.flush().expect("synced");
    for number in 1..4 {
        log.append(draft(number, 1)).expect("written");
    }
    log.fail_syncs();
    assert!(matches!(log.flush(), Err(ReceiptError::Write { .. })));
    assert!(matches!(log.append(draft(4, 1)), Err(ReceiptError::Stopped { .. })));
    assert!(log.checkpoint().starts_with("hospes.example/receipts\n1\n"), "what was synced");
    log.mend_writes();
    assert_eq!(log.append(draft(5, 1)).expect("written").index, 4);
    log.flush().expect("synced");
    assert!(log.checkpoint().starts_with("hospes.example/receipts\n5\n"));
    drop(log);
    assert_eq!(replayed(folder.path()).len(), 5);
}

#[test]
fn room_for_receipts_is_allocated_ahead_and_the_file_keeps_its_length() {
    use std::os::unix::fs::MetadataExt as _;
    let folder = folder();
    let log = open(folder.path()).expect("a new log");
    let file = || fs::metadata(folder.path().join(LOG_FILE)).expect("there");
    let (length, allocated) = (file().len(), file().blocks() * 512);
    assert!(length < 100, "{length}");
    // A file system that cannot allocate ahead has no reserve to test.
    assert!(!(1 << 16..2 << 20).contains(&allocated), "{allocated}");
    for number in 0..2000 {
        log.append(draft(number, 1)).expect("written");
    }
    let ahead = (file().blocks() * 512).saturating_sub(file().len());
    assert!(allocated < 1 << 16 || ahead >= 1 << 20, "{ahead} of {allocated}");
    drop(log);
    assert_eq!(replayed(folder.path()).len(), 2000);
}
