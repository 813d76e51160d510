//! One thread that turns a reactor, runs tasks and keeps time, for programs without a runtime.
//!
//! It starts with the first thing to do and ends when its owner is gone and nothing is left: no task,
//! no timer, no socket. Whoever adds something wakes it, if it sleeps; that, and what is there, is
//! decided under one lock, so no wake-up is lost between its last look and its sleep.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant as StdInstant};

use fulmar::Instant;
use fulmar::net::{BoxFuture, Sleep};
use polling::Events;

use crate::clock::Clock;
use crate::reactor::{Polled, Reactor};
use crate::task::Task;

/// Tasks that run before sockets get their turn.
const TASKS: usize = 64;

/// The owner's handle. Dropping it lets the thread end once nothing is left to do.
#[derive(Debug, Default)]
pub struct Helper(Arc<Shared>);

#[derive(Debug, Default)]
pub(crate) struct Shared(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// There is one while a thread turns it.
    reactor: Option<Arc<Reactor>>,
    /// Which thread it is; one that was relieved is no longer it.
    thread: u64,
    sleeping: bool,
    closed: bool,
    ready: VecDeque<Arc<Task>>,
    /// Tasks that have not ended, and sockets on their way to the reactor.
    tasks: usize,
    timers: BTreeMap<(StdInstant, u64), Waker>,
    keys: u64,
}

/// What the thread does next.
enum Step {
    Run(Arc<Task>),
    Wake(Vec<Waker>),
    Sleep(Option<Duration>),
    End,
}

thread_local! {
    /// The helper whose thread this is.
    static HELPED: RefCell<Weak<Shared>> = const { RefCell::new(Weak::new()) };
}

impl Helper {
    /// What makes sockets known to the reactor; it may outlive the owner.
    pub fn registry(&self) -> Registry {
        Registry(self.0.clone())
    }

    /// Runs a task to its end. Where there can be no thread, it is dropped.
    pub fn spawn(&self, future: BoxFuture<()>) {
        let mut state = self.0.lock();
        let started = self.0.start_in(&mut state).is_ok();
        state.tasks += usize::from(started);
        drop(state);
        if started {
            self.0.push(Task::new(&self.0, future));
        }
    }

    /// A timer that is ready at `until` by `clock`.
    pub fn alarm(&self, clock: Clock, until: Instant) -> Alarm {
        Alarm {
            shared: self.0.clone(),
            clock,
            until: clock.at(until),
            key: None,
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.closed = true;
        state.rouse();
    }
}

/// Makes sockets known to a helper's reactor.
#[derive(Debug)]
pub struct Registry(Arc<Shared>);

impl Registry {
    /// Makes a socket known to the reactor. The thread turns it for as long as the socket is there,
    /// and is started again where it has ended.
    ///
    /// # Errors
    ///
    /// The system has no descriptor or no thread to give.
    pub fn register(&self, socket: socket2::Socket) -> io::Result<Polled> {
        let reactor = {
            let mut state = self.0.lock();
            let reactor = self.0.start_in(&mut state)?;
            // Until the reactor knows the socket, the thread stays for this as for a task.
            state.tasks += 1;
            reactor
        };
        let polled = Polled::new(reactor, socket);
        self.0.handle_end();
        polled
    }
}

/// Where this thread is about to block and is a helper's, has another take over its work.
///
/// # Errors
///
/// The system has no thread to give.
pub fn relieve() -> io::Result<()> {
    // Without thread-locals this thread ends, and is nobody's helper.
    let helped = HELPED.try_with(RefCell::take).unwrap_or_default();
    let Some(shared) = helped.upgrade() else {
        return Ok(());
    };
    let mut state = shared.lock();
    let started = match state.reactor.clone() {
        Some(reactor) => shared.start_thread(&mut state, reactor),
        None => Ok(()),
    };
    drop(state);
    if started.is_err() {
        // The work is still this thread's; the next one to block tries again.
        let _ = HELPED.try_with(|mine| mine.replace(helped));
    }
    started
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every section leaves the state whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reactor, which a thread turns from now on: in the section that gives it something to do,
    /// so that it cannot find nothing left in between, and end.
    fn start_in(self: &Arc<Self>, state: &mut State) -> io::Result<Arc<Reactor>> {
        if let Some(reactor) = &state.reactor {
            return Ok(reactor.clone());
        }
        let reactor = Arc::new(Reactor::new()?);
        self.start_thread(state, reactor.clone())?;
        state.reactor = Some(reactor.clone());
        Ok(reactor)
    }

    fn start_thread(self: &Arc<Self>, state: &mut State, reactor: Arc<Reactor>) -> io::Result<()> {
        let (shared, thread) = (self.clone(), state.thread + 1);
        thread::Builder::new()
            .name("fulmar".into())
            .spawn(move || shared.run(&reactor, thread))?;
        state.thread = thread;
        Ok(())
    }

    fn run(self: Arc<Self>, reactor: &Reactor, thread: u64) {
        HELPED.with(|helped| helped.replace(Arc::downgrade(&self)));
        let mut events = Events::new();
        for turn in 1.. {
            let step = self.lock().step(thread, reactor);
            let timeout = match step {
                Step::Run(task) => {
                    task.run();
                    (turn % TASKS == 0).then_some(Some(Duration::ZERO))
                }
                Step::Wake(due) => {
                    for waker in due {
                        // Another's waker that panics must not stop everybody's thread.
                        let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
                    }
                    None
                }
                Step::Sleep(timeout) => Some(timeout),
                Step::End => return,
            };
            if let Some(timeout) = timeout
                && reactor.turn(&mut events, timeout).is_err()
            {
                // Nothing can be done about it, but not at full speed.
                thread::sleep(Duration::from_millis(10));
            }
        }
    }

    /// A task became ready.
    pub(crate) fn push(&self, task: Arc<Task>) {
        let mut state = self.lock();
        state.ready.push_back(task);
        state.rouse();
    }

    /// A task has ended.
    pub(crate) fn handle_end(&self) {
        let mut state = self.lock();
        state.tasks -= 1;
        state.rouse_if_closed();
    }
}

impl State {
    fn step(&mut self, thread: u64, reactor: &Reactor) -> Step {
        if self.thread != thread {
            return Step::End;
        }
        self.sleeping = false;
        // Timers come first: a task that is always ready must not hold them up.
        let now = StdInstant::now();
        if self.timers.keys().next().is_some_and(|(at, _)| *at <= now) {
            let later = self.timers.split_off(&(now, u64::MAX));
            let due = std::mem::replace(&mut self.timers, later);
            return Step::Wake(due.into_values().collect());
        }
        if let Some(task) = self.ready.pop_front() {
            return Step::Run(task);
        }
        let next = self.timers.keys().next().map(|(at, _)| *at - now);
        if self.closed && self.tasks == 0 && next.is_none() && reactor.is_empty() {
            self.reactor = None;
            return Step::End;
        }
        self.sleeping = true;
        Step::Sleep(next)
    }

    /// Lets the thread find that there may be nothing left.
    fn rouse_if_closed(&mut self) {
        if self.closed {
            self.rouse();
        }
    }

    /// Wakes the thread if it sleeps.
    fn rouse(&mut self) {
        if std::mem::take(&mut self.sleeping)
            && let Some(reactor) = &self.reactor
        {
            reactor.notify();
        }
    }
}

/// A timer that the helper keeps.
#[derive(Debug)]
pub struct Alarm {
    shared: Arc<Shared>,
    clock: Clock,
    /// `None` where it never comes.
    until: Option<StdInstant>,
    key: Option<(StdInstant, u64)>,
}

impl Alarm {
    fn disarm(&mut self) {
        if let Some(key) = self.key.take() {
            let mut state = self.shared.lock();
            let waker = state.timers.remove(&key);
            state.rouse_if_closed();
            // With its last waker a task is dropped, which takes the same lock.
            drop(state);
            drop(waker);
        }
    }
}

impl Future for Alarm {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(until) = self.until else {
            return Poll::Pending;
        };
        if StdInstant::now() >= until {
            self.disarm();
            return Poll::Ready(());
        }
        let mut state = self.shared.lock();
        if self.shared.start_in(&mut state).is_err() {
            drop(state);
            // No thread, no timer: the one who asks has to ask again.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let key = self.key.unwrap_or((until, state.keys));
        state.keys += 1;
        let first = state.timers.keys().next().is_none_or(|first| key < *first);
        let before = state.timers.insert(key, cx.waker().clone());
        if first {
            state.rouse();
        }
        drop(state);
        drop(before);
        self.key = Some(key);
        Poll::Pending
    }
}

impl Sleep for Alarm {
    fn reset(&mut self, until: Instant) {
        self.disarm();
        self.until = self.clock.at(until);
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.disarm();
    }
}
