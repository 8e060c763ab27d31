//! Streamed responses: each element is serialised, checked against the agreement's limits and sent as it comes.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

use crate::admission::{Pace, Watch};
use crate::controls::Controls;
use crate::outcome::{GuestFailure, OutputLimit, Reply};
use crate::sandbox::{FunctionType, Sink};
use crate::state::deployments::Function;
use crate::value::{Type, Value};

/// Pieces that may wait for a slow caller. Beyond that the guest waits.
pub const PIECES_MAX: usize = 8;

/// Serialises a stream in one protocol's format.
pub trait PieceEncoder: fmt::Debug + Send + Sync {
    /// Whether `function` can produce what the caller wants. Asked before it runs.
    ///
    /// # Errors
    /// What the caller wants and `function` lacks.
    fn suits(&self, function: &Function) -> Result<(), String>;

    /// What to send for an element now; empty if it is sent later.
    ///
    /// # Errors
    /// Why it cannot be sent in the wanted form.
    fn piece(&self, value: &Value, element: &Type) -> Result<Vec<u8>, String>;

    /// What to send when the stream has ended without an error.
    ///
    /// # Errors
    /// Why the response cannot be sent in the wanted form.
    fn end(&self) -> Result<Vec<u8>, String>;
}

/// A caller who takes a streamed response.
#[derive(Debug)]
pub struct Streaming {
    encoder: Arc<dyn PieceEncoder>,
    pieces: mpsc::Sender<Bytes>,
    /// How slowly the caller may read.
    pace: Pace,
    opened: OnceLock<Arc<Pieces>>,
}

impl Streaming {
    /// The caller, and the receiver of its pieces.
    pub fn new(encoder: Arc<dyn PieceEncoder>, pace: Pace) -> (Arc<Self>, mpsc::Receiver<Bytes>) {
        let (pieces, taken) = mpsc::channel(PIECES_MAX);
        (Arc::new(Self { encoder, pieces, pace, opened: OnceLock::new() }), taken)
    }

    pub(crate) fn suits(&self, function: &Function) -> Result<(), String> {
        match function.signature().signature() {
            FunctionType::Stream { .. } => self.encoder.suits(function),
            FunctionType::Tensors | FunctionType::Values { .. } | FunctionType::Http(_) => {
                Err("the function does not return a stream".to_owned())
            }
        }
    }

    /// The sink for this function's stream under these terms.
    pub(crate) fn open(
        &self,
        function: &Function,
        controls: &Controls,
        (max, limit): (u64, OutputLimit),
    ) -> Option<Arc<dyn Sink>> {
        let FunctionType::Stream { element, .. } = function.signature().signature() else {
            return None;
        };
        let pieces = Arc::new(Pieces {
            encoder: Arc::clone(&self.encoder),
            element: element.clone(),
            controls: (!controls.is_open()).then(|| controls.clone()),
            sender: Mutex::new(PollSender::new(self.pieces.clone())),
            sent: Mutex::default(),
            reader: Mutex::new(Watch::new(self.pace)),
            max,
            limit,
        });
        let _ = self.opened.set(Arc::clone(&pieces));
        Some(pieces)
    }

    /// Ends the stream and returns all of it, as the caller gets it.
    pub(crate) fn finish(&self) -> Result<Reply, GuestFailure> {
        let Some(pieces) = self.opened.get() else {
            return Err(unsendable("the stream was never opened".to_owned()));
        };
        let end = self.encoder.end().map_err(unsendable)?;
        pieces.count(&end)?;
        let bytes = std::mem::take(&mut *pieces.sent()).into();
        Ok(Reply::Streamed { bytes, rest: end.into() })
    }

    /// What was sent so far.
    pub(crate) fn released(&self) -> Bytes {
        self.opened.get().map_or_else(Bytes::new, |pieces| pieces.sent().clone().into())
    }
}

fn unsendable(reason: String) -> GuestFailure {
    GuestFailure::OutputUnsendable { reason }
}

/// One call's outgoing stream.
#[derive(Debug)]
struct Pieces {
    encoder: Arc<dyn PieceEncoder>,
    element: Type,
    /// `None` if nothing is withheld.
    controls: Option<Controls>,
    sender: Mutex<PollSender<Bytes>>,
    /// What was sent: the receipt commits to it.
    sent: Mutex<Vec<u8>>,
    /// How long the guest waits for the reader.
    reader: Mutex<Watch>,
    max: u64,
    limit: OutputLimit,
}

impl Pieces {
    fn sender(&self) -> MutexGuard<'_, PollSender<Bytes>> {
        self.sender.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn reader(&self) -> MutexGuard<'_, Watch> {
        self.reader.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn sent(&self) -> MutexGuard<'_, Vec<u8>> {
        self.sent.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Counts bytes that are about to be sent.
    fn count(&self, piece: &[u8]) -> Result<(), GuestFailure> {
        let mut sent = self.sent();
        let bytes = (sent.len() + piece.len()) as u64;
        if bytes > self.max {
            return Err(GuestFailure::OutputTooLarge { bytes, max: self.max, limit: self.limit });
        }
        sent.extend_from_slice(piece);
        Ok(())
    }

    fn write(&self, value: Value) -> Result<Vec<u8>, GuestFailure> {
        let written = match &self.controls {
            None => self.encoder.piece(&value, &self.element),
            Some(controls) => {
                let projected = controls.value(value, &self.element);
                let (value, element) = projected.map_err(|error| {
                    GuestFailure::OutputUncontrolled { reason: error.to_string() }
                })?;
                self.encoder.piece(&value, &element)
            }
        };
        written.map_err(unsendable)
    }
}

impl Sink for Pieces {
    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<(), GuestFailure>> {
        match self.sender().poll_reserve(context) {
            Poll::Ready(reserved) => Poll::Ready(reserved.map_err(|_| GuestFailure::Disconnected)),
            Poll::Pending => {
                self.reader().poll_wait(context).map(|_slow| Err(GuestFailure::Unread))
            }
        }
    }

    fn push(&self, value: Value) -> Result<(), GuestFailure> {
        let piece = self.write(value)?;
        self.count(&piece)?;
        self.reader().moved(piece.len() as u64);
        let mut sender = self.sender();
        if piece.is_empty() {
            sender.abort_send();
            return Ok(());
        }
        sender.send_item(piece.into()).map_err(|_closed| GuestFailure::Disconnected)
    }
}
