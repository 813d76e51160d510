//! A file that is written where blocking blocks nobody.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use bytes::Bytes;
use fulmar::net::Net;

/// What is gathered for one trip to where blocking is allowed.
const TRIP: usize = 1024 * 1024;

/// A file and what waits to be written to it: at most [`TRIP`] bytes and one chunk.
pub(super) struct Disk {
    net: Arc<dyn Net>,
    file: Arc<File>,
    waiting: Vec<Bytes>,
    bytes: usize,
}

impl Disk {
    /// Makes or empties the file.
    pub(super) async fn create(net: Arc<dyn Net>, path: &Path) -> io::Result<Self> {
        let path = path.to_owned();
        let file = block(&*net, move || File::create(path)).await?;
        Ok(Self {
            net,
            file: Arc::new(file),
            waiting: Vec::new(),
            bytes: 0,
        })
    }

    /// Appends. Every now and then it waits for the disk, and the server waits with it.
    pub(super) async fn write(&mut self, chunk: Bytes) -> io::Result<()> {
        self.bytes += chunk.len();
        self.waiting.push(chunk);
        if self.bytes < TRIP {
            return Ok(());
        }
        self.flush().await
    }

    /// Writes what still waits.
    pub(super) async fn finish(mut self) -> io::Result<()> {
        self.flush().await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.bytes = 0;
        let (file, waiting) = (Arc::clone(&self.file), std::mem::take(&mut self.waiting));
        let write = move || {
            waiting
                .iter()
                .try_for_each(|chunk| (&*file).write_all(chunk))
        };
        block(&*self.net, write).await
    }
}

/// Runs blocking work where the runtime has a place for it, and brings back what came of it.
async fn block<T: Send + 'static>(
    net: &dyn Net,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (done, end) = sync_channel(1);
    // Who no longer waits does not want to know.
    let work = move || drop(done.send(work()));
    net.block(Box::new(work)).await;
    end.recv().map_err(io::Error::other)?
}
