//! Requests that do harm, or try to, to a host with honest models, and their expected results.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How an input is sent.
pub enum Way {
    /// All at once.
    Whole,
    /// All of it, then single bytes from time to time until there is a response.
    Slow,
    /// All of it, then nothing more.
    Silent,
    /// All of it; then the client disconnects without reading the response.
    Gone,
}

/// The expected result of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Right {
    /// A response with this status and no receipt, as no call began.
    Refused(u16),
    /// A call began: the response's status and the receipt's result.
    Call(u16, &'static str),
    /// A refusal by gRPC: the status in the trailer, and no receipt.
    Grpc(u16),
    /// The connection is closed, possibly after a response.
    Closed,
    /// The client does not see any result.
    Unseen,
}

/// One input.
pub struct Input {
    pub name: String,
    pub bytes: Vec<u8>,
    pub way: Way,
    /// Whether it goes to the operator's listener.
    pub to_operator: bool,
    /// The allowed results.
    pub right: Vec<Right>,
}

impl Input {
    pub(crate) fn new(name: impl Into<String>, bytes: Vec<u8>, right: Right) -> Self {
        let name = name.into();
        Self { name, bytes, way: Way::Whole, to_operator: false, right: vec![right] }
    }

    /// A request with a key and a body.
    pub fn call(name: &str, key: &str, path: &str, body: &[u8], right: Right) -> Self {
        Self::new(name, Sender { key }.post(path, "", body), right)
    }

    /// Allows another result too.
    #[must_use]
    pub fn or(mut self, right: Right) -> Self {
        self.right.push(right);
        self
    }

    pub(crate) fn way(mut self, way: Way) -> Self {
        self.way = way;
        self
    }

    /// Sends it and returns what the client saw.
    ///
    /// # Panics
    /// If the connection is refused.
    pub fn send(&self, [everybody, operator]: [SocketAddr; 2]) -> Came {
        let address = if self.to_operator { operator } else { everybody };
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_nodelay(true).expect("set");
        let began = Instant::now();
        let _ = stream.write_all(&self.bytes);
        let mut came = Came { bytes: Vec::new(), closed: false, took: Duration::ZERO };
        match self.way {
            Way::Gone => {
                let _ = stream.shutdown(Shutdown::Both);
            }
            Way::Whole | Way::Silent => came.read(&mut stream, PATIENCE),
            Way::Slow => {
                while came.bytes.is_empty() && !came.closed && began.elapsed() < PATIENCE {
                    let _ = stream.write_all(b"1");
                    came.read(&mut stream, Duration::from_millis(50));
                }
            }
        }
        came.took = began.elapsed();
        came
    }
}

/// How long the host may leave a connection without a response.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a client saw.
pub struct Came {
    bytes: Vec<u8>,
    /// The host closed the connection.
    closed: bool,
    pub took: Duration,
}

impl Came {
    fn read(&mut self, stream: &mut TcpStream, patience: Duration) {
        stream.set_read_timeout(Some(patience)).expect("set");
        let mut part = [0; 8192];
        loop {
            match stream.read(&mut part) {
                Ok(0) => self.closed = true,
                Ok(read) => {
                    self.bytes.extend_from_slice(&part[..read]);
                    continue;
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => self.closed = true,
            }
            return;
        }
    }

    /// The bytes as text, for failure messages.
    pub fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes[..self.bytes.len().min(2000)]).into_owned();
        format!("{text} (closed: {}, {:?})", self.closed, self.took)
    }

    /// The value of a header in the first response.
    pub fn header(&self, name: &str) -> Option<String> {
        let text = String::from_utf8_lossy(&self.bytes);
        let head = text.split("\r\n\r\n").next()?;
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_owned())
    }

    fn status(&self) -> Option<u16> {
        let text = self.bytes.strip_prefix(b"HTTP/1.")?.get(2..5)?;
        std::str::from_utf8(text).ok()?.parse().ok()
    }

    /// Whether this is the result, apart from the receipt.
    pub fn is(&self, right: &Right) -> bool {
        let answers =
            self.bytes.windows(9).filter(|window| window.starts_with(b"HTTP/1.1 ")).count();
        let has_receipt = self.header("hospes-receipt").is_some();
        match right {
            Right::Refused(status) => {
                answers == 1 && self.status() == Some(*status) && !has_receipt
            }
            Right::Call(status, _) => answers == 1 && self.status() == Some(*status) && has_receipt,
            Right::Grpc(status) => {
                self.header("grpc-status") == Some(status.to_string()) && !has_receipt
            }
            Right::Closed => self.closed && !has_receipt,
            Right::Unseen => true,
        }
    }
}

/// Everything that is sent in one round, with this key. Its account may call `acme/echo` and the
/// models `acme/div`, `acme/gather`, `acme/loop`, `acme/same` (an FP32 identity) and `acme/text` (a
/// BYTES identity).
pub fn inputs(key: &str) -> Vec<Input> {
    let with = Sender { key };
    let mut all = with.to_models();
    all.extend(with.tensors());
    all.extend(with.in_bytes());
    all.extend(with.bodies());
    all.extend(with.to_guests());
    all.extend(with.broken());
    all.extend(with.heads());
    all.extend(with.paths());
    all.extend(with.keys());
    all.extend(with.slow());
    all.extend(with.grpc());
    all.extend(with.openai());
    all.extend(crate::siege_http2::inputs(key));
    all
}

const JSON: &str = "content-type: application/json\r\n";

struct Sender<'a> {
    key: &'a str,
}

impl Sender<'_> {
    /// A POST request with the key and any body.
    fn post(&self, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
        let length = format!("{headers}content-length: {}\r\n", body.len());
        self.head("POST", path, &length, body)
    }

    fn head(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {}\r\n{headers}\r\n",
            self.key
        );
        [head.as_bytes(), body].concat()
    }

    fn infer(&self, model: &str, inputs: &Value) -> Vec<u8> {
        let body = json!({ "inputs": inputs }).to_string();
        self.post(&format!("/v2/models/acme/{model}/infer"), JSON, body.as_bytes())
    }

    /// Inputs that make models fail or run forever.
    fn to_models(&self) -> Vec<Input> {
        let int64 = |name: &str, value: i64| json!({"name": name, "datatype": "INT64", "shape": [1], "data": [value]});
        let divided = |a, b| self.infer("div", &json!([int64("A", a), int64("B", b)]));
        // A call that loses its worker is retried: it waits, and a suspect also waits for the
        // others to finish. A worker may be killed at any time.
        let or_lost = |input: Input| {
            input
                .or(Right::Call(502, "failed: computation-lost"))
                .or(Right::Call(503, "failed: computation-paused"))
                .or(Right::Call(504, "failed: deadline"))
        };
        let gather = |at| self.infer("gather", &json!([int64("I", at)]));
        let lost = || Right::Call(502, "failed: computation-lost");
        let refused = || Right::Call(422, "refused by the plugin");
        let endless = self.infer("loop", &json!([int64("N", 1 << 62)]));
        let rows = [
            ("the smallest integer divided by -1", divided(i64::MIN, -1), lost()),
            ("division by zero", divided(1, 0), refused()),
            ("a missing row", gather(99), refused()),
            ("a row before the first", gather(i64::MIN), refused()),
            ("a row after the last", gather(i64::MAX), refused()),
            ("an endless loop", endless, Right::Call(504, "failed: deadline")),
        ];
        rows.into_iter()
            .map(|(name, bytes, right)| or_lost(Input::new(name, bytes, right)))
            .collect()
    }

    /// Tensors that contradict their headers.
    fn tensors(&self) -> Vec<Input> {
        let fp32 = |shape: Value, data: Value| json!([{"name": "x", "datatype": "FP32", "shape": shape, "data": data}]);
        let same = fp32(json!([1]), json!([1]))[0].clone();
        let rows = [
            ("a giant shape", fp32(json!([1_u64 << 40]), json!([]))),
            ("a negative shape", fp32(json!([-1]), json!([1]))),
            ("a shape that overflows", fp32(json!([1_u64 << 32, 1_u64 << 32, 16]), json!([1]))),
            (
                "a shape over 64 bits",
                fp32(serde_json::from_str("[99999999999999999999]").expect("JSON"), json!([1])),
            ),
            ("a shape of a thousand axes", fp32(json!(vec![1; 1000]), json!([1]))),
            ("a shape of another rank", fp32(json!([1, 1]), json!([1]))),
            ("a fractional shape", fp32(json!([1.5]), json!([1]))),
            ("fewer elements than the shape", fp32(json!([1000]), json!([1]))),
            ("more elements than the shape", fp32(json!([1]), json!(vec![1; 1000]))),
            ("text for numbers", fp32(json!([1]), json!(["1"]))),
            (
                "another type",
                json!([{"name": "x", "datatype": "INT64", "shape": [1], "data": [1]}]),
            ),
            (
                "an unknown type",
                json!([{"name": "x", "datatype": "FP33", "shape": [1], "data": [1]}]),
            ),
            ("another name", json!([{"name": "y", "datatype": "FP32", "shape": [1], "data": [1]}])),
            ("one input twice", json!([same, same])),
            ("no inputs", json!([])),
            ("inputs that are not a list", json!(7)),
        ];
        rows.into_iter()
            .map(|(name, inputs)| {
                Input::new(name, self.infer("same", &inputs), Right::Refused(400))
            })
            .collect()
    }

    /// The same with tensors as bytes after the JSON.
    fn in_bytes(&self) -> Vec<Input> {
        let binary = |name: &str,
                      model: &str,
                      (datatype, count, size): (&str, u64, i64),
                      head: Option<&str>,
                      tail: &[u8]| {
            let json = json!({"inputs": [{"name": "x", "datatype": datatype, "shape": [count], "parameters": {"binary_data_size": size}}]}).to_string();
            let length = head.map_or_else(|| json.len().to_string(), str::to_owned);
            let headers = format!("inference-header-content-length: {length}\r\n");
            let body = [json.as_bytes(), tail].concat();
            let path = format!("/v2/models/acme/{model}/infer");
            Input::new(name, self.post(&path, &headers, &body), Right::Refused(400))
        };
        vec![
            binary("fewer bytes than declared", "same", ("FP32", 4, 16), None, &[0; 4]),
            binary("more bytes than declared", "same", ("FP32", 1, 4), None, &[0; 64]),
            binary("a negative number of bytes", "same", ("FP32", 1, -4), None, &[0; 4]),
            binary("2^63 - 1 bytes", "same", ("FP32", 1, i64::MAX), None, &[0; 4]),
            binary(
                "a header longer than the body",
                "same",
                ("FP32", 1, 4),
                Some("99999999"),
                &[0; 4],
            ),
            binary("a negative header length", "same", ("FP32", 1, 4), Some("-1"), &[0; 4]),
            binary(
                "a header length over 64 bits",
                "same",
                ("FP32", 1, 4),
                Some("99999999999999999999"),
                &[0; 4],
            ),
            binary(
                "a text of four gigabytes",
                "text",
                ("BYTES", 1, 8),
                None,
                &[0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4],
            ),
            binary("half a text", "text", ("BYTES", 2, 6), None, &[2, 0, 0, 0, 1, 2]),
        ]
    }

    /// Bodies that are not JSON, or too much of it.
    fn bodies(&self) -> Vec<Input> {
        let echo = |name: &str, headers: &str, body: &[u8], status| {
            Input::new(name, self.post("/acme/echo/echo-u8", headers, body), Right::Refused(status))
        };
        let packed = |bytes: &[u8]| {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory")
        };
        let gzip = format!("{JSON}content-encoding: gzip\r\n");
        let twice = format!("{JSON}content-encoding: gzip, gzip\r\n");
        let unknown = format!("{JSON}content-encoding: rot13\r\n");
        let (bomb, one) = (packed(&vec![b' '; 64 << 20]), packed(br#"{"v":1}"#));
        let digits = format!(r#"{{"v":{}}}"#, "9".repeat(200_000));
        let many = format!("{{{}\"v\":1}}", r#""v":1,"#.repeat(100_000));
        let parts = "content-type: multipart/form-data; boundary=b\r\n";
        let part = "--b\r\ncontent-disposition: form-data; name=\"v\"\r\n\r\n1\r\n".repeat(5000);
        vec![
            echo("brackets 100,000 deep", JSON, "[".repeat(100_000).as_bytes(), 400),
            echo("objects 100,000 deep", JSON, r#"{"v":"#.repeat(100_000).as_bytes(), 400),
            echo("a number of 200,000 digits", JSON, digits.as_bytes(), 400),
            echo("a number beyond f64", JSON, br#"{"v":1e999999999}"#, 400),
            echo("a number out of its type's range", JSON, br#"{"v":256}"#, 400),
            echo("no UTF-8", JSON, b"{\"v\":\"\xff\xfe\"}", 400),
            echo("half a character", JSON, br#"{"v":"\ud800"}"#, 400),
            echo("a member twice", JSON, br#"{"v":1,"v":2}"#, 400),
            echo("a member 100,000 times", JSON, many.as_bytes(), 400),
            echo("nothing", JSON, b"", 400),
            echo("zeros", JSON, &[0; 1000], 400),
            echo("another media type", "content-type: text/html\r\n", br#"{"v":1}"#, 415),
            echo("an invalid media type", "content-type: ;;;\r\n", br#"{"v":1}"#, 415),
            echo("an unknown encoding", &unknown, br#"{"v":1}"#, 415),
            echo("packed twice", &twice, &packed(&one), 415),
            echo("a gzip bomb", &gzip, &bomb, 413),
            echo("truncated gzip", &gzip, &one[..one.len() / 2], 400),
            echo("no gzip", &gzip, br#"{"v":1}"#, 400),
            echo("a form of 5,000 parts", parts, part.as_bytes(), 400),
        ]
    }

    /// Calls that make the functions of `acme/echo` misbehave.
    fn to_guests(&self) -> Vec<Input> {
        let call = |name: &str, function: &str, body: &str, right| {
            let path = format!("/acme/echo/{function}");
            Input::new(name, self.post(&path, JSON, body.as_bytes()), right)
        };
        let trap = || Right::Call(502, "failed: trap");
        let lines =
            json!({"lines": vec!["a line\nlevel=ERROR another \u{1b}[31m"; 2000]}).to_string();
        vec![
            call("a panic", "fall", r#"{"message":"\n\u001b[31mforged"}"#, trap()),
            call("four gigabytes wanted", "produce", r#"{"bytes":4294967295}"#, trap()),
            call("a tensor that does not fit", "misshape", "{}", trap()),
            call(
                "an answer that is too large",
                "produce",
                r#"{"bytes":20000000}"#,
                Right::Call(502, "failed: output-too-large"),
            ),
            call("lines for the log", "log-lines", &lines, Right::Call(200, "answered")),
            call("no such function", "echo-nothing", "{}", Right::Refused(404)),
        ]
    }
}

mod http;
