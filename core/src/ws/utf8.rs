//! UTF-8 checked as it arrives, in pieces cut anywhere.

/// A check of one text. What it holds is the beginning of a character whose rest is to come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Utf8 {
    begun: [u8; 4],
    len: u8,
}

/// The bytes are not UTF-8, whatever follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotUtf8;

impl Utf8 {
    /// Checks the next piece. An invalid sequence fails with its first impossible byte.
    pub(super) fn check(&mut self, mut bytes: &[u8]) -> Result<(), NotUtf8> {
        while self.len > 0 {
            let Some((&first, rest)) = bytes.split_first() else {
                return Ok(());
            };
            bytes = rest;
            self.complete(first)?;
        }
        match std::str::from_utf8(bytes) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_some() => Err(NotUtf8),
            Err(error) => {
                let rest = bytes.get(error.valid_up_to()..).unwrap_or_default();
                // At most three bytes: four are a character or are not one.
                for (slot, byte) in self.begun.iter_mut().zip(rest) {
                    *slot = *byte;
                }
                self.len = rest.len() as u8;
                Ok(())
            }
        }
    }

    /// Whether the text may end here.
    pub(super) fn is_whole(self) -> bool {
        self.len == 0
    }

    fn complete(&mut self, byte: u8) -> Result<(), NotUtf8> {
        let at = usize::from(self.len);
        *self.begun.get_mut(at).ok_or(NotUtf8)? = byte;
        let so_far = self.begun.get(..=at).unwrap_or_default();
        self.len = match std::str::from_utf8(so_far) {
            Ok(_) => 0,
            Err(error) if error.error_len().is_some() => return Err(NotUtf8),
            Err(_) => self.len + 1,
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many bytes are taken one by one before the check fails.
    fn taken(bytes: &[u8]) -> Option<usize> {
        let mut check = Utf8::default();
        bytes.iter().position(|byte| check.check(&[*byte]).is_err())
    }

    #[test]
    fn text_cut_anywhere_is_checked_as_a_whole() {
        let text = "a\u{e9}\u{20ac}\u{1f600}\u{10ffff}z".as_bytes();
        for cut in 0..=text.len() {
            for second in cut..=text.len() {
                let mut check = Utf8::default();
                for piece in [&text[..cut], &text[cut..second], &text[second..]] {
                    assert_eq!(check.check(piece), Ok(()), "{cut} {second}");
                }
                assert!(check.is_whole());
            }
        }
    }

    #[test]
    fn it_fails_with_the_first_impossible_byte() {
        assert_eq!(taken(b"\xc0\xaf"), Some(0), "overlong, by its first byte");
        assert_eq!(taken(b"\xed\xa0\x80"), Some(1), "a surrogate");
        assert_eq!(taken(b"\xf4\x90\x80\x80"), Some(1), "above U+10FFFF");
        assert_eq!(taken(b"\xe2\x82a"), Some(2));
        assert_eq!(taken(b"ok\xff"), Some(2));
        assert_eq!(taken(b"\x80"), Some(0));
        assert_eq!(taken("\u{20ac}".as_bytes()), None);
    }

    #[test]
    fn a_text_must_not_end_within_a_character() {
        let mut check = Utf8::default();
        assert_eq!(check.check(b"\xe2\x82"), Ok(()));
        assert!(!check.is_whole());
        assert_eq!(check.check(b"\xac"), Ok(()));
        assert!(check.is_whole());
    }
}
