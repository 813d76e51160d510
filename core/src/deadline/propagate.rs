//! The deadline as a header: what is left of it, told to whoever works for this call.
//!
//! No standard names such a field, so there are several:
//!
//! | field | value |
//! |---|---|
//! | `grpc-timeout` | 1 to 8 digits and a unit: `H`, `M`, `S`, `m`, `u`, `n` |
//! | `x-envoy-expected-rq-timeout-ms` | milliseconds |
//! | `x-request-timeout` | seconds, with a decimal point where needed |
//!
//! Values are rounded down, and half a round trip is kept back for the way: the receiver may give up
//! early, never late.

use std::fmt::Write;
use std::time::Duration;

use crate::time::{Instant, saturating_nanos};

/// What is kept back at least, for the way to the receiver.
const RESERVE: Duration = Duration::from_millis(2);

/// Which field carries what is left of a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeadlineHeader {
    /// `grpc-timeout`.
    GrpcTimeout,
    /// `x-envoy-expected-rq-timeout-ms`.
    EnvoyExpected,
    /// `x-request-timeout`.
    RequestTimeout,
}

impl DeadlineHeader {
    const ALL: [Self; 3] = [Self::GrpcTimeout, Self::EnvoyExpected, Self::RequestTimeout];

    /// The field's name, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::GrpcTimeout => "grpc-timeout",
            Self::EnvoyExpected => "x-envoy-expected-rq-timeout-ms",
            Self::RequestTimeout => "x-request-timeout",
        }
    }

    /// A duration as this field's value, rounded down. `None` where that is nothing.
    pub fn format(self, left: Duration) -> Option<String> {
        let nanos = saturating_nanos(left);
        let value = match self {
            Self::GrpcTimeout => grpc(nanos),
            Self::EnvoyExpected => (nanos / 1_000_000).to_string(),
            Self::RequestTimeout => seconds(nanos / 1_000_000),
        };
        let is_something = value.bytes().any(|byte| matches!(byte, b'1'..=b'9'));
        is_something.then_some(value)
    }

    /// Reads a value of this field. What is not one is ignored: never an error.
    pub fn parse(self, value: &[u8]) -> Option<Duration> {
        let value = std::str::from_utf8(value).ok()?.trim_matches([' ', '\t']);
        match self {
            Self::GrpcTimeout => parse_grpc(value),
            Self::EnvoyExpected => Some(Duration::from_millis(digits(value, 19)?)),
            Self::RequestTimeout => parse_seconds(value),
        }
    }

    /// The least time that any of these fields of a request leaves, for a server that calls others:
    /// names as they came, in any case.
    pub fn least<'a>(fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Option<Duration> {
        fields
            .into_iter()
            .filter_map(|(name, value)| {
                let is_named = |header: &Self| name.eq_ignore_ascii_case(header.name().as_bytes());
                Self::ALL.into_iter().find(is_named)?.parse(value)
            })
            .min()
    }
}

/// What one call tells of its deadline, attempt by attempt: each is told less than the one before.
#[derive(Clone, Copy, Debug)]
pub struct Telling {
    header: DeadlineHeader,
    told: Duration,
}

impl Telling {
    /// Nothing was told yet.
    pub const fn new(header: DeadlineHeader) -> Self {
        Self {
            header,
            told: Duration::MAX,
        }
    }

    /// The value for an attempt that starts now. `None`: nothing is left, and the attempt is not
    /// worth sending.
    ///
    /// Kept back for the way to the receiver is half the smoothed round-trip time `rtt`, where that
    /// is known, and at least 2 ms. A time that shrinks from one attempt to the next does not make
    /// what is told grow.
    pub fn value(
        &mut self,
        now: Instant,
        deadline: Instant,
        rtt: Option<Duration>,
    ) -> Option<String> {
        let reserve = rtt.map_or(RESERVE, |rtt| RESERVE.max(rtt / 2));
        let left = (deadline - now).checked_sub(reserve)?;
        let less = self.told.saturating_sub(Duration::from_nanos(1));
        let value = self.header.format(left.min(less))?;
        self.told = self.header.parse(value.as_bytes())?;
        Some(value)
    }
}

/// The finest unit in which eight digits hold it.
fn grpc(nanos: u64) -> String {
    let units = [
        (1, 'n'),
        (1_000, 'u'),
        (1_000_000, 'm'),
        (1_000_000_000, 'S'),
        (60_000_000_000, 'M'),
    ];
    let fits = |(size, _): &(u64, char)| nanos / size <= 99_999_999;
    let (size, unit) = units
        .into_iter()
        .find(fits)
        .unwrap_or((3_600_000_000_000, 'H'));
    format!("{}{unit}", nanos / size)
}

fn seconds(millis: u64) -> String {
    let mut value = (millis / 1_000).to_string();
    if !millis.is_multiple_of(1_000) {
        let _ = write!(value, ".{:03}", millis % 1_000);
    }
    value
}

fn parse_grpc(value: &str) -> Option<Duration> {
    let (number, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    let number = digits(number, 8)?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3_600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

fn parse_seconds(value: &str) -> Option<Duration> {
    let (whole, part) = value.split_once('.').unwrap_or((value, "0"));
    if !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = part.get(..9).unwrap_or(part);
    let scale = 10_u64.pow(9_u32.saturating_sub(u32::try_from(part.len()).ok()?));
    let nanos = digits(part, 9)?.saturating_mul(scale);
    Some(Duration::from_secs(digits(whole, 19)?).saturating_add(Duration::from_nanos(nanos)))
}

/// One to `most` digits and nothing else.
fn digits(text: &str, most: usize) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number && text.len() <= most {
        text.parse().ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_grpc_timeout_uses_the_finest_unit_of_eight_digits() {
        for (left, value) in [
            (ms(10), "10000000n"),
            (ms(1_500), "1500000u"),
            (ms(5_000), "5000000u"),
            (ms(100_000), "100000m"),
            (ms(30 * 3_600_000), "108000S"),
            (Duration::from_nanos(99_999_999), "99999999n"),
            (Duration::from_nanos(100_000_001), "100000u"),
            (Duration::MAX, "5124095H"),
        ] {
            let formatted = DeadlineHeader::GrpcTimeout.format(left);
            assert_eq!(formatted.as_deref(), Some(value), "{left:?}");
        }
    }

    /// What is told 100 ms after the beginning.
    fn told(header: DeadlineHeader, deadline: u64, rtt: Option<Duration>) -> Option<String> {
        let at = |millis| Instant::ORIGIN + ms(millis);
        Telling::new(header).value(at(100), at(deadline), rtt)
    }

    #[test]
    fn each_attempt_is_told_less_even_where_the_way_got_shorter() {
        let mut telling = Telling::new(DeadlineHeader::EnvoyExpected);
        let mut value = |rtt| telling.value(Instant::ORIGIN, Instant::ORIGIN + ms(100), Some(rtt));
        assert_eq!(value(ms(80)).as_deref(), Some("60"));
        assert_eq!(value(ms(10)).as_deref(), Some("59"));
        assert_eq!(value(ms(10)).as_deref(), Some("58"));
        assert_eq!(value(ms(198)).as_deref(), Some("1"));
        assert_eq!(value(ms(10)), None);
    }

    #[test]
    fn nothing_left_is_not_sent() {
        for header in DeadlineHeader::ALL {
            assert_eq!(header.format(Duration::ZERO), None);
            for deadline in [100, 99, 102] {
                assert_eq!(told(header, deadline, None), None);
            }
            assert_eq!(told(header, 140, Some(ms(80))), None, "what is kept back");
        }
        let header = DeadlineHeader::EnvoyExpected;
        for (rtt, value) in [
            (None, "1000"),
            (Some(ms(0)), "1000"),
            (Some(ms(4)), "1000"),
            (Some(ms(80)), "962"),
            (Some(ms(81)), "961"),
        ] {
            assert_eq!(told(header, 1_102, rtt).as_deref(), Some(value), "{rtt:?}");
        }
        assert_eq!(
            DeadlineHeader::EnvoyExpected.format(Duration::from_micros(900)),
            None,
            "rounded down"
        );
    }

    #[test]
    fn seconds_have_a_decimal_part_where_needed() {
        let format = |left| DeadlineHeader::RequestTimeout.format(left);
        assert_eq!(format(ms(1_500)).as_deref(), Some("1.500"));
        assert_eq!(format(ms(30_000)).as_deref(), Some("30"));
        assert_eq!(
            format(Duration::from_micros(10_999)).as_deref(),
            Some("0.010")
        );
    }

    #[test]
    fn what_is_no_value_is_ignored() {
        let grpc = |value: &str| DeadlineHeader::GrpcTimeout.parse(value.as_bytes());
        assert_eq!(grpc("1H"), Some(Duration::from_secs(3_600)));
        assert_eq!(grpc("99999999n"), Some(Duration::from_nanos(99_999_999)));
        assert_eq!(grpc("3M"), Some(Duration::from_secs(180)));
        assert_eq!(grpc("7m"), Some(ms(7)));
        for value in [
            "100000000m",
            "5",
            "5x",
            "-5S",
            "+5S",
            "",
            "S",
            "1.5S",
            "5 S",
            "5\u{b5}",
        ] {
            assert_eq!(grpc(value), None, "{value:?}");
        }
        let seconds = |value: &str| DeadlineHeader::RequestTimeout.parse(value.as_bytes());
        assert_eq!(seconds("1.5"), Some(ms(1_500)));
        assert_eq!(seconds(" 2 "), Some(ms(2_000)));
        assert_eq!(seconds("0.0000000019"), Some(Duration::from_nanos(1)));
        for value in ["", ".", "1.", ".5", "1.5s", "-1", "1e3", "1.123456789abc"] {
            assert_eq!(seconds(value), None, "{value:?}");
        }
    }

    #[test]
    fn of_several_fields_the_least_counts() {
        let fields: [(&[u8], &[u8]); 4] = [
            (b"Grpc-Timeout", b"2S"),
            (b"x-request-timeout", b"1.25"),
            (b"x-envoy-expected-rq-timeout-ms", b"soon"),
            (b"accept", b"1"),
        ];
        assert_eq!(DeadlineHeader::least(fields), Some(ms(1_250)));
        assert_eq!(DeadlineHeader::least([]), None);
    }

    #[test]
    fn a_value_read_again_is_at_most_what_was_left() {
        for header in DeadlineHeader::ALL {
            for nanos in [
                1,
                999,
                1_000_001,
                1_999_999_999,
                100_000_000_000_123,
                u64::MAX,
            ] {
                let left = Duration::from_nanos(nanos);
                if let Some(value) = header.format(left) {
                    let read = header.parse(value.as_bytes()).expect("its own value");
                    assert!(read <= left && !read.is_zero(), "{header:?} {value}");
                }
            }
        }
    }
}
