#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "every block is a call of the allocator under test"
)]

use super::*;

/// Memory for one test. It is leaked, as an instance's memory is until the call ends.
fn leaked(bytes: usize) -> Option<usize> {
    Some(Vec::leak(vec![0_u8; bytes]).as_mut_ptr().expose_provenance())
}

fn arena() -> Arena {
    Arena { next: Cell::new(0), end: Cell::new(0), grow: leaked }
}

fn layout(bytes: usize, align: usize) -> Layout {
    Layout::from_size_align(bytes, align).unwrap()
}

#[test]
fn blocks_are_aligned_and_apart() {
    let arena = arena();
    let mut blocks = Vec::new();
    for (bytes, align) in
        [(1, 1), (8, 8), (3, 1), (100, 64), (0, 16), (2 * GROW_BYTES_MIN, 16), (5, 2)]
    {
        let block = unsafe { arena.alloc(layout(bytes, align)) };
        assert_eq!(block as usize % align, 0, "{bytes} bytes at {align}");
        unsafe { block.write_bytes(0xAB, bytes) };
        for &(other, size) in &blocks {
            let apart = block as usize >= other + size || block as usize + bytes <= other;
            assert!(apart, "{bytes} bytes overlap an earlier block");
        }
        blocks.push((block as usize, bytes));
    }
}

#[test]
fn the_newest_block_grows_and_shrinks_in_place() {
    let arena = arena();
    unsafe {
        let block = arena.alloc(layout(16, 8));
        block.write_bytes(7, 16);
        assert_eq!(arena.realloc(block, layout(16, 8), 4096), block);
        assert_eq!(arena.realloc(block, layout(4096, 8), 10), block);
        assert_eq!(arena.next.get(), block as usize + 10);
        arena.dealloc(block, layout(10, 8));
        assert_eq!(arena.alloc(layout(10, 8)), block);
    }
}

#[test]
fn an_older_block_moves_and_keeps_its_bytes() {
    let arena = arena();
    unsafe {
        let old = arena.alloc(layout(4, 4));
        old.copy_from(b"abcd".as_ptr(), 4);
        arena.alloc(layout(1, 1));
        let moved = arena.realloc(old, layout(4, 4), 8);
        assert_ne!(moved, old);
        assert_eq!(std::slice::from_raw_parts(moved, 4), b"abcd");
    }
}

#[test]
fn a_block_that_outgrows_the_memory_moves_and_keeps_its_bytes() {
    let arena = arena();
    unsafe {
        let old = arena.alloc(layout(3, 1));
        old.copy_from(b"xyz".as_ptr(), 3);
        let moved = arena.realloc(old, layout(3, 1), 2 * GROW_BYTES_MIN);
        assert_eq!(std::slice::from_raw_parts(moved, 3), b"xyz");
    }
}

#[test]
fn a_host_that_gives_no_memory_ends_in_null() {
    let arena = Arena { next: Cell::new(0), end: Cell::new(0), grow: |_| None };
    assert!(unsafe { arena.alloc(layout(1, 1)) }.is_null());
    assert!(unsafe { arena.alloc(layout(usize::MAX / 4, 1)) }.is_null());
}
