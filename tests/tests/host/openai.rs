//! The OpenAI API: embeddings compared with the model's own package, and the official client.

use serde_json::{Value, json};
use system_tests::{Limited as _, Party, TestHost, client, oracle_json, plugin, terms};

struct Scene {
    host: TestHost,
    acme: Party,
    zoe: Party,
}

fn scene() -> Scene {
    let host = TestHost::start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    let published = host.publish(&acme, &plugin("semantic-search"));
    host.agree(&acme, &zoe, &published, vec![terms("embed"), terms("search")]);
    let published = host.publish(&acme, &plugin("echo"));
    host.agree(&acme, &zoe, &published, vec![terms("nothing")]);
    let published = host.publish(&acme, &plugin("parrot"));
    host.agree(&acme, &zoe, &published, vec![terms("complete")]);
    Scene { host, acme, zoe }
}

fn cosine(a: &Value, b: &Value) -> f64 {
    let numbers = |v: &Value| {
        v.as_array()
            .expect("numbers")
            .iter()
            .map(|x| x.as_f64().expect("a number"))
            .collect::<Vec<_>>()
    };
    numbers(a).iter().zip(numbers(b)).map(|(x, y)| x * y).sum()
}

const PAIRS: [(&str, &str); 8] = [
    ("How do I reset my password?", "Choose `Forgot password` and follow the link in the mail."),
    ("Which wine goes with fish?", "A dry white such as a Riesling suits trout and cod."),
    ("My train was late, who pays?", "Passengers get a refund for a delay of more than an hour."),
    (
        "How hot is the surface of the sun?",
        "The photosphere has a temperature of about 5,500 degrees.",
    ),
    ("Who painted the Mona Lisa?", "Leonardo da Vinci worked on the portrait from 1503."),
    ("Why do cats purr?", "Felines make that sound when content, and to soothe themselves."),
    ("How is bread made to rise?", "Yeast turns sugar into carbon dioxide, which lifts the dough."),
    ("What is a mutex for?", "It lets only one thread at a time into a critical section."),
];

#[test]
fn vectors_are_those_of_the_model_s_own_packages() {
    let scene = scene();
    let long = "tokens ".repeat(400);
    let mut texts: Vec<&str> = PAIRS.iter().flat_map(|(query, answer)| [*query, *answer]).collect();
    texts.extend(["", "Ünïcödé 漢字 🦀", &long]);
    let body = json!({ "texts": texts }).to_string();
    let answer =
        scene.host.call(&scene.zoe, "acme/semantic-search/embed").json(&body).send().ok().json();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("texts.json");
    std::fs::write(&path, json!(texts).to_string()).expect("written");
    let models = system_tests::workspace().join("plugins/target/models/minilm");
    let expected =
        oracle_json("minilm.py", &[&models.join("model.onnx"), &models.join("vocab.txt"), &path]);
    for (index, text) in texts.iter().enumerate() {
        let (ours, theirs) = (&answer["vectors"][index], &expected[index]);
        assert!(cosine(ours, theirs) > 0.9999, "{text:?}: {}", cosine(ours, theirs));
        assert!((cosine(ours, ours) - 1.0).abs() < 1e-4);
    }
}

#[test]
fn the_right_document_is_found() {
    let scene = scene();
    let documents: Vec<&str> = PAIRS.iter().map(|(_, answer)| *answer).collect();
    for (index, (query, _)) in PAIRS.iter().enumerate() {
        let body = json!({"query": query, "documents": documents, "top": 3}).to_string();
        let hits = scene
            .host
            .call(&scene.zoe, "acme/semantic-search/search")
            .json(&body)
            .send()
            .ok()
            .json();
        assert_eq!(hits.as_array().map(Vec::len), Some(3));
        assert_eq!(hits[0]["document"], index, "{query}: {hits}");
    }
}

#[test]
fn the_official_client_embeds_and_converses() {
    let scene = scene();
    let address = scene.host.address().to_string();
    assert!(client("openai_sdk.py", &[&address, &scene.zoe.api_key]).ends_with("ok\n"));
}

#[test]
fn errors_and_limits_are_in_openai_s_shape() {
    let scene = scene();
    let post =
        |key: &str, body: &str| scene.host.post("/v1/embeddings").bearer(key).json(body).send();
    let error = |reply: &system_tests::Reply, status: u16, class: &str, code: &str| {
        assert_eq!(reply.status, status, "{}", reply.text());
        let error = &reply.json()["error"];
        assert_eq!((&error["type"], &error["code"]), (&json!(class), &json!(code)), "{error}");
        error["message"].as_str().expect("text").to_owned()
    };
    let body = r#"{"model":"acme/semantic-search","input":"x"}"#;
    error(&post("wrong", body), 401, "authentication_error", "unauthenticated");
    error(&post(&scene.zoe.api_key, "{}"), 400, "invalid_request_error", "invalid-request");
    let none = r#"{"model":"acme/semantic-search","input":[]}"#;
    let none =
        error(&post(&scene.zoe.api_key, none), 400, "invalid_request_error", "invalid-request");
    assert!(none.contains("1 to 2048"), "{none}");
    let many = json!({"model": "acme/semantic-search", "input": vec!["x"; 2049]}).to_string();
    error(&post(&scene.zoe.api_key, &many), 400, "invalid_request_error", "invalid-request");
    error(&scene.host.get("/v1/nothing").send(), 404, "invalid_request_error", "not-found");
    error(
        &scene.host.get("/v1/embeddings").send(),
        405,
        "invalid_request_error",
        "method-not-allowed",
    );

    // Agreements, limits and receipts are the same as for other front ends.
    let yan = scene.host.party("yan");
    let refused = error(&post(&yan.api_key, body), 403, "permission_error", "not-permitted");
    assert!(refused.contains("no agreement"), "{refused}");
    let listed =
        scene.host.get("/acme/semantic-search").bearer(&scene.acme.api_key).send().ok().json();
    let published = (
        "acme/semantic-search".parse().expect("a model"),
        listed["digest"].as_str().expect("text").parse().expect("a digest"),
    );
    scene.host.agree(
        &scene.acme,
        &yan,
        &published,
        vec![terms("embed").limit("count lteq 1 call")],
    );
    let good = post(&yan.api_key, body).ok();
    assert_eq!(good.header("hospes-remaining"), Some("0"));
    assert!(good.header("hospes-receipt").is_some());
    error(&post(&yan.api_key, body), 429, "rate_limit_error", "limit-reached");
}
