//! Computing in a worker: alone, or as part of a batch.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, oneshot};

use super::job::{UnderWay, Window};
use super::{Inner, Loss, RemoteError, Worker};
use crate::Caller;
use crate::backend::{BackendError, Call};
use crate::batch::{Class, Meets};
use crate::graph::ComputeError;
use crate::protocol::{Head, Job, JobCall, Order};
use crate::strikes::Culprit;
use crate::windows::{Fare, NoWindow, Passenger, Place, Ride};
use hospes_admission::{Late, Wish};
use hospes_core::tensor::Tensor;
use hospes_worker::ChannelError;
use hospes_worker::channel::MESSAGE_BYTES_MAX;

/// A computation, its caller, and whether it must run alone.
pub(crate) struct Task<'c> {
    pub(crate) model: u32,
    pub(crate) call: Call,
    pub(crate) wish: Wish,
    pub(crate) culprit: &'c Culprit,
    pub(crate) alone: bool,
    /// The axis along which it may be joined with others.
    pub(crate) axis: Option<usize>,
}

impl Task<'_> {
    /// The computation as a part of a batch, if it may be one.
    fn ride(&self, inputs: &[Option<Tensor>]) -> Option<Ride> {
        let axis = self.axis.filter(|_| !self.alone && self.call.meets != Meets::Nobody)?;
        let (class, rows, bytes) = Class::of(axis, inputs)?;
        Some(Ride {
            model: self.model,
            class,
            rows,
            bytes,
            meets: self.call.meets,
            culprit: self.culprit.clone(),
            deadline: self.call.deadline,
            inputs: inputs.to_vec(),
        })
    }
}

/// A job's place among the running jobs of a worker. Dropping it frees the place.
#[expect(dead_code, reason = "they are held, not read")]
pub(crate) enum Company {
    Others(OwnedRwLockReadGuard<()>),
    Alone(OwnedRwLockWriteGuard<()>),
}

impl Worker {
    /// Computes a model's outputs; also returns the computing time in nanoseconds. Dropping the future cancels the computation.
    pub(crate) async fn compute(&self, task: Task<'_>, inputs: &[Option<Tensor>]) -> Fare {
        self.inner.compute(task, inputs).await
    }

    /// Whether a computation that came now would come too late.
    pub(crate) fn comes_too_late(&self, caller: Caller, wish: &Wish) -> Option<Late> {
        self.inner.windows.comes_too_late(caller, wish)
    }

    /// Takes a place among the running jobs. If `alone`, waits until all others have finished.
    pub(crate) async fn company(&self, alone: bool) -> Company {
        self.inner.company(alone).await
    }
}

impl Inner {
    async fn compute(self: &Arc<Self>, task: Task<'_>, inputs: &[Option<Tensor>]) -> Fare {
        let inner = self;
        let caller = task.call.caller;
        let place = inner.windows.take(caller, &task.wish, task.ride(inputs)).await;
        let number = match place {
            Ok(Place::Window(number)) => number,
            Ok(Place::Aboard(paid)) => {
                return paid.await.unwrap_or(Err(RemoteError::NotBegun));
            }
            Err(NoWindow::Closed) => return Err(RemoteError::NotBegun),
            Err(NoWindow::Late(late)) => return Err(RemoteError::Compute(late.into())),
        };
        let window = Window::new(inner, number);
        let ride = task.ride(inputs);
        let company = ride.as_ref().map(|ride| inner.windows.company(caller, ride));
        if let (Some(ride), Some(company)) = (ride, company)
            && !company.is_empty()
        {
            // It is no single caller's: whoever leaves must not stop it for the others.
            let (fare, paid) = oneshot::channel();
            let leader = Passenger { caller, estimate: 0, ride, fare };
            window.leave_to_batch();
            tokio::spawn(Batch { inner: Arc::clone(inner), number, leader, company }.run());
            return paid.await.unwrap_or(Err(RemoteError::NotBegun));
        }
        // After taking a window, so that a job that waits for a window does not block a job that must run alone.
        let company = self.company(task.alone).await;
        let what =
            What { model: task.model, call: task.call, culprits: vec![task.culprit.clone()] };
        perform(window, what, company, inputs).await
    }

    async fn company(&self, alone: bool) -> Company {
        let company = Arc::clone(&self.company);
        if alone {
            Company::Alone(company.write_owned().await)
        } else {
            Company::Others(company.read_owned().await)
        }
    }
}

/// What a job computes, and who is to blame if it ends the process.
struct What {
    model: u32,
    call: Call,
    culprits: Vec<Culprit>,
}

/// Runs a job in this window.
async fn perform(
    mut window: Window<'_>,
    what: What,
    company: Company,
    inputs: &[Option<Tensor>],
) -> Fare {
    let (inner, number) = (window.inner(), window.number());
    let heads: Vec<Option<Head>> =
        inputs.iter().map(|input| input.as_ref().map(Head::of)).collect();
    window.write_inputs(inputs, &heads).await.map_err(RemoteError::Compute)?;
    let (answer, answered) = oneshot::channel();
    let mut under_way = UnderWay::begin(window, what.culprits, company, answer)?;
    let (job, call) = (under_way.job, JobCall::of(&what.call));
    let job = Job { job, model: what.model, window: number, call, inputs: heads };
    let sent = if number < inner.layout.first() {
        inner.work.send_ready(&job).await
    } else {
        inner.control.send_ready(&Order::First(job)).await
    };
    match sent {
        Ok(()) => under_way.is_sent = true,
        Err(ChannelError::TooLong { bytes }) => {
            let text = format!(
                "its inputs take {bytes} bytes to describe, more than the {MESSAGE_BYTES_MAX} \
                 that they may"
            );
            let error = BackendError::Unsupported(text);
            return Err(RemoteError::Compute(ComputeError::Backend(error)));
        }
        // The connection is closed. The reason is known when the process has ended.
        Err(_gone) => inner.give_up(),
    }
    let answer = answered.await;
    under_way.is_over = true;
    let (result, nanos) =
        answer.unwrap_or_else(|_dropped| (Err(Loss::Ended(inner.how_it_ended())), None));
    under_way.window.nanos = nanos;
    match result {
        Ok(heads) => {
            let outputs = under_way.window.read_outputs(&heads).await;
            Ok((outputs.map_err(RemoteError::Compute)?, under_way.window.spent()))
        }
        Err(Loss::Bystander) => Err(RemoteError::NotBegun),
        Err(Loss::Ended(how)) => {
            Err(RemoteError::Compute(ComputeError::Lost { how: how.to_string() }))
        }
        Err(Loss::Job(error)) => Err(RemoteError::Compute(inner.error(error))),
    }
}

/// Several computations as one job.
struct Batch {
    inner: Arc<Inner>,
    /// The leader's window.
    number: u32,
    leader: Passenger,
    company: Vec<Passenger>,
}

impl Batch {
    /// Computes the batch and tells each member what it gets. If all have left, it is cancelled.
    async fn run(self) {
        let Self { inner, number, leader, company } = self;
        let caller = leader.caller;
        let (class, model) = (leader.ride.class.clone(), leader.ride.model);
        let mut members: Vec<(Ride, Caller, u64)> = Vec::with_capacity(1 + company.len());
        let mut fares: Vec<oneshot::Sender<Fare>> = Vec::with_capacity(1 + company.len());
        for Passenger { caller, estimate, ride, fare } in std::iter::once(leader).chain(company) {
            members.push((ride, caller, estimate));
            fares.push(fare);
        }
        let rows: Vec<usize> = members.iter().map(|(ride, ..)| ride.rows).collect();
        let all: usize = rows.iter().sum();
        inner.windows.count_batch(all);
        let mut window = Window::new(&inner, number);
        window.part = (rows.first().copied().unwrap_or(all), all);
        let each: Vec<&[Option<Tensor>]> =
            members.iter().map(|(ride, ..)| ride.inputs.as_slice()).collect();
        let Some(joined) = class.join(&each) else {
            return share(fares, Vec::new(), || RemoteError::Alone { for_good: true });
        };
        let deadline = members.iter().map(|(ride, ..)| ride.deadline).max();
        let call = Call::of_nobody(deadline.unwrap_or_else(Instant::now));
        let culprits = members.iter().map(|(ride, ..)| ride.culprit.clone()).collect();
        let what = What { model, call: Call { caller, ..call }, culprits };
        let company = Arc::clone(&inner.company).read_owned().await;
        let computed = perform(window, what, Company::Others(company), &joined);
        let computed = tokio::select! {
            biased;
            computed = computed => computed,
            () = all_left(&mut fares) => return,
        };
        let of = |nanos: u64, rows: usize| nanos / all.max(1) as u64 * rows as u64;
        match computed {
            Ok((outputs, nanos)) => {
                for ((_, caller, estimate), rows) in members.iter().zip(&rows).skip(1) {
                    inner.windows.settle(*caller, *estimate, of(nanos, *rows));
                }
                let parts = class.split(&outputs, &rows).unwrap_or_default();
                let parts =
                    parts.into_iter().zip(&rows).map(|(part, rows)| (part, of(nanos, *rows)));
                share(fares, parts.collect(), || RemoteError::Alone { for_good: true });
            }
            Err(RemoteError::NotBegun) => share(fares, Vec::new(), || RemoteError::NotBegun),
            // One member's inputs may be to blame, or that they were too many: each learns alone what is wrong with its own.
            Err(RemoteError::Compute(_) | RemoteError::Alone { .. }) => {
                share(fares, Vec::new(), || RemoteError::Alone { for_good: false });
            }
        }
    }
}

/// Gives each member its part. Without parts, each gets the error.
fn share(
    fares: Vec<oneshot::Sender<Fare>>,
    parts: Vec<(Vec<Tensor>, u64)>,
    error: impl Fn() -> RemoteError,
) {
    let mut parts = parts.into_iter();
    for fare in fares {
        // Who has left does not need it.
        let _ = fare.send(parts.next().ok_or_else(&error));
    }
}

/// Waits until every member has left.
async fn all_left(fares: &mut [oneshot::Sender<Fare>]) {
    for fare in fares {
        fare.closed().await;
    }
}

#[cfg(test)]
mod tests;
