//! Reads request bodies: bounded in size and in time, and refused before the first byte where the length says enough.

use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};

use super::compression::{self, Coding};
use super::problem::{Problem, ProblemKind};
use crate::value::parse::without_bom;

/// Reads a whole body of at most `bytes_max` within `time_max`, as it was before it was compressed.
///
/// # Errors
/// 415 for a coding that is not known, 413 naming the limit, 408, or 400 if the connection broke off or what came is not what it
/// says.
pub async fn read(
    headers: &HeaderMap,
    body: Incoming,
    bytes_max: u64,
    time_max: Duration,
) -> Result<Bytes, Problem> {
    let coding = Coding::of_request(headers)?;
    let bytes = as_sent(body, bytes_max, time_max).await?;
    compression::inflate(bytes, coding, bytes_max, 0).await
}

/// Like [`read`], of a document in JSON.
///
/// # Errors
/// As of [`read`].
pub async fn read_json(
    headers: &HeaderMap,
    body: Incoming,
    bytes_max: u64,
    time_max: Duration,
) -> Result<Bytes, Problem> {
    let bytes = read(headers, body, bytes_max, time_max).await?;
    Ok(bytes.slice_ref(without_bom(&bytes)))
}

/// The whole body, as it came.
async fn as_sent(mut body: Incoming, bytes_max: u64, time_max: Duration) -> Result<Bytes, Problem> {
    check_declared(&body, bytes_max)?;
    match within(time_max, whole(&mut body, bytes_max)).await? {
        Ok(bytes) => Ok(bytes),
        Err(NotWhole::TooLarge) => Err(too_large(None, bytes_max)),
        Err(NotWhole::Broken(error)) => Err(broken(&error)),
    }
}

/// Why a body was not read to its end.
enum NotWhole {
    TooLarge,
    Broken(hyper::Error),
}

/// All of a body. One that comes in one piece is not copied.
async fn whole(body: &mut Incoming, bytes_max: u64) -> Result<Bytes, NotWhole> {
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut only = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.map_err(NotWhole::Broken)?.into_data() else { continue };
        if (only.len() + joined.len() + piece.len()) as u64 > bytes_max {
            return Err(NotWhole::TooLarge);
        }
        if only.is_empty() && joined.is_empty() {
            only = piece;
        } else {
            if joined.is_empty() {
                joined.reserve(declared.min(READ_AHEAD_BYTES));
            }
            joined.extend_from_slice(&std::mem::take(&mut only));
            joined.extend_from_slice(&piece);
        }
    }
    Ok(if joined.is_empty() { only } else { joined.freeze() })
}

/// What `work` comes to, if it takes no longer than `time_max`. Only work that has to wait is given a timer.
async fn within<T>(time_max: Duration, work: impl Future<Output = T>) -> Result<T, Problem> {
    let mut work = pin!(work);
    match work.as_mut().now_or_never() {
        Some(done) => Ok(done),
        None => tokio::time::timeout(time_max, work).await.map_err(|_| too_slow(time_max)),
    }
}

/// Refuses a body that says that it is larger than `bytes_max`.
///
/// # Errors
/// 413 naming the limit.
pub fn check_declared(body: &Incoming, bytes_max: u64) -> Result<(), Problem> {
    let declared = body.size_hint().lower();
    if declared <= bytes_max { Ok(()) } else { Err(too_large(Some(declared), bytes_max)) }
}

fn too_large(seen: Option<u64>, bytes_max: u64) -> Problem {
    let seen = seen.map_or_else(String::new, |seen| format!(" of {seen} bytes"));
    let detail = format!("the body{seen} is larger than the {bytes_max} bytes allowed here");
    Problem::new(ProblemKind::BodyTooLarge, detail).with("limit", bytes_max)
}

fn broken(error: &hyper::Error) -> Problem {
    Problem::new(ProblemKind::InvalidRequest, format!("the body broke off: {error}"))
}

fn too_slow(time_max: Duration) -> Problem {
    let seconds = time_max.as_secs_f64();
    let detail = format!("the body did not arrive within {seconds} s");
    Problem::new(ProblemKind::RequestTimeout, detail)
}

/// Where the data of a tensor has to begin so that any backend can read it where it lies, in bytes: the alignment of every
/// allocation of this size, and a multiple of that of every element.
const TENSOR_ALIGN: usize = 16;

/// Room that is made before a body has come, in bytes, whatever length it announces.
const READ_AHEAD_BYTES: usize = 1 << 20;

/// Bytes to leave free at the start of a buffer, so that what comes `offset` bytes after them is aligned as tensors are.
pub fn padding(offset: usize) -> usize {
    offset.next_multiple_of(TENSOR_ALIGN) - offset
}

/// Like [`read`]; the byte at `offset` is put where a tensor can begin. Costs one copy, as joining the pieces of a body does.
///
/// # Errors
/// As of [`read`].
pub async fn read_aligned(
    headers: &HeaderMap,
    body: Incoming,
    bytes_max: u64,
    time_max: Duration,
    offset: usize,
) -> Result<Bytes, Problem> {
    let coding = Coding::of_request(headers)?;
    let declared = body.size_hint().exact().and_then(|length| usize::try_from(length).ok());
    let declared = declared.unwrap_or(0);
    // Without tensors, without a length, or past the limit there is nothing to be won.
    let is_plain = offset == 0 || declared <= offset || declared as u64 > bytes_max;
    if is_plain || coding.is_some() {
        let bytes = as_sent(body, bytes_max, time_max).await?;
        return compression::inflate(bytes, coding, bytes_max, offset).await;
    }
    let mut body = body;
    let padding = padding(offset);
    let mut buffer = Vec::with_capacity(padding + declared.min(READ_AHEAD_BYTES));
    buffer.resize(padding, 0);
    let collect = async {
        while let Some(frame) = body.frame().await {
            if let Some(bytes) = frame?.data_ref() {
                buffer.extend_from_slice(bytes);
            }
        }
        Ok::<_, hyper::Error>(())
    };
    // The body is as long as it was declared, which is within the limit: the connection sees to it.
    match within(time_max, collect).await? {
        Ok(()) => Ok(Bytes::from(buffer).slice(padding..)),
        Err(error) => Err(broken(&error)),
    }
}

/// What a body holds, by its `Content-Type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    Json,
    Octets,
    /// `multipart/form-data`.
    Form,
}

/// What `curl --data` sends unless told otherwise: never meant.
const CURL_DEFAULT: &str = "application/x-www-form-urlencoded";

/// The media type of a body. Without a header it is JSON.
///
/// # Errors
/// 415 for anything that is neither JSON nor bytes.
pub fn media(headers: &HeaderMap) -> Result<Media, Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(Media::Json) };
    // Types and parameters are the same in capitals (RFC 9110 section 8.3.1).
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    let essence = essence.trim();
    let is = |name: &str| essence.eq_ignore_ascii_case(name);
    if is("application/json") {
        Ok(Media::Json)
    } else if is("application/octet-stream")
        || begins_with(essence, "image/")
        || begins_with(essence, "audio/")
    {
        Ok(Media::Octets)
    } else if is("multipart/form-data") {
        Ok(Media::Form)
    } else if is(CURL_DEFAULT) {
        Err(Problem::new(
            ProblemKind::UnsupportedMediaType,
            "say what the body is: `Content-Type: application/json`, or `application/octet-stream` for bytes",
        ))
    } else {
        Err(Problem::new(
            ProblemKind::UnsupportedMediaType,
            format!(
                "`{essence}` is not understood here: send `application/json`, `application/octet-stream` or `multipart/form-data`"
            ),
        ))
    }
}

/// Whether `text` begins so, in capitals or not.
fn begins_with(text: &str, beginning: &str) -> bool {
    let start = text.as_bytes().get(..beginning.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(beginning.as_bytes()))
}

/// Whether the caller wants bytes rather than JSON.
pub fn wants_octets(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| begins_with(value.trim_start(), "application/octet-stream"))
}

/// The token of `Authorization: Bearer`. Two such headers are none: whoever is in front may have looked at the other one.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    // HTTP/2 does not strip the space that some clients put in front.
    let value = value.to_str().ok()?.trim_start();
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
