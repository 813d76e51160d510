//! A WebSocket that outlives its connections: it reconnects, keeps what waits to be sent, and says
//! of every message what became of it.
//!
//! ```text
//! session        the machine: commands and queries; sending: messages and acknowledgements
//! drive          connections and bytes; loss: their end
//! close_table    what close codes mean; ws::HandshakeTable has the statuses
//! reconnect      attempts and delays
//! outbox         messages that wait, in three lanes; flight: those that are under way
//! inbox          messages for the application, and what happens when it is slow
//! subscriptions  what is sent again on every connection
//! silence        whether a connection was cut because nothing went over it
//! config, event, outgoing
//! ```

mod close_table;
mod config;
mod drive;
mod event;
mod flight;
mod inbox;
mod loss;
mod outbox;
mod outgoing;
mod reconnect;
mod sending;
#[expect(clippy::module_inception, reason = "it holds the machine")]
mod session;
mod silence;
mod subscriptions;

pub use close_table::{CloseAction, CloseTable, Pace};
pub use config::{Config, ConfigError};
pub use event::{Action, Connect, Event, Loss, StopReason};
pub use inbox::{Received, SlowConsumer};
pub use loss::ConnectFailure;
pub use outbox::Bound;
pub use outgoing::{Delivery, DropReason, Key, MessageId, OnFull, Outgoing, Receipt, SendError};
pub use session::{Session, State};
