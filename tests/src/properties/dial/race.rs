//! I4.1 to I4.5, each alone: one race in a world that answers and connects by a script, written down
//! as it goes, and read afterwards. Each tells whether the race had what the invariant is about: of
//! one that began a single attempt nothing is learned of the distance between two.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use fulmar_core::dial::{Action, AttemptId, Config, Dial, Known, Lookup, MIN_GAP, Record};
use fulmar_core::fault::{Fault, FaultKind, Phase};
use fulmar_core::time::Instant;

use super::super::script::Script;

/// What the dial did.
#[derive(Debug)]
enum Did {
    Began(AttemptId, IpAddr),
    Closed(AttemptId),
    Won(AttemptId),
    Failed,
}

/// What the world did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Came {
    Answer(bool),
    Refused(AttemptId),
    Connected(AttemptId),
}

struct Race {
    deadline: Instant,
    did: Vec<(Instant, Did)>,
    came: Vec<(Instant, Came)>,
    /// When the answers came with addresses: IPv4, IPv6.
    answered: [Option<Instant>; 2],
    /// How long the next attempt waits behind one to an address of which something is known.
    delays: BTreeMap<IpAddr, Duration>,
    /// An answer named an address that was named before.
    has_twins: bool,
    named: BTreeSet<IpAddr>,
    bad: BTreeSet<IpAddr>,
}

/// I4.1: attempts begin at least 10 ms apart, and unless one failed in between, at least 250 ms, or
/// 1.5 times what the address of the former takes, from 100 ms to 2 s.
///
/// # Panics
///
/// Where they do not.
pub fn i4_1_attempts_keep_their_distance(data: &[u8]) -> bool {
    let race = Race::run(data);
    let starts: Vec<_> = race.starts().map(|(at, _, addr)| (at, addr)).collect();
    let mut waited = false;
    for pair in starts.windows(2) {
        let ((last, addr), (next, _)) = (pair[0], pair[1]);
        assert!(next - last >= MIN_GAP);
        let failed = |(at, came): &(Instant, Came)| {
            matches!(came, Came::Refused(_)) && *at >= last && *at <= next
        };
        let failed = race.came.iter().any(failed);
        let delay = race.delays.get(&addr).copied();
        let delay = delay.unwrap_or(ms(250));
        assert!(failed || next - last >= delay);
        waited |= !failed;
    }
    waited
}

/// I4.2: no address is tried twice in a race.
///
/// # Panics
///
/// Where one is.
pub fn i4_2_no_address_is_tried_twice(data: &[u8]) -> bool {
    let race = Race::run(data);
    let mut tried = BTreeSet::new();
    for (_, _, addr) in race.starts() {
        assert!(tried.insert(addr.to_canonical()), "{addr} twice");
    }
    race.has_twins
}

/// I4.3: at most one wins, and all others are closed right before it is named.
///
/// # Panics
///
/// Where it is not so.
pub fn i4_3_one_wins_and_the_others_are_closed_with_it(data: &[u8]) -> bool {
    let race = Race::run(data);
    let mut open = BTreeSet::new();
    for (at, did) in &race.did {
        let refused = |id: &AttemptId| {
            let mut came = race.came.iter();
            came.any(|(when, came)| when <= at && *came == Came::Refused(*id))
        };
        open.retain(|id| !refused(id));
        match did {
            Did::Began(id, _) => assert!(open.insert(*id)),
            Did::Closed(id) => assert!(open.remove(id)),
            Did::Won(id) => {
                assert_eq!(open.iter().collect::<Vec<_>>(), [id]);
                assert!(race.came.contains(&(*at, Came::Connected(*id))));
            }
            Did::Failed => {}
        }
    }
    let winners = race
        .did
        .iter()
        .filter(|(_, did)| matches!(did, Did::Won(_)));
    let winners = winners.count();
    assert!(winners <= 1);
    let has_closed = |(_, did): &(Instant, Did)| matches!(did, Did::Closed(_));
    winners == 1 && race.did.iter().any(has_closed)
}

/// I4.4: with AAAA within 50 ms of A, the first attempt goes to IPv6.
///
/// # Panics
///
/// Where it does not.
pub fn i4_4_ipv6_goes_first_if_it_answers_within_fifty_milliseconds(data: &[u8]) -> bool {
    let race = Race::run(data);
    let (Some((_, _, first)), Some(v6)) = (race.starts().next(), race.answered[1]) else {
        return false;
    };
    let in_time = |v4| v6 < v4 + ms(50);
    let in_time = race.answered[0].is_none_or(in_time);
    // What failed a short while ago goes last, whatever its family.
    let is_known_bad = !race.bad.is_empty();
    assert!(!in_time || is_known_bad || first.is_ipv6());
    in_time && !is_known_bad && race.answered[0].is_some_and(|v4| v4 < v6)
}

/// I4.5: by its deadline a race has won or failed, and afterwards nothing begins.
///
/// # Panics
///
/// Where it has not, or something does.
pub fn i4_5_a_race_ends_by_its_deadline_and_begins_nothing_after(data: &[u8]) -> bool {
    let race = Race::run(data);
    let ends: Vec<_> = race.did.iter().map(|(at, did)| (*at, did)).collect();
    let Some((at, Did::Won(_) | Did::Failed)) = ends.last() else {
        panic!("no end: {ends:?}");
    };
    assert!(*at <= race.deadline);
    let is_end = |(_, did): &&(Instant, &Did)| matches!(did, Did::Won(_) | Did::Failed);
    assert_eq!(ends.iter().filter(is_end).count(), 1);
    *at == race.deadline
}

impl Race {
    fn run(data: &[u8]) -> Self {
        let mut script = Script::new(data);
        let at = |millis: usize| Instant::ORIGIN + ms(millis as u64);
        let deadline = at(1 + script.below(6000));
        let (end, config) = (Some(deadline), Config::default());
        let mut dial = Dial::by_name(Instant::ORIGIN, 443, Lookup::Split, end, config);
        let mut race = Self {
            deadline,
            did: Vec::new(),
            came: Vec::new(),
            answered: [None; 2],
            delays: BTreeMap::new(),
            has_twins: false,
            named: BTreeSet::new(),
            bad: BTreeSet::new(),
        };
        race.remember(&mut script, &mut dial);
        let mut events: BTreeMap<(Instant, Came), Vec<IpAddr>> = BTreeMap::new();
        for is_v6 in [false, true] {
            let count = script.below(5);
            let addrs = (0..count).map(|_| address(&mut script, is_v6)).collect();
            if script.below(8) > 0 {
                events.insert((at(script.below(120)), Came::Answer(is_v6)), addrs);
            }
        }
        let mut now = Instant::ORIGIN;
        loop {
            for (id, addr) in race.drain(&mut dial, now) {
                let at = now + ms(1 + script.below(400) as u64);
                let fate = match script.below(4) {
                    0 => Came::Connected(id),
                    1 => Came::Refused(id),
                    _ => continue,
                };
                events.insert((at, fate), vec![addr]);
            }
            let next = events.first_key_value().map(|(key, _)| key.0);
            let Some(at) = [next, dial.poll_timeout()].into_iter().flatten().min() else {
                return race;
            };
            now = now.max(at);
            if next == Some(at)
                && let Some(((_, came), addrs)) = events.pop_first()
            {
                race.tell(&mut dial, now, came, addrs);
            }
            dial.handle_timeout(now);
        }
    }

    /// What earlier races taught.
    fn remember(&mut self, script: &mut Script<'_>, dial: &mut Dial) {
        for _ in 0..script.below(4) {
            let is_v6 = script.below(2) == 0;
            let addr = address(script, is_v6).to_canonical();
            let rtt = Duration::from_millis(script.below(2_000) as u64);
            if script.below(4) == 0 {
                self.bad.insert(addr);
                self.delays.remove(&addr);
                dial.remember(&[Known::bad(addr)]);
            } else {
                let delay = (rtt + rtt / 2).clamp(ms(100), ms(2_000));
                self.bad.remove(&addr);
                self.delays.insert(addr, delay);
                dial.remember(&[Known::within(addr, rtt)]);
            }
        }
    }

    fn tell(&mut self, dial: &mut Dial, now: Instant, came: Came, addrs: Vec<IpAddr>) {
        self.came.push((now, came));
        match came {
            Came::Answer(is_v6) => {
                let has_family = addrs
                    .iter()
                    .any(|addr| addr.to_canonical().is_ipv6() == is_v6);
                self.answered[usize::from(is_v6)] = has_family.then_some(now);
                for addr in &addrs {
                    self.has_twins |= !self.named.insert(addr.to_canonical());
                }
                let record = if is_v6 { Record::V6 } else { Record::V4 };
                dial.handle_answer(now, record, Ok(addrs));
            }
            Came::Refused(id) => {
                dial.handle_failed(now, id, Fault::new(FaultKind::Refused, Phase::Connect));
            }
            Came::Connected(id) => dial.handle_connected(now, id),
        }
    }

    fn drain(&mut self, dial: &mut Dial, now: Instant) -> Vec<(AttemptId, IpAddr)> {
        let mut began = Vec::new();
        while let Some(action) = dial.poll_action() {
            let did = match action {
                Action::Resolve(_) => continue,
                Action::Connect(id, to) => {
                    began.push((id, SocketAddr::ip(&to)));
                    Did::Began(id, to.ip())
                }
                Action::Abandon(id) => Did::Closed(id),
                Action::Won(id) => Did::Won(id),
                Action::Failed(_) => Did::Failed,
            };
            self.did.push((now, did));
        }
        began
    }

    fn starts(&self) -> impl Iterator<Item = (Instant, AttemptId, IpAddr)> {
        self.did.iter().filter_map(|(at, did)| match did {
            Did::Began(id, addr) => Some((*at, *id, *addr)),
            _ => None,
        })
    }
}

/// One of few, so that they come again: in the other spelling, too.
fn address(script: &mut Script<'_>, is_v6: bool) -> IpAddr {
    match (is_v6, script.below(5) as u16) {
        (true, 4) => IpAddr::from([0, 0, 0, 0, 0, 0xffff, 0xc000, 0x0200]),
        (true, n) => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, n]),
        (false, n) => IpAddr::from([192, 0, 2, n as u8]),
    }
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
