//! permessage-deflate (RFC 7692): what is offered and agreed, and the codec.
//!
//! ```text
//! negotiate   the offer, and the server's answer to it
//! codec       with the feature `deflate`: zlib's streams
//! absent      without it: a codec that cannot be made
//! ```

#[cfg(feature = "deflate")]
mod codec;
#[cfg(feature = "deflate")]
mod history;
mod negotiate;

#[cfg(not(feature = "deflate"))]
mod absent;
#[cfg(not(feature = "deflate"))]
use absent as codec;

pub(super) use codec::{Deflater, Inflater};
pub(super) use negotiate::agree;
pub use negotiate::{Agreed, Compression};
