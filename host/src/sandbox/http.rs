//! Components that answer HTTP themselves: `wasi:http/incoming-handler` of WASI 0.2 and `wasi:http/handler` of WASI 0.3.
//!
//! The library's types do the work. This module decides what a handler can reach (nothing outside), how much it buffers, and when its call
//! ends: with the response, and in WASI 0.2 also with the handler.

mod texts;

use std::pin::pin;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use wasmtime::component::{Func, Linker, Resource, ResourceTable, TypedFunc};
use wasmtime::{Result, Store, bail};
use wasmtime_wasi_http::p2::bindings::http as p2;
use wasmtime_wasi_http::p2::types::{HostIncomingRequest, HostResponseOutparam};
use wasmtime_wasi_http::p3::bindings::http as p3;
use wasmtime_wasi_http::p3::{Request, Response};
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttp, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

use super::context::CallState;
use super::limits::LimitReached;
use crate::outcome::GuestFailure;

/// Maximum bytes that a handler writes at once. A call buffers a small multiple of it.
const CHUNK_BYTES_MAX: usize = 64 << 10;

/// A handler's WASI version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preview {
    /// WASI 0.2: `wasi:http/incoming-handler`.
    Two,
    /// WASI 0.3: `wasi:http/handler`.
    Three,
}

impl Preview {
    /// The version whose handler is exported as `export`, if any.
    pub(super) fn of_export(export: &str) -> Option<Self> {
        let interface = export.strip_suffix("#handle")?;
        if interface.starts_with("wasi:http/incoming-handler@0.2.") {
            Some(Preview::Two)
        } else if interface.starts_with("wasi:http/handler@0.3.") {
            Some(Preview::Three)
        } else {
            None
        }
    }
}

/// Why a body ended early.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A streamed body, of a request or of a handler's response.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// A response's sink.
pub trait Responder: Send + Sync {
    /// Takes the response as it comes. The handler waits while nobody reads.
    ///
    /// # Errors
    /// Fails if the response may not be released or its reader has gone: the call then ends.
    fn respond(&self, response: http::Response<Body>) -> BoxFuture<'_, Result<(), GuestFailure>>;
}

/// Releases nothing.
pub(super) struct NoEgress;

impl WasiHttpHooks for NoEgress {
    fn send_request(
        &mut self,
        _: http::Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<
        dyn Future<
                Output = Result<
                    (http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>),
                    Error,
                >,
            > + Send,
    > {
        Box::new(std::future::ready(Err(Error::HttpRequestDenied)))
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK_BYTES_MAX
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK_BYTES_MAX
    }
}

impl WasiHttpView for CallState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.egress, table: &mut self.table, ctx: &mut self.http }
    }
}

/// Links WASI 0.2's HTTP types. Outgoing requests can be built and are denied.
pub(super) fn link_preview2(linker: &mut Linker<CallState>) -> Result<()> {
    let options = p2::types::LinkOptions::default();
    p2::types::add_to_linker::<_, WasiHttp>(linker, &options, CallState::http)?;
    p2::outgoing_handler::add_to_linker::<_, WasiHttp>(linker, CallState::http)?;
    texts::bound_preview2(linker)
}

/// The same for WASI 0.3.
pub(super) fn link_preview3(linker: &mut Linker<CallState>) -> Result<()> {
    p3::types::add_to_linker::<_, WasiHttp>(linker, CallState::http)?;
    p3::client::add_to_linker::<_, WasiHttp>(linker, CallState::http)?;
    texts::bound_preview3(linker)
}

/// Calls a WASI 0.2 handler and passes its response on.
pub(super) async fn preview2(
    wasm_store: &mut Store<CallState>,
    func: Func,
    request: http::Request<Body>,
    responder: &dyn Responder,
) -> Result<()> {
    type Handle = TypedFunc<(Resource<HostIncomingRequest>, Resource<HostResponseOutparam>), ()>;
    let handle: Handle = func.typed(&*wasm_store)?;
    let scheme = match request.uri().scheme_str() {
        Some("https") => p2::types::Scheme::Https,
        Some(_) | None => p2::types::Scheme::Http,
    };
    let (sender, response) = oneshot::channel();
    let mut http = wasm_store.data_mut().http();
    let request = http.new_incoming_request(scheme, request.map(readable))?;
    let outparam = http.new_response_outparam(sender)?;
    let mut answered = pin!(async {
        match response.await {
            Ok(Ok(response)) => forward(response, responder).await,
            Ok(Err(code)) => bail!("its handler returned an error: {code:?}"),
            Err(_dropped) => bail!("its handler gave no response"),
        }
    });
    {
        let mut guest = pin!(handle.call_async(&mut *wasm_store, (request, outparam)));
        tokio::select! {
            biased;
            ended = &mut guest => ended?,
            done = &mut answered => {
                done?;
                return guest.await;
            }
        }
    }
    // The handler has returned: what is unfinished now stays unfinished.
    wasm_store.data_mut().table = ResourceTable::new();
    answered.await
}

/// The same for WASI 0.3, whose handler may continue the body after returning the response.
pub(super) async fn preview3(
    wasm_store: &mut Store<CallState>,
    func: Func,
    request: http::Request<Body>,
    responder: &dyn Responder,
) -> Result<()> {
    type Answered = std::result::Result<Resource<Response>, p3::types::ErrorCode>;
    type Handle = TypedFunc<(Resource<Request>,), (Answered,)>;
    let handle: Handle = func.typed(&*wasm_store)?;
    let http = wasm_store.data_mut().http();
    // The connection handles the rest of the request's body.
    let (request, _sent) = Request::from_http(http.hooks, request.map(readable));
    let request = http.table.push(request)?;
    let answered = wasm_store.run_concurrent(async |accessor| {
        let (answered,) = handle.call_concurrent(accessor, (request,)).await?;
        let response = match answered {
            Ok(response) => response,
            Err(code) => bail!("its handler returned an error: {code:?}"),
        };
        let response = accessor.with(|mut wasm_store| {
            let response = wasm_store.data_mut().table.delete(response)?;
            response.into_http(wasm_store, std::future::ready(Ok(())))
        })?;
        forward(response, responder).await
    });
    answered.await?
}

/// A request's body as the library reads it.
fn readable(body: Body) -> WasiBody {
    body.map_err(|error| Error::InternalError(Some(error.to_string()))).boxed_unsync()
}

async fn forward(response: http::Response<WasiBody>, responder: &dyn Responder) -> Result<()> {
    let response = response.map(|body| body.map_err(BodyError::from).boxed_unsync());
    Ok(responder.respond(response).await.map_err(LimitReached::Sink)?)
}
