//! A generation as a stream that the guest reads. Nothing is read ahead: a guest that does not read stops its generation in the engine.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use wasmtime::component::{Destination, StreamProducer, StreamResult};
use wasmtime::{Result, StoreContextMut};

use super::super::limits::LimitReached;
use super::wit;
use crate::inference::Pieces;
use crate::language::{Failure, Piece, Refusal};
use crate::outcome::GuestFailure;

/// The pieces of one generation.
pub(super) struct Spoken(State);

/// The engine's pieces, or the wait for the next one, which holds them.
enum State {
    Idle(Pieces),
    Waits(BoxFuture<'static, (Pieces, Option<Result<Piece, Failure>>)>),
    Over,
}

impl Spoken {
    pub(super) fn new(pieces: Pieces) -> Self {
        Self(State::Idle(pieces))
    }

    /// The next piece; `None` after the last.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Piece, Failure>>> {
        let mut wait = match std::mem::replace(&mut self.0, State::Over) {
            State::Idle(mut pieces) => Box::pin(async move {
                let piece = pieces.next().await;
                (pieces, piece)
            }),
            State::Waits(wait) => wait,
            State::Over => return Poll::Ready(None),
        };
        match wait.as_mut().poll(context) {
            Poll::Ready((pieces, piece)) => {
                if matches!(piece, Some(Ok(Piece::Text(_)))) {
                    self.0 = State::Idle(pieces);
                }
                Poll::Ready(piece)
            }
            Poll::Pending => {
                self.0 = State::Waits(wait);
                Poll::Pending
            }
        }
    }
}

impl<D: 'static> StreamProducer<D> for Spoken {
    type Item = wit::Piece;
    type Buffer = Option<wit::Piece>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut store: StoreContextMut<'a, D>,
        mut destination: Destination<'a, Self::Item, Self::Buffer>,
        finish: bool,
    ) -> Poll<Result<StreamResult>> {
        // A read of nothing asks whether there is something. That cannot be known without taking it.
        if destination.remaining(&mut store) == Some(0) {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        match self.poll_next(context) {
            Poll::Ready(Some(Ok(piece))) => {
                let is_last = matches!(piece, Piece::End(_));
                destination.set_buffer(Some(piece.into()));
                let result = if is_last { StreamResult::Dropped } else { StreamResult::Completed };
                Poll::Ready(Ok(result))
            }
            Poll::Ready(Some(Err(failure))) => Poll::Ready(Err(lost(failure).into())),
            Poll::Ready(None) => Poll::Ready(Ok(StreamResult::Dropped)),
            Poll::Pending if finish => Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// A generation that breaks off ends the call: a stream has no room for a failure.
fn lost(failure: Failure) -> LimitReached {
    match failure.why {
        Refusal::Deadline => LimitReached::Deadline,
        _ => LimitReached::Sink(GuestFailure::ComputationLost { reason: failure.text }),
    }
}
