//! Compiling a component: bounded in bytes and in number, never on the request path.
//!
//! Wasmtime promises nothing about the time a hostile component takes to compile, so its size is bounded before it is
//! looked at, compilations are few at a time, and the caller stops waiting after `sandbox.compile_timeout`.

use std::sync::Arc;

use tokio::sync::Semaphore;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::SandboxError;
use super::cache::Cache;
use crate::config;
use crate::id::Digest;

/// Compiles components, a few at a time.
pub(super) struct Compiler {
    engine: Engine,
    cache: Arc<Cache>,
    turns: Arc<Semaphore>,
    timeout: std::time::Duration,
}

impl Compiler {
    pub(super) fn new(engine: Engine, cache: Cache, limits: &config::Sandbox) -> Self {
        Self {
            engine,
            cache: Arc::new(cache),
            turns: Arc::new(Semaphore::new(limits.compile_concurrency.get())),
            timeout: limits.compile_timeout,
        }
    }

    /// Compiles `code`, or loads what an earlier compilation left in the cache.
    ///
    /// Waits for a turn and for the compilation, together up to the timeout. A compilation cannot be interrupted: one that
    /// takes longer keeps its turn until it ends, so that there are never more of them than allowed.
    pub(super) async fn compile(
        &self,
        digest: Digest,
        code: bytes::Bytes,
    ) -> Result<Component, SandboxError> {
        let work = async {
            let turn = Arc::clone(&self.turns).acquire_owned().await;
            let turn = turn.expect("invariant: the semaphore is never closed");
            let (engine, cache) = (self.engine.clone(), Arc::clone(&self.cache));
            tokio::task::spawn_blocking(move || {
                let _turn = turn;
                if let Some(component) = cache.load(&engine, &digest) {
                    return Ok(component);
                }
                let component =
                    Component::from_binary(&engine, &code).map_err(SandboxError::Compile)?;
                cache.save(&digest, &component);
                Ok(component)
            })
            .await
            .unwrap_or_else(|panic| Err(SandboxError::CompilerPanicked(panic.to_string())))
        };
        match tokio::time::timeout(self.timeout, work).await {
            Ok(compiled) => compiled,
            Err(_elapsed) => Err(SandboxError::CompileTimeout { waited: self.timeout }),
        }
    }
}
