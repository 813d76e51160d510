//! The `Retry-After` field. RFC 9110 section 10.2.3.

use std::time::{Duration, SystemTime};

/// How long the origin asks to wait, from now.
///
/// Of several fields the largest valid value counts. A value is either seconds, which saturate, or
/// an HTTP date in any of the three forms of RFC 9110 section 5.6.7. A date is taken relative to
/// the response's own `Date` field (`date`), which makes it immune to clocks that differ, and only
/// without a valid one to `wall`, this side's clock. What is neither is ignored: never an error.
pub fn parse_retry_after<'a>(
    values: impl Iterator<Item = &'a [u8]>,
    date: Option<&[u8]>,
    wall: SystemTime,
) -> Option<Duration> {
    values
        .filter_map(|value| parse_one(trim(value), date, wall))
        .max()
}

fn parse_one(value: &[u8], date: Option<&[u8]>, wall: SystemTime) -> Option<Duration> {
    match value {
        [] => None,
        _ if value.iter().all(u8::is_ascii_digit) => Some(Duration::from_secs(seconds(value))),
        _ => {
            let until = parse_date(value)?;
            let since = date.and_then(|date| parse_date(trim(date))).unwrap_or(wall);
            Some(until.duration_since(since).unwrap_or_default())
        }
    }
}

fn seconds(digits: &[u8]) -> u64 {
    digits.iter().fold(0_u64, |value, digit| {
        value
            .saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    })
}

fn parse_date(value: &[u8]) -> Option<SystemTime> {
    httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()
}

fn trim(value: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let Some(start) = value.iter().position(|byte| !is_space(byte)) else {
        return &[];
    };
    let end = value
        .iter()
        .rposition(|byte| !is_space(byte))
        .map_or(start, |last| last + 1);
    value.get(start..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const THEN: &str = "Fri, 31 Dec 1999 23:59:29 GMT";

    fn wall() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(946_684_799)
    }

    fn parse(values: &[&str], date: Option<&str>) -> Option<Duration> {
        parse_retry_after(
            values.iter().map(|value| value.as_bytes()),
            date.map(str::as_bytes),
            wall(),
        )
    }

    fn secs(secs: u64) -> Option<Duration> {
        Duration::from_secs(secs).into()
    }

    #[test]
    fn seconds_are_digits_alone_and_saturate() {
        for value in ["120", " 120 ", "\t120", "0120"] {
            assert_eq!(parse(&[value], None), secs(120), "{value:?}");
        }
        assert_eq!(parse(&["0"], None), secs(0));
        assert_eq!(parse(&["99999999999999999999"], None), secs(u64::MAX));
        for value in [
            "-1", "1.5", "+5", "0x10", "", " ", "soon", "5, 10", "5 10", "\u{b2}",
        ] {
            assert_eq!(parse(&[value], Some(THEN)), None, "{value:?}");
        }
    }

    #[test]
    fn of_several_fields_the_largest_valid_one_counts() {
        assert_eq!(parse(&["5", "10"], None), secs(10));
        assert_eq!(parse(&["10", "5", "soon"], None), secs(10));
        assert_eq!(
            parse(&["5", "Fri, 31 Dec 1999 23:59:59 GMT"], Some(THEN)),
            secs(30)
        );
        assert_eq!(parse(&[], None), None);
    }

    #[test]
    fn the_three_forms_of_a_date_count_from_the_date_field() {
        for value in [
            "Fri, 31 Dec 1999 23:59:59 GMT",
            "Friday, 31-Dec-99 23:59:59 GMT",
            "Fri Dec 31 23:59:59 1999",
        ] {
            assert_eq!(parse(&[value], Some(THEN)), secs(30), "{value:?}");
            assert_eq!(parse(&[value], Some("yesterday")), secs(0), "{value:?}");
        }
    }

    #[test]
    fn a_date_in_the_past_is_no_wait() {
        assert_eq!(
            parse(&["Fri, 31 Dec 1999 23:59:00 GMT"], Some(THEN)),
            secs(0)
        );
        assert_eq!(parse(&["Thu, 01 Jan 1970 00:00:00 GMT"], None), secs(0));
    }

    #[test]
    fn without_a_date_field_a_slow_clock_lengthens_the_wait() {
        let hour = Duration::from_secs(3600);
        let value: &[u8] = b"Fri, 31 Dec 1999 23:59:59 GMT";
        let wait = parse_retry_after([value].into_iter(), None, wall() - hour);
        assert_eq!(wait, Some(hour));
    }
}
