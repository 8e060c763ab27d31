//! Lists in pages: `?after=…&limit=…`, with `next` in the answer while there is more.

use super::problem::{Problem, ProblemKind};

/// Which part of a list is wanted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page<'q> {
    /// Only what belongs to this, where a list knows such a parameter.
    pub(super) of: Option<&'q str>,
    /// What the page before ended with.
    pub(super) after: Option<&'q str>,
    pub(super) limit: usize,
}

impl<'q> Page<'q> {
    /// Reads a query. `of` is a parameter that this list knows besides; a page has `limit_max` entries at most, and as many by default.
    pub(super) fn read(
        query: Option<&'q str>,
        of: Option<&str>,
        limit_max: usize,
    ) -> Result<Self, Problem> {
        let mut page = Self { of: None, after: None, limit: limit_max };
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let wrong = |reason: String| Problem::new(ProblemKind::InvalidRequest, reason);
            match name {
                "after" => page.after = Some(value),
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=limit_max).contains(limit));
                    page.limit = limit.ok_or_else(|| {
                        wrong(format!("`limit` is a number from 1 to {limit_max}"))
                    })?;
                }
                name if Some(name) == of => page.of = Some(value),
                _ => {
                    let known = of.map_or(String::new(), |of| format!("`{of}`, "));
                    let known = format!("{known}`after` and `limit`");
                    return Err(wrong(format!("this list knows the parameters {known} only")));
                }
            }
        }
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_strictly() {
        let read = |query| Page::read(query, Some("agreement"), 100);
        let all = Page { of: None, after: None, limit: 100 };
        assert_eq!(read(None).expect("a page"), all);
        assert_eq!(read(Some("")).expect("a page"), all);
        let page = read(Some("agreement=a&limit=7&after=b")).expect("a page");
        assert_eq!(page, Page { of: Some("a"), after: Some("b"), limit: 7 });
        for wrong in ["limit=0", "limit=101", "limit=x", "limit", "page=2", "%61fter=b"] {
            assert!(read(Some(wrong)).is_err(), "{wrong}");
        }
        assert!(Page::read(Some("agreement=a"), None, 10).is_err());
    }
}
