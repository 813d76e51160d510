//! Observers that panic, wherever they are called, and observers that use the client.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};

use fulmar_core::trace::Record;
use fulmar_sim::net::BoxFuture;
use fulmar_sim::{Client, Handle, Limits, Retry, Sim};

use crate::crowds::poll_once;
use crate::net::bent;
use crate::support::{assert_quiet, ms, secs, text};

/// Polls a future so often and drops it then; a panic of either is caught, and ends it.
struct Caught {
    future: Option<BoxFuture<()>>,
    polls: usize,
    count: Arc<()>,
}

/// Wakes the task, and is counted.
struct Counted {
    task: Waker,
    _count: Arc<()>,
}

impl Wake for Counted {
    fn wake(self: Arc<Self>) {
        self.task.wake_by_ref();
    }
}

impl Future for Caught {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let waker = Waker::from(Arc::new(Counted {
            task: cx.waker().clone(),
            _count: self.count.clone(),
        }));
        let mut polled = Ok(Poll::Ready(()));
        let is_polled = self.polls > 0;
        if let Some(future) = self.future.as_mut().filter(|_| is_polled) {
            let poll = AssertUnwindSafe(|| future.as_mut().poll(&mut Context::from_waker(&waker)));
            polled = catch_unwind(poll);
        }
        self.polls = self.polls.saturating_sub(1);
        if matches!(polled, Ok(Poll::Pending)) && self.polls > 0 {
            return Poll::Pending;
        }
        let future = self.future.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(future)));
        Poll::Ready(())
    }
}

/// Calls that end in all ways, each dropped after so many polls.
async fn calls(client: &Client, polls: usize, count: &Arc<()>) {
    for path in ["", "busy", "slow", "cut", "long"] {
        let client = client.clone();
        let future = Box::pin(async move {
            let url = format!("http://api.test/{path}");
            let Ok(mut response) = client.get(url).send().await else {
                return;
            };
            let _ = response.chunk().await;
            let _ = client.get("http://down.test/").send().await;
        });
        let future = Some(future as BoxFuture<()>);
        let count = count.clone();
        Caught {
            future,
            polls,
            count,
        }
        .await;
    }
}

/// Whether the observer came to the event at which it was to panic.
fn panics(nth: usize, polls: usize) -> bool {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        while let Some(request) = conn.request().await? {
            match request.path() {
                "/busy" => conn.respond(503, "later").await?,
                "/cut" => return Ok(()),
                "/long" => conn.respond(200, vec![b'x'; 200_000]).await?,
                "/slow" => {
                    conn.sleep(ms(5)).await;
                    conn.respond(200, "slow").await?;
                }
                path => conn.respond(200, path).await?,
            }
        }
        Ok(())
    });
    sim.host("down.test").addrs([[10, 9, 0, 3]]);
    sim.between(.., fulmar_sim::Fault::refuse("10.9.0.3"));
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = seen.clone();
    let client = bent(&sim)
        .0
        .limits(Limits::new().per_origin(1))
        .max_in_flight(3)
        .retry(Retry::new(2))
        .observer(move |_: &Record| {
            assert!(counter.fetch_add(1, Ordering::Relaxed) != nth, "on purpose");
        })
        .build()
        .unwrap();
    let (handle, reader) = (sim.handle(), client.gauge_reader());
    let run = sim.run(async move {
        let count = Arc::new(());
        calls(&client, polls, &count).await;
        handle.sleep(secs(40)).await;
        assert_quiet(client.gauges());
        assert_eq!(Arc::strong_count(&count), 1, "somebody means to wake it");
        let seen = seen.swap(usize::MAX / 2, Ordering::Relaxed);
        text(&client, "http://api.test/next").await.unwrap();
        // Nothing is left that the background task would have to wait for.
        handle.sleep(secs(120)).await;
        assert_eq!(client.gauges().total, 0);
        seen > nth
    });
    if let Some(failure) = run.failure() {
        panic!("event {nth}, {polls} polls: {failure:?}\n{}", run.trace());
    }
    assert_eq!(run.leaks(), [""; 0], "event {nth}, {polls} polls");
    assert_eq!(reader(), None, "event {nth}, {polls} polls");
    run.into_output()
}

#[test]
fn an_observer_that_panics_at_any_event_leaves_nothing_behind() {
    for polls in [1, 2, 3, 4, 5, 7, 100] {
        let events = (0..1_000).position(|nth| !panics(nth, polls));
        let events = events.unwrap();
        assert!(events >= 10, "{polls} polls: {events} events");
    }
}

/// Does with the client whatever it can, at any event but its own.
fn busybody(client: &OnceLock<Client>, depth: &AtomicUsize) {
    let Some(client) = client.get() else { return };
    if depth.fetch_add(1, Ordering::Relaxed) == 0 {
        let _ = client.gauges();
        let get = client.get("http://api.test/b");
        let _ = client.explain(&get);
        let mut call = Box::pin(get.send());
        let _ = poll_once(&mut call);
        drop(call);
        let mut body = Box::pin(client.post("http://api.test/b").body("x").send());
        let _ = poll_once(&mut body);
    }
    depth.fetch_sub(1, Ordering::Relaxed);
}

#[test]
fn an_observer_may_begin_calls_and_drop_them_at_any_event() {
    let mut sim = Sim::seeded(1);
    crate::support::echo(&sim, "api.test:80");
    let known = Arc::new(OnceLock::new());
    let (asked, depth) = (known.clone(), AtomicUsize::new(0));
    let events = Arc::new(AtomicUsize::new(0));
    let count = events.clone();
    let client = bent(&sim)
        .0
        .limits(Limits::new().per_origin(2))
        .observer(move |_: &Record| {
            // What it begins makes events, too: it must come to an end.
            if count.fetch_add(1, Ordering::Relaxed) < 200 {
                busybody(&asked, &depth);
            }
        })
        .build()
        .unwrap();
    let _ = known.set(client.clone());
    let handle: Handle = sim.handle();
    let run = sim.run(async move {
        for _ in 0..5 {
            assert_eq!(text(&client, "http://api.test/a").await.unwrap(), "/a");
            let mut call = Box::pin(client.get("http://api.test/c").send());
            poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_ready())).await;
            drop(call);
        }
        handle.sleep(secs(40)).await;
        assert_quiet(client.gauges());
    });
    run.expect();
    assert!(events.load(Ordering::Relaxed) > 200);
}
