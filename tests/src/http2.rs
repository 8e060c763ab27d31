//! A handwritten HTTP/2 client that may stop anywhere and reports the fate of each request.

use std::collections::HashMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Kinds of frames (RFC 9113, section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// The error code of a reset by a peer that no longer needs the stream (section 7).
const CANCEL: u32 = 8;

/// The setting that limits how much of a response may be sent before a window update (section
/// 6.5.2).
const INITIAL_WINDOW_SIZE: u16 = 4;

/// The default window and the largest frame (section 6.5.2).
const WINDOW_BYTES: i64 = 65_535;
const FRAME_BYTES_MAX: usize = 16_384;

/// What has happened to a request so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fate {
    /// The response's headers have arrived.
    pub answered: bool,
    /// The response has ended.
    pub ended: bool,
    /// The host has reset the stream.
    pub reset: bool,
    /// Bytes of the response's body so far.
    pub bytes: usize,
}

/// One connection.
pub struct Http2 {
    stream: TcpStream,
    received: Vec<u8>,
    /// What may be sent: on the connection, on each stream, and on a new stream.
    window: i64,
    windows: HashMap<u32, i64>,
    initial: i64,
    next: u32,
    fates: HashMap<u32, Fate>,
    going: bool,
    closed: bool,
    gives: bool,
}

impl Http2 {
    /// Connects and sends the preface.
    ///
    /// # Panics
    /// If the connection is refused.
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_nodelay(true).expect("set");
        let mut client = Self {
            stream,
            received: Vec::new(),
            window: WINDOW_BYTES,
            windows: HashMap::new(),
            initial: WINDOW_BYTES,
            next: 1,
            fates: HashMap::new(),
            going: false,
            closed: false,
            gives: true,
        };
        client.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        client.frame(SETTINGS, 0, 0, &[]);
        client
    }

    /// Never enlarges the window that the host's streams begin with.
    #[must_use]
    pub fn stingy(mut self) -> Self {
        self.gives = false;
        self
    }

    /// Lets the host send response headers, but no bytes of the bodies.
    #[must_use]
    pub fn deaf(mut self) -> Self {
        self.gives = false;
        let nothing = [&INITIAL_WINDOW_SIZE.to_be_bytes()[..], &0_u32.to_be_bytes()].concat();
        self.frame(SETTINGS, 0, 0, &nothing);
        self
    }

    /// Begins a request. Without `ends` its body follows.
    pub fn begin(&mut self, method: &str, path: &str, more: &[(&str, &str)], ends: bool) -> u32 {
        let pseudo = [(":method", method), (":scheme", "http"), (":path", path)];
        let all = pseudo.into_iter().chain([(":authority", "x")]).chain(more.iter().copied());
        let block: Vec<u8> = all.flat_map(|(name, value)| literal(name, value)).collect();
        let stream = self.next;
        self.next += 2;
        self.windows.insert(stream, self.initial);
        self.fates.insert(stream, Fate::default());
        self.frame(HEADERS, END_HEADERS | if ends { END_STREAM } else { 0 }, stream, &block);
        stream
    }

    /// Begins a gRPC call.
    pub fn begin_grpc(&mut self, path: &str, more: &[(&str, &str)]) -> u32 {
        let grpc = [("content-type", "application/grpc"), ("te", "trailers")];
        let all: Vec<_> = grpc.into_iter().chain(more.iter().copied()).collect();
        self.begin("POST", path, &all, false)
    }

    /// Cancels a request, as a caller who no longer wants the response.
    pub fn cancel(&mut self, stream: u32) {
        self.frame(RESET, 0, stream, &CANCEL.to_be_bytes());
    }

    /// Sends a part of a body as far as the host's windows allow, for at most `patience`. Returns
    /// how many bytes were sent.
    pub fn send(&mut self, stream: u32, mut body: &[u8], ends: bool, patience: Duration) -> usize {
        let (until, length) = (Instant::now() + patience, body.len());
        loop {
            self.take();
            let fate = self.fate(stream);
            if self.closed || fate.reset || fate.ended {
                break;
            }
            let window = self.window.min(self.windows.get(&stream).copied().unwrap_or(0));
            let part = body.len().min(FRAME_BYTES_MAX).min(usize::try_from(window).unwrap_or(0));
            if part > 0 || body.is_empty() {
                let last = part == body.len();
                self.frame(DATA, u8::from(ends && last), stream, &body[..part]);
                self.window -= part as i64;
                *self.windows.entry(stream).or_default() -= part as i64;
                body = &body[part..];
                if last {
                    break;
                }
            } else if Instant::now() > until {
                break;
            } else {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        length - body.len()
    }

    /// Waits until `done` is true, for at most `patience`. Returns whether it was.
    pub fn wait(&mut self, patience: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let until = Instant::now() + patience;
        loop {
            self.take();
            if done(self) {
                return true;
            }
            if Instant::now() > until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn fate(&self, stream: u32) -> Fate {
        self.fates.get(&stream).cloned().unwrap_or_default()
    }

    /// Whether the host has sent GOAWAY.
    pub fn is_going(&self) -> bool {
        self.going
    }

    /// Whether the connection is closed.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Bytes of the connection that this side has buffered.
    pub fn held(&self) -> usize {
        size_of::<Self>()
            + self.received.capacity()
            + (self.windows.capacity() + self.fates.capacity()) * 64
    }

    /// Reads what has arrived and answers frames that need it.
    fn take(&mut self) {
        self.stream.set_nonblocking(true).expect("set");
        let mut part = [0; 1 << 16];
        loop {
            match self.stream.read(&mut part) {
                Ok(0) => {
                    self.closed = true;
                    break;
                }
                Ok(read) => self.received.extend_from_slice(&part[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.closed = true;
                    break;
                }
            }
        }
        self.stream.set_nonblocking(false).expect("set");
        while let Some(head) = self.received.first_chunk::<9>().copied() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let Some(payload) = self.received.get(9..9 + length).map(<[u8]>::to_vec) else { break };
            self.received.drain(..9 + length);
            let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
            self.handle(head[3], head[4], stream, &payload);
        }
    }

    fn handle(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let number = |at: usize| {
            let bytes = payload.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            u32::from_be_bytes(bytes.unwrap_or_default())
        };
        match kind {
            SETTINGS if flags & ACK == 0 => {
                for at in (0..payload.len()).step_by(6) {
                    if payload[at..at + 2] == [0, 4] {
                        let initial = i64::from(number(at + 2));
                        let more = initial - self.initial;
                        self.windows.values_mut().for_each(|window| *window += more);
                        self.initial = initial;
                    }
                }
                self.frame(SETTINGS, ACK, 0, &[]);
            }
            PING if flags & ACK == 0 => self.frame(PING, ACK, 0, payload),
            WINDOW_UPDATE if stream == 0 => self.window += i64::from(number(0)),
            WINDOW_UPDATE => {
                *self.windows.entry(stream).or_default() += i64::from(number(0));
            }
            RESET => self.fates.entry(stream).or_default().reset = true,
            GO_AWAY => self.going = true,
            HEADERS | DATA => {
                let fate = self.fates.entry(stream).or_default();
                fate.answered |= kind == HEADERS;
                fate.ended |= flags & END_STREAM != 0;
                if kind == DATA {
                    fate.bytes += payload.len();
                    if self.gives && !payload.is_empty() {
                        let more = u32::try_from(payload.len()).expect("short").to_be_bytes();
                        self.frame(WINDOW_UPDATE, 0, 0, &more);
                        self.frame(WINDOW_UPDATE, 0, stream, &more);
                    }
                }
            }
            _ => {}
        }
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        self.write(&[&head, payload].concat());
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.stream.write_all(bytes).is_err() {
            self.closed = true;
        }
    }
}

/// A header as a literal that is never indexed (RFC 7541, section 6.2.2).
fn literal(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| {
        // A seven-bit prefix, then the rest in groups of seven bits.
        let mut out = Vec::new();
        match text.len().checked_sub(127) {
            None => out.push(text.len() as u8),
            Some(mut rest) => {
                out.push(127);
                while rest > 127 {
                    out.push((rest & 127) as u8 | 128);
                    rest >>= 7;
                }
                out.push(rest as u8);
            }
        }
        out.extend_from_slice(text.as_bytes());
        out
    };
    [vec![0], text(name), text(value)].concat()
}
