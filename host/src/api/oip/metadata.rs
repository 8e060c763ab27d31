//! The protocol's information about servers and models: health, metadata, configuration and statistics.

use std::ops::ControlFlow;
use std::sync::Arc;

use http::{HeaderMap, Request, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::model::Asked;
use super::{Answer, Problem, ProblemKind};
use crate::api::answer::json_answer;
use crate::api::aside::{aside, asker};
use crate::api::body;
use crate::api::paging::ModelPage;
use crate::host::Host;
use crate::id::ModelName;
use crate::inference::{self, Sizes};
use crate::state::accounts::Caller;
use crate::state::deployments::{After, BATCH_ROWS_MAX, Deployment, Published, Span, Totals};
use crate::tensor::DataType;
use crate::visibility;

/// Supported extensions, by the names that clients look for.
pub(in crate::api) const EXTENSIONS: [&str; 7] = [
    "classification",
    "model_repository",
    "schedule_policy",
    "model_configuration",
    "binary_tensor_data",
    "parameters",
    "statistics",
];

/// The server's name for itself.
pub(in crate::api) const SERVER_NAME: &str = "hospes";

/// `GET /v2`.
pub(super) fn server() -> Answer {
    json_answer(
        StatusCode::OK,
        &json!({
            "name": SERVER_NAME,
            "version": env!("CARGO_PKG_VERSION"),
            "extensions": EXTENSIONS,
        }),
    )
}

/// `GET /v2/health/live`. One client reads `live`, another `ready`, in the same response.
pub(super) fn live() -> Answer {
    json_answer(StatusCode::OK, &json!({"live": true, "ready": true}))
}

/// `GET /v2/health/ready`. The reason for "no" is in the protocol's error member.
pub(super) fn ready(host: &Host) -> Answer {
    match host.inference_readiness() {
        Ok(()) => json_answer(StatusCode::OK, &json!({"live": true, "ready": true})),
        Err(why) => {
            let not_ready = json!({"live": true, "ready": false, "error": why.to_string()});
            json_answer(StatusCode::SERVICE_UNAVAILABLE, &not_ready)
        }
    }
}

/// `GET /v2/models`: the names of the models that the caller may know of, as in KServe.
pub(super) async fn names(
    host: &Arc<Host>,
    request: &Request<Incoming>,
) -> Result<Answer, Problem> {
    let caller = caller(host, request.headers())?;
    let page = ModelPage::read(request.uri().query())?;
    aside(host, asker(caller.as_ref()), move |host| {
        let (mut names, mut next) = (Vec::<ModelName>::new(), None);
        host.deployments.visit(page.after.as_ref(), |published| {
            let model = published.model();
            if names.last() == Some(model) || shown(host, caller.as_ref(), published).is_none() {
                return ControlFlow::Continue(());
            }
            if names.len() == page.limit {
                next = names.last().map(|model| After { model: model.clone(), version: None });
                return ControlFlow::Break(());
            }
            names.push(model.clone());
            ControlFlow::Continue(())
        });
        let answer = json_answer(StatusCode::OK, &json!({ "models": names }));
        Ok(page.link(answer, "/v2/models", next.as_ref()))
    })
    .await
}

/// A published version, if it is in service, takes tensors, and the caller may know of it.
fn shown(host: &Host, caller: Option<&Caller>, published: &Published) -> Option<Arc<Deployment>> {
    let live = published.deployment()?;
    let is_shown =
        live.tensor_function().is_some() && visibility::may_know(host, caller, live.release());
    is_shown.then_some(live)
}

/// One page of the tensor versions in service that the caller may know of, ordered by name and version, and where the next page begins.
pub(in crate::api) fn known(
    host: &Host,
    caller: Option<&Caller>,
    page: &ModelPage,
) -> (Vec<Arc<Deployment>>, Option<After>) {
    let (mut known, mut next) = (Vec::<Arc<Deployment>>::new(), None);
    host.deployments.visit(page.after.as_ref(), |published| {
        let Some(live) = shown(host, caller, published) else { return ControlFlow::Continue(()) };
        if known.len() == page.limit {
            next = known.last().map(|last| {
                let (model, version) = (last.model().clone(), Some(last.version().clone()));
                After { model, version }
            });
            return ControlFlow::Break(());
        }
        known.push(live);
        ControlFlow::Continue(())
    });
    (known, next)
}

fn caller(host: &Host, headers: &HeaderMap) -> Result<Option<Caller>, Problem> {
    match body::bearer(headers) {
        Some(key) => Ok(Some(host.auth.authenticate(Some(key))?)),
        None => Ok(None),
    }
}

/// `GET /v2/models/{model}`.
pub(super) fn model(
    host: &Host,
    asked: &Asked,
    request: &Request<Incoming>,
) -> Result<Answer, Problem> {
    let live = asked.find(host, request.headers())?;
    // The metadata cannot express optional inputs; the configuration can.
    let tensor = |tensor: Described| json!({"name": tensor.name, "datatype": tensor.data_type.map(DataType::name), "shape": tensor.shape});
    let (inputs, outputs) = described(&live, 0);
    Ok(json_answer(
        StatusCode::OK,
        &json!({
            "name": &asked.name,
            "versions": versions(host, caller(host, request.headers())?.as_ref(), &live),
            "platform": platform(&live),
            "inputs": inputs.into_iter().map(tensor).collect::<Vec<_>>(),
            "outputs": outputs.into_iter().map(tensor).collect::<Vec<_>>(),
        }),
    ))
}

/// `GET /v2/models/{model}/ready`.
pub(super) fn model_ready(
    host: &Host,
    asked: &Asked,
    request: &Request<Incoming>,
) -> Result<Answer, Problem> {
    let ready = is_ready(host, asked, request.headers())?;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok(json_answer(status, &json!({"name": &asked.name, "ready": ready})))
}

/// Whether a version that the caller may know of is ready for calls, loaded or not: not if it is out of service, or if no worker can compute
/// its models.
pub(in crate::api) fn is_ready(
    host: &Host,
    asked: &Asked,
    headers: &HeaderMap,
) -> Result<bool, Problem> {
    match asked.find(host, headers) {
        Ok(live) => Ok(host.can_compute(&live)),
        Err(problem) => match problem.kind() {
            ProblemKind::Busy | ProblemKind::OutOfService => Ok(false),
            _ => Err(problem),
        },
    }
}

/// The model's live versions that the caller may know of, in ascending order.
pub(in crate::api) fn versions(
    host: &Host,
    caller: Option<&Caller>,
    live: &Deployment,
) -> Vec<String> {
    let versions = host.deployments.of(live.model()).into_iter();
    let versions = versions.filter(|live| visibility::may_know(host, caller, live.release()));
    versions.map(|live| live.version().to_string()).collect()
}

/// The model's platform, in other servers' terms.
pub(in crate::api) fn platform(live: &Deployment) -> &'static str {
    match live.models() {
        [only] => inference::platform(only.backend),
        _ => "wasm",
    }
}

/// An input or output, in the protocol's terms.
pub(in crate::api) struct Described {
    pub(in crate::api) name: String,
    /// `None` if it is known only after the model has run.
    pub(in crate::api) data_type: Option<DataType>,
    /// Open dimensions are -1.
    pub(in crate::api) shape: Vec<i64>,
    /// An optional input.
    pub(in crate::api) optional: bool,
}

/// A version's inputs and outputs, without the first `skip` dimensions. Components can do anything with their tensors, so theirs are
/// unknown.
pub(in crate::api) fn described(
    live: &Deployment,
    skip: usize,
) -> (Vec<Described>, Vec<Described>) {
    let Some(signature) = live.tensors() else { return (Vec::new(), Vec::new()) };
    // The protocol cannot express an open number of dimensions. One open dimension comes closest.
    let sizes = |shape: &Option<Sizes>| match shape {
        None => vec![-1],
        Some(shape) => {
            let sizes = shape.iter().skip(skip);
            sizes.map(|size| size.and_then(|size| i64::try_from(size).ok()).unwrap_or(-1)).collect()
        }
    };
    let inputs = signature.inputs.iter().map(|spec| Described {
        name: spec.name.clone(),
        data_type: Some(spec.data_type),
        shape: sizes(&spec.shape),
        optional: spec.optional,
    });
    let outputs = signature.outputs.iter().map(|spec| Described {
        name: spec.name.clone(),
        data_type: spec.data_type,
        shape: sizes(&spec.shape),
        optional: false,
    });
    (inputs.collect(), outputs.collect())
}

/// Maximum rows of a request; 0 if the first dimension is not a batch.
pub(in crate::api) fn batch_size_max(live: &Deployment) -> usize {
    if live.batches() { BATCH_ROWS_MAX } else { 0 }
}

/// `GET /v2/models/{model}/config`: Triton's model configuration.
pub(super) fn config(
    host: &Host,
    asked: &Asked,
    request: &Request<Incoming>,
) -> Result<Answer, Problem> {
    let live = asked.find(host, request.headers())?;
    let batch = batch_size_max(&live);
    let tensor = |tensor: Described| {
        let data_type = config_type(tensor.data_type);
        let mut config = json!({"name": tensor.name, "data_type": data_type, "dims": tensor.shape});
        if tensor.optional {
            config["optional"] = true.into();
        }
        config
    };
    let (inputs, outputs) = described(&live, usize::from(batch > 0));
    Ok(json_answer(
        StatusCode::OK,
        &json!({
            "name": &asked.name,
            "platform": platform(&live),
            "max_batch_size": batch,
            "input": inputs.into_iter().map(tensor).collect::<Vec<_>>(),
            "output": outputs.into_iter().map(tensor).collect::<Vec<_>>(),
            "model_transaction_policy": {"decoupled": false},
        }),
    ))
}

/// The name of a type in a model's configuration.
fn config_type(ty: Option<DataType>) -> String {
    match ty {
        None => "TYPE_INVALID".to_owned(),
        Some(DataType::Bytes) => "TYPE_STRING".to_owned(),
        Some(ty) => format!("TYPE_{}", ty.name()),
    }
}

/// `GET /v2/models/{model}/stats`.
pub(super) fn statistics(
    host: &Host,
    asked: &Asked,
    request: &Request<Incoming>,
) -> Result<Answer, Problem> {
    let live = asked.find(host, request.headers())?;
    let caller = caller(host, request.headers())?;
    let totals = totals(host, caller.as_ref(), &live);
    let stats = model_statistics(&asked.name, &live, &totals);
    Ok(json_answer(StatusCode::OK, &json!({"model_stats": [stats]})))
}

/// `GET /v2/models/stats`.
pub(super) async fn all_statistics(
    host: &Arc<Host>,
    request: &Request<Incoming>,
) -> Result<Answer, Problem> {
    let caller = caller(host, request.headers())?;
    let page = ModelPage::read(request.uri().query())?;
    aside(host, asker(caller.as_ref()), move |host| {
        let (known, next) = known(host, caller.as_ref(), &page);
        let stats = known.iter().map(|live| {
            let totals = totals(host, caller.as_ref(), live);
            model_statistics(&live.model().to_string(), live, &totals)
        });
        let stats = json!({"model_stats": stats.collect::<Vec<_>>()});
        Ok(page.link(json_answer(StatusCode::OK, &stats), "/v2/models/stats", next.as_ref()))
    })
    .await
}

/// What may be shown: to the publisher all calls of the version, to a consumer those under its own agreements on the model.
pub(in crate::api) fn totals(host: &Host, caller: Option<&Caller>, live: &Deployment) -> Totals {
    let Some(caller) = caller else { return Totals::default() };
    if caller.account().name == live.model().publisher {
        return live.statistics().totals();
    }
    let own = host.agreements.consumed(caller, live.model());
    own.iter().map(|active| active.statistics().totals()).fold(Totals::default(), Totals::and)
}

fn model_statistics(name: &str, live: &Deployment, totals: &Totals) -> Value {
    let span = |span: Span| json!({"count": span.count, "ns": span.nanos});
    json!({
        "name": name,
        "version": live.version().to_string(),
        "last_inference": totals.last_millis,
        "inference_count": totals.rows,
        "execution_count": totals.success.count,
        "inference_stats": {
            "success": span(totals.success),
            "fail": span(totals.fail),
            "queue": span(totals.queue),
            "compute_input": span(totals.start),
            "compute_infer": span(totals.run),
            "compute_output": span(totals.settle),
            "cache_hit": span(Span::default()),
            "cache_miss": span(Span::default()),
        },
        "response_stats": {},
        "batch_stats": [],
        "memory_usage": [],
    })
}
