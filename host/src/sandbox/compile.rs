//! Compiling a component: in a worker process, bounded in bytes, time, memory and number, never on the request path.
//!
//! Wasmtime promises nothing about what a hostile component takes to compile, so its size is bounded before it is looked at,
//! compilations are few at a time, and one that takes too long or too much ends with its process.

use std::sync::Arc;

use tokio::sync::Semaphore;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::cache::Cache;
use super::compiling::{self, Task};
use super::{SandboxError, Setup};
use crate::id::Digest;
use crate::sandbox::engine::Kind;
use crate::worker::Program;

/// Compiles components for one engine, a few at a time.
pub(super) struct Compiler {
    engine: Engine,
    cache: Arc<Cache>,
    turns: Arc<Semaphore>,
    timeout: std::time::Duration,
    program: Program,
    task: Task,
}

impl Compiler {
    pub(super) fn new(engine: Engine, kind: Kind, cache: Cache, setup: &Setup) -> Self {
        let limits = &setup.limits;
        Self {
            engine,
            cache: Arc::new(cache),
            turns: Arc::new(Semaphore::new(limits.compile_concurrency.get())),
            timeout: limits.compile_timeout,
            program: setup.program.clone(),
            task: Task::new(kind, limits, setup.slots),
        }
    }

    /// Compiles `code`, or loads what an earlier compilation left in the cache.
    ///
    /// Waits for a turn and for the compilation, together up to the timeout; then the compilation is ended.
    pub(super) async fn compile(
        &self,
        digest: Digest,
        code: bytes::Bytes,
    ) -> Result<Component, SandboxError> {
        let work = async {
            let turn = self.turns.acquire().await;
            let _turn = turn.expect("invariant: the semaphore is never closed");
            let (engine, cache) = (self.engine.clone(), Arc::clone(&self.cache));
            if let Some(component) = aside(move || Ok(cache.load(&engine, &digest))).await? {
                return Ok(component);
            }
            let machine_code = compiling::in_worker(&self.program, self.task.clone(), code).await?;
            let (engine, cache) = (self.engine.clone(), Arc::clone(&self.cache));
            aside(move || cache.keep(&engine, &digest, &machine_code)).await
        };
        match tokio::time::timeout(self.timeout, work).await {
            Ok(compiled) => compiled,
            Err(_elapsed) => Err(SandboxError::CompileTimeout { waited: self.timeout }),
        }
    }
}

/// Reads and writes files on a thread that serves nobody.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SandboxError> + Send + 'static,
) -> Result<T, SandboxError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| Err(SandboxError::CompilerPanicked(panic.to_string())))
}
