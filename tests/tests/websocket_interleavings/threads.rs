//! A transport that wakes from a thread of its own.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::thread;

use fulmar::websocket::{Keepalive, Receiver};
use fulmar_tests::websocket::frame;
use futures_core::Stream;

use crate::rig::{Flag, Rig, Tasks};

/// Messages, of which each is on its way as soon as somebody waits for it.
const MESSAGES: usize = 50_000;

/// Brings them, and counts those for which whoever waited was woken.
fn bring(rig: &Rig, brought: &AtomicUsize, is_over: &AtomicBool) {
    let message = frame(0x82, b"news");
    for n in 0..MESSAGES {
        while !rig.take_waits() {
            if is_over.load(Ordering::Acquire) {
                return;
            }
            std::hint::spin_loop();
        }
        let mut world = rig.world();
        world.incoming.extend_from_slice(&message);
        let waker = world.reader.take();
        drop(world);
        if let Some(waker) = waker {
            waker.wake();
        }
        brought.store(n + 1, Ordering::Release);
    }
}

/// Receives them, and says how many were, until nobody is told of one.
fn receive(mut receiver: Receiver, mut tasks: Tasks, brought: &AtomicUsize) -> usize {
    let flag = Flag::new();
    let waker = flag.waker();
    let mut taken = 0;
    while taken < MESSAGES {
        // Whoever was woken before that was counted is woken now.
        let brought = brought.load(Ordering::Acquire);
        let runs = tasks.run_one();
        if !flag.take() {
            if !runs && taken < brought {
                return taken;
            }
            continue;
        }
        let mut cx = Context::from_waker(&waker);
        while let Poll::Ready(message) = Pin::new(&mut receiver).poll_next(&mut cx) {
            assert_eq!(message.unwrap().unwrap().as_bytes(), b"news");
            taken += 1;
        }
    }
    taken
}

/// The clock stands still, so nobody looks by himself.
#[test]
fn who_is_woken_between_his_poll_and_his_wait_hears_of_it() {
    let rig = Rig::new(1);
    let (ws, tasks) = rig.open(Keepalive::off());
    let (_sender, receiver) = ws.split();
    let (brought, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    rig.take_waits();
    rig.world().lingers = 100;
    let taken = thread::scope(|scope| {
        scope.spawn(|| bring(&rig, &brought, &is_over));
        let taken = receive(receiver, tasks, &brought);
        is_over.store(true, Ordering::Release);
        taken
    });
    assert_eq!(taken, MESSAGES, "nobody was told of the next");
}
