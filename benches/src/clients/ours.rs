//! Fulmar: the whole client, every timeout and the retry policy on, on any runtime.

use std::marker::PhantomData;
use std::net::SocketAddr;
use std::time::Duration;

use fulmar_tokio::{Client as Fulmar, Limits, Retry, Timeouts};

use super::{Client, Error, Look, unexpected};
use crate::runtimes::Runtime;

/// A clone of one client on the runtime `R`.
pub struct Ours<R> {
    client: Fulmar,
    origin: String,
    url: (&'static str, String),
    runtime: PhantomData<R>,
}

impl<R: Runtime> Client for Ours<R> {
    type Runtime = R;
    type Shared = (Fulmar, SocketAddr);
    type Idle = ();

    fn shared(addr: SocketAddr) -> Result<Self::Shared, Error> {
        // Room for the ten thousand idle ones; the limits cost nothing per request.
        let limits = Limits::new().total(20_000).per_origin(20_000).idle(20_000);
        let client = Fulmar::builder(R::net())
            .timeouts(Timeouts::all(Duration::from_secs(60)))
            .limits(limits.idle_per_origin(20_000).waiters(20_000))
            .retry(Retry::new(3))
            .build()?;
        Ok((client, addr))
    }

    async fn open((client, addr): &Self::Shared) -> Result<Self, Error> {
        let origin = format!("http://{addr}");
        Ok(Self {
            client: client.clone(),
            origin,
            url: ("", String::new()),
            runtime: PhantomData,
        })
    }

    async fn get(&mut self, path: &'static str, look: Look) -> Result<usize, Error> {
        if self.url.0 != path {
            self.url = (path, format!("{}{path}", self.origin));
        }
        let response = self.client.get(self.url.1.as_str()).send().await?;
        if response.status() != 200 {
            return Err(unexpected(response.status()));
        }
        if look == Look::Headers && !response.headers().contains_key("x-request-id") {
            return Err(unexpected("its headers"));
        }
        Ok(response.bytes().await?.len())
    }

    fn into_idle(self) {}
}
