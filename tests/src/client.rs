//! A plain HTTP client that reports any response as it is.

use std::sync::LazyLock;

use serde_json::Value;

static AGENT: LazyLock<ureq::Agent> = LazyLock::new(|| {
    ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).build().into()
});

/// A request under construction.
#[derive(Debug, Clone)]
pub struct Request {
    method: &'static str,
    url: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

/// A response.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn new(method: &'static str, url: impl Into<String>) -> Self {
        Self { method, url: url.into(), headers: Vec::new(), body: None }
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds an API key, or the operator's token.
    #[must_use]
    pub fn bearer(self, key: &str) -> Self {
        self.header("authorization", format!("Bearer {key}"))
    }

    #[must_use]
    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.body = Some(bytes.into());
        self
    }

    #[must_use]
    pub fn json(self, text: &str) -> Self {
        self.header("content-type", "application/json").body(text)
    }

    #[must_use]
    pub fn octets(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.header("content-type", "application/octet-stream").body(bytes)
    }

    /// Sends it.
    ///
    /// # Panics
    /// If there is no response.
    pub fn send(self) -> Reply {
        let url = self.url.clone();
        self.try_send().unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    /// Sends it; an error if there is no response.
    pub fn try_send(self) -> Result<Reply, ureq::Error> {
        let mut request = ureq::http::Request::builder().method(self.method).uri(&self.url);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let mut response = match self.body {
            Some(body) => AGENT.run(request.body(body).expect("a request"))?,
            None => AGENT.run(request.body(()).expect("a request"))?,
        };
        let headers = response.headers().iter().map(|(name, value)| {
            (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        });
        Ok(Reply {
            status: response.status().as_u16(),
            headers: headers.collect(),
            body: response.body_mut().with_config().limit(1 << 30).read_to_vec()?,
        })
    }
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// All values of a header, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let found = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str()).collect()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// Checks that it is a problem of this kind, and that its body repeats the status. Returns it.
    ///
    /// # Panics
    /// If it is not.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let problem = self.json();
        assert_eq!(problem["type"], format!("urn:hospes:problem:{code}"), "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(!detail.is_empty(), "{problem}");
        problem
    }

    /// Checks that it succeeded. Returns it.
    ///
    /// # Panics
    /// If it did not.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!((200..300).contains(&self.status), "{}: {}", self.status, self.text());
        self
    }
}
