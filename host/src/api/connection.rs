//! One connection, with or without TLS, HTTP/1.1 or HTTP/2, served until it ends.

mod drive;

use std::convert::Infallible;
use std::future::ready;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt as _};
use http::{HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::rt::{Read, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

use self::drive::{Idle, drive};
use super::answer::{Answer, AnswerBody, BoxError, Guard};
use super::connections::{Room, Seat, Stream};
use super::linger::{Lingering, Refusals};
use super::problem::Problem;
use super::public::FromProxy;
use super::steady::Steady;
use super::{Audience, body, health, intake, router};
use crate::admission::{Holder, Pace};
use crate::host::Host;

/// The HTTP/2 preface (RFC 9113 section 3.4). Three bytes tell it from every HTTP/1.1 method.
const HTTP2_PREFACE: &[u8; 3] = b"PRI";

/// Maximum open requests per HTTP/2 connection.
const STREAMS_MAX: u32 = 128;

/// Read buffer for an HTTP/1.1 body, in bytes. It grows to this size only while bodies fill it.
const READ_BYTES_MAX: usize = 128 << 10;

/// HTTP/2 flow-control windows in bytes: per request and per connection.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// Interval of pings on a silent HTTP/2 connection, and the timeout for the answer.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Memory of an unauthenticated request while it is answered, in bytes, besides its head: its task and its place in the connection.
const REQUEST_BYTES: u64 = 12 << 10;

/// Memory of a header field besides its text, in bytes.
const FIELD_BYTES: usize = 128;

/// Maximum head in bytes with which a request without a body may wait for room, because waiting requests are not counted. Browsers send
/// less.
const WAITING_HEAD_BYTES_MAX: u64 = 8 << 10;

/// Memory of a streamed response, in bytes, besides its data.
const STREAM_BYTES: u64 = 36 << 10;

/// How often, and after which delays, an unauthenticated request looks again for the room that another connection is freeing. Longer than
/// that connection has to leave.
const ROOM_LOOKS: u32 = 15;
const ROOM_WAIT: Duration = Duration::from_millis(20);

/// Delay before looking again at a connection that has sent one or two bytes.
const PREFACE_WAIT: Duration = Duration::from_millis(1);

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("`{}` holds no readable PEM (`{key}`)", path.display())]
    Pem {
        path: PathBuf,
        key: &'static str,
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    #[error("the certificate and the key do not match (`api.tls_certificate`, `api.tls_key`)")]
    Pair(#[source] rustls::Error),
    #[error("`api.tls_certificate` and `api.tls_key` go together: set both or none")]
    Half,
}

/// The TLS configuration, if the settings name a certificate.
pub(super) fn tls(
    certificate: Option<&Path>,
    key: Option<&Path>,
) -> Result<Option<TlsAcceptor>, TlsError> {
    Ok(tls_with_leaf(certificate, key)?.map(|(acceptor, _)| acceptor))
}

/// The same, with the leaf certificate.
pub(super) fn tls_with_leaf(
    certificate: Option<&Path>,
    key: Option<&Path>,
) -> Result<Option<(TlsAcceptor, CertificateDer<'static>)>, TlsError> {
    let (certificate, key) = match (certificate, key) {
        (None, None) => return Ok(None),
        (Some(certificate), Some(key)) => (certificate, key),
        (Some(_), None) | (None, Some(_)) => return Err(TlsError::Half),
    };
    let wrong = |path: &Path, key: &'static str| {
        let path = path.to_owned();
        move |source| TlsError::Pem { path, key, source }
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(wrong(certificate, "api.tls_certificate"))?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(wrong(key, "api.tls_key"))?;
    let none = rustls::pki_types::pem::Error::NoItemsFound;
    let leaf = chain.first().cloned();
    let leaf = leaf.ok_or(none).map_err(wrong(certificate, "api.tls_certificate"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Pair)?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(TlsError::Pair)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Some((TlsAcceptor::from(Arc::new(config)), leaf)))
}

/// Serves a connection until it ends, or until it is told to stop and has answered its requests.
///
/// Boxed instead of an `async fn`, which would be compiled where it is awaited: in the crate that starts a host, with every call. Behind a
/// pointer it is compiled here, once.
pub(super) fn serve(
    host: Arc<Host>,
    audience: Audience,
    tls: Option<TlsAcceptor>,
    stream: TcpStream,
    seat: Arc<Seat>,
) -> BoxFuture<'static, Result<(), BoxError>> {
    Box::pin(async move {
        // Small responses must not wait for the peer's acknowledgement of the previous one.
        stream.set_nodelay(true)?;
        let api = &host.config().api;
        let patience = api.header_read_timeout;
        let peer = stream.peer_addr()?.ip();
        let is_proxy = api.trusted_proxies.iter().any(|network| network.contains(peer));
        let server = Server { host, audience, is_proxy, seat: Arc::clone(&seat) };
        match tls {
            Some(tls) => {
                let encrypted = tokio::time::timeout(patience, tls.accept(stream));
                let stream = tokio::select! {
                    () = seat.leaving() => return Ok(()),
                    encrypted = encrypted => encrypted??,
                };
                let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                server.speak(TokioIo::new(stream), is_http2).await
            }
            None => {
                let first = tokio::time::timeout(patience, knows_http2(&stream));
                let is_http2 = tokio::select! {
                    () = seat.leaving() => return Ok(()),
                    first = first => first??,
                };
                server.speak(TokioIo::new(stream), is_http2).await
            }
        }
    })
}

/// Whether the client begins with HTTP/2. Peeks at its first bytes.
async fn knows_http2(stream: &TcpStream) -> std::io::Result<bool> {
    let mut seen = [0; HTTP2_PREFACE.len()];
    loop {
        let length = stream.peek(&mut seen).await?;
        if length == 0 || seen[..length] != HTTP2_PREFACE[..length] {
            return Ok(false);
        }
        if length == seen.len() {
            return Ok(true);
        }
        tokio::time::sleep(PREFACE_WAIT).await;
    }
}

struct Server {
    host: Arc<Host>,
    audience: Audience,
    /// Whether its forwarding headers are trusted.
    is_proxy: bool,
    seat: Arc<Seat>,
}

impl Server {
    async fn speak<I>(self, io: I, is_http2: bool) -> Result<(), BoxError>
    where
        I: Read + Write + Unpin + Send + 'static,
    {
        let Self { host, audience, is_proxy, seat } = self;
        let api = host.config().api.clone();
        // Read and write timeouts are the same.
        let io = Steady::new(io, Pace::of(&api, api.body_read_timeout), Arc::clone(&seat));
        let refusals = Refusals::new();
        let noted = refusals.clone();
        let service = service_fn({
            let seat = Arc::clone(&seat);
            move |mut request: Request<Incoming>| {
                if is_proxy {
                    request.extensions_mut().insert(FromProxy);
                }
                let refusals = (!request.body().is_end_stream()).then(|| noted.clone());
                let answer = serve_one(&host, audience, &seat, request);
                async move {
                    let answer = answer.await;
                    if let Some(refusals) = refusals.filter(|_| !answer.status().is_success()) {
                        refusals.note();
                    }
                    Ok::<_, Infallible>(answer)
                }
            }
        });
        if is_http2 {
            let header_bytes_max = u32::try_from(api.header_bytes_max.get()).unwrap_or(u32::MAX);
            let mut http = http2::Builder::new(TokioExecutor::new());
            http.timer(TokioTimer::new())
                .max_concurrent_streams(STREAMS_MAX)
                .max_header_list_size(header_bytes_max)
                .initial_stream_window_size(STREAM_WINDOW_BYTES)
                .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                .keep_alive_interval(KEEP_ALIVE_INTERVAL)
                .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
            let idle = Idle {
                known: api.idle_timeout,
                stranger: api.header_read_timeout,
                bytes_per_second_min: api.body_bytes_per_second_min.get() as u64,
            };
            drive(http.serve_connection(io, service), &seat, Some(idle)).await
        } else {
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new())
                .header_read_timeout(api.header_read_timeout)
                .max_headers(api.headers_max.get())
                .max_header_size(api.header_bytes_max.get())
                .max_buf_size(api.header_bytes_max.get().max(READ_BYTES_MAX));
            let io = Lingering::new(io, refusals);
            drive(http.serve_connection(io, service), &seat, None).await
        }
    }
}

/// Answers one request, within its sender's memory budget.
///
/// Room is checked synchronously on the connection's task, and the large response future is made only if there is room. One packet can
/// carry a hundred requests; refused and waiting ones must hold next to nothing.
fn serve_one(
    host: &Arc<Host>,
    audience: Audience,
    seat: &Arc<Seat>,
    request: Request<Incoming>,
) -> BoxFuture<'static, Answer> {
    if seat.is_going() {
        return Box::pin(ready(bare(StatusCode::SERVICE_UNAVAILABLE)));
    }
    if request.headers().len() > host.config().api.headers_max.get() {
        // HTTP/1.1 bodies are counted as they arrive.
        seat.refuse();
        return Box::pin(ready(bare(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)));
    }
    let entered = enter(host, audience, seat, &request).or_else(|refused| {
        // Health checks must be answered: a host that does not answer them is taken out of service.
        let is_health = health::is_health(request.uri().path());
        let room = is_health.then(|| seat.room_for_health()).flatten();
        room.map(Some).ok_or(refused)
    });
    // A connection with a request in progress is not the first to make room.
    let stream = seat.begin();
    let host = Arc::clone(host);
    let refused = match entered {
        Ok(room) => {
            return Box::pin(async move {
                finish(routed(&host, audience, room, request).await, stream).await
            });
        }
        Err(refused) => refused,
    };
    let seat = Arc::clone(seat);
    // The connection with the most unread responses is closed. A body would arrive and be held while its request waits.
    let makes_room = seat.oust();
    let is_small = request.body().is_end_stream() && head_bytes(&request) <= WAITING_HEAD_BYTES_MAX;
    match (makes_room && is_small).then(|| seat.wait()).flatten() {
        Some(waits) => Box::pin(async move {
            let answer = match find_room(&host, audience, &seat, &request).await {
                Some(room) => {
                    drop(waits);
                    Box::pin(routed(&host, audience, room, request)).await
                }
                None => refuse(&seat, request.version(), refused),
            };
            finish(answer, stream).await
        }),
        None => {
            let answer = refuse(&seat, request.version(), refused);
            drop(request);
            Box::pin(finish(answer, stream))
        }
    }
}

async fn routed(
    host: &Arc<Host>,
    audience: Audience,
    room: Option<Room>,
    mut request: Request<Incoming>,
) -> Result<Answer, Problem> {
    if let Some(room) = &room {
        // The request's memory counts for its connection too.
        request.extensions_mut().insert(room.own().clone());
    }
    let answer = router::route(host, audience, request).await;
    match room {
        Some(room) => charge(answer, room),
        None => Ok(answer),
    }
}

fn refuse(seat: &Seat, version: http::Version, refused: Problem) -> Result<Answer, Problem> {
    if version == http::Version::HTTP_2 {
        seat.refuse();
    }
    charge(refused.into_response(), seat.room_for_refusal())
}

async fn finish(answer: Result<Answer, Problem>, stream: Stream) -> Answer {
    let answer = answer.unwrap_or_else(Problem::into_response);
    if !answer.status().is_success() {
        // A refused client may not have sent its body yet. Hyper looks for it once and closes the connection if it is missing. If it looks
        // before it sends the response, it adds `connection: close`.
        tokio::task::yield_now().await;
    }
    answer.map(|body| match body {
        AnswerBody::Whole(_) => body,
        pieces => pieces.guarded(Guard::Stream(stream)),
    })
}

/// A response with a status only.
fn bare(status: StatusCode) -> Answer {
    let mut answer = Answer::new(Bytes::new().into());
    *answer.status_mut() = status;
    answer
}

/// Waits for the room that another connection was told to free for an unauthenticated request.
async fn find_room(
    host: &Host,
    audience: Audience,
    seat: &Seat,
    request: &Request<Incoming>,
) -> Option<Option<Room>> {
    for _ in 0..ROOM_LOOKS {
        tokio::time::sleep(ROOM_WAIT).await;
        if seat.is_leaving() {
            break;
        }
        if let Ok(room) = enter(host, audience, seat, request) {
            return Some(room);
        }
    }
    None
}

/// Checks whether a connection has authenticated by now. Until then its requests count against the unauthenticated budget.
fn enter(
    host: &Host,
    audience: Audience,
    seat: &Seat,
    request: &Request<Incoming>,
) -> Result<Option<Room>, Problem> {
    if seat.is_known() {
        return Ok(None);
    }
    match (audience, body::bearer(request.headers())) {
        (Audience::Everybody, key) => {
            if let Ok(caller) = host.auth.authenticate(key) {
                seat.know(Some(&caller.account().name));
                return Ok(None);
            }
        }
        (Audience::Operator, Some(token)) if host.is_operator(token) => {
            seat.know(None);
            return Ok(None);
        }
        // Health checks must succeed when unauthenticated clients fill everything else.
        (Audience::Operator, _) => return Ok(None),
    }
    let bytes = REQUEST_BYTES + head_bytes(request);
    let held = host.bodies.take(Holder::Connection(seat.own()), bytes);
    held.map(|held| Some(seat.room(held))).map_err(intake::no_room)
}

/// Memory of a request's head.
fn head_bytes(request: &Request<Incoming>) -> u64 {
    let field = |(name, value): (&HeaderName, &HeaderValue)| {
        name.as_str().len() + value.as_bytes().len() + FIELD_BYTES
    };
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    (target + request.headers().iter().map(field).sum::<usize>()) as u64
}

/// Charges an unauthenticated response to the unauthenticated budget until it has been sent.
fn charge(answer: Answer, mut room: Room) -> Result<Answer, Problem> {
    let (parts, body) = answer.into_parts();
    let body = match body {
        AnswerBody::Whole(whole) => {
            let bytes = whole.collect().now_or_never().and_then(Result::ok).unwrap_or_default();
            let bytes = bytes.to_bytes();
            if bytes.len() as u64 > REQUEST_BYTES {
                room.grow(bytes.len() as u64).map_err(intake::no_room)?;
            }
            room.keep(bytes).into()
        }
        pieces => {
            room.grow(STREAM_BYTES).map_err(intake::no_room)?;
            pieces.guarded(Guard::Room(room))
        }
    };
    Ok(Answer::from_parts(parts, body))
}
