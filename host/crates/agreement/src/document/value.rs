//! Right operands of constraints, each with exactly one form.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::registry::{self, Datatype, Text};
use hospes_core::capability::Capability;
use hospes_core::id::{FunctionName, Party};
use hospes_core::tensor::{DataType, RANK_MAX};

/// Maximum length of a text operand, in bytes.
pub const TEXT_BYTES_MAX: usize = 256;

/// Maximum texts in a list.
pub const TEXTS_MAX: usize = 64;

/// A checked right operand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RightOperand {
    Integer(u64),
    Decimal(Micros),
    DateTime(Timestamp),
    Duration(Span),
    Text(Box<str>),
    /// Ascending, without duplicates.
    Texts(Box<[Box<str>]>),
    Integers(Box<[u64]>),
    True,
}

/// What was expected instead of a rejected value.
pub(crate) type Wanted = &'static str;

/// A duration, to the microsecond. Days have 24 hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span(u64);

impl Span {
    pub const ZERO: Span = Span(0);

    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    pub const fn as_micros(self) -> u64 {
        self.0
    }

    pub const fn as_duration(self) -> Duration {
        Duration::from_micros(self.0)
    }
}

const SECOND: u64 = 1_000_000;
const DAY: u64 = 24 * 3600 * SECOND;

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, rest) = (self.0 / DAY, self.0 % DAY);
        if self.0 == 0 {
            return f.write_str("P0D");
        }
        f.write_str("P")?;
        if days > 0 {
            write!(f, "{days}D")?;
        }
        if rest == 0 {
            return Ok(());
        }
        f.write_str("T")?;
        let (seconds, micros) = (rest / SECOND, rest % SECOND);
        for (size, letter) in [(3600, 'H'), (60, 'M')] {
            let count = seconds / size % if letter == 'H' { 24 } else { 60 };
            if count > 0 {
                write!(f, "{count}{letter}")?;
            }
        }
        let seconds = seconds % 60;
        match (seconds, micros) {
            (0, 0) => Ok(()),
            (seconds, 0) => write!(f, "{seconds}S"),
            (seconds, micros) => {
                let digits = format!("{micros:06}");
                write!(f, "{seconds}.{}S", digits.trim_end_matches('0'))
            }
        }
    }
}

impl FromStr for Span {
    type Err = Wanted;

    fn from_str(text: &str) -> Result<Self, Wanted> {
        const WANTED: Wanted = "write a duration as `P30D`, `PT8H`, `PT0.5S` or `P1DT12H`";
        // No calendar arithmetic: months and years have no fixed length, and days have 24 hours.
        let span: jiff::Span = text.parse().map_err(|_| WANTED)?;
        let length = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours());
        let micros = length.map_err(|_| WANTED)?.as_micros();
        let span = u64::try_from(micros).map(Span).map_err(|_| WANTED)?;
        let one_spelling = span.to_string() == text && span.0 <= crate::INTEGER_MAX;
        if one_spelling { Ok(span) } else { Err(WANTED) }
    }
}

/// An amount, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Micros(pub u64);

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 1_000_000, self.0 % 1_000_000);
        if part == 0 {
            return write!(f, "{whole}");
        }
        let digits = format!("{part:06}");
        write!(f, "{whole}.{}", digits.trim_end_matches('0'))
    }
}

impl FromStr for Micros {
    type Err = Wanted;

    fn from_str(text: &str) -> Result<Self, Wanted> {
        const WANTED: Wanted =
            "write an amount as `12`, `0.5` or `0.0004`, with at most six digits after the point";
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || part.len() > 6 || !digits(whole) || !digits(part) {
            return Err(WANTED);
        }
        let micros = format!("{whole}{part:0<6}").parse().ok().filter(|m| *m <= crate::INTEGER_MAX);
        let amount = Micros(micros.ok_or(WANTED)?);
        if amount.to_string() == text { Ok(amount) } else { Err(WANTED) }
    }
}

/// Hours of the day, in a time zone.
#[derive(Debug, Clone)]
pub struct DailyWindow {
    /// Seconds of the day, up to 24 hours.
    start: i32,
    end: i32,
    zone: TimeZone,
}

impl DailyWindow {
    /// Whether `at` is in the window. Neither allocates nor waits.
    pub fn contains(&self, at: Timestamp) -> bool {
        let offset = self.zone.to_offset(at).seconds();
        let second = (at.as_second() + i64::from(offset)).rem_euclid(24 * 3600);
        let second = i32::try_from(second).unwrap_or(0);
        if self.start < self.end {
            (self.start..self.end).contains(&second)
        } else {
            second >= self.start || second < self.end
        }
    }
}

impl FromStr for DailyWindow {
    type Err = Wanted;

    fn from_str(text: &str) -> Result<Self, Wanted> {
        const WANTED: Wanted = "write hours and a time zone as `09:00-17:30 Europe/Paris`";
        let (hours, zone) = text.split_once(' ').ok_or(WANTED)?;
        let (start, end) = hours.split_once('-').ok_or(WANTED)?;
        let time = |text: &str| -> Option<i32> {
            let (hour, minute) = text.split_once(':')?;
            let two = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
            let (hour, minute): (i32, i32) =
                (two(hour) && two(minute)).then_some((hour.parse().ok()?, minute.parse().ok()?))?;
            let seconds = hour * 3600 + minute * 60;
            (minute < 60 && seconds <= 24 * 3600).then_some(seconds)
        };
        let (start, end) = (time(start).ok_or(WANTED)?, time(end).ok_or(WANTED)?);
        let zone = TimeZone::get(zone).ok().filter(|found| found.iana_name() == Some(zone));
        if start == 24 * 3600 || start == end {
            return Err(WANTED);
        }
        Ok(Self { start, end, zone: zone.ok_or(WANTED)? })
    }
}

/// Checks a text; the error says what was expected.
fn check_text(kind: Text, text: &str) -> Result<(), Wanted> {
    if text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control) {
        return Err("expected a text of at most 256 bytes without control characters");
    }
    let upper = |text: &str| text.len() == 3 && text.bytes().all(|b| b.is_ascii_uppercase());
    let (fits, wanted) = match kind {
        Text::Function => (text.parse::<FunctionName>().is_ok(), "expected a function's name"),
        Text::Field => (is_field(text), "expected a field's name"),
        Text::Iri => {
            (is_iri(text), "expected an IRI, such as `https://w3id.org/dpv#ResearchAndDevelopment`")
        }
        Text::Country => (
            text.strip_prefix(registry::COUNTRY_PREFIX).is_some_and(upper),
            "write a country as `http://publications.europa.eu/resource/authority/country/DEU`",
        ),
        Text::Version => (
            semver::Version::parse(text).is_ok_and(|read| read.to_string() == text),
            "write a version as `1.2.0`",
        ),
        Text::DailyWindow => return text.parse::<DailyWindow>().map(drop),
        Text::DataType => {
            (text.parse::<DataType>().is_ok(), "expected a data type, such as `FP32`")
        }
        Text::Capability => (
            Capability::named(text).is_some(),
            "expected one of `network`, `storage`, `clock`, `random`, `env` and `stdout`",
        ),
        Text::Unit => (
            registry::UNITS.contains(&text),
            "expected one of `hospes:call`, `hospes:row`, `hospes:byte` and `hospes:token`",
        ),
    };
    if fits { Ok(()) } else { Err(wanted) }
}

/// A member of a record (a WIT name) or an output tensor (any printable name).
fn is_field(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| !c.is_whitespace())
}

/// Whether a text can be an IRI: a scheme and something after it.
pub fn is_iri(text: &str) -> bool {
    let scheme = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    };
    text.split_once(':').is_some_and(|(head, rest)| scheme(head) && !rest.is_empty())
        && !text.contains(|c: char| c.is_whitespace() || "<>\"{}|\\^`".contains(c))
}

impl RightOperand {
    /// Checks the value's `datatype` and bounds.
    pub(crate) fn check(&self, datatype: Datatype) -> Result<(), Wanted> {
        match (datatype, self) {
            (Datatype::Integer(min, max), RightOperand::Integer(value)) => {
                if (min..=max).contains(value) { Ok(()) } else { Err(out_of_range(min, max)) }
            }
            (Datatype::Integer(..), _) => Err("expected a whole number"),
            (Datatype::Decimal, RightOperand::Decimal(_))
            | (Datatype::DateTime, RightOperand::DateTime(_))
            | (Datatype::Duration, RightOperand::Duration(_))
            | (Datatype::True, RightOperand::True) => Ok(()),
            (Datatype::Decimal, _) => Err("expected an amount, typed `xsd:decimal`"),
            (Datatype::DateTime, _) => Err("expected a typed date"),
            (Datatype::Duration, _) => Err("expected a duration, typed `xsd:duration`"),
            (Datatype::True, _) => Err("expected `true`"),
            (Datatype::Text(kind), RightOperand::Text(text)) => check_text(kind, text),
            (Datatype::Text(_), _) => Err("expected a text"),
            (Datatype::Texts(kind), RightOperand::Texts(texts)) => check_texts(kind, texts),
            (Datatype::Texts(_), _) => Err("expected a list of texts"),
            (Datatype::Integers, RightOperand::Integers(sizes)) => {
                let fits = (1..=RANK_MAX).contains(&sizes.len())
                    && sizes.iter().all(|size| *size <= u64::from(u32::MAX));
                if fits { Ok(()) } else { Err("expected 1 to 8 sizes of at most 4294967295") }
            }
            (Datatype::Integers, _) => Err("expected a list of whole numbers"),
        }
    }
}

fn out_of_range(min: u64, max: u64) -> Wanted {
    match (min, max) {
        (0, 9) => "expected a whole number of 0 to 9",
        (0, _) => "expected a whole number of 0 to 9007199254740991",
        (1, 1000) => "expected a whole number of 1 to 1000",
        (1, 1_000_000) => "expected a whole number of 1 to 1000000",
        (1, _) => "expected a whole number of 1 to 9007199254740991",
        (_, _) => "expected a whole number of 65536 (one page) to 9007199254740991",
    }
}

fn check_texts(kind: Text, texts: &[Box<str>]) -> Result<(), Wanted> {
    if texts.is_empty() || texts.len() > TEXTS_MAX {
        return Err("expected 1 to 64 texts");
    }
    if !texts.is_sorted_by(|a, b| a < b) {
        return Err("the texts are to be in ascending order, each once");
    }
    texts.iter().try_for_each(|text| check_text(kind, text))
}

impl fmt::Display for RightOperand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RightOperand::Integer(value) => value.fmt(f),
            RightOperand::Decimal(amount) => amount.fmt(f),
            RightOperand::DateTime(at) => at.fmt(f),
            RightOperand::Duration(span) => span.fmt(f),
            RightOperand::Text(text) => f.write_str(text),
            RightOperand::Texts(texts) => f.write_str(&texts.join(", ")),
            RightOperand::Integers(sizes) => {
                let sizes: Vec<_> = sizes.iter().map(u64::to_string).collect();
                write!(f, "[{}]", sizes.join(", "))
            }
            RightOperand::True => f.write_str("true"),
        }
    }
}

/// A role, where the party is not known yet.
pub(crate) fn role_iri(role: crate::Role) -> &'static str {
    match role {
        crate::Role::Publisher => "hospes:publisher",
        crate::Role::Consumer => "hospes:consumer",
    }
}

/// A list of parties in ascending order, without duplicates.
pub(crate) fn ascending(parties: &[Party]) -> bool {
    parties.is_sorted_by(|a, b| a.to_string() < b.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_amounts_have_one_spelling() {
        for text in [
            "P0D",
            "P30D",
            "PT8H",
            "P1DT12H",
            "PT0.5S",
            "PT1M30S",
            "PT0.000001S",
            "P400DT23H59M59.999999S",
        ] {
            assert_eq!(text.parse::<Span>().expect(text).to_string(), text);
        }
        for text in [
            "",
            "P1W",
            "P1M",
            "P1Y",
            "PT24H",
            "PT60S",
            "-P1D",
            "P01D",
            "PT1.50S",
            "PT0S",
            "P1D12H",
            "PT0.0000001S",
        ] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        for text in ["0", "12", "0.5", "0.0004", "9007199254.740991"] {
            assert_eq!(text.parse::<Micros>().expect(text).to_string(), text);
        }
        for text in
            ["", ".5", "1.", "1.50", "01", "-1", "+1", "1e3", "0.0000001", "9007199254.740992"]
        {
            assert!(text.parse::<Micros>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_daily_window_follows_its_zone_through_summer_time() {
        let window: DailyWindow = "09:00-17:00 Europe/Paris".parse().expect("a window");
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        assert!(
            window.contains(at("2026-01-15T08:00:00Z"))
                && !window.contains(at("2026-01-15T16:00:00Z"))
        );
        assert!(
            window.contains(at("2026-07-15T07:00:00Z"))
                && !window.contains(at("2026-07-15T15:00:00Z"))
        );
        let night: DailyWindow = "22:00-06:00 UTC".parse().expect("a window");
        assert!(
            night.contains(at("2026-01-15T23:00:00Z"))
                && night.contains(at("2026-01-15T05:59:59Z"))
        );
        assert!(!night.contains(at("2026-01-15T06:00:00Z")));
        for text in [
            "9:00-17:00 UTC",
            "09:00-17:00",
            "09:00-09:00 UTC",
            "24:00-01:00 UTC",
            "09:60-10:00 UTC",
            "09:00-17:00 Mars/Base",
            "09:00-17:00 europe/paris",
        ] {
            assert!(text.parse::<DailyWindow>().is_err(), "{text}");
        }
    }
}
