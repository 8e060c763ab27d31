//! The methods that describe servers and models, and that unload and load models.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::messages as pb;
use super::{Given, GrpcRequest, status};
use crate::api::aside::{aside, asker};
use crate::api::body;
use crate::api::oip::metadata::{
    Described, EXTENSIONS, SERVER_NAME, batch_size_max, described, is_ready, known, platform,
    totals, versions,
};
use crate::api::oip::model::Asked;
use crate::api::oip::repository::{
    check_parameter, entries, failed_to_load, load_in_turn, unload_now,
};
use crate::api::paging::{MODELS_MAX, ModelPage};
use crate::api::problem::Problem;
use crate::host::Host;
use crate::state::accounts::Caller;
use crate::state::deployments::{After, Deployment, Span, Totals};
use crate::tensor::DataType;

pub(super) fn server_live(
    _: &Host,
    _: &HeaderMap,
    _: &pb::ServerLiveRequest,
) -> Result<pb::ServerLiveResponse, Problem> {
    Ok(pb::ServerLiveResponse { live: true })
}

pub(super) fn server_ready(
    host: &Host,
    _: &HeaderMap,
    _: &pb::ServerReadyRequest,
) -> Result<pb::ServerReadyResponse, Problem> {
    Ok(pb::ServerReadyResponse { ready: host.inference_readiness().is_ok() })
}

pub(super) fn server_metadata(
    _: &Host,
    _: &HeaderMap,
    _: &pb::ServerMetadataRequest,
) -> Result<pb::ServerMetadataResponse, Problem> {
    Ok(pb::ServerMetadataResponse {
        name: SERVER_NAME.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        extensions: EXTENSIONS.map(str::to_owned).to_vec(),
    })
}

pub(super) fn model_ready(
    host: &Host,
    headers: &HeaderMap,
    request: &pb::ModelReadyRequest,
) -> Result<pb::ModelReadyResponse, Problem> {
    let asked = Asked::named(host, &request.name, Some(&request.version));
    is_ready(host, &asked, headers).map(|ready| pb::ModelReadyResponse { ready })
}

pub(super) fn model_metadata(
    host: &Host,
    headers: &HeaderMap,
    request: &pb::ModelMetadataRequest,
) -> Result<pb::ModelMetadataResponse, Problem> {
    let asked = Asked::named(host, &request.name, Some(&request.version));
    let live = asked.find(host, headers)?;
    let (inputs, outputs) = described(&live, 0);
    let tensor = |Described { name, data_type, shape, .. }: Described| {
        let datatype = data_type.map_or_else(String::new, |ty| ty.name().to_owned());
        pb::model_metadata_response::TensorMetadata { name, datatype, shape }
    };
    Ok(pb::ModelMetadataResponse {
        name: request.name.clone(),
        versions: versions(host, caller(host, headers)?.as_ref(), &live),
        platform: platform(&live).into(),
        inputs: inputs.into_iter().map(tensor).collect(),
        outputs: outputs.into_iter().map(tensor).collect(),
    })
}

pub(super) fn model_config(
    host: &Host,
    headers: &HeaderMap,
    request: &pb::ModelConfigRequest,
) -> Result<pb::ModelConfigResponse, Problem> {
    let asked = Asked::named(host, &request.name, Some(&request.version));
    let live = asked.find(host, headers)?;
    let batch = batch_size_max(&live);
    let (inputs, outputs) = described(&live, usize::from(batch > 0));
    let inputs = inputs.into_iter().map(|input| pb::ModelInput {
        name: input.name,
        data_type: config_type(input.data_type).into(),
        dims: input.shape,
        optional: input.optional,
    });
    let outputs = outputs.into_iter().map(|output| pb::ModelOutput {
        name: output.name,
        data_type: config_type(output.data_type).into(),
        dims: output.shape,
    });
    let config = pb::ModelConfig {
        name: request.name.clone(),
        platform: platform(&live).into(),
        max_batch_size: i32::try_from(batch).unwrap_or(i32::MAX),
        input: inputs.collect(),
        output: outputs.collect(),
        model_transaction_policy: Some(pb::ModelTransactionPolicy { decoupled: false }),
    };
    Ok(pb::ModelConfigResponse { config: Some(config) })
}

fn config_type(ty: Option<DataType>) -> pb::DataType {
    match ty {
        None => pb::DataType::TypeInvalid,
        Some(DataType::Bool) => pb::DataType::TypeBool,
        Some(DataType::U8) => pb::DataType::TypeUint8,
        Some(DataType::U16) => pb::DataType::TypeUint16,
        Some(DataType::U32) => pb::DataType::TypeUint32,
        Some(DataType::U64) => pb::DataType::TypeUint64,
        Some(DataType::I8) => pb::DataType::TypeInt8,
        Some(DataType::I16) => pb::DataType::TypeInt16,
        Some(DataType::I32) => pb::DataType::TypeInt32,
        Some(DataType::I64) => pb::DataType::TypeInt64,
        Some(DataType::F16) => pb::DataType::TypeFp16,
        Some(DataType::Bf16) => pb::DataType::TypeBf16,
        Some(DataType::F32) => pb::DataType::TypeFp32,
        Some(DataType::F64) => pb::DataType::TypeFp64,
        Some(DataType::Bytes) => pb::DataType::TypeString,
    }
}

/// The page tokens of a list, in headers: messages have no field for them.
const AFTER: HeaderName = HeaderName::from_static("hospes-after");
const NEXT: HeaderName = HeaderName::from_static("hospes-next");

/// The requested page of a list.
fn page(headers: &HeaderMap) -> Result<ModelPage, Problem> {
    let after = headers.get(&AFTER).map(|after| after.to_str().unwrap_or_default());
    Ok(ModelPage { after: after.map(ModelPage::after).transpose()?, limit: MODELS_MAX })
}

/// Adds the next page's token, if there is one.
fn paged<M>(message: M, next: Option<&After>) -> (M, HeaderMap) {
    let mut headers = HeaderMap::new();
    if let Some(next) = next.and_then(|next| HeaderValue::try_from(next.to_string()).ok()) {
        headers.insert(NEXT, next);
    }
    (message, headers)
}

/// Statistics of one version, or of all that the caller may know of.
pub(super) async fn model_statistics(
    call: GrpcRequest<pb::ModelStatisticsRequest>,
) -> Given<pb::ModelStatisticsResponse> {
    let GrpcRequest { host, headers, message } = call;
    let look = async {
        let caller = caller(&host, &headers)?;
        let one = |host: &Host, caller: Option<&Caller>, name: String, live: &Deployment| {
            statistics(name, live, &totals(host, caller, live))
        };
        if !message.name.is_empty() {
            let asked = Asked::named(&host, &message.name, Some(&message.version));
            let live = asked.find(&host, &headers)?;
            let model_stats = vec![one(&host, caller.as_ref(), message.name.clone(), &live)];
            return Ok((pb::ModelStatisticsResponse { model_stats }, HeaderMap::new()));
        }
        let page = page(&headers)?;
        aside(&host, asker(caller.as_ref()), move |host| {
            let caller = caller.as_ref();
            let (known, next) = known(host, caller, &page);
            let stats = known.iter().map(|live| one(host, caller, live.model().to_string(), live));
            let answer = pb::ModelStatisticsResponse { model_stats: stats.collect() };
            Ok(paged(answer, next.as_ref()))
        })
        .await
    };
    look.await.map_err(status)
}

fn caller(host: &Host, headers: &HeaderMap) -> Result<Option<Caller>, Problem> {
    body::bearer(headers)
        .map(|key| host.auth.authenticate(Some(key)))
        .transpose()
        .map_err(Into::into)
}

fn statistics(name: String, live: &Deployment, totals: &Totals) -> pb::ModelStatistics {
    let span = |span: Span| Some(pb::StatisticDuration { count: span.count, ns: span.nanos });
    pb::ModelStatistics {
        name,
        version: live.version().to_string(),
        last_inference: totals.last_millis,
        inference_count: totals.rows,
        execution_count: totals.success.count,
        inference_stats: Some(pb::InferStatistics {
            success: span(totals.success),
            fail: span(totals.fail),
            queue: span(totals.queue),
            compute_input: span(totals.start),
            compute_infer: span(totals.run),
            compute_output: span(totals.settle),
            cache_hit: span(Span::default()),
            cache_miss: span(Span::default()),
        }),
    }
}

/// The repository's index.
pub(super) async fn index(
    call: GrpcRequest<pb::RepositoryIndexRequest>,
) -> Given<pb::RepositoryIndexResponse> {
    let GrpcRequest { host, headers, message } = call;
    let look = async {
        let caller = caller(&host, &headers)?;
        let page = page(&headers)?;
        aside(&host, asker(caller.as_ref()), move |host| {
            let (entries, next) = entries(host, caller.as_ref(), &page, message.ready);
            let models =
                entries.into_iter().map(|entry| pb::repository_index_response::ModelIndex {
                    name: entry.name,
                    version: entry.version,
                    state: entry.state.into(),
                    reason: entry.reason.into(),
                });
            let answer = pb::RepositoryIndexResponse { models: models.collect() };
            Ok(paged(answer, next.as_ref()))
        })
        .await
    };
    look.await.map_err(status)
}

/// Puts a model back into service.
pub(super) async fn load(
    call: GrpcRequest<pb::RepositoryModelLoadRequest>,
) -> Given<pb::RepositoryModelLoadResponse> {
    let GrpcRequest { host, headers, message } = call;
    let publisher = host.auth.authenticate(body::bearer(&headers)).map_err(|e| status(e.into()))?;
    for parameter in message.parameters.keys() {
        check_parameter(parameter).map_err(status)?;
    }
    let asked = Asked::named(&host, &message.model_name, None);
    let model = asked.own(&publisher).map_err(status)?;
    let loaded = load_in_turn(&host, &publisher, model).await;
    loaded.map_err(|error| status(failed_to_load(&asked, error)))?;
    Ok((pb::RepositoryModelLoadResponse {}, HeaderMap::new()))
}

/// Takes a model out of service.
pub(super) async fn unload(
    call: GrpcRequest<pb::RepositoryModelUnloadRequest>,
) -> Given<pb::RepositoryModelUnloadResponse> {
    let GrpcRequest { host, headers, message } = call;
    let publisher = host.auth.authenticate(body::bearer(&headers)).map_err(|e| status(e.into()))?;
    for parameter in message.parameters.keys() {
        check_parameter(parameter).map_err(status)?;
    }
    let model = Asked::named(&host, &message.model_name, None).own(&publisher).map_err(status)?;
    unload_now(&host, &publisher, model).await.map_err(status)?;
    Ok((pb::RepositoryModelUnloadResponse {}, HeaderMap::new()))
}
