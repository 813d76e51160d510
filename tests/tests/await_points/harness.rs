//! Drops an operation at each of its await points, and looks at what is left.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use fulmar_sim::{Client, Handle, Holdings, Sim};

use crate::support::{assert_quiet, builder, ms, secs, text};

pub(crate) type Act = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Something that a user awaits, in a world of its own.
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    /// The servers and the faults.
    pub(crate) world: fn(&Sim),
    /// The operation, from its first call on.
    pub(crate) act: fn(Client, Handle) -> Act,
    /// What the same client does afterwards, and has to succeed in.
    pub(crate) next: fn(Client, Handle) -> Act,
    /// Whether a connection idles before.
    pub(crate) is_warm: bool,
    /// Whether another call has the only place when the operation begins.
    pub(crate) has_rival: bool,
    /// How long after it was dropped its places and its waiters have to be back.
    pub(crate) quiet: Duration,
}

/// Nothing of the operation goes on by itself: what the network has to be told takes no longer.
pub(crate) const AT_ONCE: Duration = secs(1);

/// A dial that somebody began belongs to the pool, and lasts until its own timeout.
pub(crate) const DIAL: Duration = secs(40);

/// The scheduling of the simulator differs with it.
const SEEDS: [u64; 3] = [7, 8, 9];

/// Where an operation is dropped.
#[derive(Clone, Copy, Debug)]
enum Point {
    /// After a wake, instead of the poll that follows so many: at 0 it was never polled.
    Before(usize),
    /// Right after so many polls.
    After(usize),
    /// Nowhere; but it is also polled each millisecond, though nothing woke it.
    Nowhere,
}

/// Wakes a task, until it has been polled with another waker.
struct Relay {
    task: Waker,
    is_current: AtomicBool,
    /// Counts the relays that anybody keeps.
    _count: Arc<()>,
}

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        if self.is_current.load(Ordering::Relaxed) {
            self.task.wake_by_ref();
        }
    }
}

/// Polls an operation, each time with a waker of its own, and drops it at that point.
struct Dropped {
    act: Option<Act>,
    point: Point,
    polls: usize,
    relay: Option<Arc<Relay>>,
    count: Arc<()>,
}

impl Dropped {
    fn new(act: Act, point: Point, count: &Arc<()>) -> Self {
        Self {
            act: Some(act),
            point,
            polls: 0,
            relay: None,
            count: count.clone(),
        }
    }

    fn relay(&mut self, cx: &Context<'_>) -> Waker {
        if let Some(old) = &self.relay {
            old.is_current.store(false, Ordering::Relaxed);
        }
        let relay = Arc::new(Relay {
            task: cx.waker().clone(),
            is_current: AtomicBool::new(true),
            _count: self.count.clone(),
        });
        self.relay = Some(relay.clone());
        relay.into()
    }

    fn end(&mut self) {
        self.act = None;
        self.relay = None;
    }
}

impl Future for Dropped {
    /// Whether the operation came to its end.
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        if matches!(self.point, Point::Before(polls) if polls == self.polls) {
            self.end();
            return Poll::Ready(false);
        }
        self.polls += 1;
        let waker = self.relay(cx);
        let Some(act) = &mut self.act else {
            return Poll::Ready(true);
        };
        if act
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready()
        {
            drop(waker);
            self.end();
            return Poll::Ready(true);
        }
        drop(waker);
        if matches!(self.point, Point::After(polls) if polls == self.polls) {
            self.end();
            return Poll::Ready(false);
        }
        Poll::Pending
    }
}

/// The only connection is the rival's until its body has come.
async fn rival(client: Client) {
    let body = text(&client, "http://api.test/body").await.unwrap();
    assert_eq!(body, "hello".repeat(5), "the rival suffers");
}

/// Places and deadlines are free again, and buffers are back: as many as the client had, and no
/// more than were ever used at once.
#[track_caller]
fn assert_given_back(client: &Client, before: &Holdings) {
    let now = client.holdings();
    let taken = (
        now.deadlines,
        now.in_flight,
        now.queued,
        now.websockets,
        now.websockets_queued,
    );
    assert_eq!(taken, (0, 0, 0, 0, 0), "{now:?}");
    let spare = before.spare_buffers..=before.spare_buffers.max(2);
    assert!(spare.contains(&now.spare_buffers), "{before:?}, {now:?}");
    assert!(now.spare_bytes <= now.spare_buffers * (64 << 10), "{now:?}");
}

async fn scene(operation: &Operation, client: Client, handle: Handle, point: Point) -> bool {
    let count = Arc::new(());
    if operation.is_warm {
        text(&client, "http://api.test/warm").await.unwrap();
    }
    let before = client.holdings();
    let mut other: Option<Act> = None;
    if operation.has_rival {
        // It is polled first, and so has the place.
        other = Some(Box::pin(rival(client.clone())));
    }
    let act = (operation.act)(client.clone(), handle.clone());
    let mut dropped = Dropped::new(act, point, &count);
    let (mut tick, mut ticks) = (Box::pin(handle.sleep(ms(1))), 200);
    let done = std::future::poll_fn(|cx| {
        while matches!(point, Point::Nowhere) && ticks > 0 && tick.as_mut().poll(cx).is_ready() {
            (tick, ticks) = (Box::pin(handle.sleep(ms(1))), ticks - 1);
        }
        if let Some(rival) = &mut other
            && rival.as_mut().poll(cx).is_ready()
        {
            other = None;
        }
        Pin::new(&mut dropped).poll(cx)
    })
    .await;
    drop(dropped);
    if let Some(rival) = other {
        rival.await;
    }
    handle.sleep(operation.quiet).await;
    assert_quiet(client.gauges());
    assert_given_back(&client, &before);
    assert_eq!(
        Arc::strong_count(&count),
        1,
        "somebody still means to wake it"
    );
    (operation.next)(client.clone(), handle.clone()).await;
    handle.sleep(secs(40)).await;
    assert_quiet(client.gauges());
    assert_given_back(&client, &before);
    let gauges = client.gauge_reader();
    drop(client);
    handle.sleep(secs(1)).await;
    assert_eq!(gauges(), None, "a task keeps the client");
    done
}

/// Whether the operation came to its end before that point.
fn is_done_before(operation: &'static Operation, seed: u64, point: Point) -> bool {
    let mut sim = Sim::seeded(seed);
    (operation.world)(&sim);
    let mut pool = fulmar_sim::PoolConfig::new();
    pool.limits.per_origin = Some(1);
    pool.limits.total = Some(1);
    let client = builder(&sim)
        .tls(fulmar_tests::toy_tls::ToyConnector)
        .pool(pool)
        .websocket_limits(1, 1)
        .max_in_flight(2)
        .build()
        .unwrap();
    sim.watch(&client);
    let handle = sim.handle();
    let run = sim.run(scene(operation, client, handle, point));
    if let Some(failure) = run.failure() {
        panic!(
            "{}, seed {seed}, dropped {point:?}: {failure:?}\n{}",
            operation.name,
            run.trace()
        );
    }
    assert_eq!(
        run.leaks(),
        [""; 0],
        "{}, seed {seed}, dropped {point:?}",
        operation.name
    );
    assert_eq!(
        run.open_sockets(),
        0,
        "{}, seed {seed}, dropped {point:?}",
        operation.name
    );
    *run.expect()
}

/// Drops the operation at every point that it has, with each seed, and says how many polls it
/// takes at least.
pub(crate) fn drop_everywhere(operation: &'static Operation) -> usize {
    let polls = SEEDS.map(|seed| drop_everywhere_seeded(operation, seed));
    polls.into_iter().min().unwrap()
}

fn drop_everywhere_seeded(operation: &'static Operation, seed: u64) -> usize {
    const MOST: usize = 2_000;
    let polls = |first: usize, point: fn(usize) -> Point| {
        let mut polls = first..MOST;
        let last = polls.find(|polls| is_done_before(operation, seed, point(*polls)));
        last.unwrap_or_else(|| panic!("{} never ends", operation.name))
    };
    let is_done = is_done_before(operation, seed, Point::Nowhere);
    assert!(is_done, "{}, seed {seed}", operation.name);
    polls(1, Point::After).max(polls(0, Point::Before))
}
