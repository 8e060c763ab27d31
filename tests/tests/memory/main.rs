//! Tests that count the host's memory allocations, with their own allocator.

mod allocations;
mod counting;
mod footprint;
mod parsing;
