//! A WebSocket that outlives its connections: it reconnects, keeps what waits to be sent, and says
//! of every message what became of it.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use fulmar::session::Received;
//! # use fulmar::Backoff;
//! # async fn run(client: fulmar::Client) -> Result<(), Box<dyn std::error::Error>> {
//! let backoff = Backoff::exponential(Duration::from_millis(500)).max(Duration::from_secs(30));
//! let session = client.websocket("wss://feed.test/v1").reconnect(backoff).outbox(100).open();
//! session.send("subscribe").await?;
//! while let Some(Received::Message(message)) = session.recv().await? {
//!     println!("{message:?}");
//! }
//! let undelivered = session.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! ```text
//! builder   the settings, and what each attempt asks for anew
//! handle    what the application calls: Session
//! sent      what became of one message; streams: messages and events as they come
//! driver    the task that runs the machine, and does its IO
//! common    what they share, behind one lock; waits: who waits for what
//! ```

mod builder;
mod common;
mod driver;
mod handle;
mod sent;
mod streams;
mod waits;

pub use fulmar_core::lane::Lane;
pub use fulmar_core::session::{
    Bound, CloseAction, CloseTable, Config, ConfigError, Connect, Delivery, DropReason, Event, Key,
    Loss, MessageId, OnFull, Outgoing, Pace, Receipt, Received, SendError, SlowConsumer, State,
    StopReason,
};
pub use fulmar_core::ws::{Compress, HandshakeAction, HandshakeTable};

pub use builder::SessionBuilder;
pub use handle::Session;
pub use sent::{Sent, Undelivered};
pub use streams::{Events, Messages};
