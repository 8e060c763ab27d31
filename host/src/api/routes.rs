//! The table of the host's own routes: handler, request, response and audience. It drives dispatch, the OpenAPI document, `Allow`, and the
//! tables of `host/docs/api.md`.
//!
//! The fronts of other protocols have their own specifications and are dispatched by the router.

mod everybody;
mod operator;
mod parameters;
#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::Arc;

use http::{Method, Request, header};
use hyper::body::{Body as _, Incoming};

use super::Audience;
use super::answer::Answer;
use super::functions;
use super::problem::{Problem, ProblemKind};
use super::query::Parameter;
use crate::host::Host;
use crate::wire::schemars::{self, JsonSchema, SchemaGenerator};

const JSON: &str = "application/json";
const ENVELOPE: &str = crate::wire::envelope::MEDIA_TYPE;
const HTML: &str = "text/html; charset=utf-8";

/// Maximum segments of a pattern.
const PARTS_MAX: usize = 5;

/// Maximum parameters of a pattern.
const FILLED_MAX: usize = 3;

/// The path's parameters, in order. The rest are empty.
pub(super) type Filled<'r> = [&'r str; FILLED_MAX];

/// A future response.
type Answering<'r> = Pin<Box<dyn Future<Output = Result<Answer, Problem>> + Send + 'r>>;

/// A route's handler.
#[derive(Clone, Copy)]
enum Handler {
    /// Synchronous, from memory.
    Now(fn(&Host, Filled<'_>, &Request<Incoming>) -> Result<Answer, Problem>),
    /// Asynchronous: waits for the body or the disk.
    Later(for<'r> fn(&'r Arc<Host>, Filled<'r>, Request<Incoming>) -> Answering<'r>),
    /// The same for a route that reads its query, which has these parameters.
    Asks(&'static [Parameter], for<'r> fn(&'r Arc<Host>, Request<Incoming>) -> Answering<'r>),
    /// A call of a function. Separate, which saves an allocation.
    Call,
}

/// Boxes a handler's future.
macro_rules! later {
    (|$host:pat_param, $filled:pat_param, $request:pat_param| $answer:expr) => {
        Handler::Later(|$host, $filled, $request| Box::pin(async move { $answer.await }))
    };
}
pub(super) use later;

/// A handler that reads its query as this type, which has the route's parameters.
macro_rules! asks {
    ($type:ty, |$host:pat_param, $asked:ident, $request:ident| $answer:expr) => {
        Handler::Asks(<$type as $crate::api::query::Query>::PARAMETERS, |$host, $request| {
            Box::pin(async move {
                let $request = &$request;
                let $asked = $crate::api::query::Asked::<$type>::of($request);
                $answer.await
            })
        })
    };
}
pub(super) use asks;

/// Who may use a route. The response may still depend on the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Anybody, without a key.
    Anybody,
    /// Anybody; a key may show more.
    Visitor,
    /// An account, with its API key.
    Account,
    /// The operator, with their token.
    Operator,
}

/// A body's content.
#[derive(Clone, Copy)]
pub(super) enum Content {
    /// JSON of a Rust type.
    Type(fn(&mut SchemaGenerator) -> schemars::Schema),
    /// JSON with a document format of its own.
    Json,
    Text,
    Bytes,
}

/// The body of a request or of a successful response.
#[derive(Clone, Copy)]
pub(super) struct Body {
    /// Its media types.
    pub(super) media: &'static [&'static str],
    pub(super) content: Content,
}

/// Whether a request has a body.
#[derive(Clone, Copy)]
pub(super) enum Takes {
    Nothing,
    /// It may be left out.
    Optional(Body),
    /// Without it, the answer is [`body::missing`](super::body::missing).
    Required(Body),
}

impl Takes {
    /// The body, if there may be one.
    pub(super) fn body(self) -> Option<Body> {
        match self {
            Takes::Nothing => None,
            Takes::Optional(body) | Takes::Required(body) => Some(body),
        }
    }
}

/// One route.
#[derive(Clone, Copy)]
pub(super) struct Route {
    pub(super) audience: Audience,
    pub(super) method: &'static str,
    /// With `{name}` for parameters.
    pub(super) path: &'static str,
    /// The same in segments; unused ones are empty.
    parts: [&'static str; PARTS_MAX],
    /// The path's parameters, in order.
    pub(super) filled: &'static [Parameter],
    pub(super) access: Access,
    /// A summary, for people.
    pub(super) summary: &'static str,
    pub(super) takes: Takes,
    /// Status and body of a successful response.
    pub(super) gives: (u16, Body),
    /// Whether it supports conditional requests.
    pub(super) is_cached: bool,
    /// Problems beyond those that every route of its kind may return.
    fails: &'static [ProblemKind],
    handler: Handler,
}

/// The routes of one subject, one table in the reference.
pub(super) struct Section {
    /// Its anchor in the reference.
    #[cfg_attr(not(test), expect(dead_code, reason = "the test of the reference reads it"))]
    pub(super) name: &'static str,
    pub(super) routes: &'static [Route],
}

/// Every route. Calls come first, because most requests are calls.
pub(super) static SECTIONS: [Section; 4] = [
    Section { name: "models", routes: &everybody::MODELS },
    Section { name: "agreements", routes: &everybody::AGREEMENTS },
    Section { name: "accounts", routes: &everybody::ACCOUNTS },
    Section { name: "operator", routes: &operator::ROUTES },
];

/// JSON of an API type.
const fn typed<T: JsonSchema>() -> Body {
    Body { media: &[JSON], content: Content::Type(SchemaGenerator::subschema_for::<T>) }
}

/// A signed document.
const fn envelope() -> Body {
    let content = Content::Type(SchemaGenerator::subschema_for::<crate::wire::envelope::Envelope>);
    Body { media: &[ENVELOPE], content }
}

const fn json() -> Body {
    Body { media: &[JSON], content: Content::Json }
}

const fn text(media: &'static [&'static str]) -> Body {
    Body { media, content: Content::Text }
}

const fn bytes(media: &'static [&'static str]) -> Body {
    Body { media, content: Content::Bytes }
}

const fn get(
    path: &'static str,
    access: Access,
    gives: Body,
    summary: &'static str,
    handler: Handler,
) -> Route {
    let audience = match access {
        Access::Operator => Audience::Operator,
        Access::Anybody | Access::Visitor | Access::Account => Audience::Everybody,
    };
    Route {
        audience,
        method: "GET",
        path,
        parts: parts(path),
        access,
        summary,
        filled: &[],
        takes: Takes::Nothing,
        gives: (200, gives),
        is_cached: false,
        fails: &[],
        handler,
    }
}

const fn post(
    path: &'static str,
    access: Access,
    (takes, gives): (Body, Body),
    summary: &'static str,
    handler: Handler,
) -> Route {
    let takes = Takes::Required(takes);
    Route { method: "POST", takes, ..get(path, access, gives, summary, handler) }
}

impl Route {
    /// The same on the operator's listener.
    const fn for_the_operator(self) -> Self {
        Self { audience: Audience::Operator, ..self }
    }

    /// Its body may be left out.
    const fn body_is_optional(self) -> Self {
        let takes = match self.takes {
            Takes::Required(body) => Takes::Optional(body),
            other => other,
        };
        Self { takes, ..self }
    }

    /// It creates something.
    const fn creates(self) -> Self {
        Self { gives: (201, self.gives.1), ..self }
    }

    /// What its path's parameters are.
    const fn of(self, filled: &'static [Parameter]) -> Self {
        Self { filled, ..self }
    }

    const fn cached(self) -> Self {
        Self { is_cached: true, ..self }
    }

    const fn fails(self, fails: &'static [ProblemKind]) -> Self {
        Self { fails, ..self }
    }

    /// The query's parameters.
    pub(super) fn query(&self) -> &'static [Parameter] {
        match self.handler {
            Handler::Asks(parameters, _) => parameters,
            Handler::Now(_) | Handler::Later(_) | Handler::Call => &[],
        }
    }

    /// The problems that it may return.
    pub(super) fn problems(&self) -> Vec<ProblemKind> {
        let of_keys: &[ProblemKind] = match (self.access, self.takes) {
            (Access::Anybody, _) => &[],
            // Stopped accounts may still read what they have.
            (Access::Operator, _) | (_, Takes::Nothing) => &[ProblemKind::Unauthenticated],
            (Access::Visitor | Access::Account, _) => {
                &[ProblemKind::Unauthenticated, ProblemKind::AccountStopped]
            }
        };
        // The operator waits for no turn, and nothing limits their requests.
        let of_turns: &[ProblemKind] = match self.audience {
            Audience::Everybody => &[ProblemKind::AccountLimit],
            Audience::Operator => &[],
        };
        let of_bodies: &[ProblemKind] = match self.takes {
            Takes::Nothing => &[],
            Takes::Optional(_) | Takes::Required(_) => &[
                ProblemKind::RequestTimeout,
                ProblemKind::BodyTooLarge,
                ProblemKind::UnsupportedMediaType,
            ],
        };
        // In the order of the reference, each once.
        let all = [&USUAL, of_keys, of_turns, of_bodies, self.fails].concat();
        ProblemKind::ALL.into_iter().filter(|kind| all.contains(kind)).collect()
    }

    /// The path's parameters, if it is this route's.
    fn matched<'r>(&self, segments: &[&'r str]) -> Option<Filled<'r>> {
        if self.parts.get(segments.len()).is_some_and(|part| !part.is_empty()) {
            return None;
        }
        let is_of_a_model = self.parts[0].starts_with('{');
        // Account names never equal another route's first segment.
        if is_of_a_model && segments.first() == Some(&"api") {
            return None;
        }
        let mut filled = [""; FILLED_MAX];
        let mut places = filled.iter_mut();
        for (index, segment) in segments.iter().enumerate() {
            let part = *self.parts.get(index)?;
            if part.starts_with('{') {
                *places.next()? = segment;
            } else if part != *segment {
                return None;
            }
        }
        Some(filled)
    }

    /// Answers a request.
    pub(super) async fn answer<'r>(
        &self,
        host: &'r Arc<Host>,
        filled: Filled<'r>,
        request: Request<Incoming>,
    ) -> Result<Answer, Problem> {
        let has_body = !request.body().is_end_stream();
        let answered = match self.handler {
            Handler::Call => functions::call(host, filled, request).await,
            Handler::Now(now) => now(host, filled, &request),
            Handler::Later(later) => later(host, filled, request).await,
            Handler::Asks(_, asks) => asks(host, request).await,
        };
        // In every test of whole hosts, which run without optimisation.
        if cfg!(debug_assertions) {
            self.check(has_body, &answered);
        }
        answered
    }

    /// Compares an answer with what the table, and so the documents, say of this route.
    ///
    /// # Panics
    /// If they do not say it.
    fn check(&self, has_body: bool, answered: &Result<Answer, Problem>) {
        let Self { method, path, takes, is_cached, .. } = self;
        let problems = self.problems();
        match answered {
            Err(problem) => {
                let kind = problem.kind();
                assert!(problems.contains(&kind), "{method} {path}: {kind:?} is not in the table");
                let is_missing = problem.member("missing").is_some();
                let may_be = matches!(takes, Takes::Required(_));
                assert!(may_be || !is_missing, "{method} {path}: its body may be left out");
            }
            Ok(answer) => {
                let (status, (usual, gives)) = (answer.status().as_u16(), self.gives);
                let is_problem = || problems.iter().any(|kind| kind.parts().1.as_u16() == status);
                let is_known = status == usual || (*is_cached && status == 304) || is_problem();
                assert!(is_known, "{method} {path}: {status} is not in the table");
                if status == usual {
                    let may_be = has_body || !matches!(takes, Takes::Required(_));
                    assert!(may_be, "{method} {path}: it needs no body");
                    let media = answer.headers().get(header::CONTENT_TYPE);
                    let media = media.and_then(|media| media.to_str().ok()).map(essence);
                    let is_given = gives.media.iter().any(|given| Some(essence(given)) == media);
                    assert!(is_given, "{method} {path}: {media:?} is not in the table");
                }
            }
        }
    }
}

/// Problems of every route: malformed, wrong state, host failure.
const USUAL: [ProblemKind; 5] = [
    ProblemKind::InvalidRequest,
    ProblemKind::Busy,
    ProblemKind::OutOfService,
    ProblemKind::Unavailable,
    ProblemKind::Internal,
];

/// A media type without its parameters.
pub(super) fn essence(media: &str) -> &str {
    media.split(';').next().unwrap_or_default().trim()
}

/// The segments of a pattern.
const fn parts(path: &'static str) -> [&'static str; PARTS_MAX] {
    let mut parts = [""; PARTS_MAX];
    let (_, mut rest) = path.split_at(1);
    let (mut count, mut end) = (0, 0);
    while end < rest.len() {
        if rest.as_bytes()[end] == b'/' {
            let (part, behind) = rest.split_at(end);
            parts[count] = part;
            count += 1;
            (_, rest) = behind.split_at(1);
            end = 0;
        } else {
            end += 1;
        }
    }
    parts[count] = rest;
    parts
}

/// Every route of a listener.
pub(super) fn of(audience: Audience) -> impl Iterator<Item = &'static Route> {
    let all = SECTIONS.iter().flat_map(|section| section.routes);
    all.filter(move |route| route.audience == audience)
}

/// The problems of calls, for the documents of models.
pub(super) fn problems_of_calls() -> Vec<ProblemKind> {
    everybody::CALL.problems()
}

/// A request's route and parameters.
pub(super) fn find<'r>(
    audience: Audience,
    method: &Method,
    segments: &[&'r str],
) -> Option<(&'static Route, Filled<'r>)> {
    of(audience)
        .filter(|route| route.method == method.as_str())
        .find_map(|route| Some((route, route.matched(segments)?)))
}

/// The methods that have a route at a path.
pub(super) fn methods(audience: Audience, segments: &[&str]) -> Vec<&'static str> {
    let here = of(audience).filter(|route| route.matched(segments).is_some());
    here.map(|route| route.method).collect()
}
