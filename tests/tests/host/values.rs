//! Values of every type, from JSON to a guest and back: the echo plugin returns its arguments.

use serde_json::{Value, json};
use system_tests::{Limited as _, Party, TestHost, plugin, terms};

struct Echo {
    host: TestHost,
    zoe: Party,
}

impl Echo {
    fn new(functions: &[&str]) -> Self {
        let host = TestHost::start();
        let (acme, zoe) = (host.party("acme"), host.party("zoe"));
        let published = host.publish(&acme, &plugin("echo"));
        let terms = functions.iter().map(|function| terms(function)).collect();
        host.agree(&acme, &zoe, &published, terms);
        Self { host, zoe }
    }

    fn call(&self, function: &str, body: &str) -> String {
        let call = self.host.call(&self.zoe, &format!("acme/echo/{function}")).json(body);
        call.send().ok().text()
    }

    /// The text itself must come back, so no digit is lost.
    #[track_caller]
    fn same(&self, function: &str, value: &str) {
        assert_eq!(self.call(function, &format!(r#"{{"v":{value}}}"#)), value, "{function}");
    }
}

#[test]
fn scalars_survive_to_the_last_bit() {
    const CASES: [(&str, &[&str]); 13] = [
        ("echo-bool", &["true", "false"]),
        ("echo-s8", &["-128", "127", "0"]),
        ("echo-u8", &["0", "255"]),
        ("echo-s16", &["-32768", "32767"]),
        ("echo-u16", &["65535"]),
        ("echo-s32", &["-2147483648", "2147483647"]),
        ("echo-u32", &["4294967295"]),
        ("echo-s64", &["-9223372036854775808", "9223372036854775807"]),
        ("echo-u64", &["18446744073709551615", "9007199254740993"]),
        (
            "echo-f32",
            &["0.1", "-0.0", "3.4028235e+38", "1e-45", "16777216.0", "\"NaN\"", "\"-Infinity\""],
        ),
        (
            "echo-f64",
            &[
                "0.1",
                "-0.0",
                "1.7976931348623157e+308",
                "5e-324",
                "0.30000000000000004",
                "\"Infinity\"",
            ],
        ),
        ("echo-char", &["\"a\"", "\"🦀\"", "\"\\u0000\""]),
        ("echo-string", &["\"\"", "\"grüße 🦀 \\\"quoted\\\"\\n\"", "\"\\u0000\""]),
    ];
    let functions: Vec<_> = CASES.iter().map(|(function, _)| *function).collect();
    let echo = Echo::new(&functions);
    for (function, values) in CASES {
        for value in values {
            echo.same(function, value);
        }
    }
}

#[test]
fn compound_values_survive() {
    let wide = json!({
        "a": true, "b": -1, "c": u64::MAX, "d": 200, "e": -300, "f": 0.5, "g": 65535, "h": -70000,
        "i": "ß", "j": i64::MIN, "k": "text", "l": u32::MAX, "m": 0.25, "n": "AAEC", "o": 9,
        "p": ["r", "x", "g"], "q": "blue",
    });
    let point = json!({"x": 0.1, "y": -2.0, "label": "p"});
    let cases: Vec<(&str, Vec<Value>)> = vec![
        ("echo-point", vec![point.clone()]),
        ("echo-wide", vec![wide]),
        (
            "echo-numbers",
            vec![
                json!([[-1, 2], [3, 65535], [-4], [u64::MAX], [0.5], [1e300, -0.0]]),
                json!([[], [], [], [], [], []]),
            ],
        ),
        ("echo-strings", vec![json!(["", "a", "🦀"]), json!([])]),
        ("echo-nested", vec![json!([[1, 2], [], [3]])]),
        (
            "echo-shapes",
            vec![
                json!([{"circle": 0.5}, {"square": 2.5}, {"named": "n"}, {"dots": [point, point]}, "nothing"]),
            ],
        ),
        ("echo-shape", vec![json!({"dots": []}), json!("nothing"), json!({"named": "x"})]),
        ("echo-color", vec![json!("red"), json!("blue")]),
        ("echo-perms", vec![json!([]), json!(["w", "f"])]),
        ("echo-option", vec![json!(null), json!("here")]),
        ("echo-options", vec![json!(null), json!({"some": null}), json!({"some": 3})]),
        ("echo-results", vec![json!([{"ok": "fine"}, {"err": 7}])]),
        ("echo-bare-results", vec![json!([{"ok": null}, {"err": null}, {"err": -5}])]),
    ];
    let functions: Vec<_> = cases.iter().map(|(function, _)| *function).collect();
    let echo = Echo::new(&functions);
    for (function, values) in cases {
        for value in values {
            let answer = echo.call(function, &json!({ "v": value }).to_string());
            let answer: Value = serde_json::from_str(&answer).expect("JSON");
            assert_eq!(answer, value, "{function}");
        }
    }
}

#[test]
fn bytes_come_and_go_as_they_are() {
    let echo = Echo::new(&["echo-bytes", "produce", "nothing"]);
    let bytes: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
    let call = || echo.host.call(&echo.zoe, "acme/echo/echo-bytes");
    let reply =
        call().octets(bytes.clone()).header("accept", "application/octet-stream").send().ok();
    assert_eq!(reply.header("content-type"), Some("application/octet-stream"));
    assert!(reply.body == bytes, "the bytes must come back unchanged");
    assert_eq!(call().octets(b"hi").send().ok().text(), "\"aGk=\"");
    assert_eq!(call().json(r#"{"v":[104,105]}"#).send().ok().text(), "\"aGk=\"");
    assert_eq!(call().json(r#"{"v":"aGk="}"#).send().ok().text(), "\"aGk=\"");
    assert_eq!(call().octets(b"").send().ok().text(), "\"\"");
    assert_eq!(echo.call("nothing", ""), "null");
    assert_eq!(echo.call("nothing", "{}"), "null");
    assert_eq!(echo.call("produce", r#"{"bytes":3}"#), "\"eHh4\"");
    let octets = echo.host.call(&echo.zoe, "acme/echo/nothing").octets(b"x");
    octets.send().problem(400, "invalid-arguments");
    let asked = echo.host.call(&echo.zoe, "acme/echo/nothing").json("");
    let asked = asked.header("accept", "application/octet-stream").send();
    asked.problem(502, "output-refused");
}

#[test]
fn many_parameters_go_through_memory() {
    let echo = Echo::new(&["echo-many"]);
    let body = r#"{"a":1,"b":2,"c":3,"d":18446744073709551615,"e":0.5,"f":0.1,"g":"g","h":"","i":"🦀","j":"j","k":true}"#;
    let answer = r#"[1,2,3,18446744073709551615,0.5,0.1,"g","","🦀","j",true]"#;
    assert_eq!(echo.call("echo-many", body), answer);
}

#[test]
fn a_plugin_s_own_error_is_a_refusal_with_a_receipt() {
    let echo = Echo::new(&["checked"]);
    let call = |body: &str| echo.host.call(&echo.zoe, "acme/echo/checked").json(body).send();
    assert_eq!(call(r#"{"v":{"ok":5}}"#).ok().text(), "5");
    let refused = call(r#"{"v":{"err":"no such thing"}}"#);
    let problem = refused.problem(422, "plugin-refused");
    assert_eq!(
        (&problem["error"], &problem["detail"]),
        (&json!("no such thing"), &json!("no such thing"))
    );
    assert!(refused.header("hospes-receipt").is_some());
}

#[test]
fn arguments_that_do_not_fit_are_named_and_cost_nothing() {
    let echo = Echo::new(&["echo-wide", "echo-u8"]);
    let call = |body: &str| echo.host.call(&echo.zoe, "acme/echo/echo-u8").json(body).send();
    for (body, said) in [
        (r#"{"v":256}"#, "/v"),
        (r#"{"v":-1}"#, "/v"),
        (r#"{"v":1.0}"#, "/v"),
        (r#"{"v":"1"}"#, "/v"),
        (r#"{"v":1,"w":2}"#, "/w"),
        (r#"{"v":1,"v":1}"#, "/v"),
        ("{}", "/v"),
        ("[1]", "takes `record"),
        ("{", "line 1"),
        (r#"{"v":1} x"#, "line 1"),
    ] {
        let problem = call(body).problem(400, "invalid-arguments");
        let detail = problem["detail"].as_str().expect("text");
        assert!(detail.contains(said), "{body}: {detail}");
    }
    let listed = echo.host.get("/api/agreements").bearer(&echo.zoe.api_key).send().ok().json();
    assert_eq!(listed["agreements"][0]["rules"][1]["used"], 0, "{listed}");
}

#[test]
fn a_guest_knows_its_terms_and_purpose_and_its_panics_are_traps() {
    let echo = Echo::new(&["about-call", "fall", "log-lines"]);
    let listed = echo.host.get("/api/agreements").bearer(&echo.zoe.api_key).send().ok().json();
    let about = echo.host.call(&echo.zoe, "acme/echo/about-call").json("");
    let about = about.header("hospes-purpose", "https://w3id.org/dpv#ResearchAndDevelopment");
    let about = about.send().ok().json();
    assert_eq!(about["agreement"], listed["agreements"][0]["id"]);
    assert_eq!(about["purpose"], "https://w3id.org/dpv#ResearchAndDevelopment");
    assert_eq!(
        about["output-bytes-max"],
        16 << 20,
        "the host's limit applies if the agreement has none"
    );
    let left = about["deadline-ms"].as_u64().expect("a number");
    assert!((25_000..=30_000).contains(&left), "{left}");
    let fallen =
        echo.host.call(&echo.zoe, "acme/echo/fall").json(r#"{"message":"by intent"}"#).send();
    assert_eq!(fallen.problem(502, "plugin-failed")["failure"], "trap");
    echo.call("log-lines", r#"{"lines":["one","two"]}"#);
}

#[test]
fn tensors_come_as_json_and_as_numpy_has_them() {
    let echo = Echo::new(&["echo-tensor", "echo-labelled", "weigh", "misshape"]);
    for tensor in [
        r#"{"datatype":"FP32","shape":[2,2],"data":[0.5,-0.0,1e-45,"NaN"]}"#,
        r#"{"datatype":"INT64","shape":[1],"data":[-9223372036854775808]}"#,
        r#"{"datatype":"FP16","shape":[],"data":[0.099975586]}"#,
        r#"{"datatype":"BYTES","shape":[2],"data":["a","🦀"]}"#,
        r#"{"datatype":"BOOL","shape":[0],"data":[]}"#,
    ] {
        echo.same("echo-tensor", tensor);
        echo.same(
            "echo-labelled",
            &format!(r#"[{{"label":"a","tensor":{tensor}}},{{"label":"b","tensor":null}}]"#),
        );
    }
    let lent = r#"{"v":{"datatype":"UINT16","shape":[3],"data":[1,2,3]},"times":4}"#;
    assert_eq!(echo.call("weigh", lent), "24");

    // As `numpy.save` writes it: as the body, as a form part, and in the response.
    let header = "{'descr': '<i2', 'fortran_order': False, 'shape': (2, 1), }";
    let header = format!("{header:<117}\n");
    let npy = [b"\x93NUMPY\x01\x00\x76\x00", header.as_bytes(), &[1, 0, 2, 0]].concat();
    let call = |function: &str| echo.host.call(&echo.zoe, &format!("acme/echo/{function}"));
    let json = call("echo-tensor").octets(npy.clone()).send().ok().text();
    assert_eq!(json, r#"{"datatype":"INT16","shape":[2,1],"data":[1,2]}"#);
    let octets = "application/octet-stream";
    let same = call("echo-tensor").octets(npy.clone()).header("accept", octets).send().ok();
    assert_eq!((same.header("content-type"), &same.body), (Some(octets), &npy));
    let form = [
        b"--b\r\ncontent-disposition: form-data; name=\"times\"\r\n\r\n10\r\n--b\r\ncontent-disposition: form-data; name=\"v\"; filename=\"v.npy\"\r\n\r\n".as_slice(),
        &npy,
        b"\r\n--b--\r\n",
    ]
    .concat();
    let weighed = call("weigh").header("content-type", "multipart/form-data; boundary=b");
    assert_eq!(weighed.body(form).send().ok().text(), "40");

    let refused = |body: &str, said: &str| {
        let problem = call("echo-tensor").json(body).send().problem(400, "invalid-arguments");
        assert!(problem["detail"].as_str().is_some_and(|d| d.contains(said)), "{problem}");
    };
    refused(r#"{"v":{"datatype":"INT8","shape":[1],"data":[128]}}"#, "`/v`");
    refused(r#"{"v":{"datatype":"INT8","shape":[2],"data":[1]}}"#, "`/v`");
    refused(r#"{"v":{"datatype":"INT8","shape":[1],"data":[1],"more":1}}"#, "`more`");
    refused(r#"{"v":[1]}"#, "`tensor`");
    let cut = call("echo-tensor").octets(npy[..100].to_vec()).send();
    cut.problem(400, "invalid-arguments");
    let bytes = r#"{"v":{"datatype":"BYTES","shape":[1],"data":["a"]}}"#;
    let unsendable = call("echo-tensor").json(bytes).header("accept", octets).send();
    unsendable.problem(502, "output-refused");
    let misshaped = call("misshape").json("{}").send().problem(502, "plugin-failed");
    assert!(
        misshaped["detail"].as_str().is_some_and(|d| d.contains("not a tensor")),
        "{misshaped}"
    );

    let document = echo.host.get("/acme/echo/openapi.json").bearer(&echo.zoe.api_key).send();
    let document = document.ok().json();
    let request = &document["paths"]["/acme/echo@1.0.0/echo-tensor"]["post"]["requestBody"];
    let schema = &request["content"]["application/json"]["schema"]["properties"]["v"];
    assert_eq!(schema["required"], json!(["datatype", "shape", "data"]), "{document}");
    assert!(request["content"]["application/octet-stream"].is_object());
}

#[test]
fn rows_and_types_of_tensors_among_values_are_held_to_the_agreement() {
    let host = TestHost::start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    let published = host.publish(&acme, &plugin("echo"));
    let rows = |function: &str| terms(function).limit("batchRows lteq 2");
    let permissions =
        vec![rows("echo-tensor").limit("inputDtype isAnyOf INT8"), rows("echo-labelled")];
    host.agree(&acme, &zoe, &published, permissions);
    let call = |function: &str, body: Value| {
        host.call(&zoe, &format!("acme/echo/{function}")).json(&body.to_string()).send()
    };
    let tensor = |datatype: &str, rows: usize| json!({"datatype": datatype, "shape": [rows, 1], "data": vec![1; rows]});
    call("echo-tensor", json!({"v": tensor("INT8", 2)})).ok();
    call("echo-tensor", json!({"v": tensor("INT8", 3)})).problem(403, "not-permitted");
    call("echo-tensor", json!({"v": tensor("INT16", 2)})).problem(403, "not-permitted");
    let labelled = |rows: usize| json!({"v": [{"label": "a", "tensor": tensor("INT16", rows)}]});
    call("echo-labelled", labelled(2)).ok();
    call("echo-labelled", labelled(3)).problem(403, "not-permitted");
}

#[test]
fn resources_are_made_for_a_call_and_gone_with_it() {
    let echo = Echo::new(&["counter-add", "counter-sum", "scale-weigh", "join"]);
    assert_eq!(echo.call("counter-add", r#"{"self":{"start":40},"steps":[1,1]}"#), "42");
    // A second call gives the same result: no state is kept.
    assert_eq!(echo.call("counter-add", r#"{"self":{"start":40},"steps":[1,1]}"#), "42");
    let many: Vec<_> = (0..5000).map(|start| json!({ "start": start })).collect();
    assert_eq!(echo.call("counter-sum", &json!({ "counters": many }).to_string()), "12497500");
    assert_eq!(echo.call("join", r#"{"pair":{"left":{"start":1},"right":{"start":2}}}"#), "3");
    assert_eq!(echo.call("join", r#"{"pair":{"left":{"start":1},"right":null}}"#), "1");
    // A resource whose constructor takes other resources.
    let tensor =
        |bytes: usize| json!({"datatype": "UINT8", "shape": [bytes], "data": vec![1; bytes]});
    let scale = json!({"unit": tensor(3), "zero": {"start": "9223372036854775800"}});
    let weighed = echo.call("scale-weigh", &json!({"self": scale, "v": tensor(12)}).to_string());
    assert_eq!(weighed, "9223372036854775804");

    let refused = |body: &str, said: &str| {
        let reply = echo.host.call(&echo.zoe, "acme/echo/counter-add").json(body).send();
        let problem = reply.problem(400, "invalid-arguments");
        assert!(problem["detail"].as_str().is_some_and(|d| d.contains(said)), "{problem}");
    };
    refused(r#"{"self":{"start":0.5},"steps":[]}"#, "`/self/start`");
    refused(r#"{"self":{"start":1,"end":2},"steps":[]}"#, "`/self/end`");
    refused(r#"{"self":{},"steps":[]}"#, "start");
    refused(r#"{"self":7,"steps":[]}"#, "counter { start: s64 }");
    refused(r#"{"steps":[]}"#, "self");
}

#[test]
fn a_document_says_what_makes_a_resource() {
    let echo = Echo::new(&["counter-add"]);
    let page = echo.host.get("/acme/echo/openapi.json").bearer(&echo.zoe.api_key).send();
    let document = page.ok().json();
    let operation = &document["paths"]["/acme/echo@1.0.0/counter-add"]["post"];
    assert_eq!(operation["description"], "Where it is after these steps.", "{operation}");
    let body = &operation["requestBody"]["content"]["application/json"];
    let counter = &body["schema"]["properties"]["self"];
    assert_eq!(*counter, json!({"$ref": "#/components/schemas/counter"}));
    let counter = &document["components"]["schemas"]["counter"];
    assert_eq!(counter["required"], json!(["start"]));
    assert_eq!(counter["description"], "Counts on from a number.");
    assert!(body["example"]["self"]["start"].is_number(), "{body}");
    // Functions that return a resource are not offered to callers.
    assert!(document["paths"]["/acme/echo@1.0.0/counter-copy"].is_null());
}
