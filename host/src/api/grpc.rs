//! gRPC: the Open Inference Protocol as Triton has it, the standard health service and reflection.
//!
//! The framework frames messages and writes status trailers; which method does what is said here. Calls go the same way as
//! those of every other front.

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

/// The services, as paths name them.
pub(super) const INFERENCE: &str = "inference.GRPCInferenceService";
pub(super) const HEALTH: &str = "grpc.health.v1.Health";
pub(super) const REFLECTION: &str = "grpc.reflection.v1.ServerReflection";
pub(super) const REFLECTION_ALPHA: &str = "grpc.reflection.v1alpha.ServerReflection";
pub(super) const SERVICES: [&str; 4] = [INFERENCE, HEALTH, REFLECTION, REFLECTION_ALPHA];

/// Bytes of a message's frame that are not the message.
const FRAME_BYTES: u64 = 5;

/// Bytes of a message that takes no key. It says which server or model is meant.
const ASK_BYTES_MAX: u64 = 16 << 10;

/// Bytes of a message that takes a key and is no call.
const ORDER_BYTES_MAX: u64 = 64 << 10;

/// Who may send a message, asked before its first byte is read: nobody without a key makes the host hold a large one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    /// Anybody, for a message of at most [`ASK_BYTES_MAX`]. Methods that tell more to those with a key ask for it themselves.
    Open,
    /// Whoever has a key, for a message of at most [`ORDER_BYTES_MAX`].
    Key,
    /// Whoever has a key, for a message as large as the body of a call.
    Call,
}

/// Answers a call of a method of [`INFERENCE`].
pub(super) async fn inference(
    host: &Arc<Host>,
    method: &str,
    request: Request<Incoming>,
) -> Answer {
    // What a call is refused with has to wait until the method is known: the framework answers.
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

/// What a method gets: who asks, in the headers, and the message.
pub(super) struct GrpcRequest<M> {
    host: Arc<Host>,
    headers: HeaderMap,
    message: M,
}

/// What a method gives: the message, and headers for the answer.
type Given<M> = Result<(M, HeaderMap), Status>;

/// A method that only looks something up.
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

/// A method with one message each way. Who asks is looked at first; then the whole request is read, bounded in size and time.
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

/// The request with all of its message, and how large a message may be. Who sends it is asked before its first byte is read.
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

/// The framework, for messages of at most `bytes_max` bytes, and with this host's compression.
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

/// The framework's answer as ours.
fn answer(response: Response<tonic::body::Body>) -> Answer {
    response.map(|body| AnswerBody::Pieces(body.map_err(Into::into).boxed_unsync()))
}

fn refused(status: Status) -> Answer {
    answer(status.into_http())
}

/// A message with headers of its own.
fn with_headers<A>(message: A, headers: HeaderMap) -> tonic::Response<A> {
    let mut response = tonic::Response::new(message);
    *response.metadata_mut() = MetadataMap::from_headers(headers);
    response
}

/// A problem as a status: the same decision, in the protocol's words. No match has a catch-all arm.
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
        // A budget is used up, not a server gone: another one of the same would say the same.
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
