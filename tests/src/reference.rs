//! The reference model of evaluation and quota: plain, slow and obviously correct.
//!
//! It parses an agreement's JSON, keeps every charged or running call in a list, and answers each
//! question by scanning the list. It shares no code with the host except the time zone parser.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

/// A call, with everything that an agreement can depend on.
#[derive(Debug, Clone)]
pub struct Asked {
    pub function: String,
    pub at: Timestamp,
    pub purpose: Option<String>,
    pub country: Option<String>,
    pub imports: Vec<String>,
    pub input_bytes: u64,
    /// The host's limit on the response, in bytes.
    pub output_bytes_max: u64,
    /// The host's limit on the call's time.
    pub wall_max: Duration,
    pub rows: u64,
}

/// The decision about a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The call begins under this permission, with these limits on its response and time.
    Begins { rule: usize, output_bytes_max: u64, wall_max: Duration },
    /// No permission applies, or a prohibition does.
    Denied,
    /// A permission applies, but one of its limits is exhausted.
    Exhausted,
}

#[derive(Debug, Clone)]
struct Entry {
    rule: usize,
    at: Timestamp,
    rows: u64,
    bytes: u64,
    time: Duration,
    runs: bool,
}

/// An agreement and every call made under it.
pub struct Reference {
    document: Value,
    issued: Timestamp,
    entries: Vec<Entry>,
}

impl Reference {
    /// Reads an agreement from its payload.
    pub fn new(payload: &[u8]) -> Self {
        let document: Value = serde_json::from_slice(payload).expect("JSON");
        let issued =
            document["hospes:issued"]["@value"].as_str().expect("text").parse().expect("a time");
        Self { document, issued, entries: Vec::new() }
    }

    /// Asks for a call. If it begins, it is added to the list; the returned number is its index.
    pub fn begin(&mut self, asked: &Asked) -> (Verdict, usize) {
        let number = self.entries.len();
        for prohibition in list(&self.document["prohibition"]) {
            let action = &prohibition["action"][0];
            if action["rdf:value"]["@id"] != "odrl:execute" {
                continue;
            }
            let function = &action["refinement"][0]["rightOperand"];
            let meant = function.is_null() || function == asked.function.as_str();
            if meant
                && list(&prohibition["constraint"]).all(|constraint| gate(constraint, asked, true))
            {
                return (Verdict::Denied, number);
            }
        }
        let mut verdict = Verdict::Denied;
        for (rule, permission) in list(&self.document["permission"]).enumerate() {
            if permission["action"][0]["refinement"][0]["rightOperand"] != asked.function.as_str()
                || !list(&permission["constraint"]).all(|constraint| gate(constraint, asked, false))
            {
                continue;
            }
            match self.left(rule, permission, asked) {
                None => verdict = Verdict::Exhausted,
                Some((output_bytes_max, wall_max)) => {
                    self.entries.push(Entry {
                        rule,
                        at: asked.at,
                        rows: asked.rows,
                        bytes: asked.input_bytes + output_bytes_max,
                        time: wall_max,
                        runs: true,
                    });
                    return (Verdict::Begins { rule, output_bytes_max, wall_max }, number);
                }
            }
        }
        (verdict, number)
    }

    /// Ends a call and charges what it used, but never more than was reserved.
    pub fn end(&mut self, number: usize, bytes: u64, time: Duration) {
        let metered = {
            let rule = self.entries[number].rule;
            operand(&self.document["permission"][rule], "meteredTime").is_some()
        };
        let entry = &mut self.entries[number];
        entry.runs = false;
        entry.bytes = entry.bytes.min(bytes);
        entry.time = if metered { entry.time.min(time) } else { time };
    }

    /// What is left of the response's bytes and the time, if the call may begin.
    fn left(&self, rule: usize, permission: &Value, asked: &Asked) -> Option<(u64, Duration)> {
        let mine: Vec<&Entry> = self.entries.iter().filter(|entry| entry.rule == rule).collect();
        let mut output = asked.output_bytes_max;
        if let Some(most) = operand(permission, "hospes:outputBytes") {
            output = output.min(integer(most));
        }
        let mut time = asked.wall_max;
        if let Some(most) = operand(permission, "hospes:wallTime") {
            time = time.min(duration(&most["rightOperand"]["@value"]));
        }
        let calls = mine.len() as u64;
        let rows: u64 = mine.iter().map(|entry| entry.rows).sum();
        let bytes: u64 = mine.iter().map(|entry| entry.bytes).sum();
        for constraint in list(&permission["constraint"]) {
            let most = integer(constraint);
            let fits = match constraint["leftOperand"].as_str().expect("text") {
                "count" => match constraint["unit"].as_str().expect("text") {
                    "hospes:call" => calls < most,
                    "hospes:row" => rows + asked.rows <= most,
                    _ => {
                        output = output
                            .min(most.saturating_sub(bytes).saturating_sub(asked.input_bytes));
                        bytes + asked.input_bytes.max(1) <= most
                    }
                },
                "hospes:credit" => {
                    let credit = micros(&constraint["rightOperand"]["@value"]);
                    let terms = &permission["duty"][0]["action"][0]["refinement"];
                    let amount = micros(&terms[0]["rightOperand"]["@value"]);
                    let free = terms[2]["rightOperand"].as_u64().unwrap_or(0);
                    let by_row = terms[1]["rightOperand"] == "hospes:row";
                    let units = if by_row { rows + asked.rows } else { calls + 1 };
                    units.saturating_sub(free) * amount <= credit
                }
                "meteredTime" => {
                    let most = duration(&constraint["rightOperand"]["@value"]);
                    let used: Duration = mine.iter().map(|entry| entry.time).sum();
                    time = time.min(most.saturating_sub(used));
                    !time.is_zero()
                }
                "elapsedTime" => mine.first().is_none_or(|first| {
                    asked.at <= first.at + duration(&constraint["rightOperand"]["@value"])
                }),
                "timeInterval" => mine.last().is_none_or(|last| {
                    asked.at >= last.at + duration(&constraint["rightOperand"]["@value"])
                }),
                "hospes:concurrency" => {
                    (mine.iter().filter(|entry| entry.runs).count() as u64) < most
                }
                "hospes:callsPerInterval" => {
                    let period = duration(&constraint["unit"]).as_micros() as i64;
                    let index = |at: Timestamp| {
                        (at.as_microsecond() - self.issued.as_microsecond()).div_euclid(period)
                    };
                    let same = mine.iter().filter(|entry| index(entry.at) == index(asked.at));
                    (same.count() as u64) < most
                }
                "hospes:callRate" => bucket(&mine, most, duration(&constraint["unit"]), asked.at),
                _ => true,
            };
            if !fits {
                return None;
            }
        }
        Some((output, time))
    }
}

/// A token bucket that holds `most` calls and refills evenly; each call so far took one token.
fn bucket(mine: &[&Entry], most: u64, period: Duration, now: Timestamp) -> bool {
    let each = (period.as_micros() as i64) / (most as i64);
    let full = each * most as i64;
    let (mut level, mut at) = (full, Timestamp::MIN);
    for time in mine.iter().map(|entry| entry.at).chain([now]) {
        let filled = time.as_microsecond().saturating_sub(at.as_microsecond());
        level = level.saturating_add(filled).min(full) - each;
        at = time;
    }
    level >= 0
}

/// Whether a constraint that depends on this call alone is satisfied.
fn gate(constraint: &Value, asked: &Asked, prohibition: bool) -> bool {
    let operator = constraint["operator"].as_str().expect("text");
    let right = &constraint["rightOperand"];
    let among = |seen: &Option<String>, unknown: bool| match seen {
        None => unknown,
        Some(seen) => list(right).any(|one| one == seen.as_str()) == (operator == "isAnyOf"),
    };
    match constraint["leftOperand"].as_str().expect("text") {
        "dateTime" => {
            let at: Timestamp = right["@value"].as_str().expect("text").parse().expect("a time");
            match operator {
                "lt" => asked.at < at,
                "lteq" => asked.at <= at,
                "gt" => asked.at > at,
                _ => asked.at >= at,
            }
        }
        "hospes:dailyWindow" => {
            let (hours, zone) = right.as_str().expect("text").split_once(' ').expect("a zone");
            let (start, end) = hours.split_once('-').expect("two times");
            let zone = TimeZone::get(zone).expect("a zone");
            let now = zone.to_datetime(asked.at).strftime("%H:%M").to_string();
            let now = now.as_str();
            if start < end { start <= now && now < end } else { start <= now || now < end }
        }
        // A call without a purpose matches none, so a prohibition with `isNoneOf` applies to it.
        "purpose" => among(&asked.purpose, prohibition && operator == "isNoneOf"),
        "spatial" => among(&asked.country, prohibition),
        "hospes:inputBytes" => asked.input_bytes <= integer(constraint),
        "hospes:batchRows" => asked.rows <= integer(constraint),
        "hospes:hostCapability" => {
            !asked.imports.iter().any(|one| list(right).any(|name| name == one.as_str()))
        }
        _ => true,
    }
}

fn operand<'a>(permission: &'a Value, name: &str) -> Option<&'a Value> {
    list(&permission["constraint"]).find(|constraint| constraint["leftOperand"] == name)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn integer(constraint: &Value) -> u64 {
    constraint["rightOperand"].as_u64().unwrap_or(0)
}

/// Parses `P1DT2H3M4.5S` character by character.
fn duration(text: &Value) -> Duration {
    let (mut seconds, mut number) = (0.0, String::new());
    for letter in text.as_str().expect("text").chars() {
        let size = match letter {
            'D' => 86_400.0,
            'H' => 3600.0,
            'M' => 60.0,
            'S' => 1.0,
            'P' | 'T' => continue,
            digit => {
                number.push(digit);
                continue;
            }
        };
        seconds += number.parse::<f64>().expect("a number") * size;
        number.clear();
    }
    Duration::from_micros((seconds * 1e6).round() as u64)
}

fn micros(amount: &Value) -> u64 {
    (amount.as_str().expect("text").parse::<f64>().expect("a number") * 1e6).round() as u64
}
