//! The OpenAPI documents: their content, and that every response conforms to them.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use system_tests::{Party, Request, TestHost, built, plugin, terms, workspace};
use tempfile::TempDir;

struct Scene {
    host: TestHost,
    zoe: Party,
}

/// A host where `zoe` may call every function of these plugins of `acme`.
fn scene(plugins: &[&str]) -> Scene {
    let host = TestHost::builder()
        .config(|config| config.sandbox.deadline = std::time::Duration::from_secs(5))
        .start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    for name in plugins {
        let published = host.publish(&acme, &plugin(name));
        let page = host.get(&format!("/acme/{name}")).bearer(&acme.api_key).send().ok().json();
        let functions = page["functions"].as_array().expect("a list").clone();
        let functions =
            functions.iter().map(|function| terms(function["name"].as_str().expect("a name")));
        host.agree(&acme, &zoe, &published, functions.collect());
    }
    Scene { host, zoe }
}

impl Scene {
    fn document(&self, path: &str) -> Value {
        self.host.get(path).bearer(&self.zoe.api_key).send().ok().json()
    }

    /// The document of the operator's listener, which needs no token to be read.
    fn operators_document(&self) -> Value {
        let url = format!("{}/api/openapi.json", self.host.operator_url());
        Request::new("GET", url).send().ok().json()
    }

    fn schemathesis(&self, path: &str, more: &[&str]) {
        let url = format!("http://{}", self.host.address());
        schemathesis((&url, path), &self.zoe.api_key, more);
    }
}

/// Lets schemathesis generate requests from a document, with a key or the operator's token: every
/// response must conform to it, and none may be an internal error.
fn schemathesis((url, path): (&str, &str), bearer: &str, more: &[&str]) {
    let output = Command::new(built("clients/bin/schemathesis"))
        .args(["run", &format!("{url}{path}"), "--url", url, "--seed", "7", "--no-color"])
        .args(["--max-examples", "25", "--phases", "examples,fuzzing", "--continue-on-failure"])
        .args(["--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"])
        .args(["-H", &format!("Authorization: Bearer {bearer}")])
        .args(more)
        .current_dir(std::env::temp_dir())
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{path}: {said}{}", String::from_utf8_lossy(&output.stderr));
}

/// The settings of openapi-python-client. No post-processing: its tools are not installed. It does not
/// know archives.
const GENERATOR: &str = "post_hooks: []\n\
                         content_type_overrides:\n  application/x-tar: application/octet-stream\n";

/// Documents with all types, tensors, streams and models without code, and those of the host's two
/// listeners, as files.
fn documents() -> (TempDir, Vec<(String, PathBuf)>) {
    let plugins = ["echo", "filetype", "lenet", "parrot", "semantic-search", "vad"];
    let scene = scene(&plugins);
    let folder = tempfile::tempdir().expect("a folder");
    let mut paths = vec!["/api/openapi.json".to_owned()];
    paths.extend(plugins.map(|plugin| format!("/acme/{plugin}/openapi.json")));
    let public = paths.into_iter().map(|path| {
        let document = scene.document(&path);
        (path, document)
    });
    let all = public.chain([("the operator's".to_owned(), scene.operators_document())]);
    let written = all.enumerate().map(|(number, (path, document))| {
        let file = folder.path().join(format!("{number}.json"));
        std::fs::write(&file, document.to_string()).expect("written");
        (path, file)
    });
    let written = written.collect();
    (folder, written)
}

#[test]
fn a_generator_makes_types_of_typescript_of_every_document() {
    let (folder, documents) = documents();
    let node = |arguments: &[&Path]| {
        let output = Command::new("node").args(arguments).current_dir(folder.path()).output();
        let output = output.expect("it runs");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.success(), said)
    };
    let (openapi, tsc) = (
        built("clients/node_modules/openapi-typescript/bin/cli.js"),
        built("clients/node_modules/typescript/bin/tsc"),
    );
    let mut sources = Vec::new();
    for (path, document) in documents {
        let source = document.with_extension("ts");
        let (made, said) = node(&[&openapi, &document, Path::new("-o"), &source]);
        assert!(made, "{path}: {said}");
        sources.push(source);
    }
    let arguments = [&*tsc, Path::new("--strict"), Path::new("--noEmit")].into_iter();
    let (sound, said) = node(&arguments.chain(sources.iter().map(|s| &**s)).collect::<Vec<_>>());
    assert!(sound, "{said}");
}

#[test]
fn a_generator_makes_a_client_of_every_document() {
    let (folder, documents) = documents();
    std::fs::write(folder.path().join("settings.yml"), GENERATOR).expect("written");
    for (number, (path, document)) in documents.into_iter().enumerate() {
        let output = Command::new(built("clients/bin/openapi-python-client"))
            .args(["generate", "--meta", "none", "--fail-on-warning"])
            .args(["--config", "settings.yml", "--output-path", &number.to_string(), "--path"])
            .arg(&document)
            .current_dir(folder.path())
            .output()
            .expect("it runs");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success() && !said.contains("WARNING"), "{path}: {said}");
        assert!(folder.path().join(number.to_string()).join("client.py").exists(), "{path}");
    }
}

/// Generated clients encode `:` and `@` in paths; they once could not address any agreement.
#[test]
fn generated_clients_reach_an_agreement_by_its_id() {
    let scene = scene(&["echo"]);
    let listed = scene.document("/api/agreements");
    let id = listed["agreements"][0]["id"].as_str().expect("an id").to_owned();
    let (address, key) = (scene.host.address().to_string(), scene.zoe.api_key.clone());
    let folder = tempfile::tempdir().expect("a folder");
    let run = |command: &mut Command| {
        let output = command.current_dir(folder.path()).output().expect("it runs");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{said}");
        said
    };
    let document = folder.path().join("host.json");
    std::fs::write(&document, scene.document("/api/openapi.json").to_string()).expect("written");
    std::fs::write(folder.path().join("settings.yml"), GENERATOR).expect("written");
    run(Command::new(built("clients/bin/openapi-python-client"))
        .args(["generate", "--meta", "none", "--config", "settings.yml"])
        .args(["--output-path", "client", "--path"])
        .arg(&document));
    let clients = workspace().join("tests/clients");
    let said = run(Command::new(built("clients/bin/python"))
        .arg(clients.join("generated.py"))
        .args([&address, &key, &id]));
    assert!(said.ends_with("ok\n"), "{said}");
    let said = run(Command::new("node")
        .arg(clients.join("openapi_fetch.mjs"))
        .arg(built("clients"))
        .args([&address, &key, &id]));
    assert!(said.ends_with("ok\n"), "{said}");
}

#[test]
fn a_model_s_document_says_what_its_wit_says() {
    let scene = scene(&["filetype", "lenet"]);
    let document = scene.document("/acme/filetype/openapi.json");
    assert_eq!(document["openapi"], "3.1.0");
    let operation = &document["paths"]["/acme/filetype@1.0.0/identify"]["post"];
    assert!(operation["description"].as_str().expect("text").starts_with("Says what `file` is."));
    let request = &operation["requestBody"]["content"];
    assert_eq!(request["application/json"]["schema"]["required"], json!(["file"]));
    assert!(request["application/octet-stream"].is_object());
    let verdict = &operation["responses"]["200"]["content"]["application/json"]["schema"];
    assert_eq!(*verdict, json!({"$ref": "#/components/schemas/verdict"}));
    let verdict = &document["components"]["schemas"]["verdict"];
    assert_eq!(verdict["description"], "The type of a file.");
    let score = verdict["properties"]["score"]["description"].as_str().expect("text");
    assert!(score.starts_with("How sure the model is"), "{score}");

    let lenet = scene.document("/acme/lenet/openapi.json");
    let operation = &lenet["paths"]["/acme/lenet@1.0.0/infer"]["post"];
    let example = &operation["requestBody"]["content"]["application/json"]["example"]["inputs"][0];
    assert_eq!((&example["name"], &example["shape"]), (&json!("image"), &json!([1, 3, 32, 32])));
    scene.host.get("/acme/lenet/openapi.json").send().ok();
    scene.host.get("/acme/none/openapi.json").send().problem(404, "not-found");
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let scene = scene(&["echo"]);
    for path in ["/api/docs", "/acme/echo/docs"] {
        let page = scene.host.get(path).send().ok();
        let policy = page.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        let text = page.text();
        assert!(!text.contains("http:") && !text.contains("https:"), "{text}");
        // Links are relative to the page, so they work behind any proxy prefix.
        let links: Vec<_> = text.split(['"']).filter(|part| part.contains("api/docs/")).collect();
        assert_eq!(links.len(), 4, "{text}");
        for link in links {
            assert!(link.starts_with("../"), "{link}");
            let part = scene.host.get(&format!("/{}", link.replace("../", ""))).send().ok();
            assert!(part.body.len() > 100, "{link}");
        }
    }
    scene.host.get("/api/docs/secret").send().problem(404, "not-found");
    scene.host.get("/api/docs/index.html").send().problem(404, "not-found");
}

#[test]
fn a_person_calls_a_function_from_the_page_in_a_browser() {
    let scene = scene(&["echo"]);
    let output = Command::new("node")
        .arg(workspace().join("tests/clients/browser.mjs"))
        .arg(built("clients"))
        .args([&scene.host.address().to_string(), &scene.zoe.api_key])
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.ends_with("ok\n"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_route_of_the_host_s_document_is_there() {
    let scene = scene(&["echo"]);
    let document = scene.document("/api/openapi.json");
    let paths = document["paths"].as_object().expect("paths");
    assert!(paths.len() > 25);
    for (path, methods) in paths {
        let path = path
            .replace("{publisher}/{model}", "acme/echo")
            .replace("{function}", "nothing")
            .replace(['{', '}'], "");
        for method in methods.as_object().expect("methods").keys() {
            let request =
                if method == "get" { scene.host.get(&path) } else { scene.host.post(&path) };
            let answer = request.bearer(&scene.zoe.api_key).send().text();
            assert!(!answer.contains("there is nothing here"), "{method} {path}: {answer}");
            assert!(!answer.contains("is not allowed here"), "{method} {path}: {answer}");
        }
        let wrong = Request::new("DELETE", format!("http://{}{path}", scene.host.address()));
        wrong.send().problem(405, "method-not-allowed");
    }
}

/// The reference is generated from the host's routing table; here it is tried as a client would use
/// it.
#[test]
fn every_route_of_the_reference_is_there_and_no_other_method_is() {
    let scene = scene(&["echo"]);
    let page = std::fs::read_to_string(workspace().join("host/docs/api.md")).expect("readable");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let routes: Vec<_> =
        rows.filter_map(|(route, rest)| Some((route.split_once(' ')?, rest))).collect();
    assert!(routes.len() > 50, "{}", routes.len());
    let operators = page.split_once("<!-- routes: operator -->").expect("a table").1;
    for ((method, path), rest) in routes {
        let is_operators = operators.contains(&format!("| `{method} {path}` | {rest}"));
        let path = path
            .replace("{publisher}/{model}", "acme/echo")
            .replace("{function}", "nothing")
            .replace(['{', '}'], "");
        let ask = |method: &'static str| match is_operators {
            true => scene.host.operator(method, &path),
            false => Request::new(method, format!("http://{}{path}", scene.host.address()))
                .bearer(&scene.zoe.api_key),
        };
        let answer = match method {
            "GET" => ask("GET").send(),
            "POST" => ask("POST").json("{}").send(),
            method => panic!("`{method}` is not a method of this API"),
        };
        let text = String::from_utf8_lossy(&answer.body);
        assert!(!text.contains("there is nothing here"), "{method} {path}: {text}");
        assert!(!text.contains("is not allowed here"), "{method} {path}: {text}");
        ask("DELETE").send().problem(405, "method-not-allowed");
    }
}

/// The operator's routes are in the document of their own listener, with every status of the table, and in no other.
#[test]
fn every_route_of_the_operator_is_in_the_operator_s_document_alone() {
    let scene = scene(&["echo"]);
    let (public, own) = (scene.document("/api/openapi.json"), scene.operators_document());
    let page = std::fs::read_to_string(workspace().join("host/docs/api.md")).expect("readable");
    let (_, table) = page.split_once("<!-- routes: operator -->").expect("a table");
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let mut routes = 0;
    for ((method, path), rest) in
        rows.filter_map(|(route, rest)| Some((route.split_once(' ')?, rest)))
    {
        routes += 1;
        let operation = &own["paths"][path][method.to_lowercase()];
        let responses = operation["responses"].as_object().expect(path);
        let is_open = rest.starts_with("anybody");
        let token = if is_open { json!([]) } else { json!([{"token": []}]) };
        assert_eq!(operation["security"], token, "{path}");
        assert!(responses.contains_key(if is_open { "200" } else { "401" }), "{path}");
        let on_both = ["/healthz", "/readyz", "/api/openapi.json"].contains(&path);
        assert_eq!(on_both, public["paths"][path].is_object(), "{path}");
    }
    let written = own["paths"].as_object().expect("paths").values();
    let written = written.map(|methods| methods.as_object().expect("methods").len());
    assert_eq!(written.sum::<usize>(), routes);
    assert!(own["servers"].is_null(), "the public URL is not the operator's");
    // As the other one, it is made once and sent compressed.
    let url = format!("{}/api/openapi.json", scene.host.operator_url());
    let get = || Request::new("GET", url.as_str());
    let tag = get().send().ok().header("etag").expect("a tag").to_owned();
    assert_eq!(get().header("if-none-match", tag).send().status, 304);
    let packed = get().header("accept-encoding", "gzip").send().ok();
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
}

/// The paths and methods of a document, with the examples of their parameters.
fn operations(document: &Value) -> Vec<(String, String, &Value)> {
    let paths = document["paths"].as_object().expect("paths").iter();
    let all = paths.flat_map(|(path, methods)| {
        let methods = methods.as_object().expect("methods").iter();
        methods.map(move |(method, operation)| {
            let mut path = path.clone();
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let name = format!("{{{}}}", parameter["name"].as_str().expect("a name"));
                let example = parameter["example"].as_str();
                // Only identifiers of calls have no example.
                let example = example.unwrap_or("0192f0c1-2f3a-7c44-8f0e-3b1d5a6c7e90");
                path = path.replace(&name, example);
            }
            (method.to_uppercase(), path, operation)
        })
    });
    all.collect()
}

impl Scene {
    /// A request of an operation, with this key, to one listener or the other.
    fn ask(&self, is_operators: bool, method: &str, path: &str, key: &str) -> Request {
        let method = match method {
            "GET" => "GET",
            "POST" => "POST",
            method => panic!("`{method}` is not a method of this API"),
        };
        match is_operators {
            true => self.host.operator_with(key, method, path),
            false => {
                Request::new(method, format!("http://{}{path}", self.host.address())).bearer(key)
            }
        }
    }
}

/// Without a body, the problem says that it is missing where the document requires one, and nowhere else.
#[test]
fn a_body_is_missing_exactly_where_a_document_requires_one() {
    let scene = scene(&["echo"]);
    let token = std::fs::read_to_string(scene.host.data().join("operator.token"));
    let token = token.expect("the host has written it");
    let public = scene.document("/api/openapi.json");
    let own = scene.operators_document();
    let (mut with, mut without) = (0, 0);
    for (document, is_operators, key) in
        [(&public, false, scene.zoe.api_key.as_str()), (&own, true, token.trim())]
    {
        for (method, path, operation) in operations(document) {
            let body = &operation["requestBody"];
            if body.is_null() {
                continue;
            }
            let answer = scene.ask(is_operators, &method, &path, key).send();
            let said = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
            let is_required = body["required"].as_bool().expect("it says so");
            assert_eq!(said["missing"] == "body", is_required, "{method} {path}: {said}");
            if is_required {
                answer.problem(400, "invalid-request");
                with += 1;
            } else {
                without += 1;
            }
        }
    }
    assert!(with > 15 && without == 3, "{with} {without}");
}

/// A wrong key, and the key of a stopped account, are refused where the documents say so, and nowhere else.
#[test]
fn keys_are_refused_exactly_where_a_document_says_so() {
    let scene = scene(&["echo"]);
    let (public, own) = (scene.document("/api/openapi.json"), scene.operators_document());
    for (document, is_operators) in [(&public, false), (&own, true)] {
        for (method, path, operation) in operations(document) {
            let answer = scene.ask(is_operators, &method, &path, "wrong").send();
            let is_said = operation["responses"].get("401").is_some();
            assert_eq!(answer.status == 401, is_said, "{method} {path}: {}", answer.text());
        }
    }
    let stop = json!({"action": "suspend-account", "target": "zoe", "reason": "a test"});
    scene.host.operator("POST", "/actions").json(&stop.to_string()).send().ok();
    for (method, path, operation) in operations(&public) {
        let answer = scene.ask(false, &method, &path, &scene.zoe.api_key).send();
        let said = operation["responses"]["403"]["description"].as_str().unwrap_or_default();
        let is_said = said.contains("`account-stopped`");
        let is_refused =
            answer.status == 403 && answer.text().contains("urn:hospes:problem:account-stopped");
        assert_eq!(is_refused, is_said, "{method} {path}: {}", answer.text());
    }
}

/// What is answered to the operator is what the document says of it, member by member.
#[test]
fn the_operator_s_document_has_a_schema_of_every_answer() {
    let scene = scene(&["echo"]);
    let document = scene.operators_document();
    let schemas = &document["components"]["schemas"];
    for (path, name) in [
        ("/accounts", "Accounts"),
        ("/accounts/acme", "AccountWithKeys"),
        ("/actions", "ActionLog"),
        ("/withdrawals", "Withdrawals"),
        ("/out-of-service", "OutOfService"),
        ("/status", "Status"),
    ] {
        let answer = scene.host.operator("GET", path).send().ok().json();
        let required = schemas[name]["required"].as_array().expect(name);
        for member in required {
            let member = member.as_str().expect("a name");
            assert!(answer.get(member).is_some(), "{path} has no `{member}`: {answer}");
        }
        for member in answer.as_object().expect("an object").keys() {
            assert!(schemas[name]["properties"].get(member).is_some(), "{path}: `{member}`");
        }
    }
    let act = &document["paths"]["/actions"]["post"];
    let body = &act["requestBody"]["content"]["application/json"]["schema"]["$ref"];
    assert_eq!(*body, "#/components/schemas/Act");
}

/// Responses to strangers have exactly the documented members.
#[test]
fn the_document_has_a_schema_of_every_answer_in_json() {
    let scene = scene(&["echo"]);
    let document = scene.document("/api/openapi.json");
    let schemas = &document["components"]["schemas"];
    for (path, name) in [
        ("/api/host", "Host"),
        ("/api/market", "Market"),
        ("/api/account", "OwnAccount"),
        ("/api/agreements", "Agreements"),
        ("/api/negotiations", "Negotiations"),
        ("/api/receipts", "Receipts"),
        ("/acme/echo", "Description"),
    ] {
        let answer = scene.document(path);
        let required = schemas[name]["required"].as_array().expect(name);
        for member in required {
            let member = member.as_str().expect("a name");
            assert!(answer.get(member).is_some(), "{path} has no `{member}`: {answer}");
        }
        for member in answer.as_object().expect("an object").keys() {
            assert!(schemas[name]["properties"].get(member).is_some(), "{path}: `{member}`");
        }
    }
    let operation = &document["paths"]["/api/agreements"]["get"];
    let names = operation["parameters"].as_array().expect("parameters").iter();
    assert_eq!(names.map(|one| &one["name"]).collect::<Vec<_>>(), ["after", "limit"]);
}

#[test]
fn schemathesis_finds_no_answer_that_a_model_s_document_does_not_have() {
    let scene = scene(&["echo", "filetype", "lenet"]);
    // `fall` panics by design, and `produce` returns as much as requested: both respond with 502.
    scene.schemathesis(
        "/acme/echo/openapi.json",
        &["--exclude-path-regex", "fall|produce|log-lines|misshape"],
    );
    scene.schemathesis("/acme/filetype/openapi.json", &[]);
    scene.schemathesis("/acme/lenet/openapi.json", &[]);
}

#[test]
fn schemathesis_finds_no_answer_that_the_host_s_document_does_not_have() {
    scene(&["echo"]).schemathesis("/api/openapi.json", &[]);
}

/// No route stops the host. Actions are left out: one that replaces the token would turn every later answer into a 401.
#[test]
fn schemathesis_finds_no_answer_that_the_operator_s_document_does_not_have() {
    let scene = scene(&["echo"]);
    let token = std::fs::read_to_string(scene.host.data().join("operator.token"));
    let token = token.expect("the host has written it");
    let url = scene.host.operator_url();
    let left_out = ["--exclude-operation-id", "post-actions"];
    schemathesis((&url, "/api/openapi.json"), token.trim(), &left_out);
    scene.host.operator("GET", "/status").send().ok();
}
