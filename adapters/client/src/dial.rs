//! A dial: a spawned task that opens one connection for the pool.
//!
//! It belongs to the pool and not to the request that asked for it: dropping that one does not fail
//! the others who wait. It resolves, races the addresses, shakes hands, and hands the connection
//! over; whatever else happens to it (an error, a panic, a runtime that goes away), its guard reports.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
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

use crate::dns::{Asker, Dns, Search};
use crate::fault::fault_of;
use crate::h1::H1;
use crate::milestones::Milestones;
use crate::net::{BoxFuture, Endpoint, Net, Stream};
use crate::shared::{Registration, Shared, State};
use crate::url::Url;
use crate::wire::Wire;

/// Where a dial leads.
pub(crate) struct Destination {
    pub(crate) url: Url,
    /// The unix socket to connect to, instead of the host.
    pub(crate) socket: Option<Arc<Path>>,
    /// Not to this address, where the host has another.
    pub(crate) avoid: Option<IpAddr>,
}

/// Opens a connection in `slot`, in a task of its own, and tells how far that has come.
pub(crate) fn spawn(
    shared: &Arc<Shared>,
    to: Destination,
    slot: Slot,
    timeouts: &Timeouts,
    call: u64,
    now: Instant,
) -> Arc<Milestones> {
    // The first to be dialled is as good a guess as any.
    shared.origin.get_or_init(|| to.url.clone());
    let after = |timeout: Option<_>| timeout.map_or(Instant::MAX, |timeout| now + timeout);
    let milestones = Arc::new(Milestones::new());
    let task = Task {
        milestones: milestones.clone(),
        guard: Guard {
            shared: Arc::downgrade(shared),
            slot: Some(slot),
        },
        net: shared.net.clone(),
        to,
        deadline: after(timeouts.connect),
        dns_deadline: after(timeouts.dns),
        timeouts: *timeouts,
        dns: shared.settings.dns.clone(),
        by_name: false,
        has_others: false,
        call,
        registration: Registration::default(),
    };
    // The task holds the slot already: an observer may panic.
    shared.emit(call, || Event::DialStarted);
    shared.net.spawn(Box::pin(task.run()));
    milestones
}

struct Task {
    milestones: Arc<Milestones>,
    guard: Guard,
    net: Arc<dyn Net>,
    to: Destination,
    deadline: Instant,
    dns_deadline: Instant,
    timeouts: Timeouts,
    dns: Dns,
    /// Its addresses were looked up.
    by_name: bool,
    /// The host has more addresses than one.
    has_others: bool,
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
        if let Some(path) = &self.to.socket {
            let to = Endpoint::Unix(path.to_path_buf());
            return self.open_unix(&to).await;
        }
        let mut race = Race::new(self, self.net.now());
        loop {
            let (id, stream) = poll_fn(|cx| race.poll(cx, self)).await?;
            self.milestones.opened(self.net.now());
            self.has_others = race.dial.addresses() > 1;
            match self.secure(stream).await {
                Ok(wire) => return Ok(wire),
                // Another address may do better; the race knows whether one is left.
                Err(fault) => race.lose(self.net.now(), id, fault),
            }
        }
    }

    /// There is one address, and nothing to race.
    async fn open_unix(&mut self, to: &Endpoint) -> Result<Wire, Fault> {
        self.milestones.resolved(self.net.now());
        let mut connecting = self.net.connect(to, &self.options());
        let deadline = self.deadline;
        let stream = poll_fn(|cx| match connecting.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(done.map_err(|e| fault_of(&e, Phase::Connect))),
            Poll::Pending => self.watch(cx, deadline, Phase::Connect),
        })
        .await?;
        self.milestones.opened(self.net.now());
        self.secure(stream).await
    }

    /// TLS over an open transport, where the scheme asks for it.
    async fn secure(&mut self, stream: Box<dyn Stream>) -> Result<Wire, Fault> {
        if self.to.url.scheme() == Scheme::Http {
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
            .timeouts
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
        let tls = connector.connect(bare_host(&self.to.url), &[b"http/1.1"])?;
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
        // A client that ends is for the pool to tell, below.
        self.registration.ensure(&shared, cx, now, until);
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
        h1.has_others = self.has_others;
        let peer = h1.peer.as_deref().copied();
        let addr = h1.peer.as_deref().map(|peer| peer.ip().to_canonical());
        let addr = addr.filter(|_| self.by_name);
        let (connection, _waker) = shared.locked(|state| {
            if addr.is_some() {
                state
                    .watched
                    .add(bare_host(&self.to.url), self.to.url.origin());
            }
            state.pool.note_address(slot, addr);
            let connection = state.next_connection();
            h1.id = connection;
            h1.peer = h1.peer.take().map(|peer| state.share(peer));
            let waker = self.registration.remove(state);
            let State { pool, rng, .. } = state;
            pool.handle_connected(now, slot, Connection::Exclusive(h1), rng);
            (connection, waker)
        });
        // The name may have moved while this was on its way.
        let name = bare_host(&self.to.url);
        let addrs = addr.map_or_else(Vec::new, |_| self.dns.addresses(name));
        if addr.is_some_and(|addr| !addrs.is_empty() && !addrs.contains(&addr)) {
            shared.handle_addresses(name, &addrs);
        }
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

type Attempts = Vec<(
    AttemptId,
    SocketAddr,
    Instant,
    BoxFuture<io::Result<Box<dyn Stream>>>,
)>;

/// A transport that opened.
type Opened = (AttemptId, Box<dyn Stream>);

/// The race of addresses: the machine, and the futures it asked for.
struct Race {
    dial: Dial,
    dns: Dns,
    searches: Vec<Search>,
    /// When a search wants to be polled again.
    search_at: Instant,
    attempts: Attempts,
    opened: Vec<Opened>,
    resolved: bool,
}

impl Race {
    fn new(task: &Task, now: Instant) -> Self {
        let deadline = Some(task.deadline);
        let avoid = task.to.avoid;
        let config = Config {
            avoid,
            ..Config::default()
        };
        let port = task.to.url.port();
        let dns = task.dns.clone();
        let lookup = if dns.is_split() {
            Lookup::Split
        } else {
            Lookup::Only(Record::Any)
        };
        let dial = match dns.known_addresses(bare_host(&task.to.url)) {
            Some(addrs) => {
                let known = dns.known_of(&addrs, port);
                Dial::to(now, &addrs, port, deadline, config, &known)
            }
            None => Dial::by_name(now, port, lookup, deadline, config),
        };
        Self {
            dial,
            dns,
            searches: Vec::new(),
            search_at: Instant::MAX,
            attempts: Vec::new(),
            opened: Vec::new(),
            resolved: false,
        }
    }

    /// The winner's handshake failed.
    fn lose(&mut self, now: Instant, id: AttemptId, fault: Fault) {
        let failed = self.dial.failures().len();
        self.dial.handle_failed(now, id, fault);
        for failure in self.dial.failures().iter().skip(failed) {
            self.dns.note_failed(failure.addr, &failure.fault);
        }
    }

    /// Attempts that never answered count as failed.
    fn note_overtaken(&self) {
        let slow = Fault::new(FaultKind::TimedOut, Phase::Connect);
        for addr in self.dial.overtaken() {
            self.dns.note_failed(*addr, &slow);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, task: &mut Task) -> Poll<Result<Opened, Fault>> {
        let now = task.net.now();
        self.dial.handle_timeout(now);
        loop {
            if let Some(end) = self.act(task) {
                return Poll::Ready(end);
            }
            if !self.poll_searches(cx, now, task) && !self.poll_attempts(cx, now, task) {
                break;
            }
        }
        let machine = self.dial.poll_timeout().unwrap_or(Instant::MAX);
        let machine = machine.min(self.search_at);
        let (until, phase) = if self.resolved {
            (Instant::MAX, Phase::Connect)
        } else {
            (task.dns_deadline, Phase::Dns)
        };
        match task.watch(cx, machine.min(until), phase) {
            // The machine says what its own time means; it may have come since it was asked.
            Poll::Ready(Err(fault))
                if fault.kind == FaultKind::TimedOut && task.net.now() < until =>
            {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            other => other,
        }
    }

    /// Does what the machine says, until it says nothing more.
    fn act(&mut self, task: &Task) -> Option<Result<Opened, Fault>> {
        while let Some(action) = self.dial.poll_action() {
            match action {
                Action::Resolve(record) => {
                    let name = bare_host(&task.to.url);
                    let search = Search::new(&self.dns, &task.net, name, record);
                    self.searches.push(search);
                }
                Action::Connect(id, addr) => {
                    if !std::mem::replace(&mut self.resolved, true) {
                        task.milestones.resolved(task.net.now());
                    }
                    task.emit(|| Event::Connecting { addr });
                    let options = task.options();
                    let attempt = task.net.connect(&Endpoint::Tcp(addr), &options);
                    self.attempts.push((id, addr, task.net.now(), attempt));
                }
                Action::Abandon(id) => {
                    self.attempts.retain(|(attempt, ..)| *attempt != id);
                    self.opened.retain(|(attempt, _)| *attempt != id);
                }
                Action::Won(id) => {
                    self.note_overtaken();
                    let at = self.opened.iter().position(|(opened, _)| *opened == id)?;
                    return Some(Ok(self.opened.swap_remove(at)));
                }
                Action::Failed(fault) => {
                    self.note_overtaken();
                    return Some(Err(fault));
                }
            }
        }
        None
    }

    /// Polls each search; true where one ended.
    fn poll_searches(&mut self, cx: &mut Context<'_>, now: Instant, task: &mut Task) -> bool {
        let Self { dial, dns, .. } = self;
        let asker = Asker {
            net: &task.net,
            name: bare_host(&task.to.url),
            until: task.dns_deadline.min(task.deadline),
            limit: task.timeouts.dns,
        };
        let asker_port = task.to.url.port();
        let before = self.searches.len();
        self.search_at = Instant::MAX;
        let search_at = &mut self.search_at;
        self.searches
            .retain_mut(|search| match search.poll(cx, dns, &asker) {
                Err(again) => {
                    *search_at = (*search_at).min(again);
                    true
                }
                Ok(answer) => {
                    if let Ok(addrs) = &answer {
                        let addresses = addrs.len().min(usize::from(u16::MAX)) as u16;
                        task.emit(|| Event::Resolved { addresses });
                    }
                    let addrs = answer.as_deref().unwrap_or_default();
                    dial.remember(&dns.known_of(addrs, asker_port));
                    dial.handle_answer(now, search.record, answer);
                    false
                }
            });
        let has_ended = self.searches.len() < before;
        task.by_name |= has_ended;
        has_ended
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
        attempts.retain_mut(
            |(id, addr, began, attempt)| match Pin::new(attempt).poll(cx) {
                Poll::Pending => true,
                Poll::Ready(Ok(stream)) => {
                    task.dns.note_connected(*addr, now - *began);
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
                    task.dns.note_failed(*addr, &fault);
                    dial.handle_failed(now, *id, fault);
                    false
                }
            },
        );
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
