//! The states of a connection while it waits for a response and reads it.
//!
//! ```text
//!         send              final head
//!  Idle -------> Head -+------------------> Length  -> Finish -+
//!   ^             ^    |                    Chunked -> Trailers|-> Finish
//!   |             |    |                    Close ------------>|
//!   |             +----+ 1xx                                   |
//!   |                  |                                       |
//!   |                  +-> Tunnel (101, CONNECT 2xx)           |
//!   |                  |                                       |
//!   |                  | all there, or no body                 |
//!   |   keep           v                                       |
//!   +-------------- the end <----------------------------------+
//!                      |
//!                      +-> Closed                 any state -> Failed, and stays there
//! ```

use super::chunked::Chunked;
use super::error::Error;
use crate::http::Framing;

#[derive(Clone, Copy, Debug)]
pub(super) enum Response {
    /// No exchange: nothing may arrive.
    Idle,
    /// A head, interim or final, is awaited or under way.
    Head,
    /// So many bytes of the body are left, never none.
    Length { left: u64, total: u64 },
    /// Chunks.
    Chunked(Chunked),
    /// The last chunk was read.
    Trailers,
    /// Everything up to the end of the connection.
    Close,
    /// The body was told; its end was not.
    Finish(Framing),
    /// What arrives is somebody else's.
    Tunnel,
    /// The last exchange was the last.
    Closed,
    /// What went wrong, for ever.
    Failed(Error),
}

impl Response {
    /// Whether the final head was told, and the end was not.
    pub(super) fn is_in_body(&self) -> bool {
        !matches!(
            self,
            Self::Idle | Self::Head | Self::Closed | Self::Failed(_)
        )
    }

    pub(super) fn framing(&self) -> Option<Framing> {
        match self {
            Self::Length { total, .. } => Some(Framing::Length(*total)),
            Self::Chunked(_) | Self::Trailers => Some(Framing::Chunked),
            Self::Close => Some(Framing::Close),
            Self::Finish(framing) => Some(*framing),
            Self::Tunnel => Some(Framing::Tunnel),
            Self::Idle | Self::Head | Self::Closed | Self::Failed(_) => None,
        }
    }
}

/// How much of the request went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// All of it.
    Complete,
    /// Not all of the declared length.
    Length,
    /// Not the last chunk.
    Chunked,
    /// The rest stays here, because the response came first.
    Stopped,
    /// The rest stays here, because the caller ended too early.
    Aborted,
}
