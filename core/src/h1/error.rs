//! What can be wrong with a response, with a request, and with a connection afterwards.

use std::fmt;

use crate::http::{FramingError, HeadError};

/// How the bytes from the peer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A FIN, or `close_notify` before it.
    Clean,
    /// TLS ended without `close_notify`: bytes may have been cut off.
    Truncated,
    /// A reset, or another failure of the transport.
    Reset,
}

/// How far a response had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// No exchange was going on.
    Idle,
    /// No byte of the awaited head was there.
    Start,
    /// A head had begun.
    Head,
    /// A body or its trailers.
    Body,
}

/// Why chunks cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChunkError {
    /// A size is not hexadecimal digits, or too many of them.
    Size,
    /// A line does not end with CRLF.
    LineEnd,
    /// A chunk's data is not followed by CRLF.
    DataEnd,
    /// Extensions are longer than their limit.
    ExtensionsTooLong,
    /// Far more framing than data.
    Abusive,
}

/// Why a response cannot be read. Sticky: the connection says the same ever after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The head is not one, or exceeds a limit.
    Head(HeadError),
    /// The body's length is unknown.
    Framing(FramingError),
    /// The chunks are malformed or abusive.
    Chunk(ChunkError),
    /// The trailers are malformed or exceed a limit.
    Trailers(HeadError),
    /// Too many interim responses, or too large ones.
    Interims,
    /// The peer switched to a protocol that it was not offered.
    Upgrade,
    /// Bytes arrived that answer nothing.
    Unsolicited,
    /// The peer ended the connection before the message.
    Eof {
        /// How far the response had come.
        at: Stage,
    },
    /// TLS was cut off before the message, or where only the end of the connection ends it.
    Truncated {
        /// How far the response had come.
        at: Stage,
    },
    /// The connection was reset before the end of the message.
    Reset {
        /// How far the response had come.
        at: Stage,
    },
}

impl Error {
    pub(super) fn ended(end: End, at: Stage) -> Self {
        match end {
            End::Clean => Self::Eof { at },
            End::Truncated => Self::Truncated { at },
            End::Reset => Self::Reset { at },
        }
    }

    /// Whether the connection ended too early, and what was received is sound.
    pub fn is_eof(self) -> bool {
        matches!(
            self,
            Self::Eof { .. } | Self::Truncated { .. } | Self::Reset { .. }
        )
    }

    /// Whether a limit was exceeded, by bytes that might otherwise be sound.
    pub fn is_limit(self) -> bool {
        match self {
            Self::Head(error) | Self::Trailers(error) => error.is_limit(),
            Self::Chunk(error) => {
                matches!(error, ChunkError::ExtensionsTooLong | ChunkError::Abusive)
            }
            Self::Interims => true,
            _ => false,
        }
    }

    /// Whether the bytes are not the protocol's.
    pub fn is_malformed(self) -> bool {
        !self.is_eof() && !self.is_limit()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head(error) => error.fmt(f),
            Self::Framing(error) => error.fmt(f),
            Self::Chunk(error) => error.fmt(f),
            Self::Trailers(error) => write!(f, "in the trailers: {error}"),
            Self::Interims => f.write_str("too many or too large interim responses"),
            Self::Upgrade => f.write_str("the peer switched to a protocol that was not offered"),
            Self::Unsolicited => f.write_str("the peer sent bytes that answer no request"),
            Self::Eof { at } => write!(f, "the peer closed the connection {at}"),
            Self::Truncated { at } => {
                write!(
                    f,
                    "the peer closed the connection without close_notify {at}"
                )
            }
            Self::Reset { at } => write!(f, "the connection was reset {at}"),
        }
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "while it was idle",
            Self::Start => "before the response",
            Self::Head => "within the response head",
            Self::Body => "within the response body",
        })
    }
}

impl fmt::Display for ChunkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Size => "a chunk size is malformed",
            Self::LineEnd => "a chunk's line does not end with CRLF",
            Self::DataEnd => "a chunk's data is not followed by CRLF",
            Self::ExtensionsTooLong => "chunk extensions are longer than their limit",
            Self::Abusive => "the chunks have far more framing than data",
        })
    }
}

impl std::error::Error for ChunkError {}

/// Why a connection serves no further exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The request said `Connection: close`.
    Asked,
    /// The response said `Connection: close`.
    Peer,
    /// The response is HTTP/1.0 without `Connection: keep-alive`, or came by an HTTP/1.0 proxy.
    Http10,
    /// The end of the connection ended the body.
    CloseDelimited,
    /// The response deviated in a way that was tolerated.
    Faulty,
    /// The response came before the request was complete.
    EarlyResponse,
    /// The request was given up half-way.
    RequestAborted,
    /// Bytes followed the response. They were discarded.
    Desync,
    /// A 205 (Reset Content) had content.
    ResetContent,
    /// The peer has closed its side.
    PeerClosed,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Asked => "the request asked to close",
            Self::Peer => "the peer asked to close",
            Self::Http10 => "the peer speaks HTTP/1.0",
            Self::CloseDelimited => "the body ended with the connection",
            Self::Faulty => "the response was not quite in order",
            Self::EarlyResponse => "the response came before the request was complete",
            Self::RequestAborted => "the request was given up",
            Self::Desync => "bytes followed the response",
            Self::ResetContent => "a 205 response had content",
            Self::PeerClosed => "the peer closed the connection",
        })
    }
}

/// Why a request, or a part of one, was not sent. Nothing of it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// Another exchange is going on.
    Busy,
    /// The connection cannot serve another exchange.
    Unusable,
    /// The target is empty, or has a space, a control character or a byte that is not ASCII.
    Target,
    /// The host has a space, a control character or a byte that is not ASCII.
    Host,
    /// More than one `Host` header.
    DuplicateHost,
    /// Both `Content-Length` and `Transfer-Encoding`.
    Ambiguous,
    /// A `Content-Length` header that is malformed or is not the body's length.
    ContentLength,
    /// A `Transfer-Encoding` header other than `chunked`, or for a body of known length.
    TransferEncoding,
    /// A body of unknown length to a peer that speaks HTTP/1.0.
    ChunkedToHttp10,
    /// A body with a method that has none (TRACE, CONNECT).
    BodyNotAllowed,
    /// More body than was declared.
    TooMuchBody,
    /// Less body than was declared. The connection has to be closed.
    TooLittleBody,
    /// The body does not go out now: see [`Connection::is_body_wanted`].
    ///
    /// [`Connection::is_body_wanted`]: crate::h1::Connection::is_body_wanted
    NotWanted,
    /// Trailers with a body that has none, or of a name that trailers cannot have.
    Trailers,
}

impl RequestError {
    /// Whether the body is not as long as was declared.
    pub const fn is_body_length(self) -> bool {
        matches!(self, Self::TooMuchBody | Self::TooLittleBody)
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => "another exchange is going on on the connection",
            Self::Unusable => "the connection cannot serve another exchange",
            Self::Target => "the request target has a forbidden character or is empty",
            Self::Host => "the host has a forbidden character",
            Self::DuplicateHost => "more than one host header",
            Self::Ambiguous => "both content-length and transfer-encoding are set",
            Self::ContentLength => "the content-length header is not the length of the body",
            Self::TransferEncoding => "the transfer-encoding header does not fit the body",
            Self::ChunkedToHttp10 => "a body of unknown length cannot be sent to HTTP/1.0",
            Self::BodyNotAllowed => "the method cannot have a body",
            Self::TooMuchBody => "the body is longer than declared",
            Self::TooLittleBody => "the body is shorter than declared",
            Self::NotWanted => "the body is not to be sent now",
            Self::Trailers => "the trailers cannot be sent",
        })
    }
}

impl std::error::Error for RequestError {}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Error; 17] = [
        Error::Head(HeadError::Version),
        Error::Head(HeadError::TooLarge),
        Error::Framing(FramingError::ContentLength),
        Error::Chunk(ChunkError::Size),
        Error::Chunk(ChunkError::LineEnd),
        Error::Chunk(ChunkError::DataEnd),
        Error::Chunk(ChunkError::ExtensionsTooLong),
        Error::Chunk(ChunkError::Abusive),
        Error::Trailers(HeadError::Version),
        Error::Trailers(HeadError::TooLarge),
        Error::Interims,
        Error::Upgrade,
        Error::Unsolicited,
        Error::Eof { at: Stage::Idle },
        Error::Eof { at: Stage::Start },
        Error::Truncated { at: Stage::Head },
        Error::Reset { at: Stage::Body },
    ];

    #[test]
    fn an_error_is_of_one_sort_an_early_end_a_broken_limit_or_malformed() {
        let limits = [
            Error::Head(HeadError::TooLarge),
            Error::Chunk(ChunkError::ExtensionsTooLong),
            Error::Chunk(ChunkError::Abusive),
            Error::Trailers(HeadError::TooLarge),
            Error::Interims,
        ];
        for error in ALL {
            let ended = matches!(
                error,
                Error::Eof { .. } | Error::Truncated { .. } | Error::Reset { .. }
            );
            let sorts = (error.is_eof(), error.is_limit(), error.is_malformed());
            let limit = limits.contains(&error);
            assert_eq!(sorts, (ended, limit, !ended && !limit), "{error:?}");
        }
    }

    fn are_distinct<T: ToString>(items: &[T]) -> bool {
        let mut texts: Vec<String> = items.iter().map(T::to_string).collect();
        texts.sort_unstable();
        texts.windows(2).all(|pair| pair[0] != pair[1]) && !texts[0].is_empty()
    }

    #[test]
    fn each_error_says_what_and_where_in_its_own_words() {
        assert!(are_distinct(&ALL));
        for (error, text) in [
            (ALL[4], "a chunk's line does not end with CRLF"),
            (ALL[9], "in the trailers: the head is larger than its limit"),
            (
                ALL[15],
                "the peer closed the connection without close_notify within the response head",
            ),
            (ALL[16], "the connection was reset within the response body"),
        ] {
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn each_reason_to_close_has_its_own_words() {
        let reasons = [
            CloseReason::Asked,
            CloseReason::Peer,
            CloseReason::Http10,
            CloseReason::CloseDelimited,
            CloseReason::Faulty,
            CloseReason::EarlyResponse,
            CloseReason::RequestAborted,
            CloseReason::Desync,
            CloseReason::ResetContent,
            CloseReason::PeerClosed,
        ];
        assert!(are_distinct(&reasons));
    }

    #[test]
    fn each_refusal_of_a_request_has_its_own_words() {
        let refusals = [
            RequestError::Busy,
            RequestError::Unusable,
            RequestError::Target,
            RequestError::Host,
            RequestError::DuplicateHost,
            RequestError::Ambiguous,
            RequestError::ContentLength,
            RequestError::TransferEncoding,
            RequestError::ChunkedToHttp10,
            RequestError::BodyNotAllowed,
            RequestError::TooMuchBody,
            RequestError::TooLittleBody,
            RequestError::NotWanted,
            RequestError::Trailers,
        ];
        assert!(are_distinct(&refusals));
    }
}
