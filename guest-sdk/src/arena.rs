//! An allocator for instances that live for one call. It only moves forward, and the host releases the memory when the
//! call ends. [`plugin!`](crate::plugin!) installs it in WebAssembly guests; `plugin!(…, default_allocator)` does not.
//!
//! It grows the memory in steps of at least [`GROW_BYTES_MIN`], because each `memory.grow` is a call into the host. Only
//! the newest block can grow in place or be freed. That is enough for a `Vec` that is being filled.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::ptr;

/// The memory grows by at least this much: 1 MiB. Pages that are not touched cost nothing.
pub const GROW_BYTES_MIN: usize = 1 << 20;

/// The size of a page of WebAssembly memory.
const PAGE_BYTES: usize = 1 << 16;

/// The allocator.
///
/// ```
/// use hospes_sdk::arena::Arena;
///
/// static ARENA: Arena = Arena::new();
/// ```
#[derive(Debug)]
pub struct Arena {
    /// The first free byte, and the end of the memory that the arena has.
    next: Cell<usize>,
    end: Cell<usize>,
    grow: fn(usize) -> Option<usize>,
}

// SAFETY: an instance of a plugin has one thread. On other targets only tests use arenas, each its own.
unsafe impl Sync for Arena {}

impl Arena {
    /// An arena that grows the memory on first use.
    ///
    /// ```
    /// let arena = hospes_sdk::arena::Arena::new();
    /// ```
    pub const fn new() -> Self {
        Self { next: Cell::new(0), end: Cell::new(0), grow }
    }

    fn take(&self, bytes: usize, align: usize) -> Option<usize> {
        let mut start = self.next.get().checked_next_multiple_of(align)?;
        if start.checked_add(bytes)? > self.end.get() {
            let step = bytes.checked_add(align)?.max(GROW_BYTES_MIN);
            let step = step.checked_next_multiple_of(PAGE_BYTES)?;
            let fresh = (self.grow)(step)?;
            // The new memory follows the old, unless other code has grown the memory in between.
            if fresh != self.end.get() {
                start = fresh.checked_next_multiple_of(align)?;
            }
            self.end.set(fresh + step);
        }
        self.next.set(start + bytes);
        Some(start)
    }

    fn is_newest(&self, block: *mut u8, bytes: usize) -> bool {
        block as usize + bytes == self.next.get()
    }
}

impl Default for Arena {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: `take` returns each byte once, aligned, and only inside memory that `grow` has returned. Only the newest block
// is ever freed or extended, so no two live blocks overlap.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match self.take(layout.size(), layout.align()) {
            Some(start) => ptr::with_exposed_provenance_mut(start),
            None => ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if self.is_newest(block, layout.size()) {
            self.next.set(block as usize);
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        if bytes <= layout.size() {
            if self.is_newest(block, layout.size()) {
                self.next.set(block as usize + bytes);
            }
            return block;
        }
        if self.is_newest(block, layout.size()) {
            let more = bytes - layout.size();
            // With an alignment of 1, the new bytes follow the block directly, unless other code has grown the memory.
            let Some(start) = self.take(more, 1) else { return ptr::null_mut() };
            if start == block as usize + layout.size() {
                return block;
            }
        }
        // SAFETY: the caller guarantees `layout`. The new block is larger and does not overlap the old one.
        unsafe {
            let moved = self.alloc(Layout::from_size_align_unchecked(bytes, layout.align()));
            if !moved.is_null() {
                ptr::copy_nonoverlapping(block, moved, layout.size());
            }
            moved
        }
    }
}

/// Adds `bytes`, which must be whole pages, to the memory and returns their address.
#[cfg(target_arch = "wasm32")]
fn grow(bytes: usize) -> Option<usize> {
    let before = core::arch::wasm32::memory_grow::<0>(bytes / PAGE_BYTES);
    (before != usize::MAX).then(|| before * PAGE_BYTES)
}

/// Only WebAssembly has a memory to grow.
#[cfg(not(target_arch = "wasm32"))]
fn grow(_: usize) -> Option<usize> {
    None
}

#[cfg(test)]
mod tests;
