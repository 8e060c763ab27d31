//! The process of a decoder: one thread computes, one prepares texts, one listens.
//!
//! It has one model until it ends. As any worker it trusts its host and reaches nothing else.

use std::collections::HashMap;
use std::fs::File;
use std::num::NonZeroUsize;
use std::os::fd::AsFd as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::forward::Loaded;
use super::{mapped, plan};
use crate::backend::{BackendError, Needs, onnxruntime};
use crate::worker::WorkerError;
use hospes_core::language::{Failure, Refusal};
use hospes_decoder::Decoder;
use hospes_language::{Ask, Engine, Event, Forward as _, Preparer, Task, Tell, Text};
use hospes_worker::channel::{Buffer, MESSAGE_BYTES_MAX, Received, decode};
use hospes_worker::confine::{confine_around, exit_now, start_no_more_threads};
use hospes_worker::{ChannelError, Confinement, End, Limits};

/// Host and worker must have the same version.
pub(super) const VERSION: u32 = 1;

/// How long the engine sleeps while something waits that a deadline may end.
const NAP: Duration = Duration::from_millis(100);

/// News that the engine has not taken. The listener waits beyond that, and so does the host.
const NEWS_MAX: usize = 1024;

/// A control message from the host.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// The first message.
    Setup { version: u32, limits: Limits, libraries: Vec<PathBuf> },
    /// Loads the decoder from the file that comes with this message. The host has read it before.
    Load { bytes: u64 },
}

/// A control message from the worker.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    Ready { version: u32, usable: Result<(), BackendError>, confinement: Confinement },
    Loaded(Result<(), BackendError>),
}

/// Runs a decoder until the host closes the connection.
///
/// # Errors
/// [`WorkerError`].
pub fn run(work: End, control: &End) -> Result<(), WorkerError> {
    let mut buffer = Buffer::default();
    let Some(Received { message: Order::Setup { version, limits, libraries }, file: None }) =
        control.receive(&mut buffer)?
    else {
        return Err(WorkerError::Unexpected);
    };
    if version != VERSION {
        return Err(WorkerError::Version);
    }
    let needs =
        Needs { libraries: &libraries, threads: NonZeroUsize::MIN, all_threads: NonZeroUsize::MIN };
    let mapped = onnxruntime::begin(&needs);
    let keep = [work.as_fd(), control.as_fd()];
    let (confinement, runtime) = confine_around(limits, &keep, || mapped.and_then(|begin| begin()));
    let usable = runtime.as_ref().map(|_| ()).map_err(Clone::clone);
    control.send(&Report::Ready { version: VERSION, usable, confinement }, None)?;
    let Some(Received { message: Order::Load { bytes }, file: Some(file) }) =
        control.receive(&mut buffer)?
    else {
        return Ok(());
    };
    let loaded = runtime.and_then(|runtime| {
        let loading = catch_unwind(AssertUnwindSafe(|| load(&runtime, &file.into(), bytes)));
        loading.unwrap_or(Err(BackendError::Panicked))
    });
    match loaded {
        Ok(loaded) => {
            start(&Arc::new(work), loaded)?;
            start_no_more_threads();
            control.send(&Report::Loaded(Ok(())), None)?;
        }
        Err(error) => control.send(&Report::Loaded(Err(error)), None)?,
    }
    match control.receive::<Order>(&mut buffer)? {
        None => Ok(()),
        Some(_) => Err(WorkerError::Unexpected),
    }
}

/// Loads the process's only model, which stays until it ends.
fn load(
    runtime: &onnxruntime::OnnxRuntime,
    file: &File,
    bytes: u64,
) -> Result<(Loaded, Arc<Text>), BackendError> {
    let failed = |error: &dyn std::fmt::Display| BackendError::Failed(error.to_string());
    let mapped = mapped::map(file, bytes).map_err(|error| failed(&error))?;
    let mapped: &'static mapped::Mapped = Box::leak(Box::new(mapped));
    let decoder = Decoder::open(mapped.bytes()).map_err(|error| failed(&error))?;
    let config = decoder.config();
    let text = Text::new(decoder.tokenizer(), config.vocabulary as usize, &config.eos);
    let text = text.map_err(|error| failed(&error))?;
    Ok((Loaded::new(runtime, &decoder, plan::rows(config))?, Arc::new(text)))
}

fn start(work: &Arc<End>, (mut loaded, text): (Loaded, Arc<Text>)) -> Result<(), WorkerError> {
    let (news, taken) = mpsc::sync_channel::<Event>(NEWS_MAX);
    // As many as there are jobs: the host limits those.
    let (tasks, prepared) = mpsc::channel::<Task>();
    // Without one of its threads the process is useless, and the host must know.
    let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
        let thread = std::thread::Builder::new().name(name.into());
        let body = move || match catch_unwind(AssertUnwindSafe(body)) {
            Ok(()) => exit_now(),
            Err(_panic) => std::process::abort(),
        };
        thread.spawn(body).map(drop).map_err(WorkerError::Thread)
    };
    let length = loaded.cache().shape().length;
    let preparer = Preparer::new(Arc::clone(&text), length);
    let teller = Arc::clone(work);
    let (to_engine, to_host) = (news.clone(), Arc::clone(work));
    spawn("text", Box::new(move || prepare(&preparer, &prepared, &to_engine, &to_host)))?;
    let listener = Arc::clone(work);
    spawn("listen", Box::new(move || listen(&listener, &news, &tasks)))?;
    let engine = Engine::new(loaded, text, plan::settings(), move |told| tell(&teller, &told));
    spawn("engine", Box::new(move || compute(engine, &taken)))
}

/// Sends news. If that fails, the host is gone, and the main thread ends the process.
fn tell(work: &End, told: &Tell) {
    let Err(ChannelError::TooLong { bytes }) = work.send(told, None) else { return };
    let text = format!("the answer has {bytes} bytes, more than {MESSAGE_BYTES_MAX}");
    let failure = Failure { why: Refusal::Invalid, text };
    let _ = work.send(
        &match told {
            Tell::Done { job, .. } => Tell::Done { job: *job, result: Err(failure) },
            Tell::Piece { job, .. } | Tell::End { job, .. } => {
                Tell::End { job: *job, result: Err(failure) }
            }
        },
        None,
    );
}

fn listen(work: &End, news: &mpsc::SyncSender<Event>, tasks: &mpsc::Sender<Task>) {
    let mut buffer = Buffer::default();
    let mut payloads: HashMap<u64, Vec<u8>> = HashMap::new();
    while let Ok(Some(Received { message, file: None })) = work.receive::<Ask>(&mut buffer) {
        let (job, sequence) = match &message {
            Ask::Bytes { job, bytes } => {
                payloads.entry(*job).or_default().extend_from_slice(bytes);
                continue;
            }
            Ask::Count { job } => (*job, None),
            Ask::Append { job, sequence } | Ask::Generate { job, sequence, .. } => {
                (*job, Some(*sequence))
            }
            _ => {
                if news.send(Event::Ask(message)).is_err() {
                    return;
                }
                continue;
            }
        };
        let payload = payloads.remove(&job).and_then(|bytes| decode(&bytes).ok());
        // A message that does not decode is not the host's: the process is useless then.
        let Some(task) = payload.and_then(|payload| Task::of(message, payload)) else { return };
        if let Some(sequence) = sequence
            && news.send(Event::Preparing { job, sequence }).is_err()
        {
            return;
        }
        if tasks.send(task).is_err() {
            return;
        }
    }
}

fn prepare(
    preparer: &Preparer,
    tasks: &mpsc::Receiver<Task>,
    news: &mpsc::SyncSender<Event>,
    work: &End,
) {
    for task in tasks {
        match preparer.prepare(task) {
            Ok(prepared) => {
                if news.send(Event::Prepared(prepared)).is_err() {
                    return;
                }
            }
            Err(told) => tell(work, &told),
        }
    }
}

/// The engine's loop: takes all news, then computes a turn.
fn compute(mut engine: Engine<Loaded>, news: &mpsc::Receiver<Event>) {
    loop {
        if !engine.has_work() {
            let waits = engine.has_deadlines();
            let event =
                if waits { news.recv_timeout(NAP) } else { news.recv().map_err(Into::into) };
            match event {
                Ok(event) => engine.take(event),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
        }
        while let Ok(event) = news.try_recv() {
            engine.take(event);
        }
        engine.turn(Instant::now());
    }
}
