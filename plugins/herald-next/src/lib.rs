//! A WASI 0.3 handler. It returns the body of a request while it arrives, and counts as long as the caller reads.

use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Fields, Method, Request, Response, Scheme};
use wasip3::wit_bindgen::{self, StreamReader, StreamResult};
use wasip3::{wit_future, wit_stream};

wasip3::http::service::export!(Herald);

/// The component.
struct Herald;

impl wasip3::exports::http::handler::Guest for Herald {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let target = request.get_path_with_query().unwrap_or_default();
        let is_post = matches!(request.get_method(), Method::Post);
        match target.trim_start_matches('/').split_once('/').unwrap_or((&target[1..], "")) {
            ("echo", _) if is_post => {
                let (_, done) = wit_future::new(|| Ok(()));
                let (body, _trailers) = Request::consume_body(request, done);
                Ok(answer(200, echo(body)))
            }
            ("count", number) => Ok(answer(200, count(number.parse().unwrap_or(0)))),
            ("outside", _) => Ok(answer(200, text(outside().await))),
            ("error", _) => Err(ErrorCode::InternalError(Some("by intent".to_owned()))),
            _ => Ok(answer(404, text("there is nothing here".to_owned()))),
        }
    }
}

fn answer(status: u16, body: StreamReader<u8>) -> Response {
    let headers = Fields::new();
    headers.append("content-type", b"text/plain").expect("a good header");
    let (_, trailers) = wit_future::new(|| Ok(None));
    let (response, _sent) = Response::new(headers, Some(body), trailers);
    response.set_status_code(status).expect("a good status");
    response
}

fn text(text: String) -> StreamReader<u8> {
    let (mut writer, reader) = wit_stream::new();
    wit_bindgen::spawn_local(async move {
        writer.write_all(text.into_bytes()).await;
    });
    reader
}

fn echo(mut body: StreamReader<u8>) -> StreamReader<u8> {
    let (mut writer, reader) = wit_stream::new();
    wit_bindgen::spawn_local(async move {
        loop {
            let (result, part) = body.read(Vec::with_capacity(4096)).await;
            let is_open = matches!(result, StreamResult::Complete(_));
            if !is_open || !writer.write_all(part).await.is_empty() {
                return;
            }
        }
    });
    reader
}

fn count(most: u64) -> StreamReader<u8> {
    let (mut writer, reader) = wit_stream::new();
    wit_bindgen::spawn_local(async move {
        for number in 0..most {
            if !writer.write_all(format!("{number}\n").into_bytes()).await.is_empty() {
                return;
            }
        }
    });
    reader
}

/// Reports the result of an outgoing request.
async fn outside() -> String {
    let (_, trailers) = wit_future::new(|| Ok(None));
    let (request, _sent) = Request::new(Fields::new(), None, trailers, None);
    let _ = request.set_scheme(Some(&Scheme::Http));
    let _ = request.set_authority(Some("127.0.0.1:1"));
    let _ = request.set_path_with_query(Some("/"));
    match client::send(request).await {
        Ok(_) => "an answer".to_owned(),
        Err(error) => format!("{error:?}"),
    }
}
