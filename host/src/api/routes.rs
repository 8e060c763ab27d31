//! The host's own routes: each with what serves it, what it takes and gives, and whom it is for. Requests are dispatched from this table;
//! the OpenAPI document, `Allow`, and the tables of `host/docs/api.md` are made of it.
//!
//! The fronts of other protocols have their own specifications and are dispatched by the router.

mod everybody;
mod operator;
#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::Arc;

use http::{Method, Request};
use hyper::body::Incoming;

use super::Audience;
use super::answer::Answer;
use super::functions;
use super::problem::{Problem, ProblemKind};
use crate::host::Host;
use crate::wire::schemars::{self, JsonSchema, SchemaGenerator};

const JSON: &str = "application/json";
const ENVELOPE: &str = crate::wire::envelope::MEDIA_TYPE;
const HTML: &str = "text/html; charset=utf-8";

/// Most parts of a pattern.
const PARTS_MAX: usize = 5;

/// Most parts of a pattern that a caller fills in.
const FILLED_MAX: usize = 3;

/// What a caller filled in, in the order of the path. The rest are empty.
pub(super) type Filled<'r> = [&'r str; FILLED_MAX];

/// An answer that is being made.
type Answering<'r> = Pin<Box<dyn Future<Output = Result<Answer, Problem>> + Send + 'r>>;

/// What serves a route.
#[derive(Clone, Copy)]
enum Handler {
    /// At once, from what is in memory.
    Now(fn(&Host, Filled<'_>, &Request<Incoming>) -> Result<Answer, Problem>),
    /// After waiting: for the body, or for the disk.
    Later(for<'r> fn(&'r Arc<Host>, Filled<'r>, Request<Incoming>) -> Answering<'r>),
    /// A call of a function. Apart from the others, for the sake of an allocation.
    Call,
}

/// Boxes the future of a handler.
macro_rules! later {
    (|$host:pat_param, $filled:pat_param, $request:pat_param| $answer:expr) => {
        Handler::Later(|$host, $filled, $request| Box::pin(async move { $answer.await }))
    };
}
pub(super) use later;

/// Who may ask. What comes of it can depend on who it is all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Anybody, without a key.
    Anybody,
    /// Anybody; with a key there may be more to see.
    Visitor,
    /// An account, with its key.
    Account,
    /// The operator, with their token.
    Operator,
}

/// What a body consists of.
#[derive(Clone, Copy)]
pub(super) enum Content {
    /// JSON of a type.
    Type(fn(&mut SchemaGenerator) -> schemars::Schema),
    /// JSON that has a document of its own.
    Json,
    /// Text, or bytes.
    Text,
}

/// A body: of a request, or of a good answer.
#[derive(Clone, Copy)]
pub(super) struct Body {
    /// The media types that it may have.
    pub(super) media: &'static [&'static str],
    pub(super) content: Content,
}

/// A parameter of a query.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// Whether it is a number.
    pub(super) is_number: bool,
    pub(super) is_required: bool,
}

/// One route.
#[derive(Clone, Copy)]
pub(super) struct Route {
    pub(super) audience: Audience,
    pub(super) method: &'static str,
    /// With `{name}` for what a caller fills in.
    pub(super) path: &'static str,
    /// The same in parts; those behind the last are empty.
    parts: [&'static str; PARTS_MAX],
    pub(super) access: Access,
    /// What it is for, for people.
    pub(super) summary: &'static str,
    pub(super) query: &'static [Parameter],
    pub(super) takes: Option<Body>,
    /// The status of a good answer, and what it has.
    pub(super) gives: (u16, Body),
    /// Whether a caller who has the answer already is told so.
    pub(super) is_cached: bool,
    /// Problems besides those that every route of its kind may have.
    fails: &'static [ProblemKind],
    handler: Handler,
}

/// The routes of one subject, as the reference has them in one table.
pub(super) struct Section {
    /// The name of its place in the reference.
    #[cfg_attr(not(test), expect(dead_code, reason = "the test of the reference reads it"))]
    pub(super) name: &'static str,
    pub(super) routes: &'static [Route],
}

/// Every route. Calls of functions come first, for most requests are such.
pub(super) static SECTIONS: [Section; 4] = [
    Section { name: "models", routes: &everybody::MODELS },
    Section { name: "agreements", routes: &everybody::AGREEMENTS },
    Section { name: "accounts", routes: &everybody::ACCOUNTS },
    Section { name: "operator", routes: &operator::ROUTES },
];

/// JSON of a type of the API.
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
        query: &[],
        takes: None,
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
    Route { method: "POST", takes: Some(takes), ..get(path, access, gives, summary, handler) }
}

impl Route {
    /// The same on the operator's listener.
    const fn for_the_operator(self) -> Self {
        Self { audience: Audience::Operator, ..self }
    }

    /// Something new is there afterwards.
    const fn creates(self) -> Self {
        Self { gives: (201, self.gives.1), ..self }
    }

    const fn asks(self, query: &'static [Parameter]) -> Self {
        Self { query, ..self }
    }

    const fn cached(self) -> Self {
        Self { is_cached: true, ..self }
    }

    const fn fails(self, fails: &'static [ProblemKind]) -> Self {
        Self { fails, ..self }
    }

    /// The problems that it may answer with.
    pub(super) fn problems(&self) -> Vec<ProblemKind> {
        let of_keys: &[ProblemKind] = match self.access {
            Access::Anybody => &[],
            Access::Operator => &[ProblemKind::Unauthenticated],
            Access::Visitor | Access::Account => {
                &[ProblemKind::Unauthenticated, ProblemKind::AccountStopped]
            }
        };
        let of_bodies: &[ProblemKind] = match self.takes {
            None => &[],
            Some(_) => &[
                ProblemKind::RequestTimeout,
                ProblemKind::BodyTooLarge,
                ProblemKind::UnsupportedMediaType,
            ],
        };
        // In the order of the reference, each once.
        let all = [&USUAL, of_keys, of_bodies, self.fails].concat();
        ProblemKind::ALL.into_iter().filter(|kind| all.contains(kind)).collect()
    }

    /// What a caller filled in, if the path is this route's.
    fn matched<'r>(&self, segments: &[&'r str]) -> Option<Filled<'r>> {
        if self.parts.get(segments.len()).is_some_and(|part| !part.is_empty()) {
            return None;
        }
        let is_of_a_model = self.parts[0].starts_with('{');
        // No account is called like the first part of another route.
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
        match self.handler {
            Handler::Call => functions::call(host, filled, request).await,
            Handler::Now(now) => now(host, filled, &request),
            Handler::Later(later) => later(host, filled, request).await,
        }
    }
}

/// Whatever is asked may be malformed, come too often or at the wrong moment, or meet a host that fails.
const USUAL: [ProblemKind; 6] = [
    ProblemKind::InvalidRequest,
    ProblemKind::AccountLimit,
    ProblemKind::Busy,
    ProblemKind::OutOfService,
    ProblemKind::Unavailable,
    ProblemKind::Internal,
];

/// The parts of a pattern.
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

/// The route of a request, and what its caller filled in.
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
