//! Sends panic messages to the host's log. A panic ends the call with a trap, and a trap alone says only where the
//! code stopped, not why.

use std::panic;

use crate::log;

/// Installs the hook. [`plugin!`](crate::plugin!) arranges for this to run before the first exported function does.
pub fn install() {
    panic::set_hook(Box::new(|info| log::error(info.to_string())));
}
