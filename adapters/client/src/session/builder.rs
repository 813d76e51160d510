//! What a session is opened with.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;

use fulmar_core::fault::{Fault, FaultKind, Phase};
use fulmar_core::retry::Retry;
use fulmar_core::session::{Config, Connect, ConnectFailure, Event, Loss, Session as Machine};
use fulmar_core::ws::{HandshakeTable, Message};

use super::common::Common;
use super::driver::Driver;
use super::handle::Session;
use crate::body::BoxError;
use crate::error::{Error, Kind};
use crate::net::BoxFuture;
use crate::websocket::{OpenError, Opened, WebSocketBuilder};

/// What is asked for before each attempt.
type Prepare = dyn Fn(WebSocketBuilder, Connect) -> BoxFuture<Result<WebSocketBuilder, BoxError>>
    + Send
    + Sync;

/// What a new connection is told first.
type Resync = dyn Fn(&Event) -> Vec<Message> + Send + Sync;

/// Opens a [`Session`]. See [`WebSocketBuilder::reconnect`].
#[must_use = "nothing happens until it opens"]
pub struct SessionBuilder {
    websocket: WebSocketBuilder,
    config: Config,
    prepare: Option<Box<Prepare>>,
    resync: Option<Box<Resync>>,
}

impl WebSocketBuilder {
    /// Makes it a [`Session`], which reconnects: a [`Backoff`](crate::Backoff), or all of a
    /// [`Config`]. What was set before holds for each of its connections; the client's retry policy
    /// does not, because the session has its own.
    pub fn reconnect(self, config: impl Into<Config>) -> SessionBuilder {
        SessionBuilder {
            websocket: self,
            config: config.into(),
            prepare: None,
            resync: None,
        }
    }
}

impl SessionBuilder {
    /// How many messages may wait to be sent; 8 MiB of them at most, unless the [`Config`] says
    /// otherwise. Default 1,024.
    pub fn outbox(mut self, messages: usize) -> Self {
        self.config = self.config.outbox_messages(messages);
        self
    }

    /// What each attempt asks for anew: a token, a header, another URL. It gets the builder with the
    /// settings so far, and to know why ([`Connect::refresh_auth`] after a 401). A failure is one of
    /// the attempt, and counts like any other; that of a request of this client as what it is.
    pub fn prepare<F, Fut>(mut self, prepare: F) -> Self
    where
        F: Fn(WebSocketBuilder, Connect) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<WebSocketBuilder, BoxError>> + Send + 'static,
    {
        self.prepare = Some(Box::new(move |websocket, connect| {
            Box::pin(prepare(websocket, connect))
        }));
        self
    }

    /// What each connection is told before anything else, so that the server's view of the
    /// application is up to date. It gets the [`Event::Resync`]. Where the messages exceed the
    /// outbox's bound, the connection counts as failed after
    /// [`Config::resync_timeout`]. Without it, [`Config::resync`] leaves the resync to whoever
    /// gets the event.
    pub fn on_resync(
        mut self,
        resync: impl Fn(&Event) -> Vec<Message> + Send + Sync + 'static,
    ) -> Self {
        self.config = self.config.resync(true);
        self.resync = Some(Box::new(resync));
        self
    }

    /// Opens the session, and begins to connect. Messages may be sent at once. Where a runtime is
    /// needed to run tasks, there has to be one.
    ///
    /// It does not fail: with settings that contradict each other, and a request that cannot be sent,
    /// it stops ([`Session::stop_reason`], [`Session::last_error`]).
    pub fn open(self) -> Session {
        let shared = self.websocket.shared().clone();
        let net = shared.net.clone();
        let invalid = self.config.validate().err();
        let handshakes = self.config.handshake_table().clone();
        let machine = Machine::new(self.config);
        let common = Common::new(net.clone(), machine, shared.fork_rng());
        let common = Arc::new(common);
        common.locked(|state, now| match invalid {
            None => state.machine.start(now),
            Some(error) => {
                state.error = Some(Error::new(Kind::Builder).caused_by(error));
                state.machine.abandon(Loss::Invalid);
            }
        });
        let opener = Opener {
            websocket: self.websocket,
            prepare: self.prepare,
            resync: self.resync,
            handshakes,
        };
        let session = Session::new(common.clone());
        net.spawn(Box::pin(Driver::new(common, shared, opener)));
        session
    }
}

/// How connections are had.
pub(super) struct Opener {
    websocket: WebSocketBuilder,
    prepare: Option<Box<Prepare>>,
    pub(super) resync: Option<Box<Resync>>,
    handshakes: HandshakeTable,
}

impl Opener {
    /// Gets a connection; `last` is the address of the one before.
    pub(super) fn open(
        &self,
        connect: Connect,
        last: Option<IpAddr>,
    ) -> BoxFuture<Result<Opened, OpenError>> {
        let websocket = self.websocket.again();
        let prepared = match &self.prepare {
            None => Box::pin(async move { Ok(websocket) }),
            Some(prepare) => prepare(websocket, connect),
        };
        let handshakes = self.handshakes.clone();
        Box::pin(async move {
            let websocket = prepared.await.map_err(unprepared)?;
            // One loop of attempts within another would multiply them.
            let mut websocket = websocket.retry(Retry::never()).handshakes(handshakes);
            if connect.fresh {
                websocket = websocket.fresh();
            }
            if let Some(addr) = last.filter(|_| connect.elsewhere) {
                websocket = websocket.without(addr);
            }
            websocket.open().await
        })
    }
}

fn unprepared(error: BoxError) -> OpenError {
    match error.downcast::<Error>() {
        Ok(error) => OpenError::from(*error),
        Err(error) => {
            let fault = Fault::new(FaultKind::Other, Phase::Pool);
            let fault = fault.with_detail(error.to_string());
            OpenError {
                error: Error::new(Kind::Request).caused_by(error),
                failure: ConnectFailure::Fault(fault),
            }
        }
    }
}

impl fmt::Debug for SessionBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionBuilder")
            .field("websocket", &self.websocket)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
