//! A WebSocket server that is restarted every second: a process manager's dream, and what two examples
//! talk to. It runs on threads, one for each connection, which know nothing of the client's runtime.

mod chat;
mod ticker;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fulmar::Backoff;
use fulmar::session::{Config, Event};
use tungstenite::{Message, WebSocket};

pub use self::chat::chat;
pub use self::ticker::ticker;

/// How long the server runs before it is restarted, and how long that takes.
const LIFE: Duration = Duration::from_secs(1);
const AWAY: Duration = Duration::from_millis(150);
/// How long a guest's thread waits for a message before it looks after others.
const LOOK: Duration = Duration::from_millis(10);

/// Serves each connection with `service`, and dies every second with all of them; the fourth life
/// is the last, and lasts.
fn start<F>(service: F) -> io::Result<SocketAddr>
where
    F: Fn(Guest) -> io::Result<()> + Send + Sync + 'static,
{
    let service = Arc::new(service);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let addr = listener.local_addr()?;
    thread::Builder::new().spawn(move || {
        let mut listener = Some(listener);
        for life in 1..=4 {
            let Some(listener) = listener.take().or_else(|| TcpListener::bind(addr).ok()) else {
                return;
            };
            let ends = (life < 4).then(|| Instant::now() + LIFE);
            let _ = live(&listener, ends, &service);
            drop(listener);
            thread::sleep(AWAY);
        }
    })?;
    Ok(addr)
}

/// One life of the server.
fn live<F>(listener: &TcpListener, ends: Option<Instant>, service: &Arc<F>) -> io::Result<()>
where
    F: Fn(Guest) -> io::Result<()> + Send + Sync + 'static,
{
    listener.set_nonblocking(true)?;
    let is_up = Arc::new(AtomicBool::new(true));
    while ends.is_none_or(|end| Instant::now() < end) {
        let Ok((stream, _)) = listener.accept() else {
            thread::sleep(Duration::from_millis(2));
            continue;
        };
        let (service, is_up) = (service.clone(), is_up.clone());
        thread::Builder::new().spawn(move || Guest::welcome(stream, is_up).and_then(&*service))?;
    }
    is_up.store(false, Ordering::Relaxed);
    Ok(())
}

/// One connection, until its server dies.
struct Guest {
    socket: WebSocket<TcpStream>,
    is_up: Arc<AtomicBool>,
}

/// What a guest is doing.
enum Said {
    Text(String),
    Nothing,
    /// It has gone, or the server dies.
    Bye,
}

impl Guest {
    fn welcome(stream: TcpStream, is_up: Arc<AtomicBool>) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        let socket = tungstenite::accept(stream).map_err(io::Error::other)?;
        socket.get_ref().set_read_timeout(Some(LOOK))?;
        Ok(Self { socket, is_up })
    }

    /// Listens for a moment. Pings and Close frames are answered on the way.
    fn listen(&mut self) -> Said {
        if !self.is_up.load(Ordering::Relaxed) {
            return Said::Bye;
        }
        match self.socket.read() {
            Ok(Message::Text(text)) => Said::Text(text.as_str().to_owned()),
            Ok(_) => Said::Nothing,
            Err(tungstenite::Error::Io(error)) if is_early(&error) => Said::Nothing,
            Err(_) => Said::Bye,
        }
    }

    fn say(&mut self, text: impl Into<String>) -> io::Result<()> {
        let message = Message::text(text.into());
        self.socket.send(message).map_err(io::Error::other)
    }
}

fn is_early(error: &io::Error) -> bool {
    let kinds = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut];
    kinds.contains(&error.kind())
}

/// Quick to be back: the server is close, and there are not many clients.
fn eager() -> Config {
    let backoff = Backoff::exponential(Duration::from_millis(50)).max(Duration::from_millis(400));
    Config::from(backoff).initial_spread(Duration::from_millis(100))
}

/// What happened to a connection, as a line; nothing where it is no news.
fn news(event: &Event) -> Option<String> {
    match event {
        Event::Opened { epoch, downtime } => {
            Some(format!("connection {epoch} after {downtime:.0?}"))
        }
        Event::Lost { loss, .. } => Some(format!("lost: {loss}")),
        Event::Backoff { delay, attempt, .. } => {
            Some(format!("attempt {attempt} follows in {delay:.0?}"))
        }
        _ => None,
    }
}
