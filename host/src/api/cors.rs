//! Pages of the web that may call from a browser: those of `api.cors_origins`, by the Fetch standard's protocol (CORS).
//!
//! Callers show a key that they hold, never a cookie, so credentials are not allowed to anybody. The operator's listener lets no page in.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};

use super::Audience;
use super::answer::{Answer, AnswerBody};
use crate::host::Host;

/// What pages may read of an answer beside its body and what browsers show anyway.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "hospes-receipt, hospes-salt, hospes-remaining, server-timing, retry-after, www-authenticate, allow, \
     inference-header-content-length",
);

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");

/// What pages may send if the browser does not say what they want to send.
const HEADERS: HeaderValue = HeaderValue::from_static("authorization, content-type");

/// For how long a browser may keep the answer to a preflight, in seconds.
const PREFLIGHT_SECONDS: u64 = 600;

/// Longest list of headers that a preflight may ask for, in bytes.
const ASKED_BYTES_MAX: usize = 2048;

/// A page that may call.
#[derive(Debug, Clone)]
pub(super) struct Page {
    /// The value of `Access-Control-Allow-Origin`; none if the page may not call.
    allowed: Option<HeaderValue>,
    /// Whether the answer is another one for another page.
    varies: bool,
}

impl Page {
    /// The page that a request comes from; none if the settings let no page in.
    pub(super) fn of<B>(host: &Host, audience: Audience, request: &Request<B>) -> Option<Self> {
        let origins = &host.config().api.cors_origins;
        if origins.is_empty() || audience != Audience::Everybody {
            return None;
        }
        if origins.iter().any(|origin| origin.is_any()) {
            let any = request.headers().contains_key(header::ORIGIN);
            let allowed = any.then_some(HeaderValue::from_static("*"));
            return Some(Self { allowed, varies: false });
        }
        let seen = request.headers().get(header::ORIGIN);
        let seen = seen.filter(|seen| origins.iter().any(|own| own.covers(seen.as_bytes())));
        Some(Self { allowed: seen.cloned(), varies: true })
    }

    /// The answer to a browser that asks first; none if it does not.
    pub(super) fn preflight<B>(&self, request: &Request<B>) -> Option<Answer> {
        self.allowed.as_ref()?;
        let asks = request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if !asks || *request.method() != Method::OPTIONS {
            return None;
        }
        let mut answer = Answer::new(AnswerBody::from(Bytes::new()));
        *answer.status_mut() = StatusCode::NO_CONTENT;
        let headers = answer.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        let wanted = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS);
        let wanted = wanted.filter(|wanted| are_names(wanted)).cloned();
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.unwrap_or(HEADERS));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS.into());
        let vary = "access-control-request-method, access-control-request-headers";
        headers.insert(header::VARY, HeaderValue::from_static(vary));
        Some(answer)
    }

    fn lets_read(self, headers: &mut HeaderMap) {
        if self.varies {
            headers.append(header::VARY, HeaderValue::from_static("origin"));
        }
        if let Some(origin) = self.allowed {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    }
}

/// The answer, so that the page may read it.
pub(super) fn readable(mut answer: Answer, page: Option<Page>) -> Answer {
    if let Some(page) = page {
        page.lets_read(answer.headers_mut());
    }
    answer
}

/// Whether this is a list of names of headers.
fn are_names(list: &HeaderValue) -> bool {
    let is_name = |name: &str| HeaderName::from_bytes(name.trim().as_bytes()).is_ok();
    list.len() <= ASKED_BYTES_MAX && list.to_str().is_ok_and(|list| list.split(',').all(is_name))
}
