//! The task that runs the machine of a session: what it asks for is done here, outside the lock.
//!
//! ```text
//! poll:  until nothing moves, and at most TURNS times
//!        locked: what came is read, what is due is put into tx, what happened is told
//!        its actions: dial, hang up
//!        the dial, one write, one read: whichever there is
//!        nothing moved: a deadline of the machine that is due, else sleep until the next
//! then, where it still moves, one read, its actions, and a deadline that is due
//! ```
//!
//! Invariants
//! * A deadline or a fault of writing is told only after what came before it was read, or a poll's
//!   worth of it.
//! * The transport is gone before the task is, whatever ends it.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use fulmar_core::fault::{Fault, FaultKind, Phase};
use fulmar_core::session::{Action, Connect, Loss};
use fulmar_core::time::Instant;
use fulmar_core::ws::{CloseCode, Connection};

use super::builder::Opener;
use super::common::{Common, State};
use crate::alarm::Alarm;
use crate::net::BoxFuture;
use crate::shared::{Registration, Shared};
use crate::upgraded::Tunnel;
use crate::websocket::{OpenError, Opened, Transport};
use crate::wire::Read;

/// Turns in one poll before other tasks get theirs.
const TURNS: usize = 16;
/// What one read asks for.
const READ: usize = 16 * 1024;
/// How long a session has for what is queued when its client shuts down (POLICIES 5.3, 8.4).
const DRAIN: Duration = Duration::from_secs(5);

/// The driver of one session.
pub(super) struct Driver {
    common: Arc<Common>,
    shared: Arc<Shared>,
    opener: Opener,
    link: Link,
    /// The address of the last connection.
    last: Option<IpAddr>,
    /// What came from below, and was not told.
    news: Option<News>,
    /// Of a write. It is told once all that came before it is read.
    fault: Option<FaultKind>,
    alarm: Alarm,
    /// A shutdown has to find the driver.
    registration: Registration,
}

/// What is below.
enum Link {
    None,
    Dialling(BoxFuture<Result<Opened, OpenError>>),
    Open(Transport),
}

enum News {
    /// And whether its host has other addresses.
    Opened(Box<Connection>, bool),
    Failed(Box<OpenError>),
    Input,
    Eof,
    Fault(FaultKind),
}

impl Driver {
    pub(super) fn new(common: Arc<Common>, shared: Arc<Shared>, opener: Opener) -> Self {
        Self {
            common,
            shared,
            opener,
            link: Link::None,
            last: None,
            news: None,
            fault: None,
            alarm: Alarm::new(),
            registration: Registration::default(),
        }
    }

    /// The machine's turn. Says whether the session has ended.
    fn run_machine(&mut self, cx: &Context<'_>) -> bool {
        let news = self.news.take();
        let is_closed = self.shared.is_closed();
        let tunnel = tunnel(&mut self.link);
        let (turn, _replaced) = self.common.locked(|state, now| {
            let replaced = state.drive(cx.waker());
            if is_closed {
                // The code is one that may be sent.
                let _ = state.machine.close(now, DRAIN, CloseCode::GOING_AWAY, "");
            }
            if let Some(news) = news {
                tell(state, now, news);
            }
            if let Some(tunnel) = tunnel {
                let State { machine, rng, .. } = state;
                machine.poll_input(now, tunnel.rx, rng);
                machine.poll_transmit(now, tunnel.tx, rng);
            }
            state.offer_room();
            (Turn::of(state), replaced)
        });
        for action in turn.actions {
            match action {
                Action::Connect(connect) => self.dial(connect),
                _ => self.hang_up(),
            }
        }
        if let (Some(event), Some(resync)) = (turn.resync, &self.opener.resync) {
            let messages = resync(&event);
            self.common.act(|state, now| {
                let mut sending = messages.into_iter();
                if sending.all(|message| state.machine.resync_send(now, message).is_ok()) {
                    state.machine.resync_done();
                }
            });
        }
        turn.is_over
    }

    fn dial(&mut self, connect: Connect) {
        self.hang_up();
        self.link = Link::Dialling(self.opener.open(connect, self.last));
    }

    fn hang_up(&mut self) {
        (self.fault, self.news) = (None, None);
        if let Link::Open(transport) = std::mem::replace(&mut self.link, Link::None) {
            transport.discard();
        }
    }

    /// Goes on with the dial. Says whether it has ended.
    fn connect(&mut self, cx: &mut Context<'_>) -> bool {
        let Link::Dialling(dialling) = &mut self.link else {
            return false;
        };
        let Poll::Ready(dialled) = dialling.as_mut().poll(cx) else {
            return false;
        };
        match dialled {
            Ok(opened) => {
                let now = self.shared.net.now();
                let connection = self.common.locked(|state, _| {
                    Connection::new(now, &opened.config, &opened.negotiated, &mut state.rng)
                });
                let h1 = &opened.transport.h1;
                self.last = h1.peer.as_deref().map(SocketAddr::ip);
                // Where else that is can be told only from an address that is known.
                let has_others = self.last.is_some() && h1.has_others;
                self.news = Some(News::Opened(Box::new(connection), has_others));
                self.link = Link::Open(opened.transport);
            }
            Err(failed) => {
                self.link = Link::None;
                self.news = Some(News::Failed(Box::new(failed)));
            }
        }
        true
    }

    /// Writes what the transport takes. Says whether it took any.
    fn write(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(tunnel) = tunnel(&mut self.link).filter(|_| self.fault.is_none()) else {
            return false;
        };
        if tunnel.tx.is_empty() && tunnel.wire.is_flushed() {
            return false;
        }
        match tunnel.wire.poll_write(cx, tunnel.tx, Phase::Write) {
            Poll::Ready(Ok(_)) => true,
            Poll::Ready(Err(fault)) => {
                // The server may have said why before it went: that is read first.
                self.fault = Some(fault.kind);
                false
            }
            Poll::Pending => false,
        }
    }

    /// Reads once. Says whether something came, or ended.
    fn read(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(tunnel) = tunnel(&mut self.link) else {
            return false;
        };
        let wanted = self.common.locked(|state, _| {
            let wants = state.machine.wants_read();
            wants.then(|| state.machine.wanted(tunnel.rx))
        });
        let Some(wanted) = wanted else {
            return false;
        };
        tunnel.rx.reserve(READ.max(wanted));
        let news = match tunnel.wire.poll_read(cx, tunnel.rx, || Phase::Body) {
            Poll::Ready(Ok(Read::Data(_))) => News::Input,
            Poll::Ready(Ok(Read::End(_))) => News::Eof,
            Poll::Ready(Err(fault)) => News::Fault(fault.kind),
            Poll::Pending => match self.fault.take() {
                Some(kind) => News::Fault(kind),
                None => return false,
            },
        };
        self.news = Some(news);
        true
    }

    /// Nothing moves: tells the machine the time where that is due, else sleeps.
    fn rest(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.tell_time() {
            None => Poll::Ready(()),
            Some(next) => self.alarm.poll_until(cx, &*self.shared.net, next),
        }
    }

    /// Tells the machine the time where that is due; else when it will be.
    fn tell_time(&mut self) -> Option<Instant> {
        self.common.locked(|state, now| {
            let next = state.machine.poll_timeout().unwrap_or(Instant::MAX);
            if next <= now {
                let State { machine, rng, .. } = state;
                machine.handle_timeout(now, rng);
                return None;
            }
            Some(next)
        })
    }

    /// Nobody uses the session any more, or the client's time is over: says goodbye as far as that
    /// goes at once, and ends.
    fn say_goodbye(&mut self, cx: &mut Context<'_>) {
        let tunnel = tunnel(&mut self.link);
        self.common.locked(|state, now| {
            let State { machine, rng, .. } = state;
            // The code is one that may be sent.
            let _ = machine.close(now, Duration::ZERO, CloseCode::GOING_AWAY, "");
            if let Some(tunnel) = tunnel {
                machine.poll_transmit(now, tunnel.tx, rng);
            }
        });
        while self.write(cx) {}
        self.abandon(FaultKind::Aborted);
    }

    fn abandon(&mut self, kind: FaultKind) {
        self.common.locked(|state, _| {
            let fault = Fault::new(kind, Phase::Body);
            state.machine.abandon(Loss::Fault(fault));
        });
        self.hang_up();
        self.link = Link::None;
    }
}

/// What a turn of the machine leaves to do.
struct Turn {
    actions: Vec<Action>,
    resync: Option<fulmar_core::session::Event>,
    is_over: bool,
}

impl Turn {
    fn of(state: &mut State) -> Self {
        Self {
            actions: std::iter::from_fn(|| state.machine.poll_action()).collect(),
            resync: state.take_resync(),
            is_over: state.is_stopped(),
        }
    }
}

fn tunnel(link: &mut Link) -> Option<Tunnel<'_>> {
    match link {
        Link::Open(transport) => transport.h1.tunnel(),
        _ => None,
    }
}

/// Tells the machine what came from below.
fn tell(state: &mut State, now: Instant, news: News) {
    let State { machine, rng, .. } = state;
    match news {
        News::Opened(connection, has_others) => {
            state.error = None;
            machine.handle_connected(now, *connection, has_others);
        }
        News::Failed(failed) => {
            state.error = Some(failed.error);
            machine.handle_connect_failed(now, failed.failure, rng);
        }
        News::Input => machine.handle_input(now),
        News::Eof => machine.handle_eof(now, rng),
        News::Fault(kind) => machine.handle_fault(now, kind, rng),
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.registration.watch_shutdown(&this.shared, cx);
        for _ in 0..TURNS {
            let is_abandoned = this.common.locked(|state, _| state.is_abandoned);
            if is_abandoned || this.shared.is_cut() {
                this.say_goodbye(cx);
                return Poll::Ready(());
            }
            if this.run_machine(cx) {
                return Poll::Ready(());
            }
            let moves = this.connect(cx) | this.write(cx);
            // What was written makes room for more, and is told before what is read.
            if !(moves || this.read(cx)) && this.rest(cx).is_pending() {
                return Poll::Pending;
            }
        }
        // What goes may have no end, so that nothing was read; nor what comes. Deadlines have.
        if this.news.is_none() {
            this.read(cx);
        }
        if this.run_machine(cx) {
            return Poll::Ready(());
        }
        this.tell_time();
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // What comes back is dropped here, outside the lock.
        self.shared.locked(|state| self.registration.remove(state));
        // One that goes before the end went with its runtime, and so did the transport.
        self.abandon(FaultKind::RuntimeGone);
    }
}
