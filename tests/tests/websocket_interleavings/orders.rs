//! Orders that are drawn from a seed, on one thread.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use fulmar::websocket::{Cause, CloseCode, Keepalive, Receiver, Sender};
use fulmar_tests::websocket::frame;
use futures_core::Stream;

use crate::rig::{Flag, Rig, Tasks};

const SEEDS: u64 = 150;
const STEPS: usize = 200;
/// For how long what nobody waits for may lie.
const SOON: Duration = Duration::from_millis(500);
const INTERVAL: Duration = Duration::from_secs(2);

/// What the one who sends is at.
#[derive(Clone, Copy, PartialEq)]
enum Sends {
    Nothing,
    Message,
    Flush,
}

struct Play {
    rig: Rig,
    tasks: Tasks,
    receiver: Receiver,
    sender: Sender,
    reads: bool,
    sends: Sends,
    reader: Arc<Flag>,
    writer: Arc<Flag>,
    /// What the server sent and what of it was received; what was sent to it, and its pings.
    given: Vec<Vec<u8>>,
    received: Vec<Vec<u8>>,
    sent: Vec<Vec<u8>>,
    pings: Vec<Vec<u8>>,
}

impl Play {
    fn new(seed: u64) -> Self {
        let rig = Rig::new(seed);
        let keepalive = Keepalive::every(INTERVAL).jitter(false);
        let (ws, tasks) = rig.open(keepalive);
        let (sender, receiver) = ws.split();
        let mut world = rig.world();
        (world.is_fickle, world.room) = (true, 0);
        drop(world);
        Self {
            rig,
            tasks,
            receiver,
            sender,
            reads: false,
            sends: Sends::Nothing,
            reader: Flag::new(),
            writer: Flag::new(),
            given: Vec::new(),
            received: Vec::new(),
            sent: Vec::new(),
            pings: Vec::new(),
        }
    }

    fn below(&self, most: usize) -> usize {
        self.rig.world().below(most)
    }

    /// The server sends so many frames at once.
    fn give(&mut self, frames: usize) {
        for n in 0..frames {
            let number = format!("{}.{n}", self.given.len() + self.pings.len());
            let mut payload = number.into_bytes();
            let kind = self.below(8);
            let bytes = match kind {
                0 => {
                    self.pings.push(payload.clone());
                    frame(0x89, &payload)
                }
                1 => {
                    let (one, other) = payload.split_at(1);
                    [frame(0x02, one), frame(0x80, other)].concat()
                }
                2 => {
                    payload.resize(200 + self.below(40_000), b'x');
                    frame(0x82, &payload)
                }
                _ => frame(0x82, &payload),
            };
            if kind > 0 {
                self.given.push(payload);
            }
            self.rig.world().incoming.extend(bytes);
        }
    }

    /// Wakes whoever the transport knows; who is not forgotten is woken again another time.
    fn wake(&self, forgets: bool) {
        let mut world = self.rig.world();
        let wakers = [world.reader.clone(), world.writer.clone()];
        if forgets {
            (world.reader, world.writer) = (None, None);
        }
        drop(world);
        wakers.into_iter().flatten().for_each(|waker| {
            waker.wake_by_ref();
            waker.wake();
        });
    }

    fn read(&mut self) {
        let waker = self.reader.waker();
        let mut cx = Context::from_waker(&waker);
        while let Poll::Ready(next) = Pin::new(&mut self.receiver).poll_next(&mut cx) {
            let Some(Ok(message)) = next else {
                self.reads = false;
                return;
            };
            self.received.push(message.as_bytes().to_vec());
            // Mostly it wants another one.
            if self.below(4) == 0 {
                self.reads = false;
                return;
            }
        }
    }

    fn write(&mut self) {
        let waker = self.writer.waker();
        let mut cx = Context::from_waker(&waker);
        if self.sends == Sends::Message {
            let message = vec![self.sent.len() as u8; 1 + self.below(70_000)];
            if pin!(self.sender.send(message.clone()))
                .poll(&mut cx)
                .is_ready()
            {
                self.sent.push(message);
                self.sends = Sends::Flush;
            }
        }
        if self.sends == Sends::Flush && pin!(self.sender.flush()).poll(&mut cx).is_ready() {
            self.sends = Sends::Nothing;
        }
    }

    /// Polls one that was woken. False where there is none.
    fn run_one(&mut self) -> bool {
        match self.below(3) {
            0 if self.reads && self.reader.take() => self.read(),
            1 if self.sends != Sends::Nothing && self.writer.take() => self.write(),
            _ => {
                if !self.tasks.run_one() {
                    if self.reads && self.reader.take() {
                        self.read();
                    } else if self.sends != Sends::Nothing && self.writer.take() {
                        self.write();
                    } else {
                        return false;
                    }
                }
            }
        }
        true
    }

    fn step(&mut self) {
        match self.below(12) {
            0 => {
                let frames = 1 + self.below(4);
                self.give(frames);
            }
            1 => {
                let room = self.below(60_000);
                self.rig.world().room += room;
            }
            2 => self.wake(true),
            3 => self.wake(false),
            4 => {
                self.reads = !self.reads;
                self.reader.wake_by_ref();
            }
            5 => {
                let next = [Sends::Nothing, Sends::Message, Sends::Flush];
                self.sends = next[self.below(3)];
                self.writer.wake_by_ref();
            }
            6 => self.rig.pass(Duration::from_millis(self.below(30) as u64)),
            7 => drop(pin!(self.sender.ping()).poll(&mut Context::from_waker(Waker::noop()))),
            _ => {
                self.run_one();
            }
        }
    }

    /// All wakes arrive, and who is woken runs, until nobody is.
    fn settle(&mut self) {
        self.wake(true);
        let mut runs = 0;
        while self.run_one() {
            runs += 1;
            assert!(runs < 100_000, "it does not come to rest");
        }
    }

    /// Whoever waits has what there is, although no time passes.
    fn assert_told(&mut self) {
        self.settle();
        if self.reads {
            assert_eq!(self.received.len(), self.given.len(), "the reader");
        }
        if self.sends != Sends::Nothing {
            assert_eq!(self.rig.world().room, 0, "the writer");
        }
    }

    /// What nobody waits for is done, too, a little later.
    fn assert_kept(&mut self) {
        self.rig.world().room += 10 << 20;
        self.sends = Sends::Flush;
        self.writer.wake_by_ref();
        for _ in 0..4 {
            self.settle();
            self.rig.pass(SOON / 4);
        }
        self.settle();
        let world = self.rig.world();
        assert_eq!(world.messages.concat(), self.sent.concat());
        assert_eq!(world.pongs.last(), self.pings.last());
        assert!(world.incoming.is_empty());
    }

    /// The reader gets the rest, in order.
    fn assert_received(&mut self) {
        while self.received.len() < self.given.len() {
            self.reads = true;
            let had = self.received.len();
            self.reader.wake_by_ref();
            self.settle();
            assert!(self.received.len() > had, "message {had} was there");
        }
        assert!(self.received == self.given);
    }
}

fn played(seed: u64) -> Play {
    let mut play = Play::new(seed);
    for _ in 0..STEPS {
        play.step();
        if play.below(20) == 0 {
            play.assert_told();
        }
    }
    play.assert_told();
    play.assert_kept();
    play.assert_received();
    play
}

#[test]
fn whatever_the_order_who_waits_is_told_and_what_nobody_waits_for_is_done_soon() {
    for seed in 0..SEEDS {
        let mut play = played(seed);
        let waker = play.writer.waker();
        let mut cx = Context::from_waker(&waker);
        let Play {
            sender, rig, tasks, ..
        } = &mut play;
        let mut close = pin!(sender.close(CloseCode::NORMAL, ""));
        let closed = loop {
            if let Poll::Ready(closed) = close.as_mut().poll(&mut cx) {
                break closed.unwrap();
            }
            while tasks.run_one() {}
            rig.pass(Duration::from_millis(100));
        };
        assert!(closed.clean, "seed {seed}: {closed:?}");
    }
}

#[test]
fn whatever_came_before_a_silence_is_noticed_in_time() {
    for seed in 0..SEEDS / 3 {
        let mut play = played(seed);
        play.rig.world().lives = false;
        let begun = play.rig.world().now;
        while play.sender.closed().is_none() {
            play.rig.pass(Duration::from_millis(10));
            play.settle();
        }
        let closed = play.sender.closed().unwrap();
        assert!(matches!(closed.cause, Cause::KeepaliveTimeout { .. }));
        // An interval, half of one for the answer, and the keeper's look.
        let took = play.rig.world().now - begun;
        assert!(
            took <= INTERVAL + INTERVAL / 2 + SOON,
            "seed {seed}: {took:?}"
        );
    }
}
