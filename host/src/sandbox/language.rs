//! `hospes:plugin/language`: sequences of the bundle's decoder models, as handles.
//!
//! The model's engine keeps tokens, cache and batch. This keeps a call's part of it: how many sequences it has, when it must end, and which
//! tokens its agreement still permits. Dropping a handle or a stream, or ending the call, cancels in the engine.

mod convert;
mod meter;
mod pieces;

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};
use wasmtime::component::{Accessor, HasSelf, Resource, StreamReader};

use super::bindings::language::hospes::plugin0_2_0::language as wit;
use super::context::CallState;
use super::limits::LimitReached;
use crate::inference::{Sequence, Speaker};
use crate::language::{Failure, Part, Refusal};

pub(super) use meter::Meter;
use pieces::Spoken;

/// The decoder models of one bundle, by the names that its code may open.
pub type Speakers = Arc<HashMap<Box<str>, Speaker>>;

/// Sequences that a call may have at once: the most answers to one request, and as many again to compare or rank with.
const SEQUENCES_MAX: usize = 16;

/// Bytes of text and tokens that one `append` or `count` may have. No context takes as many; the host need not copy more to find out.
const PROMPT_BYTES_MAX: usize = 4 << 20;

/// A sequence with a guest handle.
pub struct GuestSequence(Arc<Mutex<Sequence>>);

impl GuestSequence {
    /// The sequence, unless a generation is just beginning on it. Waiting for that could wait for the caller itself.
    fn take(&self) -> Result<OwnedMutexGuard<Sequence>, wit::Failure> {
        Arc::clone(&self.0).try_lock_owned().map_err(|_| {
            invalid("a generation of this sequence is just beginning: await it first".into())
        })
    }
}

/// Failures are values for the guest; only the call's own limits end it.
type Answer<T> = wasmtime::Result<Result<T, wit::Failure>>;

impl CallState {
    fn speaker(&self, model: &str) -> Result<Speaker, wit::Failure> {
        let speakers = &self.context.speakers;
        speakers.get(model).cloned().ok_or_else(|| {
            let mut names: Vec<_> = speakers.keys().map(|name| format!("`{name}`")).collect();
            names.sort_unstable();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            invalid(format!("this bundle has no language model `{model}`; it has: {names}"))
        })
    }

    fn push_sequence(&mut self, sequence: Sequence) -> wasmtime::Result<Resource<GuestSequence>> {
        let handle = self.table.push(GuestSequence(Arc::new(Mutex::new(sequence))))?;
        self.sequences += 1;
        Ok(handle)
    }

    fn check_room(&self) -> Result<(), wit::Failure> {
        if self.sequences < SEQUENCES_MAX {
            return Ok(());
        }
        Err(wit::Failure {
            why: wit::Refusal::Busy,
            text: format!("a call has at most {SEQUENCES_MAX} sequences at once: drop one"),
        })
    }
}

impl wit::Host for CallState {
    async fn open(&mut self, model: String) -> Answer<Resource<GuestSequence>> {
        self.check_started()?;
        let speaker = match self.check_room().and_then(|()| self.speaker(&model)) {
            Ok(speaker) => speaker,
            Err(failure) => return Ok(Err(failure)),
        };
        let opened = speaker.open(self.computes_for(), self.context.scope);
        match self.ends().bound(opened).await? {
            Ok(sequence) => self.push_sequence(sequence).map(Ok),
            Err(failure) => refused(failure),
        }
    }

    fn describe(&mut self, model: String) -> Answer<wit::About> {
        self.check_started()?;
        Ok(self.speaker(&model).map(|speaker| speaker.about().into()))
    }

    async fn count(&mut self, model: String, parts: Vec<wit::Part>) -> Answer<u32> {
        self.check_started()?;
        let (speaker, parts) = match self.speaker(&model).and_then(|it| Ok((it, prompt(parts)?))) {
            Ok(found) => found,
            Err(failure) => return Ok(Err(failure)),
        };
        let counted = speaker.count(self.computes_for(), parts);
        self.ends().bound(counted).await?.map_or_else(refused, |tokens| Ok(Ok(tokens)))
    }
}

impl wit::HostSequence for CallState {
    async fn append(
        &mut self,
        handle: Resource<GuestSequence>,
        parts: Vec<wit::Part>,
    ) -> Answer<u32> {
        let sequence = self.table.get(&handle)?.take();
        let (mut sequence, parts) = match sequence.and_then(|it| Ok((it, prompt(parts)?))) {
            Ok(taken) => taken,
            Err(failure) => return Ok(Err(failure)),
        };
        let cached = sequence.totals().cached;
        let tokens = self.meter.of_prompt();
        let appended = self.ends().bound(sequence.append(parts, &tokens)).await?;
        self.meter.cached(sequence.totals().cached.saturating_sub(cached));
        appended.map_or_else(refused, |tokens| Ok(Ok(tokens)))
    }

    async fn fork(&mut self, handle: Resource<GuestSequence>) -> Answer<Resource<GuestSequence>> {
        let sequence = self.table.get(&handle)?.take();
        let mut sequence = match self.check_room().and(sequence) {
            Ok(sequence) => sequence,
            Err(failure) => return Ok(Err(failure)),
        };
        match self.ends().bound(sequence.fork()).await? {
            Ok(fork) => self.push_sequence(fork).map(Ok),
            Err(failure) => refused(failure),
        }
    }

    async fn truncate(&mut self, handle: Resource<GuestSequence>, tokens: u32) -> Answer<()> {
        match self.table.get(&handle)?.take() {
            Ok(mut sequence) => {
                let truncated = self.ends().bound(sequence.truncate(tokens)).await?;
                truncated.map_or_else(refused, |()| Ok(Ok(())))
            }
            Err(failure) => Ok(Err(failure)),
        }
    }

    async fn next(
        &mut self,
        handle: Resource<GuestSequence>,
        count: u8,
    ) -> Answer<Vec<wit::Likely>> {
        match self.table.get(&handle)?.take() {
            Ok(mut sequence) => {
                let next = self.ends().bound(sequence.next(count)).await?;
                next.map_or_else(refused, |next| Ok(Ok(next.into_iter().map(Into::into).collect())))
            }
            Err(failure) => Ok(Err(failure)),
        }
    }

    async fn hidden(&mut self, handle: Resource<GuestSequence>) -> Answer<Vec<f32>> {
        match self.table.get(&handle)?.take() {
            Ok(mut sequence) => {
                let hidden = self.ends().bound(sequence.hidden()).await?;
                hidden.map_or_else(refused, |hidden| Ok(Ok(hidden)))
            }
            Err(failure) => Ok(Err(failure)),
        }
    }

    fn drop(&mut self, handle: Resource<GuestSequence>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        self.sequences -= 1;
        Ok(())
    }
}

impl<T: Send> wit::HostSequenceWithStore<T> for HasSelf<CallState> {
    async fn generate(
        accessor: &Accessor<T, Self>,
        handle: Resource<GuestSequence>,
        how: wit::Sampling,
        until: wit::Until,
    ) -> Answer<StreamReader<wit::Piece>> {
        let (sequence, ends, tokens) = accessor.with(|mut access| -> wasmtime::Result<_> {
            let state = access.get();
            let sequence = state.table.get(&handle)?.take();
            Ok((sequence, state.ends(), state.meter.of_completion()))
        })?;
        let mut sequence = match sequence {
            Ok(sequence) => sequence,
            Err(failure) => return Ok(Err(failure)),
        };
        match ends.bound(sequence.generate(how.into(), until.into(), tokens)).await? {
            Ok(pieces) => {
                accessor.with(|access| StreamReader::new(access, Spoken::new(pieces))).map(Ok)
            }
            Err(failure) => refused(failure),
        }
    }
}

/// The parts of a prompt, if it has a size that a context could have.
fn prompt(parts: Vec<wit::Part>) -> Result<Vec<Part>, wit::Failure> {
    let bytes = parts.iter().map(|part| match part {
        wit::Part::Text(text) | wit::Part::Special(text) => text.len(),
        wit::Part::Tokens(tokens) => size_of_val(tokens.as_slice()),
    });
    let bytes: usize = bytes.sum();
    if bytes > PROMPT_BYTES_MAX {
        return Err(wit::Failure {
            why: wit::Refusal::TooLong,
            text: format!("the prompt has {bytes} bytes; a host reads at most {PROMPT_BYTES_MAX}"),
        });
    }
    Ok(parts.into_iter().map(Into::into).collect())
}

fn invalid(text: String) -> wit::Failure {
    wit::Failure { why: wit::Refusal::Invalid, text }
}

/// The engine's refusal, for the guest. At the deadline the call ends, as everywhere.
fn refused<T>(failure: Failure) -> Answer<T> {
    match failure.why {
        Refusal::Deadline => Err(LimitReached::Deadline.into()),
        _ => Ok(Err(failure.into())),
    }
}
