//! Runtimes with real sockets: a server is a thread, and one more for each connection.

use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use bytes::Bytes;
use fulmar_async_std::AsyncStd;
use fulmar_blocking::Blocking;
use fulmar_smol::Smol;
use fulmar_tokio::Tokio;
use socket2::{Domain, SockRef, Type};

use super::peer::{Pipe, Service};
use super::{Behaviour, Env, Network, checked};

pub(crate) fn on_tokio(behaviour: Behaviour) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    runtime.block_on(checked(Env::new(Tokio::new, Loopback), behaviour));
}

pub(crate) fn on_tokio_threads(behaviour: Behaviour) {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(checked(Env::new(Tokio::new, Loopback), behaviour));
}

pub(crate) fn on_smol(behaviour: Behaviour) {
    smol::block_on(checked(Env::new(Smol::new, Loopback), behaviour));
}

pub(crate) fn on_an_executor_of_smol(behaviour: Behaviour) {
    let executor = Arc::new(smol::Executor::new());
    let clients = Arc::clone(&executor);
    let env = Env::new(move || Smol::on(&clients), Loopback);
    smol::block_on(executor.run(checked(env, behaviour)));
}

pub(crate) fn on_async_std(behaviour: Behaviour) {
    async_std::task::block_on(checked(Env::new(AsyncStd::new, Loopback), behaviour));
}

pub(crate) fn on_threads_that_block(behaviour: Behaviour) {
    fulmar_blocking::block_on(checked(Env::new(Blocking::new, Loopback), behaviour));
}

struct Loopback;

impl Network for Loopback {
    fn serve(&self, service: Arc<Service>) -> String {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = url(listener.local_addr().unwrap());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let pipe = Pipe::Real(Socket(stream.unwrap()));
                let serving = service(pipe);
                thread::spawn(move || block_on(serving));
            }
        });
        url
    }

    fn refused(&self) -> (String, Box<dyn Send>) {
        // Bound, so that nobody else gets the port, and not listening.
        let (socket, addr) = bound();
        (url(addr), Box::new(socket))
    }

    fn black_hole(&self) -> (String, Box<dyn Send>) {
        // Nobody accepts, and the queue of those who wait for that is full.
        let (listener, addr) = bound();
        listener.listen(0).unwrap();
        let connect = || TcpStream::connect_timeout(&addr, Duration::from_millis(50));
        let waiting: Vec<_> = std::iter::from_fn(|| connect().ok()).collect();
        (url(addr), Box::new((listener, waiting)))
    }
}

/// A socket with a port of its own.
fn bound() -> (socket2::Socket, SocketAddr) {
    let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    socket.bind(&any.into()).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, addr)
}

fn url(addr: SocketAddr) -> String {
    format!("http://{addr}")
}

pub(crate) struct Socket(TcpStream);

impl Socket {
    pub(super) fn read(&mut self) -> io::Result<Bytes> {
        let mut bytes = vec![0; 16 * 1024];
        let len = self.0.read(&mut bytes)?;
        bytes.truncate(len);
        Ok(bytes.into())
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    pub(super) fn reset(self) {
        SockRef::from(&self.0)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on(future: impl Future<Output = ()>) {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    while future.as_mut().poll(&mut cx).is_pending() {
        thread::park();
    }
}
