//! What a client is put through.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use crate::peers::{Error, Peer, upgraded};
use crate::server::{FIREHOSE, FIREHOSE_LEN};

/// A way of using a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// One message of so many bytes, then its echo.
    PingPong(usize),
    /// [`WINDOW`] messages of 64 bytes, then their echoes.
    Pipelined,
    /// Messages of 64 bytes that come without end.
    Firehose,
}

/// How many are in flight where many are.
pub const WINDOW: usize = 1_000;

/// The length of a short message.
const SHORT: usize = 64;

impl Pattern {
    /// All, in the order of the table.
    pub const ALL: [Self; 5] = [
        Self::PingPong(SHORT),
        Self::Pipelined,
        Self::Firehose,
        Self::PingPong(64 * 1024),
        Self::PingPong(1024 * 1024),
    ];

    /// Its name on the command line and in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PingPong(SHORT) => "ping-pong",
            Self::Pipelined => "pipelined",
            Self::Firehose => "firehose",
            Self::PingPong(len) if len < 1024 * 1024 => "64-kib",
            Self::PingPong(_) => "1-mib",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|pattern| pattern.as_str() == name)
    }

    /// How many messages a short and a long run have, whose difference is counted.
    pub fn runs(self) -> (usize, usize) {
        match self {
            Self::PingPong(SHORT) => (2_000, 6_000),
            Self::Pipelined => (20 * WINDOW, 60 * WINDOW),
            Self::Firehose => (50_000, 250_000),
            Self::PingPong(len) if len < 1024 * 1024 => (100, 500),
            Self::PingPong(_) => (20, 60),
        }
    }

    /// The path of the server that it needs.
    pub fn path(self) -> &'static str {
        if self == Self::Firehose {
            FIREHOSE
        } else {
            "/"
        }
    }

    /// Puts a connection through so many messages.
    ///
    /// # Errors
    ///
    /// The library's own, or a message of another length than expected.
    pub async fn play<P: Peer>(self, peer: &mut P, messages: usize) -> Result<(), Error> {
        match self {
            Self::PingPong(len) => {
                let message = Bytes::from(vec![b'x'; len]);
                for _ in 0..messages {
                    peer.send_now(message.clone()).await?;
                    expect(peer, len).await?;
                }
            }
            Self::Pipelined => {
                let message = Bytes::from(vec![b'x'; SHORT]);
                for _ in 0..messages / WINDOW {
                    for _ in 0..WINDOW {
                        peer.send(message.clone()).await?;
                    }
                    peer.flush().await?;
                    for _ in 0..WINDOW {
                        expect(peer, SHORT).await?;
                    }
                }
            }
            Self::Firehose => {
                for _ in 0..messages {
                    expect(peer, FIREHOSE_LEN).await?;
                }
            }
        }
        Ok(())
    }

    /// Opens a connection and plays, in a task of a runtime of one thread.
    ///
    /// # Errors
    ///
    /// Any of its steps'.
    pub fn run<P: Peer>(self, addr: SocketAddr, messages: usize) -> Result<(), Error> {
        block_on(async move {
            let mut peer = P::open(addr, self.path()).await?;
            self.play(&mut peer, messages).await
        })
    }
}

async fn expect<P: Peer>(peer: &mut P, len: usize) -> Result<(), Error> {
    match peer.recv().await? {
        got if got == len => Ok(()),
        got => Err(format!("a message of {got} bytes, not {len}").into()),
    }
}

/// Bytes of heap per connection while `count` of them are idle, each after one echo, by `live`, which
/// says how many bytes are allocated now. What the runtime takes for a socket is left out.
///
/// # Errors
///
/// The first error of any connection: commonly that descriptors ran out.
pub fn idle<P: Peer>(addr: SocketAddr, count: usize, live: fn() -> isize) -> Result<isize, Error> {
    block_on(async move {
        let mut sockets = Vec::with_capacity(count);
        let before = live();
        for _ in 0..count {
            sockets.push(upgraded(addr, "/").await?);
        }
        let of_sockets = live() - before;
        drop(sockets);
        let mut peers = Vec::with_capacity(count + 1);
        // What the library sets up once does not count.
        peers.push(idler::<P>(addr).await?);
        let before = live();
        for _ in 0..count {
            peers.push(idler::<P>(addr).await?);
        }
        // Tasks that watch a connection may have a turn to take still.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let bytes = live() - before - of_sockets;
        drop(peers);
        Ok(bytes / isize::try_from(count)?)
    })
}

async fn idler<P: Peer>(addr: SocketAddr) -> Result<P, Error> {
    let mut peer = P::open(addr, "/").await?;
    Pattern::PingPong(SHORT).play(&mut peer, 1).await?;
    Ok(peer)
}

/// Waking the root future of `block_on` costs a system call that no program pays which works in tasks.
fn block_on<T: Send + 'static>(
    future: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async { tokio::spawn(future).await })?
}
