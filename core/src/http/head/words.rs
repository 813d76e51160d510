//! Eight bytes at a time: where text ends, where a name ends.
//!
//! Bytes are loaded so that the first is the lowest, and each answers in its highest bit. A borrow
//! or a carry only ever reaches bytes behind one that has answered, so the lowest answer is exact.

use std::num::NonZero;

const fn each(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

const HIGH: u64 = each(0x80);

/// Bytes that are no text: control characters, HTAB among them, and DEL. Above 0x7f all is text.
const fn controls(word: u64) -> u64 {
    let delete = word ^ each(0x7f);
    let low = word.wrapping_sub(each(0x20)) & !word;
    let zero = delete.wrapping_sub(each(1)) & !delete;
    (low | zero) & HIGH
}

/// The same, and all above 0x7e, at less cost.
const fn not_plain(word: u64) -> u64 {
    (word.wrapping_sub(each(0x20)) | word.wrapping_add(each(1))) & HIGH
}

/// Bytes that are neither letters nor `-`, of which nearly every name consists.
const fn not_letters(word: u64) -> u64 {
    let ascii = word & !HIGH;
    let small = ascii | each(0x20);
    let letter = (small + each(0x80 - b'a')) & !(small + each(0x7f - b'z'));
    let not_hyphen = (ascii ^ each(b'-')) + each(0x7f);
    (!letter & not_hyphen | word) & HIGH
}

/// The characters of a token (RFC 9110 section 5.6.2).
static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 0x80 {
        table[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            );
        byte += 1;
    }
    table
};

/// How many bytes of text there are in front.
// A call costs as much as the line.
#[allow(clippy::inline_always)]
#[inline(always)]
pub(super) fn text_len(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some((word, behind)) = rest.split_first_chunk::<8>() {
        let controls = controls(u64::from_le_bytes(*word));
        if controls != 0 {
            return bytes.len() - rest.len() + (controls.trailing_zeros() / 8) as usize;
        }
        rest = behind;
    }
    let is_text = |byte: &u8| !matches!(byte, 0..0x20 | 0x7f);
    bytes.len() - rest.len() + rest.iter().take_while(|byte| is_text(byte)).count()
}

/// How many bytes of a token there are in front.
#[allow(clippy::inline_always)]
#[inline(always)]
pub(super) fn token_len(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some((word, behind)) = rest.split_first_chunk::<8>() {
        let others = not_letters(u64::from_le_bytes(*word));
        if others != 0 {
            let len = bytes.len() - rest.len() + (others.trailing_zeros() / 8) as usize;
            return match bytes.get(len) {
                Some(b':') => len,
                _ => longer_token_len(bytes, len),
            };
        }
        rest = behind;
    }
    longer_token_len(bytes, bytes.len() - rest.len())
}

/// The same, byte by byte, where so many in front are known to belong.
#[cold]
fn longer_token_len(bytes: &[u8], known: usize) -> usize {
    let rest = bytes.get(known..).unwrap_or_default();
    let is_token = |byte: &u8| TOKEN[usize::from(*byte)];
    known + rest.iter().take_while(|byte| is_token(byte)).count()
}

/// Where the first byte that answers is, among `N` words from `at` on.
// Unrolled, without a bound to check: both are known from the size of the window.
#[allow(clippy::inline_always)]
#[inline(always)]
fn find<const N: usize>(
    window: &[u8; WINDOW],
    at: usize,
    answers: impl Fn(u64) -> u64,
) -> Option<usize> {
    let words = window.get(at..)?.as_chunks::<8>().0.first_chunk::<N>()?;
    for (index, word) in words.iter().enumerate() {
        if let Some(found) = NonZero::new(answers(u64::from_le_bytes(*word))) {
            return Some(at + index * 8 + (found.trailing_zeros() / 8) as usize);
        }
    }
    None
}

/// A name of up to 15 bytes, a colon and a space, a value of up to 39, CRLF.
pub(super) const WINDOW: usize = 64;

/// A line as nearly all are: a short name of letters and hyphens, a colon, one space, a short value
/// of visible ASCII and spaces with none at its ends, CRLF. The places of colon and CR.
#[allow(clippy::inline_always)]
#[inline(always)]
pub(super) fn plain_line(window: &[u8; WINDOW]) -> Option<(usize, usize)> {
    let colon = find::<2>(window, 0, not_letters)?;
    let end = find::<5>(window, colon + 2, not_plain)?;
    let is_plain = colon > 0
        && *window.get(colon..colon + 2)? == *b": "
        && *window.get(colon + 2)? > b' '
        && *window.get(end - 1)? > b' '
        && *window.get(end..end + 2)? == *b"\r\n";
    is_plain.then_some((colon, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every byte at every place of three words and a rest, among bytes that belong.
    fn check(len: fn(&[u8]) -> usize, around: &[u8], belongs: fn(u8) -> bool) {
        for byte in 0..=255_u8 {
            for place in 0..27 {
                for &fill in around {
                    let mut text = [fill; 27];
                    text[place] = byte;
                    let expected = if belongs(byte) { 27 } else { place };
                    assert_eq!(len(&text), expected, "{byte:#x} at {place}");
                    assert_eq!(len(&text[place + 1..]), 26 - place);
                    assert_eq!(len(&text[..=place]), expected.min(place + 1));
                    // A second stranger behind the first does not hide it.
                    if let Some(last) = text.get_mut(place + 1) {
                        *last = 0x7f;
                        assert_eq!(len(&text), expected.min(place + 1));
                        text[place + 1] = 0x1f;
                        assert_eq!(len(&text), expected.min(place + 1));
                    }
                }
            }
        }
    }

    #[test]
    fn the_end_of_text_is_found_for_every_byte_at_every_place() {
        check(text_len, b" a~\x80\xff", |byte| {
            byte >= 0x20 && byte != 0x7f
        });
    }

    #[test]
    fn the_end_of_a_token_is_found_for_every_byte_at_every_place() {
        let is_token =
            |byte: u8| byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(&byte);
        check(token_len, b"aZ-0~", is_token);
    }
}
