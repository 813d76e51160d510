//! The executor: one thread, tasks in the order in which they were woken.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use fulmar::net::BoxFuture;

use crate::schedule::Schedule;
use crate::slab::Key;

/// Tasks that were woken, in order.
#[derive(Default)]
pub(crate) struct Ready(Mutex<VecDeque<u64>>);

impl Ready {
    fn push(&self, id: u64) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(id);
    }

    fn pop(&self) -> Option<u64> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    }

    /// Takes the one that the schedule chooses of those that are there.
    fn choose(&self, schedule: &Schedule, is_there: impl Fn(&u64) -> bool) -> Option<u64> {
        let mut ready = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ready.retain(is_there);
        let index = schedule.choose(ready.len());
        ready.remove(index)
    }
}

/// Wakes one task: it is queued once until it is polled.
pub(crate) struct TaskWaker {
    id: u64,
    is_queued: AtomicBool,
    ready: Arc<Ready>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_queued.swap(true, Ordering::AcqRel) {
            self.ready.push(self.id);
        }
    }
}

struct Task {
    name: String,
    /// The connection that it serves.
    serves: Option<Key>,
    future: BoxFuture<()>,
    signal: Arc<TaskWaker>,
    waker: Waker,
}

/// What a poll of a task led to.
pub(crate) enum Polled {
    /// It is done, waits, or is gone.
    Fine,
    /// It is the main future's turn.
    Main,
    /// It panicked.
    Panicked(String, String),
}

/// The tasks, by the order in which they were spawned.
#[derive(Default)]
pub(crate) struct Executor {
    ready: Arc<Ready>,
    tasks: BTreeMap<u64, Task>,
    last: u64,
    main: u64,
}

impl Executor {
    pub(crate) fn spawn(&mut self, name: String, serves: Option<Key>, future: BoxFuture<()>) {
        let (signal, waker) = self.signal();
        self.tasks.insert(
            signal.id,
            Task {
                name,
                serves,
                future,
                signal,
                waker,
            },
        );
    }

    /// Makes the waker of the run's main future; it is the next to be polled after those that are
    /// ready.
    pub(crate) fn main(&mut self) -> (Arc<TaskWaker>, Waker) {
        let (signal, waker) = self.signal();
        self.main = signal.id;
        (signal, waker)
    }

    fn signal(&mut self) -> (Arc<TaskWaker>, Waker) {
        self.last += 1;
        let is_queued = AtomicBool::new(false);
        let ready = Arc::clone(&self.ready);
        let signal = Arc::new(TaskWaker {
            id: self.last,
            is_queued,
            ready,
        });
        signal.wake_by_ref();
        (Arc::clone(&signal), Waker::from(signal))
    }

    /// Drops the task that serves a connection.
    pub(crate) fn kill(&mut self, key: Key) {
        let of_key = |(_, task): &(&u64, &Task)| task.serves == Some(key);
        let id = self.tasks.iter().find(of_key).map(|(id, _)| *id);
        drop(id.and_then(|id| self.tasks.remove(&id)));
    }

    /// Polls the next task that is ready; `None` if none is.
    pub(crate) fn poll_next(&mut self, schedule: Option<&Schedule>) -> Option<Polled> {
        let is_there = |id: &u64| *id == self.main || self.tasks.contains_key(id);
        let id = match schedule {
            Some(schedule) => self.ready.choose(schedule, is_there)?,
            None => self.ready.pop()?,
        };
        if id == self.main {
            return Some(Polled::Main);
        }
        let Some(task) = self.tasks.get_mut(&id) else {
            return Some(Polled::Fine);
        };
        match poll_task(&task.signal, &task.waker, task.future.as_mut()) {
            Ok(Poll::Pending) => Some(Polled::Fine),
            Ok(Poll::Ready(())) => {
                self.tasks.remove(&id);
                Some(Polled::Fine)
            }
            Err(message) => {
                let name = self.tasks.remove(&id).map(|task| task.name);
                Some(Polled::Panicked(name.unwrap_or_default(), message))
            }
        }
    }

    /// Drops all tasks, in the order in which they were spawned.
    pub(crate) fn clear(&mut self) {
        while let Some(task) = self.tasks.pop_first() {
            drop(task);
        }
        while self.ready.pop().is_some() {}
    }

    /// The names of the tasks, in the order in which they were spawned.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tasks.values().map(|task| &*task.name)
    }
}

/// Polls a future once. A panic becomes its message.
pub(crate) fn poll_task<F: Future + ?Sized>(
    signal: &TaskWaker,
    waker: &Waker,
    future: Pin<&mut F>,
) -> Result<Poll<F::Output>, String> {
    // Cleared before the poll: a wake during it counts.
    signal.is_queued.store(false, Ordering::Release);
    let mut cx = Context::from_waker(waker);
    // What panicked is dropped and never polled again.
    catch_unwind(AssertUnwindSafe(|| future.poll(&mut cx))).map_err(|panic| message(&*panic))
}

/// What a panic said.
pub(crate) fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic without a message".to_owned())
}
