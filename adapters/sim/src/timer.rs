//! Timers.
//!
//! A timer has at most one event in the queue that counts, and a later deadline does not move it:
//! when the event comes up before the deadline, it is put back without moving time. So a timer that
//! is pushed ahead with every request costs nothing.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use fulmar::net::Sleep;
use fulmar_core::time::Instant;

use crate::queue::Event;
use crate::slab::Key;
use crate::world::{State, World, remember};

/// The world's side of a timer.
pub(crate) struct Alarm {
    at: u64,
    /// Where its event is in the queue.
    queued: Option<u64>,
    /// Polled, and not fired since.
    waker: Option<Waker>,
    /// Whether the main future polled it.
    is_main: bool,
}

impl State {
    /// Whether the main future's timers are counted right.
    pub(crate) fn check_alarms(&self) -> Result<(), String> {
        let of_main = self.alarms.values().filter(|alarm| alarm.is_main).count();
        if of_main == self.main_alarms {
            return Ok(());
        }
        Err(format!(
            "{of_main} timers of the main future, counted as {}",
            self.main_alarms
        ))
    }

    /// Whether an event of a timer at `at` is the one that counts and its deadline has come;
    /// otherwise it is spent, and renewed where it came too early.
    pub(crate) fn is_due(&mut self, key: Key, at: u64) -> bool {
        let Some(alarm) = self.alarms.get_mut(key) else {
            return false;
        };
        if alarm.queued != Some(at) {
            return false;
        }
        if alarm.waker.is_some() && alarm.at <= at {
            return true;
        }
        alarm.queued = None;
        if alarm.waker.is_some() && alarm.at != u64::MAX {
            alarm.queued = Some(alarm.at);
            self.queue.push(alarm.at, Event::Timer(key));
        }
        false
    }

    pub(crate) fn fire(&mut self, key: Key) {
        let Some(alarm) = self.alarms.get_mut(key) else {
            return;
        };
        alarm.queued = None;
        let waker = alarm.waker.take();
        if std::mem::take(&mut alarm.is_main) {
            self.main_alarms -= 1;
        }
        self.wake(waker);
    }

    fn poll_alarm(&mut self, key: &mut Option<Key>, at: u64, cx: &Context<'_>) -> Poll<()> {
        if at <= self.now {
            self.disarm(*key);
            return Poll::Ready(());
        }
        let fresh = || Alarm {
            at,
            queued: None,
            waker: None,
            is_main: false,
        };
        let key = *key.get_or_insert_with(|| self.alarms.insert(fresh()));
        let Some(alarm) = self.alarms.get_mut(key) else {
            return Poll::Pending;
        };
        alarm.at = at;
        let before = remember(&mut alarm.waker, cx);
        if at == u64::MAX {
            // Never: nothing to wait for, and no reason to think that time will help.
            self.discard(before);
            return Poll::Pending;
        }
        if alarm.queued.is_none_or(|queued| queued > at) {
            alarm.queued = Some(at);
            self.queue.push(at, Event::Timer(key));
        }
        self.main_alarms += usize::from(self.is_main);
        self.main_alarms -= usize::from(std::mem::replace(&mut alarm.is_main, self.is_main));
        self.discard(before);
        Poll::Pending
    }

    fn disarm(&mut self, key: Option<Key>) {
        let Some(alarm) = key.and_then(|key| self.alarms.get_mut(key)) else {
            return;
        };
        let waker = alarm.waker.take();
        if std::mem::take(&mut alarm.is_main) {
            self.main_alarms -= 1;
        }
        self.discard(waker);
    }
}

/// A timer of the simulation.
pub(crate) struct SimSleep {
    world: Arc<World>,
    at: Instant,
    /// Registered by the first poll that has to wait.
    key: Option<Key>,
}

impl SimSleep {
    pub(crate) fn new(world: Arc<World>, at: Instant) -> Self {
        Self {
            world,
            at,
            key: None,
        }
    }
}

impl Future for SimSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.world
            .with(|state| state.poll_alarm(&mut this.key, this.at.as_nanos(), cx))
    }
}

impl Sleep for SimSleep {
    fn reset(&mut self, until: Instant) {
        self.at = until;
        // The waker is taken at the next poll; until then it must not fire.
        if self.key.is_some() {
            self.world.with(|state| state.disarm(self.key));
        }
    }
}

impl Drop for SimSleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.world.with(|state| {
                state.disarm(Some(key));
                state.alarms.remove(key);
            });
        }
    }
}
