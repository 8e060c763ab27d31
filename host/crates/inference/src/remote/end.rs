//! The end of a worker process: what happens to its jobs, and who is to blame.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::job::PATIENCE;
use super::{Inner, Loss, Running};
use crate::strikes::Blame;

impl Inner {
    fn has_begun(&self, running: &Running) -> bool {
        let mut mark = Vec::new();
        self.memory.read(self.layout.mark(running.window), 1, &mut mark).is_ok() && mark == [1]
    }

    /// Tells everybody who waits for the process that it has ended. Jobs that are not to blame can run in another worker.
    pub(super) fn end(&self, how: &str, blame: Blame) {
        self.alive.store(false, Ordering::Release);
        let mut state = self.lock();
        let how: Arc<str> = how.into();
        state.ended = Some(Arc::clone(&how));
        let running = std::mem::take(&mut state.running);
        let overdue = std::mem::take(&mut state.overdue);
        let loads = std::mem::take(&mut state.loads);
        state.ready = None;
        drop(state);
        self.windows.close();
        // The host has ended it, and has already struck the culprit.
        let blame = match blame {
            Blame::Running if self.closing.load(Ordering::Acquire) => Blame::Nobody,
            blame => blame,
        };
        self.spares_loads.store(blame != Blame::Running, Ordering::Release);
        let blamed: BTreeSet<u64> = match blame {
            Blame::Overdue(at) => {
                let due = overdue.iter().take_while(|(due, _)| *due <= at);
                due.map(|(_, job)| *job).collect()
            }
            Blame::Running => self.suspects(&running, !loads.is_empty()),
            Blame::Nobody => BTreeSet::new(),
        };
        let culprits = running.iter().filter(|(job, _)| blamed.contains(job));
        let culprits = culprits.map(|(_, running)| running);
        match blame {
            Blame::Overdue(_) => {
                for running in culprits {
                    let patient = running.began.elapsed() >= PATIENCE;
                    for culprit in &running.culprits {
                        self.strikes.strike_overdue(culprit, &how, patient);
                    }
                }
            }
            Blame::Running => {
                let loading = loads.values().map(|(culprit, _)| culprit.clone());
                let computing = culprits.flat_map(|running| running.culprits.iter().cloned());
                self.strikes.blame(&computing.chain(loading).collect(), &how);
            }
            Blame::Nobody => {}
        }
        for (job, running) in running {
            let is_spared = !blamed.contains(&job);
            let loss = if is_spared { Loss::Bystander } else { Loss::Ended(Arc::clone(&how)) };
            let _ = running.answer.send((Err(loss), None));
        }
    }

    /// The jobs that may have ended the process: those whose marks say that they had begun. The worker can write to the marks. If they say
    /// that nothing was running, they are false, and all jobs are suspects.
    fn suspects(&self, running: &HashMap<u64, Running>, was_loading: bool) -> BTreeSet<u64> {
        let begun = running.iter().filter(|(_, running)| self.has_begun(running));
        let begun: BTreeSet<u64> = begun.map(|(job, _)| *job).collect();
        if begun.is_empty() && !was_loading { running.keys().copied().collect() } else { begun }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use tokio::sync::oneshot;

    use super::super::{Answer, Company, Layout, SharedMemory, Watched, Windows};
    use super::*;
    use crate::strikes::{Culprit, Owned};
    use hospes_core::id::Digest;
    use hospes_worker::End;

    /// The host's side of a worker with this many windows and without a process.
    fn inner(windows: u32) -> Inner {
        let layout = Layout::new(windows, 1);
        let end = || Watched::new(End::pair().expect("a pair").0).expect("a socket");
        let memory = SharedMemory::create(layout.bytes().expect("countable")).expect("memory");
        let ready = oneshot::channel().0;
        let windows = Windows::new(layout, 1, Arc::default());
        Inner::new((end(), end()), (memory, layout), (Arc::default(), ready), (windows, 0))
    }

    fn of(caller: u64) -> Culprit {
        let publisher = "acme".parse().expect("a name");
        Culprit::computing(Owned { publisher, model: Digest::of(b"model") }, caller)
    }

    /// Adds a job for each window. Its caller has the number of the window. It has begun if its mark is set.
    fn jobs(inner: &Inner, marks: &[bool]) -> Vec<oneshot::Receiver<Answer>> {
        let mut answers = Vec::new();
        for (job, begun) in (0_u32..).zip(marks) {
            let (answer, answered) = oneshot::channel();
            let company = Arc::clone(&inner.company).try_read_owned().expect("nobody is alone");
            let running = Running {
                window: job,
                culprits: vec![of(job.into())],
                began: Instant::now(),
                answer,
                left: false,
                _company: Company::Others(company),
            };
            inner.lock().running.insert(job.into(), running);
            inner.memory.write(inner.layout.mark(job), &[(*begun).into()]).expect("a mark");
            answers.push(answered);
        }
        answers
    }

    /// Whether each job can run in another worker, and which callers must wait.
    fn spared(inner: &Inner, answers: Vec<oneshot::Receiver<Answer>>) -> (Vec<bool>, Vec<u64>) {
        let callers = 0..answers.len() as u64;
        let is_spared = |mut answer: oneshot::Receiver<Answer>| {
            matches!(answer.try_recv(), Ok((Err(Loss::Bystander), None)))
        };
        let waits = |caller: &u64| inner.strikes.standing(&of(*caller)).wait.is_some();
        (answers.into_iter().map(is_spared).collect(), callers.filter(waits).collect())
    }

    #[tokio::test]
    async fn only_what_was_overdue_when_the_process_was_killed_is_struck() {
        let inner = inner(3);
        let answers = jobs(&inner, &[true, true, true]);
        let at = Instant::now();
        inner.lock().overdue.extend([(at, 0), (at + Duration::from_millis(1), 1)]);
        inner.end("being killed", Blame::Overdue(at));
        assert_eq!(spared(&inner, answers), (vec![false, true, true], vec![0]));
        assert!(inner.company.try_write().is_ok(), "none of them is there any more");
    }

    #[tokio::test]
    async fn what_had_not_begun_is_spared_and_so_is_all_where_the_culprit_is_known() {
        let marked = inner(2);
        let answers = jobs(&marked, &[false, true]);
        marked.end("SIGFPE", Blame::Running);
        assert_eq!(spared(&marked, answers), (vec![true, false], vec![1]));
        let closed = inner(2);
        let answers = jobs(&closed, &[false, true]);
        closed.close();
        closed.end("being closed", Blame::Running);
        assert_eq!(spared(&closed, answers), (vec![true, true], vec![]));
    }

    #[tokio::test]
    async fn marks_that_say_that_nothing_was_under_way_are_not_believed() {
        let inner = inner(1);
        let answers = jobs(&inner, &[false]);
        inner.end("SIGFPE", Blame::Running);
        assert_eq!(spared(&inner, answers), (vec![false], vec![0]));
    }
}
