//! What becomes of a worker's jobs when its process has ended, and who is to blame for that.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::job::PATIENCE;
use super::{Inner, Loss, Running};
use crate::inference::strikes::Blame;

impl Inner {
    fn has_begun(&self, running: &Running) -> bool {
        let mut mark = Vec::new();
        self.memory.read(self.layout.mark(running.window), 1, &mut mark).is_ok() && mark == [1]
    }

    /// The process has ended: everybody who waits for it hears so.
    pub(super) fn end(&self, how: &str, blame: Blame) {
        self.alive.store(false, Ordering::Release);
        let mut state = self.lock();
        let how: Arc<str> = how.into();
        state.ended = Some(Arc::clone(&how));
        let running = std::mem::take(&mut state.running);
        let overdue: BTreeSet<u64> = match blame {
            Blame::Overdue(at) => {
                state.overdue.iter().take_while(|(due, _)| *due <= at).map(|(_, job)| *job).collect()
            }
            Blame::Running | Blame::Nobody => BTreeSet::new(),
        };
        let loads = std::mem::take(&mut state.loads);
        state.ready = None;
        drop(state);
        self.windows.close();
        self.spares_loads.store(blame != Blame::Running, Ordering::Release);
        match blame {
            Blame::Overdue(_) => {
                for (_, running) in running.iter().filter(|(job, _)| overdue.contains(job)) {
                    let patient = running.began.elapsed() >= PATIENCE;
                    self.strikes.strike_overdue(&running.culprit, &how, patient);
                }
            }
            Blame::Running if !self.closing.load(Ordering::Acquire) => {
                let loading = loads.values().map(|(culprit, _)| culprit.clone());
                let begun = running.values().filter(|running| self.has_begun(running));
                let begun = begun.map(|running| running.culprit.clone());
                self.strikes.blame(&begun.chain(loading).collect(), &how);
            }
            Blame::Running | Blame::Nobody => {}
        }
        for (job, running) in running {
            let is_spared = match blame {
                Blame::Overdue(_) => !overdue.contains(&job),
                Blame::Running => false,
                Blame::Nobody => true,
            };
            let loss = if is_spared { Loss::Bystander } else { Loss::Ended(Arc::clone(&how)) };
            let _ = running.answer.send((Err(loss), None));
        }
    }
}
