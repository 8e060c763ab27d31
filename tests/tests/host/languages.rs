//! Plugins in other languages: the same world in Python, JavaScript and C, each called through two
//! front ends.

use serde_json::{Value, json};
use system_tests::{Party, Reply, TestHost, plugin, terms};

const LANGUAGES: [&str; 3] = ["flower-python", "flower-js", "flower-c"];

/// A flower of each species.
const FLOWERS: [[f32; 4]; 3] = [[5.1, 3.5, 1.4, 0.2], [5.9, 2.8, 4.3, 1.3], [6.3, 3.3, 6.0, 2.5]];
const KINDS: [&str; 3] = ["setosa", "versicolor", "virginica"];

struct Scene {
    host: TestHost,
    zoe: Party,
}

fn scene(languages: &[&str]) -> Scene {
    let host = TestHost::start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    for (name, functions) in languages
        .iter()
        .map(|name| (*name, &["classify", "infer"][..]))
        .chain([("iris", &["infer"][..])])
    {
        let published = host.publish(&acme, &plugin(name));
        let functions = functions.iter().map(|function| terms(function)).collect();
        host.agree(&acme, &zoe, &published, functions);
    }
    Scene { host, zoe }
}

impl Scene {
    fn call(&self, path: &str, body: &Value) -> Reply {
        self.host.call(&self.zoe, &format!("acme/{path}")).json(&body.to_string()).send()
    }

    fn infer(&self, model: &str, body: &Value) -> Reply {
        let request = self.host.post(&format!("/v2/models/acme/{model}/infer"));
        request.bearer(&self.zoe.api_key).body(body.to_string()).send()
    }
}

fn tensor(flower: &[f32; 4]) -> Value {
    json!({"inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 4], "data": flower}]})
}

fn scores(reply: Reply) -> Vec<f64> {
    let reply = reply.ok().json();
    let outputs = reply["outputs"].as_array().expect("a list");
    let found = outputs.iter().find(|output| output["name"] == "probabilities").expect("scores");
    found["data"]
        .as_array()
        .expect("numbers")
        .iter()
        .map(|n| n.as_f64().expect("a number"))
        .collect()
}

#[test]
fn every_language_answers_through_both_fronts_as_the_model_does() {
    let scene = scene(&LANGUAGES);
    for language in LANGUAGES {
        for (kind, flower) in FLOWERS.iter().enumerate() {
            let labels =
                scene.call(&format!("{language}/classify"), &json!({"measurements": flower}));
            let labels = labels.ok().json();
            assert_eq!(labels[0]["name"], KINDS[kind], "{language}: {labels}");
            let expected = scores(scene.infer("iris", &tensor(flower)));
            for label in labels.as_array().expect("a list") {
                let place = KINDS.iter().position(|kind| label["name"] == *kind).expect("a kind");
                let score = label["score"].as_f64().expect("a number");
                assert!((score - expected[place]).abs() < 1e-6, "{language}: {labels}");
            }
            // Tensors over the Open Inference Protocol and as typed JSON.
            assert_eq!(scores(scene.infer(language, &tensor(flower))), expected, "{language}");
            let typed = scene.call(&format!("{language}/infer"), &tensor(flower));
            assert_eq!(scores(typed), expected, "{language}");
        }
    }
}

#[test]
fn every_language_refuses_in_its_own_words() {
    let scene = scene(&LANGUAGES);
    for language in LANGUAGES {
        let few = scene.call(&format!("{language}/classify"), &json!({"measurements": [1, 2]}));
        let few = few.problem(422, "plugin-refused");
        assert_eq!(few["error"], "2 measurements, a flower has 4", "{language}");
        let wrong =
            json!({"inputs": [{"name": "Y", "datatype": "FP32", "shape": [1], "data": [1]}]});
        let wrong = scene.infer(language, &wrong);
        assert_eq!(wrong.status, 422, "{language}: {}", wrong.text());
        assert!(wrong.text().contains('Y'), "{language}: {}", wrong.text());
    }
}

#[test]
fn instances_do_not_remember_each_other() {
    let scene = scene(&["flower-python"]);
    for _ in 0..20 {
        let labels = scene.call("flower-python/classify", &json!({"measurements": FLOWERS[0]}));
        assert_eq!(labels.ok().json()[0]["name"], KINDS[0]);
    }
}
