//! A session over it.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll};

use fulmar_tests::websocket::frame;

use crate::rig::{Flag, Rig};

/// Writing is mostly what a session does first, because it makes room for more.
#[test]
fn a_session_whose_outbox_never_empties_reads() {
    let rig = Rig::new(1);
    let (session, mut tasks) = rig.open_session();
    rig.world().room = usize::MAX;
    rig.world().incoming.extend(frame(0x82, b"news"));
    let flag = Flag::new();
    let waker = flag.waker();
    let mut cx = Context::from_waker(&waker);
    for _ in 0..50 {
        while session.try_send(vec![0; 32 * 1024]).is_ok() {}
        tasks.run_one();
        if let Poll::Ready(received) = pin!(session.recv()).poll(&mut cx) {
            assert!(received.is_ok(), "{received:?}");
            return;
        }
    }
    panic!("it only wrote");
}
