//! Sends panic messages to the host's log. A panic ends the call with a trap, which shows where the code stopped but not
//! why.

use std::panic;

use crate::log;

/// Installs the hook. [`plugin!`](crate::plugin!) calls this before the first exported function runs.
pub fn install() {
    panic::set_hook(Box::new(|info| log::error(info.to_string())));
}
