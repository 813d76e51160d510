//! Happy eyeballs under every order of answers, failures and timers.

mod checks;
pub mod race;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use fulmar_core::dial::{AttemptId, Config, Dial, Known, Lookup, Record};
use fulmar_core::fault::{Fault, FaultKind, Phase};
use fulmar_core::time::Instant;

use super::script::Script;

/// What a driver knows of one attempt.
#[derive(Clone, Copy)]
struct Attempt {
    id: AttemptId,
    addr: IpAddr,
    at: Instant,
}

/// A driver that believes nothing.
struct Driver {
    dial: Dial,
    now: Instant,
    deadline: Instant,
    /// Whether actions are taken after each step, so that they are known to be of that step.
    eager: bool,
    flying: Vec<Attempt>,
    landed: Vec<AttemptId>,
    last: Option<Attempt>,
    failed_since: bool,
    tried_in_race: BTreeSet<IpAddr>,
    failed: BTreeSet<IpAddr>,
    known: Vec<Known>,
    answered: Answered,
    winner: Option<Attempt>,
    over: bool,
}

/// What the lookups brought.
#[derive(Default)]
struct Answered {
    split: bool,
    /// The first IPv4 address.
    v4: Option<Instant>,
    /// Some AAAA answer, a failure included.
    v6_settled: bool,
    /// An IPv6 address that nothing speaks against.
    good_v6: bool,
}

/// Drives one dial by the script, then by its timers alone, and checks I4.1 to I4.5 of the policies
/// and the contract of timers on the way.
///
/// # Panics
///
/// Where one is violated.
pub fn dial_steps(data: &[u8]) {
    let mut script = Script::new(data);
    let mut driver = Driver::new(&mut script);
    driver.drain();
    // Each step may let the dial begin something, and a dial has no end of steps.
    while !script.is_over() {
        driver.step(&mut script);
        if driver.eager || script.below(4) == 0 {
            driver.drain();
        }
    }
    driver.finish();
}

impl Driver {
    fn new(script: &mut Script<'_>) -> Self {
        let now = Instant::from_nanos(script.below(1000) as u64);
        let deadline = now + millis(script, 8000);
        let eager = script.below(3) > 0;
        let (config, end) = (Config::default(), Some(deadline));
        let lookup = match script.below(6) {
            0 => Lookup::Only(Record::Any),
            1 => Lookup::Only(Record::V4),
            2 => Lookup::Only(Record::V6),
            _ => Lookup::Split,
        };
        let mut answered = Answered::default();
        let dial = if script.below(6) == 0 {
            let addrs = addresses(script);
            Dial::to(now, &addrs, 443, end, config, &[])
        } else {
            answered.split = lookup == Lookup::Split;
            Dial::by_name(now, 443, lookup, end, config)
        };
        Self {
            dial,
            now,
            deadline,
            eager,
            flying: Vec::new(),
            landed: Vec::new(),
            last: None,
            failed_since: false,
            tried_in_race: BTreeSet::new(),
            failed: BTreeSet::new(),
            known: Vec::new(),
            answered,
            winner: None,
            over: false,
        }
    }

    fn step(&mut self, script: &mut Script<'_>) {
        match script.below(12) {
            0..=2 => self.fire(),
            3 | 4 => self.wait(script),
            5 | 6 => self.answer(script),
            7 | 8 => self.fail_one(script),
            9 => self.connect_one(script),
            10 => self.fail_the_winner(script),
            _ => self.report_a_landed_one(script),
        }
    }

    /// Lets the dial's own timer fire.
    fn fire(&mut self) {
        if let Some(due) = self.dial.poll_timeout() {
            self.now = self.now.max(due);
        }
        self.timeout();
    }

    /// R0.3: no busy loop, and nothing the second time.
    fn timeout(&mut self) {
        let idle = self.dial.poll_timeout().is_none_or(|due| due > self.now);
        if self.eager && idle {
            self.drain();
        }
        self.dial.handle_timeout(self.now);
        if self.eager && idle {
            assert_eq!(self.dial.poll_action(), None, "acted before its time");
        }
        self.check_timer();
        if self.eager {
            self.drain();
            self.dial.handle_timeout(self.now);
            assert_eq!(self.dial.poll_action(), None, "acted twice");
            self.check_timer();
        }
        if self.now >= self.deadline {
            let decided = self.dial.winner().is_some() || self.dial.fault().is_some();
            assert!(decided, "no outcome by the deadline");
        }
    }

    fn check_timer(&self) {
        let due = self.dial.poll_timeout();
        assert!(
            due.is_none_or(|due| due > self.now),
            "{due:?} at {:?}",
            self.now
        );
    }

    fn wait(&mut self, script: &mut Script<'_>) {
        self.now = self.now + millis(script, 300);
        self.timeout();
    }

    fn answer(&mut self, script: &mut Script<'_>) {
        let record = [Record::V4, Record::V6, Record::Any][script.below(3)];
        let mut addrs = addresses(script);
        addrs.retain(|addr| record == Record::Any || addr.is_ipv6() == (record == Record::V6));
        if script.below(3) == 0 {
            self.remember(script, &addrs);
        }
        let good = |known: &[Known], addr: &IpAddr| known.iter().all(|k| k.addr != *addr || !k.bad);
        if self.last.is_none() {
            self.answered.good_v6 |= addrs
                .iter()
                .any(|addr| addr.is_ipv6() && good(&self.known, addr));
            if addrs.iter().any(IpAddr::is_ipv4) {
                self.answered.v4.get_or_insert(self.now);
            }
        }
        self.answered.v6_settled |= record != Record::V4;
        // Its order counts for more than the families'.
        self.answered.split &= record != Record::Any;
        let failed = Fault::new(FaultKind::NameFailed, Phase::Dns);
        let answer = if addrs.is_empty() {
            Err(failed)
        } else {
            Ok(addrs)
        };
        self.dial.handle_answer(self.now, record, answer);
    }

    fn remember(&mut self, script: &mut Script<'_>, addrs: &[IpAddr]) {
        for addr in addrs {
            if self.known.iter().all(|known| known.addr != *addr) {
                let rtt = Some(millis(script, 2000)).filter(|rtt| rtt.as_millis() % 2 == 0);
                let bad = script.below(2) == 0;
                self.known.push(Known {
                    addr: *addr,
                    bad,
                    rtt,
                });
            }
        }
        self.dial.remember(&self.known);
    }

    fn fail_one(&mut self, script: &mut Script<'_>) {
        if self.flying.is_empty() {
            return;
        }
        let attempt = self.flying.swap_remove(script.below(self.flying.len()));
        self.landed.push(attempt.id);
        if self.eager {
            self.note_failure(attempt);
        }
        self.dial.handle_failed(
            self.now,
            attempt.id,
            Fault::new(FaultKind::Refused, Phase::Connect),
        );
    }

    fn connect_one(&mut self, script: &mut Script<'_>) {
        if let Some(attempt) = pick(&self.flying, script) {
            self.dial.handle_connected(self.now, attempt.id);
        }
    }

    fn fail_the_winner(&mut self, script: &mut Script<'_>) {
        let Some(winner) = self.winner.take() else {
            return;
        };
        let kinds = [
            FaultKind::Reset,
            FaultKind::Eof,
            FaultKind::TimedOut,
            FaultKind::Certificate,
        ];
        let kind = kinds[script.below(kinds.len())];
        self.landed.push(winner.id);
        self.note_failure(winner);
        self.tried_in_race.clear();
        self.dial
            .handle_failed(self.now, winner.id, Fault::new(kind, Phase::Tls));
        let stopped = self.dial.fault().map(|fault| fault.kind) == Some(FaultKind::Certificate);
        assert!(
            stopped || kind != FaultKind::Certificate,
            "went on after a certificate"
        );
    }

    fn note_failure(&mut self, attempt: Attempt) {
        self.failed_since = true;
        self.failed.insert(attempt.addr);
    }

    /// Reports on attempts that are over must change nothing.
    fn report_a_landed_one(&mut self, script: &mut Script<'_>) {
        self.drain();
        let Some(id) = pick(&self.landed, script) else {
            return;
        };
        // Time is brought up to date first, for what is due is due.
        self.timeout();
        self.drain();
        let before = (self.dial.poll_timeout(), self.dial.failures().len());
        if script.below(2) == 0 {
            self.dial.handle_connected(self.now, id);
        } else {
            self.dial
                .handle_failed(self.now, id, Fault::new(FaultKind::Reset, Phase::Tls));
        }
        assert_eq!(self.dial.poll_action(), None, "heeded a stale report");
        assert_eq!(
            before,
            (self.dial.poll_timeout(), self.dial.failures().len())
        );
    }

    /// I4.5: its timers alone bring it to an end.
    fn finish(&mut self) {
        for _ in 0..1000 {
            if self.dial.poll_timeout().is_none() {
                break;
            }
            self.fire();
            self.drain();
        }
        self.drain();
        let outcomes = (self.dial.winner().is_some(), self.dial.fault().is_some());
        assert!(outcomes.0 != outcomes.1, "no single outcome: {outcomes:?}");
        assert_eq!(outcomes.1, self.over);
    }
}

fn pick<T: Copy>(from: &[T], script: &mut Script<'_>) -> Option<T> {
    if from.is_empty() {
        return None;
    }
    from.get(script.below(from.len())).copied()
}

fn millis(script: &mut Script<'_>, below: usize) -> Duration {
    Duration::from_millis(script.below(below) as u64)
}

/// A few addresses out of sixteen, of either family.
fn addresses(script: &mut Script<'_>) -> Vec<IpAddr> {
    let count = script.below(6);
    let address = |_| match script.below(16) {
        n @ 0..8 => IpAddr::from([192, 0, 2, n as u8]),
        n => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, n as u16]),
    };
    (0..count).map(address).collect()
}
