//! The parser of `Retry-After`: a total function.

use std::time::{Duration, SystemTime};

use fulmar_core::retry::parse_retry_after;

/// I1.10: any bytes in any number of fields give a wait or none, without a panic; the result is the
/// largest of what each field gives alone, and what was never a value adds nothing.
///
/// # Panics
///
/// Where one of these does not hold.
pub fn retry_after_values(data: &[u8]) {
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(946_684_799);
    let parse = |values: &[&[u8]], date| parse_retry_after(values.iter().copied(), date, wall);
    let values: Vec<&[u8]> = data.split(|&byte| byte == b'|').collect();
    let last = values.last().copied();
    for date in [None, last] {
        let together = parse(&values, date);
        let alone = values
            .iter()
            .filter_map(|value| parse(&[value], date))
            .max();
        assert_eq!(together, alone);
    }
    for value in values {
        let wait = parse(&[value], None);
        let has_digit = value.iter().any(u8::is_ascii_digit);
        assert!(wait.is_none() || has_digit, "{value:?} has no number");
        if let Ok(seconds) = str::from_utf8(value).map_err(drop).and_then(digits) {
            assert_eq!(wait, Some(Duration::from_secs(seconds)));
        }
    }
}

/// The number in plain digits, saturated, by the standard library.
fn digits(value: &str) -> Result<u64, ()> {
    let value = value.trim_matches([' ', '\t']);
    let is_digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    is_digits
        .then(|| value.parse().unwrap_or(u64::MAX))
        .ok_or(())
}
