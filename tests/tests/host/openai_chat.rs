//! `/v1/chat/completions` with a model that exports version 0.2 of the interface: what it is asked,
//! and what clients see of tools, reasoning, log probabilities, several answers and refusals.

use std::process::Command;

use serde_json::{Value, json};
use system_tests::talk::{Talk, events};
use system_tests::{Reply, built, client, workspace};

/// Everything but what differs from call to call.
fn plain(mut value: Value) -> Value {
    for (name, prefix) in [("id", "chatcmpl-"), ("system_fingerprint", "fp_")] {
        assert!(value[name].as_str().is_some_and(|text| text.starts_with(prefix)), "{value}");
        value[name] = json!(prefix);
    }
    assert!(value["created"].as_i64().is_some_and(|created| created > 1_700_000_000), "{value}");
    assert_eq!(value["model"], Talk::MODEL);
    value["created"] = json!(0);
    value
}

/// The deltas of a stream with one answer, and why it ended.
fn deltas(reply: &Reply) -> (Vec<Value>, Value) {
    let choices: Vec<Value> = events(reply)
        .iter()
        .flat_map(|event| event["choices"].as_array().expect("choices").clone())
        .collect();
    let (last, deltas) = choices.split_last().expect("events");
    assert!(deltas.iter().all(|choice| choice["finish_reason"].is_null()));
    let deltas = deltas.iter().map(|choice| choice["delta"].clone()).collect();
    (deltas, last["finish_reason"].clone())
}

fn tools() -> Value {
    json!([{"type": "function", "function": {"name": "weather", "description": "Tells it.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}, "strict": true}}])
}

fn calling() -> Value {
    json!({"say": [
        {"reason": "Where?"}, {"call": ["c1", "weather"]}, {"arguments": "{\"city\":"}, {"arguments": "\"Bonn\"}"},
        {"call": ["", "weather"]}, {"arguments": "{}"},
    ]})
}

#[test]
fn a_chat_is_answered_as_clients_expect_it() {
    let talk = Talk::start();
    let whole = talk.chat(&json!("one two three"), &json!({})).ok();
    assert_eq!(
        plain(whole.json()),
        json!({
            "id": "chatcmpl-", "object": "chat.completion", "created": 0, "model": Talk::MODEL,
            "system_fingerprint": "fp_",
            "choices": [{"index": 0, "finish_reason": "stop", "logprobs": null,
                "message": {"role": "assistant", "content": "one two three", "refusal": null}}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6,
                "prompt_tokens_details": {"cached_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0}},
        })
    );
    let streaming = json!({"stream": true, "stream_options": {"include_usage": true}, "max_tokens": 1,
        "max_completion_tokens": 2});
    let stream = talk.chat(&json!("one two three"), &streaming).ok();
    assert!(stream.text().ends_with("data: [DONE]\n\n"));
    let chunk = |choices: Value, usage: Value| {
        json!({"id": "chatcmpl-", "object": "chat.completion.chunk", "created": 0, "model": Talk::MODEL,
            "system_fingerprint": "fp_", "choices": choices, "usage": usage})
    };
    let choice = |delta: Value, finish: Value| json!([{"index": 0, "delta": delta, "finish_reason": finish}]);
    let usage = json!({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0}});
    assert_eq!(
        events(&stream).into_iter().map(plain).collect::<Vec<_>>(),
        [
            chunk(choice(json!({"role": "assistant", "content": ""}), Value::Null), Value::Null),
            chunk(choice(json!({"content": "one"}), Value::Null), Value::Null),
            chunk(choice(json!({"content": " two"}), Value::Null), Value::Null),
            chunk(choice(json!({}), json!("length")), Value::Null),
            chunk(json!([]), usage),
        ]
    );
}

#[test]
fn calls_of_tools_come_whole_and_in_pieces() {
    let talk = Talk::start();
    let whole = talk.chat(&calling(), &json!({"tools": tools()})).ok().json();
    let choice = &whole["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    let message = &choice["message"];
    assert_eq!(
        (&message["content"], &message["reasoning_content"]),
        (&Value::Null, &json!("Where?"))
    );
    let first = json!({"id": "c1", "type": "function",
        "function": {"name": "weather", "arguments": "{\"city\":\"Bonn\"}"}});
    assert_eq!(message["tool_calls"][0], first);
    // The host completes ids that are missing.
    let id = message["tool_calls"][1]["id"].as_str().expect("an id");
    assert!(id.starts_with("call_") && id.ends_with("_0_1"), "{id}");
    assert_eq!(whole["usage"]["completion_tokens_details"]["reasoning_tokens"], 1);

    let stream = talk.chat(&calling(), &json!({"tools": tools(), "stream": true})).ok();
    let (mut deltas, finish) = deltas(&stream);
    assert_eq!(finish, "tool_calls");
    let id = deltas[5]["tool_calls"][0]["id"].take();
    assert!(id.as_str().is_some_and(|id| id.starts_with("call_")), "{id}");
    // Name and id come once, before the arguments: clients put pieces together by concatenation.
    assert_eq!(
        deltas,
        [
            json!({"role": "assistant", "content": ""}),
            json!({"reasoning_content": "Where?"}),
            json!({"tool_calls": [{"index": 0, "id": "c1", "type": "function",
                "function": {"name": "weather", "arguments": ""}}]}),
            json!({"tool_calls": [{"index": 0, "function": {"arguments": "{\"city\":"}}]}),
            json!({"tool_calls": [{"index": 0, "function": {"arguments": "\"Bonn\"}"}}]}),
            json!({"tool_calls": [{"index": 1, "id": null, "type": "function",
                "function": {"name": "weather", "arguments": ""}}]}),
            json!({"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]}),
        ]
    );
}

/// The text of an answer that shows the request.
fn shown(reply: Reply) -> Value {
    let answer = reply.ok().json();
    let text = answer["choices"][0]["message"]["content"].as_str().expect("text");
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn the_model_gets_every_turn_and_every_option() {
    let talk = Talk::start();
    let call = json!({"id": "c1", "type": "function", "index": 0,
        "function": {"name": "weather", "arguments": "{}"}});
    let nameless =
        json!({"id": null, "type": "function", "function": {"name": "weather", "arguments": "{}"}});
    let body = json!({
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "name": "ann"},
            {"role": "assistant", "content": null, "reasoning_content": "Hm.", "tool_calls": [call, nameless]},
            {"role": "tool", "content": "42", "tool_call_id": "c1"},
            {"role": "tool", "content": "43", "tool_call_id": null},
            {"role": "user", "content": "{\"show\": true}"},
        ],
        "tools": tools(), "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "parallel_tool_calls": false, "temperature": 1.5, "top_p": 0.5, "top_k": 40, "min_p": 0.25,
        "frequency_penalty": 0.5, "presence_penalty": -1, "stop": ["x", "y"], "seed": -7, "logit_bias": {"7": -100, "3": 2.5},
        "max_tokens": 9, "reasoning_effort": "high", "chat_template_kwargs": {"thinking": false},
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}, "strict": true}},
    });
    let shown = shown(talk.post("/v1/chat/completions", &body));
    let turn = |role: &str, content: &str| {
        json!({"role": role, "content": content, "reasoning": null,
            "tool-calls": [], "tool-call-id": null, "name": null})
    };
    let mut turns = [
        turn("Role::System", "Be brief."),
        turn("Role::User", "ab"),
        turn("Role::Assistant", ""),
        turn("Role::Tool", "42"),
        turn("Role::Tool", "43"),
        turn("Role::User", "{\"show\": true}"),
    ];
    turns[1]["name"] = json!("ann");
    turns[2]["reasoning"] = json!("Hm.");
    turns[2]["tool-calls"] = json!([["c1", "weather", "{}"], ["", "weather", "{}"]]);
    turns[3]["tool-call-id"] = json!("c1");
    assert_eq!(shown["messages"], json!(turns));
    let parameters = shown["tools"][0][2].as_str().expect("a schema");
    let parameters: Value = serde_json::from_str(parameters).expect("JSON");
    assert_eq!(parameters, tools()[0]["function"]["parameters"]);
    assert_eq!((&shown["tools"][0][0], &shown["tools"][0][3]), (&json!("weather"), &json!(true)));
    for (name, value) in [
        ("max-tokens", json!(9)),
        ("temperature", json!(1.5)),
        ("top-p", json!(0.5)),
        ("top-k", json!(40)),
        ("min-p", json!(0.25)),
        ("frequency-penalty", json!(0.5)),
        ("presence-penalty", json!(-1.0)),
        ("stop", json!(["x", "y"])),
        ("seed", json!(-7)),
        ("logit-bias", json!([[3, 2.5], [7, -100.0]])),
        ("logprobs", Value::Null),
        ("choices", json!(1)),
        ("parallel-tool-calls", json!(false)),
        ("reasoning-effort", json!("high")),
        ("template-values", json!("{\"thinking\":false}")),
    ] {
        assert_eq!(shown[name], value, "{name}");
    }
    let word = |name: &str| shown[name].as_str().expect("text").to_owned();
    assert!(word("tool-choice").contains("Named(\"weather\")"), "{}", word("tool-choice"));
    let format = word("format");
    assert!(format.contains("JsonSchema") && format.contains("strict: true"), "{format}");
}

#[test]
fn log_probabilities_come_with_their_bytes() {
    let talk = Talk::start();
    let wanted = json!({"logprobs": true, "top_logprobs": 2});
    let whole = talk.chat(&json!("ä b"), &wanted).ok().json();
    let tokens = &whole["choices"][0]["logprobs"]["content"];
    assert_eq!(
        tokens[0],
        json!({"token": "ä", "logprob": -2.0, "bytes": [195, 164], "top_logprobs": [
            {"token": "ä0", "logprob": -3.0, "bytes": [195, 164, 48]},
            {"token": "ä1", "logprob": -3.0, "bytes": [195, 164, 49]},
        ]})
    );
    assert_eq!(tokens[1]["token"], " b");
    let stream = talk.chat(&json!("ä b"), &json!({"logprobs": true, "stream": true})).ok();
    let events = events(&stream);
    let token = &events[1]["choices"][0]["logprobs"]["content"][0];
    assert_eq!((&token["token"], &token["top_logprobs"]), (&json!("ä"), &json!([])));
}

#[test]
fn several_answers_have_their_numbers() {
    let talk = Talk::start();
    let whole = talk.chat(&json!("a b"), &json!({"n": 3})).ok().json();
    let choices = whole["choices"].as_array().expect("choices").iter();
    let said: Vec<_> =
        choices.map(|choice| (&choice["index"], &choice["message"]["content"])).collect();
    assert_eq!(
        said,
        [(&json!(0), &json!("a b")), (&json!(1), &json!("a b #1")), (&json!(2), &json!("a b #2"))]
    );
    let stream = events(&talk.chat(&json!("a"), &json!({"n": 2, "stream": true})).ok());
    let roles = stream.iter().filter(|event| event["choices"][0]["delta"]["role"] == "assistant");
    assert_eq!(roles.count(), 2);
    let ended = stream.iter().filter(|event| event["choices"][0]["finish_reason"] == "stop");
    let ended: Vec<_> = ended.map(|event| event["choices"][0]["index"].clone()).collect();
    assert_eq!(ended, [0, 1]);
}

#[test]
fn what_is_wrong_is_refused_by_its_name_before_the_model_runs() {
    let talk = Talk::start();
    let name = |name: &str| json!([{"type": "function", "function": {"name": name}}]);
    for (member, value) in [
        ("n", json!(0)),
        ("n", json!(9)),
        ("temperature", json!(2.1)),
        ("temperature", json!(-0.1)),
        ("top_p", json!(1.5)),
        ("min_p", json!(-1)),
        ("top_k", json!(-1)),
        ("frequency_penalty", json!(3)),
        ("presence_penalty", json!("a")),
        ("logit_bias", json!({"a": 1})),
        ("logit_bias", json!({"1": 101})),
        ("stop", json!(["a", "b", "c", "d", "e"])),
        ("top_logprobs", json!(3)),
        ("top_logprobs", json!(21)),
        ("logprobs", json!(3)),
        ("tools", json!([{"type": "web_search"}])),
        ("tools", name("a b")),
        ("tools", json!([name("f")[0], name("f")[0]])),
        ("tools", json!([{"type": "function", "function": {"name": "f", "parameters": 7}}])),
        ("tools", json!([{"type": "function", "function": {"name": "f", "other": 7}}])),
        ("tool_choice", json!("required")),
        ("tool_choice", json!("some")),
        ("tool_choice", json!({"type": "function", "function": {"name": "g"}})),
        ("response_format", json!({"type": "xml"})),
        ("response_format", json!({"type": "json_object", "schema": {}})),
        ("response_format", json!({"type": "json_schema", "json_schema": {"schema": {}}})),
        (
            "response_format",
            json!({"type": "json_schema", "json_schema": {"name": "s", "schema": 7}}),
        ),
        ("reasoning_effort", json!("VERY")),
        ("chat_template_kwargs", json!([])),
        ("functions", json!([{"name": "f"}])),
        ("store", json!(true)),
        ("modalities", json!(["audio"])),
        ("verbosity", json!("low")),
        ("other", json!(1)),
    ] {
        let refused = talk.chat(&json!("a"), &json!({ member: value }));
        assert_eq!(refused.status, 400, "{member} {value}: {}", refused.text());
        assert_eq!(refused.header("hospes-receipt"), None, "{member}");
        let error = refused.json()["error"].clone();
        assert_eq!(error["param"], member, "{value}: {error}");
        assert!(
            error["message"].as_str().expect("text").contains(&format!("`{member}`")),
            "{error}"
        );
    }
}

#[test]
fn the_model_s_own_refusals_have_openai_s_codes() {
    let talk = Talk::start();
    let refuse = |code: &str, stream: bool| {
        let refusal = json!({"code": code, "message": "no", "param": "messages"}).to_string();
        talk.chat(&json!({"refuse": refusal}), &json!({"stream": stream}))
    };
    for (code, status, class, seen) in [
        ("context_length_exceeded", 400, "invalid_request_error", "context_length_exceeded"),
        ("unsupported", 400, "invalid_request_error", "unsupported"),
        ("invalid", 400, "invalid_request_error", "invalid-request"),
        ("tokens_spent", 429, "rate_limit_error", "limit-reached"),
        ("busy", 503, "api_error", "busy"),
        ("deadline", 504, "api_error", "plugin-deadline"),
        ("other", 422, "invalid_request_error", "plugin-refused"),
    ] {
        for stream in [false, true] {
            let refused = refuse(code, stream);
            assert_eq!(refused.status, status, "{code}: {}", refused.text());
            // The model has decided it, so the call is counted.
            assert!(refused.header("hospes-receipt").is_some(), "{code}");
            let error = refused.json()["error"].clone();
            assert_eq!((&error["type"], &error["code"]), (&json!(class), &json!(seen)), "{error}");
            if status == 400 {
                assert_eq!(error["param"], "messages", "{error}");
            }
        }
    }
    assert!(refuse("busy", false).header("retry-after").is_some());
}

#[test]
fn a_stream_that_fails_midway_says_so_in_its_last_event() {
    let talk = Talk::start();
    let script = json!({"say": [{"text": "a"}, {"fall": true}]});
    let fallen = talk.chat(&script, &json!({"stream": true})).ok();
    assert!(!fallen.text().contains("[DONE]"));
    let events = events(&fallen);
    assert_eq!(events[1]["choices"][0]["delta"]["content"], "a");
    assert_eq!(events.last().expect("events")["error"]["code"], "plugin-failed");
    // A plugin that goes on in another answer, or does not end one, has no answer.
    for script in [
        json!({"say": [{"text": "a"}, {"choice": 1}, {"text": "b"}]}),
        json!({"say": [{"text": "a"}, {"finish": "never"}]}),
    ] {
        let wrong = talk.chat(&script, &json!({}));
        assert_eq!((wrong.status, &wrong.json()["error"]["code"]), (502, &json!("output-refused")));
    }
}

#[test]
fn an_endless_answer_ends_at_the_host_s_limit_even_if_it_is_not_streamed() {
    let talk = Talk::start();
    let endless = talk.chat(&json!({"say": [{"forever": true}]}), &json!({}));
    assert!(matches!(endless.status, 502 | 504), "{}", endless.text());
}

#[test]
fn the_official_client_for_python_uses_all_of_it() {
    let talk = Talk::start();
    let address = talk.host.address().to_string();
    assert!(client("openai_chat.py", &[&address, &talk.zoe.api_key]).ends_with("ok\n"));
}

#[test]
fn langchain_puts_the_pieces_together() {
    let talk = Talk::start();
    let address = talk.host.address().to_string();
    assert!(client("langchain_chat.py", &[&address, &talk.zoe.api_key]).ends_with("ok\n"));
}

/// Runs a client in JavaScript, which ends with `ok`.
fn runs(script: &str) {
    let talk = Talk::start();
    let output = Command::new("node")
        .arg(workspace().join("tests/clients").join(script))
        .arg(built("clients"))
        .args([&talk.host.address().to_string(), &talk.zoe.api_key])
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.ends_with("ok\n"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_official_client_for_javascript_uses_all_of_it() {
    runs("openai_node.mjs");
}

#[test]
fn a_person_talks_to_a_model_on_its_page_in_a_browser() {
    runs("chat.mjs");
}

/// What LiteLLM and Open WebUI send, as they write it.
#[test]
fn the_requests_of_proxies_and_of_chat_programs_are_answered() {
    let talk = Talk::start();
    let proxy = json!({
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "assistant", "content": "", "function_call": null, "tool_calls": [
                {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}],
             "provider_specific_fields": null},
            {"role": "tool", "name": "weather", "tool_call_id": "call_1", "content": "rain"},
            {"role": "user", "content": [{"type": "text", "text": "thanks", "cache_control": {"type": "ephemeral"}}]},
        ],
        "tools": tools(), "tool_choice": "auto", "max_tokens": 50, "temperature": 0.0, "top_p": 1, "n": 1,
        "response_format": null, "stream": true, "stream_options": {"include_usage": true}, "user": "u",
    });
    let stream = talk.post("/v1/chat/completions", &proxy).ok();
    let events = events(&stream);
    assert_eq!(events[1]["choices"][0]["delta"]["content"], "thanks");
    assert_eq!(events.last().expect("events")["usage"]["completion_tokens"], 1);
    let program = json!({"query": "a", "documents": ["b", "a"], "top_n": 3});
    let ranked = talk.post("/v1/rerank", &program).ok().json();
    assert_eq!(ranked["results"][0]["index"], 1);
}
