//! Tests of the losses of logs that were restored from backups several times.

use super::*;

/// Proofs of some receipts from a log with these calls.
fn shown(calls: &[u64], some: &[u64]) -> Vec<Known> {
    let folder = folder();
    let log = log_of(folder.path(), calls);
    let proofs = some.iter().map(|number| log.proof(&call(*number)).expect("in it"));
    let known = proofs.map(|proof| Known::parse(&proof.to_bytes(), &key().party()).expect("good"));
    known.collect()
}

fn log_of(folder: &Path, calls: &[u64]) -> Log {
    let log = open(folder).expect("a new log");
    for number in calls {
        log.append(draft(*number, 1)).expect("written");
    }
    log
}

#[test]
fn what_two_lost_logs_show_is_not_taken_for_what_one_has_lost() {
    // The first restore cut the log after 1 and lost 10 to 12. The second cut it after 21 and lost 22 and 23.
    let first = |some: &[u64]| shown(&[0, 1, 10, 11, 12], some);
    let second = |some: &[u64]| shown(&[0, 1, 20, 21, 22, 23], some);
    let folder = folder();
    let log = log_of(folder.path(), &[0, 1, 20, 21, 30]);
    let from = |lost: &[Known]| {
        assert!(lost.iter().all(|known| log.has_lost(known.checkpoint()).expect("of this log")));
        log.all_lost_from(lost, &[2, 4])
    };
    assert_eq!(from(&first(&[10, 11, 12])), Some(2));
    assert_eq!(from(&second(&[22, 23])), Some(4));
    let kept = second(&[21, 22, 23]);
    assert_eq!(from(&kept), Some(4), "it has one of these");
    assert_eq!(kept.iter().map(|known| log.has(known)).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!(from(&second(&[23])), None);
    // There is one receipt for each place after the first restore, but 12 is missing.
    assert_eq!(from(&[first(&[10, 11]), second(&[22, 23])].concat()), None);
    assert_eq!(from(&[first(&[10, 11, 12]), second(&[22, 23])].concat()), None);
}
