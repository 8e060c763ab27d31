//! Receipts of calls that end together, or while others are written.

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
    assert_eq!(log.size(), 5);
    assert!(length() > before);
    let late = log.enqueue(draft(5, 1)).expect("a place");
    // Whoever reads has what waits written first.
    assert_eq!(log.find(&call(5)).expect("read").map(|receipt| receipt.call), Some(call(5)));
    log.written(&late).await.expect("written already");
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
    assert_eq!((log.size(), issued.map(|issued| issued.index)), (0, [0, 1]));
    log.written(&issued[1]).await.expect("written");
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
    drop(log);
    assert_eq!(replayed(folder.path()).len(), 1);
}
