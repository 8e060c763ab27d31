//! Requests to a host. Time and size are limited, and redirects are not followed.
//!
//! Ignores the environment's proxies, so that an API key goes only to the named host.

use std::io::{Read, Write};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::config::ConfigBuilder;
use ureq::http::{HeaderMap, Response};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::typestate::AgentScope;
use ureq::{Agent, Body, SendBody};

use super::failure::{During as _, Failure};
use super::problem::{self, Asked};
use hospes_config::BaseUrl;

/// Most pages of a list to fetch.
const PAGES_MAX: usize = 1000;

/// Largest document to read from a host, in bytes.
pub const DOCUMENT_BYTES_MAX: u64 = 16 << 20;
/// Largest result of a call to read, in bytes.
pub const RESULT_BYTES_MAX: u64 = 256 << 20;

/// The header that names a call's receipt.
pub const RECEIPT: &str = "hospes-receipt";

/// The option that names the operator's listener.
const OPERATOR: &str = "--operator";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For a quick check whether a host is there.
const LOOK_TIMEOUT: Duration = Duration::from_secs(3);
/// A host may compile a bundle before it answers, `hospes dev` for ten minutes, and a call may run for minutes.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(15);
/// For a large bundle over a slow line.
const SEND_TIMEOUT: Duration = Duration::from_hours(1);
/// For a whole data directory.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_hours(24);

/// The host's address, with a proxy's prefix if there is one.
pub type HostUrl = BaseUrl;

/// One host, and the API key or token for it.
pub struct Client {
    agent: Agent,
    host: HostUrl,
    bearer: Option<String>,
    /// The option that names the host, for messages.
    option: &'static str,
}

/// A request.
pub struct Post<'a> {
    pub content_type: &'static str,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    pub body: Payload<'a>,
}

/// The bytes of a request.
pub enum Payload<'a> {
    Bytes(Vec<u8>),
    /// This number of bytes from a reader, sent after the host's `100 Continue`.
    Reader(&'a mut dyn Read, u64),
}

/// A successful answer.
pub struct Reply {
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Post<'static> {
    /// What a route of the host's own takes, as a type of its API.
    pub fn json(body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).expect("invariant: the API's types always serialise");
        Self { content_type: "application/json", headers: Vec::new(), body: Payload::Bytes(body) }
    }
}

/// Settings for a client that talks only to the named host.
fn direct(is_verified: bool) -> ConfigBuilder<AgentScope> {
    // The machine's trusted certificates; `SSL_CERT_FILE` adds a private one.
    let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier);
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .tls_config(tls.disable_verification(!is_verified).build())
        .user_agent(concat!("hospes/", env!("CARGO_PKG_VERSION")))
}

impl Client {
    /// A client for `host` that sends `bearer`, if there is one.
    pub fn new(host: HostUrl, bearer: Option<String>) -> Self {
        let config = direct(true)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_send_body(Some(SEND_TIMEOUT))
            .timeout_recv_response(Some(ANSWER_TIMEOUT))
            .timeout_recv_body(Some(ANSWER_TIMEOUT))
            .build();
        Self { agent: config.into(), host, bearer, option: "--host" }
    }

    /// The same, for the operator's listener.
    pub fn operator(host: HostUrl, token: String) -> Self {
        Self { option: OPERATOR, ..Self::new(host, Some(token)) }
    }

    /// A client with a short timeout, to see who answers. Without a secret it accepts any certificate, because nothing relies on the
    /// answer and this machine's trust says nothing about other clients'.
    pub fn looking(host: HostUrl, bearer: Option<String>) -> Self {
        let config = direct(bearer.is_some()).timeout_global(Some(LOOK_TIMEOUT)).build();
        Self { agent: config.into(), host, bearer, option: "--host" }
    }

    /// Gets a JSON document, raw and parsed. Unknown members are ignored, so that a command works with a newer host.
    ///
    /// # Errors
    /// If the host cannot be reached, refuses, or answers with something else.
    pub fn document<T: DeserializeOwned>(&self, path: &str) -> Result<(Value, T), Failure> {
        self.get(path)?.document()
    }

    /// Gets all pages of a list, and joins the entries under `member` into one document.
    ///
    /// # Errors
    /// As [`Client::document`], and if there are more than [`PAGES_MAX`] pages.
    pub fn pages<T: DeserializeOwned>(
        &self,
        path: &str,
        member: &str,
    ) -> Result<(Value, T), Failure> {
        let first = path;
        let mut path = first.to_owned();
        let (mut all, mut entries) = (Value::Null, Vec::new());
        for _ in 0..PAGES_MAX {
            let (mut page, _): (Value, Value) = self.document(&path)?;
            match page[member].take() {
                Value::Array(some) => entries.extend(some),
                other => entries.push(other),
            }
            let next = page["next"].as_str().map(str::to_owned);
            all = page;
            let Some(next) = next else {
                all[member] = Value::Array(entries);
                let document = serde_json::from_value(all.clone())
                    .during(|| "the host's response has an unexpected form".to_owned())?;
                return Ok((all, document));
            };
            let separator = if first.contains('?') { '&' } else { '?' };
            path = format!("{first}{separator}after={next}");
        }
        Err(Failure::new(format!(
            "the host's list has more than {PAGES_MAX} pages, the last seen at {all}"
        )))
    }

    /// Gets bytes as they are.
    ///
    /// # Errors
    /// If the host cannot be reached or refuses.
    pub fn get(&self, path: &str) -> Result<Reply, Failure> {
        let mut request = self.agent.get(format!("{}{path}", self.host));
        if let Some(bearer) = &self.bearer {
            request = request.header("authorization", format!("Bearer {bearer}"));
        }
        self.answered(path, request.call(), DOCUMENT_BYTES_MAX)
    }

    /// Streams a response of any size into `out`.
    ///
    /// # Errors
    /// If the host cannot be reached, refuses or breaks off, or `out` cannot be written.
    pub fn download(&self, path: &str, out: &mut impl Write) -> Result<(), Failure> {
        let request = self.agent.get(format!("{}{path}", self.host)).config();
        let mut request = request.timeout_recv_body(Some(DOWNLOAD_TIMEOUT)).build();
        if let Some(bearer) = &self.bearer {
            request = request.header("authorization", format!("Bearer {bearer}"));
        }
        let mut response = request.call().map_err(|error| self.unreachable(error))?;
        if !response.status().is_success() {
            return self.answered(path, Ok(response), DOCUMENT_BYTES_MAX).map(drop);
        }
        let copied = std::io::copy(&mut response.body_mut().as_reader(), out);
        copied.map(drop).during(|| format!("the response from {} broke off", self.host))
    }

    /// Sends a request.
    ///
    /// # Errors
    /// If the host cannot be reached or refuses.
    pub fn post(&self, path: &str, post: Post<'_>) -> Result<Reply, Failure> {
        let mut request = self
            .agent
            .post(format!("{}{path}", self.host))
            .header("content-type", post.content_type);
        if let Some(bearer) = &self.bearer {
            request = request.header("authorization", format!("Bearer {bearer}"));
        }
        for (name, value) in &post.headers {
            request = request.header(*name, value);
        }
        let answer = match post.body {
            Payload::Bytes(bytes) => request.send(&bytes),
            Payload::Reader(mut reader, length) => request
                .header("content-length", length.to_string())
                .header("expect", "100-continue")
                .send(SendBody::from_reader(&mut reader)),
        };
        self.answered(path, answer, RESULT_BYTES_MAX)
    }

    fn answered(
        &self,
        path: &str,
        answer: Result<Response<Body>, ureq::Error>,
        bytes_max: u64,
    ) -> Result<Reply, Failure> {
        let mut response = answer.map_err(|error| self.unreachable(error))?;
        let status = response.status();
        let body = response.body_mut().with_config().limit(bytes_max).read_to_vec();
        let body = body.map_err(|error| match error {
            ureq::Error::BodyExceedsLimit(_) => {
                Failure::new(format!("the response exceeds the limit of {bytes_max} bytes"))
            }
            other => self.unreachable(other),
        })?;
        if status.is_success() {
            Ok(Reply { headers: response.headers().clone(), body })
        } else {
            let receipt = response.headers().get(RECEIPT).and_then(|call| call.to_str().ok());
            let is_operator = self.option == OPERATOR;
            let asked = Asked { host: &self.host, path, is_operator };
            let failure = problem::failure(status.as_u16(), &body, asked).receipt(receipt);
            if is_operator && status.as_u16() == 401 {
                return Err(failure.fix(
                    "name this host's data directory with `--data DIR`, or its token with `--token-file FILE`",
                ));
            }
            Err(failure)
        }
    }

    fn unreachable(&self, error: ureq::Error) -> Failure {
        let failure =
            Failure::from(error).during(format!("cannot talk to the host at {}", self.host));
        let option = self.option;
        failure
            .fix(format!("start a host with `hospes serve`, or name another with `{option} URL`"))
    }
}

impl Reply {
    /// The body as a JSON document.
    ///
    /// # Errors
    /// If it does not parse.
    pub fn document<T: DeserializeOwned>(&self) -> Result<(Value, T), Failure> {
        let unexpected = || "the host's response has an unexpected form".to_owned();
        let value: Value = serde_json::from_slice(&self.body).during(unexpected)?;
        let document = serde_json::from_value(value.clone()).during(unexpected)?;
        Ok((value, document))
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread::{self, JoinHandle};

    use super::*;

    /// A host that gives one answer, and returns what it was sent.
    fn answering(answer: &'static [u8]) -> (HostUrl, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let served = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut request = vec![0; 4096];
            let count = stream.read(&mut request).expect("a request");
            stream.write_all(answer).expect("an answer");
            String::from_utf8_lossy(&request[..count]).into_owned()
        });
        (format!("http://{address}").parse().expect("an address"), served)
    }

    #[test]
    fn a_prefix_of_the_host_is_in_front_of_every_path() {
        let (host, served) = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
        let host: HostUrl = format!("{host}/ml/models/").parse().expect("an address");
        Client::new(host, None).get("/api/market").map(drop).expect("answered");
        let request = served.join().expect("served");
        assert!(request.starts_with("GET /ml/models/api/market HTTP/1.1"), "{request}");
    }

    #[test]
    fn the_key_is_sent_and_the_document_read() {
        let (host, served) = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n{\"a\":1}");
        let client = Client::new(host, Some("hsp_secret".into()));
        let (value, _): (Value, Value) = client.document("/api/market").expect("a document");
        assert_eq!(value["a"], 1);
        let request = served.join().expect("served").to_ascii_lowercase();
        assert!(request.starts_with("get /api/market http/1.1"), "{request}");
        assert!(request.contains("authorization: bearer hsp_secret"), "{request}");
    }

    #[test]
    fn a_redirect_does_not_carry_the_key_away() {
        let (host, _served) = answering(
            b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n",
        );
        let refused = Client::new(host, Some("k".into())).get("/").err().expect("refused");
        assert!(refused.to_string().contains("answered 302"), "{refused}");
    }

    #[test]
    fn a_bundle_is_sent_only_after_the_host_wants_it() {
        let (host, served) = answering(
            b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}",
        );
        let post = Post {
            content_type: "application/wasm",
            headers: Vec::new(),
            body: Payload::Reader(&mut std::io::repeat(7).take(1 << 20), 1 << 20),
        };
        let refused = Client::new(host, None).post("/api/bundles", post).err().expect("refused");
        assert!(refused.to_string().contains("answered 401"), "{refused}");
        let request = served.join().expect("served").to_ascii_lowercase();
        assert!(request.contains("expect: 100-continue"), "{request}");
        assert!(request.contains("content-length: 1048576"), "{request}");
        assert!(request.ends_with("\r\n\r\n"), "the body was held back");
    }

    #[test]
    fn nobody_there_is_said_with_a_fix() {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let host: HostUrl =
            format!("http://{}", port.expect("a port")).parse().expect("an address");
        let asked = |client: Client| client.get("/").err().expect("refused").to_string();
        let refused = asked(Client::new(host.clone(), None));
        assert!(refused.contains("hospes serve") && refused.contains("`--host URL`"), "{refused}");
        let refused = asked(Client::operator(host, "t".into()));
        assert!(refused.contains("`--operator URL`"), "{refused}");
    }
}
