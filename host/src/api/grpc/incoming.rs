//! Incoming messages of a stream: each is charged to its account from its first byte to its response, and must arrive at a minimum speed
//! once begun. Between messages a stream may be silent.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tonic::{Code, Status};

use super::status;
use crate::admission::{Held, Pace, Watch};
use crate::api::intake::no_room;

/// Bytes of the frame in front of a message: whether it is compressed, and its length.
const HEAD_BYTES: usize = 5;

/// Messages up to this size are not charged: a stream has one at a time.
const UNCOUNTED_BYTES_MAX: u64 = 16 << 10;

/// Memory of an open stream in bytes: what may arrive while a message is answered.
pub(super) const STREAM_BYTES: u64 = 256 << 10;

/// The body of a stream.
pub(super) struct Messages {
    body: Incoming,
    _open: Held,
    held: Held,
    pace: Pace,
    /// The received part of a message's head.
    head: Vec<u8>,
    /// Missing bytes of the message.
    left: u64,
    /// Whether the message is large enough to be charged.
    counts: bool,
    /// While a message arrives.
    watch: Option<Watch>,
}

impl Messages {
    /// `open` is held to the end; `held` follows what is in transit.
    pub(super) fn new(body: Incoming, [open, held]: [Held; 2], pace: Pace) -> Self {
        Self {
            body,
            _open: open,
            held,
            pace,
            head: Vec::new(),
            left: 0,
            counts: false,
            watch: None,
        }
    }

    /// Tracks where messages begin and end.
    fn follow(&mut self, mut bytes: &[u8]) -> Result<(), Status> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let taken = self.left.min(bytes.len() as u64);
                if self.counts {
                    self.held.grow(taken).map_err(|error| status(no_room(error)))?;
                }
                self.left -= taken;
                bytes = &bytes[usize::try_from(taken).unwrap_or(bytes.len())..];
                continue;
            }
            let missing = (HEAD_BYTES - self.head.len()).min(bytes.len());
            self.head.extend_from_slice(&bytes[..missing]);
            bytes = &bytes[missing..];
            if let [_, length @ ..] = self.head.as_slice()
                && let Ok(length) = <[u8; 4]>::try_from(length)
            {
                self.left = u32::from_be_bytes(length).into();
                self.head.clear();
                self.counts = self.left > UNCOUNTED_BYTES_MAX;
                if self.counts {
                    // Rejects early what could not be held to the end. Memory is charged as it arrives.
                    self.held.fits(self.left).map_err(|error| status(no_room(error)))?;
                }
            }
        }
        Ok(())
    }

    fn is_between(&self) -> bool {
        self.left == 0 && self.head.is_empty()
    }
}

impl Body for Messages {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.is_between() {
            // More is requested when what has arrived is answered.
            this.held.release();
            this.watch = None;
        }
        match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(bytes) = frame.data_ref() {
                    this.follow(bytes)?;
                    if let Some(watch) = &mut this.watch {
                        watch.moved(bytes.len() as u64);
                    }
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                Poll::Ready(Some(Err(Status::new(Code::Cancelled, error.to_string()))))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending if this.is_between() => Poll::Pending,
            Poll::Pending => {
                let watch = this.watch.get_or_insert_with(|| Watch::new(this.pace));
                let slow = ready!(watch.poll_wait(context));
                Poll::Ready(Some(Err(Status::deadline_exceeded(slow.to_string()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
