//! A directory with records and a log, without a host: backed up and restored.

use super::*;
use crate::id::CallId;
use crate::receipt::{Actor, Deed, NewAction};
use crate::store::Table;

fn act(log: &Log, number: u8) {
    let (id, at) = (CallId::from_bytes([number; 16]), Timestamp::UNIX_EPOCH);
    let (target, reason) = ("acme".into(), "why".into());
    let deed = Deed::SuspendAccount;
    log.act(NewAction { id, at, by: Actor::Operator, deed, target, reason }).expect("written");
}

fn open_log(data: &Path, key: &PartyKey) -> Log {
    let origin = receipts::origin(&key.party());
    Log::open(&data.join(RECEIPTS), key, origin, FLUSH_INTERVAL, |_| ()).expect("opens")
}

/// A directory with a record, a log entry and its key.
fn directory(data: &Path) -> PartyKey {
    std::fs::create_dir(data).expect("made");
    let key = PartyKey::from_secret(&[7; 32]);
    key.save(&data.join(KEY_FILE)).expect("saved");
    let store = Store::open(&data.join(RECORDS)).expect("opens");
    store.put(Table::Offers, "a", b"1").expect("written");
    act(&open_log(data, &key), 1);
    key
}

fn wanted<'w>(archive: &'w Path, data: &'w Path, key: &'w Path) -> Wanted<'w> {
    Wanted { archive, data, key: Some(key), shown: Vec::new() }
}

#[test]
fn what_is_restored_is_what_there_was_and_knows_what_it_lacks() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, archive) = (folder.path().join("data"), folder.path().join("a.tar"));
    let key = directory(&data);
    let cut = Cut::of_directory(&data, Clock::System).expect("a cut");
    assert!(matches!(
        Cut::of_directory(&data, Clock::System),
        Err(BackupError::Store(StoreError::InUse { .. }))
    ));
    cut.write_to(File::create(&archive).expect("made")).expect("written");
    let Contents { manifest, key: kept } =
        check(File::open(&archive).expect("opens")).expect("good");
    assert!(kept.is_none() && manifest.size == 1 && manifest.missing.is_empty());
    // Records and log continue after the backup.
    let store = Store::open(&data.join(RECORDS)).expect("opens");
    store.put(Table::Offers, "b", b"2").expect("written");
    let seen = store.position().expect("reads");
    drop(store);
    let log = open_log(&data, &key);
    act(&log, 2);
    let later = log.checkpoint().into_bytes();
    drop(log);

    let (to, pem) = (folder.path().join("deep/er/data"), data.join(KEY_FILE));
    let mut wanted = wanted(&archive, &to, &pem);
    wanted.shown =
        vec![("earlier".into(), manifest.checkpoint.into_bytes()), ("later".into(), later)];
    let outcome = restore(&wanted).expect("restored");
    assert_eq!((outcome.size, outcome.lost_up_to, outcome.host), (1, Some(2), key.party()));
    let store = Store::open(&to.join(RECORDS)).expect("opens");
    assert_eq!(store.all(Table::Offers).expect("reads"), [("a".into(), b"1".to_vec())]);
    store.put(Table::Offers, "c", b"3").expect("written");
    assert_eq!(store.changes_since(&seen).expect("reads"), None, "write `b` is lost");
    assert_eq!(open_log(&to, &key).size(), 1);
    assert!(matches!(restore(&wanted), Err(RestoreError::NotEmpty(_))));
    let left = std::fs::read_dir(folder.path().join("deep/er")).expect("readable").count();
    assert_eq!(left, 1, "only the directory itself");
}

/// A host would not start on it.
#[test]
fn a_log_that_is_older_than_the_records_remember_is_neither_backed_up_nor_restored() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, archive) = (folder.path().join("data"), folder.path().join("a.tar"));
    let key = directory(&data);
    let receipts = [LOG_FILE, CHECKPOINT_FILE].map(|name| data.join(RECEIPTS).join(name));
    let older = receipts.each_ref().map(|path| fs::read(path).expect("readable"));
    let log = open_log(&data, &key);
    act(&log, 2);
    let later = log.checkpoint();
    drop(log);
    receipts.iter().zip(older).for_each(|(path, bytes)| fs::write(path, bytes).expect("written"));
    let good = Cut::of_directory(&data, Clock::System).expect("nothing is remembered yet");
    let Some((store, log)) = &good.held else { panic!("it is held") };
    store.put(Table::Host, "checkpoint", later.as_bytes()).expect("written");
    let records = store.snapshot().expect("taken");
    let log = log.prefix().expect("signed");
    let bad = Cut { records, log, ..good };
    bad.write_to(File::create(&archive).expect("made")).expect("written");
    let backed_up = Cut::of_directory(&data, Clock::System).map(drop);
    let rolled_back: Result<(), _> =
        Err(BackupError::Receipts(ReceiptError::RolledBack { size: 1, signed: 2 }));
    assert_eq!(format!("{backed_up:?}"), format!("{rolled_back:?}"));
    let (to, pem) = (folder.path().join("to"), data.join(KEY_FILE));
    let restored = restore(&wanted(&archive, &to, &pem)).map(drop);
    assert!(matches!(restored, Err(RestoreError::Log(ReceiptError::RolledBack { .. }))));
    assert!(!to.exists());
}

#[test]
fn records_without_a_byte_are_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    directory(&data);
    File::create(data.join(RECORDS)).expect("emptied");
    let refused = Cut::of_directory(&data, Clock::System).map(drop);
    assert!(matches!(refused, Err(BackupError::NoDirectory(_))), "{refused:?}");
}

#[test]
fn every_byte_of_a_backup_counts() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    directory(&data);
    let mut good = Vec::new();
    Cut::of_directory(&data, Clock::System).expect("a cut").write_to(&mut good).expect("written");
    check(good.as_slice()).expect("good");
    let end = good.len() - 1024;
    for at in (0..end).step_by(9973) {
        assert!(check(&good[..at]).is_err(), "cut at {at}");
        let mut bad = good.clone();
        bad[at] ^= 1;
        // Tar padding and the heading's program name are not covered.
        let says_nothing = good[at] == 0 || at < 1024;
        assert!(says_nothing || check(bad.as_slice()).is_err(), "byte {at}");
    }
}
