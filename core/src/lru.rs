//! A map of bounded size: when it is full, what was used longest ago is forgotten.

use std::collections::BTreeMap;

/// So many of the oldest are asked whether they may go.
const LOOKED_AT: usize = 16;

/// Values by key, with the order of their use. Every operation is O(log n).
#[derive(Clone, Debug)]
pub(crate) struct Lru<K, V> {
    values: BTreeMap<K, (u64, V)>,
    /// Keys by the number of their last use.
    order: BTreeMap<u64, K>,
    uses: u64,
    capacity: usize,
}

impl<K: Ord + Clone, V> Lru<K, V> {
    /// Room for so many, and at least one.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            values: BTreeMap::new(),
            order: BTreeMap::new(),
            uses: 0,
            capacity: capacity.max(1),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// The value of a key. It counts as no use.
    pub(crate) fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: std::borrow::Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.values.get(key).map(|(_, value)| value)
    }

    /// The value of a key, to change it. It counts as no use.
    pub(crate) fn get_mut<Q>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: std::borrow::Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.values.get_mut(key).map(|(_, value)| value)
    }

    /// Counts a use of the key, and names it as it is known here.
    pub(crate) fn touch<Q>(&mut self, key: &Q) -> Option<&K>
    where
        K: std::borrow::Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let (used, _) = self.values.get_mut(key)?;
        self.uses += 1;
        let known = self.order.remove(used)?;
        *used = self.uses;
        Some(self.order.entry(self.uses).or_insert(known))
    }

    /// Adds a key that is not there, as the one used last. Where there is no room the oldest that
    /// `may_go` is forgotten, and returned. `Err`: none of the oldest may. Those that may not are in
    /// use, and count as used now: they do not stand before those that may for long.
    pub(crate) fn insert(
        &mut self,
        key: K,
        value: V,
        may_go: impl Fn(&V) -> bool,
    ) -> Result<Option<V>, V> {
        let mut forgotten = None;
        if self.values.len() >= self.capacity {
            let Some(oldest) = self.take_oldest(may_go) else {
                return Err(value);
            };
            forgotten = self.values.remove(&oldest);
        }
        self.uses += 1;
        self.order.insert(self.uses, key.clone());
        self.values.insert(key, (self.uses, value));
        Ok(forgotten.map(|(_, value)| value))
    }

    fn take_oldest(&mut self, may_go: impl Fn(&V) -> bool) -> Option<K> {
        for _ in 0..LOOKED_AT {
            let (_, key) = self.order.pop_first()?;
            let Some((used, _)) = self.values.get_mut(&key).filter(|(_, v)| !may_go(v)) else {
                return Some(key);
            };
            self.uses += 1;
            *used = self.uses;
            self.order.insert(self.uses, key);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_longest_ago_is_forgotten_first() {
        let mut lru = Lru::new(2);
        assert_eq!(lru.insert("a", 1, |_| true), Ok(None));
        assert_eq!(lru.insert("b", 2, |_| true), Ok(None));
        assert_eq!(lru.touch("a"), Some(&"a"));
        assert_eq!(lru.insert("c", 3, |_| true), Ok(Some(2)));
        assert_eq!((lru.get("a"), lru.get("b"), lru.len()), (Some(&1), None, 2));
    }

    #[test]
    fn what_may_not_go_stays_and_the_next_goes() {
        let mut lru = Lru::new(2);
        for n in 0..2 {
            assert_eq!(lru.insert(n, n, |_| true), Ok(None));
        }
        assert_eq!(lru.insert(2, 2, |n| *n != 0), Ok(Some(1)));
        assert_eq!(lru.insert(3, 3, |_| false), Err(3));
        assert_eq!(lru.len(), 2);
    }

    #[test]
    fn many_that_may_not_go_do_not_keep_those_out_for_whom_others_would() {
        let mut lru = Lru::new(100);
        for n in 0..100 {
            assert_eq!(lru.insert(n, n, |_| true), Ok(None));
        }
        let refused = (100..150).filter(|n| lru.insert(*n, *n, |n| *n >= 40).is_err());
        assert_eq!(refused.count(), 2, "one for each sixteen");
        assert_eq!((lru.len(), lru.order.len()), (100, 100));
        assert!((0..40).all(|n| lru.get(&n).is_some()));
    }
}
