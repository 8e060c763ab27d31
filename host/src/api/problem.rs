//! Errors as clients see them: RFC 9457 problems of a closed set of kinds.
//!
//! The only place that chooses an HTTP status. No match here has a catch-all arm, so every new error needs a decision. The text of a 5xx
//! never contains internal detail: that goes to the log.

mod mapping;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value};

use super::answer::{Answer, AnswerBody};
use crate::causes;
use crate::receipt::ReceiptError;
use crate::store::{is_aside, is_disk_failure};
use crate::wire::problem as wire;

/// The kind of a problem. Clients decide by it, not by the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProblemKind {
    Unauthenticated,
    NotPermitted,
    AccountStopped,
    NotFound,
    Withdrawn,
    MethodNotAllowed,
    RequestTimeout,
    Conflict,
    BodyTooLarge,
    UnsupportedMediaType,
    InvalidRequest,
    InvalidArguments,
    BundleRefused,
    OfferRefused,
    AgreementRefused,
    NegotiationRefused,
    EventRefused,
    PluginRefused,
    LimitReached,
    AccountLimit,
    PluginFailed,
    PluginDeadline,
    OutputRefused,
    Busy,
    OutOfService,
    Unavailable,
    Internal,
}

impl ProblemKind {
    /// Every kind, for the documentation and its test.
    pub const ALL: [ProblemKind; 27] = [
        ProblemKind::Unauthenticated,
        ProblemKind::NotPermitted,
        ProblemKind::AccountStopped,
        ProblemKind::NotFound,
        ProblemKind::Withdrawn,
        ProblemKind::MethodNotAllowed,
        ProblemKind::RequestTimeout,
        ProblemKind::Conflict,
        ProblemKind::BodyTooLarge,
        ProblemKind::UnsupportedMediaType,
        ProblemKind::InvalidRequest,
        ProblemKind::InvalidArguments,
        ProblemKind::BundleRefused,
        ProblemKind::OfferRefused,
        ProblemKind::AgreementRefused,
        ProblemKind::NegotiationRefused,
        ProblemKind::EventRefused,
        ProblemKind::PluginRefused,
        ProblemKind::LimitReached,
        ProblemKind::AccountLimit,
        ProblemKind::PluginFailed,
        ProblemKind::PluginDeadline,
        ProblemKind::OutputRefused,
        ProblemKind::Busy,
        ProblemKind::OutOfService,
        ProblemKind::Unavailable,
        ProblemKind::Internal,
    ];

    /// The stable code, HTTP status and title of this kind.
    #[expect(clippy::too_many_lines, reason = "a table, a row a kind")]
    pub const fn parts(self) -> (&'static str, StatusCode, &'static str) {
        match self {
            ProblemKind::Unauthenticated => {
                ("unauthenticated", StatusCode::UNAUTHORIZED, "No valid API key")
            }
            ProblemKind::NotPermitted => {
                ("not-permitted", StatusCode::FORBIDDEN, "No agreement permits this call")
            }
            ProblemKind::AccountStopped => (
                "account-stopped",
                StatusCode::FORBIDDEN,
                "The account is suspended or closed by the operator",
            ),
            ProblemKind::NotFound => ("not-found", StatusCode::NOT_FOUND, "Not found"),
            ProblemKind::Withdrawn => ("withdrawn", StatusCode::GONE, "Withdrawn"),
            ProblemKind::MethodNotAllowed => {
                ("method-not-allowed", StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")
            }
            ProblemKind::RequestTimeout => {
                ("request-timeout", StatusCode::REQUEST_TIMEOUT, "The request came too slowly")
            }
            ProblemKind::Conflict => ("conflict", StatusCode::CONFLICT, "Conflict"),
            ProblemKind::BodyTooLarge => {
                ("body-too-large", StatusCode::PAYLOAD_TOO_LARGE, "The body is too large")
            }
            ProblemKind::UnsupportedMediaType => (
                "unsupported-media-type",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "The body has an unsupported media type",
            ),
            ProblemKind::InvalidRequest => {
                ("invalid-request", StatusCode::BAD_REQUEST, "The request is malformed")
            }
            ProblemKind::InvalidArguments => (
                "invalid-arguments",
                StatusCode::BAD_REQUEST,
                "The arguments do not fit the function",
            ),
            ProblemKind::BundleRefused => {
                ("bundle-refused", StatusCode::UNPROCESSABLE_ENTITY, "The bundle was refused")
            }
            ProblemKind::OfferRefused => {
                ("offer-refused", StatusCode::UNPROCESSABLE_ENTITY, "The offer was refused")
            }
            ProblemKind::AgreementRefused => {
                ("agreement-refused", StatusCode::UNPROCESSABLE_ENTITY, "The agreement was refused")
            }
            ProblemKind::NegotiationRefused => {
                ("negotiation-refused", StatusCode::UNPROCESSABLE_ENTITY, "Not the next move")
            }
            ProblemKind::EventRefused => {
                ("event-refused", StatusCode::UNPROCESSABLE_ENTITY, "The event was refused")
            }
            ProblemKind::PluginRefused => {
                ("plugin-refused", StatusCode::UNPROCESSABLE_ENTITY, "The plugin returned an error")
            }
            ProblemKind::LimitReached => (
                "limit-reached",
                StatusCode::TOO_MANY_REQUESTS,
                "A limit of the agreement is reached",
            ),
            ProblemKind::AccountLimit => (
                "account-limit",
                StatusCode::TOO_MANY_REQUESTS,
                "One account has too many requests",
            ),
            ProblemKind::PluginFailed => {
                ("plugin-failed", StatusCode::BAD_GATEWAY, "The plugin failed")
            }
            ProblemKind::PluginDeadline => {
                ("plugin-deadline", StatusCode::GATEWAY_TIMEOUT, "The plugin took too long")
            }
            ProblemKind::OutputRefused => {
                ("output-refused", StatusCode::BAD_GATEWAY, "The response may not be released")
            }
            ProblemKind::Busy => ("busy", StatusCode::SERVICE_UNAVAILABLE, "The host is busy"),
            ProblemKind::OutOfService => {
                ("out-of-service", StatusCode::SERVICE_UNAVAILABLE, "The version is out of service")
            }
            ProblemKind::Unavailable => {
                ("unavailable", StatusCode::SERVICE_UNAVAILABLE, "The host takes no calls now")
            }
            ProblemKind::Internal => {
                ("internal", StatusCode::INTERNAL_SERVER_ERROR, "The host failed")
            }
        }
    }
}

/// `Retry-After` of a busy host.
const BUSY_RETRY: Duration = Duration::from_secs(1);

/// Headers of a problem that add to its kind, for protocols with their own error format.
pub const SAYING_MORE: [HeaderName; 3] =
    [header::RETRY_AFTER, header::WWW_AUTHENTICATE, header::ACCEPT_ENCODING];

/// `Retry-After` of a host that takes no calls.
const UNAVAILABLE_RETRY: Duration = Duration::from_secs(5);

/// One problem, ready to send.
#[derive(Debug)]
pub struct Problem {
    kind: ProblemKind,
    detail: String,
    extensions: Box<Map<String, Value>>,
    retry_after: Option<Duration>,
    headers: Box<HeaderMap>,
}

impl Problem {
    /// A problem of `kind`; the client sees `detail`.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            extensions: Box::default(),
            retry_after: None,
            headers: Box::default(),
        }
    }

    /// An internal failure. `cause` goes to the log; the client learns only that it happened.
    pub fn internal(cause: &(dyn std::error::Error + 'static)) -> Self {
        if is_aside(cause) {
            let detail = "this host has a record of that name that it cannot read, and does not overwrite it; ask its operator, who sees why with `hospes admin out-of-service list`";
            return Self::new(ProblemKind::OutOfService, detail);
        }
        let text = causes::in_a_line(cause);
        tracing::error!(error = text, "the host failed");
        if is_for_now(cause) {
            let detail = "the host cannot write to its disk now, so nothing was changed or charged; try again later";
            return Self::new(ProblemKind::Unavailable, detail);
        }
        Self::new(ProblemKind::Internal, "nothing was charged; the operator's log says why")
    }

    /// Adds a machine-readable member.
    #[must_use]
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.extensions.insert(member.to_owned(), value.into());
        self
    }

    /// Sets `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Adds a header to the response.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Status, headers and detail, for protocols with their own error format.
    pub fn into_parts(self) -> (http::response::Parts, String) {
        let detail = self.detail.clone();
        (self.into_response().into_parts().0, detail)
    }

    /// A machine-readable member.
    pub fn member(&self, name: &str) -> Option<&Value> {
        self.extensions.get(name)
    }

    /// The same with another detail.
    #[must_use]
    pub fn saying(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// The detail, for the client.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Whether the problem names a limit of the host.
    pub fn names_a_limit(&self) -> bool {
        self.extensions.contains_key("setting")
    }

    /// The kind of problem.
    pub fn kind(&self) -> ProblemKind {
        self.kind
    }

    /// The problem as JSON (RFC 9457 section 3).
    pub fn to_json(&self) -> Value {
        let (code, status, title) = self.kind.parts();
        let problem = wire::Problem {
            kind: format!("{}{code}", wire::TYPE_PREFIX),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: self.detail.clone(),
            more: (*self.extensions).clone().into_iter().collect(),
        };
        serde_json::to_value(problem).expect("invariant: a problem is an object")
    }

    /// The response.
    pub fn into_response(self) -> Answer {
        let (_, status, _) = self.kind.parts();
        let body = self.to_json().to_string();
        let mut response = Response::new(AnswerBody::from(Bytes::from(body)));
        *response.status_mut() = status;
        *response.headers_mut() = *self.headers;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        let usual = match self.kind {
            ProblemKind::Busy => Some(BUSY_RETRY),
            ProblemKind::Unavailable => Some(UNAVAILABLE_RETRY),
            _ => None,
        };
        if let Some(after) = self.retry_after.or(usual) {
            // In whole seconds (RFC 9110 section 10.2.3), rounded up.
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, seconds.max(1).into());
        }
        if self.kind == ProblemKind::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Whether the disk or the log takes nothing now, somewhere below an error: the same may be done later.
fn is_for_now(error: &(dyn std::error::Error + 'static)) -> bool {
    let is_of_the_log = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<ReceiptError>().is_some_and(ReceiptError::is_for_now)
    };
    is_disk_failure(error) || causes::of(error).any(is_of_the_log)
}
