//! Queues with fair turns, besides sandboxes and inference: disk, publishing, and parsing of long documents.

use std::time::Duration;

use super::Host;
use crate::admission::{Asker, FairLine, FairTurns, Reader};
use crate::config;
use crate::state::accounts::Caller;

/// Concurrent requests that use the disk, each on its own thread. The store has one writer anyway.
const STORING_MAX: usize = 4;
const STORING_WAITING_MAX: usize = 1024;
const STORING_WAIT_MAX: Duration = Duration::from_secs(10);

/// Bundles checked and models loaded at once: each is held in memory meanwhile. At most one per account.
const PUBLISHING_MAX: usize = 2;
const PUBLISHING_WAITING_MAX: usize = 256;
const PUBLISHING_WAIT_MAX: Duration = Duration::from_secs(60);

/// Long documents waiting to be parsed, one per core at a time.
const READING_WAITING_MAX: usize = 1024;
const READING_WAIT_MAX: Duration = Duration::from_secs(10);

/// One host's queues.
pub(crate) struct Lines {
    /// Turns for reading and writing records and files.
    pub(crate) storing: FairTurns,
    /// Turns for checking a bundle or loading a model.
    pub(crate) publishing: FairTurns,
    /// Turns for parsing what callers send.
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
    /// Parses a caller's documents.
    pub(crate) fn reader<'h>(&'h self, caller: &'h Caller) -> Reader<'h> {
        Reader { turns: &self.lines.reading, account: &caller.account().name }
    }
}
