//! What a client is put through, in a process of its own.

use std::net::SocketAddr;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use crate::clients::bare::Bare;
use crate::clients::hyper::Hyper;
use crate::clients::ours::Ours;
use crate::clients::reqwest::Reqwest;
use crate::clients::{Client, Error, Look};
use crate::server::{BODY_LEN, GATHER};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A loop over a socket.
    Bare,
    /// hyper's bare connection.
    Hyper,
    /// This library, whole.
    Fulmar,
    /// reqwest.
    Reqwest,
}

impl Who {
    /// Everybody, in the order of the table.
    pub const ALL: [Self; 4] = [Self::Fulmar, Self::Bare, Self::Hyper, Self::Reqwest];

    /// The name on the command line and in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Hyper => "hyper",
            Self::Fulmar => "fulmar",
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
            Who::Bare => runtime()?.block_on(self.ask::<Bare>(addr)),
            Who::Hyper => runtime()?.block_on(self.ask::<Hyper>(addr)),
            Who::Fulmar => runtime()?.block_on(self.ask::<Ours>(addr)),
            Who::Reqwest => runtime()?.block_on(self.ask::<Reqwest>(addr)),
        }
    }

    async fn ask<C: Client>(self, addr: SocketAddr) -> Result<(), Error> {
        let shared = C::shared(addr)?;
        // Tasks even for one: waking the root future of `block_on` costs tokio a system call that
        // no program pays whose requests are made in tasks.
        let mut tasks = JoinSet::new();
        for _ in 0..self.concurrency {
            let mut client = C::open(&shared).await?;
            let requests = self.requests / self.concurrency;
            tasks.spawn(async move { repeat(&mut client, self.look, requests).await });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(())
    }
}

async fn repeat<C: Client>(client: &mut C, look: Look, requests: usize) -> Result<(), Error> {
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
        Who::Bare => runtime()?.block_on(gather::<Bare>(addr, count, live)),
        Who::Hyper => runtime()?.block_on(gather::<Hyper>(addr, count, live)),
        Who::Fulmar => runtime()?.block_on(gather::<Ours>(addr, count, live)),
        Who::Reqwest => runtime()?.block_on(gather::<Reqwest>(addr, count, live)),
    }
}

async fn gather<C: Client>(
    addr: SocketAddr,
    count: usize,
    live: fn() -> isize,
) -> Result<isize, Error> {
    let shared = C::shared(addr)?;
    // What the library sets up once does not count.
    let mut first = C::open(&shared).await?;
    first.get("/", Look::Body).await?;
    let before = live();
    let mut tasks = JoinSet::new();
    let mut idle = Vec::with_capacity(count);
    for _ in 0..count {
        let shared = shared.clone();
        tasks.spawn(async move {
            let mut client = C::open(&shared).await?;
            client.get(GATHER, Look::Body).await?;
            Ok::<_, Error>(client.into_idle())
        });
    }
    while let Some(done) = tasks.join_next().await {
        idle.push(done??);
    }
    drop((tasks, first));
    // Tasks that drive connections may have a turn to take still.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let bytes = live() - before;
    drop((idle, shared));
    Ok(bytes / isize::try_from(count)?)
}

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}
