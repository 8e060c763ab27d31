//! What a host allocates. These tests count, and so they have an allocator of their own.

mod allocations;
mod counting;
mod footprint;
mod parsing;
