//! The runtime's own timers.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use fulmar::Instant;
use fulmar::net::Sleep;

use crate::env::{Env, ms};

suite![a_timer_fires_when_it_says_and_can_be_moved];

async fn assert_waits(timer: &mut Box<dyn Sleep>) {
    poll_fn(|cx| {
        assert!(Pin::new(&mut *timer).poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
}

pub(crate) async fn a_timer_fires_when_it_says_and_can_be_moved(env: Env) {
    let begun = env.now();
    let mut timer = env.timer(begun + Duration::from_secs(3600));
    assert_waits(&mut timer).await;
    for after in [ms(30), ms(60)] {
        timer.reset(begun + after);
        (&mut timer).await;
        assert!(env.now() >= begun + after);
    }
    timer.reset(begun);
    timer.await;
    assert_waits(&mut env.timer(Instant::MAX)).await;
}
