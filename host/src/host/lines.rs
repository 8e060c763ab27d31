//! What accounts wait for in fair turns, beside sandboxes and computing: the disk, publishing, and having long documents read.

use std::time::Duration;

use super::Host;
use crate::admission::{Asker, FairLine, FairTurns, Reader};
use crate::config;
use crate::state::accounts::Caller;

/// Requests that read or write the disk at once, each on a thread of its own. The store has one writer anyway.
const STORING_MAX: usize = 4;
const STORING_WAITING_MAX: usize = 1024;
const STORING_WAIT_MAX: Duration = Duration::from_secs(10);

/// Bundles that may be checked, and models loaded, at once: each is held in memory meanwhile. One of an account.
const PUBLISHING_MAX: usize = 2;
const PUBLISHING_WAITING_MAX: usize = 256;
const PUBLISHING_WAIT_MAX: Duration = Duration::from_secs(60);

/// Long documents that wait to be read, one a core at once.
const READING_WAITING_MAX: usize = 1024;
const READING_WAIT_MAX: Duration = Duration::from_secs(10);

/// The lines of one host.
pub(crate) struct Lines {
    /// Turns to read or write records and files.
    pub(crate) storing: FairTurns,
    /// Turns to check a bundle or to load a model.
    pub(crate) publishing: FairTurns,
    /// Turns to read what callers send.
    pub(crate) reading: FairTurns,
}

impl Lines {
    pub(super) fn new(admission: &config::Admission) -> Self {
        let weights = Asker::weights(&admission.weights);
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        let storing = FairLine {
            turns: STORING_MAX,
            each_max: STORING_MAX,
            waiting_max: STORING_WAITING_MAX,
            wait_max: STORING_WAIT_MAX,
            expected: Duration::from_millis(5),
            weights: weights.clone(),
        };
        let publishing = FairLine {
            turns: PUBLISHING_MAX,
            each_max: 1,
            waiting_max: PUBLISHING_WAITING_MAX,
            wait_max: PUBLISHING_WAIT_MAX,
            expected: Duration::from_secs(1),
            weights: weights.clone(),
        };
        let reading = FairLine {
            turns: cores,
            each_max: cores,
            waiting_max: READING_WAITING_MAX,
            wait_max: READING_WAIT_MAX,
            expected: Duration::from_millis(5),
            weights,
        };
        Self {
            storing: FairTurns::new(storing),
            publishing: FairTurns::new(publishing),
            reading: FairTurns::new(reading),
        }
    }
}

impl Host {
    /// Reads documents that a caller sends.
    pub(crate) fn reader<'h>(&'h self, caller: &'h Caller) -> Reader<'h> {
        Reader { turns: &self.lines.reading, account: &caller.account().name }
    }
}
