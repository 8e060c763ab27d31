//! The limits of one call. Each applies to every call; exceeding one ends the call, never the host.

use std::time::{Duration, Instant};

use wasmtime::ResourceLimiterAsync;

use super::slice;
use crate::admission::{Allotment, MemoryExhausted};
use crate::outcome::GuestFailure;
use crate::stop::Cause;

/// The limits of one call, decided before it starts.
#[derive(Debug, Clone, Copy)]
pub struct CallLimits {
    /// When the sandbox was requested: the call's time counts from here.
    pub began: Instant,
    /// The deadline.
    pub deadline: Instant,
    /// Maximum computing time, without waiting.
    pub cpu_max: Option<Duration>,
    /// Maximum guest memory in bytes, over all the instance's memories.
    pub memory_bytes_max: usize,
    /// Maximum elements of a guest table.
    pub table_elements_max: usize,
    /// Maximum live handles to host resources.
    pub resources_max: usize,
    /// Maximum bytes of tensors held by the host for the call.
    pub tensor_bytes_max: usize,
    /// Maximum bytes copied from the guest in one host call.
    pub hostcall_bytes_max: usize,
    /// Maximum bytes of log lines.
    pub log_bytes_max: usize,
}

/// A limit that a guest exceeded. Raised inside the guest's call and recovered from the error that ends it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum LimitReached {
    #[error("the call ran past its deadline")]
    Deadline,
    #[error(
        "the call's tensors would take {wanted} bytes, more than the {max} of `inference.tensor_bytes_max`"
    )]
    Tensors { wanted: usize, max: usize },
    #[error(transparent)]
    Shared(#[from] MemoryExhausted),
    #[error("the call computed for longer than {} ms", max.as_millis())]
    Cpu { max: Duration },
    #[error("the call was ended from outside")]
    Ended(Cause),
    #[error(
        "a start function called the host: only functions that are called may ask about the call, log or compute"
    )]
    Starting,
    #[error("{0}")]
    Gate(String),
    #[error("{0}")]
    Sink(GuestFailure),
}

/// Watches the growth of one instance's memories and tables.
#[derive(Debug)]
pub(super) struct Growth {
    memory_bytes_max: usize,
    table_elements_max: usize,
    memory_bytes: usize,
    /// The call's part of the shared memory.
    pub(super) allotment: Allotment,
    refused: Option<Refused>,
}

/// The growth that was denied. The guest sees `-1` from its grow instruction and usually traps soon after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Over the call's limit.
    Memory,
    /// Over the limit of all calls.
    Shared(MemoryExhausted),
    Table,
}

impl Growth {
    pub(super) fn new(limits: &CallLimits, allotment: Allotment) -> Self {
        Self {
            memory_bytes_max: limits.memory_bytes_max,
            table_elements_max: limits.table_elements_max,
            memory_bytes: 0,
            allotment,
            refused: None,
        }
    }

    /// The instance's memory in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// The last denied growth, if any.
    pub(super) fn refused(&self) -> Option<Refused> {
        self.refused
    }
}

// Asynchronous, because a guest that grows large must leave a serving thread before it gets the memory.
#[async_trait::async_trait]
impl ResourceLimiterAsync for Growth {
    async fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        let total = self.memory_bytes.saturating_add(more);
        if total > self.memory_bytes_max {
            self.refused = Some(Refused::Memory);
            return Ok(false);
        }
        if let Err(exhausted) = self.allotment.take(more) {
            self.refused = Some(Refused::Shared(exhausted));
            return Ok(false);
        }
        self.memory_bytes = total;
        if slice::is_too_large_here(total) {
            slice::make_room().await;
        }
        Ok(true)
    }

    async fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > self.table_elements_max {
            self.refused = Some(Refused::Table);
            return Ok(false);
        }
        Ok(true)
    }
}
