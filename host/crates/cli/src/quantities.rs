//! Times, spans and sizes as people write them on a command line.
//!
//! Everything is UTC, and a day is 24 hours, so that signed documents mean the same on every machine.

use std::str::FromStr;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use semver::Version;

/// Longest span, a hundred years, in days.
pub const SPAN_DAYS_MAX: i64 = 36_500;

/// A moment: fixed, or relative to the command's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    At(Timestamp),
    After(SignedDuration),
}

/// Why a quantity did not parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    #[error(
        "`{0}` is not a time: write a date such as `2027-01-31`, a moment such as `2027-01-31T12:00:00Z`, or a span such as `30d`, `12h`, `90m`"
    )]
    Moment(String),
    #[error("`{0}` is longer than {SPAN_DAYS_MAX} days: write a shorter span, or a date")]
    SpanTooLong(String),
    #[error("`{0}` is not a size: write a number of bytes, or one such as `64KiB`, `10MB`, `2MiB`")]
    Bytes(String),
    #[error("`{0}` is not a version: write three numbers, such as `1.2.3`")]
    Version(String),
    #[error("`{0}` is not a number that fits here: write it in digits, such as `3`")]
    Number(String),
}

impl Moment {
    /// The moment, if the command runs at `now`. In whole seconds, to read well in signed documents.
    pub fn resolve(self, now: Timestamp) -> Timestamp {
        match self {
            Moment::At(moment) => moment,
            Moment::After(span) => {
                let moment = now.checked_add(span).unwrap_or(Timestamp::MAX);
                Timestamp::from_second(moment.as_second()).unwrap_or(moment)
            }
        }
    }
}

/// Parses a moment: a date (its first moment), a date and time (UTC unless it names an offset), or a span from now.
///
/// # Errors
/// [`QuantityError::Moment`], [`QuantityError::SpanTooLong`].
pub fn moment(text: &str) -> Result<Moment, QuantityError> {
    if let Some((number, unit)) = number_and_unit(text) {
        let seconds: i64 = match unit {
            "s" => 1,
            "m" | "min" => 60,
            "h" => 3600,
            "d" => 86_400,
            "w" => 7 * 86_400,
            _ => return Err(QuantityError::Moment(text.into())),
        };
        return i64::try_from(number)
            .ok()
            .and_then(|number| number.checked_mul(seconds))
            .filter(|seconds| *seconds <= SPAN_DAYS_MAX * 86_400)
            .map(|seconds| Moment::After(SignedDuration::from_secs(seconds)))
            .ok_or_else(|| QuantityError::SpanTooLong(text.into()));
    }
    let civil = |time: DateTime| TimeZone::UTC.to_timestamp(time).ok();
    let read = match text.parse::<Timestamp>() {
        Ok(moment) => Some(moment),
        Err(_) if text.contains(['T', 't', ' ']) => text.parse::<DateTime>().ok().and_then(civil),
        Err(_) => text.parse::<Date>().ok().and_then(|date| civil(date.at(0, 0, 0, 0))),
    };
    read.map(Moment::At).ok_or_else(|| QuantityError::Moment(text.into()))
}

/// Parses a size in bytes: `4096`, `64KiB` (steps of 1024) or `10MB` (steps of 1000).
///
/// # Errors
/// [`QuantityError::Bytes`].
pub fn bytes(text: &str) -> Result<u64, QuantityError> {
    hospes_config::parse_bytes(text).ok_or_else(|| QuantityError::Bytes(text.into()))
}

/// Parses a version.
///
/// # Errors
/// [`QuantityError::Version`].
pub fn version(text: &str) -> Result<Version, QuantityError> {
    text.parse().map_err(|_| QuantityError::Version(text.into()))
}

/// Parses a whole number.
///
/// # Errors
/// [`QuantityError::Number`].
pub fn number<T: FromStr>(text: &str) -> Result<T, QuantityError> {
    text.parse().map_err(|_| QuantityError::Number(text.into()))
}

/// `12` and `d` for `12d`; `None` if either is missing.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(end)?;
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    let known = !unit.is_empty() && unit.chars().all(|c| c.is_ascii_alphabetic());
    if known { Some((number.parse().ok()?, unit)) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Moment {
        Moment::At(text.parse().expect("a timestamp"))
    }

    #[test]
    fn spans_dates_and_moments_are_understood() {
        for (text, seconds) in
            [("0s", 0), ("90m", 5400), ("12h", 43_200), ("30d", 2_592_000), ("2w", 1_209_600)]
        {
            assert_eq!(
                moment(text),
                Ok(Moment::After(SignedDuration::from_secs(seconds))),
                "{text}"
            );
        }
        assert_eq!(moment("2027-01-31"), Ok(at("2027-01-31T00:00:00Z")));
        assert_eq!(moment("2027-01-31T12:30:00"), Ok(at("2027-01-31T12:30:00Z")));
        assert_eq!(moment("2027-01-31T12:30:00Z"), Ok(at("2027-01-31T12:30:00Z")));
        assert_eq!(moment("2027-01-31T12:30:00+02:00"), Ok(at("2027-01-31T10:30:00Z")));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for bad in [
            "",
            "d",
            "30",
            "30y",
            "-1d",
            "1.5d",
            "tomorrow",
            "2027-13-01",
            "2027-02-30",
            "31/01/2027",
        ] {
            assert_eq!(moment(bad), Err(QuantityError::Moment(bad.into())), "{bad}");
        }
        for long in ["36501d", "9223372036854775807w", "18446744073709551615s"] {
            assert_eq!(moment(long), Err(QuantityError::SpanTooLong(long.into())), "{long}");
        }
        assert!(moment("36500d").is_ok());
    }

    #[test]
    fn a_span_counts_from_now_to_the_whole_second() {
        let now: Timestamp = "2026-11-24T10:00:00.75Z".parse().expect("a timestamp");
        let later = moment("1d").expect("a span").resolve(now);
        assert_eq!(later.to_string(), "2026-11-25T10:00:00Z");
        assert_eq!(
            moment("2027-01-31").expect("a date").resolve(now).to_string(),
            "2027-01-31T00:00:00Z"
        );
        let last = moment("1d").expect("a span").resolve(Timestamp::MAX);
        assert_eq!(last.as_second(), Timestamp::MAX.as_second());
    }

    #[test]
    fn versions_and_numbers_say_how_they_are_written() {
        assert_eq!(
            version("1.2.3-rc.1").map(|version| version.to_string()),
            Ok("1.2.3-rc.1".into())
        );
        let refused = version("2").expect_err("no version").to_string();
        assert_eq!(refused, "`2` is not a version: write three numbers, such as `1.2.3`");
        assert_eq!(number::<u64>("3"), Ok(3));
        for bad in ["three", "-1", "300"] {
            assert_eq!(number::<u8>(bad), Err(QuantityError::Number(bad.into())), "{bad}");
        }
    }

    #[test]
    fn sizes_are_understood() {
        for (text, count) in [
            ("0", 0),
            ("4096", 4096),
            ("1B", 1),
            ("64KiB", 65_536),
            ("10MB", 10_000_000),
            ("2 GiB", 2 << 30),
        ] {
            assert_eq!(bytes(text), Ok(count), "{text}");
        }
        for bad in [
            "",
            "KiB",
            "1.5MB",
            "-1",
            "1kib",
            "1 M B",
            "1XB",
            "18446744073709551615KiB",
            "18446744073709551616",
        ] {
            assert_eq!(bytes(bad), Err(QuantityError::Bytes(bad.into())), "{bad}");
        }
    }
}
