//! Calls in flight: a cap on a client's, and on those of a profile.
//!
//! A call is in flight from its first poll to the end of its response's body, in its rests before
//! another attempt, too. So the pool's limits cannot stand for it: in a rest a call has no
//! connection, and an idle connection serves no call.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use fulmar_core::adaptive::{Adaptive, AdaptiveError, Sample};
use fulmar_core::fault::Phase;
use fulmar_core::retry::Cause;
use fulmar_core::time::Instant;
use fulmar_core::turnstile::{Entry, Ticket, Turnstile};

use crate::client::Client;
use crate::error::{Error, Kind};
use crate::shared::{Shared, State};
use crate::wake::wake_all;

/// How many calls may be in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cap {
    Fixed(usize),
    Adaptive(Adaptive),
}

impl Cap {
    pub(crate) fn turnstile(self, waiters: usize) -> Turnstile {
        match self {
            Self::Fixed(limit) => Turnstile::new(limit, waiters),
            Self::Adaptive(settings) => Turnstile::adaptive(settings, waiters),
        }
    }

    pub(crate) fn validate(self) -> Result<(), AdaptiveError> {
        match self {
            Self::Fixed(_) => Ok(()),
            Self::Adaptive(settings) => settings.validate(),
        }
    }
}

/// The turnstile of the client itself; those of profiles follow.
pub(crate) const CLIENT: usize = 0;

/// One call's way through the turnstiles; out of all of them again when dropped.
pub(crate) struct Pass {
    shared: Arc<Shared>,
    /// The turnstiles to go through, and how many of them are behind it.
    ways: Vec<usize>,
    entered: usize,
    queued: Option<Ticket>,
    /// Whether a turnstile that it went through learns from what it sees.
    is_adaptive: bool,
    /// When the attempt that runs began.
    began: Instant,
}

/// How far a call got.
pub(crate) enum Progress {
    Inside,
    Queued,
    Full,
}

impl Pass {
    /// For a call of a profile with a turnstile of its own, or of none. `None`: nothing is capped.
    #[inline]
    pub(crate) fn of(shared: &Arc<Shared>, profile: Option<usize>) -> Option<Box<Self>> {
        let is_capped = shared.is_capped.load(Ordering::Relaxed);
        if is_capped || profile.is_some() {
            return Some(Box::new(Self::new(shared, profile, is_capped)));
        }
        None
    }

    #[cold]
    fn new(shared: &Arc<Shared>, profile: Option<usize>, is_capped: bool) -> Self {
        // The narrower one first: who waits there holds up nobody elsewhere.
        let client = is_capped.then_some(CLIENT);
        Self {
            shared: shared.clone(),
            ways: profile.into_iter().chain(client).collect(),
            entered: 0,
            queued: None,
            is_adaptive: false,
            began: Instant::ORIGIN,
        }
    }

    /// Goes on as far as it can.
    pub(crate) fn enter(&mut self, state: &mut State, tag: u64) -> Progress {
        while let Some(&way) = self.ways.get(self.entered) {
            let turnstile = &mut state.turnstiles[way];
            match self.queued {
                Some(ticket) if turnstile.poll_pass(ticket) => self.queued = None,
                Some(_) => return Progress::Queued,
                None => match turnstile.enter(tag) {
                    Entry::Pass => {}
                    Entry::Wait(ticket) => {
                        self.queued = Some(ticket);
                        return Progress::Queued;
                    }
                    Entry::Full => return Progress::Full,
                },
            }
            self.is_adaptive |= turnstile.is_adaptive();
            self.entered += 1;
        }
        Progress::Inside
    }

    /// An attempt begins.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.began = now;
    }

    /// An attempt was answered.
    #[cold]
    pub(crate) fn handle_status(&self, now: Instant, status: u16) {
        self.handle_sample(now, || Some(Sample::of_status(status, now - self.began)));
    }

    /// An attempt failed.
    pub(crate) fn handle_failure(&self, now: Instant, cause: &Cause) {
        self.handle_sample(now, || Sample::of_failure(cause, now - self.began));
    }

    fn handle_sample(&self, now: Instant, sample: impl FnOnce() -> Option<Sample>) {
        if self.is_adaptive
            && let Some(sample) = sample()
        {
            self.shared.turn(|turnstiles| {
                for &way in &self.ways[..self.entered] {
                    turnstiles[way].handle_sample(now, sample);
                }
            });
        }
    }

    /// Why a call came no further in time.
    pub(crate) fn too_late(&self, phase: Phase) -> Error {
        let error = Error::timeout(phase);
        match phase {
            Phase::Pool => error.because(self.crowd()),
            _ => error,
        }
    }

    /// Why a call may not even wait.
    pub(crate) fn refused(&self) -> Error {
        Error::new(Kind::PoolFull)
            .at(Phase::Pool)
            .because(self.crowd())
    }

    fn crowd(&self) -> String {
        let way = self.ways.get(self.entered).copied().unwrap_or(CLIENT);
        let limit = self.shared.locked(|state| state.turnstiles[way].limit());
        let whose = if way == CLIENT { "client" } else { "profile" };
        format!("the {whose} has as many calls in flight as it may: {limit}")
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let Self {
            shared,
            ways,
            entered,
            queued,
            ..
        } = self;
        shared.turn(|turnstiles| {
            if let (Some(ticket), Some(&way)) = (queued.take(), ways.get(*entered)) {
                turnstiles[way].cancel(ticket);
            }
            for &way in &ways[..*entered] {
                turnstiles[way].leave();
            }
        });
    }
}

impl Shared {
    /// Changes something about the turnstiles, and wakes who is admitted for it.
    fn turn(&self, change: impl FnOnce(&mut [Turnstile])) {
        let wakers = self.locked(|state| {
            change(&mut state.turnstiles);
            let mut wakers = Vec::new();
            for at in 0..state.turnstiles.len() {
                while let Some(tag) = state.turnstiles[at].poll_wake() {
                    wakers.extend(state.waker_of(tag));
                }
            }
            wakers
        });
        wake_all(wakers);
    }
}

impl Client {
    /// Changes the cap of [`ClientBuilder::max_in_flight`](crate::ClientBuilder::max_in_flight) for
    /// all handles of the client; `None` lifts it. A lower cap cancels nothing: it lets no other call
    /// begin until enough are through. Calls that began while there was no cap are not counted. One
    /// that adapts itself goes on from there.
    pub fn set_max_in_flight(&self, calls: impl Into<Option<usize>>) {
        let calls = calls.into();
        let is_capped = calls.is_some();
        self.shared.is_capped.store(is_capped, Ordering::Relaxed);
        let limit = calls.unwrap_or(usize::MAX);
        self.shared
            .turn(|turnstiles| turnstiles[CLIENT].set_limit(limit));
    }

    /// The cap on calls in flight, if there is one.
    pub fn max_in_flight(&self) -> Option<usize> {
        let is_capped = self.shared.is_capped.load(Ordering::Relaxed);
        is_capped.then(|| self.shared.locked(|state| state.turnstiles[CLIENT].limit()))
    }
}
