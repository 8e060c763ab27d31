//! The start functions of a guest: they run when an instance is made, before anything is called.
//!
//! A start is the same for every call: it reaches none of the host's own functions, and WASI's clocks stand still and its random
//! numbers are always the same ([`CallState::ctx`](super::context::CallState)). So it can fail in a call where it did not fail when
//! the bundle was published only by the limits of that call, and whatever it does is counted like the rest of the call.

use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};

use super::SandboxError;
use super::context::CallState;
use super::limits::LimitReached;
use super::stop::CpuClock;

/// What came of a start: the instance, or what ended it, for the guest's account.
pub(super) type Started = Result<Instance, wasmtime::Error>;

/// Makes an instance, within the limits of the call. `may_wait`: whether WASI lets its start wait.
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
        // The operating system gave no memory: the guest cannot help it.
        Err(error) if error.is::<std::io::Error>() => Err(SandboxError::Instantiate(error)),
        Err(error) => Ok(Err(error)),
    }
}

/// What waits on WASI sees no epoch, and what an agreement meters is measured.
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
