//! `/v1/completions`, `/v1/rerank` and `/v1/models` with a model that exports version 0.2 of the
//! interfaces.

use serde_json::{Value, json};
use system_tests::Reply;
use system_tests::talk::{Talk, events};

fn complete(talk: &Talk, body: &Value) -> Reply {
    talk.post("/v1/completions", body)
}

fn texts(answer: &Value) -> Vec<String> {
    let choices = answer["choices"].as_array().expect("choices").iter();
    choices.map(|choice| choice["text"].as_str().expect("text").to_owned()).collect()
}

#[test]
fn prompts_are_texts_tokens_and_lists_of_them() {
    let talk = Talk::start();
    for (prompt, said) in [
        (json!("a b"), vec!["a b"]),
        (json!(["a b"]), vec!["a b"]),
        (json!(["a", "b"]), vec!["a", "b"]),
        (json!([1, 20]), vec!["<1> <20>"]),
        (json!([[1], [2, 3]]), vec!["<1>", "<2> <3>"]),
        (json!(["a", [7]]), vec!["a", "<7>"]),
    ] {
        let answer = complete(&talk, &json!({"prompt": prompt})).ok().json();
        assert_eq!(texts(&answer), said, "{prompt}");
        assert_eq!(answer["object"], "text_completion");
    }
    // One call serves them all: every prompt has its answers, in their order.
    let several = complete(&talk, &json!({"prompt": ["a", "b"], "n": 2})).ok();
    assert_eq!(texts(&several.json()), ["a", "a #1", "b", "b #1"]);
    assert!(several.header("hospes-receipt").is_some());
    for wrong in [
        json!([]),
        json!([null]),
        json!([-1]),
        json!([1, "a"]),
        json!([[1], [2.5]]),
        json!({}),
        json!(7),
    ] {
        let refused = complete(&talk, &json!({"prompt": wrong}));
        assert_eq!(
            (refused.status, &refused.json()["error"]["param"]),
            (400, &json!("prompt")),
            "{wrong}"
        );
    }
    let many = complete(&talk, &json!({"prompt": vec!["a"; 65], "n": 2}));
    assert!(many.text().contains("130 answers"), "{}", many.text());
}

#[test]
fn answers_begin_with_their_prompts_if_they_should() {
    let talk = Talk::start();
    let body = json!({"prompt": ["a b", "c"], "echo": true, "max_tokens": 1});
    assert_eq!(texts(&complete(&talk, &body).ok().json()), ["a ba", "cc"]);
    let stream = json!({"prompt": "a b", "echo": true, "max_tokens": 1, "stream": true});
    let events = events(&complete(&talk, &stream).ok());
    let said: Vec<_> = events.iter().map(|event| event["choices"][0]["text"].clone()).collect();
    assert_eq!(said, ["a b", "a", ""]);
    assert_eq!(events[2]["choices"][0]["finish_reason"], "length");
    for (member, more) in [
        ("echo", json!({"prompt": [1]})),
        ("echo", json!({"prompt": "a", "logprobs": 1})),
        ("suffix", json!({"prompt": "a", "suffix": "z"})),
        ("best_of", json!({"prompt": "a", "best_of": 2})),
        ("logprobs", json!({"prompt": "a", "logprobs": 6})),
        ("logprobs", json!({"prompt": "a", "logprobs": true})),
    ] {
        let mut body = more.clone();
        body["echo"] = json!(member == "echo");
        let refused = complete(&talk, &body);
        assert_eq!(
            (refused.status, &refused.json()["error"]["param"]),
            (400, &json!(member)),
            "{more}"
        );
    }
}

#[test]
fn log_probabilities_have_the_shape_of_completions() {
    let talk = Talk::start();
    let answer = complete(&talk, &json!({"prompt": "ä b", "logprobs": 1})).ok().json();
    assert_eq!(
        answer["choices"][0]["logprobs"],
        json!({"tokens": ["ä", " b"], "token_logprobs": [-2.0, -2.0], "text_offset": [0, 1],
            "top_logprobs": [{"ä0": -3.0}, {" b0": -3.0}]})
    );
    let stream = complete(&talk, &json!({"prompt": "ä b", "logprobs": 0, "stream": true})).ok();
    let events = events(&stream);
    assert_eq!(events[1]["choices"][0]["logprobs"]["text_offset"], json!([1]));
    assert_eq!(events[1]["choices"][0]["logprobs"]["top_logprobs"], json!([{}]));
}

#[test]
fn documents_are_ordered_by_their_scores() {
    let talk = Talk::start();
    let documents = json!(["nothing", {"text": "the red house"}, "red"]);
    let body = json!({"query": "red house", "documents": documents});
    let mut ranked = talk.post("/v1/rerank", &body).ok().json();
    let id = ranked["id"].take();
    assert!(id.as_str().is_some_and(|id| id.starts_with("rerank-")), "{id}");
    assert_eq!(
        ranked,
        json!({"id": null, "object": "list", "model": Talk::MODEL,
            "results": [
                {"index": 1, "relevance_score": 1.0},
                {"index": 2, "relevance_score": 0.5},
                {"index": 0, "relevance_score": 0.0},
            ],
            "usage": {"prompt_tokens": 7, "total_tokens": 7}})
    );
    let mut best = body.clone();
    (best["top_n"], best["return_documents"]) = (json!(1), json!(true));
    let best = talk.post("/v1/rerank", &best).ok().json();
    assert_eq!(
        best["results"],
        json!([{"index": 1, "relevance_score": 1.0, "document": {"text": "the red house"}}])
    );
    for (member, value) in [
        ("documents", json!([])),
        ("documents", json!("a")),
        ("documents", json!([7])),
        ("documents", json!([{"image": "x"}])),
        ("documents", json!(vec!["a"; 2049])),
        ("query", Value::Null),
        ("top_n", json!(0)),
        ("truncation", json!(true)),
        ("max_tokens_per_doc", json!(5)),
        ("other", json!(5)),
    ] {
        let mut body = body.clone();
        body[member] = value.clone();
        let refused = talk.post("/v1/rerank", &body);
        let param = refused.json()["error"]["param"].clone();
        assert_eq!((refused.status, param), (400, json!(member)), "{value}");
    }
    let refusal = json!({"code": "invalid", "message": "no", "param": "query"}).to_string();
    let query = json!({"refuse": refusal}).to_string();
    let refused = talk.post("/v1/rerank", &json!({"query": query, "documents": ["a"]}));
    assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!("query")));
}

#[test]
fn models_are_listed_with_the_time_of_their_publication() {
    let talk = Talk::start();
    let listed = talk.host.get("/v1/models").bearer(&talk.zoe.api_key).send().ok().json();
    let model = &listed["data"][0];
    assert_eq!((&model["id"], &model["owned_by"]), (&json!(Talk::MODEL), &json!("acme")));
    let created = model["created"].as_i64().expect("a time");
    assert!(created > 1_700_000_000, "{created}");
    // The same bytes again are the same publication.
    talk.host.publish(&talk.acme, &system_tests::plugin("parrot-next"));
    let path = format!("/v1/models/{}", Talk::MODEL);
    let again = talk.host.get(&path).bearer(&talk.zoe.api_key).send().ok().json();
    assert_eq!(again["created"], created);
}

#[test]
fn the_page_to_talk_to_a_model_asks_nobody_else() {
    let talk = Talk::start();
    let page = talk.host.get("/acme/parrot-next/docs/chat").send().ok();
    let policy = page.header("content-security-policy").expect("a policy").to_owned();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let text = page.text();
    for name in ["chat.js", "chat.css"] {
        assert!(text.contains(&format!("../../../api/docs/{name}")), "{name}");
        talk.host.get(&format!("/api/docs/{name}")).send().ok();
    }
    assert!(!text.contains("http:") && !text.contains("https:"), "{text}");
}
