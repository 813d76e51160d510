//! Entries at fixed indices, and lists threaded through them.

/// No entry.
pub(super) const NONE: u32 = u32::MAX;

/// One entry's neighbours in one list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Links {
    pub(super) prev: u32,
    pub(super) next: u32,
}

impl Links {
    pub(super) const fn new() -> Self {
        Self {
            prev: NONE,
            next: NONE,
        }
    }
}

/// The ends of a list whose links are in its entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    pub(super) head: u32,
    pub(super) tail: u32,
}

impl List {
    pub(super) const fn new() -> Self {
        Self {
            head: NONE,
            tail: NONE,
        }
    }

    pub(super) fn is_empty(self) -> bool {
        self.head == NONE
    }

    pub(super) fn push_back<T>(
        &mut self,
        entries: &mut [T],
        index: u32,
        links: impl Fn(&mut T) -> &mut Links,
    ) {
        *links(&mut entries[index as usize]) = Links {
            prev: self.tail,
            next: NONE,
        };
        if self.tail == NONE {
            self.head = index;
        } else {
            links(&mut entries[self.tail as usize]).next = index;
        }
        self.tail = index;
    }

    pub(super) fn push_front<T>(
        &mut self,
        entries: &mut [T],
        index: u32,
        links: impl Fn(&mut T) -> &mut Links,
    ) {
        *links(&mut entries[index as usize]) = Links {
            prev: NONE,
            next: self.head,
        };
        if self.head == NONE {
            self.tail = index;
        } else {
            links(&mut entries[self.head as usize]).prev = index;
        }
        self.head = index;
    }

    /// Takes out an entry that is in this very list.
    pub(super) fn remove<T>(
        &mut self,
        entries: &mut [T],
        index: u32,
        links: impl Fn(&mut T) -> &mut Links,
    ) {
        let Links { prev, next } = *links(&mut entries[index as usize]);
        if prev == NONE {
            self.head = next;
        } else {
            links(&mut entries[prev as usize]).next = next;
        }
        if next == NONE {
            self.tail = prev;
        } else {
            links(&mut entries[next as usize]).prev = prev;
        }
    }

    /// The entry behind this one.
    pub(super) fn after<T>(
        entries: &mut [T],
        index: u32,
        links: impl Fn(&mut T) -> &mut Links,
    ) -> u32 {
        links(&mut entries[index as usize]).next
    }
}

/// What a slab keeps: something that can name the next free entry while it is free itself.
pub(super) trait Place {
    fn next_free(&mut self) -> &mut u32;
}

/// Entries, and which of them are free. An entry is made once, and used again and again.
#[derive(Debug)]
pub(super) struct Slab<T> {
    pub(super) entries: Vec<T>,
    /// The first free entry, which names the next.
    free: u32,
    live: u32,
}

impl<T: Place> Slab<T> {
    pub(super) const fn new() -> Self {
        Self {
            entries: Vec::new(),
            free: NONE,
            live: 0,
        }
    }

    /// A free entry's index; `make` is called with the index where there was none.
    pub(super) fn take(&mut self, make: impl FnOnce(u32) -> T) -> u32 {
        self.live += 1;
        if let Some(entry) = self.entries.get_mut(self.free as usize) {
            return std::mem::replace(&mut self.free, *entry.next_free());
        }
        if self.entries.len() == self.entries.capacity() {
            // Idle connections stay by the thousand: half of a doubled slab would lie waste.
            self.entries.reserve_exact((self.entries.len() / 8).max(16));
        }
        // A pool's limits are `u32`s, hence indices are.
        let index = self.entries.len() as u32;
        self.entries.push(make(index));
        index
    }

    pub(super) fn give_back(&mut self, index: u32) {
        let next = std::mem::replace(&mut self.free, index);
        *self.at(index).next_free() = next;
        self.live -= 1;
    }

    /// Forgets entries and most of their memory where none is in use and there were more than
    /// `kept`: for what comes in bursts. Indices are given out anew.
    pub(super) fn trim(&mut self, kept: usize) {
        if self.live == 0 && self.entries.len() > kept {
            self.entries.clear();
            self.entries.shrink_to(kept);
            self.free = NONE;
        }
    }

    pub(super) fn get(&self, index: u32) -> Option<&T> {
        self.entries.get(index as usize)
    }

    pub(super) fn at(&mut self, index: u32) -> &mut T {
        &mut self.entries[index as usize]
    }
}
