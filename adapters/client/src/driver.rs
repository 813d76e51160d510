//! The client's background task: deadlines, idle connections, short rests of dropped bodies.
//!
//! It sleeps until the earliest of all deadlines and wakes those that are due; each reads the clock
//! itself. While the pool has anything it looks once a second, evicts what is expired, too old or no
//! longer quiet, and it drains what dropped bodies left. It holds the client weakly and ends when
//! there is nothing to do. There is one on each runtime from which the client is used.

use std::future::{Future, poll_fn};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use fulmar_core::deadline::{Clocks, Timeouts};
use fulmar_core::h1::{Event, Framing, Reuse};
use fulmar_core::pool::Discard;
use fulmar_core::time::Instant;

use crate::alarm::Alarm;
use crate::body::Body;
use crate::h1::{H1, Upload};
use crate::net::Net;
use crate::shared::{Shared, State};
use crate::wake::wake_all;

/// How often idle connections are looked at.
const TICK: Duration = Duration::from_secs(1);
/// Places gone over in one locked section: so many connections may be out to be looked at.
const LOOK: usize = 16;
/// Sections in one turn, and the pause before the next turn, where more are left.
const LOOKS: usize = 64;
const PAUSE: Duration = Duration::from_millis(1);
/// The longest rest of a body that is worth draining, and how long it may take (POLICIES 3.7).
const DRAIN_MAX: u64 = 64 * 1024;
const DRAIN_FOR: Duration = Duration::from_millis(50);

/// Runs until there is nothing to do or nobody to do it for.
pub(crate) fn run(
    shared: Weak<Shared>,
    net: Arc<dyn Net>,
    runtime: u64,
) -> impl Future<Output = ()> + Send {
    // Made at once: a runtime may drop the task before it polls it.
    let has_begun = false;
    let guard = Guard {
        shared,
        runtime,
        has_begun,
    };
    drive(guard, net)
}

async fn drive(mut guard: Guard, net: Arc<dyn Net>) {
    guard.has_begun = true;
    let mut alarm = Alarm::new();
    let mut next_look = net.now() + TICK;
    poll_fn(|cx| {
        loop {
            let Some(shared) = guard.shared.upgrade() else {
                return Poll::Ready(());
            };
            let now = net.now();
            drain(&shared, cx, now);
            if now >= next_look {
                let is_more = look(&shared, now);
                if !is_more {
                    shared.renew_names();
                }
                next_look = now + if is_more { PAUSE } else { TICK };
            }
            let Some(until) = tick(&shared, cx, now, next_look, guard.runtime) else {
                return Poll::Ready(());
            };
            // The client may go while this sleeps.
            drop(shared);
            ready!(alarm.poll_until(cx, &*net, until));
        }
    })
    .await;
    // Ended in order: it was taken off the list in the section that found nothing to do.
    guard.disarm();
}

/// One turn: wakes whom a deadline concerns, and says until when to sleep.
fn tick(
    shared: &Arc<Shared>,
    cx: &Context<'_>,
    now: Instant,
    look: Instant,
    runtime: u64,
) -> Option<Instant> {
    let mut due: Vec<Waker> = Vec::new();
    let until = shared.locked(|state| {
        state.pool.handle_timeout(now);
        while let Some(key) = state.timers.expire(now) {
            if let Some(waker) = state.timers.get(key) {
                due.push(waker.clone());
            }
        }
        state.rest(cx, look, runtime)
    });
    wake_all(due);
    until
}

impl State {
    /// Decides when the driver looks again; `None`, and no longer running, where nothing is left.
    fn rest(&mut self, cx: &Context<'_>, look: Instant, runtime: u64) -> Option<Instant> {
        let gauges = self.pool.gauges();
        if gauges.total == 0
            && gauges.waiting == 0
            && self.timers.is_empty()
            && self.drains.is_empty()
        {
            self.drivers.end(runtime);
            return None;
        }
        let mut until = self.next_wake();
        if gauges.total > 0 {
            until = until.min(look);
        }
        self.drivers.sleep(runtime, until, cx.waker().clone());
        Some(until)
    }
}

/// Looks at idle connections, outside the lock: a look may read, decrypt and write. Returns whether
/// more are left than fit in one turn.
fn look(shared: &Arc<Shared>, now: Instant) -> bool {
    let mut lent = Vec::new();
    for _ in 0..LOOKS {
        let is_more = shared.locked(|state| state.pool.poll_look(LOOK, &mut lent));
        // All know their places before any is looked at: a look may panic.
        for (slot, h1) in &mut lent {
            h1.slot = *slot;
        }
        for (slot, mut h1) in lent.drain(..) {
            if h1.lost != shared.lost() {
                shared.discard(h1, Discard::Spent, "a runtime went away");
                continue;
            }
            let is_quiet = h1.is_quiet();
            shared.locked(|state| state.pool.handle_look(now, slot, h1, is_quiet));
        }
        if !is_more {
            return false;
        }
    }
    true
}

/// Where the driver's runtime goes away, others must not wait for it: all are woken, and the first
/// one to look finds that it has to be started again.
struct Guard {
    shared: Weak<Shared>,
    runtime: u64,
    has_begun: bool,
}

impl Guard {
    fn disarm(mut self) {
        self.shared = Weak::new();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        if !self.has_begun {
            // There is no runtime, or it is gone. Whoever needed it finds out by itself.
            return shared.locked(|state| state.drivers.end(self.runtime));
        }
        let due: Vec<Waker> = shared.locked(|state| {
            shared.lose_driver(state, self.runtime);
            state.timers.values().cloned().collect()
        });
        wake_all(due);
    }
}

/// A connection whose response nobody reads to its end.
pub(crate) struct Drain {
    h1: Box<H1>,
    upload: Upload,
    until: Instant,
    left: u64,
}

impl Drain {
    /// Takes over a half-read response: reads what is there, then parks the connection, leaves a
    /// short rest to the driver, or closes. Nothing is spawned and nothing waits.
    pub(crate) fn begin(h1: Box<H1>, shared: &Shared) {
        let now = shared.net.now();
        let machine = h1.machine();
        let short = machine.body_left().is_none_or(|left| left <= DRAIN_MAX);
        let is_worth_it = short && !shared.is_closed();
        if !is_worth_it || !machine.request_complete() || machine.framing() == Some(Framing::Close)
        {
            return shared.discard(h1, Discard::Spent, "response not read to its end");
        }
        let mut drain = Self {
            h1,
            upload: Upload::new(Body::empty()),
            until: now + DRAIN_FOR,
            left: DRAIN_MAX,
        };
        let mut cx = Context::from_waker(Waker::noop());
        match drain.poll(&mut cx, now) {
            Poll::Ready(end) => drain.end(shared, now, end),
            Poll::Pending => drain.hand_over(shared),
        }
    }

    fn hand_over(self, shared: &Shared) {
        let mut drain = Some(self);
        shared.locked(|state| {
            let slot = drain.as_ref().map(|drain| drain.h1.slot);
            if state.drivers.is_running() && slot.is_some_and(|slot| state.pool.drain(slot)) {
                state.drains.extend(drain.take());
                // A driver has to poll it once to be woken by its bytes.
                state.drivers.rouse();
            }
        });
        if let Some(drain) = drain {
            shared.discard(drain.h1, Discard::Spent, "response not read to its end");
        }
    }

    pub(crate) fn wake_at(&self) -> Instant {
        self.until
    }

    /// Reads on. `Ready(Some)` at the end of the response, `Ready(None)` where it is not worth it.
    fn poll(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Option<Reuse>> {
        let mut clocks = Clocks::new(now, &Timeouts::none(), None);
        loop {
            match self.h1.poll_event(cx, now, &mut clocks, &mut self.upload) {
                Poll::Ready(Ok(Event::End(reuse))) => return Poll::Ready(Some(reuse)),
                Poll::Ready(Ok(Event::Body(chunk))) => {
                    self.left = match self.left.checked_sub(chunk.len() as u64) {
                        Some(left) => left,
                        None => return Poll::Ready(None),
                    };
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(None),
                Poll::Pending if now >= self.until => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn end(self, shared: &Shared, now: Instant, end: Option<Reuse>) {
        let Some(Reuse::Keep) = end else {
            return shared.discard(self.h1, Discard::Spent, "response not read to its end");
        };
        let mut h1 = self.h1;
        let hint = h1.machine().keep_alive().timeout;
        let (slot, bufs) = (h1.slot, h1.park());
        shared.locked(|state| {
            if let Some(bufs) = bufs {
                state.give_back(bufs);
            }
            state.pool.park(now, slot, h1, hint);
        });
    }
}

/// Polls every drain once, outside the lock.
fn drain(shared: &Arc<Shared>, cx: &mut Context<'_>, now: Instant) {
    let drains = shared.locked(|state| std::mem::take(&mut state.drains));
    if drains.is_empty() {
        return;
    }
    let mut rest = Vec::new();
    for mut drain in drains {
        match drain.poll(cx, now) {
            Poll::Ready(end) => drain.end(shared, now, end),
            Poll::Pending if shared.is_closed() => drain.end(shared, now, None),
            Poll::Pending => rest.push(drain),
        }
    }
    shared.locked(|state| state.drains.extend(rest));
}
