//! Wakers that panic, that use the client, and that wake nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use fulmar_sim::Client;

use crate::crowds::{CROWDS, play, poll_once};

/// Panics.
struct Bomb(Arc<AtomicUsize>);

impl Wake for Bomb {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
        panic!("on purpose");
    }
}

#[test]
fn a_waker_that_panics_harms_nobody_else() {
    for (name, crowd) in CROWDS {
        let count = Arc::new(AtomicUsize::new(0));
        let bomb = Waker::from(Arc::new(Bomb(count.clone())));
        play(name, crowd, |_, _| bomb);
        assert!(count.load(Ordering::Relaxed) > 0, "{name}: nobody woke it");
    }
}

#[test]
fn one_that_is_woken_and_never_polled_holds_up_others_until_it_is_dropped_and_no_longer() {
    for (name, crowd) in CROWDS {
        play(name, crowd, |_, _| Waker::noop().clone());
    }
}

/// Does with the client whatever it can.
struct Busybody {
    client: Client,
    count: Arc<AtomicUsize>,
}

impl Wake for Busybody {
    fn wake(self: Arc<Self>) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let client = &self.client;
        let _ = client.gauges();
        let get = client.get("http://api.test/b");
        let _ = client.explain(&get);
        let mut call = Box::pin(get.send());
        let _ = poll_once(&mut call);
        let mut socket = Box::pin(client.websocket("ws://api.test/chat").connect());
        let _ = poll_once(&mut socket);
    }
}

#[test]
fn a_waker_may_use_the_client() {
    for (name, crowd) in CROWDS {
        let count = Arc::new(AtomicUsize::new(0));
        play(name, crowd, |client, _| {
            Waker::from(Arc::new(Busybody {
                client: client.clone(),
                count: count.clone(),
            }))
        });
        assert!(count.load(Ordering::Relaxed) > 0, "{name}: nobody woke it");
    }
}
