//! `hospes:plugin/call` and `hospes:plugin/logging`: a guest's view of its call, and its log.

use std::time::Instant;

use super::bindings::hospes::plugin::call::{self, CallTerms};
use super::bindings::hospes::plugin::logging::{self, Level};
use super::context::CallState;

impl call::Host for CallState {
    fn deadline(&mut self) -> wasmtime::Result<u64> {
        self.check_started()?;
        let left = self.limits.deadline.saturating_duration_since(Instant::now());
        Ok(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
    }

    fn purpose(&mut self) -> wasmtime::Result<Option<String>> {
        self.check_started()?;
        Ok(self.context.purpose.as_deref().map(str::to_owned))
    }

    fn terms(&mut self) -> wasmtime::Result<CallTerms> {
        self.check_started()?;
        Ok(CallTerms {
            agreement: self.context.agreement.map_or_else(String::new, |id| id.to_string()),
            output_bytes_max: self.context.output_bytes_max,
        })
    }
}

impl logging::Host for CallState {
    fn log(&mut self, level: Level, message: String) -> wasmtime::Result<()> {
        self.check_started()?;
        let call = self.context.call;
        let line = self.keep_of(message.trim_end());
        if line.is_empty() {
            return Ok(());
        }
        // One message is one line: the log escapes line breaks.
        match level {
            Level::Trace => tracing::trace!(target: "hospes::guest", %call, "{line}"),
            Level::Debug => tracing::debug!(target: "hospes::guest", %call, "{line}"),
            Level::Info => tracing::info!(target: "hospes::guest", %call, "{line}"),
            Level::Warn => tracing::warn!(target: "hospes::guest", %call, "{line}"),
            Level::Error => tracing::error!(target: "hospes::guest", %call, "{line}"),
        }
        Ok(())
    }
}
