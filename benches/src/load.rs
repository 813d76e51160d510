//! What a client is put through, in a process of its own.

use std::net::SocketAddr;
use std::time::Duration;

use fulmar_async_std::AsyncStd;
use fulmar_smol::Smol;
use fulmar_tokio::Tokio;

use crate::clients::bare::Bare;
use crate::clients::hyper::Hyper;
use crate::clients::ours::Ours;
use crate::clients::reqwest::Reqwest;
use crate::clients::{Client, Error, Look};
use crate::runtimes::Runtime;
use crate::server::{BODY_LEN, GATHER};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A loop over a socket.
    Bare,
    /// hyper's bare connection.
    Hyper,
    /// This library, whole, on tokio.
    Fulmar,
    /// The same on smol.
    Smol,
    /// The same on async-std.
    AsyncStd,
    /// reqwest.
    Reqwest,
}

impl Who {
    /// Everybody, in the order of the table.
    pub const ALL: [Self; 6] = [
        Self::Fulmar,
        Self::Smol,
        Self::AsyncStd,
        Self::Bare,
        Self::Hyper,
        Self::Reqwest,
    ];

    /// The name on the command line and in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Hyper => "hyper",
            Self::Fulmar => "fulmar",
            Self::Smol => "fulmar-smol",
            Self::AsyncStd => "fulmar-async-std",
            Self::Reqwest => "reqwest",
        }
    }
}

/// One run of one client.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Who asks.
    pub who: Who,
    /// Whether headers are looked at.
    pub look: Look,
    /// How many GETs, in all.
    pub requests: usize,
    /// How many at once.
    pub concurrency: usize,
}

impl Load {
    /// Does it, on a runtime of one thread.
    ///
    /// # Errors
    ///
    /// The first error of any request.
    pub fn run(&self, addr: SocketAddr) -> Result<(), Error> {
        match self.who {
            Who::Bare => self.ask::<Bare>(addr),
            Who::Hyper => self.ask::<Hyper>(addr),
            Who::Fulmar => self.ask::<Ours<Tokio>>(addr),
            Who::Smol => self.ask::<Ours<Smol>>(addr),
            Who::AsyncStd => self.ask::<Ours<AsyncStd>>(addr),
            Who::Reqwest => self.ask::<Reqwest>(addr),
        }
    }

    fn ask<C: Client>(self, addr: SocketAddr) -> Result<(), Error> {
        if self.concurrency == 1 {
            return C::Runtime::alone(async move {
                let mut client = C::open(&C::shared(addr)?).await?;
                repeat(&mut client, self.look, self.requests).await
            })?;
        }
        C::Runtime::block_on(async move {
            let shared = C::shared(addr)?;
            let mut tasks = Vec::with_capacity(self.concurrency);
            for _ in 0..self.concurrency {
                let mut client = C::open(&shared).await?;
                let requests = self.requests / self.concurrency;
                let asking = async move { repeat(&mut client, self.look, requests).await };
                tasks.push(C::Runtime::spawn(asking));
            }
            for task in tasks {
                task.await??;
            }
            Ok(())
        })?
    }
}

/// So many GETs, one after the other.
pub(crate) async fn repeat<C: Client>(
    client: &mut C,
    look: Look,
    requests: usize,
) -> Result<(), Error> {
    for _ in 0..requests {
        if client.get("/users/1", look).await? != BODY_LEN {
            return Err("a body of another length".into());
        }
    }
    Ok(())
}

/// Bytes of heap per connection while `count` of them are idle, by `live`, which says how many bytes
/// are allocated now.
///
/// # Errors
///
/// The first error of any request: commonly that descriptors ran out.
pub fn idle(who: Who, addr: SocketAddr, count: usize, live: fn() -> isize) -> Result<isize, Error> {
    match who {
        Who::Bare => gather::<Bare>(addr, count, live),
        Who::Hyper => gather::<Hyper>(addr, count, live),
        Who::Fulmar => gather::<Ours<Tokio>>(addr, count, live),
        Who::Smol => gather::<Ours<Smol>>(addr, count, live),
        Who::AsyncStd => gather::<Ours<AsyncStd>>(addr, count, live),
        Who::Reqwest => gather::<Reqwest>(addr, count, live),
    }
}

fn gather<C: Client>(addr: SocketAddr, count: usize, live: fn() -> isize) -> Result<isize, Error> {
    C::Runtime::block_on(async move {
        let shared = C::shared(addr)?;
        // What the library sets up once does not count.
        let mut first = C::open(&shared).await?;
        first.get("/", Look::Body).await?;
        let before = live();
        let mut tasks = Vec::with_capacity(count);
        for _ in 0..count {
            let shared = shared.clone();
            tasks.push(C::Runtime::spawn(async move {
                let mut client = C::open(&shared).await?;
                client.get(GATHER, Look::Body).await?;
                Ok::<_, Error>(client.into_idle())
            }));
        }
        let mut idle = Vec::with_capacity(count);
        for task in tasks {
            idle.push(task.await??);
        }
        drop(first);
        // Tasks that drive connections may have a turn to take still.
        C::Runtime::sleep(Duration::from_millis(200)).await;
        let bytes = live() - before;
        drop((idle, shared));
        Ok(bytes / isize::try_from(count)?)
    })?
}
