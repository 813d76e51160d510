//! The addresses that have not been tried, and which is next.
//!
//! Every address has a tier: those nothing speaks against come first, then those that failed a
//! short while ago, then those whose attempt was given up for another's sake. Within a tier the
//! families take turns (RFC 8305 section 4, with a first address family count of 1), and within a
//! family the resolver's order holds, unless another address is known to be clearly nearer.
//!
//! An address to avoid stands aside, and comes in only as the one address there is.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use super::config::Known;

/// How many addresses of one family a dial considers; more are ignored.
const MAX_PER_FAMILY: usize = 32;

/// About how many addresses something is remembered; more are ignored.
const MAX_KNOWN: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl Family {
    fn of(addr: IpAddr) -> Self {
        if addr.is_ipv6() { Self::V6 } else { Self::V4 }
    }

    fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tier {
    Good,
    Bad,
    Deferred,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    tier: Tier,
    known: Known,
}

/// Addresses in waiting.
#[derive(Debug)]
pub(super) struct Queue {
    v4: VecDeque<Entry>,
    v6: VecDeque<Entry>,
    /// Every address that was ever put in: none is tried a second time because it came twice.
    seen: Vec<IpAddr>,
    known: BTreeMap<IpAddr, Known>,
    avoid: Option<IpAddr>,
    /// Whose turn it is.
    turn: Family,
}

impl Queue {
    pub(super) fn new(avoid: Option<IpAddr>) -> Self {
        Self {
            v4: VecDeque::new(),
            v6: VecDeque::new(),
            seen: Vec::new(),
            known: BTreeMap::new(),
            avoid: avoid.map(|addr| addr.to_canonical()),
            // RFC 6724 would need the source addresses; without them, IPv6 is preferred.
            turn: Family::V6,
        }
    }

    pub(super) fn remember(&mut self, known: &[Known]) {
        for fact in known {
            let addr = fact.addr.to_canonical();
            if self.known.len() < MAX_KNOWN || self.known.contains_key(&addr) {
                self.known.insert(addr, Known { addr, ..*fact });
            }
        }
    }

    /// Lets the family of that address go first: its resolver knows the source addresses and has
    /// sorted by them.
    pub(super) fn lead_with(&mut self, addr: IpAddr) {
        self.turn = Family::of(addr.to_canonical());
    }

    /// Adds an address, unless it was there before or its family has too many.
    pub(super) fn push(&mut self, addr: IpAddr) {
        // `::ffff:192.0.2.1` is 192.0.2.1 on the wire.
        let addr = addr.to_canonical();
        let family = Family::of(addr);
        let siblings = self.seen.iter().filter(|seen| Family::of(**seen) == family);
        if siblings.count() >= MAX_PER_FAMILY || self.seen.contains(&addr) {
            return;
        }
        self.seen.push(addr);
        if self.avoid != Some(addr) {
            self.admit(addr);
        }
    }

    /// There are no addresses but those that were put in.
    pub(super) fn complete(&mut self) {
        if let ([only], Some(addr)) = (&self.seen[..], self.avoid)
            && *only == addr
        {
            self.avoid = None;
            self.admit(addr);
        }
    }

    fn admit(&mut self, addr: IpAddr) {
        let unknown = Known {
            addr,
            bad: false,
            rtt: None,
        };
        let known = self.known.get(&addr).copied().unwrap_or(unknown);
        let tier = if known.bad { Tier::Bad } else { Tier::Good };
        self.insert(Entry { tier, known });
    }

    /// Puts back an address whose attempt was given up before it had a result.
    pub(super) fn defer(&mut self, known: Known) {
        self.insert(Entry {
            tier: Tier::Deferred,
            known,
        });
    }

    /// Takes the next address.
    pub(super) fn pop(&mut self) -> Option<Known> {
        let family = self.next_family();
        let entry = self.list(family).pop_front()?;
        self.turn = family.other();
        Some(entry.known)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// How many different addresses were ever put in.
    pub(super) fn seen(&self) -> usize {
        self.seen.len()
    }

    fn next_family(&self) -> Family {
        match (self.v4.front(), self.v6.front()) {
            (Some(_), None) => Family::V4,
            (None, Some(_)) => Family::V6,
            (Some(v4), Some(v6)) if v4.tier < v6.tier => Family::V4,
            (Some(v4), Some(v6)) if v6.tier < v4.tier => Family::V6,
            _ => self.turn,
        }
    }

    fn list(&mut self, family: Family) -> &mut VecDeque<Entry> {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }

    fn insert(&mut self, entry: Entry) {
        let list = self.list(Family::of(entry.known.addr));
        let behind = list.iter().rposition(|other| !goes_before(&entry, other));
        list.insert(behind.map_or(0, |place| place + 1), entry);
    }
}

/// Whether a newcomer overtakes the one before it.
fn goes_before(newcomer: &Entry, other: &Entry) -> bool {
    if newcomer.tier != other.tier {
        return newcomer.tier < other.tier;
    }
    match (newcomer.known.rtt, other.known.rtt) {
        // Less than a third apart says nothing.
        (Some(mine), Some(theirs)) => mine.saturating_mul(13) < theirs.saturating_mul(10),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn addr(text: &str) -> IpAddr {
        text.parse().unwrap_or(IpAddr::from([0; 4]))
    }

    fn drain(queue: &mut Queue) -> Vec<String> {
        std::iter::from_fn(|| queue.pop())
            .map(|known| known.addr.to_string())
            .collect()
    }

    fn order(known: &[Known], addrs: &[&str]) -> Vec<String> {
        let mut queue = Queue::new(None);
        queue.remember(known);
        for text in addrs {
            queue.push(addr(text));
        }
        drain(&mut queue)
    }

    #[test]
    fn families_take_turns_and_ipv6_goes_first() {
        assert_eq!(
            order(&[], &["4.1.1.1", "4.2.2.2", "6::1"]),
            ["6::1", "4.1.1.1", "4.2.2.2"]
        );
    }

    #[test]
    fn bad_addresses_go_last_whatever_their_family() {
        let bad = [Known::bad(addr("6::1")), Known::bad(addr("6::2"))];
        let addrs = ["6::1", "6::2", "4.1.1.1", "4.2.2.2"];
        assert_eq!(order(&bad, &addrs), ["4.1.1.1", "4.2.2.2", "6::1", "6::2"]);
        let bad = [Known::bad(addr("4.1.1.1"))];
        let addrs = ["4.1.1.1", "6::1", "6::2"];
        assert_eq!(order(&bad, &addrs), ["6::1", "6::2", "4.1.1.1"]);
    }

    #[test]
    fn if_all_are_bad_the_order_is_the_usual_one() {
        let addrs = ["6::1", "6::2", "4.1.1.1"];
        let bad = addrs.map(|text| Known::bad(addr(text)));
        assert_eq!(order(&bad, &addrs), order(&[], &addrs));
    }

    #[test]
    fn a_clearly_nearer_address_goes_first_and_a_slightly_nearer_one_does_not() {
        let within = |text, ms| Known::within(addr(text), Duration::from_millis(ms));
        let known = [
            within("4.1.1.1", 100),
            within("4.2.2.2", 80),
            within("4.3.3.3", 50),
        ];
        let addrs = ["4.1.1.1", "4.2.2.2", "4.3.3.3", "4.4.4.4"];
        assert_eq!(
            order(&known, &addrs),
            ["4.3.3.3", "4.1.1.1", "4.2.2.2", "4.4.4.4"]
        );
    }

    #[test]
    fn an_address_to_avoid_comes_in_as_the_only_one_there_is_or_not_at_all() {
        for (addrs, expected) in [
            (&["4.1.1.1"][..], &["4.1.1.1"][..]),
            (&["::ffff:4.1.1.1", "4.1.1.1"], &["4.1.1.1"]),
            (&["4.1.1.1", "6::1"], &["6::1"]),
            (&["4.2.2.2", "4.1.1.1"], &["4.2.2.2"]),
            (&["4.2.2.2"], &["4.2.2.2"]),
        ] {
            let mut queue = Queue::new(Some(addr("4.1.1.1")));
            for text in addrs {
                queue.push(addr(text));
            }
            queue.complete();
            queue.complete();
            assert_eq!(drain(&mut queue), expected, "{addrs:?}");
        }
    }

    #[test]
    fn an_address_counts_once_in_either_spelling() {
        assert_eq!(
            order(&[], &["::ffff:4.1.1.1", "4.1.1.1", "4.1.1.1"]),
            ["4.1.1.1"]
        );
    }

    #[test]
    fn a_flood_of_one_family_leaves_room_for_the_other() {
        let mut queue = Queue::new(None);
        for n in 0..1000u16 {
            queue.push(IpAddr::from([6, 0, 0, 0, 0, 0, 0, n]));
        }
        queue.push(addr("4.1.1.1"));
        assert_eq!(queue.seen(), MAX_PER_FAMILY + 1);
        assert_eq!(drain(&mut queue)[1], "4.1.1.1");
    }

    #[test]
    fn nearer_by_three_tenths_is_not_yet_clearly_nearer() {
        let within = |text, ms| Known::within(addr(text), Duration::from_millis(ms));
        let order_of = |ms| {
            let known = [within("4.1.1.1", 130), within("4.2.2.2", ms)];
            order(&known, &["4.1.1.1", "4.2.2.2"])
        };
        assert_eq!(order_of(100), ["4.1.1.1", "4.2.2.2"]);
        assert_eq!(order_of(99), ["4.2.2.2", "4.1.1.1"]);
    }

    #[test]
    fn what_is_known_of_an_address_is_known_in_either_spelling() {
        let bad = [Known::bad(addr("::ffff:4.1.1.1"))];
        let addrs = ["4.1.1.1", "4.2.2.2"];
        assert_eq!(order(&bad, &addrs), ["4.2.2.2", "4.1.1.1"]);
    }

    #[test]
    fn of_too_many_known_addresses_the_last_are_ignored() {
        let far = |n: u16| IpAddr::from([6, 0, 0, 0, 0, 0, 0, n]);
        let full = u16::try_from(MAX_KNOWN).unwrap_or_default();
        let mut queue = Queue::new(None);
        queue.remember(&(0..=full).map(|n| Known::bad(far(n))).collect::<Vec<_>>());
        for n in [full - 1, full] {
            queue.push(far(n));
        }
        let order = [far(full), far(full - 1)].map(|addr| addr.to_string());
        assert_eq!(drain(&mut queue), order);
    }
}
