//! A host with a scripted language model: `plugins/parrot-next` says what its request tells it to.

use serde_json::{Value, json};

use crate::{Party, Reply, TestHost, plugin, terms};

/// The host, the model's publisher and a consumer with agreements.
pub struct Talk {
    pub host: TestHost,
    pub acme: Party,
    pub zoe: Party,
}

impl Talk {
    /// The name of the model.
    pub const MODEL: &str = "acme/parrot-next";

    pub fn start() -> Self {
        let host = TestHost::start();
        let (acme, zoe) = (host.party("acme"), host.party("zoe"));
        let published = host.publish(&acme, &plugin("parrot-next"));
        let functions = ["complete", "go-on", "count", "rank"].map(terms);
        host.agree(&acme, &zoe, &published, functions.to_vec());
        Self { host, acme, zoe }
    }

    /// Sends a request about the model, which it need not name.
    pub fn post(&self, path: &str, body: &Value) -> Reply {
        let mut body = body.clone();
        if body["model"].is_null() {
            body["model"] = json!(Self::MODEL);
        }
        self.host.post(path).bearer(&self.zoe.api_key).json(&body.to_string()).send()
    }

    /// A chat with one turn: text to repeat, or a script.
    pub fn chat(&self, turn: &Value, more: &Value) -> Reply {
        let content = turn.as_str().map_or_else(|| turn.to_string(), str::to_owned);
        let mut body = json!({"messages": [{"role": "user", "content": content}]});
        for (name, value) in more.as_object().expect("members") {
            body[name] = value.clone();
        }
        self.post("/v1/chat/completions", &body)
    }
}

/// The data of each event of a response, without the last one of a chat or a completion.
pub fn events(reply: &Reply) -> Vec<Value> {
    assert_eq!(reply.header("content-type"), Some("text/event-stream; charset=utf-8"));
    let text = reply.text();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let data = data.filter(|data| *data != "[DONE]");
    data.map(|data| serde_json::from_str(data).expect("JSON")).collect()
}
