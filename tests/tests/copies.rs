//! Counts copied bytes: a large tensor is copied once on its way in and once on its way out, plus
//! once each way between the host and a worker.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};

use hospes::config::Isolation;
use hospes::inference::backend::onnxruntime::OnnxRuntime;
use hospes::inference::backend::{Backend as _, Source};
use hospes::tensor::{DataType, Tensor};
use system_tests::{Tensors, TestHost, computed, identity};

/// All bytes copied in this process, by the host, ONNX Runtime or any other library.
static COPIED: AtomicU64 = AtomicU64::new(0);

/// Replaces the C library's function for the whole process.
#[expect(unsafe_code, reason = "it implements a C function")]
#[unsafe(no_mangle)]
// SAFETY: the name, the arguments and the behaviour are those of C's `memmove`.
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    COPIED.fetch_add(length as u64, Ordering::Relaxed);
    // Volatile, because the compiler would turn a plain copy into a call of `memmove`, which is
    // this function.
    let copy = |index| {
        // SAFETY: the caller guarantees that `length` bytes may be read and written.
        unsafe { to.add(index).write_volatile(from.add(index).read_volatile()) }
    };
    if (to as usize) < from as usize {
        (0..length).for_each(copy);
    } else {
        (0..length).rev().for_each(copy);
    }
    to
}

#[expect(unsafe_code, reason = "it implements a C function")]
#[unsafe(no_mangle)]
// SAFETY: as above; `memmove` guarantees more than `memcpy` has to.
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    // SAFETY: as above.
    unsafe { memmove(to, from, length) }
}

/// Bytes of the tensor: a 224 by 224 image with three channels.
const TENSOR_BYTES: usize = 3 * 224 * 224 * 4;

/// What a call may copy besides its tensors: HTTP heads, JSON, receipts, released memory.
const REST_BYTES_MAX: u64 = 128 << 10;

const CALLS: u64 = 10;

fn copied_by(mut work: impl FnMut()) -> u64 {
    work();
    let before = COPIED.load(Ordering::Relaxed);
    (0..CALLS).for_each(|_| work());
    (COPIED.load(Ordering::Relaxed) - before) / CALLS
}

/// How many bytes a call copies in this process if a tensor goes in and comes out again.
fn copied_by_a_call(isolation: Isolation, data: &[u8]) -> u64 {
    let fronts = Tensors::configured(|config| {
        config.inference.isolation = isolation;
        config.inference.trusted_publishers = vec!["acme".parse().expect("a name")];
    });
    let mut caller = Caller::new(&fronts, data);
    let copied = copied_by(|| caller.infer());
    assert!(caller.answer.ends_with(data), "the model is an identity");
    copied
}

#[test]
fn a_tensor_is_copied_once_each_way_and_once_more_into_and_out_of_a_worker() {
    let data: Vec<u8> = (0..TENSOR_BYTES).map(|index| (index % 61) as u8).collect();
    let tensor_bytes = TENSOR_BYTES as u64;

    // ONNX Runtime's own copies happen in the worker, so they are not counted here.
    let apart = copied_by_a_call(Isolation::Publisher, &data);
    let fifth = 5 * tensor_bytes;
    assert!(apart < fifth, "{apart} B were copied, which must be less than {fifth}");

    // What the library copies if it is called without a host.
    let runtime =
        OnnxRuntime::find(&[TestHost::onnxruntime()], NonZeroUsize::MIN).expect("it loads");
    let bare = runtime.load(Source::Model(&identity(DataType::F32, 1))).expect("it loads");
    let tensor = Tensor::new(DataType::F32, vec![TENSOR_BYTES / 4], data.clone().into());
    let input = [Some(tensor.expect("it fits"))];
    let library = copied_by(|| {
        let outputs = computed(&*bare, &input);
        assert_eq!(outputs[0].data().len(), TENSOR_BYTES);
    });
    assert!(library > tensor_bytes, "the copies are counted");
    let host = copied_by_a_call(Isolation::None, &data).saturating_sub(library);
    // Without optimisations, the calls' own state is moved, and thus copied, as well.
    let rest = if cfg!(debug_assertions) { tensor_bytes } else { REST_BYTES_MAX };
    let allowed = 2 * tensor_bytes + rest;
    assert!(
        host <= allowed,
        "{host} B were copied (limit {allowed}), plus {library} B by ONNX Runtime"
    );
}

/// A client that copies nothing itself.
struct Caller {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Caller {
    fn new(fronts: &Tensors, data: &[u8]) -> Self {
        let json = format!(
            r#"{{"inputs":[{{"name":"x","shape":[{}],"datatype":"FP32","parameters":{{"binary_data_size":{}}}}}],"parameters":{{"binary_data_output":true}}}}"#,
            data.len() / 4,
            data.len()
        );
        let head = format!(
            "POST /v2/models/identity-fp32/infer HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
             inference-header-content-length: {}\r\ncontent-length: {}\r\n\r\n",
            fronts.zoe.api_key,
            json.len(),
            json.len() + data.len()
        );
        let stream = TcpStream::connect(fronts.host.address()).expect("it listens");
        let request = [head.as_bytes(), json.as_bytes(), data].concat();
        Self { stream, request, answer: vec![0; TENSOR_BYTES + (16 << 10)] }
    }

    /// Reads the response into `answer`; the tensor is at its end.
    fn infer(&mut self) {
        self.stream.write_all(&self.request).expect("sent");
        self.answer.resize(self.answer.capacity(), 0);
        let (mut filled, mut whole) = (0, usize::MAX);
        while filled < whole {
            filled += self.stream.read(&mut self.answer[filled..]).expect("an answer");
            let head = self.answer[..filled].windows(4).position(|four| four == b"\r\n\r\n");
            let Some(head) = head.filter(|_| whole == usize::MAX) else { continue };
            let text = std::str::from_utf8(&self.answer[..head]).expect("text");
            assert!(text.starts_with("HTTP/1.1 200"), "{text}");
            let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
            whole = head + 4 + length.expect("a length").parse::<usize>().expect("a number");
        }
        self.answer.truncate(whole);
    }
}
