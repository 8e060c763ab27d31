//! The path of a request, in parts: each decoded once, so that `%3A` and `:` are the same URL (RFC 3986 section 6.2.2), and none that
//! whoever is in front may have read in another way.
//!
//! Empty parts are left out: `//v1/models/` is `/v1/models`. Behind a handler's `-` the path is the handler's, as it was sent.

use percent_encoding::percent_decode_str;

use super::problem::{Problem, ProblemKind};

/// Longest path that is looked at, in bytes.
const PATH_BYTES_MAX: usize = 1024;

/// Parts of a path that are looked at. Every route has fewer.
pub(super) const SEGMENTS_MAX: usize = 8;

/// What stands between a model's name and the path that is its handler's.
const HANDLER: &str = "-";

/// What paths begin with that name no publisher. No account is called so.
const FRONTS: [&str; 3] = ["api", "v1", "v2"];

/// Decoded parts, where something was to be decoded. Most paths have nothing, and then there are none.
pub(super) type Decoded = Vec<String>;

/// Decodes the parts of `path` where it has to be.
///
/// # Errors
/// 400 for a path that is too long, an escape that is none, and what is no text.
pub(super) fn decode(path: &str) -> Result<Decoded, Problem> {
    if path.len() > PATH_BYTES_MAX {
        return Err(invalid(format!("the path is longer than {PATH_BYTES_MAX} bytes")));
    }
    if !path.contains('%') {
        return Ok(Vec::new());
    }
    let mut decoded = Vec::new();
    for part in parts(path) {
        check_escapes(part)?;
        let text = percent_decode_str(part).decode_utf8();
        let text = text.map_err(|_| invalid(format!("`{part}` in the path is not UTF-8")))?;
        decoded.push(text.into_owned());
        if decoded.len() == SEGMENTS_MAX || handler(&decoded).is_some() {
            break;
        }
    }
    Ok(decoded)
}

/// The first parts of `path`, or of what it was decoded to. `OPTIONS *` and `CONNECT` have none, and no first slash either.
///
/// # Errors
/// 400 for parts that name no place of their own, or hold control characters.
pub(super) fn segments<'p, 's>(
    path: &'p str,
    decoded: &'p Decoded,
    all: &'s mut [&'p str; SEGMENTS_MAX],
) -> Result<&'s [&'p str], Problem> {
    let mut count = 0;
    if decoded.is_empty() {
        for part in parts(path).take(SEGMENTS_MAX) {
            all[count] = part;
            count += 1;
            if handler(&all[..count]).is_some() {
                break;
            }
        }
    } else {
        for part in decoded {
            all[count] = part;
            count += 1;
        }
    }
    let segments = &all[..count];
    match segments.iter().find(|part| matches!(**part, "." | "..")) {
        Some(dots) => return Err(invalid(format!("a path may not hold `{dots}` here"))),
        None if segments.iter().any(|part| part.contains(char::is_control)) => {
            return Err(invalid("the path holds a control character"));
        }
        None => {}
    }
    Ok(segments)
}

/// What stands behind the first three parts, as it was sent: a handler's own path.
pub(super) fn below_handler(path: &str) -> &str {
    let mut rest = path;
    for _ in 0..3 {
        rest = rest.trim_start_matches('/');
        rest = rest.find('/').map_or("", |slash| &rest[slash..]);
    }
    rest.strip_prefix('/').unwrap_or_default()
}

/// The publisher and the model, if these parts lead to a model's handler: what follows is its own.
pub(super) fn handler<S: AsRef<str>>(segments: &[S]) -> Option<[&str; 2]> {
    let [publisher, model, third, ..] = segments else { return None };
    let (publisher, model) = (publisher.as_ref(), model.as_ref());
    (third.as_ref() == HANDLER && !FRONTS.contains(&publisher)).then_some([publisher, model])
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    let path = path.strip_prefix('/').unwrap_or_default();
    path.split('/').filter(|part| !part.is_empty())
}

/// Whether each `%` is followed by two digits: what is decoded by some readers and not by others means two things.
fn check_escapes(part: &str) -> Result<(), Problem> {
    let mut rest = part.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        match rest.get(at + 1..at + 3) {
            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => rest = &rest[at + 3..],
            _ => return Err(invalid(format!("`{part}` in the path is not percent-encoded"))),
        }
    }
    Ok(())
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(ProblemKind::InvalidRequest, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str) -> Result<Vec<String>, Problem> {
        let decoded = decode(path)?;
        let mut all = [""; SEGMENTS_MAX];
        Ok(segments(path, &decoded, &mut all)?.iter().map(|part| (*part).to_owned()).collect())
    }

    fn joined(path: &str) -> String {
        read(path).map_or_else(|problem| problem.detail().to_owned(), |parts| parts.join("|"))
    }

    #[test]
    fn a_path_is_cut_into_parts_and_the_rest_of_a_long_one_is_not_looked_at() {
        assert_eq!(joined("/acme/digits/classify"), "acme|digits|classify");
        assert_eq!((joined("*"), joined("/")), (String::new(), String::new()));
        assert_eq!(joined("/1/2/3/4/5/6/7/8/9"), "1|2|3|4|5|6|7|8");
        assert_eq!(joined("/1/2/3/4/5/6/7/%38/9"), "1|2|3|4|5|6|7|8");
        let sections = super::super::routes::SECTIONS.iter();
        let longest =
            sections.flat_map(|section| section.routes).map(|route| route.path.split('/').count());
        assert!(longest.max().is_some_and(|parts| parts <= SEGMENTS_MAX));
    }

    #[test]
    fn slashes_too_many_are_none() {
        for path in ["/v1/models", "//v1/models", "/v1//models/", "///v1/models//"] {
            assert_eq!(joined(path), "v1|models", "{path}");
        }
    }

    #[test]
    fn each_part_is_decoded_once() {
        assert_eq!(joined("/api/agreements/sha256%3A0d"), "api|agreements|sha256:0d");
        assert_eq!(joined("/v1/models/acme%2Fx"), "v1|models|acme/x");
        assert_eq!(joined("/a/%2541"), "a|%41");
        assert_eq!(joined("/%61%63me/x%401.0.0/%C3%A4"), "acme|x@1.0.0|ä");
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for path in ["/a/../b", "/a/%2e%2E/b", "/./a", "/a/%2e", "/a/%00", "/a%0a/b", "/a/%7f"] {
            assert!(read(path).is_err(), "{path}");
        }
        for path in ["/a/%", "/a/%4", "/a/%zz", "/a/%+1", "/a/%ff", "/a/%c0%ae", "/%ed%a0%80"] {
            assert!(read(path).is_err(), "{path}");
        }
    }

    #[test]
    fn a_handler_s_own_path_is_not_touched() {
        let path = "//acme/x%401.0.0/-//a/%2e%2E/../%zz/%00/";
        assert_eq!(joined(path), "acme|x@1.0.0|-");
        assert_eq!(below_handler(path), "/a/%2e%2E/../%zz/%00/");
        assert_eq!((below_handler("/a/b/-"), below_handler("/a/b/-/")), ("", ""));
        assert_eq!(below_handler("/a/b/%2D/c"), "c");
        assert_eq!(joined("/v1/models/-/a"), "v1|models|-|a");
    }
}
