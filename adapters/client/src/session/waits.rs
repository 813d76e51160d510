//! Who waits for what.

use std::collections::BTreeMap;
use std::task::Waker;

/// What one may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Interest {
    /// A message, or the end.
    Message,
    /// An event, or the end.
    Event,
    /// Room for a message that is not kept after it was sent: in order, the first alone is woken.
    Room,
    /// Room for one that is kept until it is acknowledged, which may come later.
    KeptRoom,
    /// The end.
    End,
}

/// A place among those who wait.
pub(super) type Place = (Interest, u64);

/// Everybody who waits, in the order in which they came.
#[derive(Default)]
pub(super) struct Waits {
    places: BTreeMap<Place, Option<Waker>>,
    tickets: u64,
}

impl Waits {
    /// A place behind all others.
    pub(super) fn join(&mut self, interest: Interest) -> Place {
        self.tickets += 1;
        let place = (interest, self.tickets);
        self.places.insert(place, None);
        place
    }

    /// Waits there. The waker that it replaces is for the caller to drop once the lock is open.
    #[must_use = "a waker is not dropped under a lock"]
    pub(super) fn wait(&mut self, place: Place, waker: Waker) -> Option<Waker> {
        self.places.insert(place, Some(waker)).flatten()
    }

    /// Gives the place up.
    #[must_use = "a waker is not dropped under a lock"]
    pub(super) fn leave(&mut self, place: Place) -> Option<Waker> {
        self.places.remove(&place).flatten()
    }

    /// Who has waited longest.
    pub(super) fn first(&self, interest: Interest) -> Option<Place> {
        let mut places = self.places.range((interest, 0)..=(interest, u64::MAX));
        places.next().map(|(place, _)| *place)
    }

    /// The waker of who has waited longest; it keeps its place.
    pub(super) fn wake_first(&mut self, interest: Interest) -> Option<Waker> {
        let mut places = self.places.range_mut((interest, 0)..=(interest, u64::MAX));
        places.next().and_then(|(_, waker)| waker.take())
    }

    /// The wakers of all who wait for it; they keep their places.
    pub(super) fn wake_all(&mut self, interest: Interest) -> impl Iterator<Item = Waker> {
        let places = self.places.range_mut((interest, 0)..=(interest, u64::MAX));
        places.filter_map(|(_, waker)| waker.take())
    }
}
