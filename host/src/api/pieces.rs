//! Streamed responses: a body that begins with a stream's first element and ends when the call has been charged.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, pending};
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::answer::{Answer, AnswerBody, BoxError};
use super::calls::{Done, NoAnswer, Papers};
use super::problem::Problem;
use crate::call::pieces::PieceEncoder;
use crate::id::CallId;
use crate::value::{Type, Value, write};

/// Media type of server-sent events.
pub(super) const EVENTS: &str = "text/event-stream; charset=utf-8";

/// Keep-alive of a silent event stream: clients ignore it, and proxies see that the connection lives. Not part of the response that the
/// receipt commits to.
const COMMENT: Bytes = Bytes::from_static(b": keep-alive\n\n");

/// Tells nginx-like proxies not to buffer.
pub(super) const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
pub(super) const UNBUFFERED: HeaderValue = HeaderValue::from_static("no");

/// The error in a stream that fails after its status was sent.
pub(super) type Failed = fn(&Problem) -> Option<Bytes>;

/// The same, which may know what was sent.
type Failing = Box<dyn Fn(&Problem) -> Option<Bytes> + Send>;

/// The first result of a streaming call.
pub(super) enum Begun {
    /// It ended before anything was sent.
    Done(Done),
    /// Its first piece is there; the response continues as the rest arrives.
    Streams(Answer),
}

/// A call that runs while its response is sent.
pub(super) struct Running {
    pub(super) id: CallId,
    /// Dropping it detaches the call, which ends and is metered.
    pub(super) call: BoxFuture<'static, Result<Done, NoAnswer>>,
    pub(super) taken: mpsc::Receiver<Bytes>,
    /// Silence after which an event stream gets a comment.
    pub(super) keep_alive: Duration,
}

impl Running {
    /// Waits for the first piece, or for the end if there is none.
    pub(super) async fn begin(
        self,
        media: &'static str,
        failed: impl Fn(&Problem) -> Option<Bytes> + Send + 'static,
    ) -> Result<Begun, NoAnswer> {
        let silence = (media == EVENTS).then_some(self.keep_alive);
        let begun = self.begin_body(Box::new(failed), HeaderMap::new, silence).await?;
        Ok(match begun {
            Begun::Done(done) => Begun::Done(done),
            Begun::Streams(mut answer) => {
                let headers = answer.headers_mut();
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
                headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
                headers.insert(ACCEL_BUFFERING, UNBUFFERED);
                Begun::Streams(answer)
            }
        })
    }

    /// The same; `trailers` is called when everything has been sent.
    pub(super) async fn begin_with(
        self,
        failed: Failed,
        trailers: impl Fn() -> HeaderMap + Send + 'static,
    ) -> Result<Begun, NoAnswer> {
        self.begin_body(Box::new(failed), trailers, None).await
    }

    async fn begin_body(
        mut self,
        failed: Failing,
        trailers: impl Fn() -> HeaderMap + Send + 'static,
        silence: Option<Duration>,
    ) -> Result<Begun, NoAnswer> {
        let first = tokio::select! {
            biased;
            Some(piece) = self.taken.recv() => piece,
            done = &mut self.call => match self.taken.try_recv() {
                // It ended before its first piece was looked at.
                Ok(piece) => {
                    self.call = Box::pin(std::future::ready(done));
                    piece
                }
                Err(_) => return done.map(Begun::Done),
            },
        };
        // From here on the call runs by itself, even while nobody reads the response.
        let mut call =
            OwnTask(tokio::spawn(std::mem::replace(&mut self.call, Box::pin(pending()))));
        self.call = Box::pin(async move {
            let done = (&mut call.0).await;
            done.unwrap_or_else(|panic| Err(NoAnswer::Failed(Problem::internal(&panic))))
        });
        let id = self.id;
        let trailers = Box::new(trailers);
        let first = Some(first);
        let state = State { first, running: Some(self), last: None, failed, trailers, silence };
        let body = StreamBody::new(stream::unfold(state, State::next));
        let mut answer = Answer::new(AnswerBody::Pieces(BodyExt::boxed_unsync(body)));
        Papers::announce(id, answer.headers_mut());
        Ok(Begun::Streams(answer))
    }
}

/// The task of a call. Dropping it with the response detaches the call ([`super::detached`]).
struct OwnTask<T>(JoinHandle<T>);

impl<T> Drop for OwnTask<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct State {
    first: Option<Bytes>,
    running: Option<Running>,
    /// The trailers, when everything has been sent.
    last: Option<Papers>,
    failed: Failing,
    /// The response's own trailers.
    trailers: Box<dyn Fn() -> HeaderMap + Send>,
    /// Silence after which a comment is sent; `None` without comments.
    silence: Option<Duration>,
}

type Step = (Result<Frame<Bytes>, BoxError>, State);

impl State {
    /// The next piece; after the last one the trailers.
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
            () = silent_for(self.silence) => return Some((Ok(Frame::data(COMMENT)), self)),
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

    /// The last piece.
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

/// Waits this long, or forever if there is nothing to wait for.
async fn silent_for(silence: Option<Duration>) {
    match silence {
        Some(silence) => tokio::time::sleep(silence).await,
        None => std::future::pending().await,
    }
}

/// One server-sent event.
pub(super) fn event(data: &[u8]) -> Vec<u8> {
    [b"data: ", data, b"\n\n"].concat()
}

/// Elements of a typed function: bytes unchanged, everything else as JSON events.
#[derive(Debug)]
pub(super) struct Typed;

impl Typed {
    /// The body's media type.
    pub(super) fn media(element: &Type) -> &'static str {
        if *element == Type::U8 { "application/octet-stream" } else { EVENTS }
    }

    /// The problem as an event of its own name. A byte stream has no place for it: the connection is cut instead.
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
    fn suits(&self, _: &crate::state::deployments::Function) -> Result<(), String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that has sent one piece and then behaves as the test wants.
    async fn begun(media: &'static str) -> (mpsc::Sender<Bytes>, Answer) {
        let (sender, taken) = mpsc::channel(1);
        let running = Running {
            id: CallId::new(jiff::Timestamp::UNIX_EPOCH),
            call: Box::pin(std::future::pending()),
            taken,
            keep_alive: Duration::from_millis(20),
        };
        sender.send(Bytes::from_static(b"data: 1\n\n")).await.expect("taken");
        match running.begin(media, |_| None).await {
            Ok(Begun::Streams(answer)) => (sender, answer),
            Ok(Begun::Done(_)) | Err(_) => panic!("it has begun"),
        }
    }

    async fn next(body: &mut AnswerBody) -> Option<Bytes> {
        let frame = body.frame();
        let frame = tokio::time::timeout(Duration::from_millis(200), frame).await.ok()?;
        frame?.ok()?.into_data().ok()
    }

    #[tokio::test]
    async fn a_silent_stream_of_events_gets_comments_until_it_goes_on() {
        let (sender, answer) = begun(EVENTS).await;
        assert_eq!(answer.headers().get(ACCEL_BUFFERING), Some(&UNBUFFERED));
        let mut body = answer.into_body();
        assert_eq!(next(&mut body).await.as_deref(), Some(&b"data: 1\n\n"[..]));
        assert_eq!(next(&mut body).await, Some(COMMENT));
        assert_eq!(next(&mut body).await, Some(COMMENT));
        sender.send(Bytes::from_static(b"data: 2\n\n")).await.expect("taken");
        assert_eq!(next(&mut body).await.as_deref(), Some(&b"data: 2\n\n"[..]));
        assert_eq!(next(&mut body).await, Some(COMMENT));
    }

    #[tokio::test]
    async fn a_stream_that_is_dropped_drops_its_call() {
        let (is_there, is_gone) = tokio::sync::oneshot::channel::<()>();
        let (sender, taken) = mpsc::channel(1);
        let running = Running {
            id: CallId::new(jiff::Timestamp::UNIX_EPOCH),
            call: Box::pin(async move {
                let _is_there = is_there;
                std::future::pending().await
            }),
            taken,
            keep_alive: Duration::MAX,
        };
        sender.send(Bytes::from_static(b"1")).await.expect("taken");
        let begun = running.begin("application/octet-stream", |_| None).await;
        let Ok(Begun::Streams(answer)) = begun else { panic!("it has begun") };
        drop(answer);
        let gone = tokio::time::timeout(Duration::from_secs(10), is_gone).await;
        assert!(gone.expect("dropped").is_err(), "it went without a word");
    }

    #[tokio::test]
    async fn a_silent_stream_of_bytes_stays_silent() {
        let (_sender, answer) = begun("application/octet-stream").await;
        let mut body = answer.into_body();
        assert_eq!(next(&mut body).await.as_deref(), Some(&b"data: 1\n\n"[..]));
        assert_eq!(next(&mut body).await, None);
    }
}
