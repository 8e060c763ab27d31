//! Floods of HTTP/2 frames. The host ends the connection or is unharmed.

use crate::siege::{Input, Right};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const TIMES: usize = 2000;

/// Kinds of frames (RFC 9113, section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH: u8 = 5;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The header block of `GET /healthz`, with names from HPACK's static table.
fn healthz() -> Vec<u8> {
    let path = [&[0x44, 8][..], b"/healthz"].concat();
    [&[0x82, 0x86][..], &path, &[0x41, 1, b'x']].concat()
}

fn stream(number: usize) -> u32 {
    u32::try_from(2 * number + 1).expect("a 32-bit stream ID")
}

pub(crate) fn inputs(key: &str) -> Vec<Input> {
    let key = [
        &[0x0f, 0x08, u8::try_from(key.len() + 7).expect("short")][..],
        b"Bearer ",
        key.as_bytes(),
    ]
    .concat();
    let known = |block: &[u8]| [block, &key].concat();
    let resets: Vec<u8> = (0..TIMES)
        .flat_map(|number| {
            let head = frame(HEADERS, 5, stream(number), &healthz());
            [head, frame(RESET, 0, stream(number), &[0, 0, 0, 8])].concat()
        })
        .collect();
    let open: Vec<u8> = (0..TIMES)
        .flat_map(|number| frame(HEADERS, 4, stream(number), &known(&healthz())))
        .collect();
    let setting = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]);
    let window = frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]);
    let goes_on =
        [frame(HEADERS, 1, 1, &healthz()), frame(CONTINUATION, 0, 1, &[]).repeat(TIMES)].concat();
    let bomb = {
        // A long header enters the dynamic table once and is then referenced repeatedly.
        let long = [&[0x40, 1, b'x', 0x7f, 0x80 | 0x01, 0x1e][..], &[b'y'; 4000 - 32]].concat();
        let named = vec![0xbe; 12_000];
        frame(HEADERS, 5, 1, &[healthz(), long, named].concat())
    };
    let headless = frame(HEADERS, 5, 1, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    let rows = [
        ("streams reset at once", resets),
        ("streams that stay open", open),
        ("settings without end", setting.repeat(TIMES)),
        ("malformed settings", frame(SETTINGS, 0, 0, &[0; 5])),
        ("a window overflow", window.repeat(4)),
        ("zero window updates", frame(WINDOW_UPDATE, 0, 0, &[0; 4]).repeat(TIMES)),
        ("pings without end", frame(PING, 0, 0, &[0; 8]).repeat(TIMES)),
        ("a ping of another length", frame(PING, 0, 0, &[0; 7])),
        ("an endless header block", goes_on),
        ("an HPACK bomb", bomb),
        ("an invalid header block", headless),
        ("data without a request", frame(DATA, 1, 1, b"{}")),
        ("a push promise from a client", frame(PUSH, 4, 1, &[0, 0, 0, 2])),
        ("priorities without end", frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 7]).repeat(TIMES)),
        (
            "a frame of 16 MiB",
            [&[0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1][..], &[0; 100_000]].concat(),
        ),
        ("an even stream", frame(HEADERS, 5, 2, &healthz())),
    ];
    let input = |(name, frames): (&str, Vec<u8>)| {
        let bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frames].concat();
        Input::new(name, bytes, Right::Closed)
    };
    let half = Input::new("half of HTTP/2's greeting", PREFACE[..10].to_vec(), Right::Closed);
    rows.into_iter().map(input).chain([half]).collect()
}
