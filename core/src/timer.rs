//! A bag of deadlines: who is due next, and remove, in O(1); arm and move, in O(log n).
//!
//! ```text
//!  slab   [ value, place ] [ value, place ] [ free ] [ value, - ]      a key is an index here
//!              |  ^             |              |         '- registered, but disarmed
//!              v  |             v              v
//!  heap   [ at, index ]  [ at, index ]  [ at, index ]  ..              4-ary, earliest first
//! ```
//!
//! Nearly every deadline is removed before it is due, and another, later one comes in its stead. So
//! a removed entry leaves its node in the heap, and whoever takes the entry next takes the node as
//! it stands, too early: a steady load never moves a node. What is too early is put right when its
//! time comes.
//!
//! Invariants: an entry's `place` names the heap node that names it back, if it has one; every armed
//! entry has one, which is not later than its deadline; a node is never earlier than its parent; an
//! instant of [`Instant::MAX`] is not in the heap. What was freed is used again, so that a steady
//! load allocates nothing. Where none is registered there are no nodes, and what a burst took is
//! given back. A 4-ary heap, because it is half as deep as a binary one and four children share a
//! cache line.

use crate::time::Instant;

/// Says that a slab entry has no node in the heap, or ends the list of free entries.
const NONE: u32 = u32::MAX;

/// Children of a heap node.
const ARITY: usize = 4;

/// Room for so many is kept when none is left, and what a burst took beyond it is given back.
const KEPT: usize = 128;

/// Deadlines, each with a value: usually whom to wake.
#[derive(Debug)]
pub struct Timers<T> {
    heap: Vec<Node>,
    slab: Vec<Entry<T>>,
    free: u32,
    /// The last key's generation. It is counted for all places in common, so that keys stay apart
    /// when places are forgotten.
    generation: u32,
    len: usize,
}

/// Names one deadline of one [`Timers`]. A key outlives its deadline harmlessly: it then finds
/// nothing, even after its place has been used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerKey {
    index: u32,
    generation: u32,
}

impl TimerKey {
    /// The key as a number, for where only a number fits.
    pub const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// The key of a number that [`to_bits`](Self::to_bits) made. Any other finds nothing.
    pub const fn from_bits(bits: u64) -> Self {
        Self {
            index: bits as u32,
            generation: (bits >> 32) as u32,
        }
    }
}

/// Ordered by the instant, then by the index, so that ties are settled the same way in every run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Node {
    at: Instant,
    index: u32,
}

#[derive(Debug)]
struct Entry<T> {
    /// `None` where the entry is free.
    value: Option<T>,
    /// The deadline; [`Instant::MAX`] while it is disarmed or free.
    at: Instant,
    /// The node in the heap.
    place: u32,
    /// The next free entry, while this one is.
    next: u32,
    generation: u32,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Timers<T> {
    /// No deadlines, and no memory yet.
    pub const fn new() -> Self {
        Self {
            heap: Vec::new(),
            slab: Vec::new(),
            free: NONE,
            generation: 0,
            len: 0,
        }
    }

    /// Registers `value` to be due at `at`; at [`Instant::MAX`], never.
    ///
    /// # Panics
    ///
    /// Beyond `u32::MAX` deadlines at once, which memory does not hold.
    pub fn insert(&mut self, at: Instant, value: T) -> TimerKey {
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let index = if self.free == NONE {
            assert!(
                self.slab.len() < NONE as usize,
                "more deadlines than indices"
            );
            self.slab.push(Entry {
                value: Some(value),
                at,
                place: NONE,
                next: NONE,
                generation,
            });
            (self.slab.len() - 1) as u32
        } else {
            let index = self.free;
            let entry = &mut self.slab[index as usize];
            self.free = entry.next;
            entry.value = Some(value);
            entry.at = at;
            entry.generation = generation;
            index
        };
        self.len += 1;
        self.arm(index, at);
        TimerKey { index, generation }
    }

    /// The value under the key, while it is registered.
    pub fn get(&self, key: TimerKey) -> Option<&T> {
        let entry = self.slab.get(key.index as usize)?;
        (entry.generation == key.generation)
            .then_some(entry.value.as_ref())
            .flatten()
    }

    /// As [`get`](Self::get), to change it.
    pub fn get_mut(&mut self, key: TimerKey) -> Option<&mut T> {
        let entry = self.slab.get_mut(key.index as usize)?;
        (entry.generation == key.generation)
            .then_some(entry.value.as_mut())
            .flatten()
    }

    /// All values, in no order that means anything.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.slab.iter().filter_map(|entry| entry.value.as_ref())
    }

    /// Moves the deadline to `at`, arming it where it had expired; [`Instant::MAX`] disarms it.
    /// Says whether the key is still registered.
    pub fn reset(&mut self, key: TimerKey, at: Instant) -> bool {
        if self.get(key).is_none() {
            return false;
        }
        let entry = &mut self.slab[key.index as usize];
        entry.at = at;
        let place = entry.place;
        if place == NONE {
            self.arm(key.index, at);
        } else {
            self.correct(place, at);
        }
        true
    }

    /// Unregisters the key, and gives its value back.
    // Every call does it once, and where it is called the call would cost as much as the rest.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub fn remove(&mut self, key: TimerKey) -> Option<T> {
        let entry = self.slab.get_mut(key.index as usize)?;
        if entry.generation != key.generation {
            return None;
        }
        let value = entry.value.take()?;
        entry.at = Instant::MAX;
        entry.next = std::mem::replace(&mut self.free, key.index);
        self.len -= 1;
        if self.len == 0 {
            self.forget_places();
        }
        Some(value)
    }

    /// When to call [`expire`](Self::expire): at the earliest armed deadline, or before it, where a
    /// deadline was removed. `None` where none is registered.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.heap.first().map(|node| node.at)
    }

    /// Disarms and names the earliest deadline, where it is at `now` or before. It stays
    /// registered until [`reset`](Self::reset) or [`remove`](Self::remove). Call it until `None`;
    /// then [`poll_timeout`](Self::poll_timeout) is later than `now`.
    pub fn expire(&mut self, now: Instant) -> Option<TimerKey> {
        loop {
            let node = self.heap.first().copied().filter(|node| node.at <= now)?;
            let entry = &mut self.slab[node.index as usize];
            if entry.at > node.at {
                let at = entry.at;
                self.correct(0, at);
                continue;
            }
            entry.at = Instant::MAX;
            let generation = entry.generation;
            self.correct(0, Instant::MAX);
            return Some(TimerKey {
                index: node.index,
                generation,
            });
        }
    }

    /// How many are registered, disarmed ones included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none is registered.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets removed entries and their nodes, and gives back what a burst took: nothing is
    /// registered.
    fn forget_places(&mut self) {
        self.slab.clear();
        self.heap.clear();
        self.free = NONE;
        if self.slab.capacity() > KEPT {
            self.slab.shrink_to(KEPT);
            self.heap.shrink_to(KEPT);
        }
    }

    /// Sees to it that an entry has a node that is not later than its deadline.
    #[inline]
    fn arm(&mut self, index: u32, at: Instant) {
        let place = self.slab[index as usize].place;
        if place != NONE {
            if at < self.heap[place as usize].at {
                self.correct(place, at);
            }
        } else if at != Instant::MAX {
            self.heap.push(Node { at, index });
            self.sift_up(self.heap.len() - 1);
        }
    }

    /// Moves a node to where its instant belongs; at [`Instant::MAX`], out of the heap.
    fn correct(&mut self, place: u32, at: Instant) {
        let place = place as usize;
        if at == Instant::MAX {
            let node = self.heap.swap_remove(place);
            self.slab[node.index as usize].place = NONE;
        } else {
            self.heap[place].at = at;
        }
        // The node that now stands here, the last one perhaps, may belong higher or lower.
        if place < self.heap.len() && !self.sift_up(place) {
            self.sift_down(place);
        }
    }

    /// Moves the node towards the root until its parent is earlier. Says whether it moved.
    fn sift_up(&mut self, from: usize) -> bool {
        let node = self.heap[from];
        let mut place = from;
        while place > 0 {
            let parent = (place - 1) / ARITY;
            if self.heap[parent] <= node {
                break;
            }
            self.put(place, self.heap[parent]);
            place = parent;
        }
        self.put(place, node);
        place != from
    }

    /// Moves the node towards the leaves until its children are later.
    fn sift_down(&mut self, from: usize) {
        let node = self.heap[from];
        let mut place = from;
        while let Some(child) = self.earliest_child(place).filter(|&c| self.heap[c] < node) {
            self.put(place, self.heap[child]);
            place = child;
        }
        self.put(place, node);
    }

    fn earliest_child(&self, place: usize) -> Option<usize> {
        let first = place * ARITY + 1;
        let end = (first + ARITY).min(self.heap.len());
        (first..end).min_by_key(|&child| self.heap[child])
    }

    fn put(&mut self, place: usize, node: Node) {
        self.heap[place] = node;
        self.slab[node.index as usize].place = place as u32;
    }
}
