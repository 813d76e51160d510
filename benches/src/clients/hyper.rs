//! hyper's bare connection: no pool, no timeouts, no retries; a spawned task drives each.

use std::net::SocketAddr;

use bytes::Bytes;
use fulmar_tokio::Tokio;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Client, Error, Look, unexpected};

/// One connection.
pub struct Hyper {
    sender: SendRequest<Empty<Bytes>>,
    host: HeaderValue,
}

impl Client for Hyper {
    type Runtime = Tokio;
    type Shared = SocketAddr;
    type Idle = SendRequest<Empty<Bytes>>;

    fn shared(addr: SocketAddr) -> Result<SocketAddr, Error> {
        Ok(addr)
    }

    async fn open(addr: &SocketAddr) -> Result<Self, Error> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self {
            sender,
            host: HeaderValue::from_str(&addr.to_string())?,
        })
    }

    async fn get(&mut self, path: &'static str, look: Look) -> Result<usize, Error> {
        self.sender.ready().await?;
        let request = Request::get(path)
            .header(HOST, self.host.clone())
            .body(Empty::new())?;
        let response = self.sender.send_request(request).await?;
        if response.status() != StatusCode::OK {
            return Err(unexpected(response.status()));
        }
        if look == Look::Headers && !response.headers().contains_key("x-request-id") {
            return Err(unexpected("its headers"));
        }
        // Frame by frame, as they come: `collect` would cost it two allocations more.
        let mut body = response.into_body();
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            length += frame?.into_data().map_or(0, |data| data.len());
        }
        Ok(length)
    }

    fn into_idle(self) -> Self::Idle {
        self.sender
    }
}
