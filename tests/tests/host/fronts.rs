//! All ways to call a function behave alike: they authenticate, check permission, count and log
//! calls in the same way.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use system_tests::{Limited as _, Party, Tensors, TestHost, plugin, terms, workspace};

/// The front ends: the files that open one, and their routes. A new front end is added here.
const FRONTS: [(&str, &[Route]); 8] = [
    ("functions.rs", &[Route::post("/acme/identity-fp32/infer", TYPED)]),
    (
        "oip/infer.rs",
        &[
            Route::post("/v2/models/acme/identity-fp32/infer", TYPED),
            Route::post("/v2/models/identity-fp32/versions/1.0.0/infer", TYPED),
        ],
    ),
    (
        "oip/generate.rs",
        &[
            Route::post("/v2/models/acme/identity-fp32/generate", r#"{"x":[1]}"#),
            Route::post("/v2/models/acme/identity-fp32/generate_stream", r#"{"x":[1]}"#),
        ],
    ),
    (
        "openai/embeddings.rs",
        &[Route::post("/v1/embeddings", r#"{"model":"acme/semantic-search","input":"x"}"#)],
    ),
    (
        "openai/converse.rs",
        &[
            Route::post(
                "/v1/chat/completions",
                r#"{"model":"acme/parrot","messages":[{"role":"user","content":"a"}]}"#,
            ),
            Route::post("/v1/completions", r#"{"model":"acme/parrot","prompt":"a","stream":true}"#),
            Route::post(
                "/v1/completions",
                r#"{"model":"acme/parrot-next","prompt":["a",[1]],"stream":true}"#,
            ),
            Route::post("/v1/responses", r#"{"model":"acme/parrot-next","input":"a"}"#),
            Route::post(
                "/v1/responses/input_tokens",
                r#"{"model":"acme/parrot-next","input":"a"}"#,
            ),
        ],
    ),
    (
        "openai/rerank.rs",
        &[Route::post(
            "/v1/rerank",
            r#"{"model":"acme/parrot-next","query":"a","documents":["a","b"]}"#,
        )],
    ),
    ("wasi_http.rs", &[Route::post("/acme/herald/-/length", "{}")]),
    ("grpc/infer.rs", &[Route::Grpc("ModelInfer"), Route::Grpc("ModelStreamInfer")]),
];

const TYPED: &str = r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1]}]}"#;

enum Route {
    Post { path: &'static str, body: &'static str },
    Grpc(&'static str),
}

impl Route {
    const fn post(path: &'static str, body: &'static str) -> Self {
        Route::Post { path, body }
    }

    /// The response, as the caller sees it.
    fn answer(&self, host: &TestHost, party: &Party) -> String {
        match self {
            Route::Post { path, body } => {
                host.post(path).bearer(&party.api_key).json(body).send().text()
            }
            Route::Grpc(method) => grpc(host, party, method),
        }
    }
}

/// Headers, body and trailers of the response to a gRPC call with one message: `acme/identity-fp32`
/// with an input `x` of one number.
fn grpc(host: &TestHost, party: &Party, method: &str) -> String {
    let field = |tag: u8, bytes: &[u8]| [&[tag, bytes.len() as u8][..], bytes].concat();
    let input = [field(0x0a, b"x"), field(0x12, b"FP32"), field(0x1a, &[1])].concat();
    let message = [
        field(0x0a, b"acme/identity-fp32"),
        field(0x2a, &input),
        field(0x3a, &1_f32.to_le_bytes()),
    ]
    .concat();
    let framed = [&[0, 0, 0, 0, message.len() as u8][..], &message].concat();
    let mut child = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--include",
            "--http2-prior-knowledge",
            "--max-time",
            "20",
        ])
        .args(["-H", "content-type: application/grpc", "-H", "te: trailers"])
        .args(["-H", &format!("authorization: Bearer {}", party.api_key), "--data-binary", "@-"])
        .arg(format!("http://{}/inference.GRPCInferenceService/{method}", host.address()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl runs");
    child.stdin.take().expect("piped").write_all(&framed).expect("written");
    let output = child.wait_with_output().expect("it ends");
    String::from_utf8_lossy(&output.stdout).replace("%20", " ")
}

fn scene() -> Tensors {
    let fronts = Tensors::start();
    let plugins: [(&str, &[&str]); 4] = [
        ("semantic-search", &["embed"]),
        ("parrot", &["complete"]),
        ("parrot-next", &["complete", "go-on", "count", "rank"]),
        ("herald", &["handle"]),
    ];
    for (name, functions) in plugins {
        let published = fronts.host.publish(&fronts.acme, &plugin(name));
        let functions = functions.iter().map(|function| terms(function)).collect();
        fronts.host.agree(&fronts.acme, &fronts.zoe, &published, functions);
    }
    fronts
}

/// Whether a call was answered. Responses of `/v1/responses` have a member for an error that there is not.
fn is_answer(answer: &str) -> bool {
    let answer = answer.replace("\"error\":null", "");
    !answer.contains("no agreement") && !answer.contains("error")
}

fn receipts(host: &TestHost, party: &Party) -> Vec<String> {
    let listed = host.get("/api/receipts").bearer(&party.api_key).send().ok().json();
    let receipts = listed["receipts"].as_array().expect("a list").iter();
    receipts.map(|receipt| receipt["result"].as_str().expect("text").to_owned()).collect()
}

#[test]
fn the_list_of_fronts_is_complete() {
    fn opening(folder: &Path, found: &mut Vec<String>, root: &Path) {
        for entry in std::fs::read_dir(folder).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                opening(&path, found, root);
            } else if std::fs::read_to_string(&path).expect("text").contains("Front::open(") {
                let path = path.strip_prefix(root).expect("below the root");
                found.push(path.to_string_lossy().into_owned());
            }
        }
    }
    let root = workspace().join("host/src/api");
    let mut found = Vec::new();
    opening(&root, &mut found, &root);
    let mut known: Vec<_> = FRONTS.iter().map(|(file, _)| (*file).to_owned()).collect();
    found.sort();
    known.sort();
    assert_eq!(found, known);
}

#[test]
fn without_an_agreement_every_route_refuses_and_writes_it_down() {
    let scene = scene();
    let yan = scene.host.party("yan");
    let routes: Vec<_> = FRONTS.iter().flat_map(|(_, routes)| routes.iter()).collect();
    for route in &routes {
        let answer = route.answer(&scene.host, &yan);
        assert!(answer.contains("no agreement"), "{answer}");
        let good = route.answer(&scene.host, &scene.zoe);
        assert!(is_answer(&good), "{good}");
    }
    assert_eq!(receipts(&scene.host, &yan), ["denied: no-agreement"]);
    assert_eq!(receipts(&scene.host, &scene.zoe), vec!["answered"; routes.len()]);
}

#[test]
fn a_publisher_calls_its_own_models_on_every_route_without_an_agreement() {
    let scene = scene();
    let routes: Vec<_> = FRONTS.iter().flat_map(|(_, routes)| routes.iter()).collect();
    for route in &routes {
        let good = route.answer(&scene.host, &scene.acme);
        assert!(is_answer(&good), "{good}");
    }
    assert_eq!(receipts(&scene.host, &scene.acme), vec!["answered"; routes.len()]);
}

#[test]
fn one_count_is_used_up_through_all_of_them() {
    let scene = scene();
    let yan = scene.host.party("yan");
    let page = scene.host.get("/acme/identity-fp32").send().ok().json();
    let published = (
        "acme/identity-fp32".parse().expect("a model"),
        page["digest"].as_str().expect("text").parse().expect("a digest"),
    );
    let routes = FRONTS.iter().flat_map(|(_, routes)| routes.iter()).filter(|route| match route {
        Route::Post { path, .. } => path.contains("identity"),
        Route::Grpc(_) => true,
    });
    let routes: Vec<_> = routes.collect();
    let limit = format!("count lteq {} call", routes.len());
    scene.host.agree(&scene.acme, &yan, &published, vec![terms("infer").limit(&limit)]);
    for route in &routes {
        let answer = route.answer(&scene.host, &yan);
        assert!(!answer.contains("error") && !answer.contains("calls that"), "{answer}");
    }
    for route in &routes {
        let answer = route.answer(&scene.host, &yan);
        assert!(answer.contains("calls that the agreement allows"), "{answer}");
    }
    let answered =
        receipts(&scene.host, &yan).iter().filter(|result| *result == "answered").count();
    assert_eq!(answered, routes.len());
}
