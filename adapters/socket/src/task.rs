//! A spawned task: a future and whether it is to be polled.
//!
//! ```text
//!   Idle --wake--> Queued --run--> Running --pending--> Idle
//!                    ^                |--ready, panic-> Ended
//!                    |               wake
//!                    +---pending--- Woken
//! ```

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake, Waker};

use fulmar::net::BoxFuture;

use crate::helper::Shared;

pub(crate) struct Task {
    helper: Arc<Shared>,
    state: Mutex<State>,
}

struct State {
    stage: Stage,
    /// Taken out while it runs.
    future: Option<BoxFuture<()>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Idle,
    Queued,
    Running,
    Woken,
    Ended,
}

impl Task {
    /// A task that the caller puts into the helper's queue.
    pub(crate) fn new(helper: &Arc<Shared>, future: BoxFuture<()>) -> Arc<Self> {
        let state = State {
            stage: Stage::Queued,
            future: Some(future),
        };
        Arc::new(Self {
            helper: helper.clone(),
            state: Mutex::new(state),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No section leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Polls the future once. One that panics has ended: the panic has been reported by its hook.
    pub(crate) fn run(self: Arc<Self>) {
        let mut state = self.lock();
        let Some(mut future) = state.future.take() else {
            return;
        };
        state.stage = Stage::Running;
        drop(state);
        let waker = Waker::from(self.clone());
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
            polled.is_pending().then_some(future)
        }));
        match polled {
            Ok(Some(future)) => self.put_back(future),
            Ok(None) | Err(_) => self.end(),
        }
    }

    fn put_back(self: Arc<Self>, future: BoxFuture<()>) {
        let mut state = self.lock();
        state.future = Some(future);
        let woken = state.stage == Stage::Woken;
        state.stage = if woken { Stage::Queued } else { Stage::Idle };
        drop(state);
        if woken {
            self.helper.clone().push(self);
        }
    }

    fn end(&self) {
        let before = std::mem::replace(&mut self.lock().stage, Stage::Ended);
        if before != Stage::Ended {
            self.helper.handle_end();
        }
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        let mut state = self.lock();
        match state.stage {
            Stage::Idle => state.stage = Stage::Queued,
            Stage::Running => {
                state.stage = Stage::Woken;
                return;
            }
            Stage::Queued | Stage::Woken | Stage::Ended => return,
        }
        drop(state);
        self.helper.clone().push(self);
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        // Nobody can wake it any more, so it has ended, too.
        self.end();
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("stage", &self.lock().stage)
            .finish_non_exhaustive()
    }
}
