//! Bodies that end with an error when they come too slowly.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::admission::{Pace, TooSlow, Watch};

/// A body that ends with an error when it comes too slowly.
pub(super) struct Paced<B> {
    body: B,
    watch: Watch,
}

/// Why a body ended before its end.
#[derive(Debug)]
pub(super) enum Broken<E> {
    TooSlow(TooSlow),
    Off(E),
}

impl<E: std::fmt::Display> std::fmt::Display for Broken<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Broken::TooSlow(slow) => slow.fmt(f),
            Broken::Off(error) => write!(f, "the body broke off: {error}"),
        }
    }
}

impl<E: std::fmt::Debug + std::fmt::Display> std::error::Error for Broken<E> {}

impl<B> Paced<B> {
    pub(super) fn new(body: B, pace: Pace) -> Self {
        Self { body, watch: Watch::new(pace) }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Paced<B> {
    type Data = Bytes;
    type Error = Broken<B::Error>;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                this.watch.moved(frame.data_ref().map_or(0, |bytes| bytes.len() as u64));
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(Broken::Off(error)))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                let slow = std::task::ready!(this.watch.poll_wait(context));
                Poll::Ready(Some(Err(Broken::TooSlow(slow))))
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
