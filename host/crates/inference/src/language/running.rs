//! The host's side of a decoder's process. It is untrusted: it may answer anything, late or never.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::worker::{Order, Report, VERSION};
use crate::LoadError;
use crate::pool::Pool;
use crate::seats::Seat;
use crate::strikes::{Culprit, Owned};
use hospes_core::backend::BackendKind;
use hospes_core::language::{Failure, Finish, Part, Refusal, TextPiece};
use hospes_language::{Answer, Ask, PROMPT_BYTES_MAX, Payload, Tell};
use hospes_worker::channel::{Buffer, Received, Watched};
use hospes_worker::{ChannelError, Process, Role, Share, Spawned};

/// How long a process may take to become ready.
const READY_TIMEOUT: Duration = Duration::from_secs(20);

/// Threads of a process: those of the engine, of texts, of what is asked, and its first.
const THREADS: u64 = 4;

/// Maximum bytes of a job's payload: a prompt, and the names around it.
const PAYLOAD_BYTES_MAX: usize = 2 * PROMPT_BYTES_MAX;

/// Bytes of a payload that go into one message.
const PART_BYTES: usize = 96 << 10;

/// News of a generation that its reader has not taken. A generation has no more tokens granted, and its end.
pub(super) const NEWS_MAX: usize = 64;

/// News of a generation.
#[derive(Debug)]
pub(super) enum News {
    Piece(TextPiece),
    End(Result<(u32, Finish), Failure>),
}

/// Who waits for a job.
enum Waiter {
    Once(oneshot::Sender<Result<Answer, Failure>>),
    Stream(mpsc::Sender<News>),
}

/// A decoder's process. Dropping it ends the process.
pub(super) struct Running {
    inner: Arc<Inner>,
    asks: mpsc::UnboundedSender<Ask>,
    /// Dropping it tells the watching task to end the process.
    _open: oneshot::Sender<()>,
    process: u32,
    _seat: Seat,
}

struct Inner {
    /// Jobs with their callers.
    jobs: Mutex<HashMap<u64, (u64, Waiter)>>,
    ended: Mutex<Option<String>>,
    alive: AtomicBool,
    next_job: AtomicU64,
    next_sequence: AtomicU32,
}

impl Running {
    /// Starts a process and loads the model into it.
    pub(super) async fn start(
        pool: &Arc<Pool>,
        owned: Owned,
        (file, bytes): (OwnedFd, u64),
    ) -> Result<Arc<Self>, LoadError> {
        let lost = |error: &dyn std::fmt::Display| LoadError::Decoder(error.to_string());
        let seat = pool.seat(&owned.publisher);
        let seat = seat.map_err(|_none| LoadError::Workers { max: pool.workers_max() })?;
        let (program, limits, libraries) = pool.for_decoders();
        let share = Share::new(&limits, 0, THREADS);
        let spawned = Process::spawn(program, Role::Language, share).await;
        let Spawned { process, work, control } = spawned.map_err(|error| lost(&error))?;
        process.lines().belongs_to(pool.allowance(&owned.publisher));
        let ends = Watched::new(work).and_then(|work| Ok((work, Watched::new(control)?)));
        let (work, control) = ends.map_err(|error| lost(&error))?;
        let setup = Order::Setup { version: VERSION, limits, libraries };
        control.send(&setup, None).map_err(|error| lost(&error))?;
        let mut buffer = Buffer::default();
        let ready = tokio::time::timeout(READY_TIMEOUT, control.receive(&mut buffer)).await;
        match ready {
            Ok(Ok(Some(Received {
                message: Report::Ready { version: VERSION, usable, .. },
                file: None,
            }))) => usable.map_err(|error| LoadError::Unusable {
                kind: BackendKind::Onnxruntime,
                reason: error.to_string(),
            })?,
            Ok(_) => return Err(LoadError::Decoder(end_of(process).await)),
            Err(_elapsed) => return Err(LoadError::Decoder("it was not ready in time".into())),
        }
        let load = Order::Load { bytes };
        control.send(&load, Some(file.as_fd())).map_err(|error| lost(&error))?;
        match control.receive(&mut buffer).await {
            Ok(Some(Received { message: Report::Loaded(loaded), file: None })) => {
                loaded.map_err(|error| lost(&error))?;
            }
            Ok(_) | Err(_) => return Err(LoadError::Decoder(end_of(process).await)),
        }
        Ok(Self::new(pool, owned, seat, process, (work, control)))
    }

    fn new(
        pool: &Arc<Pool>,
        owned: Owned,
        seat: Seat,
        process: Process,
        (work, control): (Watched, Watched),
    ) -> Arc<Self> {
        let inner = Arc::new(Inner {
            jobs: Mutex::default(),
            ended: Mutex::default(),
            alive: AtomicBool::new(true),
            next_job: AtomicU64::new(1),
            next_sequence: AtomicU32::new(1),
        });
        let (asks, asked) = mpsc::unbounded_channel();
        let (open, closed) = oneshot::channel();
        let number = process.id();
        let work = Arc::new(work);
        tokio::spawn(write(Arc::clone(&work), asked));
        let watched = Watching { inner: Arc::clone(&inner), pool: Arc::clone(pool), owned };
        tokio::spawn(watched.watch(process, (work, control), closed));
        Arc::new(Self { inner, asks, _open: open, process: number, _seat: seat })
    }

    pub(super) fn is_alive(&self) -> bool {
        self.inner.alive.load(Ordering::Acquire)
    }

    pub(super) fn process(&self) -> u32 {
        self.process
    }

    /// A new job's number.
    pub(super) fn job(&self) -> u64 {
        self.inner.next_job.fetch_add(1, Ordering::Relaxed)
    }

    /// A new sequence's number.
    pub(super) fn sequence(&self) -> u32 {
        self.inner.next_sequence.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends what needs no answer. If the process has ended, that says nothing new.
    pub(super) fn tell(&self, ask: Ask) {
        let _ = self.asks.send(ask);
    }

    /// Sends a job and waits for its answer.
    pub(super) async fn ask(&self, caller: u64, job: u64, ask: Ask) -> Result<Answer, Failure> {
        let (answer, answered) = oneshot::channel();
        self.register(caller, job, Waiter::Once(answer))?;
        self.tell(ask);
        answered.await.unwrap_or_else(|_dropped| Err(self.inner.lost()))
    }

    /// Sends a generation, and returns its news.
    pub(super) fn generate(
        &self,
        caller: u64,
        job: u64,
        ask: Ask,
    ) -> Result<mpsc::Receiver<News>, Failure> {
        let (news, receiver) = mpsc::channel(NEWS_MAX);
        self.register(caller, job, Waiter::Stream(news))?;
        self.tell(ask);
        Ok(receiver)
    }

    /// Why a job got no answer.
    pub(super) fn lost(&self) -> Failure {
        self.inner.lost()
    }

    fn register(&self, caller: u64, job: u64, waiter: Waiter) -> Result<(), Failure> {
        let mut jobs = self.inner.jobs();
        // Under the lock: whoever ends the process takes all jobs afterwards.
        if !self.is_alive() {
            drop(jobs);
            return Err(self.inner.lost());
        }
        jobs.insert(job, (caller, waiter));
        Ok(())
    }
}

/// Sends a job's payload ahead of the job.
pub(super) fn payload(running: &Running, job: u64, payload: &Payload) -> Result<(), Failure> {
    let too_long = || {
        let text = format!("the prompt has more than {PAYLOAD_BYTES_MAX} bytes");
        Failure { why: Refusal::TooLong, text }
    };
    if let Payload::Parts(parts) = payload {
        let bytes = parts.iter().map(|part| match part {
            Part::Text(text) | Part::Special(text) => text.len() + 8,
            Part::Tokens(tokens) => tokens.len() * 4 + 8,
        });
        if bytes.sum::<usize>() > PAYLOAD_BYTES_MAX {
            return Err(too_long());
        }
    }
    let bytes = hospes_worker::channel::encode(payload).map_err(|_| too_long())?;
    if bytes.len() > PAYLOAD_BYTES_MAX {
        return Err(too_long());
    }
    for part in bytes.chunks(PART_BYTES) {
        running.tell(Ask::Bytes { job, bytes: part.to_vec() });
    }
    Ok(())
}

pub(super) fn invalid(text: &str) -> Failure {
    Failure { why: Refusal::Invalid, text: text.to_owned() }
}

impl Inner {
    /// Nothing panics while holding this lock.
    fn jobs(&self) -> MutexGuard<'_, HashMap<u64, (u64, Waiter)>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lost(&self) -> Failure {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let how = ended.as_deref().unwrap_or("being closed");
        let text = format!("the process in which the model ran ended by {how}: try again");
        Failure { why: Refusal::Busy, text }
    }

    /// Passes news on to who waits for it. An error if it makes no sense.
    fn hear(&self, told: Tell) -> Result<(), ()> {
        let mut jobs = self.jobs();
        match told {
            Tell::Done { job, result } => match jobs.remove(&job) {
                Some((_, Waiter::Once(answer))) => {
                    let _ = answer.send(result);
                }
                Some((_, Waiter::Stream(_))) => return Err(()),
                None => {}
            },
            Tell::Piece { job, piece } => match jobs.get(&job) {
                // A reader that has left has cancelled it. One that is there gets no more than it granted.
                Some((_, Waiter::Stream(news))) => match news.try_send(News::Piece(piece)) {
                    Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
                    Err(mpsc::error::TrySendError::Full(_)) => return Err(()),
                },
                Some((_, Waiter::Once(_))) => return Err(()),
                None => {}
            },
            Tell::End { job, result } => match jobs.remove(&job) {
                Some((_, Waiter::Stream(news))) => {
                    if let Err(mpsc::error::TrySendError::Full(_)) =
                        news.try_send(News::End(result))
                    {
                        return Err(());
                    }
                }
                Some((_, Waiter::Once(_))) => return Err(()),
                None => {}
            },
        }
        Ok(())
    }
}

/// Writes what is asked, in order.
async fn write(work: Arc<Watched>, mut asked: mpsc::UnboundedReceiver<Ask>) {
    while let Some(ask) = asked.recv().await {
        match work.send_ready(&ask).await {
            Ok(()) | Err(ChannelError::TooLong { .. } | ChannelError::Malformed(_)) => {}
            // The process has ended, and the watching task knows.
            Err(_gone) => return,
        }
    }
}

/// What the task that watches a process knows.
struct Watching {
    inner: Arc<Inner>,
    pool: Arc<Pool>,
    owned: Owned,
}

impl Watching {
    /// Hears the process until it ends or nobody needs it.
    async fn watch(
        self,
        mut process: Process,
        (work, control): (Arc<Watched>, Watched),
        mut closed: oneshot::Receiver<()>,
    ) {
        let (mut buffer, mut other) = (Buffer::default(), Buffer::default());
        let (mut is_closed, mut how) = (false, None);
        loop {
            tokio::select! {
                _ = &mut closed => {
                    is_closed = true;
                    break;
                }
                status = process.wait() => {
                    how = Some(ending(&process, &status));
                    break;
                }
                heard = work.receive::<Tell>(&mut buffer) => {
                    let understood = match heard {
                        Ok(Some(Received { message, file: None })) => self.inner.hear(message),
                        Ok(_) | Err(_) => Err(()),
                    };
                    if understood.is_err() {
                        break;
                    }
                }
                // It says nothing after it has loaded, so it is ending.
                _ = control.receive::<Report>(&mut other) => break,
            }
        }
        self.inner.alive.store(false, Ordering::Release);
        let how = match how {
            Some(how) => how,
            None if is_closed => "being closed".to_owned(),
            None => end_of(process).await,
        };
        self.end(&how, is_closed);
    }

    /// Fails all jobs. Their callers may be to blame.
    fn end(self, how: &str, is_closed: bool) {
        *self.inner.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(how.to_owned());
        let jobs = std::mem::take(&mut *self.inner.jobs());
        if !is_closed {
            let owned = &self.owned;
            tracing::warn!(publisher = %owned.publisher, model = %owned.model, %how, "a decoder's process ended");
            let culprits =
                jobs.values().map(|(caller, _)| Culprit::computing(owned.clone(), *caller));
            let culprits: HashSet<Culprit> = culprits.collect();
            self.pool.strikes.blame(&culprits, how);
        }
        // Dropping the waiters tells them.
        drop(jobs);
    }
}

/// How long a process that has closed its connection may take to end. A busy machine takes a while to free what it has mapped.
const END_GRACE: Duration = Duration::from_secs(1);

/// How a process ended that has closed its connection, or else is killed.
async fn end_of(mut process: Process) -> String {
    let by_itself = tokio::time::timeout(END_GRACE, process.wait()).await;
    match by_itself {
        Ok(status) => ending(&process, &status),
        Err(_elapsed) => {
            process.kill();
            "being killed, because it said something that makes no sense".to_owned()
        }
    }
}

fn ending(process: &Process, status: &std::io::Result<std::process::ExitStatus>) -> String {
    match status {
        Ok(status) => process.ending(status),
        Err(error) => format!("an unknown end ({error})"),
    }
}
