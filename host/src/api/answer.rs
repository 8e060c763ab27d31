//! Responses: whole, or streamed.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Frame, SizeHint};
use serde::Serialize;
use serde_json::Value;

use super::connections::{Room, Stream};
use crate::admission::Held;

/// Why a body ended early.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What every route returns.
pub(super) type Answer = Response<AnswerBody>;

/// A response body.
pub(super) enum AnswerBody {
    Whole(Full<Bytes>),
    /// A stream of unknown length.
    Pieces(UnsyncBoxBody<Bytes, BoxError>),
    /// Holds something until the body has been sent.
    Guarded(Box<Guarded>),
}

/// A body, and what is released with it.
pub(super) struct Guarded {
    body: AnswerBody,
    _guard: Guard,
}

/// Held until the body has been sent.
#[expect(dead_code, reason = "held for its drop")]
pub(super) enum Guard {
    Held(Held),
    /// Room reserved for an unauthenticated client's response.
    Room(Room),
    Stream(Stream),
}

impl AnswerBody {
    /// The same, holding something until the body has been sent.
    pub(super) fn guarded(self, guard: Guard) -> Self {
        AnswerBody::Guarded(Box::new(Guarded { body: self, _guard: guard }))
    }
}

impl From<Bytes> for AnswerBody {
    fn from(bytes: Bytes) -> Self {
        AnswerBody::Whole(Full::new(bytes))
    }
}

/// A response with these bytes.
pub(super) fn answer_of(bytes: Bytes, media: &'static str) -> Answer {
    let mut response = Response::new(bytes.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

/// A response of the host's own API. Members are sorted by name, so that the bytes do not depend on the order of a type's fields.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Answer {
    json_answer(status, &value_of(body))
}

/// The body of such a response.
pub(super) fn text_of(body: &impl Serialize) -> Vec<u8> {
    value_of(body).to_string().into_bytes()
}

/// A tree, because serde_json sorts members only there. Lists and documents take this way; the responses to calls do not.
fn value_of(body: &impl Serialize) -> Value {
    serde_json::to_value(body).expect("invariant: the API's types are objects")
}

/// An answer of another protocol, in JSON.
pub(super) fn json_answer(status: StatusCode, body: &Value) -> Answer {
    let mut answer = answer_of(body.to_string().into(), "application/json");
    *answer.status_mut() = status;
    answer
}

/// The usual response: 200.
pub(super) fn done(body: &impl Serialize) -> Answer {
    json(StatusCode::OK, body)
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            AnswerBody::Whole(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            AnswerBody::Pieces(body) => Pin::new(body).poll_frame(context),
            AnswerBody::Guarded(guarded) => Pin::new(&mut guarded.body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            AnswerBody::Whole(body) => body.is_end_stream(),
            AnswerBody::Pieces(body) => body.is_end_stream(),
            AnswerBody::Guarded(guarded) => guarded.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            AnswerBody::Whole(body) => body.size_hint(),
            AnswerBody::Pieces(body) => body.size_hint(),
            AnswerBody::Guarded(guarded) => guarded.body.size_hint(),
        }
    }
}
