//! Requests that do or try harm to a host with honest models: the inputs, and their expected results.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How an input comes.
pub enum Way {
    /// All at once.
    Whole,
    /// All of it, and then a byte now and then until there is an answer.
    Slow,
    /// All of it, and then nothing more is ever said.
    Silent,
    /// All of it, and the client is gone without looking at the answer.
    Gone,
}

/// The expected result of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Right {
    /// An answer with this status and no receipt, for no call began.
    Refused(u16),
    /// A call began and ended so: the status, and the result of its receipt.
    Call(u16, &'static str),
    /// A refusal by gRPC: the status of the trailer, and no receipt.
    Grpc(u16),
    /// The connection is closed; there may be an answer before.
    Closed,
    /// Nobody is there to see.
    Unseen,
}

/// One input.
pub struct Input {
    pub name: String,
    pub bytes: Vec<u8>,
    pub way: Way,
    /// It goes to the operator's listener.
    pub to_operator: bool,
    /// Any of these is right.
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

    pub(crate) fn or(mut self, right: Right) -> Self {
        self.right.push(right);
        self
    }

    pub(crate) fn way(mut self, way: Way) -> Self {
        self.way = way;
        self
    }

    /// Sends it, and says what came of it.
    ///
    /// # Panics
    /// If nobody listens.
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

/// How long the host may leave a connection without a word.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a client has seen.
pub struct Came {
    bytes: Vec<u8>,
    /// The host has closed the connection.
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

    /// As text, for whoever looks for what went wrong.
    pub fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes[..self.bytes.len().min(2000)]).into_owned();
        format!("{text} (closed: {}, {:?})", self.closed, self.took)
    }

    /// The value of a header of the first answer.
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

    /// Whether this came, apart from the receipt.
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

/// Everything that is sent in a round, with this key, whose account may call `acme/div`, `acme/gather`, `acme/loop`, `acme/same` (an
/// identity of FP32), `acme/text` (one of BYTES), all of them models, and `acme/echo`.
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
    /// A request with a key and any body.
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

    /// Inputs that models compute wrongly, or for ever.
    fn to_models(&self) -> Vec<Input> {
        let int64 = |name: &str, value: i64| json!({"name": name, "datatype": "INT64", "shape": [1], "data": [value]});
        let divided = |a, b| self.infer("div", &json!([int64("A", a), int64("B", b)]));
        // A call that loses its worker waits, a suspect also for the others to finish, and a worker may be killed at any time.
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
            ("the least number by minus one", divided(i64::MIN, -1), lost()),
            ("one by zero", divided(1, 0), refused()),
            ("a row that is not there", gather(99), refused()),
            ("a row before the first", gather(i64::MIN), refused()),
            ("a row after the last", gather(i64::MAX), refused()),
            ("a loop without end", endless, Right::Call(504, "failed: deadline")),
        ];
        rows.into_iter()
            .map(|(name, bytes, right)| or_lost(Input::new(name, bytes, right)))
            .collect()
    }

    /// Tensors that are not what they say.
    fn tensors(&self) -> Vec<Input> {
        let fp32 = |shape: Value, data: Value| json!([{"name": "x", "datatype": "FP32", "shape": shape, "data": data}]);
        let same = fp32(json!([1]), json!([1]))[0].clone();
        let rows = [
            ("a giant shape", fp32(json!([1_u64 << 40]), json!([]))),
            ("a shape below zero", fp32(json!([-1]), json!([1]))),
            ("a shape that overflows", fp32(json!([1_u64 << 32, 1_u64 << 32, 16]), json!([1]))),
            (
                "a shape beyond 64 bits",
                fp32(serde_json::from_str("[99999999999999999999]").expect("JSON"), json!([1])),
            ),
            ("a shape of a thousand axes", fp32(json!(vec![1; 1000]), json!([1]))),
            ("a shape of another rank", fp32(json!([1, 1]), json!([1]))),
            ("a shape of fractions", fp32(json!([1.5]), json!([1]))),
            ("fewer elements than the shape", fp32(json!([1000]), json!([1]))),
            ("more elements than the shape", fp32(json!([1]), json!(vec![1; 1000]))),
            ("text for numbers", fp32(json!([1]), json!(["1"]))),
            (
                "another type",
                json!([{"name": "x", "datatype": "INT64", "shape": [1], "data": [1]}]),
            ),
            (
                "a type that is none",
                json!([{"name": "x", "datatype": "FP33", "shape": [1], "data": [1]}]),
            ),
            ("another name", json!([{"name": "y", "datatype": "FP32", "shape": [1], "data": [1]}])),
            ("one input twice", json!([same, same])),
            ("no inputs", json!([])),
            ("inputs that are none", json!(7)),
        ];
        rows.into_iter()
            .map(|(name, inputs)| {
                Input::new(name, self.infer("same", &inputs), Right::Refused(400))
            })
            .collect()
    }

    /// The same with tensors in bytes behind the JSON.
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
            binary("fewer bytes than it says", "same", ("FP32", 4, 16), None, &[0; 4]),
            binary("more bytes than it says", "same", ("FP32", 1, 4), None, &[0; 64]),
            binary("bytes below zero", "same", ("FP32", 1, -4), None, &[0; 4]),
            binary("as many bytes as there are", "same", ("FP32", 1, i64::MAX), None, &[0; 4]),
            binary(
                "a header longer than the body",
                "same",
                ("FP32", 1, 4),
                Some("99999999"),
                &[0; 4],
            ),
            binary("a header of no length", "same", ("FP32", 1, 4), Some("-1"), &[0; 4]),
            binary(
                "a header beyond 64 bits",
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

    /// Bodies that are no JSON, or too much of it.
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
            echo("a number beyond all", JSON, br#"{"v":1e999999999}"#, 400),
            echo("a number out of its type", JSON, br#"{"v":256}"#, 400),
            echo("no UTF-8", JSON, b"{\"v\":\"\xff\xfe\"}", 400),
            echo("half a character", JSON, br#"{"v":"\ud800"}"#, 400),
            echo("a member twice", JSON, br#"{"v":1,"v":2}"#, 400),
            echo("a member 100,000 times", JSON, many.as_bytes(), 400),
            echo("nothing", JSON, b"", 400),
            echo("zeros", JSON, &[0; 1000], 400),
            echo("another media type", "content-type: text/html\r\n", br#"{"v":1}"#, 415),
            echo("a media type that is none", "content-type: ;;;\r\n", br#"{"v":1}"#, 415),
            echo("an encoding that is none", &unknown, br#"{"v":1}"#, 415),
            echo("packed twice", &twice, &packed(&one), 415),
            echo("a bomb of gzip", &gzip, &bomb, 413),
            echo("half of gzip", &gzip, &one[..one.len() / 2], 400),
            echo("no gzip", &gzip, br#"{"v":1}"#, 400),
            echo("a form of 5,000 parts", parts, part.as_bytes(), 400),
        ]
    }

    /// What the functions of `acme/echo` are told to do.
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
