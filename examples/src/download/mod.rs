//! A large file, streamed to disk: a progress bar, and memory that does not grow with the file.

mod disk;
mod memory;
mod progress;

use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use fulmar::net::Net;
use fulmar::{Client, Timeouts};

use self::disk::Disk;
use self::memory::Growth;
use self::progress::Progress;
use crate::loopback;
use crate::server::{Check, FILE};
use crate::units;

type Outcome<T> = Result<T, Box<dyn Error>>;

const USAGE: &str = "usage: download            100 MiB over loopback, checked and removed
       download URL FILE   what is at the URL, to the file";

/// The most by which memory grows once a tenth of the file is there.
const GROWTH_MAX: u64 = 8 * 1024 * 1024;

/// The download that the program's arguments choose, on the network that `net` makes.
///
/// # Cancel safety
///
/// Dropping the future ends the download; what was written of the file stays.
pub async fn download<N: Net>(net: impl Fn() -> N) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match &arguments[..] {
        [] => from_loopback(net).await,
        [url, path] => fetch(net, url, Path::new(path)).await.map(drop),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("download: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Streams to disk what is at a URL, and tells by how much memory grew meanwhile.
async fn fetch<N: Net>(net: impl Fn() -> N, url: &str, path: &Path) -> Outcome<Growth> {
    let patience = Duration::from_secs(10);
    let client = Client::builder(net())
        .timeouts(Timeouts::new().connect(patience).read(patience))
        .build()?;
    let mut response = client.get(url).send().await?.error_for_status()?;
    let mut progress = Progress::new(response.content_length());
    let mut growth = Growth::default();
    let mut disk = Disk::create(Arc::new(net()), path).await?;
    while let Some(chunk) = response.chunk().await? {
        progress.add(chunk.len() as u64);
        disk.write(chunk).await?;
        if progress.is_past_a_tenth() {
            growth.note();
        }
    }
    disk.finish().await?;
    progress.finish();
    println!("{}: {growth}", path.display());
    Ok(growth)
}

/// Downloads from a server of its own, checks every byte, and fails where memory was not flat.
async fn from_loopback<N: Net>(net: impl Fn() -> N) -> Outcome<()> {
    let server = loopback::start(loopback::server())?;
    let file = Removed::new();
    let growth = fetch(net, &format!("http://{server}/file"), &file.0).await?;
    check(&file.0)?;
    match growth.bytes() {
        Some(bytes) if bytes > GROWTH_MAX => {
            Err(format!("memory grew by {} with the file", units::size(bytes)).into())
        }
        _ => Ok(()),
    }
}

/// Reads the file back. It is over: nothing else waits for this thread.
fn check(path: &Path) -> Outcome<()> {
    let (mut file, mut check) = (File::open(path)?, Check::of(FILE));
    let mut piece = vec![0; 64 * 1024];
    loop {
        match file.read(&mut piece)? {
            0 if check.is_whole() => return Ok(()),
            0 => return Err("the file is not what was sent".into()),
            n => check.feed(&piece[..n]),
        }
    }
}

/// A file that does not outlive the program.
struct Removed(PathBuf);

impl Removed {
    fn new() -> Self {
        let name = format!("fulmar-download-{}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Removed {
    fn drop(&mut self) {
        // It may never have been made.
        let _ = std::fs::remove_file(&self.0);
    }
}
