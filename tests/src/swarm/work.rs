//! What a caller is to do with one call, drawn at random.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use fulmar_sim::{Body, Client, Handle, Method, RequestBuilder};
use futures_core::Stream;

use super::draws::Draws;
use super::ledger::pattern;
use super::{HOSTS, ms};

/// What is to be done with one call.
pub(super) struct Work {
    pub(super) id: u64,
    host: &'static str,
    pub(super) method: Method,
    is_keyed: bool,
    is_expecting: bool,
    pub(super) total: Option<Duration>,
    shape: Shape,
    len: usize,
    pub(super) patience: Patience,
    /// How many chunks of the response are read; `None` is all.
    pub(super) wanted: Option<u64>,
    /// Between chunks, and after the call.
    pub(super) pause: Duration,
}

/// How a body is given.
#[derive(Clone, Copy)]
enum Shape {
    Bytes,
    Sized,
    Unsized,
    Factory,
}

/// When a caller loses interest in the call.
#[derive(Clone, Copy)]
pub(super) enum Patience {
    Endless,
    Polls(u64),
    Time(Duration),
}

impl Work {
    pub(super) fn draw(draws: &mut Draws, id: u64) -> Self {
        let methods = [
            Method::GET,
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::DELETE,
            Method::HEAD,
        ];
        let method = draws.pick(&methods);
        let has_body = matches!(method, Method::POST | Method::PUT);
        let longest = draws.pick(&[10, 10, 1_000, 100_000]);
        Self {
            id,
            host: draws.pick(&HOSTS),
            is_keyed: method == Method::POST && draws.chance(25),
            is_expecting: has_body && draws.chance(15),
            method,
            total: draws.chance(30).then(|| ms(draws.below(4_000))),
            shape: draws.pick(&[Shape::Bytes, Shape::Sized, Shape::Unsized, Shape::Factory]),
            len: if has_body {
                draws.below(longest) as usize
            } else {
                0
            },
            patience: match draws.below(10) {
                0 => Patience::Polls(draws.below(12)),
                1 => Patience::Time(ms(draws.below(500))),
                _ => Patience::Endless,
            },
            wanted: draws.chance(25).then(|| draws.below(3)),
            pause: ms(draws.pick(&[0, 0, 20, 400])),
        }
    }

    pub(super) fn request(&self, client: &Client, handle: &Handle) -> RequestBuilder {
        let url = format!("http://{}/{}", self.host, self.id);
        let mut request = client
            .request(self.method.clone(), url)
            .header("X-Id", self.id)
            .header("X-Len", self.len);
        if self.is_keyed {
            request = request.header("Idempotency-Key", self.id);
        }
        if self.is_expecting {
            request = request.header("Expect", "100-continue");
        }
        if let Some(total) = self.total {
            request = request.timeout(total);
        }
        let bytes = Bytes::from(pattern(self.id, self.len));
        let (handle, pause) = (handle.clone(), self.pause / 8);
        let pieces = move || Pieces {
            rest: bytes.clone(),
            handle: handle.clone(),
            pause,
            sleep: None,
        };
        request.body(match self.shape {
            Shape::Bytes => Body::from(pattern(self.id, self.len)),
            Shape::Sized => Body::sized_stream(pieces(), self.len as u64),
            Shape::Unsized => Body::stream(pieces()),
            Shape::Factory => Body::factory(pieces, Some(self.len as u64)),
        })
    }
}

/// A body in pieces, with a rest before each.
struct Pieces {
    rest: Bytes,
    handle: Handle,
    pause: Duration,
    sleep: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Stream for Pieces {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        if !self.pause.is_zero() {
            let fresh = self.handle.sleep(self.pause);
            ready!(
                self.sleep
                    .get_or_insert_with(|| Box::pin(fresh))
                    .as_mut()
                    .poll(cx)
            );
            self.sleep = None;
        }
        let len = self.rest.len().min(30_000);
        Poll::Ready(Some(Ok(self.rest.split_to(len))))
    }
}
