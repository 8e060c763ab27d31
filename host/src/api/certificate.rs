//! When a certificate is valid, which rustls does not report.
//!
//! Reads X.509 (RFC 5280 section 4.1, in DER) up to the validity, and checks nothing else.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// A certificate's validity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    pub from: Timestamp,
    pub until: Timestamp,
}

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// The certificate's validity; `None` if it is not where it belongs.
pub(super) fn validity(der: &[u8]) -> Option<Validity> {
    let (certificate, _) = part(der, SEQUENCE)?;
    let (mut rest, _) = part(certificate, SEQUENCE)?;
    if let Some((_, after)) = part(rest, VERSION) {
        rest = after;
    }
    // Serial number, algorithm, issuer.
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        rest = part(rest, tag)?.1;
    }
    let (times, _) = part(rest, SEQUENCE)?;
    let (from, times) = time(times)?;
    let (until, _) = time(times)?;
    Some(Validity { from, until })
}

/// The content of the first element, if it has this tag, and the rest.
fn part(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.split_first()?;
    let (&length, rest) = rest.split_first()?;
    if first != tag {
        return None;
    }
    let (length, rest) = match length {
        short @ ..=0x7f => (usize::from(short), rest),
        // Number of length bytes; no certificate needs more than four.
        long @ 0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(long - 0x80))?;
            let length = bytes.iter().fold(0, |sum: usize, byte| (sum << 8) | usize::from(*byte));
            (length, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// A time, and the rest.
fn time(der: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (digits, years) = match part(der, UTC_TIME) {
        Some(_) => (UTC_TIME, 2),
        None => (GENERALIZED_TIME, 4),
    };
    let (text, rest) = part(der, digits)?;
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if text.len() != years + 10 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, others) = text.split_at(years);
    let year: i16 = year.parse().ok()?;
    // RFC 5280 section 4.1.2.5.1.
    let year = match years {
        2 if year < 50 => 2000 + year,
        2 => 1900 + year,
        _ => year,
    };
    let two = |at: usize| others[at..at + 2].parse::<i8>().ok();
    let time = DateTime::new(year, two(0)?, two(2)?, two(4)?, two(6)?, two(8)?, 0).ok()?;
    // The last day of the year 9999 means no end.
    let at = TimeZone::UTC.to_timestamp(time).unwrap_or(Timestamp::MAX);
    Some((at, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let inner = parts.concat();
        let length = u16::try_from(inner.len()).expect("short").to_be_bytes();
        [&[tag, 0x82, length[0], length[1]], inner.as_slice()].concat()
    }

    fn certificate(from: &[u8], until: &[u8]) -> Vec<u8> {
        let version = der(VERSION, &[&[INTEGER, 1, 2]]);
        let (serial, other) = (der(INTEGER, &[&[1; 20]]), der(SEQUENCE, &[&[5, 0]]));
        let times = der(SEQUENCE, &[from, until]);
        der(SEQUENCE, &[&der(SEQUENCE, &[&version, &serial, &other, &other, &times])])
    }

    #[test]
    fn both_ways_to_write_a_time_are_read() {
        let (from, until) = (der(UTC_TIME, &[b"491231235959Z"]), b"\x18\x0f20500101000000Z");
        let read = validity(&certificate(&from, until)).expect("it is one");
        assert_eq!(read.from.to_string(), "2049-12-31T23:59:59Z");
        assert_eq!(read.until.to_string(), "2050-01-01T00:00:00Z");
        let (from, until) = (b"\x17\x0d700101000000Z", b"\x18\x0f99991231235959Z");
        let read = validity(&certificate(from, until)).expect("it is one");
        assert_eq!((read.from, read.until), (Timestamp::UNIX_EPOCH, Timestamp::MAX));
    }

    #[test]
    fn what_is_no_certificate_is_none_wherever_it_ends() {
        let whole = certificate(b"\x17\x0d700101000000Z", b"\x17\x0d710101000000Z");
        assert!(validity(&whole).is_some());
        for end in 0..whole.len() {
            assert_eq!(validity(&whole[..end]), None, "{end}");
        }
        assert_eq!(
            validity(&certificate(b"\x17\x0d701301000000Z", b"\x17\x0d710101000000Z")),
            None
        );
        assert_eq!(validity(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0]), None);
    }
}
