//! Answers in pieces: a body that begins with the first element of a stream and ends when the call has been settled.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::sync::mpsc;

use super::answer::{Answer, AnswerBody, BoxError};
use super::calls::{Done, NoAnswer, Papers};
use super::problem::Problem;
use crate::id::CallId;
use crate::outputs::PieceEncoder;
use crate::value::{Type, Value, write};

/// Media type of server-sent events.
pub(super) const EVENTS: &str = "text/event-stream; charset=utf-8";

/// What a caller sees of a stream that fails when it has begun: the status has been sent by then.
pub(super) type Failed = fn(&Problem) -> Option<Bytes>;

/// What a call with a stream came to, at first.
pub(super) enum Begun {
    /// It ended before anything was sent.
    Done(Done),
    /// Its first piece is there; the answer goes on as the rest comes.
    Streams(Answer),
}

/// A call that goes on while its answer is sent.
pub(super) struct Running {
    pub(super) id: CallId,
    /// Dropping it leaves the call to itself: it ends, and is metered.
    pub(super) call: BoxFuture<'static, Result<Done, NoAnswer>>,
    pub(super) taken: mpsc::Receiver<Bytes>,
}

impl Running {
    /// Waits for the first piece, or for the end if there is none.
    pub(super) async fn begin(
        self,
        media: &'static str,
        failed: Failed,
    ) -> Result<Begun, NoAnswer> {
        let begun = self.begin_with(failed, HeaderMap::new).await?;
        Ok(match begun {
            Begun::Done(done) => Begun::Done(done),
            Begun::Streams(mut answer) => {
                let headers = answer.headers_mut();
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
                headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
                Begun::Streams(answer)
            }
        })
    }

    /// The same; `trailers` are asked for when all of it has been sent.
    pub(super) async fn begin_with(
        mut self,
        failed: Failed,
        trailers: impl Fn() -> HeaderMap + Send + 'static,
    ) -> Result<Begun, NoAnswer> {
        let first = tokio::select! {
            biased;
            Some(piece) = self.taken.recv() => piece,
            done = &mut self.call => match self.taken.try_recv() {
                // So short that it had ended before its first piece was looked at.
                Ok(piece) => {
                    self.call = Box::pin(std::future::ready(done));
                    piece
                }
                Err(_) => return done.map(Begun::Done),
            },
        };
        let id = self.id;
        let trailers = Box::new(trailers);
        let state = State { first: Some(first), running: Some(self), last: None, failed, trailers };
        let body = StreamBody::new(stream::unfold(state, State::next));
        let mut answer = Answer::new(AnswerBody::Pieces(BodyExt::boxed_unsync(body)));
        Papers::announce(id, answer.headers_mut());
        Ok(Begun::Streams(answer))
    }
}

struct State {
    first: Option<Bytes>,
    running: Option<Running>,
    /// What comes with the answer, when all of it has been sent.
    last: Option<Papers>,
    failed: Failed,
    /// Those that the answer itself has.
    trailers: Box<dyn Fn() -> HeaderMap + Send>,
}

type Step = (Result<Frame<Bytes>, BoxError>, State);

impl State {
    /// The next piece; behind the last one, as trailers, what comes with the answer.
    async fn next(mut self) -> Option<Step> {
        if let Some(piece) = self.first.take() {
            return Some((Ok(Frame::data(piece)), self));
        }
        let Some(running) = &mut self.running else {
            let papers = self.last.take()?;
            let mut trailers = (self.trailers)();
            papers.accompany(&mut trailers);
            return Some((Ok(Frame::trailers(trailers)), self));
        };
        let done = tokio::select! {
            biased;
            Some(piece) = running.taken.recv() => return Some((Ok(Frame::data(piece)), self)),
            done = &mut running.call => done,
        };
        let mut rest = Vec::new();
        while let Ok(piece) = running.taken.try_recv() {
            rest.extend_from_slice(&piece);
        }
        self.running = None;
        match self.end(done) {
            Ok(end) => {
                rest.extend_from_slice(&end);
                Some((Ok(Frame::data(rest.into())), self))
            }
            Err(error) => Some((Err(error), self)),
        }
    }

    /// What the caller gets last.
    fn end(&mut self, done: Result<Done, NoAnswer>) -> Result<Bytes, BoxError> {
        let problem = match done {
            Ok(Done { result, papers }) => {
                self.last = Some(papers);
                match result {
                    Ok(reply) => match reply.into_rest() {
                        Ok(bytes) => return Ok(bytes),
                        Err(refusal) => Problem::plugin_refused(&refusal),
                    },
                    Err(failure) => Problem::from(failure),
                }
            }
            Err(error) => Problem::from(error),
        };
        let text = problem.kind().parts().0;
        (self.failed)(&problem).ok_or_else(|| format!("the stream failed: {text}").into())
    }
}

/// One server-sent event.
pub(super) fn event(data: &[u8]) -> Vec<u8> {
    [b"data: ", data, b"\n\n"].concat()
}

/// Elements of a typed function: bytes as they are, everything else as events of JSON.
#[derive(Debug)]
pub(super) struct Typed;

impl Typed {
    /// What the body is.
    pub(super) fn media(element: &Type) -> &'static str {
        if *element == Type::U8 { "application/octet-stream" } else { EVENTS }
    }

    /// The problem as an event of its own name. Bytes have no place for it: the connection is cut instead.
    pub(super) fn failed(element: &Type) -> Failed {
        if *element == Type::U8 {
            |_| None
        } else {
            |problem| {
                let problem = problem.to_json().to_string();
                Some([b"event: problem\n", event(problem.as_bytes()).as_slice()].concat().into())
            }
        }
    }
}

impl PieceEncoder for Typed {
    fn suits(&self, _: &crate::deployments::Function) -> Result<(), String> {
        Ok(())
    }

    fn piece(&self, value: &Value, element: &Type) -> Result<Vec<u8>, String> {
        if let (Value::Packed(bytes), Type::U8) = (value, element) {
            return Ok(bytes.to_vec());
        }
        let mut json = Vec::new();
        write::json(value, element, &mut json);
        Ok(event(&json))
    }

    fn end(&self) -> Result<Vec<u8>, String> {
        Ok(Vec::new())
    }
}
