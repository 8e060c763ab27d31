//! A language model from its file to its answers, through the front door: packed, published, agreed to, and asked.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use hospes::agreement::events::{Actor, Change, Reason};
use hospes::id::Digest;
use hospes::outcome::Spoken;
use hospes::receipt::ReceiptProof;
use serde_json::{Value, json};
use system_tests::scene::Scene;
use system_tests::talk::events;
use system_tests::{Party, Reply, smollm2};

const MODEL: &str = "acme/smollm2";
const ANSWER: &str = "The capital of France is Paris.";

/// Tokens of the question about France in the model's template.
const QUESTION_TOKENS: u64 = 37;

/// How long the receipt of a call may take whose caller has left.
const SOON: Duration = Duration::from_secs(20);

/// A body with one turn at temperature 0, and more members.
fn body(turn: &str, more: &Value) -> Value {
    let messages = json!([{"role": "user", "content": turn}]);
    let mut body = json!({"model": MODEL, "temperature": 0, "messages": messages});
    for (name, value) in more.as_object().expect("members") {
        body[name] = value.clone();
    }
    body
}

fn ask(scene: &Scene, party: &Party, turn: &str, more: &Value) -> Reply {
    let request = scene.host.post("/v1/chat/completions").bearer(&party.api_key);
    request.json(&body(turn, more).to_string()).send()
}

fn france(scene: &Scene, more: &Value) -> Reply {
    ask(scene, &scene.zoe, "What is the capital of France?", more)
}

/// The calls with receipts under an agreement, newest first.
fn receipts(scene: &Scene, party: &Party, agreement: &Digest) -> Vec<String> {
    let path = format!("/api/receipts?agreement={agreement}&limit=100");
    let listed = scene.host.get(&path).bearer(&party.api_key).send().ok().json();
    let listed = listed["receipts"].as_array().expect("a list");
    listed.iter().map(|one| one["call"].as_str().expect("text").to_owned()).collect()
}

/// The tokens that a receipt states.
fn spoken(scene: &Scene, party: &Party, call: &str) -> Option<Spoken> {
    let proof = scene.host.get(&format!("/api/receipts/{call}")).bearer(&party.api_key);
    let proof = ReceiptProof::parse(&proof.send().ok().body).expect("a proof");
    proof.verify(&scene.host.host().party()).expect("genuine").get().spoken
}

fn newest(scene: &Scene, agreement: &Digest) -> Spoken {
    let calls = receipts(scene, &scene.zoe, agreement);
    spoken(scene, &scene.zoe, &calls[0]).expect("it spoke")
}

/// One host for all of it, because loading takes longer than most.
#[test]
fn a_packed_language_model_answers_and_its_tokens_are_counted() {
    let scene = Scene::new(&smollm2::bundle());
    let agreement = scene.agree(&scene.acme, &scene.zoe, scene.clauses("complete", &[]));
    it_answers(&scene, &agreement);
    it_streams(&scene, &agreement);
    the_caller_s_limit_holds(&scene, &agreement);
    answers_match_a_schema(&scene);
    a_suspension_forgets_beginnings(&scene, &agreement);
    whoever_leaves_pays_for_what_was_sent(&scene, &agreement);
    a_quota_of_tokens_is_never_exceeded(&scene);
}

fn it_answers(scene: &Scene, agreement: &Digest) {
    let told = france(scene, &json!({})).ok().json();
    let choice = &told["choices"][0];
    assert_eq!(
        (&choice["message"]["content"], &choice["finish_reason"]),
        (&json!(ANSWER), &json!("stop"))
    );
    let usage = &told["usage"];
    assert_eq!((&usage["prompt_tokens"], &usage["completion_tokens"]), (&json!(37), &json!(8)));
    let fingerprint = told["system_fingerprint"].as_str().expect("text");
    assert!(fingerprint.ends_with("_onnxruntime"), "{fingerprint}");
    let expected = Spoken { prompt: QUESTION_TOKENS, cached: 0, completion: 8 };
    assert_eq!(newest(scene, agreement), expected);
    let path = format!("/v1/models/{MODEL}");
    let model = scene.host.get(&path).bearer(&scene.zoe.api_key).send().ok().json();
    assert_eq!(model["context_length"], 2176, "{model}");
}

fn it_streams(scene: &Scene, agreement: &Digest) {
    let streaming = json!({"stream": true, "stream_options": {"include_usage": true}});
    let events = events(&france(scene, &streaming).ok());
    let (usage, chunks) = events.split_last().expect("events");
    let deltas = chunks.iter().map(|chunk| chunk["choices"][0]["delta"]["content"].as_str());
    let text: String = deltas.map(Option::unwrap_or_default).collect();
    assert_eq!(text, ANSWER);
    assert!(chunks.len() > 4, "it comes in pieces: {chunks:?}");
    let usage = &usage["usage"];
    assert_eq!(usage["prompt_tokens"], QUESTION_TOKENS);
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 32, "as far as whole blocks go");
    let expected = Spoken { prompt: QUESTION_TOKENS, cached: 32, completion: 8 };
    assert_eq!(newest(scene, agreement), expected);
}

fn the_caller_s_limit_holds(scene: &Scene, agreement: &Digest) {
    let told = ask(scene, &scene.zoe, "Tell me a story.", &json!({"max_completion_tokens": 10}));
    let told = told.ok().json();
    assert_eq!(told["choices"][0]["finish_reason"], "length", "{told}");
    assert_eq!(told["usage"]["completion_tokens"], 10, "{told}");
    assert_eq!(newest(scene, agreement).completion, 10);
}

fn answers_match_a_schema(scene: &Scene) {
    let schema = json!({"type": "object", "additionalProperties": false, "required": ["city", "people"],
        "properties": {"city": {"type": "string", "maxLength": 12},
            "people": {"type": "integer", "minimum": 0, "maximum": 99}}});
    let format = json!({"type": "json_schema",
        "json_schema": {"name": "place", "strict": true, "schema": schema}});
    let more = json!({"response_format": format, "max_completion_tokens": 80});
    let told = ask(scene, &scene.zoe, "Name a city and how many live there.", &more).ok().json();
    let text = told["choices"][0]["message"]["content"].as_str().expect("text");
    let place: Value = serde_json::from_str(text).unwrap_or_else(|_| panic!("{told}"));
    assert!(place["city"].as_str().is_some_and(|city| city.len() <= 12), "{place}");
    assert!(place["people"].as_u64().is_some_and(|people| people <= 99), "{place}");
    assert_eq!(place.as_object().map(|members| members.len()), Some(2), "{place}");
    let unique = json!({"type": "array", "items": {"type": "integer"}, "uniqueItems": true});
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": unique}});
    let refused = ask(scene, &scene.zoe, "Count.", &json!({"response_format": format}));
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert!(refused.text().contains("uniqueItems"), "{}", refused.text());
}

fn a_suspension_forgets_beginnings(scene: &Scene, agreement: &Digest) {
    let zoe = (&scene.zoe, Actor::Consumer);
    scene.happen(zoe, agreement, Change::Suspend, Reason::Maintenance).ok();
    assert_eq!(france(scene, &json!({})).status, 403);
    scene.happen(zoe, agreement, Change::Resume, Reason::Routine).ok();
    for cached in [0, 32] {
        let told = france(scene, &json!({})).ok().json();
        assert_eq!(told["usage"]["prompt_tokens_details"]["cached_tokens"], cached);
        assert_eq!(told["choices"][0]["message"]["content"], ANSWER);
    }
}

fn whoever_leaves_pays_for_what_was_sent(scene: &Scene, agreement: &Digest) {
    let before = receipts(scene, &scene.zoe, agreement).len();
    let body = body("Tell me a long story.", &json!({"stream": true, "max_tokens": 400}));
    let body = body.to_string();
    let mut stream = TcpStream::connect(scene.host.address()).expect("it listens");
    let (key, length) = (&scene.zoe.api_key, body.len());
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all((head + &body).as_bytes()).expect("sent");
    let lines = BufReader::new(stream).lines().map(|line| line.expect("a line"));
    let deltas = lines.filter(|line| line.starts_with("data: ") && line.contains("\"content\""));
    // Dropping what is left of the response closes the connection.
    assert_eq!(deltas.take(4).count(), 4, "the role, and three pieces");
    let left = Instant::now();
    while receipts(scene, &scene.zoe, agreement).len() == before {
        assert!(left.elapsed() < SOON, "no receipt");
        std::thread::sleep(Duration::from_millis(20));
    }
    let spoken = newest(scene, agreement);
    assert!((3..400).contains(&spoken.completion), "{spoken:?}");
    assert!(spoken.prompt > 20, "{spoken:?}");
}

fn a_quota_of_tokens_is_never_exceeded(scene: &Scene) {
    let yan = scene.host.party("yan");
    let clauses = scene.clauses("complete", &["count lteq 150 token"]);
    let agreement = scene.agree(&scene.acme, &yan, clauses);
    let more = json!({"max_completion_tokens": 40});
    let replies: Vec<Reply> = std::thread::scope(|scope| {
        let turn = "Tell me a story.";
        let calls = (0..6).map(|_| scope.spawn(|| ask(scene, &yan, turn, &more)));
        let calls: Vec<_> = calls.collect();
        calls.into_iter().map(|call| call.join().expect("no panic")).collect()
    });
    let answered = replies.iter().filter(|reply| reply.status == 200).count();
    assert!(
        (1..6).contains(&answered),
        "{:?}",
        replies.iter().map(|r| r.text()).collect::<Vec<_>>()
    );
    let calls = receipts(scene, &yan, &agreement);
    let spoken = calls.iter().filter_map(|call| spoken(scene, &yan, call));
    let all: u64 = spoken.map(|spoken| spoken.prompt + spoken.completion).sum();
    assert!((1..=150).contains(&all), "{all}");
    let listed = scene.host.get("/api/agreements").bearer(&yan.api_key).send().ok().json();
    assert_eq!(listed["agreements"][0]["rules"][0]["tokens"], all, "{listed}");
}
