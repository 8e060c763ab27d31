//! Responses of both listeners while the host is starting: live, but not ready.
//!
//! There is no host yet, so no keys are known and no bodies are read. One request per connection, over HTTP/1.1.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, Request, header};
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::answer::Answer;
use super::health;
use super::problem::{Problem, ProblemKind};

/// Maximum connections per listener; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;

/// Time limit for a connection, from first byte to last.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause after a failed accept.
const PAUSE: Duration = Duration::from_millis(50);

/// Answers on a listener while it is polled.
pub(super) async fn receive(listener: &TcpListener, tls: Option<&TlsAcceptor>) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let permit = Arc::clone(&connections).acquire_owned().await;
        let Ok((stream, _peer)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let tls = tls.cloned();
        tokio::spawn(async move {
            let _permit = permit;
            // A client that is cut off retries.
            let _ = tokio::time::timeout(CONNECTION_TIMEOUT, serve(stream, tls)).await;
        });
    }
}

async fn serve(stream: TcpStream, tls: Option<TlsAcceptor>) {
    match tls {
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                speak(TokioIo::new(stream)).await;
            }
        }
        None => speak(TokioIo::new(stream)).await,
    }
}

async fn speak<I: Read + Write + Unpin>(io: I) {
    let service = service_fn(|request| async move { Ok::<Answer, Infallible>(answer(&request)) });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).keep_alive(false).header_read_timeout(CONNECTION_TIMEOUT);
    let _ = http.serve_connection(io, service).await;
}

fn answer(request: &Request<Incoming>) -> Answer {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let mut answer = match request.uri().path() {
        "/healthz" if reads => health::live(),
        _ => {
            let detail = "the host is starting and takes no calls yet; try again shortly";
            let problem = Problem::new(ProblemKind::Unavailable, detail).with("state", "loading");
            problem.retry_after(Duration::from_secs(1)).into_response()
        }
    };
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer
}
