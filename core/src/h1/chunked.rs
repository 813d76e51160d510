//! The chunked transfer coding (RFC 9112 section 7.1), without the trailers.
//!
//! ```text
//!           HEX       BWS     ;                         more
//!            |         |      |        CRLF  size > 0    |
//!  Start -> Size ---> Gap -> Extension ----> SizeEnd -> Data -> DataCr -> DataLf -> Start
//!                                               |
//!                                               | size = 0
//!                                               v
//!                                           the trailers
//! ```
//!
//! * The machine sees every framing byte once and no data byte at all.
//! * Every line ends with CRLF and nothing else; two readings of one stream are how requests are
//!   smuggled.
//! * Whatever breaks a limit breaks it at one byte, however the stream is cut.

use super::error::ChunkError;
use super::limits::Limits;

/// Framing below this is never abuse.
const FRAMING_FREE: u32 = 64 * 1024;
/// Bytes of framing for each byte of data beyond which it is.
const FRAMING_RATIO: u64 = 16;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Step {
    #[default]
    Start,
    Size,
    Gap,
    Extension,
    SizeEnd,
    Data,
    DataCr,
    DataLf,
}

/// Where in a chunked body the stream is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chunked {
    /// The size so far, then the data left.
    left: u64,
    /// Bytes of data that were passed.
    data: u64,
    /// Bytes of framing that were passed.
    framing: u32,
    /// Bytes of extensions in the body.
    extensions: u16,
    /// Bytes of extensions in the chunk.
    extension: u16,
    /// Digits of the size.
    digits: u8,
    step: Step,
}

/// What follows the framing bytes that were passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// More framing, which is not there yet.
    Bytes,
    /// So many bytes of data; tell by [`Chunked::take`] how many were passed.
    Data(u64),
    /// The trailers.
    Trailers,
}

impl Chunked {
    /// Passes `n` bytes of data, no more than are left.
    pub(super) fn take(&mut self, n: u64) {
        self.data = self.data.saturating_add(n);
        self.left = self.left.saturating_sub(n);
        if self.left == 0 {
            self.step = Step::DataCr;
        }
    }

    /// Passes framing bytes until data or the trailers come. Returns how many it passed.
    pub(super) fn advance(
        &mut self,
        input: &[u8],
        limits: &Limits,
    ) -> Result<(usize, Next), ChunkError> {
        if self.step == Step::Data {
            return Ok((0, Next::Data(self.left)));
        }
        for (at, &byte) in input.iter().enumerate() {
            self.framing = self.framing.saturating_add(1);
            match self.pass(byte, limits)? {
                Next::Bytes => {}
                next => return Ok((at + 1, next)),
            }
        }
        Ok((input.len(), Next::Bytes))
    }

    fn pass(&mut self, byte: u8, limits: &Limits) -> Result<Next, ChunkError> {
        self.step = match (self.step, byte) {
            (Step::Start | Step::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                self.push_digit(byte)?;
                Step::Size
            }
            (Step::Size | Step::Gap | Step::Extension, b'\r') => Step::SizeEnd,
            (Step::Size | Step::Gap, b' ' | b'\t') => {
                self.push_extension(limits)?;
                Step::Gap
            }
            (Step::Size | Step::Gap, b';') | (Step::Extension, b'\t' | b' '..=b'~' | 0x80..) => {
                self.push_extension(limits)?;
                Step::Extension
            }
            (Step::SizeEnd, b'\n') => return self.begin_data(),
            (Step::Size | Step::Gap | Step::Extension, b'\n') | (Step::SizeEnd, _) => {
                return Err(ChunkError::LineEnd);
            }
            (Step::DataCr, b'\r') => Step::DataLf,
            (Step::DataLf, b'\n') => {
                let (data, framing) = (self.data, self.framing);
                let extensions = self.extensions;
                *self = Self {
                    data,
                    framing,
                    extensions,
                    ..Self::default()
                };
                Step::Start
            }
            (Step::DataCr | Step::DataLf, _) => return Err(ChunkError::DataEnd),
            _ => return Err(ChunkError::Size),
        };
        Ok(Next::Bytes)
    }

    /// At most 16 digits that count, at most 32 with the zeros before them.
    fn push_digit(&mut self, byte: u8) -> Result<(), ChunkError> {
        let digit = char::from(byte).to_digit(16).unwrap_or(0);
        if self.digits == 32 || self.left >> 60 != 0 {
            return Err(ChunkError::Size);
        }
        self.digits += 1;
        self.left = self.left << 4 | u64::from(digit);
        Ok(())
    }

    fn push_extension(&mut self, limits: &Limits) -> Result<(), ChunkError> {
        if self.extension >= limits.chunk_extension || self.extensions >= limits.chunk_extensions {
            return Err(ChunkError::ExtensionsTooLong);
        }
        self.extension += 1;
        self.extensions += 1;
        Ok(())
    }

    fn begin_data(&mut self) -> Result<Next, ChunkError> {
        let allowed = self.data.saturating_mul(FRAMING_RATIO);
        if self.framing > FRAMING_FREE && u64::from(self.framing) > allowed {
            return Err(ChunkError::Abusive);
        }
        if self.left == 0 {
            return Ok(Next::Trailers);
        }
        self.step = Step::Data;
        Ok(Next::Data(self.left))
    }
}

/// Decodes a small body that is all there and has no trailers: copies it to `room`, and says how
/// long it is and how many bytes of `input` it took. None in every other case.
pub(super) fn whole(input: &[u8], room: &mut [u8], limits: &Limits) -> Option<(usize, usize)> {
    // Without it the body is not complete, and this need not be tried.
    if !input.ends_with(b"0\r\n\r\n") {
        return None;
    }
    let (mut chunked, mut at, mut len) = (Chunked::default(), 0, 0);
    loop {
        let (passed, next) = chunked.advance(input.get(at..)?, limits).ok()?;
        at += passed;
        match next {
            Next::Bytes => return None,
            Next::Trailers => {
                return input
                    .get(at..)?
                    .starts_with(b"\r\n")
                    .then_some((len, at + 2));
            }
            Next::Data(left) => {
                let n = usize::try_from(left).ok()?;
                let data = input.get(at..at.checked_add(n)?)?;
                room.get_mut(len..len + n)?.copy_from_slice(data);
                chunked.take(left);
                at += n;
                len += n;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(input: &[u8]) -> Result<(Vec<u8>, Option<usize>), ChunkError> {
        let (mut chunked, mut at, mut out) = (Chunked::default(), 0, Vec::new());
        loop {
            let (passed, next) = chunked.advance(&input[at..], &Limits::default())?;
            at += passed;
            match next {
                Next::Bytes => return Ok((out, None)),
                Next::Trailers => return Ok((out, Some(at))),
                Next::Data(left) => {
                    let n = (left as usize).min(input.len() - at);
                    out.extend_from_slice(&input[at..at + n]);
                    chunked.take(n as u64);
                    at += n;
                    if at == input.len() {
                        return Ok((out, None));
                    }
                }
            }
        }
    }

    #[test]
    fn sizes_have_sixteen_digits_that_count_and_some_zeros() {
        let zeros = "0".repeat(31);
        assert_eq!(
            decode(b"00000000000000005\r\nHELLO\r\n0\r\n").unwrap().0,
            b"HELLO"
        );
        assert_eq!(
            decode(format!("{zeros}5\r\nHELLO").as_bytes()).unwrap().0,
            b"HELLO"
        );
        assert!(decode(b"FFFFFFFFFFFFFFFF\r\nx").is_ok());
        let bad = [
            "FFFFFFFFFFFFFFFFF\r\n",
            "10000000000000000\r\n",
            "0x5\r\n",
            "+5\r\n",
            " 5\r\n",
            "-1\r\n",
            "\r\n",
            ";a\r\n",
            "5 5\r\n",
            "g\r\n",
            &format!("{zeros}05\r\n"),
        ];
        for input in bad {
            assert_eq!(decode(input.as_bytes()), Err(ChunkError::Size), "{input:?}");
        }
    }

    #[test]
    fn every_line_ends_with_crlf() {
        assert_eq!(decode(b"5\nHELLO\n0\n\n"), Err(ChunkError::LineEnd));
        assert_eq!(decode(b"5\rHELLO"), Err(ChunkError::LineEnd));
        assert_eq!(decode(b"5;a\nHELLO"), Err(ChunkError::LineEnd));
        assert_eq!(decode(b"5\r\nHELLOXX0\r\n\r\n"), Err(ChunkError::DataEnd));
        assert_eq!(decode(b"5\r\nHELLO\n0\r\n\r\n"), Err(ChunkError::DataEnd));
        assert_eq!(decode(b"5\r\nHELLO\rX"), Err(ChunkError::DataEnd));
    }

    #[test]
    fn extensions_are_ignored_up_to_their_limit() {
        let input = b"5 \t;a=b;c=\"d e\"\r\nHELLO\r\n0;x\r\n";
        assert_eq!(decode(input), Ok((b"HELLO".to_vec(), Some(input.len()))));
        let long = format!("1;{}\r\nx", "e".repeat(255));
        assert_eq!(decode(long.as_bytes()).unwrap().0, b"x");
        let long = format!("1;{}\r\nx", "e".repeat(256));
        assert_eq!(decode(long.as_bytes()), Err(ChunkError::ExtensionsTooLong));
        let many = format!("1;{}\r\nx\r\n", "e".repeat(199)).repeat(82);
        assert_eq!(decode(many.as_bytes()), Err(ChunkError::ExtensionsTooLong));
        assert_eq!(decode(b"1;\x01\r\n"), Err(ChunkError::Size));
    }

    #[test]
    fn mostly_framing_is_abuse_after_a_while() {
        let chunk = format!("1;{}\r\nx\r\n", "e".repeat(200));
        let limits = Limits::default().chunk_extensions(1000, usize::MAX);
        let input = chunk.repeat(400);
        let (mut chunked, mut at) = (Chunked::default(), 0);
        let error = loop {
            match chunked.advance(&input.as_bytes()[at..], &limits) {
                Ok((passed, Next::Data(n))) => {
                    chunked.take(n);
                    at += passed + n as usize;
                }
                Ok(_) => panic!("it should not end well"),
                Err(error) => break error,
            }
        };
        assert_eq!(error, ChunkError::Abusive);
        assert!(at > 60_000 && at < 70_000, "{at}");
    }

    #[test]
    fn sixteen_times_as_much_framing_as_data_is_no_abuse_and_more_is() {
        let chunks = |digits: usize| format!("{:0>digits$}\r\nx\r\n", 1).repeat(10_000);
        assert_eq!(
            decode(chunks(11).as_bytes()).map(|(out, _)| out.len()),
            Ok(10_000)
        );
        assert_eq!(decode(chunks(13).as_bytes()), Err(ChunkError::Abusive));
    }

    #[test]
    fn a_small_body_is_decoded_whole_or_not_at_all() {
        let mut room = [0; 64];
        let limits = Limits::default();
        let body = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        assert_eq!(whole(body, &mut room, &limits), Some((5, body.len())));
        assert_eq!(&room[..5], b"abcde");
        assert_eq!(whole(b"0\r\n\r\n", &mut room, &limits), Some((0, 5)));
        assert_eq!(whole(&body[..body.len() - 1], &mut room, &limits), None);
        assert_eq!(
            whole(b"1\r\nx\r\n0\r\na: b\r\n\r\n", &mut room, &limits),
            None
        );
        assert_eq!(whole(body, &mut room[..4], &limits), None);
        assert_eq!(whole(b"1\r\nxy0\r\n\r\n", &mut room, &limits), None);
    }

    #[test]
    fn framing_is_abuse_from_the_first_byte_beyond_both_bounds() {
        let begin = |framing, data| {
            let mut chunked = Chunked {
                framing,
                data,
                left: 1,
                ..Chunked::default()
            };
            chunked.begin_data()
        };
        let ratio = FRAMING_RATIO as u32;
        let data = FRAMING_FREE / ratio + 1;
        for (framing, data) in [(FRAMING_FREE, 0), (data * ratio, u64::from(data))] {
            assert_eq!(begin(framing, data), Ok(Next::Data(1)));
            assert_eq!(begin(framing + 1, data), Err(ChunkError::Abusive));
        }
    }
}
