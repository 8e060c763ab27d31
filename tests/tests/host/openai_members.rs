//! Each member of a request to the OpenAI endpoints is read, ignored because it has no effect, or
//! rejected by name. None is dropped silently, and `null` means that it is absent.

use serde_json::{Value, json};
use system_tests::{Party, Reply, TestHost, client, plugin, terms};

struct Scene {
    host: TestHost,
    zoe: Party,
}

fn scene() -> Scene {
    let host = TestHost::start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    for (name, function) in [("semantic-search", "embed"), ("parrot", "complete")] {
        let published = host.publish(&acme, &plugin(name));
        host.agree(&acme, &zoe, &published, vec![terms(function)]);
    }
    Scene { host, zoe }
}

const CHAT: &str = "/v1/chat/completions";
const COMPLETION: &str = "/v1/completions";
const EMBEDDINGS: &str = "/v1/embeddings";

impl Scene {
    fn post(&self, path: &str, body: &Value) -> Reply {
        self.host.post(path).bearer(&self.zoe.api_key).json(&body.to_string()).send()
    }

    /// A valid request to this endpoint, plus these members.
    fn with(&self, path: &str, more: &Value) -> Reply {
        let mut body = match path {
            CHAT => {
                json!({"model": "acme/parrot", "messages": [{"role": "user", "content": "a b c"}]})
            }
            COMPLETION => json!({"model": "acme/parrot", "prompt": "a b c"}),
            _ => json!({"model": "acme/semantic-search", "input": "a cat"}),
        };
        for (name, value) in more.as_object().expect("members") {
            body[name] = value.clone();
        }
        self.post(path, &body)
    }

    #[track_caller]
    fn refuses(&self, path: &str, more: &Value, member: &str) {
        let refused = self.with(path, more);
        assert_eq!(refused.status, 400, "{path} {more}: {}", refused.text());
        let error = refused.json()["error"].clone();
        assert_eq!(error["type"], "invalid_request_error", "{error}");
        assert_eq!(error["param"], member, "{error}");
        let message = error["message"].as_str().expect("text");
        assert!(
            message.contains(&format!("`{member}`")) || message.contains("content"),
            "{message}"
        );
    }
}

fn text(reply: Reply) -> String {
    let answer = reply.ok().json();
    let choice = &answer["choices"][0];
    choice["message"]["content"].as_str().or(choice["text"].as_str()).expect("text").to_owned()
}

/// LiteLLM and Dify send `"encoding_format": null`, and other clients send every member that they
/// know.
#[test]
fn null_is_as_if_nothing_had_been_said() {
    let scene = scene();
    for member in ["encoding_format", "dimensions", "user"] {
        scene.with(EMBEDDINGS, &json!({ member: null })).ok();
    }
    let common = [
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "stop",
        "seed",
        "n",
        "frequency_penalty",
        "presence_penalty",
        "logit_bias",
        "store",
        "user",
        "metadata",
        "service_tier",
        "logprobs",
    ];
    let chat = [
        "audio",
        "function_call",
        "functions",
        "modalities",
        "reasoning_effort",
        "response_format",
        "tool_choice",
        "tools",
        "top_logprobs",
        "verbosity",
        "web_search_options",
        "parallel_tool_calls",
        "prediction",
    ];
    for member in common.iter().chain(&chat) {
        assert_eq!(text(scene.with(CHAT, &json!({ *member: null }))), "a b c", "{member}");
    }
    for member in common.iter().chain(&["best_of", "echo", "suffix"]) {
        assert_eq!(text(scene.with(COMPLETION, &json!({ *member: null }))), "a b c", "{member}");
    }
    // Nested members may be `null`, too: clients send back responses with all members.
    let nested = json!({"stream": true, "stream_options": {"include_usage": null, "include_obfuscation": null}});
    assert!(scene.with(CHAT, &nested).ok().text().ends_with("data: [DONE]\n\n"));
    let turns = json!({"messages": [
        {"role": "user", "content": "hello", "name": null},
        {"role": "assistant", "content": "x", "refusal": null, "audio": null, "function_call": null, "tool_calls": null,
         "annotations": []},
        {"role": "user", "content": [{"type": "text", "text": "y", "image_url": null}]},
    ]});
    assert_eq!(text(scene.with(CHAT, &turns)), "y");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table with one member per row")]
fn what_would_change_the_answer_is_refused_by_its_name() {
    let scene = scene();
    let both = [
        ("logit_bias", json!({"50256": -100})),
        ("n", json!(2)),
        ("n", json!(0)),
        ("frequency_penalty", json!(0.5)),
        ("presence_penalty", json!(-1)),
        ("logprobs", json!(true)),
        ("store", json!(true)),
        ("top_k", json!(40)),
        ("repetition_penalty", json!(1.1)),
    ];
    for (member, value) in &both {
        scene.refuses(CHAT, &json!({ *member: value }), member);
        scene.refuses(COMPLETION, &json!({ *member: value }), member);
    }
    for (member, value) in [
        ("top_logprobs", json!(3)),
        ("tool_choice", json!("required")),
        ("tool_choice", json!({"type": "function", "function": {"name": "f"}})),
        ("tools", json!([{"type": "function", "function": {"name": "f"}}])),
        ("functions", json!([{"name": "f"}])),
        ("function_call", json!({"name": "f"})),
        ("modalities", json!(["text", "audio"])),
        ("audio", json!({"voice": "alloy", "format": "wav"})),
        ("response_format", json!({"type": "json_object"})),
        ("response_format", json!({"type": "json_schema", "json_schema": {}})),
        ("reasoning_effort", json!("high")),
        ("verbosity", json!("low")),
        ("web_search_options", json!({})),
        ("best_of", json!(1)),
        ("prompt", json!("x")),
    ] {
        scene.refuses(CHAT, &json!({ member: value }), member);
    }
    for (member, value) in [
        ("best_of", json!(2)),
        ("echo", json!(true)),
        ("suffix", json!("end")),
        ("logprobs", json!(1)),
        ("tools", json!([])),
        ("messages", json!([])),
    ] {
        scene.refuses(COMPLETION, &json!({ member: value }), member);
    }
    for (member, value) in [
        ("dimensions", json!(7)),
        ("encoding_format", json!("hex")),
        ("input_type", json!("query")),
    ] {
        scene.refuses(EMBEDDINGS, &json!({ member: value }), member);
    }
    // Members of messages, too.
    let call =
        json!([{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
    for (member, turn) in [
        ("tool_calls", json!({"role": "assistant", "content": null, "tool_calls": call})),
        ("function_call", json!({"role": "assistant", "function_call": {"name": "f"}})),
        ("audio", json!({"role": "assistant", "audio": {"id": "a"}})),
        ("refusal", json!({"role": "assistant", "refusal": "no"})),
        ("name", json!({"role": "user", "content": "x", "name": "ann"})),
        ("weight", json!({"role": "user", "content": "x", "weight": 1})),
        (
            "content",
            json!({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}),
        ),
        ("content", json!({"role": "user", "content": 7})),
    ] {
        let message = scene.with(CHAT, &json!({"messages": [turn]}));
        assert!(message.text().contains("/messages/0"), "{}", message.text());
        scene.refuses(CHAT, &json!({"messages": [turn]}), member);
    }
    scene.refuses(CHAT, &json!({"stream_options": {"other": 1}}), "other");
}

#[test]
fn what_changes_no_answer_is_ignored() {
    let scene = scene();
    let harmless = json!({
        "user": "u", "metadata": {"a": "b"}, "store": false, "service_tier": "auto", "safety_identifier": "s",
        "prompt_cache_key": "k", "prompt_cache_retention": "24h", "n": 1, "frequency_penalty": 0, "presence_penalty": 0.0,
        "logit_bias": {}, "logprobs": false, "stop": [], "seed": 7,
    });
    assert_eq!(text(scene.with(CHAT, &harmless)), "a b c");
    assert_eq!(text(scene.with(COMPLETION, &harmless)), "a b c");
    let chat = json!({
        "tools": [], "functions": [], "tool_choice": "auto", "function_call": "none", "parallel_tool_calls": true,
        "modalities": ["text"], "response_format": {"type": "text"}, "top_logprobs": 0, "reasoning_effort": "none",
        "verbosity": "medium", "prediction": {"type": "content", "content": "a b"},
    });
    assert_eq!(text(scene.with(CHAT, &chat)), "a b c");
    assert_eq!(
        text(scene.with(COMPLETION, &json!({"best_of": 1, "echo": false, "suffix": ""}))),
        "a b c"
    );
    scene.with(EMBEDDINGS, &json!({"user": "u", "encoding_format": "float"})).ok();
    let tool = json!({"messages": [{"role": "tool", "content": "42", "tool_call_id": "c"}]});
    assert_eq!(text(scene.with(CHAT, &tool)), "42");
}

/// LangChain's `OpenAI` always sends a list.
#[test]
fn a_prompt_may_be_a_list_of_one_text() {
    let scene = scene();
    assert_eq!(text(scene.with(COMPLETION, &json!({"prompt": ["x y"]}))), "x y");
    for several in [
        json!(["a", "b"]),
        json!([]),
        json!([1, 2]),
        json!([[1, 2]]),
        json!(7),
        json!([null]),
        json!({}),
    ] {
        scene.refuses(COMPLETION, &json!({ "prompt": several }), "prompt");
    }
    let tokens = scene.with(COMPLETION, &json!({"prompt": [1, 2]})).text();
    assert!(tokens.contains("tokens of another tokenizer"), "{tokens}");
    let several = scene.with(COMPLETION, &json!({"prompt": ["a", "b"]})).text();
    assert!(several.contains("a request for each"), "{several}");
}

#[test]
fn minus_one_token_means_no_limit() {
    let scene = scene();
    for member in ["max_tokens", "max_completion_tokens"] {
        assert_eq!(text(scene.with(CHAT, &json!({ member: -1 }))), "a b c");
        assert_eq!(text(scene.with(COMPLETION, &json!({ member: -1 }))), "a b c");
        assert_eq!(text(scene.with(CHAT, &json!({ member: 2 }))), "a b");
        for wrong in [json!(-2), json!(4_294_967_296_u64), json!(1.5), json!("7")] {
            scene.refuses(CHAT, &json!({ member: wrong }), member);
        }
    }
}

#[test]
fn tokens_in_place_of_texts_are_refused_and_it_is_said_why() {
    let scene = scene();
    for tokens in [json!([1, 2]), json!([[1, 2]]), json!(7)] {
        let refused = scene.with(EMBEDDINGS, &json!({ "input": tokens }));
        assert_eq!(refused.status, 400);
        assert!(refused.text().contains("tokens of another tokenizer"), "{}", refused.text());
    }
    for wrong in [json!(null), json!({}), json!([null]), json!([{}]), json!(true)] {
        scene.refuses(EMBEDDINGS, &json!({ "input": wrong }), "input");
    }
}

#[test]
fn a_request_that_is_no_object_of_json_is_refused() {
    let scene = scene();
    for path in [CHAT, COMPLETION, EMBEDDINGS] {
        for body in [
            "",
            "[]",
            "null",
            "{",
            "{} {}",
            "\"x\"",
            "{\"model\":\"acme/parrot\",\"model\":\"acme/parrot\"}",
        ] {
            let refused = scene.host.post(path).bearer(&scene.zoe.api_key).json(body).send();
            assert_eq!(refused.status, 400, "{path} {body}: {}", refused.text());
            assert_eq!(refused.json()["error"]["type"], "invalid_request_error", "{path} {body}");
        }
    }
}

#[test]
fn the_official_client_sends_what_it_likes_and_gets_an_answer_or_a_name() {
    let scene = scene();
    let address = scene.host.address().to_string();
    assert!(client("openai_members.py", &[&address, &scene.zoe.api_key]).ends_with("ok\n"));
}
