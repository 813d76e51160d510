//! A network of one connection and a clock that goes when told to, and the tasks on it.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, SystemTime};

use bytes::{Buf, BytesMut};
use chacha20::ChaCha8Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use fulmar::net::{
    Answer, BoxFuture, Connecting, Endpoint, Family, Fault, Net, Sleep, SocketOptions, Stream,
    WriteBuf,
};
use fulmar::session::State;
use fulmar::websocket::{Keepalive, WebSocket, WebSocketBuilder};
use fulmar::{Backoff, Client, Instant, Session};
use fulmar_tests::websocket::{client_frames, frame};

/// What the client and the test share.
#[derive(Clone)]
pub(crate) struct Rig(Arc<Shared>);

struct Shared {
    world: Mutex<World>,
    /// Somebody waits to read.
    waits: AtomicBool,
}

#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) rng: ChaCha8Rng,
    timers: BTreeMap<usize, (Instant, Waker)>,
    timer: usize,
    spawned: Vec<BoxFuture<()>>,
    pub(crate) incoming: Vec<u8>,
    ended: bool,
    pub(crate) reader: Option<Waker>,
    pub(crate) writer: Option<Waker>,
    /// How many bytes the transport takes.
    pub(crate) room: usize,
    written: Vec<u8>,
    is_open: bool,
    /// The server answers.
    pub(crate) lives: bool,
    /// Whether the transport may wake whoever asks it, and have nothing.
    pub(crate) is_fickle: bool,
    /// How long, at most, a read that waits lasts after whoever brings something may know.
    pub(crate) lingers: usize,
    /// What came of the client: messages, pongs.
    pub(crate) messages: Vec<Vec<u8>>,
    pub(crate) pongs: Vec<Vec<u8>>,
}

impl World {
    pub(crate) fn below(&mut self, most: usize) -> usize {
        self.rng.next_u32() as usize % most
    }

    /// Whether the transport yields.
    fn yields(&mut self) -> bool {
        self.is_fickle && self.below(6) == 0
    }

    /// Reads what the client wrote, as its server.
    fn serve(&mut self) {
        if !self.is_open {
            let head = String::from_utf8(self.written.clone()).unwrap();
            if let Some(end) = head.find("\r\n\r\n") {
                self.written.drain(..end + 4);
                self.is_open = true;
                self.incoming.extend_from_slice(&accept(&head));
            }
            return;
        }
        let (frames, used) = client_frames(&self.written);
        self.written.drain(..used);
        for sent in frames {
            match sent.first & 0x0f {
                0x8 => {
                    self.incoming.extend(frame(0x88, &sent.payload));
                    self.ended = true;
                }
                0x9 if self.lives => self.incoming.extend(frame(0x8a, &sent.payload)),
                0x9 => {}
                0xa => self.pongs.push(sent.payload),
                _ => self.messages.push(sent.payload),
            }
        }
    }
}

fn accept(head: &str) -> Vec<u8> {
    let lower = head.to_ascii_lowercase();
    let at = lower.find("sec-websocket-key: ").unwrap() + 19;
    let key = head[at..].lines().next().unwrap();
    let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
    .into_bytes()
}

impl Rig {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Shared {
            waits: AtomicBool::new(false),
            world: Mutex::new(World {
                now: Instant::ORIGIN,
                rng: ChaCha8Rng::seed_from_u64(seed),
                timers: BTreeMap::new(),
                timer: 0,
                spawned: Vec::new(),
                incoming: Vec::new(),
                ended: false,
                reader: None,
                writer: None,
                room: 1 << 20,
                written: Vec::new(),
                is_open: false,
                lives: true,
                is_fickle: false,
                lingers: 0,
                messages: Vec::new(),
                pongs: Vec::new(),
            }),
        }))
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.0.world.lock().unwrap()
    }

    /// Whether somebody waits to read, who is taken to be told now.
    pub(crate) fn take_waits(&self) -> bool {
        self.0.waits.swap(false, Ordering::AcqRel)
    }

    /// Lets time pass. Whose timers are due are woken.
    pub(crate) fn pass(&self, time: Duration) {
        let mut world = self.world();
        world.now = world.now + time;
        let now = world.now;
        let timers = std::mem::take(&mut world.timers);
        let (due, waiting) = timers
            .into_iter()
            .partition(|(_, (until, _))| *until <= now);
        world.timers = waiting;
        let due: BTreeMap<usize, (Instant, Waker)> = due;
        drop(world);
        for (_, waker) in due.into_values() {
            waker.wake();
        }
    }

    /// Opens a WebSocket, and says what runs its tasks.
    pub(crate) fn open(&self, keepalive: Keepalive) -> (WebSocket, Tasks) {
        let client = Client::new(self.clone());
        let builder: WebSocketBuilder = client.websocket("ws://192.0.2.1/");
        let mut connect = Box::pin(builder.keepalive(keepalive).connect());
        let mut tasks = Tasks::new(self.clone());
        let root = Flag::new();
        loop {
            if root.take()
                && let Poll::Ready(ws) = connect
                    .as_mut()
                    .poll(&mut Context::from_waker(&root.waker()))
            {
                return (ws.unwrap(), tasks);
            }
            assert!(tasks.run_one() || root.is_set(), "it stands still");
        }
    }

    /// Opens a session, and says what runs its tasks.
    pub(crate) fn open_session(&self) -> (Session, Tasks) {
        let client = Client::new(self.clone());
        let session = client
            .websocket("ws://192.0.2.1/")
            .reconnect(Backoff::default())
            .open();
        let mut tasks = Tasks::new(self.clone());
        while session.state() != State::Open {
            assert!(tasks.run_one(), "it stands still");
        }
        (session, tasks)
    }
}

impl Net for Rig {
    fn now(&self) -> Instant {
        self.world().now
    }
    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }
    fn entropy(&self, dst: &mut [u8]) {
        self.world().rng.fill_bytes(dst);
    }
    fn resolve(&self, _: &str, _: Family) -> BoxFuture<Result<Answer, Fault>> {
        unreachable!("the address is a literal")
    }
    fn connect(&self, _: &Endpoint, _: &SocketOptions) -> Connecting {
        let stream: Box<dyn Stream> = Box::new(Wire(self.clone()));
        Box::pin(std::future::ready(Ok(stream)))
    }
    fn sleep(&self, until: Instant) -> Box<dyn Sleep> {
        let mut world = self.world();
        world.timer += 1;
        let id = world.timer;
        Box::new(Timer(self.clone(), id, until))
    }
    fn spawn(&self, task: BoxFuture<()>) {
        self.world().spawned.push(task);
    }
    fn block(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<()> {
        work();
        Box::pin(std::future::ready(()))
    }
}

struct Timer(Rig, usize, Instant);

impl Future for Timer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut world = self.0.world();
        if self.2 <= world.now {
            return Poll::Ready(());
        }
        let timer = (self.2, cx.waker().clone());
        world.timers.insert(self.1, timer);
        Poll::Pending
    }
}

impl Sleep for Timer {
    fn reset(&mut self, until: Instant) {
        self.2 = until;
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let timer = self.0.world().timers.remove(&self.1);
        drop(timer);
    }
}

struct Wire(Rig);

impl Stream for Wire {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        let mut world = self.0.world();
        if world.yields() {
            drop(world);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if !world.incoming.is_empty() {
            let most = world.incoming.len().min(buf.capacity() - buf.len());
            let n = if world.is_fickle && world.is_open {
                1 + world.below(most)
            } else {
                most
            };
            buf.extend(world.incoming.drain(..n));
            return Poll::Ready(Ok(n));
        }
        if world.ended {
            return Poll::Ready(Ok(0));
        }
        world.reader = Some(cx.waker().clone());
        let most = world.lingers + 1;
        let lingers = world.below(most);
        drop(world);
        self.0.0.waits.store(true, Ordering::Release);
        for _ in 0..lingers {
            std::hint::spin_loop();
        }
        Poll::Pending
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &mut WriteBuf) -> Poll<io::Result<usize>> {
        let mut world = self.0.world();
        if world.yields() {
            drop(world);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let n = buf.chunk().len().min(world.room);
        if n == 0 {
            world.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        world.room -= n;
        world.written.extend_from_slice(&buf.chunk()[..n]);
        buf.advance(n);
        let before = world.incoming.len();
        world.serve();
        let is_answered = world.incoming.len() > before;
        let reader = world.reader.take_if(|_| is_answered);
        drop(world);
        reader.into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(n))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn is_quiet(&mut self) -> bool {
        self.0.world().incoming.is_empty()
    }
}

/// Whether a task is to be polled.
pub(crate) struct Flag(AtomicBool);

impl Flag {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicBool::new(true)))
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn take(&self) -> bool {
        self.0.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(self.clone())
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

/// The client's own tasks.
pub(crate) struct Tasks {
    rig: Rig,
    tasks: Vec<(BoxFuture<()>, Arc<Flag>)>,
}

impl Tasks {
    fn new(rig: Rig) -> Self {
        let tasks = Vec::new();
        Self { rig, tasks }
    }

    /// Polls one that is to be polled, whichever. False where there is none.
    pub(crate) fn run_one(&mut self) -> bool {
        let spawned = std::mem::take(&mut self.rig.world().spawned);
        let new = spawned.into_iter().map(|task| (task, Flag::new()));
        self.tasks.extend(new);
        let ready: Vec<usize> = (0..self.tasks.len())
            .filter(|n| self.tasks[*n].1.is_set())
            .collect();
        if ready.is_empty() {
            return false;
        }
        let n = ready[self.rig.world().below(ready.len())];
        let (task, flag) = &mut self.tasks[n];
        flag.take();
        if task
            .as_mut()
            .poll(&mut Context::from_waker(&flag.waker()))
            .is_ready()
        {
            drop(self.tasks.swap_remove(n));
        }
        true
    }
}
