//! A job in a worker: its window of the shared memory, and how it is cancelled when its caller leaves.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::{Answer, Company, Inner, RemoteError, Running};
use crate::graph::ComputeError;
use crate::protocol::{Head, Order};
use crate::strikes::Culprit;
use hospes_core::tensor::Tensor;

/// How long a worker has to release a cancelled job.
pub(super) const CANCEL_GRACE: Duration = Duration::from_millis(250);

/// If a cancelled job ran for a shorter time than this and the worker must be killed for it, the caller is to blame, not the model. Many
/// honest models exceed a deadline of a few milliseconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes to copy from or to shared memory before yielding to other tasks.
const COPY_BYTES: usize = 1 << 20;

/// Bytes of a window's part that may stay resident between jobs.
const RESIDENT_BYTES: usize = 4 << 20;

/// A window of the shared memory. It is returned when dropped, unless the worker still uses it.
pub(super) struct Window<'w> {
    inner: &'w Arc<Inner>,
    number: u32,
    /// Whether the worker still runs a job in it whose caller has left.
    is_busy: bool,
    written: usize,
    /// Bytes copied since the last yield.
    copied: usize,
    /// Computing time in nanoseconds, if the worker has reported it.
    pub(super) nanos: Option<u64>,
    /// Its owner's rows of those that are computed in it, and all of them. The owner is charged for its own.
    pub(super) part: (usize, usize),
    since: Instant,
}

impl<'w> Window<'w> {
    pub(super) fn new(inner: &'w Arc<Inner>, number: u32) -> Self {
        let (part, since) = ((1, 1), Instant::now());
        Self { inner, number, is_busy: false, written: 0, copied: 0, nanos: None, part, since }
    }

    pub(super) fn inner(&self) -> &'w Arc<Inner> {
        self.inner
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// Leaves the window to the batch that is computed in it, and returns it.
    pub(super) fn leave_to_batch(mut self) {
        self.is_busy = true;
    }

    /// The computing time so far in nanoseconds: what the worker has reported, but no more than the time since the window was taken.
    pub(super) fn spent(&self) -> u64 {
        let held = u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.nanos.map_or(held, |nanos| nanos.min(held))
    }

    /// Yields before `bytes` more are copied, if [`COPY_BYTES`] were copied since the last yield.
    async fn give_turns(&mut self, bytes: usize) {
        if self.copied >= COPY_BYTES {
            self.copied = 0;
            tokio::task::yield_now().await;
        }
        self.copied += bytes;
    }

    pub(super) async fn write_inputs(
        &mut self,
        inputs: &[Option<Tensor>],
        heads: &[Option<Head>],
    ) -> Result<(), ComputeError> {
        let layout = self.inner.layout;
        let lost = || ComputeError::TooLarge {
            what: "inputs",
            bytes: heads.iter().flatten().map(|head| head.bytes).fold(0, usize::saturating_add),
            max: layout.part_bytes,
        };
        let places = layout.places(heads.iter().flatten()).ok_or_else(lost)?;
        for (input, place) in inputs.iter().flatten().zip(places) {
            let mut at = layout.inputs(self.number) + place;
            for piece in input.data().chunks(COPY_BYTES) {
                self.give_turns(piece.len()).await;
                self.inner.memory.write(at, piece).map_err(|_| lost())?;
                at += piece.len();
                self.written += piece.len();
            }
        }
        Ok(())
    }

    /// Copies the outputs before anything reads them, because the worker can still write to the window.
    pub(super) async fn read_outputs(
        &mut self,
        heads: &[Head],
    ) -> Result<Vec<Tensor>, ComputeError> {
        let layout = self.inner.layout;
        let untrue = |what: &str| ComputeError::Lost { how: format!("an answer of {what}") };
        let places =
            layout.places(heads).ok_or_else(|| untrue("more bytes than there is room for"))?;
        let mut outputs = Vec::with_capacity(heads.len());
        for (head, place) in heads.iter().zip(places) {
            let mut data = Vec::with_capacity(head.bytes);
            while data.len() < head.bytes {
                let at = layout.outputs(self.number) + place + data.len();
                let piece = (head.bytes - data.len()).min(COPY_BYTES);
                self.give_turns(piece).await;
                let read = self.inner.memory.read(at, piece, &mut data);
                read.map_err(|_| untrue("more bytes than there is room for"))?;
            }
            self.written = self.written.max(place + head.bytes);
            let tensor = Tensor::new(head.data_type, head.shape.clone(), data.into());
            outputs.push(tensor.map_err(|_| untrue("something that is not a tensor"))?);
        }
        Ok(outputs)
    }
}

impl Drop for Window<'_> {
    fn drop(&mut self) {
        if !self.is_busy {
            let (own, all) = self.part;
            let nanos = self.nanos.map(|nanos| nanos / all.max(1) as u64 * own as u64);
            self.inner.free(self.number, self.written > RESIDENT_BYTES, nanos);
        }
    }
}

/// A job that the worker has, with its window. If it is dropped before it is over, it is cancelled, and the window is free when the worker
/// has released it.
pub(super) struct UnderWay<'w> {
    pub(super) window: Window<'w>,
    pub(super) job: u64,
    /// Whether the job was sent to the worker.
    pub(super) is_sent: bool,
    pub(super) is_over: bool,
}

impl<'w> UnderWay<'w> {
    pub(super) fn begin(
        window: Window<'w>,
        culprits: Vec<Culprit>,
        company: Company,
        answer: oneshot::Sender<Answer>,
    ) -> Result<Self, RemoteError> {
        let inner = window.inner;
        let job = inner.next_job.fetch_add(1, Ordering::Relaxed);
        let mut state = inner.lock();
        if state.ended.is_some() {
            return Err(RemoteError::NotBegun);
        }
        let (number, began) = (window.number, Instant::now());
        let running =
            Running { window: number, culprits, began, answer, left: false, _company: company };
        state.running.insert(job, running);
        drop(state);
        Ok(Self { window, job, is_sent: false, is_over: false })
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let inner = self.window.inner;
        let mut state = inner.lock();
        if !self.is_sent {
            // Not cancelled: the worker would wait for a job to skip that never comes.
            let unsent = state.running.remove(&self.job);
            drop(state);
            drop(unsent);
            return;
        }
        // If the job has ended already, dropping this frees the window.
        let Some(running) = state.running.get_mut(&self.job) else { return };
        running.left = true;
        self.window.is_busy = true;
        state.overdue.insert((Instant::now() + CANCEL_GRACE, self.job));
        drop(state);
        let order = Order::Cancel { job: self.job, window: self.window.number };
        if inner.control.send(&order, None).is_err() {
            inner.give_up();
        }
        inner.changed.notify_one();
    }
}
