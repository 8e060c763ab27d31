//! An image of 600 KB over the Open Inference Protocol, compared with ONNX Runtime in this process.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::num::NonZeroUsize;
use std::time::Instant;

use hospes::inference::backend::onnxruntime::OnnxRuntime;
use hospes::inference::backend::{Backend as _, Source};
use hospes::tensor::{DataType, Tensor};
use system_tests::{Tensors, TestHost, batched_bundle, computed, terms, workspace};

use crate::report::{Figure, median};
use crate::{ROUND, ROUNDS, SERVER_THREADS, cores};

/// The input shape of EfficientNet-Lite0.
const SHAPE: [usize; 4] = [1, 3, 224, 224];

/// A tiny inference over one of the protocols, as measured by Triton's own tool.
pub fn perf_analyzer(protocol: &str) -> Figure {
    let fronts = Tensors::start();
    let round = |_| fronts.perf_analyzer(protocol).as_secs_f64() * 1e6;
    Figure::time_alone("µs", (0..ROUNDS).map(round).collect())
}

/// Milliseconds per inference, from the first byte sent to the last byte read; one at a time, both
/// on one thread.
pub fn efficientnet() -> Figure {
    let model = workspace().join("plugins/target/models/efficientnet-lite0/model.onnx");
    let model = std::fs::read(model).expect("`make plugins` brings it");
    let host = TestHost::builder().threads(SERVER_THREADS);
    let host = host.config(|config| config.inference.threads = NonZeroUsize::MIN).start();
    let (acme, zoe) = (host.party("acme"), host.party("zoe"));
    let published = host.publish(&acme, &batched_bundle("efficientnet", model.clone()));
    host.agree(&acme, &zoe, &published, vec![terms("infer")]);

    let pixels: usize = SHAPE.iter().product();
    let data: Vec<u8> = (0..pixels)
        .flat_map(|pixel| ((pixel * 37 % 256) as f32 / 127.5 - 1.0).to_le_bytes())
        .collect();
    let runtime =
        OnnxRuntime::find(&[TestHost::onnxruntime()], NonZeroUsize::MIN).expect("it loads");
    let bare = runtime.load(Source::Model(&model)).expect("it loads");
    let tensor = Tensor::new(DataType::F32, SHAPE.to_vec(), data.clone().into()).expect("it fits");
    let input = [Some(tensor)];
    let mut front = Front::new(&host, &zoe.api_key, &data);

    let expected = computed(&*bare, &input);
    assert_eq!(front.infer(), expected[0].data().as_ref(), "both compute the same output");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(cores::as_client(|| millis(|| drop(front.infer()))));
        theirs.push(millis(|| drop(computed(&*bare, &input))));
    }
    Figure::time("ms", ours, theirs)
}

/// The median time over one round, in milliseconds.
fn millis(mut work: impl FnMut()) -> f64 {
    let (began, mut times) = (Instant::now(), Vec::new());
    while began.elapsed() < ROUND {
        let one = Instant::now();
        work();
        times.push(one.elapsed().as_secs_f64() * 1e3);
    }
    median(times)
}

/// A connection and the bytes of one request, as `tritonclient` sends them.
struct Front {
    stream: TcpStream,
    request: Vec<u8>,
}

impl Front {
    fn new(host: &TestHost, key: &str, data: &[u8]) -> Self {
        let json = format!(
            r#"{{"inputs":[{{"name":"image","shape":[1,3,224,224],"datatype":"FP32","parameters":{{"binary_data_size":{}}}}}],"parameters":{{"binary_data_output":true}}}}"#,
            data.len()
        );
        let head = format!(
            "POST /v2/models/acme/efficientnet/infer HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n\
             inference-header-content-length: {}\r\ncontent-length: {}\r\n\r\n",
            json.len(),
            json.len() + data.len()
        );
        let stream = TcpStream::connect(host.address()).expect("it listens");
        stream.set_nodelay(true).expect("set");
        Self { stream, request: [head.as_bytes(), json.as_bytes(), data].concat() }
    }

    /// The bytes of the only output.
    fn infer(&mut self) -> Vec<u8> {
        self.stream.write_all(&self.request).expect("sent");
        let mut answer = Vec::new();
        let mut part = [0; 16 << 10];
        loop {
            let read = self.stream.read(&mut part).expect("an answer");
            assert!(read > 0, "the response is incomplete: {}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&part[..read]);
            let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
                continue;
            };
            let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
            assert!(head.starts_with("http/1.1 200"), "{head}");
            let number = |name: &str| -> usize {
                let line = head.lines().find_map(|line| line.strip_prefix(name)).expect("a header");
                line.trim().parse().expect("a number")
            };
            let body = end + 4;
            if answer.len() == body + number("content-length:") {
                return answer.split_off(body + number("inference-header-content-length:"));
            }
        }
    }
}
