//! Tests of receipts: their encoding, the log after crashes and damage, and the proofs.

mod lost;
mod together;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use hospes_core::id::hex;
use hospes_core::key::PartyKey;

const ORIGIN: &str = "hospes.example/receipts";
const LOG_FILE: &str = "receipts.log";

fn key() -> PartyKey {
    PartyKey::from_secret(&[9; 32])
}

fn party(seed: u8) -> Party {
    PartyKey::from_secret(&[seed; 32]).party()
}

fn salt() -> Salt {
    Salt::from_bytes([5; 32])
}

fn call(number: u64) -> CallId {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    CallId::from_bytes(bytes)
}

/// A call under the agreement with this number.
fn draft(number: u64, agreement: u8) -> Draft {
    let agreement = Digest::from_bytes([agreement; 32]);
    Draft {
        call: call(number),
        at: "2026-12-01T00:00:00.123456789Z".parse().expect("a time"),
        caller: party(2),
        publisher: party(1),
        chain: ChainId::Agreement(agreement),
        agreement: Some(agreement),
        model: "acme/digits".parse().expect("a model"),
        bundle: Digest::of(b"bundle"),
        function: "classify".parse().expect("a function"),
        rule: Some(0),
        used: Some(number + 1),
        max: Some(1000),
        rows: Some(3),
        tokens: Some(17),
        spoken: None,
        price: Some(400),
        purpose: Some("https://w3id.org/dpv#ResearchAndDevelopment".into()),
        input: Commitment::of(&salt(), "input", b"in"),
        output: Some(Commitment::of(&salt(), "output", b"out")),
        input_bytes: 2,
        output_bytes: 3,
        wall_micros: 1500,
        memory_bytes: 2_097_152,
        result: CallResult::Answered,
    }
}

fn denied(number: u64) -> Draft {
    Draft {
        chain: ChainId::Caller(party(2)),
        agreement: None,
        rule: None,
        used: None,
        max: None,
        rows: None,
        tokens: None,
        price: None,
        purpose: None,
        output: None,
        output_bytes: 0,
        result: CallResult::Denied { code: "no-agreement".into() },
        ..draft(number, 0)
    }
}

fn open(folder: &Path) -> Result<Log, ReceiptError> {
    open_with(folder, |_| {})
}

fn open_with(folder: &Path, replay: impl FnMut(&Receipt)) -> Result<Log, ReceiptError> {
    // An hour, so that only the tests themselves cause flushes.
    Log::open(folder, &key(), ORIGIN.to_owned(), Duration::from_secs(3600), replay)
}

fn replayed(folder: &Path) -> Vec<Receipt> {
    let mut receipts = Vec::new();
    open_with(folder, |receipt| receipts.push(receipt.clone())).expect("a whole log");
    receipts
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory for the test")
}

fn refused(opened: Result<Log, ReceiptError>) -> ReceiptError {
    opened.map(drop).expect_err("must be refused")
}

#[test]
fn the_bytes_of_a_receipt_are_fixed() {
    let receipt = draft(7, 4).at(3, Digest::from_bytes([8; 32]));
    let earlier = without_meters(receipt.clone());
    let member = |number: u8, rest: &str| hex(&[number]) + rest;
    // Each key takes one byte, because RFC 8949 encodes integers up to 23 in one byte.
    let expected = [
        "b6".to_owned(),
        member(0x00, "01"),
        member(0x01, "5000000000000000000000000000000007"),
        member(0x02, "1b0006618735216240"),
        member(0x03, "5820") + &hex(party(2).public_key()),
        member(0x04, "5820") + &hex(party(1).public_key()),
        member(0x05, "82005820") + &"04".repeat(32),
        member(0x06, "5820") + &"04".repeat(32),
        member(0x07, "6b") + &hex(b"acme/digits"),
        member(0x08, "5820") + &Digest::of(b"bundle").hex(),
        member(0x09, "68") + &hex(b"classify"),
        member(0x0a, "00"),
        member(0x0b, "08"),
        member(0x0c, "1903e8"),
        member(0x0d, "5820") + &hex(Commitment::of(&salt(), "input", b"in").as_bytes()),
        member(0x0e, "02"),
        member(0x0f, "5820") + &hex(Commitment::of(&salt(), "output", b"out").as_bytes()),
        member(0x10, "03"),
        member(0x11, "1905dc"),
        member(0x12, "1a00200000"),
        member(0x13, "8100"),
        member(0x14, "03"),
        member(0x15, "5820") + &"08".repeat(32),
    ];
    // Older receipts without counts and receipts of refused calls look like this.
    assert_eq!(hex(&earlier.to_bytes()), expected.concat());
    assert_eq!(Receipt::parse(&earlier.to_bytes()), Ok(earlier));
    let purpose = "https://w3id.org/dpv#ResearchAndDevelopment";
    let meters = [
        member(0x16, "03"),
        member(0x17, "11"),
        "1818190190".to_owned(),
        format!("1819782b{}", hex(purpose.as_bytes())),
    ];
    let all = expected.concat().replacen("b6", "b81a", 1) + &meters.concat();
    assert_eq!(hex(&receipt.to_bytes()), all);
    assert_eq!(Receipt::parse(&receipt.to_bytes()), Ok(receipt.clone()));
    let Receipt { draft, sequence, previous } = receipt;
    let spoken = Some(Spoken { prompt: 37, cached: 32, completion: 300 });
    let receipt = Receipt { draft: Draft { spoken, ..draft }, sequence, previous };
    let all = all.replacen("b81a", "b81d", 1) + "181a1825181b1820181c19012c";
    assert_eq!(hex(&receipt.to_bytes()), all);
    assert_eq!(Receipt::parse(&receipt.to_bytes()), Ok(receipt));
}

#[test]
fn tokens_of_language_models_are_there_together_or_not_at_all() {
    let spoken = Some(Spoken { prompt: 1, cached: 2, completion: 3 });
    let whole = Draft { spoken, ..draft(1, 1) }.at(0, Digest::of(b"")).to_bytes();
    // Without the last member, and with one fewer in the map's head.
    let mut less = whole[..whole.len() - 3].to_vec();
    less[1] -= 1;
    assert_eq!(Receipt::parse(&less), Err(FormError::Missing(28)));
}

fn without_meters(receipt: Receipt) -> Receipt {
    let Receipt { draft, sequence, previous } = receipt;
    let draft = Draft { rows: None, tokens: None, price: None, purpose: None, ..draft };
    Receipt { draft, sequence, previous }
}

#[test]
fn every_result_and_a_receipt_without_options_are_read_back() {
    let results = [
        CallResult::Answered,
        CallResult::Refused,
        CallResult::Failed { code: "deadline".into() },
        CallResult::Denied { code: "terms".into() },
    ];
    for result in results {
        for draft in [denied(1), draft(1, 1)] {
            let receipt = Draft { result: result.clone(), ..draft }.at(0, Digest::of(b""));
            assert_eq!(Receipt::parse(&receipt.to_bytes()), Ok(receipt));
        }
    }
}

#[test]
fn only_one_spelling_of_a_receipt_is_read() {
    let receipt = without_meters(draft(7, 4).at(3, Digest::from_bytes([8; 32])));
    let bytes = receipt.to_bytes();
    let with = |from: &str, to: &str| {
        let text = hex(&bytes);
        assert!(text.contains(from), "{from}");
        let changed = text.replacen(from, to, 1);
        let digits = changed.as_bytes().chunks(2);
        let read = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("text"), 16);
        Receipt::parse(&digits.map(|pair| read(pair).expect("hexadecimal")).collect::<Vec<_>>())
    };
    assert_eq!(with("b6000101", "b6000201"), Err(FormError::Version { seen: 2 }));
    assert_eq!(
        with("b600010150", "b60018010150"),
        Err(FormError::NotCanonical),
        "a longer integer"
    );
    assert_eq!(with("138100", "138104"), Err(FormError::Value(19)));
    let mut failed = receipt.clone();
    failed.draft.result = CallResult::Failed { code: "a".into() };
    assert_eq!(with("138100", "1382026161"), Ok(failed));
    assert_eq!(with("0b080c", "0c080c"), Err(FormError::NotCanonical), "a member twice");
    assert!(matches!(with("0b080c", "181d080c"), Err(FormError::Cbor(_) | FormError::Value(_))));
    let mut tail = bytes.clone();
    tail.push(0);
    assert_eq!(Receipt::parse(&tail), Err(FormError::NotCanonical));
    let large = vec![0; RECEIPT_BYTES_MAX + 1];
    assert_eq!(Receipt::parse(&large), Err(FormError::TooLarge { bytes: RECEIPT_BYTES_MAX + 1 }));
    for length in 0..bytes.len() {
        assert!(Receipt::parse(&bytes[..length]).is_err(), "cut at {length}");
    }
}

#[test]
fn chains_are_numbered_and_linked() {
    let folder = folder();
    let log = open(folder.path()).expect("a new log");
    let issued: Vec<_> = [draft(0, 1), draft(1, 2), draft(2, 1), denied(3)]
        .into_iter()
        .map(|draft| log.append(draft).expect("written"))
        .collect();
    assert_eq!(issued.iter().map(|issued| issued.index).collect::<Vec<_>>(), [0, 1, 2, 3]);
    drop(log);
    let receipts = replayed(folder.path());
    let sequences: Vec<_> = receipts.iter().map(|receipt| receipt.sequence).collect();
    assert_eq!(sequences, [0, 0, 1, 0]);
    let leaf = [b"\0", receipts[0].to_bytes().as_slice()].concat();
    assert_eq!(receipts[2].previous, Digest::of(&leaf), "as RFC 6962 hashes a leaf");
    assert_eq!(receipts[0].previous, Digest::from_bytes([0; 32]));
}

#[test]
fn a_receipt_that_is_too_large_leaves_nothing_between_the_others() {
    let folder = folder();
    let log = open(folder.path()).expect("a new log");
    drop(log.enqueue(draft(0, 1)).expect("it has its place"));
    let large = Draft { purpose: Some("x".repeat(RECEIPT_BYTES_MAX).into()), ..draft(1, 1) };
    assert!(matches!(log.enqueue(large), Err(ReceiptError::TooLarge { bytes }) if bytes > 4096));
    assert_eq!(log.append(draft(1, 1)).expect("written").index, 1);
    drop(log);
    let sequences: Vec<_> = replayed(folder.path()).iter().map(|r| r.sequence).collect();
    assert_eq!(sequences, [0, 1]);
}

#[test]
fn no_receipt_is_longer_than_its_draft_could_come_to() {
    let name = "n".repeat(63);
    let texts = 2 * name.len() + "/".len() + name.len() + 256 + encode::CODE_BYTES_MAX;
    let longest = Draft {
        at: Timestamp::MIN,
        model: format!("{name}/{name}").parse().expect("a model"),
        function: name.parse().expect("a function"),
        rule: Some(u16::MAX),
        used: Some(u64::MAX),
        max: Some(u64::MAX),
        rows: Some(u64::MAX),
        tokens: Some(u64::MAX),
        spoken: Some(Spoken { prompt: u64::MAX, cached: u64::MAX, completion: u64::MAX }),
        price: Some(u64::MAX),
        purpose: Some("p".repeat(256).into()),
        input_bytes: u64::MAX,
        output_bytes: u64::MAX,
        wall_micros: u64::MAX,
        memory_bytes: u64::MAX,
        result: CallResult::Failed { code: "c".repeat(encode::CODE_BYTES_MAX).into() },
        ..draft(0, 1)
    };
    let bytes = longest.at(u64::MAX, Digest::of(b"")).to_bytes().len();
    assert_eq!(bytes, encode::BYTES_BESIDE_TEXTS_MAX + texts);
}

#[test]
fn replay_gives_the_same_counts_and_the_chain_goes_on() {
    let folder = folder();
    let log = open(folder.path()).expect("a new log");
    for number in 0..20 {
        log.append(draft(number, 1)).expect("written");
    }
    drop(log);
    let used: Vec<_> = replayed(folder.path()).iter().map(|receipt| receipt.used).collect();
    assert_eq!(used, (1..=20).map(Some).collect::<Vec<_>>());
    let log = open(folder.path()).expect("a whole log");
    assert_eq!(log.size(), 20);
    assert_eq!(log.append(draft(20, 1)).expect("written").index, 20);
    let last = log.find(&call(20)).expect("read").expect("it is there");
    assert_eq!((last.sequence, last.used), (20, Some(21)));
}

#[test]
fn appends_from_eight_threads_keep_chains_linear() {
    let folder = folder();
    let log = Arc::new(open(folder.path()).expect("a new log"));
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let log = Arc::clone(&log);
            scope.spawn(move || {
                for number in 0..50 {
                    let agreement = u8::try_from(number % 3).expect("small");
                    log.append(draft(thread * 1000 + number, agreement)).expect("written");
                }
            });
        }
    });
    drop(log);
    // Opening checks every link.
    assert_eq!(replayed(folder.path()).len(), 400);
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_off_and_the_rest_is_kept() {
    let source = folder();
    let log = open(source.path()).expect("a new log");
    log.append(draft(0, 1)).expect("written");
    let first = fs::metadata(source.path().join(LOG_FILE)).expect("it is there").len() as usize;
    // The state after kill -9: the checkpoint on the disk was signed before the receipts.
    let checkpoint = fs::read(source.path().join("checkpoint")).expect("it is there");
    log.append(draft(1, 1)).expect("written");
    let bytes = fs::read(source.path().join(LOG_FILE)).expect("it is there");
    drop(log);
    for length in first..bytes.len() {
        for zeros in [0, 1, 5000] {
            let folder = folder();
            let mut torn = bytes[..length].to_vec();
            torn.resize(length + zeros, 0);
            fs::write(folder.path().join(LOG_FILE), &torn).expect("written");
            fs::write(folder.path().join("checkpoint"), &checkpoint).expect("written");
            let log =
                open(folder.path()).unwrap_or_else(|error| panic!("{length}+{zeros}: {error}"));
            assert_eq!(log.size(), 1, "torn at {length} with {zeros} zeros");
            let issued = log.append(draft(1, 1)).expect("written");
            assert_eq!(issued.index, 1);
            drop(log);
            assert_eq!(fs::read(folder.path().join(LOG_FILE)).expect("it is there"), bytes);
        }
    }
    // A crash during the creation of the file.
    for length in 0..18 {
        let folder = folder();
        fs::write(folder.path().join(LOG_FILE), &bytes[..length]).expect("written");
        assert_eq!(open(folder.path()).expect("begun anew").size(), 0);
    }
}

#[test]
fn a_changed_byte_anywhere_is_damage_with_its_offset() {
    let source = folder();
    let log = open(source.path()).expect("a new log");
    let checkpoint = fs::read(source.path().join("checkpoint")).expect("it is there");
    for number in 0..3 {
        log.append(draft(number, 1)).expect("written");
    }
    drop(log);
    let bytes = fs::read(source.path().join(LOG_FILE)).expect("it is there");
    for index in 0..bytes.len() {
        let folder = folder();
        let mut changed = bytes.clone();
        changed[index] ^= 0x41;
        fs::write(folder.path().join(LOG_FILE), &changed).expect("written");
        fs::write(folder.path().join("checkpoint"), &checkpoint).expect("written");
        match refused(open(folder.path())) {
            ReceiptError::Damaged { offset, .. } => assert!(offset <= index as u64),
            other => panic!("byte {index}: {other}"),
        }
        assert_eq!(
            fs::read(folder.path().join(LOG_FILE)).expect("kept"),
            changed,
            "nothing is cut"
        );
    }
}

#[test]
fn a_log_that_lost_what_its_checkpoint_signs_is_refused() {
    let folder = folder();
    let log = open(folder.path()).expect("a new log");
    log.append(draft(0, 1)).expect("written");
    let first = fs::metadata(folder.path().join(LOG_FILE)).expect("it is there").len();
    log.append(draft(1, 1)).expect("written");
    drop(log);
    let file = fs::OpenOptions::new().write(true).open(folder.path().join(LOG_FILE));
    file.and_then(|file| file.set_len(first)).expect("cut");
    let error = refused(open(folder.path()));
    assert!(matches!(error, ReceiptError::RolledBack { size: 1, signed: 2 }), "{error}");
}

#[test]
fn a_log_belongs_to_one_key_and_one_name_and_one_process() {
    let folder = folder();
    let log = open(folder.path()).expect("a new log");
    assert!(matches!(refused(open(folder.path())), ReceiptError::InUse { .. }));
    drop(log);
    let other = |key: &PartyKey, origin: &str| {
        let interval = Duration::from_secs(3600);
        refused(Log::open(folder.path(), key, origin.to_owned(), interval, |_| {}))
    };
    let stranger = PartyKey::from_secret(&[10; 32]);
    assert!(matches!(other(&stranger, ORIGIN), ReceiptError::OtherLog { .. }));
    assert!(matches!(other(&key(), "other.example"), ReceiptError::OtherLog { .. }));
    assert!(matches!(other(&key(), "with space"), ReceiptError::Origin(_)));
}

#[test]
fn a_call_has_one_receipt() {
    let folder = folder();
    let log = open(folder.path()).expect("a new log");
    log.append(draft(0, 1)).expect("written");
    assert!(matches!(log.append(draft(0, 2)), Err(ReceiptError::Repeated(_))));
    let long = CallResult::Failed { code: "c".repeat(65).into() };
    let long = log.append(Draft { result: long, ..draft(1, 1) });
    assert!(matches!(long, Err(ReceiptError::CodeTooLong { bytes: 65 })));
    assert_eq!(log.size(), 1);
    let longest = CallResult::Failed { code: "c".repeat(64).into() };
    log.append(Draft { result: longest, ..draft(1, 1) }).expect("written");
    drop(log);
    assert_eq!(replayed(folder.path()).len(), 2);
}

#[test]
fn after_a_write_that_failed_nothing_is_appended() {
    // The disk becomes full in the middle of a record.
    let folder = folder();
    let log = open(folder.path()).expect("a new log");
    log.append(draft(0, 1)).expect("written");
    log.fail_writes();
    let failed = log.append(draft(1, 1));
    assert!(matches!(failed, Err(ReceiptError::Write { .. })), "{failed:?}");
    assert!(matches!(log.append(draft(2, 1)), Err(ReceiptError::Stopped { .. })));
    assert!(matches!(log.flush(), Err(ReceiptError::Stopped { .. })));
    assert_eq!(log.size(), 1);
    drop(log);
    assert_eq!(replayed(folder.path()).len(), 1);
}

#[test]
fn a_flush_in_the_background_signs_what_was_appended() {
    let folder = folder();
    let interval = Duration::from_millis(5);
    let log = Log::open(folder.path(), &key(), ORIGIN.to_owned(), interval, |_| {});
    let log = log.expect("a new log");
    assert!(
        log.checkpoint().starts_with("hospes.example/receipts\n0\n47DEQpj8HBSa"),
        "the empty tree"
    );
    log.append(draft(0, 1)).expect("written");
    let begun = std::time::Instant::now();
    while !log.checkpoint().starts_with("hospes.example/receipts\n1\n") {
        assert!(begun.elapsed() < Duration::from_secs(10), "no checkpoint after 10 s");
        std::thread::sleep(interval);
    }
    assert_eq!(
        fs::read_to_string(folder.path().join("checkpoint")).expect("kept"),
        log.checkpoint()
    );
    assert!(log.verifier_key().starts_with("hospes.example/receipts+"));
}

#[test]
fn the_latest_receipts_of_a_party_come_newest_first() {
    let folder = folder();
    let log = open(folder.path()).expect("a new log");
    for number in 0..5 {
        log.append(draft(number, 1)).expect("written");
    }
    log.append(Draft { caller: party(3), ..draft(5, 2) }).expect("written");
    let calls = |seed, limit| {
        let receipts = log.recent(&party(seed), limit).expect("read");
        receipts.iter().map(|receipt| receipt.call).collect::<Vec<_>>()
    };
    assert_eq!(calls(2, 2), [call(4), call(3)]);
    assert_eq!(calls(1, 100).len(), 6, "the publisher sees all");
    assert_eq!(calls(3, 100), [call(5)]);
    assert_eq!(calls(4, 100), []);
    assert_eq!(log.find(&call(77)).expect("read"), None);
}

#[test]
fn proofs_verify_offline_for_every_receipt() {
    let folder = folder();
    let log = open(folder.path()).expect("a new log");
    for number in 0..23 {
        log.append(draft(number, 1)).expect("written");
        // The same for a log that has grown since.
        let proof = log.proof(&call(number / 2)).expect("it is there");
        let verified = proof.verify(&key().party()).expect("a true proof");
        assert_eq!((verified.call, verified.index()), (call(number / 2), number / 2));
    }
    drop(log);
    let log = open(folder.path()).expect("a whole log");
    for number in 0..23 {
        let file = log.proof(&call(number)).expect("it is there").with_salt(salt()).to_bytes();
        let proof = ReceiptProof::parse(&file).expect("its own form");
        assert_eq!(proof.to_bytes(), file);
        let verified = proof.verify(&key().party()).expect("a true proof");
        assert_eq!((verified.origin(), verified.size(), verified.index()), (ORIGIN, 23, number));
        let leaf = [b"\0", verified.get().to_bytes().as_slice()].concat();
        assert_eq!(verified.hash(), &Digest::of(&leaf));
        verified.check_input(proof.salt(), b"in").expect("the input");
        verified.check_output(proof.salt(), b"out").expect("the output");
        let other = verified.check_input(proof.salt(), b"im");
        assert_eq!(other, Err(ProofError::OtherBytes { part: "input", bytes: 2, wanted: 2 }));
        assert_eq!(verified.check_input(None, b"in"), Err(ProofError::NoSalt));
        let stranger = party(1);
        let refused = proof.verify(&stranger);
        assert_eq!(refused, Err(ProofError::Checkpoint { host: stranger }));
    }
    assert!(matches!(log.proof(&call(23)), Err(ReceiptError::NotFound(_))));
    let refused = denied(0).at(0, Digest::of(b"")).check_output(Some(&salt()), b"");
    assert_eq!(refused, Err(ProofError::Absent("output")));
}

#[test]
fn a_change_of_any_byte_of_a_proven_receipt_shows() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let folder = folder();
    let log = open(folder.path()).expect("a new log");
    for number in 0..5 {
        log.append(draft(number, 1)).expect("written");
    }
    let file = log.proof(&call(2)).expect("it is there").to_bytes();
    let receipt = log.find(&call(2)).expect("read").expect("it is there").to_bytes();
    let text = String::from_utf8(file).expect("JSON is text");
    for index in 0..receipt.len() {
        let mut changed = receipt.clone();
        changed[index] ^= 1;
        let changed = text.replace(&STANDARD.encode(&receipt), &STANDARD.encode(&changed));
        let proof = ReceiptProof::parse(changed.as_bytes()).expect("the form is whole");
        assert!(proof.verify(&key().party()).is_err(), "byte {index}");
    }
    // A change of any other byte of the file, except white space, is noticed too.
    for index in 0..text.len() {
        let mut changed = text.clone().into_bytes();
        changed[index] ^= 1;
        let proven = ReceiptProof::parse(&changed).and_then(|proof| proof.verify(&key().party()));
        assert!(proven.is_err(), "byte {index} of the file");
    }
    let long = vec![b' '; PROOF_BYTES_MAX + 1];
    let bytes = PROOF_BYTES_MAX + 1;
    assert_eq!(ReceiptProof::parse(&long), Err(ProofError::TooLarge { bytes }));
}

#[test]
fn a_record_changed_under_an_open_log_is_not_given_out() {
    use std::os::unix::fs::FileExt as _;
    let folder = folder();
    let log = open(folder.path()).expect("a new log");
    log.append(draft(0, 1)).expect("written");
    let file = fs::OpenOptions::new().write(true).open(folder.path().join(LOG_FILE));
    file.and_then(|file| file.write_all_at(b"x", 60)).expect("written");
    assert!(matches!(log.find(&call(0)), Err(ReceiptError::Damaged { offset: 18, .. })));
    assert!(matches!(log.proof(&call(0)), Err(ReceiptError::Damaged { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_bytes_make_the_readers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Receipt::parse(&bytes).is_err());
        prop_assert!(ReceiptProof::parse(&bytes).is_err());
    }

    #[test]
    fn a_receipt_that_is_read_at_all_is_the_bytes(
        place in 0..400_usize,
        value in any::<u8>(),
    ) {
        let mut bytes = draft(7, 4).at(3, Digest::from_bytes([8; 32])).to_bytes();
        let place = place % bytes.len();
        bytes[place] = value;
        if let Ok(receipt) = Receipt::parse(&bytes) {
            prop_assert_eq!(receipt.to_bytes(), bytes);
        }
    }
}
