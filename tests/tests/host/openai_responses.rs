//! `/v1/responses`, as Codex and OpenAI's Agents SDK call it.

use serde_json::{Value, json};
use system_tests::talk::{Talk, events};
use system_tests::{Reply, plugin, terms};

fn respond(talk: &Talk, body: &Value) -> Reply {
    talk.post("/v1/responses", body)
}

/// A request whose last turn is this script.
fn script(script: &Value, more: &Value) -> Value {
    let mut body = json!({"input": script.to_string()});
    for (name, value) in more.as_object().expect("members") {
        body[name] = value.clone();
    }
    body
}

fn tools() -> Value {
    json!([
        {"type": "function", "name": "weather", "description": "Tells it.", "parameters": {"type": "object"}, "strict": false},
        {"type": "web_search"}, {"type": "local_shell"},
        {"type": "custom", "name": "apply_patch", "format": {"type": "grammar"}},
    ])
}

#[test]
fn a_response_has_what_was_asked_and_what_was_answered() {
    let talk = Talk::start();
    let body = json!({"input": "one two", "instructions": "Be brief.", "store": true, "metadata": {"a": "b"},
        "max_output_tokens": 1, "temperature": 0.5});
    let mut response = respond(&talk, &body).ok().json();
    let id = response["id"].take();
    let call = id.as_str().and_then(|id| id.strip_prefix("resp_")).expect("an id").to_owned();
    assert!(response["created_at"].take().as_i64().is_some());
    assert_eq!(
        response,
        json!({
            "id": null, "object": "response", "created_at": null, "model": Talk::MODEL, "status": "incomplete",
            "background": false, "error": null, "incomplete_details": {"reason": "max_output_tokens"},
            "instructions": "Be brief.", "max_output_tokens": 1, "metadata": {"a": "b"},
            "output": [{"type": "message", "id": format!("msg_{call}_0"), "status": "incomplete", "role": "assistant",
                "content": [{"type": "output_text", "text": "one", "annotations": [], "logprobs": []}]}],
            "parallel_tool_calls": true, "previous_response_id": null, "reasoning": {"effort": null, "summary": null},
            // Nothing is stored, whatever was asked.
            "store": false, "temperature": 0.5, "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [],
            "top_logprobs": 0, "top_p": null, "truncation": "disabled",
            "usage": {"input_tokens": 4, "input_tokens_details": {"cached_tokens": 2}, "output_tokens": 1,
                "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 5},
        })
    );
}

#[test]
fn the_events_of_a_stream_have_their_types_and_their_numbers() {
    let talk = Talk::start();
    let said = json!({"say": [{"reason": "Hm"}, {"reason": "."}, {"text": "So"}, {"text": "!"},
        {"call": ["c1", "weather"]}, {"arguments": "{"}, {"arguments": "}"}]});
    let stream = respond(&talk, &script(&said, &json!({"stream": true, "tools": tools()}))).ok();
    for event in stream.text().split("\n\n").filter(|event| !event.is_empty()) {
        let (name, data) = event.split_once('\n').expect("two lines");
        let data: Value =
            serde_json::from_str(data.strip_prefix("data: ").expect("data")).expect("JSON");
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
    }
    let events = events(&stream);
    let numbers: Vec<_> = events.iter().map(|event| event["sequence_number"].clone()).collect();
    assert_eq!(numbers, (0..events.len()).map(|number| json!(number)).collect::<Vec<_>>());
    let types: Vec<_> = events.iter().map(|event| event["type"].as_str().expect("text")).collect();
    let item = |deltas: [&'static str; 2], name: &'static str| {
        let mut item = vec!["response.output_item.added", "response.content_part.added"];
        item.extend(deltas);
        item.extend([name, "response.content_part.done", "response.output_item.done"]);
        item
    };
    let mut expected = vec!["response.created", "response.in_progress"];
    expected.extend(item(["response.reasoning_text.delta"; 2], "response.reasoning_text.done"));
    expected.extend(item(["response.output_text.delta"; 2], "response.output_text.done"));
    expected.extend([
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ]);
    assert_eq!(types, expected);
    let of = |name: &str| {
        events.iter().filter(|event| event["type"] == name).cloned().collect::<Vec<_>>()
    };
    let done = of("response.output_item.done");
    let last = &events.last().expect("events")["response"];
    assert_eq!(last["output"], done.iter().map(|event| event["item"].clone()).collect::<Value>());
    assert_eq!(last["output"][0]["content"], json!([{"type": "reasoning_text", "text": "Hm."}]));
    assert_eq!(last["output"][1]["content"][0]["text"], "So!");
    let call = &last["output"][2];
    assert_eq!((&call["call_id"], &call["arguments"]), (&json!("c1"), &json!("{}")));
    assert_eq!(last["usage"]["output_tokens_details"]["reasoning_tokens"], 2);
    // Tools of types that the host does not have are left out.
    assert_eq!(last["tools"].as_array().map(Vec::len), Some(1));
    for event in of("response.output_text.delta") {
        assert_eq!((&event["output_index"], &event["content_index"]), (&json!(1), &json!(0)));
        assert_eq!(event["item_id"], last["output"][1]["id"]);
    }
    let whole = respond(&talk, &script(&said, &json!({"tools": tools()}))).ok().json();
    assert_eq!(whole["output"][2]["arguments"], "{}");
    assert_eq!(whole["status"], "completed");
}

#[test]
fn items_become_the_turns_of_the_conversation() {
    let talk = Talk::start();
    let body = json!({"instructions": "Be brief.", "reasoning": {"effort": "low", "summary": "auto"},
    "include": ["reasoning.encrypted_content"], "tools": tools(), "tool_choice": "required",
    "text": {"format": {"type": "json_schema", "name": "s", "schema": {"type": "object"}, "strict": true}},
    "client_metadata": {"a": "b"}, "prompt_cache_key": "k",
    "input": [
        {"role": "developer", "content": "Rules."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}],
         "encrypted_content": "x"},
        {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
         "content": [{"type": "output_text", "text": "Wait.", "annotations": [], "logprobs": []}]},
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "weather", "arguments": "{}", "status": "completed"},
        {"type": "function_call", "call_id": "c2", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "42"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "43"}]},
        {"role": "user", "content": "{\"show\": true}"},
    ]});
    let response = respond(&talk, &body).ok().json();
    let text = response["output"][0]["content"][0]["text"].as_str().expect("text");
    let shown: Value = serde_json::from_str(text).expect("JSON");
    let turns = shown["messages"].as_array().expect("turns").iter();
    let turns: Vec<_> = turns
        .map(|turn| {
            json!([
                turn["role"],
                turn["content"],
                turn["reasoning"],
                turn["tool-calls"],
                turn["tool-call-id"]
            ])
        })
        .collect();
    assert_eq!(
        turns,
        [
            json!(["Role::System", "Be brief.", null, [], null]),
            json!(["Role::System", "Rules.", null, [], null]),
            json!(["Role::User", "a", null, [], null]),
            json!([
                "Role::Assistant",
                "Wait.",
                "Hm.",
                [["c1", "weather", "{}"], ["c2", "weather", "{}"]],
                null
            ]),
            json!(["Role::Tool", "42", null, [], "c1"]),
            json!(["Role::Tool", "43", null, [], "c2"]),
            json!(["Role::User", "{\"show\": true}", null, [], null]),
        ]
    );
    assert_eq!(shown["reasoning-effort"], "low");
    assert!(shown["tool-choice"].as_str().is_some_and(|choice| choice.contains("Required")));
    assert!(shown["format"].as_str().is_some_and(|format| format.contains("JsonSchema")));
}

#[test]
fn what_is_not_there_is_refused_by_its_name() {
    let talk = Talk::start();
    for (member, value, why) in [
        ("previous_response_id", json!("resp_1"), "stores no responses"),
        ("conversation", json!("conv_1"), "stores no responses"),
        ("background", json!(true), "not supported"),
        ("truncation", json!("auto"), "not supported"),
        ("prompt", json!({"id": "p"}), "not supported"),
        ("input", json!([]), "1 to 2048"),
        ("input", json!(7), "a text or a list"),
        ("input", json!([{"type": "item_reference", "id": "x"}]), "stores no items"),
        ("input", json!([{"type": "web_search_call"}]), "web_search_call"),
        (
            "input",
            json!([{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]),
            "text only",
        ),
        ("input", json!([{"role": "user", "content": "a", "other": 1}]), "/input/0"),
        ("tool_choice", json!("required"), "no function"),
        ("tool_choice", json!({"type": "web_search"}), "a function"),
        ("tools", json!([{"type": "function", "name": "a b"}]), "/tools/0"),
        ("text", json!({"format": {"type": "json_schema", "schema": {}}}), "name"),
        ("reasoning", json!({"effort": "LOW"}), "a word"),
        ("top_logprobs", json!(21), "0 to 20"),
        ("temperature", json!(3), "0 to 2"),
        ("other", json!(1), "not a parameter"),
    ] {
        let refused = respond(&talk, &script(&json!("a"), &json!({ member: value })));
        assert_eq!(refused.status, 400, "{member} {value}: {}", refused.text());
        let error = refused.json()["error"].clone();
        assert_eq!(error["param"], member, "{error}");
        assert!(error["message"].as_str().expect("text").contains(why), "{why}: {error}");
    }
}

#[test]
fn a_response_that_fails_midway_says_what_there_was() {
    let talk = Talk::start();
    let fall = json!({"say": [{"text": "a"}, {"fall": true}]});
    let events = events(&respond(&talk, &script(&fall, &json!({"stream": true}))).ok());
    let last = events.last().expect("events");
    assert_eq!(
        (&last["type"], &last["sequence_number"]),
        (&json!("response.failed"), &json!(events.len() - 1))
    );
    let response = &last["response"];
    assert_eq!(
        (&response["status"], &response["error"]["code"]),
        (&json!("failed"), &json!("plugin-failed"))
    );
    let message = &response["output"][0];
    assert_eq!(
        (&message["status"], &message["content"][0]["text"]),
        (&json!("incomplete"), &json!("a"))
    );
    let long = json!({"code": "context_length_exceeded", "message": "too long"}).to_string();
    let refused = respond(&talk, &script(&json!({"refuse": long}), &json!({"stream": true})));
    assert_eq!(
        (refused.status, &refused.json()["error"]["code"]),
        (400, &json!("context_length_exceeded"))
    );
}

#[test]
fn tokens_are_counted_without_an_answer() {
    let talk = Talk::start();
    let count = |body: &Value| talk.post("/v1/responses/input_tokens", body);
    let counted =
        count(&json!({"input": "one two", "instructions": "Be brief.", "tools": tools()}));
    assert_eq!(counted.ok().json(), json!({"object": "response.input_tokens", "input_tokens": 5}));
    let refused = count(&json!({"input": "a", "previous_response_id": "x"}));
    assert_eq!(
        (refused.status, &refused.json()["error"]["param"]),
        (400, &json!("previous_response_id"))
    );
}

#[test]
fn models_of_version_0_1_answer_what_they_can() {
    let talk = Talk::start();
    let published = talk.host.publish(&talk.acme, &plugin("parrot"));
    let functions = ["complete", "count"].map(terms);
    talk.host.agree(&talk.acme, &talk.zoe, &published, functions.to_vec());
    let old = |more: &Value| {
        let mut body = json!({"model": "acme/parrot", "input": "a b"});
        for (name, value) in more.as_object().expect("members") {
            body[name] = value.clone();
        }
        respond(&talk, &body)
    };
    let whole = old(&json!({})).ok().json();
    assert_eq!(whole["output"][0]["content"][0]["text"], "a b");
    let stream = events(&old(&json!({"stream": true})).ok());
    assert_eq!(stream.last().expect("events")["type"], "response.completed");
    // The tools that are left out ask nothing of the model.
    old(&json!({"tools": [{"type": "web_search"}]})).ok();
    for (member, value) in [
        ("tools", tools()),
        ("text", json!({"format": {"type": "json_object"}})),
        ("reasoning", json!({"effort": "low"})),
        ("input", json!([{"type": "function_call_output", "call_id": "c", "output": "x"}])),
        ("top_logprobs", json!(2)),
    ] {
        let refused = old(&json!({ member: value }));
        assert_eq!(
            (refused.status, &refused.json()["error"]["param"]),
            (400, &json!(member)),
            "{value}"
        );
    }
    let counted = json!({"model": "acme/parrot", "input": "a"});
    let counted = talk.post("/v1/responses/input_tokens", &counted);
    assert!(counted.status == 400 && counted.text().contains("chat@0.2.0"), "{}", counted.text());
}

/// What Codex sends, as it writes it, and the events that it reads.
#[test]
fn the_requests_of_codex_are_answered_with_the_events_that_it_reads() {
    let talk = Talk::start();
    let said = json!({"say": [{"text": "I look."}, {"call": ["", "shell"]}, {"arguments": "{\"command\": [\"ls\"]}"}]});
    let shell = json!({"type": "function", "name": "shell", "description": "Runs a command.", "strict": false,
        "parameters": {"type": "object", "properties": {"command": {"type": "array", "items": {"type": "string"}}},
            "required": ["command"], "additionalProperties": false}});
    let message = |role: &str, text: &str| json!({"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]});
    let body = json!({
        "instructions": "You are a coding agent.", "store": false, "stream": true,
        "input": [message("developer", "Rules."), message("user", "<environment_context/>"), message("user", &said.to_string())],
        "tools": [shell, {"type": "local_shell"}, {"type": "web_search", "external_web_access": true},
            {"type": "custom", "name": "apply_patch", "description": "x",
             "format": {"type": "grammar", "syntax": "lark", "definition": "x"}},
            {"type": "namespace", "name": "n", "tools": []}],
        "tool_choice": "auto", "parallel_tool_calls": true, "reasoning": {"effort": "medium", "summary": "auto"},
        "include": ["reasoning.encrypted_content"], "prompt_cache_key": "0192", "text": {"verbosity": "medium"},
        "client_metadata": {"x-codex-installation-id": "x"},
    });
    let events = events(&respond(&talk, &body).ok());
    let done: Vec<_> =
        events.iter().filter(|event| event["type"] == "response.output_item.done").collect();
    assert_eq!(done[0]["item"]["content"][0]["text"], "I look.");
    let call = &done[1]["item"];
    assert_eq!((&call["type"], &call["name"]), (&json!("function_call"), &json!("shell")));
    assert!(call["call_id"].as_str().is_some_and(|id| id.starts_with("call_")), "{call}");
    let completed = events.last().expect("events");
    assert_eq!(completed["type"], "response.completed");
    assert!(
        completed["response"]["id"].is_string()
            && completed["response"]["usage"]["total_tokens"].is_u64()
    );
    // The next turn has everything again.
    let mut next = body.clone();
    next["input"] = json!([
        message("user", "ls"), done[0]["item"], call,
        {"type": "function_call_output", "call_id": call["call_id"], "output": "a.rs"}, message("user", "thanks"),
    ]);
    next["stream"] = json!(false);
    assert_eq!(respond(&talk, &next).ok().json()["output"][0]["content"][0]["text"], "thanks");
}
