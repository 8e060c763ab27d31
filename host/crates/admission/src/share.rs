//! How much of a shared resource one account may take.
//!
//! It may take more while it has less than three times what is free. So a single account gets three quarters, and two get three sevenths
//! each. If a resource has at least four units, some are always left for others. (Network switches share buffers among ports by this rule of
//! dynamic thresholds, because it needs no planning.)

/// An account may have up to this many times the free amount.
const SHARE: u64 = 3;

/// Whether an account that holds `held` may take one more while `free` are free.
pub fn may_take_more(held: usize, free: usize) -> bool {
    (held as u64) < (free as u64).saturating_mul(SHARE)
}

/// Whether an account may hold `held` if `left` is then left.
pub(super) fn may_hold(held: u64, left: u64) -> bool {
    held <= left.saturating_mul(SHARE)
}
