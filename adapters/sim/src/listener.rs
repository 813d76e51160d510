//! Servers that accept connections in a loop of their own.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use crate::conn::Conn;
use crate::sim::{Sim, split};
use crate::world::{Service, World};

/// Connections that wait to be accepted; more are closed at once.
const BACKLOG: usize = 128;

/// An address whose connections are accepted one by one; made by [`Sim::listen`]. Dropping it stops
/// that: attempts to connect are refused.
pub struct Listener {
    world: Arc<World>,
    host: usize,
    port: u16,
    service: Arc<Service>,
    backlog: Arc<Mutex<Backlog>>,
}

#[derive(Default)]
struct Backlog {
    conns: VecDeque<Conn>,
    acceptor: Option<Waker>,
}

impl Sim {
    /// Listens at an address (`"api.test:80"`; port 80 where none is named), for servers that are
    /// one task, or that decide when to accept. [`Sim::serve`] is simpler where each connection
    /// has a future of its own.
    ///
    /// ```
    /// # use fulmar_sim::{Sim, net::{Endpoint, Net, SocketOptions}};
    /// let mut sim = Sim::seeded(1);
    /// let listener = sim.listen("api.test:7");
    /// sim.spawn(async move {
    ///     loop {
    ///         let mut conn = listener.accept().await;
    ///         let _ = conn.write_all("hello and goodbye").await;
    ///     }
    /// });
    /// # let net = sim.net("laptop");
    /// # let run = sim.run(async move {
    /// #     let to = Endpoint::Tcp("10.0.0.1:7".parse().unwrap());
    /// #     let mut stream = net.connect(&to, &SocketOptions::default()).await?;
    /// #     let mut buf = bytes::BytesMut::with_capacity(100);
    /// #     std::future::poll_fn(|cx| stream.poll_read(cx, &mut buf)).await?;
    /// #     std::io::Result::Ok(buf)
    /// # });
    /// # assert_eq!(run.expect().as_ref().unwrap(), "hello and goodbye");
    /// ```
    pub fn listen(&self, addr: &str) -> Listener {
        let backlog = Arc::new(Mutex::new(Backlog::default()));
        let queue = Arc::clone(&backlog);
        let service = self.install(addr, move |conn| {
            let refused = push(&queue, conn);
            drop(refused);
            Box::pin(async { io::Result::Ok(()) })
        });
        let (host, port) = split(addr);
        Listener {
            world: Arc::clone(&self.world),
            host: self.world.with(|state| state.host(host)),
            port,
            service,
            backlog,
        }
    }
}

impl Listener {
    /// Waits for the next connection.
    ///
    /// # Cancel safety
    ///
    /// It is cancel safe.
    pub async fn accept(&self) -> Conn {
        poll_fn(|cx| {
            let mut backlog = lock(&self.backlog);
            let Some(conn) = backlog.conns.pop_front() else {
                backlog.acceptor = Some(cx.waker().clone());
                return Poll::Pending;
            };
            Poll::Ready(conn)
        })
        .await
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let service = self.world.with(|state| {
            let listeners = &mut state.hosts.get_mut(self.host)?.listeners;
            let is_ours = Arc::ptr_eq(listeners.get(&self.port)?, &self.service);
            is_ours.then(|| listeners.remove(&self.port))
        });
        drop(service);
    }
}

/// Queues a connection, and gives it back where there is no room.
fn push(backlog: &Mutex<Backlog>, conn: Conn) -> Option<Conn> {
    let mut backlog = lock(backlog);
    if backlog.conns.len() >= BACKLOG {
        return Some(conn);
    }
    backlog.conns.push_back(conn);
    let acceptor = backlog.acceptor.take();
    drop(backlog);
    if let Some(acceptor) = acceptor {
        acceptor.wake();
    }
    None
}

fn lock(backlog: &Mutex<Backlog>) -> MutexGuard<'_, Backlog> {
    backlog.lock().unwrap_or_else(PoisonError::into_inner)
}
