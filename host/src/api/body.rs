//! Reads request bodies: bounded in size and in time, and refused before the first byte where the length says enough.

use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};

use super::problem::{Problem, ProblemKind};

/// Most bytes of a refused body that are read and thrown away, and the time that is spent on it. A client that is still sending
/// when the connection closes never sees the answer, so some patience is owed to it.
const LINGER_BYTES_MAX: usize = 16 << 20;
const LINGER_TIME_MAX: Duration = Duration::from_secs(1);

/// Reads a whole body of at most `bytes_max` within `time_max`.
///
/// # Errors
/// 413 naming the limit, 408, or 400 if the connection broke off.
pub async fn read(
    headers: &HeaderMap,
    mut body: Incoming,
    bytes_max: u64,
    time_max: Duration,
) -> Result<Bytes, Problem> {
    check_declared(headers, &mut body, bytes_max).await?;
    match within(time_max, whole(&mut body, bytes_max)).await? {
        Ok(bytes) => Ok(bytes),
        Err(NotWhole::TooLarge) => {
            linger(&mut body).await;
            Err(too_large(None, bytes_max))
        }
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
pub async fn check_declared(
    headers: &HeaderMap,
    body: &mut Incoming,
    bytes_max: u64,
) -> Result<(), Problem> {
    let declared = body.size_hint().lower();
    if declared <= bytes_max {
        return Ok(());
    }
    // Who asks before sending has not sent anything.
    if !headers.contains_key(header::EXPECT) {
        linger(body).await;
    }
    Err(too_large(Some(declared), bytes_max))
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
    let declared = body.size_hint().exact().and_then(|length| usize::try_from(length).ok());
    let declared = declared.unwrap_or(0);
    // Without tensors, without a length, or past the limit there is nothing to be won.
    if offset == 0 || declared <= offset || declared as u64 > bytes_max {
        return read(headers, body, bytes_max, time_max).await;
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

/// Throws away what is still coming of a body, within bounds.
async fn linger(body: &mut Incoming) {
    let drain = async {
        let mut left = LINGER_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(bytes) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    let _ = tokio::time::timeout(LINGER_TIME_MAX, drain).await;
}

/// What a body holds, by its `Content-Type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    Json,
    Octets,
    /// `multipart/form-data`.
    Form,
}

/// The media type of a body. Without a header it is JSON.
///
/// # Errors
/// 415 for anything that is neither JSON nor bytes.
pub fn media(headers: &HeaderMap) -> Result<Media, Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(Media::Json) };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    // What `curl --data` sends unless told otherwise: never meant.
    const CURL_DEFAULT: &str = "application/x-www-form-urlencoded";
    match essence {
        "application/json" => Ok(Media::Json),
        "application/octet-stream" => Ok(Media::Octets),
        "multipart/form-data" => Ok(Media::Form),
        other if other.starts_with("image/") || other.starts_with("audio/") => Ok(Media::Octets),
        CURL_DEFAULT => Err(Problem::new(
            ProblemKind::UnsupportedMediaType,
            "say what the body is: `Content-Type: application/json`, or `application/octet-stream` for bytes",
        )),
        other => Err(Problem::new(
            ProblemKind::UnsupportedMediaType,
            format!(
                "`{other}` is not understood here: send `application/json`, `application/octet-stream` or `multipart/form-data`"
            ),
        )),
    }
}

/// Whether the caller wants bytes rather than JSON.
pub fn wants_octets(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.trim_start().starts_with("application/octet-stream"))
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
