//! One WebSocket connection, seen from the client: the handshake, messages, and the end
//! (RFC 6455, and RFC 7692 with the feature `deflate`).
//!
//! ```text
//! handshake    the request's fields, and the check of the response; status: what others mean
//! connection   the machine: commands, what comes from below; event; ending: its steps to the end
//! receive      from bytes to messages; utf8 checks texts as they arrive
//! transmit     from messages to frames, in the order that matters
//! frame, mask  the wire
//! deflate      compressed messages
//! keepalive    whether the server is there; clocks: whether messages come; pause stops both
//! close        codes, reasons, and how a connection ended
//! gate         how many connections there may be
//! config, limits, error, message, flood
//! ```
//!
//! The machine owns no buffer; it is lent `rx` and `tx`:
//!
//! ```
//! use bytes::BytesMut;
//! use fulmar_core::buf::WriteBuf;
//! use fulmar_core::time::Instant;
//! use fulmar_core::ws::{CloseCode, Compress, Config, Connection, Event, Message, Negotiated};
//! # use chacha20::ChaCha8Rng;
//! # use chacha20::rand_core::SeedableRng;
//!
//! let mut rng = ChaCha8Rng::seed_from_u64(1);
//! let (mut rx, mut tx) = (BytesMut::new(), WriteBuf::default());
//! let now = Instant::ORIGIN;
//! let mut ws = Connection::new(now, &Config::new(), &Negotiated::default(), &mut rng);
//!
//! // A short message is in `tx` at once, masked.
//! ws.send("hello".into(), Compress::Auto, &mut tx, &mut rng)?;
//! assert_eq!(tx.len(), 2 + 4 + 5);
//!
//! // A message and a ping arrive in one piece. The ping is answered without being told.
//! rx.extend_from_slice(b"\x81\x02hi\x89\x00");
//! ws.handle_input(now);
//! assert_eq!(ws.poll_event(now, &mut rx)?, Some(Event::Message("hi".into())));
//! assert_eq!(ws.poll_event(now, &mut rx)?, None);
//! ws.poll_transmit(now, &mut tx, &mut rng);
//!
//! // Closing: our Close frame, then the server's, then the end of the transport.
//! ws.close(now, CloseCode::NORMAL, "bye")?;
//! ws.poll_transmit(now, &mut tx, &mut rng);
//! rx.extend_from_slice(b"\x88\x02\x03\xe8");
//! ws.handle_input(now);
//! assert_eq!(ws.poll_event(now, &mut rx)?, None);
//! ws.handle_eof();
//! let closed = ws.poll_event(now, &mut rx).unwrap_err();
//! assert!(closed.clean && closed.code == CloseCode::NORMAL && ws.is_done());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod clocks;
mod close;
mod config;
mod connection;
mod deflate;
mod ending;
mod error;
mod event;
mod flood;
mod frame;
mod gate;
mod handshake;
mod keepalive;
mod limits;
mod mask;
mod message;
mod pause;
mod receive;
mod status;
mod transmit;
mod utf8;

pub use close::{Cause, CloseCode, CloseError, CloseFrame, Closed};
pub use config::Config;
pub use connection::Connection;
pub use deflate::{Agreed, Compression};
pub use error::{ConfigError, Violation};
pub use event::{Event, SendError, State};
pub use gate::{Admission, Gate, GateTicket, Turn};
pub use handshake::{
    ExtensionError, Handshake, HandshakeError, InvalidProtocol, Negotiated, Offer,
};
pub use keepalive::{Keepalive, KeepaliveMode, PingId, Rtt};
pub use limits::Limits;
pub use message::{InvalidText, Message, Text};
pub use status::{HandshakeAction, HandshakeTable, MAX_REDIRECTS, is_redirect_allowed};
pub use transmit::Compress;
