//! I4.1 to I4.5, each alone: one race in a world that answers and connects by a script, written down
//! as it goes, and read afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use fulmar_core::dial::{Action, AttemptId, Config, Dial, Lookup, MIN_GAP, Record};
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
}

/// I4.1: attempts begin at least 10 ms apart, and 250 ms unless the one before failed.
///
/// # Panics
///
/// Where they do not.
pub fn i4_1_attempts_keep_their_distance(data: &[u8]) {
    let race = Race::run(data);
    let starts: Vec<Instant> = race.starts().map(|(at, ..)| at).collect();
    for pair in starts.windows(2) {
        let (last, next) = (pair[0], pair[1]);
        assert!(next - last >= MIN_GAP);
        let failed = |(at, came): &(Instant, Came)| {
            matches!(came, Came::Refused(_)) && *at >= last && *at <= next
        };
        let failed = race.came.iter().any(failed);
        assert!(failed || next - last >= Duration::from_millis(250));
    }
}

/// I4.2: no address is tried twice in a race.
///
/// # Panics
///
/// Where one is.
pub fn i4_2_no_address_is_tried_twice(data: &[u8]) {
    let mut tried = BTreeSet::new();
    for (_, _, addr) in Race::run(data).starts() {
        assert!(tried.insert(addr), "{addr} twice");
    }
}

/// I4.3: at most one wins, and all others are closed right before it is named.
///
/// # Panics
///
/// Where it is not so.
pub fn i4_3_one_wins_and_the_others_are_closed_with_it(data: &[u8]) {
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
    assert!(winners.count() <= 1);
}

/// I4.4: with AAAA within 50 ms of A, the first attempt goes to IPv6.
///
/// # Panics
///
/// Where it does not.
pub fn i4_4_ipv6_goes_first_if_it_answers_within_fifty_milliseconds(data: &[u8]) {
    let race = Race::run(data);
    let (Some((_, _, first)), Some(v6)) = (race.starts().next(), race.answered[1]) else {
        return;
    };
    let in_time = race.answered[0].is_none_or(|v4| v6 < v4 + Duration::from_millis(50));
    assert!(!in_time || first.is_ipv6());
}

/// I4.5: by its deadline a race has won or failed, and afterwards nothing begins.
///
/// # Panics
///
/// Where it has not, or something does.
pub fn i4_5_a_race_ends_by_its_deadline_and_begins_nothing_after(data: &[u8]) {
    let race = Race::run(data);
    let ends: Vec<_> = race.did.iter().map(|(at, did)| (*at, did)).collect();
    let Some((at, Did::Won(_) | Did::Failed)) = ends.last() else {
        panic!("no end: {ends:?}");
    };
    assert!(*at <= race.deadline);
    let is_end = |(_, did): &&(Instant, &Did)| matches!(did, Did::Won(_) | Did::Failed);
    assert_eq!(ends.iter().filter(is_end).count(), 1);
}

impl Race {
    fn run(data: &[u8]) -> Self {
        let mut script = Script::new(data);
        let ms = |ms: usize| Instant::from_nanos(ms as u64 * 1_000_000);
        let deadline = ms(1 + script.below(6000));
        let (end, config) = (Some(deadline), Config::default());
        let mut dial = Dial::by_name(Instant::ORIGIN, 443, Lookup::Split, end, config);
        let mut race = Self {
            deadline,
            did: Vec::new(),
            came: Vec::new(),
            answered: [None; 2],
        };
        let mut events: BTreeMap<(Instant, Came), Vec<IpAddr>> = BTreeMap::new();
        for is_v6 in [false, true] {
            let addrs = (0..script.below(5)).map(|n| address(is_v6, n)).collect();
            if script.below(8) > 0 {
                events.insert((ms(script.below(120)), Came::Answer(is_v6)), addrs);
            }
        }
        let mut now = Instant::ORIGIN;
        loop {
            for (id, addr) in race.drain(&mut dial, now) {
                let at = now + Duration::from_millis(1 + script.below(400) as u64);
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

    fn tell(&mut self, dial: &mut Dial, now: Instant, came: Came, addrs: Vec<IpAddr>) {
        self.came.push((now, came));
        match came {
            Came::Answer(is_v6) => {
                self.answered[usize::from(is_v6)] = (!addrs.is_empty()).then_some(now);
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

fn address(is_v6: bool, n: usize) -> IpAddr {
    if is_v6 {
        IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, n as u16])
    } else {
        IpAddr::from([192, 0, 2, n as u8])
    }
}
