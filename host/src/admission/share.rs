//! How much of what is there for all one account may have.
//!
//! It gets more while it has less than three times what is free. So one account alone gets three quarters, two get three sevenths each,
//! and from four on there is always some left for somebody else. (Switches share buffers among ports by this rule of dynamic
//! thresholds, for it needs no plan of who will come.)

/// How many times what is free one account may have.
const SHARE: u64 = 3;

/// Whether an account that holds so many of something may take one more while so many are free.
pub fn may_take_more(held: usize, free: usize) -> bool {
    (held as u64) < (free as u64).saturating_mul(SHARE)
}

/// Whether an account may hold so much where so much is left then.
pub(super) fn may_hold(held: u64, left: u64) -> bool {
    held <= left.saturating_mul(SHARE)
}
