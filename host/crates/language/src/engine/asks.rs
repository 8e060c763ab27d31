//! What the engine does with what hosts ask.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::{Engine, Event, Forward};
use crate::prepare::Prepared;
use crate::protocol::{Answer, Ask, Tell};
use crate::sequence::{Generation, Kept, Sequence, Then, Work};
use crate::text::too_long;
use hospes_core::language::{Failure, Finish, Refusal};

/// Maximum time until a call's deadline. Longer times are cut to this.
const LEFT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

impl<F: Forward> Engine<F> {
    /// Takes news.
    pub fn take(&mut self, event: Event) {
        match event {
            Event::Preparing { job, sequence } => {
                self.preparing.insert(job, sequence);
            }
            Event::Prepared(prepared) => self.prepared(prepared),
            Event::Ask(ask) => self.ask(&ask),
        }
    }

    fn ask(&mut self, ask: &Ask) {
        match *ask {
            Ask::Open { job, sequence, caller, weight, scope, left_nanos } => {
                let opened = self.open(sequence, (caller, weight), scope, left_nanos);
                self.done(job, opened.map(|()| Answer::Nothing));
            }
            Ask::Commit { job, sequence } => self.commit(job, sequence),
            Ask::Undo { sequence } => {
                if let Some(sequence) = self.sequences.get_mut(&sequence) {
                    sequence.appended.clear();
                }
            }
            Ask::Grant { job, tokens, last } => self.grant(job, tokens, last),
            Ask::Cancel { job } => self.cancel(job),
            Ask::Fork { job, sequence, child } => {
                let forked = self.fork(sequence, child);
                self.done(job, forked.map(|()| Answer::Nothing));
            }
            Ask::Truncate { job, sequence, tokens } => {
                let truncated = self.truncate(sequence, tokens as usize);
                self.done(job, truncated.map(|()| Answer::Nothing));
            }
            Ask::Likely { job, sequence, count } => self.look(job, sequence, Then::Likely(count)),
            Ask::Hidden { job, sequence } => self.look(job, sequence, Then::Hidden),
            Ask::Close { sequence } => self.close(sequence),
            // They come prepared.
            Ask::Bytes { .. } | Ask::Count { .. } | Ask::Append { .. } | Ask::Generate { .. } => {}
        }
    }

    fn done(&mut self, job: u64, result: Result<Answer, Failure>) {
        (self.tell)(Tell::Done { job, result });
    }

    fn open(
        &mut self,
        id: u32,
        caller: (u64, NonZeroU32),
        scope: Option<[u8; 32]>,
        left_nanos: u64,
    ) -> Result<(), Failure> {
        self.check_room()?;
        let deadline = Instant::now() + Duration::from_nanos(left_nanos).min(LEFT_MAX);
        self.sequences.insert(id, Sequence::new(caller, scope, deadline));
        Ok(())
    }

    fn check_room(&self) -> Result<(), Failure> {
        let max = self.settings.sequences_max;
        if self.sequences.len() < max {
            return Ok(());
        }
        let text = format!("the model has {max} sequences, and no more at a time: try again later");
        Err(Failure { why: Refusal::Busy, text })
    }

    fn prepared(&mut self, prepared: Prepared) {
        let job = match &prepared {
            Prepared::Append { job, .. } | Prepared::Generate { job, .. } => *job,
        };
        // Whoever cancelled it has its answer.
        if self.preparing.remove(&job).is_none() {
            return;
        }
        match prepared {
            Prepared::Append { sequence, tokens, .. } => {
                let appended = tokens.and_then(|tokens| self.append(sequence, &tokens));
                self.done(job, appended.map(Answer::Count));
            }
            Prepared::Generate { sequence, generation, .. } => {
                let begun = generation.and_then(|generation| self.generate(sequence, generation));
                if let Err(failure) = begun {
                    (self.tell)(Tell::End { job, result: Err(failure) });
                }
            }
        }
    }

    /// A sequence that does nothing else.
    fn idle(&mut self, id: u32) -> Result<&mut Sequence, Failure> {
        let sequence = self.sequences.get_mut(&id);
        let sequence = sequence.ok_or_else(|| invalid("the sequence does not exist"))?;
        match sequence.work {
            Work::Idle => Ok(sequence),
            Work::Prompt { .. } | Work::Generate(_) => {
                Err(invalid("the sequence is being computed: wait for it, or drop its pieces"))
            }
        }
    }

    fn append(&mut self, id: u32, tokens: &[u32]) -> Result<u32, Failure> {
        let length = self.forward.cache().shape().length;
        let sequence = self.idle(id)?;
        let total = sequence.tokens.len() + sequence.appended.len() + tokens.len();
        if total > length {
            return Err(too_long(total, length));
        }
        sequence.appended.extend(tokens);
        Ok(tokens.len() as u32)
    }

    fn commit(&mut self, job: u64, id: u32) {
        let sequence = match self.idle(id) {
            Ok(sequence) => sequence,
            Err(failure) => return self.done(job, Err(failure)),
        };
        if !sequence.appended.is_empty() {
            let appended = std::mem::take(&mut sequence.appended);
            sequence.tokens.extend(appended);
            sequence.ahead = None;
            sequence.looked = false;
        }
        if sequence.tokens.is_empty() {
            return self.done(job, Ok(Answer::Computed { tokens: 0, cached: 0 }));
        }
        self.look(job, id, Then::Computed);
    }

    /// Computes a sequence and answers.
    fn look(&mut self, job: u64, id: u32, then: Then) {
        match self.idle(id) {
            Err(failure) => self.done(job, Err(failure)),
            Ok(sequence) if sequence.tokens.is_empty() => {
                self.done(job, Err(invalid("the sequence is empty: append something first")));
            }
            Ok(sequence) => {
                sequence.step_back();
                sequence.work = Work::Prompt { job, then };
                self.computed(id);
            }
        }
    }

    fn generate(&mut self, id: u32, generation: Box<Generation>) -> Result<(), Failure> {
        let sequence = self.idle(id)?;
        if sequence.tokens.is_empty() {
            return Err(invalid("the sequence is empty: append something first"));
        }
        if generation.is_empty() {
            (self.tell)(Tell::End { job: generation.job, result: Ok((0, Finish::Length)) });
            return Ok(());
        }
        sequence.step_back();
        sequence.work = Work::Generate(generation);
        Ok(())
    }

    fn grant(&mut self, job: u64, tokens: u32, last: bool) {
        let Some(id) = self.generating(job) else { return };
        let Some(sequence) = self.sequences.get_mut(&id) else { return };
        let Work::Generate(generation) = &mut sequence.work else { return };
        generation.credit = generation.credit.saturating_add(tokens);
        generation.is_last |= last;
        if generation.is_last && generation.credit == 0 {
            self.end(id, Finish::Length, invalid("no tokens are left"));
        }
    }

    fn cancel(&mut self, job: u64) {
        if self.preparing.remove(&job).is_some() {
            (self.tell)(Tell::End { job, result: Ok((0, Finish::Stop)) });
        } else if let Some(id) = self.generating(job) {
            self.end(id, Finish::Stop, invalid("it was cancelled"));
        }
    }

    fn generating(&self, job: u64) -> Option<u32> {
        let is_it = |sequence: &Sequence| match &sequence.work {
            Work::Generate(generation) => generation.job == job,
            Work::Idle | Work::Prompt { .. } => false,
        };
        self.sequences.iter().find_map(|(id, sequence)| is_it(sequence).then_some(*id))
    }

    fn fork(&mut self, id: u32, child: u32) -> Result<(), Failure> {
        self.check_room()?;
        let token_bytes = self.forward.cache().shape().token() * size_of::<f32>();
        let parent = self.idle(id)?;
        let (weight, scope, deadline) = (parent.weight, parent.scope, parent.deadline);
        let mut forked = Sequence::new((parent.caller, weight), scope, deadline);
        forked.tokens.clone_from(&parent.tokens);
        forked.ahead.clone_from(&parent.ahead);
        let (computed, prefilled, row) = (parent.computed, parent.prefilled, parent.row());
        let saved = match &parent.kept {
            Kept::Saved(saved) => Some(saved.clone()),
            Kept::Nothing | Kept::Row(_) => None,
        };
        let bytes = saved.as_ref().map_or(computed * token_bytes, |saved| size_of_val(&**saved));
        if computed > 0 && self.saved_bytes + bytes <= self.settings.saved_bytes_max {
            let of_row = |row| self.forward.cache().save(row, 0..computed);
            if let Some(saved) = saved.or_else(|| row.map(of_row)) {
                forked.kept = Kept::Saved(saved);
                (forked.computed, forked.prefilled) = (computed, prefilled);
                self.saved_bytes += bytes;
            }
        }
        self.sequences.insert(child, forked);
        Ok(())
    }

    fn truncate(&mut self, id: u32, tokens: usize) -> Result<(), Failure> {
        let sequence = self.idle(id)?;
        let count = sequence.tokens.len();
        if tokens > count {
            let text = format!("the sequence has {count} tokens, so it cannot be cut to {tokens}");
            return Err(invalid(&text));
        }
        sequence.truncate(tokens);
        Ok(())
    }

    fn close(&mut self, id: u32) {
        let Some(sequence) = self.sequences.remove(&id) else { return };
        self.preparing.retain(|_, sequence| *sequence != id);
        match sequence.kept {
            Kept::Nothing => {}
            Kept::Row(row) => self.rows[row] = None,
            Kept::Saved(saved) => self.saved_bytes -= size_of_val(&*saved),
        }
        if sequence.counted {
            self.fair.leave(sequence.caller);
        }
    }
}

fn invalid(text: &str) -> Failure {
    Failure { why: Refusal::Invalid, text: text.to_owned() }
}
