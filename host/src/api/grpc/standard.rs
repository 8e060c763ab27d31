//! Services that every gRPC server has: health, and reflection for tools such as `grpcurl`.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, Stream};
use http::Request;
use http_body_util::Limited;
use hyper::body::Incoming;
use tonic::codegen::Service as _;
use tonic::{Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::server::Builder;

use super::messages::DESCRIPTOR;
use super::{ASK_BYTES_MAX, Answer, Door, HEALTH, INFERENCE, answer, refused, status, whole};
use crate::admission::{Held, Pace};
use crate::api::answer::Guard;
use crate::api::intake::{anybody, no_room};
use crate::api::pace::Paced;
use crate::api::problem::Problem;
use crate::host::Host;

/// How often a watched state is checked.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Answers a call of `grpc.health.v1.Health`.
pub(in crate::api) async fn health(host: &Arc<Host>, request: Request<Incoming>) -> Answer {
    let request = match whole(host, request, Door::Open).await {
        Ok((_, request)) => request,
        Err(problem) => return refused(status(problem)),
    };
    let Ok(response) = HealthServer::new(HostHealth(Arc::clone(host))).call(request).await;
    answer(response)
}

struct HostHealth(Arc<Host>);

impl HostHealth {
    fn check(&self, service: &str) -> Result<ServingStatus, Status> {
        let ready = match service {
            INFERENCE => self.0.inference_readiness(),
            "" | HEALTH => self.0.readiness(),
            _ => return Err(Status::not_found("there is no such service here")),
        };
        Ok(ready.map_or(ServingStatus::NotServing, |()| ServingStatus::Serving))
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl Health for HostHealth {
    async fn check(
        &self,
        request: tonic::Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        HostHealth::check(self, &request.get_ref().service).map(|s| Response::new(response(s)))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    /// Sends the state at once, and again on every change.
    async fn watch(
        &self,
        request: tonic::Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (host, service) = (Arc::clone(&self.0), request.into_inner().service);
        let states = stream::unfold((HostHealth(host), None), move |(health, last)| {
            let service = service.clone();
            async move {
                loop {
                    // The protocol requires that an unknown service may become known.
                    let now = health.check(&service).unwrap_or(ServingStatus::ServiceUnknown);
                    if last != Some(now) {
                        return Some((Ok(response(now)), (health, Some(now))));
                    }
                    tokio::time::sleep(WATCH_INTERVAL).await;
                }
            }
        });
        Ok(Response::new(Box::pin(states)))
    }
}

fn builder() -> Builder<'static> {
    Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTOR)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

/// Bytes of a stream that may arrive before they are read (HTTP/2's window).
const UNREAD_BYTES_MAX: u64 = 1 << 20;

/// A request whose body is limited.
type Bounded = Request<Limited<Paced<Incoming>>>;

/// Lets anybody send for a while: within the unauthenticated budget, little in total, and not too slowly.
fn talk(host: &Host, request: Request<Incoming>) -> Result<(Held, Bounded), Problem> {
    let from = anybody(request.extensions());
    let held = host.bodies.take(from, UNREAD_BYTES_MAX).map_err(no_room)?;
    let api = &host.config().api;
    let max = usize::try_from(ASK_BYTES_MAX).unwrap_or(usize::MAX);
    let pace = Pace::of(api, api.body_read_timeout);
    Ok((held, request.map(|body| Limited::new(Paced::new(body, pace), max))))
}

/// Answers a call of `grpc.reflection.v1.ServerReflection`.
pub(in crate::api) async fn reflection(host: &Host, request: Request<Incoming>) -> Answer {
    let (held, request) = match talk(host, request) {
        Ok(talk) => talk,
        Err(problem) => return refused(status(problem)),
    };
    let answered = match builder().build_v1() {
        Ok(service) => {
            let mut service = service.max_decoding_message_size(ASK_BYTES_MAX as usize);
            let response: Result<_, Infallible> = service.call(request).await;
            response.map_or_else(|never| match never {}, answer)
        }
        Err(error) => broken(&error),
    };
    answered.map(|body| body.guarded(Guard::Held(held)))
}

/// The same for its older name, which many tools try first.
pub(in crate::api) async fn reflection_alpha(host: &Host, request: Request<Incoming>) -> Answer {
    let (held, request) = match talk(host, request) {
        Ok(talk) => talk,
        Err(problem) => return refused(status(problem)),
    };
    let answered = match builder().build_v1alpha() {
        Ok(service) => {
            let mut service = service.max_decoding_message_size(ASK_BYTES_MAX as usize);
            let response: Result<_, Infallible> = service.call(request).await;
            response.map_or_else(|never| match never {}, answer)
        }
        Err(error) => broken(&error),
    };
    answered.map(|body| body.guarded(Guard::Held(held)))
}

fn broken(error: &tonic_reflection::server::Error) -> Answer {
    tracing::error!(%error, "the descriptors of the gRPC services cannot be read");
    refused(Status::internal("the descriptors cannot be read"))
}
