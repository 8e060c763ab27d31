//! gRPC: the Open Inference Protocol as in Triton, the standard health service, and reflection.
//!
//! The framework frames messages and writes status trailers; the methods are dispatched here. Calls take the same path as in every other
//! front.

mod contents;
mod fields;
mod incoming;
mod infer;
mod info;
mod messages;
mod raw;
mod standard;

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use tonic::codec::{Codec, CompressionEncoding, EnabledCompressionEncodings};
use tonic::metadata::MetadataMap;
use tonic::server::{Grpc, UnaryService};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use super::answer::{Answer, AnswerBody};
use super::body;
use super::intake::Intake;
use super::problem::{Problem, ProblemKind};
use crate::host::Host;

/// The services, as named in paths.
pub(super) const INFERENCE: &str = "inference.GRPCInferenceService";
pub(super) const HEALTH: &str = "grpc.health.v1.Health";
pub(super) const REFLECTION: &str = "grpc.reflection.v1.ServerReflection";
pub(super) const REFLECTION_ALPHA: &str = "grpc.reflection.v1alpha.ServerReflection";
pub(super) const SERVICES: [&str; 4] = [INFERENCE, HEALTH, REFLECTION, REFLECTION_ALPHA];

/// Bytes of a message's frame header.
const FRAME_BYTES: u64 = 5;

/// Maximum size of a message that needs no key, in bytes: it names a server or model.
const ASK_BYTES_MAX: u64 = 16 << 10;

/// Maximum size of a message that needs a key and is no call, in bytes.
const ORDER_BYTES_MAX: u64 = 64 << 10;

/// Who may send a message. Checked before its first byte is read, so that unauthenticated clients cannot make the host hold a large one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    /// Anybody, for a message of at most [`ASK_BYTES_MAX`]. Methods that show more with a key check it themselves.
    Open,
    /// Authenticated callers, for a message of at most [`ORDER_BYTES_MAX`].
    Key,
    /// Authenticated callers, for a message as large as a call's body.
    Call,
}

/// Answers a call of a method of [`INFERENCE`].
pub(super) async fn inference(
    host: &Arc<Host>,
    method: &str,
    request: Request<Incoming>,
) -> Answer {
    // The refusal waits until the method is known, because the framework answers.
    match method {
        "ModelInfer" => unary(host, request, Door::Call, raw::RawCodec, infer::infer).await,
        "ModelStreamInfer" => infer::stream(host, request).await,
        "ServerLive" => typed(host, request, Door::Open, info::server_live).await,
        "ServerReady" => typed(host, request, Door::Open, info::server_ready).await,
        "ServerMetadata" => typed(host, request, Door::Open, info::server_metadata).await,
        "ModelReady" => typed(host, request, Door::Open, info::model_ready).await,
        "ModelMetadata" => typed(host, request, Door::Open, info::model_metadata).await,
        "ModelConfig" => typed(host, request, Door::Open, info::model_config).await,
        "ModelStatistics" => {
            unary(host, request, Door::Open, ProstCodec::default(), info::model_statistics).await
        }
        "RepositoryIndex" => {
            unary(host, request, Door::Open, ProstCodec::default(), info::index).await
        }
        "RepositoryModelLoad" => {
            unary(host, request, Door::Key, ProstCodec::default(), info::load).await
        }
        "RepositoryModelUnload" => {
            unary(host, request, Door::Key, ProstCodec::default(), info::unload).await
        }
        _ => refused(Status::unimplemented("there is no such method here")),
    }
}

pub(super) use standard::{health, reflection, reflection_alpha};

/// A method's input: the headers, which identify the caller, and the message.
pub(super) struct GrpcRequest<M> {
    host: Arc<Host>,
    headers: HeaderMap,
    message: M,
}

/// A method's output: the message, and response headers.
type Given<M> = Result<(M, HeaderMap), Status>;

/// A look-up method.
async fn typed<Q, A>(
    host: &Arc<Host>,
    request: Request<Incoming>,
    door: Door,
    method: fn(&Host, &HeaderMap, &Q) -> Result<A, Problem>,
) -> Answer
where
    Q: prost::Message + Default + Send + 'static,
    A: prost::Message + Send + Sync + 'static,
{
    let look = move |asked: GrpcRequest<Q>| {
        let given = method(&asked.host, &asked.headers, &asked.message);
        std::future::ready(given.map(|message| (message, HeaderMap::new())).map_err(status))
    };
    unary(host, request, door, ProstCodec::default(), look).await
}

/// A unary method. Authenticates first, then reads the whole request within limits of size and time.
async fn unary<C, F, Fut>(
    host: &Arc<Host>,
    request: Request<Incoming>,
    door: Door,
    codec: C,
    method: F,
) -> Answer
where
    C: Codec,
    F: Fn(GrpcRequest<C::Decode>) -> Fut + Send,
    Fut: Future<Output = Given<C::Encode>> + Send + 'static,
{
    let (max, request) = match whole(host, request, door).await {
        Ok(whole) => whole,
        Err(problem) => return refused(status(problem)),
    };
    let headers = request.headers().clone();
    let service = Method { host: Arc::clone(host), headers, method };
    answer(grpc(max, codec).unary(service, request).await)
}

/// The request with its whole message, and the message's maximum size. The sender is checked before the first byte is read.
async fn whole(
    host: &Host,
    request: Request<Incoming>,
    door: Door,
) -> Result<(u64, Request<Full<Bytes>>), Problem> {
    let (parts, body) = request.into_parts();
    let key = body::bearer(&parts.headers);
    let (max, bytes) = match door {
        Door::Open => {
            let intake = Intake::anybody(host, &parts.extensions, ASK_BYTES_MAX + FRAME_BYTES);
            (ASK_BYTES_MAX, intake.read(&parts.headers, body).await?)
        }
        Door::Key | Door::Call => {
            let caller = host.auth.authenticate(key)?;
            let max =
                if door == Door::Key { ORDER_BYTES_MAX } else { host.config().api.body_bytes_max };
            let intake = Intake::document(host, &caller, max.saturating_add(FRAME_BYTES));
            (max, intake.read(&parts.headers, body).await?)
        }
    };
    Ok((max, Request::from_parts(parts, Full::new(bytes))))
}

/// The framework, for messages of at most `bytes_max` bytes, with this host's compression.
fn grpc<C: Codec>(bytes_max: u64, codec: C) -> Grpc<C> {
    let mut accepted = EnabledCompressionEncodings::default();
    accepted.enable(CompressionEncoding::Gzip);
    accepted.enable(CompressionEncoding::Deflate);
    let max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
    Grpc::new(codec)
        .apply_compression_config(accepted, EnabledCompressionEncodings::default())
        .apply_max_message_size_config(Some(max), None)
}

struct Method<F> {
    host: Arc<Host>,
    headers: HeaderMap,
    method: F,
}

impl<F, Fut, Q, A> UnaryService<Q> for Method<F>
where
    F: Fn(GrpcRequest<Q>) -> Fut,
    Fut: Future<Output = Given<A>> + Send + 'static,
{
    type Response = A;
    type Future = BoxFuture<'static, Result<tonic::Response<A>, Status>>;

    fn call(&mut self, request: tonic::Request<Q>) -> Self::Future {
        let (host, headers) = (Arc::clone(&self.host), std::mem::take(&mut self.headers));
        let message = request.into_inner();
        let given = (self.method)(GrpcRequest { host, headers, message });
        Box::pin(
            async move { given.await.map(|(message, headers)| with_headers(message, headers)) },
        )
    }
}

/// Converts the framework's response.
fn answer(response: Response<tonic::body::Body>) -> Answer {
    response.map(|body| AnswerBody::Pieces(body.map_err(Into::into).boxed_unsync()))
}

fn refused(status: Status) -> Answer {
    answer(status.into_http())
}

/// A message with its own headers.
fn with_headers<A>(message: A, headers: HeaderMap) -> tonic::Response<A> {
    let mut response = tonic::Response::new(message);
    *response.metadata_mut() = MetadataMap::from_headers(headers);
    response
}

/// A problem as a gRPC status: the same decision in the protocol's terms. No match has a catch-all arm.
fn status(problem: Problem) -> Status {
    let code = match problem.kind() {
        ProblemKind::Unauthenticated => Code::Unauthenticated,
        ProblemKind::NotPermitted | ProblemKind::AccountStopped => Code::PermissionDenied,
        ProblemKind::NotFound | ProblemKind::Withdrawn => Code::NotFound,
        ProblemKind::MethodNotAllowed => Code::Unimplemented,
        ProblemKind::RequestTimeout | ProblemKind::PluginDeadline => Code::DeadlineExceeded,
        ProblemKind::Conflict => Code::AlreadyExists,
        ProblemKind::BodyTooLarge | ProblemKind::LimitReached | ProblemKind::AccountLimit => {
            Code::ResourceExhausted
        }
        ProblemKind::UnsupportedMediaType
        | ProblemKind::InvalidRequest
        | ProblemKind::InvalidArguments
        | ProblemKind::PluginRefused => Code::InvalidArgument,
        ProblemKind::BundleRefused
        | ProblemKind::OfferRefused
        | ProblemKind::AgreementRefused
        | ProblemKind::NegotiationRefused
        | ProblemKind::EventRefused
        | ProblemKind::OutputRefused => Code::FailedPrecondition,
        ProblemKind::PluginFailed => Code::Unknown,
        // Not `UNAVAILABLE`: the budget is used up, so retrying another replica would not help.
        ProblemKind::Busy if problem.names_a_limit() => Code::ResourceExhausted,
        ProblemKind::Busy | ProblemKind::OutOfService | ProblemKind::Unavailable => {
            Code::Unavailable
        }
        ProblemKind::Internal => Code::Internal,
    };
    let (parts, detail) = problem.into_parts();
    let mut headers = HeaderMap::new();
    if let Some(after) = parts.headers.get(http::header::RETRY_AFTER) {
        headers.insert(http::header::RETRY_AFTER, after.clone());
    }
    Status::with_metadata(code, detail, MetadataMap::from_headers(headers))
}
