//! Where a head ends.
//!
//! The scan remembers how far it looked, so that a head which arrives byte by byte costs as much
//! as one which arrives whole. Its verdict is a function of the bytes alone, never of how they
//! were cut: each limit is broken at one position, and the first position wins.

use crate::http::HeadError;

/// How far the search for the end of a head or of a trailer section has come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scan {
    /// Everything before it was looked at.
    at: u32,
    /// Where the present line starts; a folded line starts with its field.
    line: u32,
}

/// What a scan may not exceed, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScanLimits {
    pub(crate) total: usize,
    pub(crate) line: usize,
}

impl Scan {
    /// Whether a search is under way.
    pub(crate) fn is_begun(self) -> bool {
        self.at != 0
    }

    /// The length of the head up to and with its empty line, if it is all there.
    pub(crate) fn find_end(
        &mut self,
        bytes: &[u8],
        limits: ScanLimits,
    ) -> Result<Option<usize>, HeadError> {
        loop {
            let (at, line) = (self.at as usize, self.line as usize);
            let rest = bytes.get(at..).unwrap_or_default();
            let newline = rest.iter().position(|&byte| byte == b'\n').map(|n| at + n);
            let (last_total, last_line) = (limits.total.saturating_sub(1), line + limits.line);
            if newline.unwrap_or(bytes.len()) > last_total.min(last_line) {
                let total = last_total <= last_line;
                return Err(if total {
                    HeadError::TooLarge
                } else {
                    HeadError::LineTooLong
                });
            }
            let Some(newline) = newline else {
                self.at = bytes.len() as u32;
                return Ok(None);
            };
            if matches!(bytes.get(line..newline), Some([] | [b'\r'])) {
                return Ok(Some(newline + 1));
            }
            match bytes.get(newline + 1) {
                // Whether the line goes on is not known yet: look at this newline again.
                None => {
                    self.at = newline as u32;
                    return Ok(None);
                }
                Some(b' ' | b'\t') => self.at = newline as u32 + 1,
                Some(_) => {
                    self.at = newline as u32 + 1;
                    self.line = self.at;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ScanLimits = ScanLimits {
        total: 40,
        line: 20,
    };

    fn by_bytes(input: &[u8]) -> Result<Option<usize>, HeadError> {
        let mut scan = Scan::default();
        for n in 0..=input.len() {
            match scan.find_end(&input[..n], LIMITS) {
                Ok(None) => {}
                verdict => return verdict,
            }
        }
        Ok(None)
    }

    #[test]
    fn the_verdict_does_not_depend_on_the_cuts() {
        type Row = (&'static [u8], Result<Option<usize>, HeadError>);
        let inputs: [Row; 9] = [
            (b"a: b\r\n\r\nrest", Ok(Some(8))),
            (b"a: b\n\nrest", Ok(Some(6))),
            (b"a: b\r\n", Ok(None)),
            (b"a: b\r\n c\r\n\r\n", Ok(Some(12))),
            (b"a: 34567890123456789\r\n\r\n", Err(HeadError::LineTooLong)),
            (b"a: 345678901234567\r\n\r\n", Ok(Some(22))),
            (
                b"a: 345678\r\n 01234567890\r\n\r\n",
                Err(HeadError::LineTooLong),
            ),
            (
                b"a: 3456789\r\nb: 3456789\r\nc: 3456789\r\nd: 3456\r\n",
                Err(HeadError::TooLarge),
            ),
            (b"\r\n", Ok(Some(2))),
        ];
        for (input, expected) in inputs {
            let whole = Scan::default().find_end(input, LIMITS);
            assert_eq!(whole, expected, "{:?}", input.escape_ascii().to_string());
            assert_eq!(
                by_bytes(input),
                expected,
                "{:?}",
                input.escape_ascii().to_string()
            );
        }
    }
}
