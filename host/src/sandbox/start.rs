//! A guest's start functions, which run when an instance is created, before any call.
//!
//! A start is the same for every call: it cannot reach the host's own functions, and WASI's clocks stand still and random numbers repeat
//! ([`CallState::ctx`](super::context::CallState)). If it succeeded when the bundle was published, it can fail in a call only because of
//! that call's limits. What it uses is charged to the call.

use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};

use super::SandboxError;
use super::context::CallState;
use super::limits::LimitReached;
use super::stop::CpuClock;

/// A start's result: the instance, or the guest's failure.
pub(super) type Started = Result<Instance, wasmtime::Error>;

/// Creates an instance within the call's limits. `may_wait`: whether WASI lets its start wait.
pub(super) async fn start(
    pre: &InstancePre<CallState>,
    wasm_store: &mut Store<CallState>,
    may_wait: bool,
) -> Result<Started, SandboxError> {
    let deadline = tokio::time::Instant::from_std(wasm_store.data().limits.deadline);
    let (cpu, stop) = (wasm_store.data().cpu.clone(), wasm_store.data().context.stop.clone());
    let started = {
        let starting = pre.instantiate_async(&mut *wasm_store);
        match (cpu, may_wait) {
            (None, false) => starting.await,
            (cpu, _) => {
                let starting = bounded(starting, cpu, deadline);
                tokio::select! {
                    biased;
                    cause = stop.wait() => Err(LimitReached::Ended(cause).into()),
                    started = starting => started,
                }
            }
        }
    };
    match started {
        Ok(instance) => {
            wasm_store.data_mut().end_start();
            Ok(Ok(instance))
        }
        Err(error) if error.is::<wasmtime::PoolConcurrencyLimitError>() => {
            Err(SandboxError::PoolExhausted)
        }
        // The operating system is out of memory, which is not the guest's fault.
        Err(error) if error.is::<std::io::Error>() => Err(SandboxError::Instantiate(error)),
        Err(error) => Ok(Err(error)),
    }
}

/// Code waiting on WASI sees no epoch, and agreements meter the duration.
async fn bounded(
    starting: impl Future<Output = wasmtime::Result<Instance>>,
    cpu: Option<std::sync::Arc<CpuClock>>,
    deadline: tokio::time::Instant,
) -> wasmtime::Result<Instance> {
    let starting = async {
        match cpu {
            Some(cpu) => CpuClock::measure(cpu, starting).await,
            None => starting.await,
        }
    };
    match tokio::time::timeout_at(deadline, starting).await {
        Ok(started) => started,
        Err(_elapsed) => Err(LimitReached::Deadline.into()),
    }
}
