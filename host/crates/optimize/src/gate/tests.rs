//! The gate refuses what it promises to refuse, and takes what it may.

use super::*;
use BackendKind::{Onnxruntime, Tract};

const FAST: Timing = timing(5.0);
const SLOW: Timing = timing(30.0);

const fn timing(p50_ms: f64) -> Timing {
    Timing { p50_ms, p95_ms: p50_ms + 1.0, mean_ms: p50_ms, runs: 60, rows: 1 }
}

fn original() -> Original {
    Original { bytes: 1000, times: vec![(Onnxruntime, timing(10.0)), (Tract, timing(30.0))] }
}

/// Ten classes in turn, and one answer in `every` is another class.
fn classes(rows: u32, every: Option<u32>) -> Answers {
    let original: Vec<u32> = (0..rows).map(|row| row % 10).collect();
    let candidate = (0..rows).map(|row| match every {
        Some(every) if row % every == 0 => (row + 1) % 10,
        _ => row % 10,
    });
    Answers::Classes { truth: None, candidate: candidate.collect(), original }
}

fn candidate(answers: Option<Answers>, times: Timing, bytes: u64) -> Candidate {
    let measured = Ok(Measured { answers, times });
    let on = vec![OnBackend { backend: Onnxruntime, measured }];
    Candidate { name: "c".into(), is_lossy: true, bytes, on }
}

#[track_caller]
fn refused(candidate: &Candidate) -> Option<Refusal> {
    let verdicts = judge(&original(), candidate, &Limits::default());
    verdicts.into_iter().next().expect("a backend").refused
}

#[test]
fn nothing_lossy_passes_without_rows() {
    assert_eq!(refused(&candidate(None, FAST, 300)), Some(Refusal::NoData));
    let lossless = Candidate { is_lossy: false, ..candidate(None, FAST, 300) };
    assert_eq!(refused(&lossless), None);
}

#[test]
fn a_loss_is_refused_and_so_is_one_that_few_rows_cannot_exclude() {
    assert_eq!(refused(&candidate(Some(classes(1000, None)), FAST, 300)), None);
    let lost = refused(&candidate(Some(classes(1000, Some(50))), FAST, 300));
    assert!(matches!(lost, Some(Refusal::Loss { .. })), "{lost:?}");
    let few = refused(&candidate(Some(classes(100, None)), FAST, 300));
    let Some(Refusal::Unproven { needed, .. }) = few else { panic!("{few:?}") };
    assert!(needed > 250, "{needed}");
}

#[test]
fn a_broken_class_is_refused_though_the_whole_is_right() {
    // One class of a hundred with 50 rows of 5,000 each: the whole loses 1 % at most.
    let truth: Vec<u32> = (0..5000).map(|row| row % 100).collect();
    let broken = |class: &u32| if *class == 7 { 8 } else { *class };
    let candidate_ = truth.iter().map(broken).collect();
    let answers =
        Answers::Classes { truth: Some(truth.clone()), original: truth, candidate: candidate_ };
    let refused = refused(&candidate(Some(answers), FAST, 300));
    assert_eq!(refused, Some(Refusal::Class { class: 7, loss: 1.0, max: 0.03 }));
}

#[test]
fn a_small_class_needs_proof() {
    // Three rows, one lost: that may be chance.
    let truth: Vec<u32> = (0..2000).map(|row| u32::from(row < 3)).collect();
    let mut answers = truth.clone();
    answers[0] = 0;
    let one = Answers::Classes {
        truth: Some(truth.clone()),
        original: truth.clone(),
        candidate: answers,
    };
    assert_eq!(refused(&candidate(Some(one), FAST, 300)), None);
    let all =
        Answers::Classes { truth: Some(truth.clone()), original: truth, candidate: vec![0; 2000] };
    let all = refused(&candidate(Some(all), FAST, 300));
    assert!(matches!(all, Some(Refusal::Class { class: 1, .. })), "{all:?}");
}

#[test]
fn what_wins_nothing_is_refused_and_a_win_is_not_paid_with_the_other() {
    let answers = || Some(classes(1000, None));
    let same = timing(10.0);
    for (times, bytes, is_win) in [
        (same, 950, false),
        (same, 300, true),
        (FAST, 1000, true),
        (SLOW, 300, false),
        (FAST, 2000, false),
    ] {
        let refused = refused(&candidate(answers(), times, bytes));
        assert_eq!(refused.is_none(), is_win, "{times:?}, {bytes}: {refused:?}");
    }
}

#[test]
fn a_refusal_says_which_of_size_and_time_is_too_much() {
    let said = |size, time| Refusal::NoWin { size, time, min: 0.1 }.to_string();
    let slow = said(0.314, 2.553);
    assert_eq!(
        slow,
        "it has 31.4 % of the original's size, but is slower than allowed: it takes 255.3 % of the time of the original on its fastest \
         backend (at most 110.0 %)"
    );
    let large = said(2.0, 0.5);
    assert!(large.contains("larger than allowed: it has 200.0 %"), "{large}");
    let neither = said(0.95, 1.0);
    assert!(neither.ends_with("neither is 10.0 % less"), "{neither}");
}

#[test]
fn a_backend_counts_by_itself_against_the_fastest_original() {
    let mut both = candidate(Some(classes(1000, None)), FAST, 1000);
    // Faster than the original there, but not than the original elsewhere.
    let measured = Ok(Measured { answers: Some(classes(1000, None)), times: timing(15.0) });
    both.on.push(OnBackend { backend: Tract, measured });
    let verdicts = judge(&original(), &both, &Limits::default());
    assert!(matches!(verdicts[1].refused, Some(Refusal::NoWin { .. })));
    assert_eq!(best(&verdicts).map(|verdict| verdict.backend), Some(Onnxruntime));
}

#[test]
fn cosines_are_judged_by_their_mean_and_its_error() {
    let close = Answers::Cosines(vec![0.9995; 50]);
    assert_eq!(refused(&candidate(Some(close), FAST, 300)), None);
    let far = refused(&candidate(Some(Answers::Cosines(vec![0.8; 50])), FAST, 300));
    assert!(matches!(far, Some(Refusal::Loss { .. })), "{far:?}");
}

#[test]
fn numbers_are_judged_by_r2_and_few_of_them_prove_nothing() {
    let of = |rows: u32, moved: f64| {
        let original: Vec<f64> = (0..rows).map(f64::from).collect();
        let move_ = |number: &f64| {
            if (*number as u64).is_multiple_of(2) { number + moved } else { *number }
        };
        let candidate_ = original.iter().map(move_).collect();
        let answers = Answers::Numbers { truth: None, original, candidate: candidate_ };
        refused(&candidate(Some(answers), FAST, 300))
    };
    assert_eq!(of(100, 0.1), None);
    assert!(matches!(of(100, 20.0), Some(Refusal::Loss { .. })), "{:?}", of(100, 20.0));
    assert!(matches!(of(20, 0.0), Some(Refusal::Unproven { needed: 30, .. })), "{:?}", of(20, 0.0));
}

#[test]
fn the_smallest_of_the_fast_ones_is_best_and_none_if_none_passes() {
    let verdict = |name: &str, time: f64, bytes: u64, refused: Option<Refusal>| Verdict {
        candidate: name.into(),
        backend: Onnxruntime,
        bytes,
        loss: None,
        times: None,
        size: 1.0,
        time: Some(time),
        refused,
    };
    let verdicts = [
        verdict("slow", 0.9, 100, None),
        verdict("fast", 0.4, 700, None),
        verdict("as fast", 0.42, 600, None),
        verdict("refused", 0.1, 10, Some(Refusal::NoData)),
    ];
    assert_eq!(best(&verdicts).map(|verdict| &*verdict.candidate), Some("as fast"));
    assert_eq!(best(&verdicts[3..]), None);
}
