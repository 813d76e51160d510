//! What the handles of one session and its driver share: the machine, behind one lock.
//!
//! Invariants
//! * Every locked section is short and does no IO; wakers are woken, and dropped, outside it.
//! * What the machine tells is passed on in the section in which it happened: to the [`Sent`] that
//!   it concerns, and to those who want events.
//! * A message that has a `Sent` reaches it with each receipt, or with the reason why not.
//!
//! [`Sent`]: super::Sent

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use chacha20::ChaCha8Rng;
use fulmar_core::session::{Event, MessageId, Receipt, Session as Machine, State as Stage};
use fulmar_core::time::Instant;

use super::sent::{Progress, Undelivered};
use super::waits::{Interest, Waits};
use crate::error::Error;
use crate::net::Net;
use crate::wake::wake_all;

/// Events that may wait to be asked for; beyond, the oldest are dropped and counted.
const MOST_EVENTS: usize = 1024;

/// One session.
pub(super) struct Common {
    net: Arc<dyn Net>,
    state: Mutex<State>,
}

/// What is behind the lock.
pub(super) struct State {
    pub(super) machine: Machine,
    pub(super) rng: ChaCha8Rng,
    pub(super) waits: Waits,
    /// Messages of which somebody wants to know what becomes.
    pub(super) sent: BTreeMap<MessageId, Progress>,
    pub(super) events: VecDeque<Event>,
    pub(super) events_missed: u64,
    /// Why the last attempt to connect failed.
    pub(super) error: Option<Error>,
    /// No handle is left.
    pub(super) is_abandoned: bool,
    /// The connection that waits for its resync.
    pub(super) resync: Option<Event>,
    /// A ping has to follow what was sent. There is none while too many are under way.
    owes_ping: bool,
    driver: Option<Waker>,
    /// Woken once the lock is open.
    wakers: Vec<Waker>,
    is_over: bool,
}

impl Common {
    pub(super) fn new(net: Arc<dyn Net>, machine: Machine, rng: ChaCha8Rng) -> Self {
        let state = State {
            machine,
            rng,
            waits: Waits::default(),
            sent: BTreeMap::new(),
            events: VecDeque::new(),
            events_missed: 0,
            error: None,
            is_abandoned: false,
            resync: None,
            owes_ping: false,
            driver: None,
            wakers: Vec::new(),
            is_over: false,
        };
        Self {
            net,
            state: Mutex::new(state),
        }
    }

    pub(super) fn net(&self) -> &Arc<dyn Net> {
        &self.net
    }

    /// Runs a section, passes on what it made happen, and wakes whom that concerns.
    pub(super) fn locked<R>(&self, section: impl FnOnce(&mut State, Instant) -> R) -> R {
        let now = self.net.now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = section(&mut state, now);
        state.pass_on();
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wake_all(wakers);
        result
    }

    /// The same of somebody who gives the driver something to do.
    pub(super) fn act<R>(&self, section: impl FnOnce(&mut State, Instant) -> R) -> R {
        self.locked(|state, now| {
            let result = section(state, now);
            let driver = state.driver.take();
            state.wakers.extend(driver);
            result
        })
    }
}

impl State {
    /// The driver is there. The waker that it replaces is for the caller to drop once the lock is
    /// open.
    #[must_use = "a waker is not dropped under a lock"]
    pub(super) fn drive(&mut self, waker: &Waker) -> Option<Waker> {
        self.driver.replace(waker.clone())
    }

    /// The driver has something to do.
    pub(super) fn rouse(&mut self) {
        let driver = self.driver.take();
        self.wakers.extend(driver);
    }

    /// The resync that the application is asked for, once.
    pub(super) fn take_resync(&mut self) -> Option<Event> {
        self.pass_on();
        self.resync.take()
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.machine.state() == Stage::Stopped
    }

    /// There may be room for a message: who has waited longest looks; and where there will be none
    /// any more, all do.
    pub(super) fn offer_room(&mut self) {
        let is_closing = self.machine.is_closing();
        for interest in [Interest::Room, Interest::KeptRoom] {
            if is_closing {
                let waiting = self.waits.wake_all(interest);
                self.wakers.extend(waiting);
                continue;
            }
            let first = self.waits.wake_first(interest);
            self.wakers.extend(first);
        }
    }

    /// Somebody waits for the server to have read a message that is with the transport.
    pub(super) fn watch(&mut self, id: MessageId) {
        self.owes_ping |= self.machine.watch(id);
    }

    /// What the machine told, to those whom it concerns.
    fn pass_on(&mut self) {
        while let Some(event) = self.machine.poll_event() {
            self.note(&event);
            if matches!(event, Event::Receipt { .. }) {
                continue;
            }
            if self.events.len() == MOST_EVENTS {
                self.events.pop_front();
                self.events_missed += 1;
            }
            self.events.push_back(event);
        }
        if self.owes_ping && self.machine.ping() {
            self.owes_ping = false;
            self.rouse();
        }
        let ends = self.is_stopped() && !std::mem::replace(&mut self.is_over, true);
        if ends {
            self.end();
        }
        if ends || self.machine.inbox_len() > 0 {
            let readers = self.waits.wake_all(Interest::Message);
            self.wakers.extend(readers);
        }
        if ends || !self.events.is_empty() {
            let watchers = self.waits.wake_all(Interest::Event);
            self.wakers.extend(watchers);
        }
    }

    fn note(&mut self, event: &Event) {
        match event {
            Event::Receipt { id, receipt } => {
                let Some(progress) = self.sent.get_mut(id) else {
                    return;
                };
                let waker = progress.reach(*receipt);
                let is_awaited = *receipt == Receipt::Flushed && progress.sent();
                self.wakers.extend(waker);
                if is_awaited {
                    self.watch(*id);
                }
            }
            Event::Dropped { id, reason } => {
                let sent = self.sent.get_mut(id);
                let end = Undelivered::Dropped(*reason);
                let waker = sent.and_then(|progress| progress.fail(end));
                self.wakers.extend(waker);
            }
            Event::Lost { .. } => self.doubt(),
            Event::Resync { .. } => self.resync = Some(event.clone()),
            _ => {}
        }
    }

    /// What was flushed on the lost connection, and is not sent again, may not have been read.
    fn doubt(&mut self) {
        for progress in self.sent.values_mut() {
            let waker = progress.lose();
            self.wakers.extend(waker);
        }
    }

    /// Nothing more will happen to any message.
    fn end(&mut self) {
        for progress in self.sent.values_mut() {
            let is_gone = !progress.is_kept && progress.has_reached(Receipt::Flushed);
            let end = if is_gone {
                Undelivered::Doubtful
            } else {
                Undelivered::Returned
            };
            let waker = progress.fail(end);
            self.wakers.extend(waker);
        }
        for interest in [Interest::Room, Interest::KeptRoom, Interest::End] {
            let waiting = self.waits.wake_all(interest);
            self.wakers.extend(waiting);
        }
    }
}
