//! What a trainer says while it runs.

use std::collections::VecDeque;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use hospes_confine::{Stream, left};

use crate::contract::{EVENTS, Job};
use crate::events::{Event, Events, LINE_BYTES_MAX, Pattern};
use crate::run::RunError;

/// How many of the last lines an error shows: faults of data, and how many more there are.
const LINES_SHOWN: usize = 21;

/// Maximum bytes of the file of events that are read before the disk is looked at again.
const PIECE_BYTES_MAX: u64 = 1 << 20;

/// How many characters of each an error shows: some lines of a terminal. The log has all.
const LINE_CHARS_SHOWN: usize = 300;

/// What a trainer has said so far.
pub(crate) struct Listener<'j> {
    job: &'j Job,
    patterns: &'j [Pattern],
    pub(crate) events: Events,
    last: VecDeque<String>,
    /// A line of each output that has not ended yet.
    output: Vec<u8>,
    errors: Vec<u8>,
    /// How far the file of events was read, and a line that has not ended yet.
    read: u64,
    rest: Vec<u8>,
}

impl<'j> Listener<'j> {
    pub(crate) fn new(job: &'j Job, patterns: &'j [Pattern]) -> Self {
        Self {
            job,
            patterns,
            events: Events::default(),
            last: VecDeque::new(),
            output: Vec::new(),
            errors: Vec::new(),
            read: 0,
            rest: Vec::new(),
        }
    }

    pub(crate) fn printed(&mut self, stream: Stream, piece: &[u8], tell: &mut dyn FnMut(&Event)) {
        let part = match stream {
            Stream::Output => &mut self.output,
            Stream::Errors => &mut self.errors,
        };
        part.extend_from_slice(piece);
        let mut text = std::mem::take(part);
        // A longer line is none that anybody waits for.
        let whole = match text.iter().rposition(|byte| *byte == b'\n') {
            Some(at) => at + 1,
            None if text.len() > LINE_BYTES_MAX => text.len(),
            None => 0,
        };
        let rest = text.split_off(whole);
        match stream {
            Stream::Output => self.output = rest,
            Stream::Errors => self.errors = rest,
        }
        for line in text.split(|byte| *byte == b'\n') {
            self.line(&String::from_utf8_lossy(line), tell);
        }
    }

    fn line(&mut self, line: &str, tell: &mut dyn FnMut(&Event)) {
        if let Some(event) = Event::of_log(line, self.patterns) {
            tell(&event);
            self.events.push(event);
        }
        let shown: String =
            line.trim_end().chars().take(LINE_CHARS_SHOWN).filter(|c| !c.is_control()).collect();
        if !shown.is_empty() {
            self.last.push_back(shown);
            if self.last.len() > LINES_SHOWN {
                self.last.pop_front();
            }
        }
    }

    /// Reads what was added to the file of events, or a piece of that, and says whether it has read anything. The trainer may have put a link, a
    /// pipe or a file without end in its place.
    pub(crate) fn look(
        &mut self,
        bytes_max: u64,
        tell: &mut dyn FnMut(&Event),
    ) -> Result<bool, RunError> {
        // A trainer may do without it.
        let Some(mut file) = left::open(&self.job.folder, Path::new(EVENTS))? else {
            return Ok(false);
        };
        let failed = |source| RunError::File { path: self.job.events(), source };
        file.seek(SeekFrom::Start(self.read)).map_err(failed)?;
        let most = bytes_max.saturating_sub(self.read).min(PIECE_BYTES_MAX);
        let read = file.take(most).read_to_end(&mut self.rest).map_err(failed)?;
        self.read += read as u64;
        let whole = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        for line in self.rest.drain(..whole).collect::<Vec<u8>>().split(|byte| *byte == b'\n') {
            if let Some(event) = std::str::from_utf8(line).ok().and_then(Event::of_json) {
                tell(&event);
                self.events.push(event);
            }
        }
        Ok(read > 0)
    }

    /// The last lines, after the trainer has ended.
    pub(crate) fn last_lines(&mut self) -> Vec<String> {
        // A last line may have no end.
        for rest in [std::mem::take(&mut self.output), std::mem::take(&mut self.errors)] {
            self.line(&String::from_utf8_lossy(&rest), &mut |_| {});
        }
        std::mem::take(&mut self.last).into()
    }
}
