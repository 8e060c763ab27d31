//! Backups, and reports of what a restored log has lost, on the operator's listener. Neither contains the host's key.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::sync::mpsc;

use super::admin::check_operator;
use super::answer::{Answer, AnswerBody, BoxError, done};
use super::aside::aside;
use super::intake;
use super::problem::{Problem, ProblemKind};
use crate::admission::Asker;
use crate::backup::Cut;
use crate::host::Host;
use crate::operations::lost::{self, SHOWN_MAX};
use crate::receipt::PROOF_BYTES_MAX;
use crate::wire::operations::{Lost, Shown, Undone};

/// Bytes per piece.
const PIECE_BYTES: usize = 128 << 10;

/// Pieces that may wait for the reader.
const PIECES_MAX: usize = 4;

/// Maximum size of a report in bytes. Proofs are in JSON, which escapes each newline.
const SHOWN_BYTES_MAX: u64 = (SHOWN_MAX * PROOF_BYTES_MAX * 2) as u64;

type Piece = Result<Bytes, BoxError>;

/// `GET /backup`: the data directory as a tar file, without the host's key and the operator's token.
pub(super) async fn make(host: &Arc<Host>, request: &Request<Incoming>) -> Result<Answer, Problem> {
    check_operator(host, request.headers())?;
    let Ok(turn) = Arc::clone(&host.backups).try_acquire_owned() else {
        let detail = "another backup is in progress: wait until it ends";
        return Err(Problem::new(ProblemKind::Busy, detail));
    };
    let cut = aside(host, Asker::Operator, |host| Ok(Cut::of_host(host)?)).await?;
    let (sender, mut pieces) = mpsc::channel::<Piece>(PIECES_MAX);
    tokio::task::spawn_blocking(move || {
        let mut out = Pieces { buffer: Vec::with_capacity(PIECE_BYTES), sender };
        match cut.write_to(&mut out) {
            Ok(()) => tracing::info!("a backup was made"),
            Err(error) => {
                tracing::warn!(error = %Problem::from(error).detail(), "a backup broke off");
                // The reader can tell that the file is incomplete.
                let broken = io::Error::other("the backup broke off; the host's log says why");
                drop(out.sender.blocking_send(Err(broken.into())));
            }
        }
        drop(turn);
    });
    let pieces = stream::poll_fn(move |context| pieces.poll_recv(context));
    let frames = futures_util::StreamExt::map(pieces, |piece| piece.map(Frame::data));
    let mut answer = Response::new(AnswerBody::Pieces(StreamBody::new(frames).boxed_unsync()));
    let media = HeaderValue::from_static("application/x-tar");
    answer.headers_mut().insert(header::CONTENT_TYPE, media);
    Ok(answer)
}

/// Sends what is written, in pieces. Waits for the reader, and ends with it.
struct Pieces {
    buffer: Vec<u8>,
    sender: mpsc::Sender<Piece>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(PIECE_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..count]);
        if self.buffer.len() == PIECE_BYTES {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE_BYTES));
        let sent = self.sender.blocking_send(Ok(piece.into()));
        sent.map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads the backup"))
    }
}

/// `POST /lost`: submits this host's own receipts and checkpoints. Usage that may be lost is frozen when the response arrives.
pub(super) async fn show_lost(
    host: &Arc<Host>,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let Shown { shown } = intake::from_operator(host, request, SHOWN_BYTES_MAX).await?;
    aside(host, Asker::Operator, move |host| {
        let shown: Vec<_> = shown.iter().map(String::as_bytes).collect();
        let found = lost::show(host, &shown)?;
        let undone = found.undone.into_iter().map(|(deed, target)| Undone {
            action: deed.name().to_owned(),
            target: target.into_string(),
        });
        Ok(done(&Lost {
            lost: found.lost_up_to.is_some(),
            lost_from: found.lost_from,
            lost_up_to: found.lost_up_to,
            frozen: found.frozen,
            all: found.all,
            undone: undone.collect(),
        }))
    })
    .await
}
