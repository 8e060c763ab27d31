//! A `wasi:http` handler by an author who knows WASI but not this host. It tells kinds of iris apart. Its other paths do what
//! the host's tests need.

mod iris;

use std::io::{Read, Write};

use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingRequest,
    OutgoingResponse, ResponseOutparam, Scheme,
};

wasip2::http::proxy::export!(Herald);

/// The component.
struct Herald;

impl wasip2::exports::http::incoming_handler::Guest for Herald {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let is_post = matches!(request.method(), Method::Post);
        match path.trim_start_matches('/').split_once('/').unwrap_or((&path[1..], "")) {
            ("", _) => page(out, "text/html; charset=utf-8", "<h1>Herald</h1>"),
            ("iris", _) => match iris::kind(query) {
                Ok(kind) => page(out, "text/plain", kind),
                Err(error) => fail(out, 400, &error),
            },
            ("echo", _) if is_post => echo(request, out),
            ("length", _) => {
                let body = read(request);
                page(out, "application/octet-stream", &body.len().to_string());
            }
            ("request", _) => describe(&request, out),
            ("count", number) => count(out, number.parse().unwrap_or(0)),
            ("status", code) => fail(out, code.parse().unwrap_or(500), "as asked"),
            ("headers", _) => headers(out),
            ("trailers", _) => trailers(out),
            ("outside", _) => page(out, "text/plain", &outside()),
            ("silent", _) => {}
            ("error", _) => {
                let error = ErrorCode::InternalError(Some("by intent".to_owned()));
                ResponseOutparam::set(out, Err(error));
            }
            ("fall", _) => {
                begin(out, 200, &[], |body| body.write_all(b"so far"));
                panic!("by intent");
            }
            ("short", _) => {
                begin(out, 200, &[("content-length", "10")], |body| body.write_all(b"abc"))
            }
            ("lengths", _) => {
                let headers = [("content-length", "3"), ("content-length", "4")];
                begin(out, 200, &headers, |body| body.write_all(b"abc"));
            }
            ("spin", _) => loop {
                std::hint::black_box(());
            },
            _ => fail(out, 404, "there is nothing here"),
        }
    }
}

/// Sets a response and writes its body.
fn begin(
    out: ResponseOutparam,
    status: u16,
    headers: &[(&str, &str)],
    write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) {
    let fields = Fields::new();
    for (name, value) in headers {
        fields.append(name, value.as_bytes()).expect("a good header");
    }
    let response = OutgoingResponse::new(fields);
    response.set_status_code(status).expect("a good status");
    let body = response.body().expect("taken once");
    ResponseOutparam::set(out, Ok(response));
    let mut stream = body.write().expect("taken once");
    // The caller may have left.
    let written = write(&mut stream).and_then(|()| Write::flush(&mut stream));
    drop(stream);
    if written.is_ok() {
        let _ = OutgoingBody::finish(body, None);
    }
}

fn page(out: ResponseOutparam, media: &str, text: &str) {
    let length = text.len().to_string();
    let headers = [("content-type", media), ("content-length", &length)];
    begin(out, 200, &headers, |body| body.write_all(text.as_bytes()));
}

fn fail(out: ResponseOutparam, status: u16, text: &str) {
    begin(out, status, &[("content-type", "text/plain")], |body| body.write_all(text.as_bytes()));
}

fn read(request: IncomingRequest) -> Vec<u8> {
    let body = request.consume().expect("consumed once");
    let mut bytes = Vec::new();
    let mut stream = body.stream().expect("taken once");
    let _ = stream.read_to_end(&mut bytes);
    drop(stream);
    drop(IncomingBody::finish(body));
    bytes
}

/// Returns each part of the body as it arrives.
fn echo(request: IncomingRequest, out: ResponseOutparam) {
    let media = request.headers().get("content-type");
    let media =
        media.first().map_or("application/octet-stream".into(), |m| String::from_utf8_lossy(m));
    let body = request.consume().expect("consumed once");
    let mut stream = body.stream().expect("taken once");
    begin(out, 200, &[("content-type", &media)], |out| {
        let mut part = [0; 4096];
        loop {
            match Read::read(&mut stream, &mut part)? {
                0 => return Ok(()),
                read => out.write_all(&part[..read])?,
            }
            out.flush()?;
        }
    });
}

/// Describes what the handler sees of a request.
fn describe(request: &IncomingRequest, out: ResponseOutparam) {
    let mut lines = vec![
        format!("method {:?}", request.method()),
        format!("path {}", request.path_with_query().unwrap_or_default()),
        format!("authority {}", request.authority().unwrap_or_default()),
        format!("scheme {:?}", request.scheme()),
    ];
    let mut headers: Vec<_> = request.headers().entries();
    headers.sort();
    let header = |(name, value): &(String, Vec<u8>)| {
        format!("header {name}: {}", String::from_utf8_lossy(value))
    };
    lines.extend(headers.iter().map(header));
    page(out, "text/plain", &lines.join("\n"));
}

/// Writes one line per number, each as soon as it is known.
fn count(out: ResponseOutparam, most: u64) {
    begin(out, 200, &[("content-type", "text/plain")], |body| {
        for number in 0..most {
            writeln!(body, "{number}")?;
            body.flush()?;
        }
        Ok(())
    });
}

/// Sets headers that affect the whole site, and one that does not.
fn headers(out: ResponseOutparam) {
    let headers = [
        ("x-own", "kept"),
        ("set-cookie", "a=b"),
        ("strict-transport-security", "max-age=1"),
        ("hospes-receipt", "forged"),
        ("content-security-policy", "default-src 'none'"),
    ];
    begin(out, 200, &headers, |_| Ok(()));
}

fn trailers(out: ResponseOutparam) {
    let response = OutgoingResponse::new(Fields::new());
    let body = response.body().expect("taken once");
    ResponseOutparam::set(out, Ok(response));
    Write::write_all(&mut body.write().expect("taken once"), b"body").expect("written");
    let trailers = Fields::new();
    trailers.append("x-sum", b"4").expect("a good header");
    let _ = OutgoingBody::finish(body, Some(trailers));
}

/// Reports the result of an outgoing request.
fn outside() -> String {
    let request = OutgoingRequest::new(Fields::new());
    let _ = request.set_scheme(Some(&Scheme::Http));
    let _ = request.set_authority(Some("127.0.0.1:1"));
    let _ = request.set_path_with_query(Some("/"));
    let answer = match outgoing_handler::handle(request, None) {
        Ok(answer) => answer,
        Err(error) => return format!("{error:?}"),
    };
    answer.subscribe().block();
    match answer.get() {
        Some(Ok(Ok(_))) => "an answer".to_owned(),
        Some(Ok(Err(error))) => format!("{error:?}"),
        Some(Err(())) | None => "nothing".to_owned(),
    }
}
