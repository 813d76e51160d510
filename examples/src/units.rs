//! Sizes for people.

use std::time::Duration;

/// A size.
pub(crate) fn size(bytes: u64) -> String {
    match bytes as f64 {
        b if b < 1024.0 => format!("{bytes} B"),
        b if b < 1024.0 * 1024.0 => format!("{:.1} KiB", b / 1024.0),
        b => format!("{:.1} MiB", b / 1024.0 / 1024.0),
    }
}

/// How fast so many bytes came.
pub(crate) fn rate(bytes: u64, took: Duration) -> String {
    let per_second = u128::from(bytes) * 1_000_000_000 / took.as_nanos().max(1);
    format!("{}/s", size(per_second as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_binary() {
        assert_eq!(size(50 * 1024 * 1024), "50.0 MiB");
        assert_eq!(size(40_000), "39.1 KiB");
        assert_eq!(rate(1 << 20, Duration::from_millis(500)), "2.0 MiB/s");
    }
}
