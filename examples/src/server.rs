//! The server that misbehaves. It is one function over any byte stream and any clock, so the same
//! one serves a loopback socket and a simulated connection.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_io::{AsyncRead, AsyncWrite};

use crate::clock::Clock;
use crate::ledger::Ledger;
use crate::peer::Peer;

/// The size of the big download.
pub(crate) const BIG: u64 = 50 * 1024 * 1024;
/// The size of the file for a download, whose length is told in advance.
pub(crate) const FILE: u64 = 100 * 1024 * 1024;
/// Bytes in one chunk of either.
const CHUNK: usize = 64 * 1024;
/// How often the busy server says so before it serves.
const BUSY_TIMES: u32 = 2;
/// The time between two bytes that come one by one.
const TRICKLE: Duration = Duration::from_millis(50);
/// How long a connection that will be closed is left open.
const CLOSES_AFTER: Duration = Duration::from_millis(100);

/// What the server remembers between requests.
pub(crate) struct Server {
    clock: Clock,
    turned_away: AtomicU32,
    left_hanging: AtomicU32,
    ledger: Ledger,
}

/// What follows an answer.
#[derive(PartialEq)]
enum Then {
    Keep,
    Close,
}

impl Server {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            turned_away: AtomicU32::new(0),
            left_hanging: AtomicU32::new(0),
            ledger: Ledger::default(),
        }
    }

    /// Serves one connection to its end.
    pub(crate) async fn serve<S>(&self, stream: S) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut peer = Peer::new(stream);
        let mut served = 0;
        while let Some(asked) = peer.request().await? {
            served += 1;
            if let Some(key) = &asked.key {
                return self.ledger.serve(&mut peer, key).await;
            }
            if self.answer(&mut peer, &asked.path, served).await? == Then::Close {
                break;
            }
        }
        Ok(())
    }

    async fn answer<S>(&self, peer: &mut Peer<S>, path: &str, served: u32) -> io::Result<Then>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match path {
            "/busy" if self.turned_away.fetch_add(1, Ordering::Relaxed) < BUSY_TIMES => {
                let busy = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n\
                            Content-Length: 5\r\n\r\nbusy\n";
                peer.send(busy.as_bytes()).await.map(|()| Then::Keep)
            }
            "/closing" => {
                self.hello(peer).await?;
                self.clock.sleep(CLOSES_AFTER).await;
                Ok(Then::Close)
            }
            // The connection dies under its second request, as one does that a balancer forgot.
            "/vanish" if served > 1 => Ok(Then::Close),
            "/order" => Ok(Then::Close),
            "/stuck-once" if self.left_hanging.fetch_add(1, Ordering::Relaxed) == 0 => {
                peer.hang().await.map(|()| Then::Close)
            }
            "/silent" => peer.hang().await.map(|()| Then::Close),
            "/page" => page(peer).await,
            "/stall" => stall(peer).await,
            "/trickle" => self.trickle(peer).await,
            "/short" => short(peer).await,
            "/garbage" => {
                peer.send(b"220 mail.example ESMTP ready\r\n").await?;
                Ok(Then::Close)
            }
            "/big" => big(peer).await,
            "/file" => file(peer).await,
            _ => self.hello(peer).await,
        }
    }

    async fn hello<S>(&self, peer: &mut Peer<S>) -> io::Result<Then>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n")
            .await?;
        Ok(Then::Keep)
    }
}

impl Server {
    /// A byte now and then: never silent for long, and never done.
    async fn trickle<S>(&self, peer: &mut Peer<S>) -> io::Result<Then>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            .await?;
        loop {
            peer.send(b".").await?;
            self.clock.sleep(TRICKLE).await;
        }
    }
}

/// More than comes with a head, on a connection that stays open.
async fn page<S>(peer: &mut Peer<S>) -> io::Result<Then>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n")
        .await?;
    peer.send(&vec![b'.'; 200_000]).await?;
    Ok(Then::Keep)
}

/// Half of a response, and then nothing.
async fn stall<S>(peer: &mut Peer<S>) -> io::Result<Then>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        .await?;
    peer.send(&vec![b'.'; 50_000]).await?;
    peer.hang().await.map(|()| Then::Close)
}

/// Half of a response, and then the end.
async fn short<S>(peer: &mut Peer<S>) -> io::Result<Then>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        .await?;
    peer.send(&vec![b'.'; 40_000]).await?;
    Ok(Then::Close)
}

/// The big download, in chunks.
async fn big<S>(peer: &mut Peer<S>) -> io::Result<Then>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await?;
    let mut chunk = format!("{CHUNK:x}\r\n").into_bytes();
    chunk.extend((0..CHUNK).map(pattern));
    chunk.extend_from_slice(b"\r\n");
    for _ in 0..BIG / CHUNK as u64 {
        peer.send(&chunk).await?;
    }
    peer.send(b"0\r\n\r\n").await?;
    Ok(Then::Keep)
}

/// The file, its length in the head.
async fn file<S>(peer: &mut Peer<S>) -> io::Result<Then>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {FILE}\r\n\r\n");
    peer.send(head.as_bytes()).await?;
    let piece: Vec<u8> = (0..CHUNK).map(pattern).collect();
    for _ in 0..FILE / CHUNK as u64 {
        peer.send(&piece).await?;
    }
    Ok(Then::Keep)
}

/// The byte at a place of the big download and of the file, whose period is one chunk.
fn pattern(at: usize) -> u8 {
    ((at % CHUNK) * 31 / 7) as u8
}

/// Checks that the big download, or the file, arrives as it was sent, piece by piece.
pub(crate) struct Check {
    period: Vec<u8>,
    length: u64,
    at: u64,
    is_good: bool,
}

impl Check {
    pub(crate) fn of(length: u64) -> Self {
        let period = (0..CHUNK).map(pattern).collect();
        Self {
            period,
            length,
            at: 0,
            is_good: true,
        }
    }

    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let expected = &self.period[(self.at % CHUNK as u64) as usize..];
            let length = expected.len().min(bytes.len());
            self.is_good &= bytes[..length] == expected[..length];
            self.at += length as u64;
            bytes = &bytes[length..];
        }
    }

    /// Whether all of it came, and nothing else.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_good && self.at == self.length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_byte_of_the_download_is_noticed() {
        let mut whole: Vec<u8> = (0..CHUNK).map(pattern).collect();
        let pieces = BIG / CHUNK as u64;
        let mut check = Check::of(BIG);
        (0..pieces).for_each(|_| check.feed(&whole));
        assert!(check.is_whole());
        let mut check = Check::of(BIG);
        (1..pieces).for_each(|_| check.feed(&whole));
        whole[77] ^= 1;
        check.feed(&whole);
        assert!(!check.is_whole());
    }
}
