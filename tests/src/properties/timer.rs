//! `Timers` against a list that is searched.

use fulmar_core::time::Instant;
use fulmar_core::timer::{TimerKey, Timers};

use super::script::Script;

struct Known {
    key: TimerKey,
    at: Instant,
    value: usize,
}

/// Runs the script on the heap and on a list, and compares all that can be seen after each step.
///
/// # Panics
///
/// Where they differ.
pub fn timer_ops(data: &[u8]) {
    let mut script = Script::new(data);
    let mut timers = Timers::new();
    let mut known: Vec<Known> = Vec::new();
    let mut gone: Vec<TimerKey> = Vec::new();
    let mut serial = 0;
    while !script.is_over() {
        match script.below(8) {
            0..=2 => {
                let at = instant(&mut script);
                known.push(Known {
                    key: timers.insert(at, serial),
                    at,
                    value: serial,
                });
                serial += 1;
            }
            3 | 4 if !known.is_empty() => {
                let place = script.below(known.len());
                let at = instant(&mut script);
                known[place].at = at;
                assert!(timers.reset(known[place].key, at));
            }
            5 if !known.is_empty() => {
                let place = script.below(known.len());
                let removed = known.swap_remove(place);
                assert_eq!(timers.remove(removed.key), Some(removed.value));
                gone.push(removed.key);
            }
            6 if !gone.is_empty() => {
                let stale = gone[script.below(gone.len())];
                assert_eq!(timers.get(stale), None);
                assert!(!timers.reset(stale, Instant::ORIGIN));
                assert_eq!(timers.remove(stale), None);
            }
            _ => expire_all(&mut timers, &mut known, instant(&mut script)),
        }
        if gone.is_empty() || known.is_empty() {
            assert_eq!(timers.poll_timeout(), earliest(&known));
        }
        let first = timers.poll_timeout().unwrap_or(Instant::MAX);
        assert!(
            first <= earliest(&known).unwrap_or(Instant::MAX),
            "would wake late"
        );
        assert_eq!(
            (timers.len(), timers.is_empty()),
            (known.len(), known.is_empty())
        );
        assert!(
            known
                .iter()
                .all(|one| timers.get(one.key) == Some(&one.value))
        );
    }
}

/// Few distinct instants, so that ties are common; one of them is never.
fn instant(script: &mut Script<'_>) -> Instant {
    match script.byte() {
        255 => Instant::MAX,
        byte => Instant::from_nanos(u64::from(byte)),
    }
}

fn earliest(known: &[Known]) -> Option<Instant> {
    known
        .iter()
        .map(|one| one.at)
        .filter(|&at| at < Instant::MAX)
        .min()
}

fn expire_all(timers: &mut Timers<usize>, known: &mut [Known], now: Instant) {
    while let Some(key) = timers.expire(now) {
        let first = earliest(known);
        let one = known
            .iter_mut()
            .find(|one| one.key == key)
            .expect("a registered key");
        assert_eq!(Some(one.at), first, "expired out of order");
        assert!(one.at <= now, "expired early");
        one.at = Instant::MAX;
    }
    assert!(
        earliest(known).is_none_or(|at| at > now),
        "left one that is due"
    );
    assert!(
        timers.poll_timeout().is_none_or(|at| at > now),
        "would be called again at once"
    );
}
