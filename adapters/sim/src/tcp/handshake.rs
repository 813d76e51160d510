//! How connections begin.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};

use super::{End, Flow, Stage, Tcp};
use crate::faults::Kind;
use crate::link::patience;
use crate::queue::Event;
use crate::record::{Actor, What};
use crate::slab::Key;
use crate::world::{State, remember};

/// The number that every unix has for it.
const EMFILE: i32 = 24;

impl State {
    /// Sends the first packet.
    pub(crate) fn open(
        &mut self,
        client: usize,
        server_addr: SocketAddr,
        bind: Option<IpAddr>,
    ) -> io::Result<Key> {
        let client_addr = self.local_addr(client, server_addr, bind)?;
        let server = self.by_addr.get(&server_addr.ip()).copied();
        let server = server.ok_or(ErrorKind::HostUnreachable)?;
        if self.is_out_of_descriptors(client, client_addr, server_addr) {
            return Err(io::Error::from_raw_os_error(EMFILE));
        }
        self.opened += 1;
        let wire = self.wire(client, server);
        let is_flipped = self.wires.get(wire).is_some_and(|wire| wire.a != client);
        let actor = self.label(client, server, server_addr.port());
        self.record(actor, What::Opening);
        let key = self.conns.insert(Tcp {
            client,
            server,
            client_addr,
            server_addr,
            windows: Vec::new(),
            actor,
            wire,
            flip: usize::from(is_flipped),
            stage: Stage::Opening,
            is_dead: false,
            ends: [End::default(), End::closed()],
            flows: [Flow::default(), Flow::default()],
        });
        let windows = self.windows(key);
        if let Some(conn) = self.conns.get_mut(key) {
            conn.windows = windows;
        }
        self.greet(key, 0, Event::Syn(key));
        Ok(key)
    }

    /// The client's address: the one that it bound, or its first of the server's family.
    fn local_addr(
        &mut self,
        client: usize,
        server: SocketAddr,
        bind: Option<IpAddr>,
    ) -> io::Result<SocketAddr> {
        let host = self.hosts.get_mut(client).ok_or(ErrorKind::NotConnected)?;
        let alike = host
            .addrs
            .iter()
            .find(|addr| addr.is_ipv4() == server.is_ipv4());
        let own = bind.or(alike.or(host.addrs.first()).copied());
        let own = own
            .filter(|addr| host.addrs.contains(addr))
            .ok_or(ErrorKind::AddrNotAvailable)?;
        Ok(SocketAddr::new(own, host.take_port()))
    }

    fn label(&mut self, client: usize, server: usize, port: u16) -> Actor {
        let name = |host: usize| self.hosts.get(host).map_or("?", |host| &*host.name);
        let label = format!("{}>{}:{port}", name(client), name(server));
        Actor::Connection(self.opened as u32, self.trace.name(&label))
    }

    /// Sends a packet of the handshake, or lets the handshake time out.
    fn greet(&mut self, key: Key, end: usize, event: Event) {
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        let way = conn.way(end);
        let Some(wire) = self.wires.get_mut(conn.wire) else {
            return;
        };
        let Some(at) = wire.greeting(self.now, way, &conn.windows) else {
            let at = self.now.saturating_add(patience(true));
            return self
                .queue
                .push(at, Event::Handshake(key, Some(ErrorKind::TimedOut)));
        };
        let flow = &mut conn.flows[end];
        flow.last_arrival = flow.last_arrival.max(at);
        self.queue.push(at, event);
    }

    pub(crate) fn handle_syn(&mut self, key: Key) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        let actor = conn.actor;
        let (mut is_reset, mut is_refused) = (false, false);
        for window in conn.windows.iter().filter(|window| window.contains(now)) {
            is_reset |= window.kind == Kind::Reset;
            is_refused |= window.kind == Kind::Refuse;
            is_refused |= window.kind == Kind::Down && window.ends.has(1);
        }
        let port = conn.server_addr.port();
        let listener = self
            .hosts
            .get(conn.server)
            .and_then(|host| host.listeners.get(&port));
        let failure = match listener {
            _ if is_reset => Some(ErrorKind::ConnectionReset),
            Some(service) if !is_refused => {
                conn.stage = Stage::Accepted;
                conn.ends[1].is_closed = false;
                self.accepted.push_back((key, Arc::clone(service)));
                self.record(actor, What::Accepted);
                None
            }
            _ => Some(ErrorKind::ConnectionRefused),
        };
        self.greet(key, 1, Event::Handshake(key, failure));
    }

    pub(crate) fn handle_handshake(&mut self, key: Key, failure: Option<ErrorKind>) {
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        if !matches!(conn.stage, Stage::Opening | Stage::Accepted) {
            return;
        }
        let actor = conn.actor;
        conn.stage = failure.map_or(Stage::Established, Stage::Failed);
        let waker = conn.ends[0].reader.take();
        self.wake(waker);
        self.record(
            actor,
            failure.map_or(What::Established, What::ConnectFailed),
        );
    }

    pub(crate) fn poll_open(&mut self, key: Key, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let Some(conn) = self.conns.get_mut(key) else {
            return Poll::Ready(Err(ErrorKind::NotConnected.into()));
        };
        match conn.stage {
            Stage::Established => Poll::Ready(Ok(())),
            Stage::Failed(kind) => Poll::Ready(Err(kind.into())),
            Stage::Opening | Stage::Accepted => {
                let before = remember(&mut conn.ends[0].reader, cx);
                self.discard(before);
                Poll::Pending
            }
        }
    }
}
