//! How much of a shared resource one account may take.
//!
//! It may take more while it has less than three times what is free. So one account alone gets three quarters, two get three sevenths each,
//! and from four on there is always some left for others. (Switches share buffers among ports by this rule of dynamic thresholds, because
//! it needs no planning.)

/// How many times the free amount an account may have.
const SHARE: u64 = 3;

/// Whether an account that holds `held` may take one more while `free` are free.
pub fn may_take_more(held: usize, free: usize) -> bool {
    (held as u64) < (free as u64).saturating_mul(SHARE)
}

/// Whether an account may hold this much if that much is left then.
pub(super) fn may_hold(held: u64, left: u64) -> bool {
    held <= left.saturating_mul(SHARE)
}
