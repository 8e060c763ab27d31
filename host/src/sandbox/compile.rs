//! Compiles components in worker processes, limited in size, time, memory and number, never on the request path.
//!
//! Wasmtime does not bound the cost of compiling a hostile component. So its size is checked first, publishers take turns, and a
//! compilation that exceeds its time or memory ends with its process.

use std::sync::Arc;

use wasmtime::Engine;
use wasmtime::component::Component;

use super::cache::Cache;
use super::compiling::{self, Task};
use super::{SandboxError, Setup};
use crate::admission::{Asker, FairTurns};
use crate::id::{AccountName, Digest};
use crate::sandbox::engine::Kind;
use crate::worker::Program;

/// Compiles components for one engine, a few at a time.
pub(super) struct Compiler {
    engine: Engine,
    cache: Arc<Cache>,
    turns: Arc<FairTurns>,
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
            turns: Arc::clone(&setup.turns),
            timeout: limits.compile_timeout,
            program: setup.program.clone(),
            task: Task::new(kind, limits, setup.slots),
        }
    }

    /// Compiles `code`, or loads it from the cache without waiting.
    ///
    /// Waits for `account`'s turn, then for the compilation up to the timeout, when it is killed. Waiting for a turn does not count.
    pub(super) async fn compile(
        &self,
        account: &AccountName,
        digest: Digest,
        code: bytes::Bytes,
    ) -> Result<Component, SandboxError> {
        if let Some(component) = self.cached(digest).await? {
            return Ok(component);
        }
        let turn = self.turns.take(&Asker::Account(account.clone())).await;
        let _turn = turn.map_err(SandboxError::CompileTurn)?;
        let work = async {
            // Another task may have compiled it meanwhile.
            if let Some(component) = self.cached(digest).await? {
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

    async fn cached(&self, digest: Digest) -> Result<Option<Component>, SandboxError> {
        let (engine, cache) = (self.engine.clone(), Arc::clone(&self.cache));
        aside(move || Ok(cache.load(&engine, &digest))).await
    }
}

/// Reads and writes files on a blocking thread.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SandboxError> + Send + 'static,
) -> Result<T, SandboxError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| Err(SandboxError::CompilerPanicked(panic.to_string())))
}
