//! The settings of a session.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::close_table::{CloseAction, CloseTable};
use super::inbox::SlowConsumer;
use super::outbox::Bound;
use crate::backoff::{Backoff, BackoffError};
use crate::ws::{CloseCode, HandshakeTable};

/// Another word on a close code, by its reason.
type ReasonHook = Arc<dyn Fn(CloseCode, &str) -> Option<CloseAction> + Send + Sync>;

/// How a session behaves.
#[derive(Clone)]
pub struct Config {
    pub(super) backoff: Backoff,
    pub(super) throttled: Backoff,
    pub(super) floor: Duration,
    pub(super) initial_spread: Option<Duration>,
    pub(super) stable_after: Duration,
    pub(super) max_attempts: Option<u32>,
    pub(super) max_elapsed: Option<Duration>,
    pub(super) not_found_retries: u32,
    pub(super) outbox: Bound,
    pub(super) max_bulk: usize,
    pub(super) window: Bound,
    pub(super) inbox: Bound,
    pub(super) slow_consumer: SlowConsumer,
    pub(super) resync: bool,
    pub(super) resync_timeout: Duration,
    pub(super) subscriptions: usize,
    pub(super) replay_gap: Duration,
    pub(super) closes: CloseTable,
    pub(super) handshakes: HandshakeTable,
    pub(super) reason_hook: Option<ReasonHook>,
}

impl Default for Config {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self {
            backoff: Backoff::exponential(secs(1)).max(secs(30)),
            throttled: Backoff::exponential(secs(5)).max(secs(60)),
            floor: Duration::from_millis(100),
            initial_spread: Some(secs(5)),
            stable_after: secs(30),
            max_attempts: None,
            max_elapsed: Some(secs(15 * 60)),
            not_found_retries: 0,
            outbox: Bound {
                messages: 1024,
                bytes: 8 << 20,
            },
            max_bulk: 1 << 20,
            window: Bound {
                messages: 256,
                bytes: 4 << 20,
            },
            inbox: Bound {
                messages: 256,
                bytes: 4 << 20,
            },
            slow_consumer: SlowConsumer::default(),
            resync: false,
            resync_timeout: secs(10),
            subscriptions: 1024,
            replay_gap: Duration::from_millis(10),
            closes: CloseTable::default(),
            handshakes: HandshakeTable::default(),
            reason_hook: None,
        }
    }
}

impl From<Backoff> for Config {
    /// The defaults but for the delays between attempts.
    fn from(backoff: Backoff) -> Self {
        Self::default().backoff(backoff)
    }
}

impl Config {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The delays between attempts, of at least 100 ms: one that would be shorter is drawn from 100 to
    /// 200 ms. Default: full jitter, from 1 s doubling to 30 s.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// The first reconnect after an open connection was lost follows within that time; with `None`
    /// after the first delay of the [backoff](Self::backoff). Default 5 s; more than 10,000 clients
    /// of one server want 15 s.
    #[must_use]
    pub fn initial_spread(mut self, spread: impl Into<Option<Duration>>) -> Self {
        self.initial_spread = spread.into();
        self
    }

    /// How long a connection must have been open for the attempts before it to be forgotten.
    /// Default 30 s.
    #[must_use]
    pub fn stable_after(mut self, uptime: Duration) -> Self {
        self.stable_after = uptime;
        self
    }

    /// Attempts after the last stable connection. Default: no limit.
    #[must_use]
    pub fn max_attempts(mut self, attempts: impl Into<Option<u32>>) -> Self {
        self.max_attempts = attempts.into();
        self
    }

    /// How long after the loss of the last stable connection another failure is followed by an
    /// attempt, after its delay. A server's `Retry-After` that would end later stops the session as
    /// exhausted at once. Default 15 min.
    #[must_use]
    pub fn max_elapsed(mut self, elapsed: impl Into<Option<Duration>>) -> Self {
        self.max_elapsed = elapsed.into();
        self
    }

    /// How many handshakes answered with 404 are tried again. Default 0.
    #[must_use]
    pub fn not_found_retries(mut self, retries: u32) -> Self {
        self.not_found_retries = retries;
        self
    }

    /// What waits to be sent. Default 1024 messages and 8 MiB.
    #[must_use]
    pub fn outbox(mut self, messages: usize, bytes: usize) -> Self {
        self.outbox = Bound { messages, bytes };
        self
    }

    /// How many messages may wait to be sent; as for their bytes nothing changes.
    #[must_use]
    pub fn outbox_messages(mut self, messages: usize) -> Self {
        self.outbox.messages = messages;
        self
    }

    /// The most bytes of a message in [`Lane::Bulk`](crate::lane::Lane::Bulk): while one is written,
    /// those of other lanes wait. Default 1 MiB; `None` is no limit but the outbox's.
    #[must_use]
    pub fn max_bulk_message(mut self, bytes: impl Into<Option<usize>>) -> Self {
        self.max_bulk = bytes.into().unwrap_or(usize::MAX);
        self
    }

    /// What was sent at least once and is not acknowledged. Default 256 messages and 4 MiB.
    #[must_use]
    pub fn window(mut self, messages: usize, bytes: usize) -> Self {
        self.window = Bound { messages, bytes };
        self
    }

    /// What waits to be taken. Default 256 messages and 4 MiB.
    #[must_use]
    pub fn inbox(mut self, messages: usize, bytes: usize) -> Self {
        self.inbox = Bound { messages, bytes };
        self
    }

    /// What happens when that is full. Default: the socket is not read.
    #[must_use]
    pub fn slow_consumer(mut self, policy: SlowConsumer) -> Self {
        self.slow_consumer = policy;
        self
    }

    /// Whether the application resyncs every connection before the outbox opens. Default: no.
    #[must_use]
    pub fn resync(mut self, resync: bool) -> Self {
        self.resync = resync;
        self
    }

    /// How long it has for that, before the connection counts as failed. Default 10 s.
    #[must_use]
    pub fn resync_timeout(mut self, timeout: Duration) -> Self {
        self.resync_timeout = timeout;
        self
    }

    /// How many subscriptions there may be, and how long after each other they are sent again.
    /// Default 1024 and 10 ms.
    #[must_use]
    pub fn subscriptions(mut self, most: usize, gap: Duration) -> Self {
        (self.subscriptions, self.replay_gap) = (most, gap);
        self
    }

    /// What close codes mean.
    #[must_use]
    pub fn closes(mut self, table: CloseTable) -> Self {
        self.closes = table;
        self
    }

    /// What statuses of handshakes mean, and which of them are redirects to follow.
    #[must_use]
    pub fn handshakes(mut self, table: HandshakeTable) -> Self {
        self.handshakes = table;
        self
    }

    /// What was set of that: a driver needs it to know redirects.
    pub fn handshake_table(&self) -> &HandshakeTable {
        &self.handshakes
    }

    /// A word on close codes before the table's, by the reason that came with them. Some servers
    /// close with 1008 for an expired token.
    ///
    /// It is asked while the session is locked: it has to be quick, and must not use the session.
    #[must_use]
    pub fn reason_hook(
        mut self,
        hook: impl Fn(CloseCode, &str) -> Option<CloseAction> + Send + Sync + 'static,
    ) -> Self {
        self.reason_hook = Some(Arc::new(hook));
        self
    }

    /// Checks that the settings agree with each other.
    ///
    /// # Errors
    ///
    /// Where delays contradict each other, or a queue has no room for a message.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.backoff.validate().map_err(ConfigError::Backoff)?;
        for (name, bound) in [
            ("outbox", self.outbox),
            ("window", self.window),
            ("inbox", self.inbox),
        ] {
            if bound.messages == 0 || bound.bytes == 0 {
                return Err(ConfigError::NoRoom(name));
            }
        }
        Ok(())
    }

    pub(super) fn action(&self, code: CloseCode, reason: &str) -> CloseAction {
        let hook = self.reason_hook.as_ref();
        hook.and_then(|hook| hook(code, reason))
            .unwrap_or_else(|| self.closes.action(code))
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("backoff", &self.backoff)
            .field("max_attempts", &self.max_attempts)
            .field("max_elapsed", &self.max_elapsed)
            .field("outbox", &self.outbox)
            .field("window", &self.window)
            .field("inbox", &self.inbox)
            .field("slow_consumer", &self.slow_consumer)
            .field("resync", &self.resync)
            .finish_non_exhaustive()
    }
}

/// Settings of a session that contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// The backoff's.
    Backoff(BackoffError),
    /// A queue has no room for anything.
    NoRoom(&'static str),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backoff(error) => error.fmt(f),
            Self::NoRoom(queue) => write!(f, "the {queue} has no room for a message"),
        }
    }
}

impl std::error::Error for ConfigError {}
