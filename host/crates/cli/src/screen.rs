//! Output: answers on stdout, everything else on stderr.
//!
//! With `--json`, stdout holds exactly one JSON document. A progress bar appears only if stderr is a terminal; otherwise each
//! step is one plain line.

use std::io::{self, IsTerminal as _, Read, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::failure::Failure;

/// How often a bar moves without reports.
const TICK: Duration = Duration::from_millis(120);

/// Into how many parts work is divided whose part is known.
const PARTS: u64 = 10_000;

/// A command's result.
#[derive(Debug)]
pub enum Answer {
    /// Text for people, the same as JSON for programs.
    Text { plain: String, json: Value },
    /// As `Text`, for a check that failed: exit code 1.
    Refused { plain: String, json: Value },
    /// Bytes for stdout, unchanged.
    Bytes(Vec<u8>),
    /// Everything is already printed.
    Nothing,
}

impl Answer {
    /// Text for people, and the same as JSON.
    pub fn new(plain: impl Into<String>, json: Value) -> Self {
        Answer::Text { plain: plain.into(), json }
    }
}

/// Where answers, notes and progress go.
#[derive(Debug, Clone, Copy)]
pub struct Screen {
    json: bool,
}

impl Screen {
    /// A screen that writes JSON if `json`.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether answers are for programs.
    pub fn is_json(self) -> bool {
        self.json
    }

    /// Prints an answer.
    ///
    /// # Errors
    /// If stdout cannot be written. A reader that closes early, such as `head`, is not an error.
    pub fn answer(self, answer: &Answer) -> Result<(), Failure> {
        let bytes = match answer {
            Answer::Text { plain, json } | Answer::Refused { plain, json } => {
                let mut text = if self.json { json.to_string() } else { plain.clone() };
                if !text.ends_with('\n') {
                    text.push('\n');
                }
                text.into_bytes()
            }
            Answer::Bytes(bytes) => bytes.clone(),
            Answer::Nothing => return Ok(()),
        };
        let mut stdout = io::stdout().lock();
        match stdout.write_all(&bytes).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::from(error).during("cannot write to stdout"))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Prints a failure.
    pub fn failure(self, failure: &Failure) {
        self.note(&failure.to_string());
        if self.json {
            // The exit code says the same, so a closed stdout does not matter.
            let json = failure.to_json();
            let _ = self.answer(&Answer::Text { plain: String::new(), json });
        }
    }

    /// A line for people, on stderr.
    pub fn note(self, line: &str) {
        let _ = writeln!(io::stderr().lock(), "{line}");
    }

    /// Asks a yes-or-no question.
    ///
    /// # Errors
    /// If nobody can answer, or the answer is not yes.
    pub fn confirm(self, question: &str) -> Result<(), Failure> {
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            self.note(question);
            return Err(Failure::new("no terminal to confirm at")
                .fix("read the text above, then run the command again with `--yes`"));
        }
        let _ = write!(io::stderr().lock(), "{question} [y/N] ");
        let mut line = String::new();
        io::stdin().read_line(&mut line)?;
        match line.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(Failure::new("not signed: the answer was not yes")),
        }
    }

    /// Shows work of unknown length.
    pub fn spinner(self, what: &str) -> Progress {
        self.progress(what, ProgressBar::new_spinner(), "{spinner} {msg} ({elapsed})")
    }

    /// Shows progress over `total` bytes.
    pub fn bytes_bar(self, what: &str, total: u64) -> Progress {
        let template = "{msg} [{bar:30}] {bytes} of {total_bytes}, {bytes_per_sec}";
        self.progress(what, ProgressBar::new(total), template)
    }

    /// Shows which part of the work is done.
    pub fn part_bar(self, what: &str) -> Progress {
        let template = "{msg} [{bar:30}] {percent} %, {elapsed} gone, {eta} left";
        self.progress(what, ProgressBar::new(PARTS), template)
    }

    fn progress(self, what: &str, bar: ProgressBar, template: &str) -> Progress {
        if !io::stderr().is_terminal() {
            self.note(what);
            return Progress { bar: None, screen: self };
        }
        bar.set_message(what.to_owned());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.enable_steady_tick(TICK);
        Progress { bar: Some(bar), screen: self }
    }
}

/// Work in progress. Dropping it removes the bar.
pub struct Progress {
    bar: Option<ProgressBar>,
    screen: Screen,
}

impl Progress {
    /// Sets the text.
    pub fn step(&self, what: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(what.to_owned()),
            None => self.screen.note(what),
        }
    }

    /// Sets how much is done, from 0 to 1.
    pub fn part(&self, done: f64) {
        if let Some(bar) = &self.bar {
            bar.set_position((done * PARTS as f64) as u64);
        }
    }

    /// A line that stays, above the bar.
    pub fn line(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => self.screen.note(line),
        }
    }

    /// A reader that counts what is read from `inner`.
    pub fn reader<R: Read>(&self, inner: R) -> impl Read + use<R> {
        let bar = self.bar.clone().unwrap_or_else(ProgressBar::hidden);
        bar.wrap_read(inner)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Lays out rows in columns under a heading.
pub fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = heading.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> =
            widths.iter().zip(cells).map(|(width, cell)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned() + "\n"
    };
    let mut text = line(&mut heading.iter().copied());
    for row in rows {
        text += &line(&mut row.iter().map(String::as_str));
    }
    text
}

/// A time, such as `2027-01-01T00:00:00.123Z`, without the fraction of its second.
pub fn seconds(time: &str) -> String {
    match time.split_once('.') {
        Some((start, rest)) => {
            start.to_owned() + rest.trim_start_matches(|c: char| c.is_ascii_digit())
        }
        None => time.to_owned(),
    }
}

/// Makes text from a host safe for a terminal: without control characters it cannot move the cursor or change colours, and without those that are
/// not seen it cannot change the direction of what is.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c == '\n' || is_seen(c) { c } else { '\u{fffd}' }).collect()
}

/// `escape_debug` leaves what is printed as it is.
fn is_seen(c: char) -> bool {
    matches!(c, '\'' | '"' | '\\') || c.escape_debug().count() == 1
}

/// Longest name of others that is shown, in characters.
const NAME_CHARS_MAX: usize = 80;

/// Makes a name that others chose safe within a line: what is not seen, such as a line break or a change of direction, is replaced, and a long
/// name is cut.
pub fn name(text: &str) -> String {
    let seen = |c: char| if is_seen(c) { c } else { '\u{fffd}' };
    let mut name: String = text.chars().take(NAME_CHARS_MAX).map(seen).collect();
    if text.chars().nth(NAME_CHARS_MAX).is_some() {
        name.push('…');
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_have_no_trailing_space() {
        let rows = [vec!["a".into(), "bcd".into()], vec!["éfgh".into(), String::new()]];
        assert_eq!(table(&["x", "y"], &rows), "x     y\na     bcd\néfgh\n");
    }

    #[test]
    fn times_are_shown_to_the_second() {
        for time in ["2027-01-01T00:00:00.123456789Z", "2027-01-01T00:00:00Z"] {
            assert_eq!(seconds(time), "2027-01-01T00:00:00Z");
        }
    }

    #[test]
    fn a_host_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nc\r"), "a\u{fffd}[2Jb\nc\u{fffd}");
    }

    #[test]
    fn a_name_of_others_stays_in_its_line() {
        assert_eq!(name("it's a \"cat\""), "it's a \"cat\"");
        assert_eq!(name("x\n  signed by\u{202e}\u{200b}"), "x\u{fffd}  signed by\u{fffd}\u{fffd}");
        assert_eq!(name(&"n".repeat(1000)).chars().count(), NAME_CHARS_MAX + 1);
    }
}
