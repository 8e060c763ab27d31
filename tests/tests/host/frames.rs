//! A storm of broken HTTP/2 frames and gRPC messages: none may crash the host, hang it or exhaust
//! its memory.
//!
//! `HOSPES_STORM` is the number of requests; the seed is fixed, so failures can be reproduced.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use system_tests::{Chance, Tensors, resident, storms};

const REQUESTS: usize = 8_000;
const THREADS: usize = 4;

/// The limit on this process's memory at the end, in bytes.
const MEMORY_MAX: u64 = 1500 << 20;

/// Kinds of frames (RFC 9113, section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Headers as literals that are never indexed (RFC 7541, section 6.2.2).
fn headers(path: &str, key: &str) -> Vec<u8> {
    let bearer = format!("Bearer {key}");
    let headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "x"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("authorization", &bearer),
    ];
    let text = |text: &str| {
        // A seven-bit prefix, then the rest of the number.
        let length = text.len();
        let prefix =
            if length < 127 { vec![length as u8] } else { vec![127, (length - 127) as u8] };
        [prefix, text.as_bytes().to_vec()].concat()
    };
    let literal = |(name, value): (&str, &str)| [vec![0], text(name), text(value)].concat();
    headers.into_iter().flat_map(literal).collect()
}

fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
    [&[tag, bytes.len() as u8][..], bytes].concat()
}

/// `ModelInfer` messages: contents as numbers and as raw bytes.
fn messages() -> Vec<(&'static str, Vec<u8>)> {
    let name = field(0x0a, b"acme/identity-fp32");
    let contents = field(0x2a, &field(0x32, &0.5_f32.to_le_bytes()));
    let parameter = [field(0x0a, b"timeout"), field(0x12, &[0x10, 9])].concat();
    let input = |more: &[u8]| {
        let parts = [field(0x0a, b"x"), field(0x12, b"FP32"), field(0x1a, &[1]), more.to_vec()];
        field(0x2a, &parts.concat())
    };
    let raw = [name.clone(), input(&[]), field(0x3a, &1_f32.to_le_bytes())].concat();
    let typed = [name.clone(), field(0x1a, b"id"), field(0x22, &parameter), input(&contents)];
    vec![
        ("/inference.GRPCInferenceService/ModelInfer", raw.clone()),
        ("/inference.GRPCInferenceService/ModelInfer", typed.concat()),
        ("/inference.GRPCInferenceService/ModelStreamInfer", raw),
        ("/inference.GRPCInferenceService/ModelMetadata", name),
        ("/inference.GRPCInferenceService/RepositoryModelLoad", field(0x12, b"acme/scalar")),
        ("/grpc.health.v1.Health/Check", field(0x0a, b"")),
        ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", field(0x3a, b"")),
    ]
}

/// What happened to a request.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// Its stream ended.
    Ended,
    /// Its stream or the connection was refused.
    Refused,
    /// The host waits for more of it.
    Waits,
}

/// Reads frames until the request's fate is known.
fn fate(stream: &mut TcpStream) -> Fate {
    let mut bytes = Vec::new();
    let mut part = [0; 8192];
    let mut pinged = false;
    loop {
        while let Some((frame, rest)) = split(&bytes) {
            let (kind, flags, number, payload) = frame;
            match kind {
                HEADERS | DATA if number != 0 => {
                    // `:status: 500` has its own index in the static table (RFC 7541, appendix A).
                    assert!(kind != HEADERS || payload.first() != Some(&0x8e), "an internal error");
                    if flags & END_STREAM != 0 {
                        return Fate::Ended;
                    }
                }
                RESET | GO_AWAY => return Fate::Refused,
                PING if flags & ACK != 0 => pinged = true,
                _ => {}
            }
            bytes.drain(..rest);
        }
        match stream.read(&mut part) {
            Ok(0) | Err(_) if pinged => return Fate::Waits,
            Ok(0) => return Fate::Refused,
            Ok(read) => bytes.extend_from_slice(&part[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Fate::Waits,
            Err(_) => return Fate::Refused,
        }
    }
}

type Frame = (u8, u8, u32, Vec<u8>);

/// The first frame and its length.
fn split(bytes: &[u8]) -> Option<(Frame, usize)> {
    let head = bytes.first_chunk::<9>()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let payload = bytes.get(9..9 + length)?.to_vec();
    let number = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    Some(((head[3], head[4], number, payload), 9 + length))
}

fn storm(address: SocketAddr, key: &str, requests: usize, seed: u64) -> [usize; 3] {
    let mut chance = Chance(seed);
    let messages = messages();
    let mut counts = [0; 3];
    for number in 0..requests {
        let (path, message) = &messages[chance.below(messages.len())];
        let mut message = message.clone();
        let (breaks_message, breaks_frames) =
            [(false, false), (true, false), (false, true)][chance.below(3)];
        if breaks_message {
            chance.break_it(&mut message);
        }
        let length = u32::try_from(message.len()).expect("short").to_be_bytes();
        let framed = [&[0][..], &length, &message].concat();
        let mut request = [
            frame(SETTINGS, 0, 0, &[]),
            frame(HEADERS, END_HEADERS, 1, &headers(path, key)),
            frame(DATA, END_STREAM, 1, &framed),
            frame(PING, 0, 0, &[7; 8]),
        ]
        .concat();
        if breaks_frames {
            chance.break_it(&mut request);
        }
        let mut stream = TcpStream::connect(address).expect("it still listens");
        stream.set_nodelay(true).expect("set");
        // After broken frames the host may wait for more, so the client soon gives up; the host has
        // its own time limits.
        let patience =
            if breaks_frames { Duration::from_millis(50) } else { Duration::from_secs(20) };
        stream.set_read_timeout(Some(patience)).expect("set");
        let since = Instant::now();
        let sent = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let fate = match sent.and_then(|()| stream.write_all(&request)) {
            Ok(()) => fate(&mut stream),
            Err(_) => Fate::Refused,
        };
        assert!(since.elapsed() < Duration::from_secs(15), "request {number} hangs: {request:?}");
        assert!(breaks_frames || fate == Fate::Ended, "request {number}: {fate:?}, {request:?}");
        counts[match fate {
            Fate::Ended => 0,
            Fate::Refused => 1,
            Fate::Waits => 2,
        }] += 1;
    }
    counts
}

#[test]
#[expect(clippy::print_stdout, reason = "longer runs are judged by the figures")]
fn broken_frames_and_messages_are_refused_and_nothing_else() {
    let fronts = Tensors::configured(|config| {
        config.sandbox.deadline = Duration::from_secs(5);
        config.api.body_read_timeout = Duration::from_millis(200);
        config.api.header_read_timeout = Duration::from_millis(200);
    });
    let (address, key) = (fronts.host.address(), &fronts.zoe.api_key);
    let (wanted, counts) =
        storms(REQUESTS, THREADS, |requests, seed| storm(address, key, requests, seed));
    let [ended, refused, waits] = counts;
    println!("{ended} ended, {refused} refused, {waits} waited; {} MiB", resident() >> 20);
    assert!(ended > wanted / 2 && refused > wanted / 20, "{counts:?}");
    assert!(resident() < MEMORY_MAX, "{} MiB", resident() >> 20);
    fronts.host.get("/healthz").send().ok();
}
