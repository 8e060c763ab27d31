//! The engine with a model that is quick to compute, and whose answers depend on every number of its row.

use std::sync::mpsc::{Receiver, channel};

use proptest::prelude::*;

use super::*;
use crate::cache::CacheShape;
use crate::prepare::{Preparer, Task};
use crate::text::tests::text;
use hospes_core::language::{Part, Sampling, Until};

const LENGTH: usize = 160;

/// Writes its tokens into the cache, and answers by a hash of all that a row has. A row that has a number of another gives another answer.
struct Hashing {
    cache: Cache,
    vocabulary: usize,
    /// How many rows and tokens each step had.
    steps: Arc<std::sync::Mutex<Vec<(usize, usize)>>>,
}

impl Forward for Hashing {
    fn cache(&mut self) -> &mut Cache {
        &mut self.cache
    }

    fn run(
        &mut self,
        first: usize,
        tokens: &[u32],
        before: &[usize],
        answers: &mut Answers,
    ) -> Result<(), String> {
        let width = tokens.len() / before.len();
        self.steps.lock().expect("sound").push((before.len(), width));
        let size = self.cache.shape().token();
        answers.logits.clear();
        answers.hidden.clear();
        for (row, before) in before.iter().enumerate() {
            let new = &tokens[row * width..(row + 1) * width];
            for (at, token) in new.iter().enumerate() {
                let numbers = vec![*token as f32 + 1.0; size];
                self.cache.restore(first + row, before + at, &numbers);
            }
            let mut hash = 0_u64;
            for number in self.cache.save(first + row, 0..before + width) {
                hash = hash.wrapping_mul(0x0100_0000_01B3) ^ u64::from(number.to_bits());
            }
            // Letters only, so that texts are readable. The more often, the likelier.
            answers.logits.extend((0..self.vocabulary).map(|token| {
                let is_letter = (97..123).contains(&token);
                let mixed = hash.wrapping_add(token as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                if is_letter { (mixed >> 40) as f32 / 1e6 } else { -50.0 }
            }));
            answers.hidden.extend([hash as f32, *before as f32]);
        }
        Ok(())
    }
}

/// An engine with its preparer, driven as by a worker's threads.
struct Driven {
    engine: Engine<Hashing>,
    preparer: Preparer,
    told: Receiver<Tell>,
    steps: Arc<std::sync::Mutex<Vec<(usize, usize)>>>,
    next_job: u64,
}

fn settings() -> Settings {
    Settings { chunk: 32, prefix_bytes_max: 1 << 20, saved_bytes_max: 1 << 24, sequences_max: 64 }
}

/// The text, tokens and end of a generation so far.
type Said = (String, u32, Option<Result<(u32, Finish), Failure>>);

impl Driven {
    fn new(rows: usize, settings: Settings) -> Self {
        let text = Arc::new(text());
        let shape = CacheShape { layers: 1, rows, heads: 2, length: LENGTH, size: 2 };
        let steps = Arc::default();
        let vocabulary = text.vocabulary();
        let forward = Hashing { cache: Cache::new(shape), vocabulary, steps: Arc::clone(&steps) };
        let (tell, told) = channel();
        let preparer = Preparer::new(Arc::clone(&text), LENGTH);
        let engine = Engine::new(forward, text, settings, move |news| {
            let _ = tell.send(news);
        });
        Self { engine, preparer, told, steps, next_job: 1 }
    }

    fn job(&mut self) -> u64 {
        self.next_job += 1;
        self.next_job
    }

    fn ask(&mut self, ask: Ask) {
        self.engine.take(Event::Ask(ask));
    }

    fn prepare(&mut self, job: u64, sequence: u32, task: Task) {
        self.engine.take(Event::Preparing { job, sequence });
        match self.preparer.prepare(task) {
            Ok(prepared) => self.engine.take(Event::Prepared(prepared)),
            Err(_answer) => panic!("only counts are answered at once"),
        }
    }

    fn open(&mut self, sequence: u32, caller: u64, scope: Option<[u8; 32]>) {
        let job = self.job();
        let weight = NonZeroU32::MIN;
        let left_nanos = u64::MAX;
        self.ask(Ask::Open { job, sequence, caller, weight, scope, left_nanos });
    }

    /// Appends and computes. Returns the job that is answered then.
    fn append(&mut self, sequence: u32, prompt: &str) -> u64 {
        let job = self.job();
        let parts = vec![Part::Text(prompt.into())];
        self.prepare(job, sequence, Task::Append { job, sequence, parts });
        let job = self.job();
        self.ask(Ask::Commit { job, sequence });
        job
    }

    fn generate(&mut self, sequence: u32, how: Sampling, until: Until, tokens: u32) -> u64 {
        let job = self.job();
        let task = Task::Generate { job, sequence, tokens, seed: 1, how, until };
        self.prepare(job, sequence, task);
        job
    }

    fn turn(&mut self) {
        self.engine.turn(Instant::now());
    }

    /// Turns until nothing is left to compute.
    fn finish(&mut self) {
        for _ in 0..100_000 {
            if !self.engine.has_work() {
                return;
            }
            self.turn();
        }
        panic!("it never ends");
    }

    /// The text, tokens and end of each generation so far.
    fn texts(&mut self) -> HashMap<u64, Said> {
        let mut texts: HashMap<u64, Said> = HashMap::new();
        for news in self.told.try_iter() {
            match news {
                Tell::Piece { job, piece } => {
                    let text = texts.entry(job).or_default();
                    text.0.push_str(&piece.text);
                    text.1 += piece.tokens;
                }
                Tell::End { job, result } => texts.entry(job).or_default().2 = Some(result),
                Tell::Done { .. } => {}
            }
        }
        texts
    }

    /// The answers of other jobs.
    fn done(&mut self) -> HashMap<u64, Result<Answer, Failure>> {
        let done = self.told.try_iter().filter_map(|news| match news {
            Tell::Done { job, result } => Some((job, result)),
            Tell::Piece { .. } | Tell::End { .. } => None,
        });
        done.collect()
    }
}

use std::num::NonZeroU32;

fn until(max_tokens: u32) -> Until {
    Until { max_tokens, ..Until::default() }
}

/// What somebody wants.
#[derive(Debug, Clone)]
struct Wish {
    caller: u64,
    prompt: String,
    how: Sampling,
    tokens: u32,
    /// The turn in which it comes, and the tokens that it is granted at a time.
    at: usize,
    grant: u32,
}

fn wish() -> impl Strategy<Value = Wish> {
    // Few letters, so that prompts have beginnings in common.
    let sampled = prop_oneof![Just(0.0_f32), Just(0.8)];
    ((0_u64..3, "[ab]{1,90}", sampled), (1_u32..30, 0_usize..30, 1_u32..20)).prop_map(
        |((caller, prompt, temperature), (tokens, at, grant))| {
            let how = Sampling { temperature, seed: Some(5), top_p: 0.9, ..Sampling::default() };
            Wish { caller, prompt, how, tokens, at, grant }
        },
    )
}

/// Everything that somebody wants, in an engine with so many rows. Returns the texts.
fn fulfil(wishes: &[Wish], rows: usize, settings: Settings) -> Vec<String> {
    let mut driven = Driven::new(rows, settings);
    let mut jobs: Vec<Option<u64>> = vec![None; wishes.len()];
    let mut texts = vec![String::new(); wishes.len()];
    let mut ended = 0;
    for turn in 0..10_000 {
        for (wish, number) in wishes.iter().zip(0_u32..).filter(|(wish, _)| wish.at == turn) {
            driven.open(number, wish.caller, Some([wish.caller as u8; 32]));
            let _ = driven.append(number, &wish.prompt);
        }
        driven.turn();
        // Whoever's prompt is there generates.
        for (wish, number) in wishes.iter().zip(0_u32..) {
            let is_ready = driven.engine.sequences.get(&number).is_some_and(|sequence| {
                sequence.stage() == Stage::Idle && !sequence.tokens.is_empty()
            });
            if is_ready && jobs[number as usize].is_none() {
                let job = driven.generate(number, wish.how.clone(), until(wish.tokens), wish.grant);
                jobs[number as usize] = Some(job);
            } else if let Some(job) = jobs[number as usize] {
                let sequence = driven.engine.sequences.get(&number);
                if sequence.is_some_and(|sequence| sequence.stage() == Stage::Stalled) {
                    driven.ask(Ask::Grant { job, tokens: wish.grant, last: false });
                }
            }
        }
        for (job, (text, _, end)) in driven.texts() {
            let number = jobs.iter().position(|known| *known == Some(job)).expect("known");
            texts[number].push_str(&text);
            if end.is_some() {
                ended += 1;
                driven.ask(Ask::Close { sequence: number as u32 });
            }
        }
        if ended == wishes.len() {
            assert!(driven.engine.rows.iter().all(Option::is_none), "all rows are free");
            assert_eq!(driven.engine.saved_bytes, 0);
            return texts;
        }
    }
    panic!("it never ends: {texts:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn what_a_sequence_says_does_not_depend_on_what_is_computed_beside_it(
        wishes in prop::collection::vec(wish(), 1..8),
        rows in 1_usize..5,
        chunk in 3_usize..65,
        saved_bytes_max in prop_oneof![Just(1_usize << 24), Just(5000)],
    ) {
        let bounded = Settings { chunk, saved_bytes_max, ..settings() };
        let together = fulfil(&wishes, rows, bounded);
        for (wish, text) in wishes.iter().zip(together) {
            let plain = Settings { chunk: 64, prefix_bytes_max: 0, ..settings() };
            let alone = fulfil(&[Wish { at: 0, ..wish.clone() }], 1, plain);
            prop_assert_eq!(&alone[0], &text);
        }
    }
}

fn settings_of(chunk: usize) -> Settings {
    Settings { chunk, ..settings() }
}

#[test]
fn a_prompt_is_never_computed_one_token_at_a_time() {
    for (chunk, length) in [(3, 4), (3, 7), (8, 33), (64, 65), (5, 2)] {
        let mut driven = Driven::new(1, settings_of(chunk));
        driven.open(0, 1, None);
        driven.append(0, &"x".repeat(length));
        driven.finish();
        let steps = driven.steps.lock().expect("sound").clone();
        let tokens: usize = steps.iter().map(|(_, width)| width).sum();
        assert_eq!(tokens, length);
        assert!(steps.iter().all(|(_, width)| (2..=chunk).contains(width)), "{steps:?}");
    }
}

#[test]
fn a_cancelled_generation_ends_at_once_and_the_engine_is_idle() {
    let mut driven = Driven::new(2, settings());
    driven.open(0, 1, None);
    driven.append(0, "once");
    let job = driven.generate(0, Sampling::default(), until(500), 500);
    // The prompt comes first; then the sequence is free.
    driven.finish();
    assert!(matches!(driven.texts()[&job].2, Some(Err(_))), "it was still being computed");
    let job = driven.generate(0, Sampling::default(), until(500), 500);
    (0..3).for_each(|_| driven.turn());
    driven.ask(Ask::Cancel { job });
    assert!(!driven.engine.has_work());
    let (text, tokens, end) = driven.texts().remove(&job).expect("it has begun");
    assert_eq!((text.len(), tokens, end), (3, 3, Some(Ok((3, Finish::Stop)))));
    let before = driven.steps.lock().expect("sound").len();
    driven.turn();
    assert_eq!(driven.steps.lock().expect("sound").len(), before, "nothing is computed");
}

#[test]
fn no_more_tokens_are_computed_than_were_granted() {
    let mut driven = Driven::new(1, settings());
    driven.open(0, 1, None);
    driven.append(0, "once");
    driven.finish();
    let job = driven.generate(0, Sampling::default(), until(50), 4);
    driven.finish();
    assert_eq!((driven.texts()[&job].1, driven.engine.has_deadlines()), (4, true));
    driven.ask(Ask::Grant { job, tokens: 3, last: true });
    driven.finish();
    let (_, tokens, end) = driven.texts().remove(&job).expect("more");
    assert_eq!((tokens, end), (3, Some(Ok((7, Finish::Length)))));
    let job = driven.generate(0, Sampling::default(), until(5), 100);
    driven.finish();
    assert_eq!(driven.texts()[&job].2, Some(Ok((5, Finish::Length))), "the most that it may be");
}

#[test]
fn a_sequence_ends_at_the_end_of_its_context() {
    let mut driven = Driven::new(1, settings());
    driven.open(0, 1, None);
    driven.append(0, &"x".repeat(LENGTH - 3));
    driven.finish();
    let job = driven.generate(0, Sampling::default(), until(50), 50);
    driven.finish();
    assert_eq!(driven.texts()[&job].2, Some(Ok((3, Finish::Length))));
    let job = driven.generate(0, Sampling::default(), until(50), 50);
    driven.finish();
    assert_eq!(driven.texts()[&job].2, Some(Ok((0, Finish::Length))));
    driven.append(0, "y");
    let refused = driven.done().into_values().find_map(Result::err).expect("no room");
    assert_eq!(refused.why, Refusal::TooLong);
}

#[test]
fn a_deadline_ends_whatever_is_under_way() {
    let mut driven = Driven::new(1, settings());
    let job = driven.job();
    let (weight, scope) = (NonZeroU32::MIN, None);
    driven.ask(Ask::Open { job, sequence: 0, caller: 1, weight, scope, left_nanos: 0 });
    let job = driven.append(0, "once");
    driven.turn();
    let failure = driven.done().remove(&job).expect("an answer").expect_err("too late");
    assert_eq!(failure.why, Refusal::Deadline);
}

#[test]
fn a_fork_says_what_its_parent_says_and_truncating_takes_back() {
    let mut driven = Driven::new(2, settings());
    driven.open(0, 1, None);
    driven.append(0, "once upon a time");
    driven.finish();
    let job = driven.job();
    driven.ask(Ask::Fork { job, sequence: 0, child: 1 });
    let jobs = [0, 1].map(|id| driven.generate(id, Sampling::default(), until(8), 8));
    driven.finish();
    let texts = driven.texts();
    assert_eq!(texts[&jobs[0]], texts[&jobs[1]]);
    let job = driven.job();
    driven.ask(Ask::Truncate { job, sequence: 1, tokens: 16 });
    let again = driven.generate(1, Sampling::default(), until(8), 8);
    driven.finish();
    assert_eq!(driven.texts()[&again], texts[&jobs[0]]);
    let job = driven.job();
    driven.ask(Ask::Truncate { job, sequence: 1, tokens: 1000 });
    assert!(driven.done()[&job].is_err(), "it does not have so many");
}

#[test]
fn a_beginning_that_was_computed_before_is_not_computed_again_for_the_same_scope() {
    let cached = |driven: &mut Driven, sequence: u32, scope: u8| {
        driven.open(sequence, 1, Some([scope; 32]));
        let job = driven.append(sequence, &"ab".repeat(40));
        driven.finish();
        match driven.done().remove(&job) {
            Some(Ok(Answer::Computed { tokens: 80, cached })) => cached,
            other => panic!("{other:?}"),
        }
    };
    let mut driven = Driven::new(4, settings());
    assert_eq!(cached(&mut driven, 0, 1), 0);
    assert_eq!(cached(&mut driven, 1, 1), 64);
    assert_eq!(cached(&mut driven, 2, 2), 0, "of another account");
    assert_eq!(cached(&mut driven, 3, 1), 64);
}

#[test]
fn a_caller_with_one_sequence_is_served_beside_one_that_floods() {
    let mut driven = Driven::new(2, settings());
    for sequence in 0..20 {
        driven.open(sequence, 1, None);
        driven.append(sequence, "flood the model with words");
    }
    driven.finish();
    for sequence in 0..20 {
        driven.generate(sequence, Sampling::default(), until(100), 100);
    }
    (0..80).for_each(|_| driven.turn());
    let _ = driven.texts();
    driven.open(100, 2, None);
    driven.append(100, "quiet");
    for turns in 1.. {
        driven.turn();
        if driven.engine.sequences[&100].stage() == Stage::Idle {
            assert!(turns <= 100, "it waited for {turns} turns: as long as a whole answer");
            break;
        }
    }
    let job = driven.generate(100, Sampling::default(), until(10), 10);
    for turns in 1.. {
        driven.turn();
        if driven.texts().get(&job).is_some_and(|text| text.2.is_some()) {
            assert!(turns <= 40, "ten tokens took {turns} turns");
            break;
        }
    }
}

#[test]
fn stops_and_likely_tokens_and_hidden_states() {
    let mut driven = Driven::new(1, settings());
    driven.open(0, 1, None);
    let empty = driven.job();
    driven.ask(Ask::Hidden { job: empty, sequence: 0 });
    driven.append(0, "once");
    driven.finish();
    let job = driven.job();
    driven.ask(Ask::Likely { job, sequence: 0, count: 2 });
    let hidden = driven.job();
    driven.ask(Ask::Hidden { job: hidden, sequence: 0 });
    let done = driven.done();
    assert!(done[&empty].is_err(), "there is nothing yet");
    let Ok(Answer::Likely(likely)) = &done[&job] else { panic!("{done:?}") };
    assert!(likely.len() == 2 && likely[0].logprob > likely[1].logprob);
    assert!(matches!(&done[&hidden], Ok(Answer::Hidden(hidden)) if hidden.len() == 2));
    let first = driven.generate(0, Sampling::default(), until(12), 12);
    driven.finish();
    let text = driven.texts().remove(&first).expect("a text").0;
    assert_eq!((text.len(), text.as_bytes()[0]), (12, likely[0].bytes[0]));
    let job = driven.job();
    driven.ask(Ask::Truncate { job, sequence: 0, tokens: 4 });
    let stop = text[3..6].to_owned();
    let how = Until { stop: vec![stop.clone()], ..until(12) };
    let job = driven.generate(0, Sampling::default(), how, 12);
    driven.finish();
    let (stopped, _, end) = driven.texts().remove(&job).expect("a text");
    assert_eq!(stopped, text.split(&stop).next().expect("one"));
    assert!(matches!(end, Some(Ok((_, Finish::Stop)))), "{end:?}");
}
