//! One HTTP/1.1 connection, seen from the client: what goes out, and what the bytes that come in
//! mean (RFC 9112).
//!
//! ```text
//! connection   the machine: commands, what comes from below, events
//! receive      its steps from bytes to events; head and body are two parts of it
//! response     its states while a response comes in
//! encode       a request head, straight into the outgoing buffer
//! chunked      the chunked coding
//! trailers     the fields behind a chunked body
//! limits, error, event
//! ```
//!
//! The machine owns no buffer. It is lent the incoming bytes and a [`Scratch`], and the outgoing
//! [`WriteBuf`](crate::buf::WriteBuf):
//!
//! ```
//! use bytes::BytesMut;
//! use fulmar_core::buf::WriteBuf;
//! use fulmar_core::h1::{BodyLength, Connection, Event, Limits, RequestHead, Reuse, Scratch};
//! use fulmar_core::http::{EncodedFields, Framing};
//! use fulmar_core::time::Instant;
//! use http::{HeaderMap, HeaderValue, Method};
//!
//! let mut defaults = HeaderMap::new();
//! defaults.insert("accept", HeaderValue::from_static("*/*"));
//! let defaults = EncodedFields::new(&defaults)?;
//! let (mut tx, mut rx, mut scratch) = (WriteBuf::default(), BytesMut::new(), Scratch::default());
//! let mut connection = Connection::new(Limits::default());
//!
//! // A request with a body of unknown length goes out in chunks.
//! let head = RequestHead {
//!     method: &Method::PUT,
//!     target: "/up",
//!     host: "a.test",
//!     defaults: &defaults,
//!     headers: &HeaderMap::new(),
//!     close: false,
//! };
//! connection.send(Instant::ORIGIN, &head, BodyLength::Unknown, &mut tx)?;
//! assert!(connection.is_body_wanted() && !connection.is_idle());
//! connection.send_data("hello".into(), &mut tx)?;
//! connection.send_end(None, &mut tx)?;
//! assert_eq!(
//!     tx.tail(),
//!     "PUT /up HTTP/1.1\r\nhost: a.test\r\naccept: */*\r\ntransfer-encoding: chunked\r\n\r\n\
//!      5\r\nhello\r\n0\r\n\r\n",
//! );
//!
//! // The response comes in pieces. First its head and a part of its body ..
//! rx.extend_from_slice(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nthe");
//! assert_eq!(connection.poll_event(&mut rx, &mut scratch)?, Some(Event::Head));
//! assert_eq!(scratch.head().unwrap().header("content-length"), Some(&b"8"[..]));
//! assert_eq!(connection.framing(), Some(Framing::Length(8)));
//! assert_eq!(connection.poll_event(&mut rx, &mut scratch)?, Some(Event::Body("the".into())));
//! assert_eq!(connection.poll_event(&mut rx, &mut scratch)?, None);
//!
//! // .. then the rest, with which the exchange ends.
//! rx.extend_from_slice(b" rest");
//! assert_eq!(connection.poll_event(&mut rx, &mut scratch)?, Some(Event::Body(" rest".into())));
//! assert_eq!(connection.poll_event(&mut rx, &mut scratch)?, Some(Event::End(Reuse::Keep)));
//!
//! // The connection serves another; a small response comes as one event.
//! let head = RequestHead { method: &Method::GET, target: "/", ..head };
//! connection.send(Instant::ORIGIN, &head, BodyLength::Empty, &mut tx)?;
//! rx.extend_from_slice(b"HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\nnone");
//! let event = connection.poll_event(&mut rx, &mut scratch)?;
//! assert_eq!(event, Some(Event::Whole("none".into(), Reuse::Keep)));
//! assert!(connection.is_idle());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod body;
mod chunked;
mod connection;
mod encode;
mod error;
mod event;
mod head;
mod limits;
mod receive;
mod response;
mod trailers;

pub use connection::Connection;
pub use encode::{BodyLength, RequestHead};
pub use error::{ChunkError, CloseReason, End, Error, RequestError, Stage};
pub use event::{Event, Reuse, Scratch};
pub use limits::Limits;

pub use crate::http::KeepAlive;
pub use crate::http::framing::{Framing, Strictness};
