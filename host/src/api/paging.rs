//! Paged lists: `?after=…&limit=…`, with `next` in the response while there is more. Protocols without such a member use `Link`.

use http::{HeaderValue, header};
use serde::Serialize;

use super::answer::Answer;
use super::form;
use super::problem::{Problem, ProblemKind};
use super::query::{Limit, query};
use crate::id::Digest;
use crate::state::deployments::After;

query! {
    /// The wanted part of a list whose entries have digests.
    Page<const MAX> {
        /// The `next` of the previous page.
        after: Option<Digest>,
        /// The most entries per page.
        limit: Limit<MAX>,
    }
}

/// Size of a list in bytes at which no more entries are added; it may be exceeded by one entry.
const LIST_BYTES_MAX: usize = 512 * 1024;

/// The first entries of `some`, and the number of the last one if there are more. Hidden ones do not count.
pub(super) fn fill<T, E: Serialize>(
    some: impl Iterator<Item = T>,
    limit: usize,
    number: impl Fn(&T) -> Digest,
    entry: impl Fn(&T) -> Option<E>,
) -> (Vec<E>, Option<Digest>) {
    let (mut entries, mut bytes, mut last) = (Vec::new(), 0, None);
    for one in some {
        if entries.len() == limit || bytes >= LIST_BYTES_MAX {
            return (entries, last);
        }
        last = Some(number(&one));
        if let Some(entry) = entry(&one) {
            bytes += serde_json::to_vec(&entry).map_or(0, |text| text.len());
            entries.push(entry);
        }
    }
    (entries, None)
}

/// Maximum models or versions in a list of another protocol.
pub(super) const MODELS_MAX: usize = 1000;

/// The wanted part of a model list in a protocol without pages. Other servers' parameters are ignored.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ModelPage {
    pub(super) after: Option<After>,
    pub(super) limit: usize,
}

impl ModelPage {
    /// Parses a query.
    pub(super) fn read(query: Option<&str>) -> Result<Self, Problem> {
        let mut page = Self { after: None, limit: MODELS_MAX };
        for part in form::query(query.unwrap_or_default())? {
            let value = String::from_utf8_lossy(&part.bytes);
            match part.name.as_str() {
                "after" => page.after = Some(Self::after(&value)?),
                "limit" => {
                    let limit = value.parse::<usize>().ok().filter(|limit| *limit > 0);
                    let wrong = || {
                        let reason = format!("`limit` is a number from 1 to {MODELS_MAX}");
                        Problem::new(ProblemKind::InvalidRequest, reason)
                    };
                    page.limit = limit.ok_or_else(wrong)?.min(MODELS_MAX);
                }
                _ => {}
            }
        }
        Ok(page)
    }

    /// Parses what a page begins after: `publisher/model`, or `publisher/model@version`.
    pub(super) fn after(text: &str) -> Result<After, Problem> {
        let read = || {
            let (model, version) = match text.split_once('@') {
                Some((model, version)) => (model, Some(version)),
                None => (text, None),
            };
            let version = version.map(str::parse).transpose().ok()?;
            Some(After { model: model.parse().ok()?, version })
        };
        read().ok_or_else(|| {
            let reason = "`after` is what the page before named: `publisher/model` or `publisher/model@version`";
            Problem::new(ProblemKind::InvalidRequest, reason)
        })
    }

    /// Links to the next page, if there is one.
    pub(super) fn link(&self, mut answer: Answer, path: &str, next: Option<&After>) -> Answer {
        let link = next.map(|next| {
            // `+` is the only character of a version with another meaning in a query.
            let next = next.to_string().replace('+', "%2B");
            format!("<{path}?after={next}&limit={}>; rel=\"next\"", self.limit)
        });
        if let Some(link) = link.and_then(|link| HeaderValue::try_from(link).ok()) {
            answer.headers_mut().insert(header::LINK, link);
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_filled_to_its_limits_and_says_where_the_next_begins() {
        let number = |one: &usize| Digest::of(&one.to_le_bytes());
        let page = |count, limit, text: &str| {
            let (entries, next) =
                fill(0..count, limit, number, |one| (*one != 1).then(|| text.to_owned()));
            (entries.len(), next)
        };
        assert_eq!(page(0, 2, ""), (0, None));
        assert_eq!(page(3, 2, ""), (2, None), "one is not shown");
        assert_eq!(page(4, 2, ""), (2, Some(number(&2))));
        let large = "x".repeat(LIST_BYTES_MAX / 2);
        assert_eq!(page(9, 9, &large), (2, Some(number(&2))));
    }

    #[test]
    fn a_page_of_models_is_read_whatever_else_is_asked() {
        let read = |query| ModelPage::read(Some(query));
        let all = ModelPage { after: None, limit: MODELS_MAX };
        assert_eq!(read("").expect("a page"), all);
        assert_eq!(read("order=asc&limit=5000").expect("a page"), all);
        let page = read("after=acme%2Firis@1.0.0%2Bx&limit=2").expect("a page");
        let after = page.after.as_ref().expect("it is named");
        assert_eq!((after.to_string().as_str(), page.limit), ("acme/iris@1.0.0+x", 2));
        for wrong in ["limit=0", "limit=x", "after=acme", "after=acme/iris@one"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let answer = page.link(super::super::health::live(), "/v2/models", Some(after));
        let link = answer.headers().get("link").expect("a link");
        assert_eq!(link, "</v2/models?after=acme/iris@1.0.0%2Bx&limit=2>; rel=\"next\"");
    }
}
