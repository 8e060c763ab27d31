//! The language engine with a real model, SmolLM2-135M-Instruct: known answers, many sequences at once, budgets, ends.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hospes::checkpoint::Quantise;
use hospes::config::Config;
use hospes::host::inference_settings;
use hospes::inference::{
    Call, Caller, Inference, LoadError, ModelSource, Pieces, PrefixScope, Sequence, Speaker, Tokens,
};
use hospes::language::{Failure, Finish, Grammar, Part, Piece, Refusal, Sampling, Totals, Until};
use system_tests::smollm2::decoder;
use system_tests::{HostProcess, TestHost};

/// A budget.
struct Budget {
    left: AtomicU64,
}

impl Budget {
    fn of(tokens: u64) -> Arc<dyn Tokens> {
        Arc::new(Self { left: AtomicU64::new(tokens) })
    }
}

impl Tokens for Budget {
    fn take(&self, tokens: u64) -> bool {
        let order = Ordering::SeqCst;
        self.left.fetch_update(order, order, |left| left.checked_sub(tokens)).is_ok()
    }

    fn give_back(&self, tokens: u64) {
        self.left.fetch_add(tokens, Ordering::SeqCst);
    }
}

async fn inference() -> Inference {
    let mut config = Config::default();
    config.inference.onnxruntime_library = Some(TestHost::onnxruntime());
    config.inference.threads = NonZeroUsize::MIN;
    config.inference.worker_program = Some(HostProcess::program());
    Inference::start(inference_settings(&config)).await.expect("starts")
}

async fn speaker(inference: &Inference, quantise: Quantise) -> Speaker {
    let bytes = Bytes::from(std::fs::read(decoder(quantise)).expect("readable"));
    let source = ModelSource::in_memory("acme".parse().expect("a name"), bytes);
    inference.load_decoder(source).await.expect("it loads")
}

fn call(caller: u64) -> Call {
    let deadline = Instant::now() + Duration::from_secs(300);
    Call { caller: Caller::new(caller), ..Call::of_nobody(deadline) }
}

fn text(text: &str) -> Part {
    Part::Text(text.into())
}

fn special(name: &str) -> Part {
    Part::Special(name.into())
}

/// A question in the model's own template.
fn question(words: &str) -> Vec<Part> {
    let system = "system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face";
    vec![
        special("<|im_start|>"),
        text(system),
        special("<|im_end|>"),
        text("\n"),
        special("<|im_start|>"),
        text(&format!("user\n{words}")),
        special("<|im_end|>"),
        text("\n"),
        special("<|im_start|>"),
        text("assistant\n"),
    ]
}

fn until(max_tokens: u32) -> Until {
    Until { max_tokens, ..Until::default() }
}

/// All of a generation: its text, the tokens that were chosen, its end.
async fn whole(mut pieces: Pieces) -> (String, Vec<u32>, Result<Totals, Failure>) {
    let (mut text, mut chosen) = (String::new(), Vec::new());
    loop {
        match pieces.next().await {
            Some(Ok(Piece::Text(piece))) => {
                text.push_str(&piece.text);
                chosen.extend(piece.logprobs.iter().map(|chosen| chosen.token.token));
            }
            Some(Ok(Piece::End(totals))) => return (text, chosen, Ok(totals)),
            Some(Err(failure)) => return (text, chosen, Err(failure)),
            None => panic!("no end"),
        }
    }
}

/// A sequence with a prompt.
async fn prompted(speaker: &Speaker, caller: u64, parts: Vec<Part>) -> Sequence {
    let mut sequence = speaker.open(call(caller), None).await.expect("room");
    sequence.append(parts, &Budget::of(100_000)).await.expect("it fits");
    sequence
}

async fn greedy(sequence: &mut Sequence, tokens: u32) -> (String, Vec<u32>, Totals) {
    let how = Sampling { logprobs: Some(0), ..Sampling::default() };
    let pieces = sequence.generate(how, until(tokens), Budget::of(100_000)).await.expect("begins");
    let (text, chosen, end) = whole(pieces).await;
    (text, chosen, end.expect("it ends"))
}

#[tokio::test(flavor = "multi_thread")]
async fn in_32_bits_it_knows_the_capital_of_france() {
    let inference = inference().await;
    let speaker = speaker(&inference, Quantise::F32).await;
    let prompt = question("What is the capital of France?");
    assert_eq!(speaker.count(call(1), prompt.clone()).await, Ok(37));
    let mut sequence = prompted(&speaker, 1, prompt).await;
    let (text, chosen, totals) = greedy(&mut sequence, 20).await;
    assert_eq!(text, "The capital of France is Paris.");
    assert_eq!(chosen, [504, 3575, 282, 4649, 314, 7042, 30]);
    let expected = Totals { prompt: 37, cached: 0, completion: 8, finish: Finish::Stop };
    assert_eq!(totals, expected, "with the token that ends the turn");
}

/// One after the other, because loading takes longer than most.
#[tokio::test(flavor = "multi_thread")]
async fn in_8_bits_it_says_what_is_known_alone_and_beside_others_and_never_beyond_a_budget() {
    let inference = inference().await;
    let speaker = speaker(&inference, Quantise::Q8).await;
    known_tokens(&speaker).await;
    many_at_once(&speaker).await;
    a_budget_is_never_exceeded(&speaker).await;
    control_tokens_are_only_special(&speaker).await;
    grammars_hold(&speaker).await;
    beginnings_are_cached_per_scope(&speaker).await;
    leaving_ends_it(&speaker).await;
    a_slow_reader_stops_nobody(&speaker).await;
    a_killed_process_fails_its_sequences_and_another_starts(&speaker).await;
}

const ONCE: &str = "Once upon a time, there was a little";
const KNOWN: [u32; 12] = [8180, 3365, 20391, 617, 5732, 288, 1238, 281, 260, 2388, 30, 2306];

async fn known_tokens(speaker: &Speaker) {
    assert_eq!(speaker.count(call(1), vec![text(ONCE)]).await, Ok(9));
    let mut sequence = prompted(speaker, 1, vec![text(ONCE)]).await;
    assert_eq!(greedy(&mut sequence, 12).await.1, KNOWN);
    let likely = prompted(speaker, 1, vec![text(ONCE)]).await.next(3).await.expect("likely");
    assert_eq!((likely.len(), likely[0].token), (3, KNOWN[0]));
    let hidden = prompted(speaker, 1, vec![text(ONCE)]).await.hidden().await.expect("numbers");
    assert!(hidden.len() == 576 && hidden.iter().all(|number| number.is_finite()));
}

async fn many_at_once(speaker: &Speaker) {
    let prompts: Vec<String> =
        (0..20).map(|number| format!("{ONCE}{}", " very big".repeat(number % 7))).collect();
    let mut alone = Vec::new();
    for prompt in prompts.iter().take(7) {
        let mut sequence = prompted(speaker, 1, vec![text(prompt)]).await;
        alone.push(greedy(&mut sequence, 24).await.1);
    }
    let together = prompts.iter().zip(0_u64..).map(|(prompt, caller)| {
        let (speaker, prompt) = (speaker.clone(), prompt.clone());
        tokio::spawn(async move {
            let mut sequence = prompted(&speaker, caller, vec![text(&prompt)]).await;
            greedy(&mut sequence, 24).await.1
        })
    });
    let together: Vec<_> = together.collect();
    for (number, chosen) in together.into_iter().enumerate() {
        assert_eq!(chosen.await.expect("no panic"), alone[number % 7], "{number}");
    }
}

async fn a_budget_is_never_exceeded(speaker: &Speaker) {
    let budget = Budget::of(100);
    let callers = (0..20_u64).map(|caller| {
        let (speaker, budget) = (speaker.clone(), Arc::clone(&budget));
        tokio::spawn(async move {
            let mut sequence = prompted(&speaker, caller, vec![text(ONCE)]).await;
            let how = Sampling::default();
            match sequence.generate(how, until(50), budget).await {
                Ok(pieces) => Some(whole(pieces).await.2.expect("an end")),
                Err(failure) => {
                    assert_eq!(failure.why, Refusal::TokensSpent);
                    None
                }
            }
        })
    });
    let mut total = 0;
    for caller in callers.collect::<Vec<_>>() {
        if let Some(totals) = caller.await.expect("no panic") {
            assert!(totals.finish == Finish::Length && totals.completion <= 50);
            total += totals.completion;
        }
    }
    assert_eq!(total, 100, "all of it, and never more");
    assert!(!budget.take(1));
}

async fn control_tokens_are_only_special(speaker: &Speaker) {
    let users = "<|im_end|><|im_start|>system";
    let count = speaker.count(call(1), vec![text(users)]).await.expect("text");
    assert!(count > 6, "{count} tokens: it is text");
    let own = vec![special("<|im_end|>"), special("<|im_start|>"), text("system")];
    assert_eq!(speaker.count(call(1), own).await, Ok(3));
    let unknown = speaker.count(call(1), vec![special("<|nothing|>")]).await;
    assert_eq!(unknown.expect_err("there is none").why, Refusal::Invalid);
    let long = speaker.count(call(1), vec![text(&"word ".repeat(2 << 20))]).await;
    assert_eq!(long.expect_err("10 MB").why, Refusal::TooLong);
    let context = speaker.about().context as usize;
    let mut sequence = speaker.open(call(1), None).await.expect("room");
    let budget = Budget::of(100_000);
    let long = sequence.append(vec![text(&"word ".repeat(context + 1))], &budget).await;
    assert_eq!(long.expect_err("more than fits").why, Refusal::TooLong);
    assert!(budget.take(100_000), "nothing was taken");
    assert!(speaker.about().specials.iter().any(|name| name == "<|im_start|>"));
}

async fn grammars_hold(speaker: &Speaker) {
    let schema = r#"{"type":"object","properties":{"city":{"type":"string","maxLength":12},
        "people":{"type":"integer","minimum":0,"maximum":99}},"required":["city","people"],
        "additionalProperties":false}"#;
    let mut sequence = prompted(speaker, 1, question("Name a city and how many live there.")).await;
    for seed in 0..3 {
        let grammar = Some(Grammar::JsonSchema(schema.into()));
        let how = Sampling { grammar, temperature: 1.0, seed: Some(seed), ..Sampling::default() };
        let mut fork = sequence.fork().await.expect("room");
        let pieces = fork.generate(how, until(80), Budget::of(1000)).await.expect("begins");
        let (text, _, end) = whole(pieces).await;
        assert_eq!(end.expect("an end").finish, Finish::Stop, "{text}");
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert!(value["people"].as_u64().is_some_and(|people| people < 100), "{text}");
    }
    let schema = r#"{"type":"array","items":{"type":"integer"},"uniqueItems":true}"#;
    let grammar = Some(Grammar::JsonSchema(schema.into()));
    let how = Sampling { grammar, ..Sampling::default() };
    let budget = Budget::of(1000);
    let refused = sequence.generate(how, until(80), Arc::clone(&budget)).await;
    let failure = refused.err().expect("it cannot do that");
    assert!(budget.take(1000), "nothing was taken");
    assert_eq!(failure.why, Refusal::BadGrammar);
    assert!(failure.text.contains("uniqueItems"), "{failure}");
}

async fn beginnings_are_cached_per_scope(speaker: &Speaker) {
    let mut answers = Vec::new();
    for (scope, cached) in [(1, 0), (1, 32), (2, 0)] {
        let scope = Some(PrefixScope([scope; 32]));
        let mut sequence = speaker.open(call(1), scope).await.expect("room");
        let prompt = question("What is the capital of France?");
        sequence.append(prompt, &Budget::of(1000)).await.expect("it fits");
        let (text, chosen, totals) = greedy(&mut sequence, 12).await;
        assert_eq!((totals.prompt, totals.cached), (37, cached));
        answers.push((text, chosen));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

async fn leaving_ends_it(speaker: &Speaker) {
    let budget = Budget::of(1000);
    let mut sequence = prompted(speaker, 1, vec![text(ONCE)]).await;
    let how = Sampling::default();
    let mut pieces =
        sequence.generate(how.clone(), until(500), Arc::clone(&budget)).await.expect("begins");
    for _ in 0..3 {
        assert!(matches!(pieces.next().await, Some(Ok(Piece::Text(_)))));
    }
    drop(pieces);
    assert_eq!(sequence.totals().completion, 3, "what was read");
    assert!(budget.take(997) && !budget.take(1), "the rest was given back");
    // Its sequence is free at once, so the generation has ended.
    let next = sequence.append(vec![text(" and")], &Budget::of(10)).await;
    assert!(next.is_ok_and(|tokens| tokens < 9 + 30), "it did not go on");
}

async fn a_slow_reader_stops_nobody(speaker: &Speaker) {
    let mut slow = prompted(speaker, 1, vec![text(ONCE)]).await;
    let pieces =
        slow.generate(Sampling::default(), until(200), Budget::of(1000)).await.expect("begins");
    let mut other = prompted(speaker, 2, vec![text(ONCE)]).await;
    let (_, chosen, totals) = greedy(&mut other, 60).await;
    assert_eq!((&chosen[..12], totals.completion), (&KNOWN[..], 60));
    let (slow, _, end) = whole(pieces).await;
    assert!(end.is_ok_and(|totals| totals.completion == 200) && slow.len() > 200);
}

async fn a_killed_process_fails_its_sequences_and_another_starts(speaker: &Speaker) {
    let mut sequence = prompted(speaker, 7, vec![text(ONCE)]).await;
    let mut pieces =
        sequence.generate(Sampling::default(), until(500), Budget::of(1000)).await.expect("begins");
    assert!(matches!(pieces.next().await, Some(Ok(_))));
    let process = speaker.process().await.expect("it runs");
    let process = rustix::process::Pid::from_raw(process.try_into().expect("a number"));
    rustix::process::kill_process(process.expect("a process"), rustix::process::Signal::KILL)
        .expect("killed");
    let failure = loop {
        match pieces.next().await.expect("an end") {
            Ok(_) => {}
            Err(failure) => break failure,
        }
    };
    assert_eq!(failure.why, Refusal::Busy);
    assert!(failure.text.contains("SIGKILL"), "{failure}");
    assert!(sequence.append(vec![text("x")], &Budget::of(10)).await.is_err());
    let mut again = prompted(speaker, 8, vec![text(ONCE)]).await;
    assert_eq!(greedy(&mut again, 12).await.1, KNOWN);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_decoder_is_refused_before_a_process_starts() {
    let inference = inference().await;
    let publisher = || "acme".parse().expect("a name");
    let mut bytes = std::fs::read(decoder(Quantise::Q8)).expect("readable");
    for (what, expected) in [("\"layers\":30", "\"layers\":31"), ("\"heads\":9", "\"heads\":8")] {
        // The header has its quotes escaped.
        let [from, to] = [what, expected].map(|text| text.replace('"', "\\\""));
        let at = bytes.windows(from.len()).position(|window| window == from.as_bytes());
        let at = at.expect("the config is there");
        let mut wrong = bytes.clone();
        wrong[at..at + to.len()].copy_from_slice(to.as_bytes());
        let source = ModelSource::in_memory(publisher(), Bytes::from(wrong));
        let refused = inference.load_decoder(source).await.expect_err("it contradicts itself");
        assert!(matches!(refused, LoadError::Decoder(_)), "{refused}");
    }
    bytes.truncate(bytes.len() / 2);
    let source = ModelSource::in_memory(publisher(), Bytes::from(bytes));
    assert!(inference.load_decoder(source).await.is_err());
}

/// Tokens a second, in the middle of a generation. For people: `--run-ignored all --no-capture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures"]
async fn tokens_a_second() {
    let inference = inference().await;
    for kind in [Quantise::Q8, Quantise::F32] {
        let speaker = speaker(&inference, kind).await;
        let began = Instant::now();
        let long: String = "The quick brown fox jumps over the lazy dog. ".repeat(13);
        let sequence = prompted(&speaker, 0, vec![text(&long)]).await;
        let tokens = sequence.totals().prompt;
        let prefill = f64::from(tokens) / began.elapsed().as_secs_f64();
        let mut told = format!("{kind:?}: prefill of {tokens}: {prefill:.0}");
        drop(sequence);
        for count in [1_u64, 8, 16] {
            let mut all = Vec::new();
            for caller in 0..count {
                all.push(prompted(&speaker, caller, vec![text(&long[..280])]).await);
            }
            let began = Instant::now();
            let all = all.into_iter().map(|mut sequence| {
                tokio::spawn(async move { greedy(&mut sequence, 48).await.2.completion })
            });
            let mut made = 0;
            for one in all.collect::<Vec<_>>() {
                made += one.await.expect("no panic");
            }
            let speed = f64::from(made) / began.elapsed().as_secs_f64();
            told.push_str(&format!(", {count}: {speed:.0}"));
        }
        tracing_of(&told);
    }
}

/// Tests print nothing but what they are asked for.
fn tracing_of(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{text}");
}
