//! reqwest as it comes, without default features: its pool, no timeouts.

use std::net::SocketAddr;

use fulmar_tokio::Tokio;
use reqwest::StatusCode;

use super::{Client, Error, Look, unexpected};

/// A clone of one client.
pub struct Reqwest {
    client: reqwest::Client,
    origin: String,
    url: (&'static str, String),
}

impl Client for Reqwest {
    type Runtime = Tokio;
    type Shared = (reqwest::Client, SocketAddr);
    type Idle = ();

    fn shared(addr: SocketAddr) -> Result<Self::Shared, Error> {
        Ok((reqwest::Client::builder().no_proxy().build()?, addr))
    }

    async fn open((client, addr): &Self::Shared) -> Result<Self, Error> {
        let origin = format!("http://{addr}");
        Ok(Self {
            client: client.clone(),
            origin,
            url: ("", String::new()),
        })
    }

    async fn get(&mut self, path: &'static str, look: Look) -> Result<usize, Error> {
        if self.url.0 != path {
            self.url = (path, format!("{}{path}", self.origin));
        }
        let response = self.client.get(&self.url.1).send().await?;
        if response.status() != StatusCode::OK {
            return Err(unexpected(response.status()));
        }
        if look == Look::Headers && !response.headers().contains_key("x-request-id") {
            return Err(unexpected("its headers"));
        }
        Ok(response.bytes().await?.len())
    }

    fn into_idle(self) {}
}
