//! Durations and sizes in settings, as people write them: `250ms`, `64MiB`. Read strictly, written the same way.

use std::fmt;
use std::time::Duration;

use serde::Deserialize as _;
use serde::de::{self, Visitor};

const DAY_SECONDS: u64 = 24 * 3600;

/// Units of a size, the largest first.
const UNITS: [(&str, u64); 8] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1000),
    ("KB", 1000),
    ("B", 1),
];

/// Reads a size in bytes: `4096`, `64KiB` (1024 a step) or `10MB` (1000 a step).
pub fn parse_bytes(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    let (unit, factor) = UNITS.iter().find(|(unit, _)| text.ends_with(unit))?;
    let number = text.strip_suffix(unit)?;
    let number = number.strip_suffix(' ').unwrap_or(number);
    let plain = number.bytes().all(|byte| byte.is_ascii_digit());
    number.parse::<u64>().ok().filter(|_| plain)?.checked_mul(*factor)
}

/// Writes a size so that [`parse_bytes`] reads the same number.
pub fn show_bytes(bytes: u64) -> String {
    let unit = UNITS
        .iter()
        .find(|(unit, size)| unit.ends_with("iB") && bytes >= *size && bytes.is_multiple_of(*size));
    match unit {
        Some((unit, size)) => format!("{}{unit}", bytes / size),
        None => format!("{bytes}B"),
    }
}

/// A size as people read it, rounded: `1.50 MiB`.
pub fn about_bytes(bytes: u64) -> String {
    let unit = UNITS.iter().find(|(unit, size)| unit.ends_with("iB") && bytes >= *size);
    match unit {
        Some((unit, size)) => format!("{:.2} {unit}", bytes as f64 / *size as f64),
        None => format!("{bytes} B"),
    }
}

/// Reads a country: three capital letters, or nothing.
pub fn country<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let is_code = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase());
    if text.is_empty() || is_code {
        return Ok(text);
    }
    let wanted = "write a country as three capital letters (ISO 3166-1 alpha-3), such as `DEU`";
    Err(serde::de::Error::custom(format!("`{text}` is not a country: {wanted}")))
}

/// What to write for a size or a duration, if something else than text was written.
const SIZE: &str = "a size in quotation marks, such as \"16MiB\"";
const DURATION: &str = "a duration in quotation marks, such as \"30s\"";

/// Reads a text. The error for anything else says what is wanted.
fn text<'de, D: de::Deserializer<'de>>(
    deserializer: D,
    wanted: &'static str,
) -> Result<String, D::Error> {
    struct Text(&'static str);

    impl Visitor<'_> for Text {
        type Value = String;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
            Ok(text.to_owned())
        }
    }

    deserializer.deserialize_str(Text(wanted))
}

/// Reads a duration: `250ms`, `30s`, `10m`, `2h` or, in whole days of 24 hours, `30d`.
fn parse_duration(text: &str) -> Option<Duration> {
    let days = text.strip_suffix('d').filter(|days| days.bytes().all(|b| b.is_ascii_digit()));
    if let Some(days) = days {
        return Some(Duration::from_secs(days.parse::<u64>().ok()?.checked_mul(DAY_SECONDS)?));
    }
    let span: jiff::SignedDuration = text.parse().ok()?;
    Duration::try_from(span).ok()
}

/// Writes a duration in its largest whole unit, so that [`parse_duration`] reads the same one.
fn show_duration(duration: Duration) -> String {
    let (seconds, millis) = (duration.as_secs(), duration.as_millis());
    if seconds == 0 || !millis.is_multiple_of(1000) {
        return format!("{millis}ms");
    }
    let units = [("d", DAY_SECONDS), ("h", 3600), ("m", 60)];
    match units.into_iter().find(|(_, size)| seconds.is_multiple_of(*size)) {
        Some((unit, size)) => format!("{}{unit}", seconds / size),
        None => format!("{seconds}s"),
    }
}

/// `serde` for a duration that is longer than nothing.
pub mod duration {
    use std::time::Duration;

    use serde::{Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::show_duration(*duration))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = super::text(deserializer, super::DURATION)?;
        let duration = super::parse_duration(&text).filter(|duration| !duration.is_zero());
        duration.ok_or_else(|| {
            de::Error::custom(format!(
                "`{text}` is not a duration: write one such as `250ms`, `30s`, `10m`, `30d`"
            ))
        })
    }
}

/// `serde` for a duration that may be nothing.
pub mod pause {
    use std::time::Duration;

    use serde::{Deserializer, de};

    pub use super::duration::serialize;

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = super::text(deserializer, super::DURATION)?;
        super::parse_duration(&text).ok_or_else(|| {
            de::Error::custom(format!(
                "`{text}` is not a duration: write one such as `0s`, `250ms`, `30s`"
            ))
        })
    }
}

macro_rules! size_module {
    ($(#[$doc:meta])* $module:ident, $type:ty, $from:expr, $into:expr) => {
        $(#[$doc])*
        pub mod $module {
            use serde::{Deserializer, Serializer, de};

            pub fn serialize<S: Serializer>(size: &$type, serializer: S) -> Result<S::Ok, S::Error> {
                let bytes: fn($type) -> u64 = $into;
                serializer.serialize_str(&super::show_bytes(bytes(*size)))
            }

            pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                let text = super::text(deserializer, super::SIZE)?;
                let size: fn(u64) -> Option<$type> = $from;
                super::parse_bytes(&text).and_then(size).ok_or_else(|| {
                    de::Error::custom(format!(
                        "`{text}` is not a size that fits here: write one such as `64KiB` or `10MB`"
                    ))
                })
            }
        }
    };
}

size_module!(
    /// `serde` for a size.
    size,
    u64,
    Some,
    |size| size
);
size_module!(
    /// `serde` for a size of something in memory.
    size_plain,
    usize,
    |bytes| usize::try_from(bytes).ok(),
    |size| size as u64
);
size_module!(
    /// `serde` for a size of something in memory that is not nothing.
    size_usize,
    std::num::NonZeroUsize,
    |bytes| usize::try_from(bytes).ok().and_then(std::num::NonZeroUsize::new),
    |size| size.get() as u64
);
