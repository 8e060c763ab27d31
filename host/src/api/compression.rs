//! Compressed requests and responses: gzip and deflate, the latter in zlib's format (RFC 9110 section 8.4.1.2).
//!
//! Both sizes of a body are limited. Decompression stops at the limit.

use std::io::{Read as _, Write as _};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::{GzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};
use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyExt as _;

use super::answer::{Answer, AnswerBody};
use super::body;
use super::problem::{Problem, ProblemKind};
use crate::admission::FairTurn;

/// Shorter responses are not worth compressing.
const COMPRESS_BYTES_MIN: usize = 1024;

/// From this size on, compression runs on its own thread so that others need not wait.
const AWAY_BYTES_MIN: usize = 64 << 10;

/// `Accept-Encoding` in the response to an unsupported coding (RFC 9110 section 12.5.3).
const ACCEPTED: HeaderValue = HeaderValue::from_static("gzip, deflate");

/// A body's coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Deflate,
}

impl Coding {
    fn named(name: &str) -> Option<Self> {
        match name.trim() {
            name if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => {
                Some(Coding::Gzip)
            }
            name if name.eq_ignore_ascii_case("deflate") => Some(Coding::Deflate),
            _ => None,
        }
    }

    /// The coding of a request's body, if any.
    pub(super) fn of_request(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
        let Some(value) = values.next() else { return Ok(None) };
        let text = value.to_str().unwrap_or_default();
        if text.eq_ignore_ascii_case("identity") {
            return Ok(None);
        }
        match Self::named(text).filter(|_| values.next().is_none()) {
            Some(coding) => Ok(Some(coding)),
            None => {
                let seen: String = text.chars().take(40).collect();
                let detail =
                    format!("`Content-Encoding: {seen}` is not supported: use gzip or deflate");
                Err(Problem::new(ProblemKind::UnsupportedMediaType, detail)
                    .header(header::ACCEPT_ENCODING, ACCEPTED))
            }
        }
    }

    /// The coding that the caller accepts, if any. The highest weight wins; among equals the first.
    pub(super) fn accepted(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(header::ACCEPT_ENCODING)?.to_str().ok()?;
        let mut best: Option<(f32, Self)> = None;
        for entry in text.split(',') {
            let mut parts = entry.split(';');
            let Some(coding) = parts.next().and_then(Self::named) else { continue };
            let weight = parts.find_map(|part| part.trim().strip_prefix("q=")?.trim().parse().ok());
            let weight = weight.unwrap_or(1.0_f32);
            if weight > 0.0 && best.is_none_or(|(other, _)| weight > other) {
                best = Some((weight, coding));
            }
        }
        best.map(|(_, coding)| coding)
    }
}

/// Whether the caller accepts gzip.
pub(in crate::api) fn accepts_gzip(headers: &HeaderMap) -> bool {
    Coding::accepted(headers) == Some(Coding::Gzip)
}

/// The decompressed body, at most `max` bytes, with data at `offset` aligned for reading in place. The work owns its turn, because the
/// caller may leave.
pub(super) async fn inflate(
    body: Bytes,
    coding: Option<Coding>,
    (max, offset): (u64, usize),
    turn: Option<FairTurn>,
) -> Result<Bytes, Problem> {
    let Some(coding) = coding else { return Ok(body) };
    let work = move || {
        let _turn = turn;
        let padding = body::padding(offset.min(body.len()));
        let mut out = vec![0; padding];
        let compressed = body.as_ref();
        // One byte over the limit is enough to know.
        let wanted = max.saturating_add(1);
        let read = match coding {
            Coding::Gzip => GzDecoder::new(compressed).take(wanted).read_to_end(&mut out),
            Coding::Deflate => ZlibDecoder::new(compressed).take(wanted).read_to_end(&mut out),
        };
        let read = read.map_err(|error| {
            let detail = format!("the body is not {coding:?} data: {error}");
            Problem::new(ProblemKind::InvalidRequest, detail)
        })?;
        if read as u64 > max {
            let detail = format!("the decompressed body exceeds the {max} bytes allowed here");
            return Err(Problem::new(ProblemKind::BodyTooLarge, detail).with("limit", max));
        }
        Ok(Bytes::from(out).slice(padding..))
    };
    let away = tokio::task::spawn_blocking(work).await;
    away.unwrap_or_else(|panic| Err(Problem::internal(&panic)))
}

/// The response, compressed as the caller accepts if that is worth it.
pub(super) async fn deflate(answer: Answer, coding: Option<Coding>) -> Answer {
    let Some(coding) = coding else { return answer };
    let (mut parts, body) = answer.into_parts();
    let AnswerBody::Whole(whole) = body else { return Answer::from_parts(parts, body) };
    let Ok(collected) = whole.collect().await;
    let plain = collected.to_bytes();
    if plain.len() < COMPRESS_BYTES_MIN {
        return Answer::from_parts(parts, plain.into());
    }
    let work = {
        let plain = plain.clone();
        move || compress(&plain, coding)
    };
    let compressed = match plain.len() < AWAY_BYTES_MIN {
        true => work(),
        false => tokio::task::spawn_blocking(work).await.unwrap_or(None),
    };
    let Some(compressed) = compressed else { return Answer::from_parts(parts, plain.into()) };
    let name = match coding {
        Coding::Gzip => "gzip",
        Coding::Deflate => "deflate",
    };
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(name));
    parts.headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    Answer::from_parts(parts, compressed.into())
}

fn compress(plain: &[u8], coding: Coding) -> Option<Bytes> {
    let out = Vec::with_capacity(plain.len() / 2);
    let compressed = match coding {
        Coding::Gzip => {
            let mut encoder = GzEncoder::new(out, Compression::fast());
            encoder.write_all(plain).and_then(|()| encoder.finish())
        }
        Coding::Deflate => {
            let mut encoder = ZlibEncoder::new(out, Compression::fast());
            encoder.write_all(plain).and_then(|()| encoder.finish())
        }
    };
    compressed.ok().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(text: &'static str) -> Option<Coding> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(text));
        Coding::accepted(&headers)
    }

    #[test]
    fn the_highest_weight_wins() {
        assert_eq!(accepted("gzip"), Some(Coding::Gzip));
        assert_eq!(accepted("br, deflate;q=0.5, gzip;q=0.4"), Some(Coding::Deflate));
        assert_eq!(accepted("gzip;q=0, deflate"), Some(Coding::Deflate));
        assert_eq!(accepted("gzip;q=0, br, *"), None);
        assert_eq!(accepted("identity"), None);
    }

    #[tokio::test]
    async fn a_bomb_is_refused_before_it_has_grown() {
        let zeros = compress(&vec![0; 10 << 20], Coding::Gzip).expect("compressed");
        assert!(zeros.len() < 100 << 10);
        let refused = inflate(zeros.clone(), Some(Coding::Gzip), (1 << 20, 0), None).await;
        assert_eq!(refused.map_err(|p| p.kind()).err(), Some(ProblemKind::BodyTooLarge));
        let whole = inflate(zeros, Some(Coding::Gzip), (10 << 20, 0), None).await;
        assert_eq!(whole.map(|bytes| bytes.len()).ok(), Some(10 << 20));
        let garbage =
            inflate(Bytes::from_static(b"no gzip"), Some(Coding::Gzip), (10, 0), None).await;
        assert_eq!(garbage.map_err(|p| p.kind()).err(), Some(ProblemKind::InvalidRequest));
    }
}
