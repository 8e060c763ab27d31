//! Forms and query strings: arguments by name, without JSON.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::stream;
use multer::Multipart;
use percent_encoding::percent_decode_str;

use super::problem::{Problem, ProblemKind};
use crate::call::Part;

/// Maximum parts of a form or query.
const PARTS_MAX: usize = 64;

/// Maximum length of a part's name, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// Parses `multipart/form-data`. The body has been read, within its limit.
pub(super) fn multipart(content_type: &str, body: &Bytes) -> Result<Vec<Part>, Problem> {
    let boundary = multer::parse_boundary(content_type).map_err(|error| broken(&error))?;
    let whole = stream::iter([Ok::<_, Infallible>(body.clone())]);
    let mut form = Multipart::new(whole, boundary);
    let mut parts = Vec::new();
    // The whole body is in memory, so this never waits.
    let never = || Problem::new(ProblemKind::InvalidRequest, "the form is incomplete");
    while let Some(field) =
        form.next_field().now_or_never().ok_or_else(never)?.map_err(|error| broken(&error))?
    {
        let name = field.name().unwrap_or_default().to_owned();
        let bytes = field.bytes().now_or_never().ok_or_else(never)?;
        add(&mut parts, Part { name, bytes: bytes.map_err(|error| broken(&error))? })?;
    }
    Ok(parts)
}

fn broken(error: &multer::Error) -> Problem {
    Problem::new(ProblemKind::InvalidRequest, format!("the form cannot be read: {error}"))
}

/// Parses a query string, `name=value&…`, and decodes `%20` and `+`.
pub(super) fn query(query: &str) -> Result<Vec<Part>, Problem> {
    let mut parts = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).collect::<Vec<u8>>();
        let name = String::from_utf8_lossy(&decode(name)).into_owned();
        add(&mut parts, Part { name, bytes: decode(value).into() })?;
    }
    Ok(parts)
}

fn add(parts: &mut Vec<Part>, part: Part) -> Result<(), Problem> {
    if parts.len() == PARTS_MAX {
        let detail = format!("the form or query has more than the {PARTS_MAX} parts allowed");
        return Err(Problem::new(ProblemKind::InvalidRequest, detail));
    }
    if part.name.is_empty() || part.name.len() > NAME_BYTES_MAX {
        let detail = format!("a part's name must have 1 to {NAME_BYTES_MAX} bytes");
        return Err(Problem::new(ProblemKind::InvalidRequest, detail));
    }
    parts.push(part);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_and_queries_are_parts() {
        let body = Bytes::from_static(
            b"--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\n\xff\x00\r\n\
              --b\r\ncontent-disposition: form-data; name=\"top\"\r\n\r\n3\r\n--b--\r\n",
        );
        let parts = multipart("multipart/form-data; boundary=b", &body).expect("a form");
        assert_eq!((parts[0].name.as_str(), parts[0].bytes.as_ref()), ("file", &b"\xff\x00"[..]));
        assert_eq!((parts[1].name.as_str(), parts[1].bytes.as_ref()), ("top", &b"3"[..]));
        for cut in 0..body.len() - 4 {
            assert!(multipart("multipart/form-data; boundary=b", &body.slice(..cut)).is_err());
        }
        assert!(multipart("multipart/form-data", &body).is_err());
        let parts = query("a=1+2&b=%22x%22&c").expect("a query");
        let read: Vec<_> = parts.iter().map(|p| (p.name.as_str(), p.bytes.as_ref())).collect();
        assert_eq!(read, [("a", &b"1 2"[..]), ("b", b"\"x\""), ("c", b"")]);
        assert!(query(&"a=1&".repeat(65)).is_err() && query("=1").is_err());
    }
}
