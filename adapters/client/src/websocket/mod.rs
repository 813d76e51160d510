//! The `WebSocket` protocol (RFC 6455), from the same client and over the same connection path as its
//! requests.
//!
//! ```no_run
//! # async fn run(client: fulmar::Client) -> Result<(), Box<dyn std::error::Error>> {
//! let mut ws = client.websocket("wss://feed.test/v1").connect().await?;
//! ws.send("subscribe").await?;
//! while let Some(message) = ws.recv().await? {
//!     println!("{message:?}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! ```text
//! builder   the settings
//! opening   the handshake: a request like any other, until its 101; refused: another answer
//! halves    the user's handles: both drive the connection
//! waits     what a handle waits for besides: a pong, the end
//! keeper    the task that drives it while no handle does
//! socket    what they share, behind one lock; state: the machine, its wire, the inbox;
//!           turn: one locked section; transport: the connection below
//! entropy   what masks are drawn from
//! signal    whom to wake, and when the keeper is to look
//! cap       how many there may be
//! ```

mod builder;
mod cap;
mod entropy;
mod halves;
mod inbox;
mod keeper;
mod opening;
mod refused;
mod signal;
mod socket;
mod state;
mod transport;
mod turn;
mod waits;

pub use fulmar_core::ws::{
    Agreed, Cause, CloseCode, CloseError, Closed, Compression, HandshakeError, InvalidText,
    Keepalive, KeepaliveMode, Limits, Message, Rtt, SendError, Text, Violation,
};

pub use builder::WebSocketBuilder;
pub use halves::{Receiver, Sender, WebSocket};
pub use refused::Refused;

pub(crate) use cap::{Cap, check_caps};
pub(crate) use opening::{OpenError, Opened};
pub(crate) use transport::Transport;
