//! A dial: a spawned task that opens one connection for the pool.
//!
//! It belongs to the pool and not to the request that asked for it: dropping that one does not fail
//! the others who wait. It resolves, races the addresses, shakes hands, and hands the connection
//! over; whatever else happens to it (an error, a panic, a runtime that goes away), its guard reports.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use chacha20::ChaCha8Rng;
use fulmar_core::deadline::Timeouts;
use fulmar_core::dial::{Action, AttemptId, Config, Dial, Lookup, Record};
use fulmar_core::fault::{Fault, FaultKind, Phase};
use fulmar_core::h1;
use fulmar_core::origin::Scheme;
use fulmar_core::pool::{Connection, Slot};
use fulmar_core::time::Instant;
use fulmar_core::tls::Tls;
use fulmar_core::trace::Event;
use rand_core::{Rng, SeedableRng};

use crate::fault::fault_of;
use crate::h1::H1;
use crate::net::{Answer, BoxFuture, Endpoint, Family, Net, Stream};
use crate::shared::{Registration, Shared, State};
use crate::url::Url;
use crate::wire::Wire;

/// Opens a connection in `slot`, in a task of its own.
pub(crate) fn spawn(
    shared: &Arc<Shared>,
    url: &Url,
    socket: Option<Arc<Path>>,
    slot: Slot,
    timeouts: &Timeouts,
    call: u64,
    now: Instant,
) {
    // The first to be dialled is as good a guess as any.
    shared.origin.get_or_init(|| url.clone());
    let after = |timeout: Option<_>| timeout.map_or(Instant::MAX, |timeout| now + timeout);
    let task = Task {
        guard: Guard {
            shared: Arc::downgrade(shared),
            slot: Some(slot),
        },
        net: shared.net.clone(),
        url: url.clone(),
        socket,
        deadline: after(timeouts.connect),
        dns_deadline: after(timeouts.dns),
        tls_timeout: *timeouts,
        call,
        registration: Registration::default(),
    };
    // The task holds the slot already: an observer may panic.
    shared.emit(call, || Event::DialStarted);
    shared.net.spawn(Box::pin(task.run()));
}

struct Task {
    guard: Guard,
    net: Arc<dyn Net>,
    url: Url,
    /// The unix socket to connect to, instead of the host.
    socket: Option<Arc<Path>>,
    deadline: Instant,
    dns_deadline: Instant,
    tls_timeout: Timeouts,
    call: u64,
    registration: Registration,
}

/// Reports to the pool, exactly once.
struct Guard {
    shared: Weak<Shared>,
    slot: Option<Slot>,
}

impl Task {
    async fn run(mut self) {
        match self.open().await {
            Ok(wire) => self.hand_over(wire),
            Err(fault) => {
                self.emit(|| Event::DialFailed {
                    fault: fault.clone(),
                });
                self.guard.fail(fault);
            }
        }
    }

    async fn open(&mut self) -> Result<Wire, Fault> {
        if let Some(path) = &self.socket {
            let to = Endpoint::Unix(path.to_path_buf());
            return self.open_unix(&to).await;
        }
        let mut race = Race::new(self, self.net.now());
        loop {
            let (id, stream) = poll_fn(|cx| race.poll(cx, self)).await?;
            match self.secure(stream).await {
                Ok(wire) => return Ok(wire),
                // Another address may do better; the race knows whether one is left.
                Err(fault) => race.dial.handle_failed(self.net.now(), id, fault),
            }
        }
    }

    /// There is one address, and nothing to race.
    async fn open_unix(&mut self, to: &Endpoint) -> Result<Wire, Fault> {
        let mut connecting = self.net.connect(to, &self.options());
        let deadline = self.deadline;
        let stream = poll_fn(|cx| match connecting.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(done.map_err(|e| fault_of(&e, Phase::Connect))),
            Poll::Pending => self.watch(cx, deadline, Phase::Connect),
        })
        .await?;
        self.secure(stream).await
    }

    /// TLS over an open transport, where the scheme asks for it.
    async fn secure(&mut self, stream: Box<dyn Stream>) -> Result<Wire, Fault> {
        if self.url.scheme() == Scheme::Http {
            return Ok(Wire::plain(stream));
        }
        if let (Some(shared), Some(slot)) = (self.guard.shared.upgrade(), self.guard.slot) {
            shared.locked(|state| state.pool.handle_opened(slot));
        }
        let (tls, rng) = self.tls()?;
        let mut wire = Wire::secure(stream, tls, self.net.clone(), rng);
        wire.start()?;
        let now = self.net.now();
        let until = self
            .tls_timeout
            .tls
            .map_or(Instant::MAX, |timeout| now + timeout);
        let until = until.min(self.deadline);
        poll_fn(|cx| {
            if let Poll::Ready(done) = wire.poll_handshake(cx) {
                return Poll::Ready(done);
            }
            self.watch(cx, until, Phase::Tls)
        })
        .await?;
        Ok(wire)
    }

    fn tls(&self) -> Result<(Box<dyn Tls>, ChaCha8Rng), Fault> {
        let gone = || Fault::new(FaultKind::Aborted, Phase::Tls);
        let shared = self.guard.shared.upgrade().ok_or_else(gone)?;
        let Some(connector) = &shared.settings.tls else {
            let fault = Fault::new(FaultKind::Handshake, Phase::Tls);
            return Err(fault.with_detail("this client was built without TLS"));
        };
        let tls = connector.connect(bare_host(&self.url), &[b"http/1.1"])?;
        let mut seed = [0; 32];
        shared.locked(|state| state.rng.fill_bytes(&mut seed));
        Ok((tls, ChaCha8Rng::from_seed(seed)))
    }

    /// Pending until `until`, then the timeout of `phase`.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        until: Instant,
        phase: Phase,
    ) -> Poll<Result<T, Fault>> {
        // Where the client is gone nobody waits for the connection.
        let Some(shared) = self.guard.shared.upgrade() else {
            return Poll::Ready(Err(Fault::new(FaultKind::Aborted, phase)));
        };
        let now = self.net.now();
        if now >= until {
            return Poll::Ready(Err(Fault::new(FaultKind::TimedOut, phase)));
        }
        if !self.registration.covers(&shared, cx, now, until) {
            let waker = cx.waker().clone();
            shared.locked_and_driven(|state| self.registration.register(state, waker, until));
        }
        // The pool may have no use for it any more, or want to say so later.
        let (slot, tag) = (self.guard.slot, self.registration.tag());
        let is_wanted =
            |state: &mut State| slot.is_some_and(|slot| state.pool.watch_dial(slot, tag));
        if shared.locked(is_wanted) {
            return Poll::Pending;
        }
        let fault = Fault::new(FaultKind::Aborted, phase);
        Poll::Ready(Err(fault.with_detail("nobody waits for it any more")))
    }

    fn hand_over(mut self, wire: Wire) {
        let Some(shared) = self.guard.shared.upgrade() else {
            return;
        };
        let Some(slot) = self.guard.slot.take() else {
            return;
        };
        let now = self.net.now();
        let machine = h1::Connection::new(shared.settings.h1);
        let mut h1 = Box::new(H1::new(machine, wire, slot, &shared));
        let peer = h1.peer.as_deref().copied();
        let (connection, _waker) = shared.locked(|state| {
            let connection = state.next_connection();
            h1.id = connection;
            h1.peer = h1.peer.take().map(|peer| state.share(peer));
            let waker = self.registration.remove(state);
            let State { pool, rng, .. } = state;
            pool.handle_connected(now, slot, Connection::Exclusive(h1), rng);
            (connection, waker)
        });
        shared.emit(self.call, || Event::Connected { connection, peer });
    }

    fn emit(&self, event: impl FnOnce() -> Event) {
        if let Some(shared) = self.guard.shared.upgrade() {
            shared.emit(self.call, event);
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(shared) = self.guard.shared.upgrade() {
            shared.locked(|state| self.registration.remove(state));
        }
    }
}

impl Guard {
    fn fail(&mut self, fault: Fault) {
        let (Some(shared), Some(slot)) = (self.shared.upgrade(), self.slot.take()) else {
            return;
        };
        let now = shared.net.now();
        shared.locked(|state| {
            let State { pool, rng, .. } = state;
            pool.handle_dial_failed(now, slot, fault, rng);
        });
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.fail(Fault::new(FaultKind::RuntimeGone, Phase::Connect));
    }
}

type Lookups = Vec<(Record, BoxFuture<Result<Answer, Fault>>)>;
type Attempts = Vec<(
    AttemptId,
    SocketAddr,
    BoxFuture<io::Result<Box<dyn Stream>>>,
)>;

/// A transport that opened.
type Opened = (AttemptId, Box<dyn Stream>);

/// The race of addresses: the machine, and the futures it asked for.
struct Race {
    dial: Dial,
    lookups: Lookups,
    attempts: Attempts,
    opened: Vec<Opened>,
    resolved: bool,
}

impl Race {
    fn new(task: &Task, now: Instant) -> Self {
        let deadline = Some(task.deadline);
        let port = task.url.port();
        let dial = match known_addresses(bare_host(&task.url)) {
            Some(addrs) => Dial::to(now, &addrs, port, deadline, Config::default(), &[]),
            None => Dial::by_name(
                now,
                port,
                Lookup::Only(Record::Any),
                deadline,
                Config::default(),
            ),
        };
        Self {
            dial,
            lookups: Vec::new(),
            attempts: Vec::new(),
            opened: Vec::new(),
            resolved: false,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, task: &mut Task) -> Poll<Result<Opened, Fault>> {
        let now = task.net.now();
        self.dial.handle_timeout(now);
        loop {
            if let Some(end) = self.act(task) {
                return Poll::Ready(end);
            }
            if !self.poll_lookups(cx, now, task) && !self.poll_attempts(cx, now, task) {
                break;
            }
        }
        let machine = self.dial.poll_timeout().unwrap_or(Instant::MAX);
        if self.resolved {
            return match task.watch(cx, machine, Phase::Connect) {
                // The machine says what its own deadline means.
                Poll::Ready(Err(fault)) if fault.kind == FaultKind::TimedOut => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                other => other,
            };
        }
        let dns = task.dns_deadline;
        task.watch(cx, machine.min(dns), Phase::Dns)
    }

    /// Does what the machine says, until it says nothing more.
    fn act(&mut self, task: &Task) -> Option<Result<Opened, Fault>> {
        while let Some(action) = self.dial.poll_action() {
            match action {
                Action::Resolve(record) => {
                    let family = match record {
                        Record::V4 => Family::V4,
                        Record::V6 => Family::V6,
                        Record::Any => Family::Any,
                    };
                    self.lookups
                        .push((record, task.net.resolve(bare_host(&task.url), family)));
                }
                Action::Connect(id, addr) => {
                    self.resolved = true;
                    task.emit(|| Event::Connecting { addr });
                    let options = task.options();
                    let attempt = task.net.connect(&Endpoint::Tcp(addr), &options);
                    self.attempts.push((id, addr, attempt));
                }
                Action::Abandon(id) => {
                    self.attempts.retain(|(attempt, ..)| *attempt != id);
                    self.opened.retain(|(attempt, _)| *attempt != id);
                }
                Action::Won(id) => {
                    let at = self.opened.iter().position(|(opened, _)| *opened == id)?;
                    return Some(Ok(self.opened.swap_remove(at)));
                }
                Action::Failed(fault) => return Some(Err(fault)),
            }
        }
        None
    }

    /// Polls each lookup; true where one ended.
    fn poll_lookups(&mut self, cx: &mut Context<'_>, now: Instant, task: &Task) -> bool {
        let dial = &mut self.dial;
        let before = self.lookups.len();
        self.lookups
            .retain_mut(|(record, lookup)| match Pin::new(lookup).poll(cx) {
                Poll::Pending => true,
                Poll::Ready(answer) => {
                    if let Ok(answer) = &answer {
                        let addresses = answer.addrs.len().min(usize::from(u16::MAX)) as u16;
                        task.emit(|| Event::Resolved { addresses });
                    }
                    dial.handle_answer(now, *record, answer.map(|answer| answer.addrs));
                    false
                }
            });
        self.lookups.len() < before
    }

    /// Polls each attempt; true where one ended.
    fn poll_attempts(&mut self, cx: &mut Context<'_>, now: Instant, task: &Task) -> bool {
        let Self {
            dial,
            opened,
            attempts,
            ..
        } = self;
        let before = attempts.len();
        attempts.retain_mut(|(id, addr, attempt)| match Pin::new(attempt).poll(cx) {
            Poll::Pending => true,
            Poll::Ready(Ok(stream)) => {
                opened.push((*id, stream));
                dial.handle_connected(now, *id);
                false
            }
            Poll::Ready(Err(error)) => {
                let fault = fault_of(&error, Phase::Connect);
                task.emit(|| Event::ConnectFailed {
                    addr: *addr,
                    fault: fault.clone(),
                });
                dial.handle_failed(now, *id, fault);
                false
            }
        });
        attempts.len() < before
    }
}

impl Task {
    fn options(&self) -> crate::net::SocketOptions {
        let shared = self.guard.shared.upgrade();
        shared
            .map(|shared| shared.settings.socket.clone())
            .unwrap_or_default()
    }
}

/// The host as a resolver or a certificate has it: IPv6 literals without brackets.
pub(crate) fn bare_host(url: &Url) -> &str {
    url.host().trim_start_matches('[').trim_end_matches(']')
}

/// Names that need no resolver: address literals, and `localhost` (RFC 6761 section 6.3).
pub(crate) fn known_addresses(host: &str) -> Option<Vec<IpAddr>> {
    if let Ok(addr) = host.parse() {
        return Some(vec![addr]);
    }
    let name = host.trim_end_matches('.');
    if name == "localhost" || name.ends_with(".localhost") {
        return Some(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    None
}
