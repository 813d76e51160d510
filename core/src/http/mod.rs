//! What every version of HTTP shares: fields, heads, framing, references.
//!
//! ```text
//! field     token lists, Content-Length, Keep-Alive; a header block encoded once
//! scan      where a head ends, found in time linear in its bytes
//! head      a response head in one block of memory, and how it gets there
//! framing   how long the body of a response is (RFC 9112 section 6.3)
//! resolve   references against a base (RFC 3986 section 5.2), for `Location`
//! ```

pub mod field;
pub mod framing;
pub mod head;
pub mod resolve;
mod scan;

pub use field::{EncodedFields, FieldError, KeepAlive};
pub use framing::{Framing, FramingError};
pub use head::{HeadError, ResponseHead};

pub(crate) use scan::{Scan, ScanLimits};
