//! What a behaviour finds around it: clients, servers, and tasks.

mod gate;
mod peer;
mod real;
mod simulated;
mod tasks;

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fulmar::net::{BoxFuture, Family, Net, Sleep};
use fulmar::{Client, ClientBuilder, Gauges, Instant};

pub(crate) use gate::Gate;
pub(crate) use peer::{Peer, Server};
pub(crate) use real::{
    on_an_executor_of_smol, on_async_std, on_smol, on_threads_that_block, on_tokio,
    on_tokio_threads,
};
pub(crate) use simulated::in_the_simulator;
pub(crate) use tasks::{PollTimes, Poller, join_all};

use peer::Service;

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Longer than anything may take, on a machine under load too.
const PATIENCE: Duration = Duration::from_secs(20);

/// The world of one test: a network, and a runtime.
#[derive(Clone)]
pub(crate) struct Env {
    net: Arc<dyn Net>,
    builder: Arc<dyn Fn() -> ClientBuilder + Send + Sync>,
    network: Arc<dyn Network>,
    servers: Arc<Mutex<Vec<Server>>>,
    /// What keeps addresses as they are until the test is over.
    guards: Arc<Mutex<Vec<Box<dyn Send>>>>,
}

/// A behaviour, boxed: so each is compiled once, and not once for every runtime.
pub(crate) type Behaviour = fn(Env) -> Pin<Box<dyn Future<Output = ()>>>;

/// What is to be found at addresses.
trait Network: Send + Sync {
    /// Serves connections at an address of its own, which is returned.
    fn serve(&self, service: Arc<Service>) -> String;

    /// An address where nobody listens, for as long as the guard exists.
    fn refused(&self) -> (String, Box<dyn Send>);

    /// An address that never answers, for as long as the guard exists.
    fn black_hole(&self) -> (String, Box<dyn Send>);
}

impl Env {
    fn new<N: Net>(
        make: impl Fn() -> N + Send + Sync + 'static,
        network: impl Network + 'static,
    ) -> Self {
        Self {
            net: Arc::new(make()),
            builder: Arc::new(move || Client::builder(make())),
            network: Arc::new(network),
            servers: Arc::default(),
            guards: Arc::default(),
        }
    }

    /// Begins to configure a client of this runtime.
    pub(crate) fn builder(&self) -> ClientBuilder {
        (self.builder)()
    }

    /// A client with all defaults.
    pub(crate) fn client(&self) -> Client {
        self.builder().build().unwrap()
    }

    /// Serves each connection with a future of its own. The connection is closed where that ends,
    /// and an error that it ends with is the test's business.
    pub(crate) fn serve<F, Fut>(&self, service: F) -> Server
    where
        F: Fn(Peer) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = std::io::Result<()>> + Send + 'static,
    {
        let server = Server::default();
        let service = server.counting(service);
        let server = server.at(self.network.serve(service));
        self.servers.lock().unwrap().push(server.clone());
        server
    }

    /// Answers every request with 200 and its target.
    pub(crate) fn echo(&self) -> Server {
        self.serve(|mut peer| async move {
            while let Some(request) = peer.request().await? {
                peer.respond(200, request.target).await?;
            }
            Ok(())
        })
    }

    /// Answers the first request of each connection with these bytes, and waits for the client to
    /// go.
    pub(crate) fn raw(&self, bytes: impl Into<Vec<u8>>) -> Server {
        let bytes = bytes.into();
        self.serve(move |mut peer| {
            let bytes = bytes.clone();
            async move {
                peer.request().await?;
                peer.write(bytes).await?;
                peer.gone().await
            }
        })
    }

    /// The same, and closes after them.
    pub(crate) fn raw_then_close(&self, bytes: impl Into<Vec<u8>>) -> Server {
        let bytes = bytes.into();
        self.serve(move |mut peer| {
            let bytes = bytes.clone();
            async move {
                peer.request().await?;
                peer.write(bytes).await
            }
        })
    }

    /// Answers nothing.
    pub(crate) fn silent(&self) -> Server {
        self.raw("")
    }

    /// A URL where nobody listens.
    pub(crate) fn refused(&self) -> String {
        let (url, guard) = self.network.refused();
        self.guards.lock().unwrap().push(guard);
        url
    }

    /// A URL that never answers, for as long as the guard exists.
    pub(crate) fn black_hole(&self) -> (String, Box<dyn Send>) {
        self.network.black_hole()
    }

    /// The addresses of a host, as the runtime's own resolver knows them.
    pub(crate) async fn addresses(&self, host: &str) -> Vec<IpAddr> {
        self.net.resolve(host, Family::Any).await.unwrap().addrs
    }

    /// The runtime's clock.
    pub(crate) fn now(&self) -> Instant {
        self.net.now()
    }

    /// A timer of the runtime.
    pub(crate) fn timer(&self, until: Instant) -> Box<dyn Sleep> {
        self.net.sleep(until)
    }

    /// Runs a task on the runtime.
    pub(crate) fn spawn<F>(&self, future: F) -> BoxFuture<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        tasks::spawn(&*self.net, future)
    }

    /// Waits until the condition holds.
    pub(crate) async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let begun = self.now();
        while !holds() {
            assert!(self.now() - begun < PATIENCE, "in vain: {what}");
            self.net.sleep(self.now() + ms(1)).await;
        }
    }

    /// Waits until nobody uses or waits for a connection.
    pub(crate) async fn quiet(&self, client: &Client) {
        let busy = |g: Gauges| g.busy + g.connecting + g.waiting + g.draining;
        self.until("a quiet client", || busy(client.gauges()) == 0)
            .await;
    }
}

/// Runs a behaviour; no connection may be open after it.
async fn checked(env: Env, behaviour: Behaviour) {
    behaviour(env.clone()).await;
    let servers = env.servers.lock().unwrap().clone();
    for server in servers {
        env.until("closed sockets", || server.open() == 0).await;
    }
}
