//! Numbers for people.

use std::time::Duration;

/// A duration in three digits.
pub fn time(duration: Duration) -> String {
    let micros = duration.as_secs_f64() * 1e6;
    match micros {
        m if m < 999.5 => format!("{m:.0} µs"),
        m if m < 9_995.0 => format!("{:.2} ms", m / 1e3),
        m if m < 99_950.0 => format!("{:.1} ms", m / 1e3),
        m if m < 999_500.0 => format!("{:.0} ms", m / 1e3),
        m => format!("{:.2} s", m / 1e6),
    }
}

/// A time on an axis, without the digits that would be zero.
pub(super) fn tick(duration: Duration) -> String {
    let micros = duration.as_micros() as f64;
    match micros {
        m if m < 0.5 => "0".to_owned(),
        m if m < 999.5 => format!("{m} µs"),
        m if m < 999_500.0 => format!("{} ms", m / 1e3),
        m => format!("{} s", m / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_three_digits() {
        let shown = [250, 1_500, 12_300, 123_000, 999_600, 2_004_000, 61_000_000]
            .map(|micros| time(Duration::from_micros(micros)));
        let expected = [
            "250 µs", "1.50 ms", "12.3 ms", "123 ms", "1.00 s", "2.00 s", "61.00 s",
        ];
        assert_eq!(shown, expected);
        let ticks = [0, 250, 1_500, 500_000, 1_500_000];
        let ticks = ticks.map(|micros| tick(Duration::from_micros(micros)));
        assert_eq!(ticks, ["0", "250 µs", "1.5 ms", "500 ms", "1.5 s"]);
    }
}
