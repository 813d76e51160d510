//! What every action of a dial has to keep to.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use fulmar_core::dial::{Action, AttemptId, MIN_GAP};

use super::{Attempt, Driver};

impl Driver {
    pub(super) fn drain(&mut self) {
        while let Some(action) = self.dial.poll_action() {
            assert!(!self.over, "{action:?} after the end");
            match action {
                Action::Resolve(_) => {}
                Action::Connect(id, to) => self.started(id, to),
                Action::Abandon(id) => self.abandoned(id),
                Action::Won(id) => self.won(id),
                Action::Failed(fault) => {
                    assert!(self.flying.is_empty(), "failed with attempts under way");
                    assert_eq!(self.dial.fault(), Some(&fault));
                    self.over = true;
                }
            }
        }
    }

    fn abandoned(&mut self, id: AttemptId) {
        let before = self.flying.len();
        self.flying.retain(|attempt| attempt.id != id);
        // It may have been reported on while the order to abandon it waited.
        let crossed = !self.eager && self.landed.contains(&id);
        assert!(
            crossed || self.flying.len() < before,
            "abandoned what does not fly"
        );
        self.landed.push(id);
    }

    fn won(&mut self, id: AttemptId) {
        let winner = self.flying.pop();
        assert!(
            self.flying.is_empty(),
            "named the winner before closing the others"
        );
        assert_eq!(winner.map(|winner| winner.id), Some(id));
        self.winner = winner;
    }

    fn started(&mut self, id: AttemptId, to: SocketAddr) {
        let attempt = Attempt {
            id,
            addr: to.ip(),
            at: self.now,
        };
        assert!(self.winner.is_none(), "began after the race was won");
        assert!(
            !self.failed.contains(&attempt.addr),
            "tried again what had failed"
        );
        assert!(self.flying.len() < 6, "more than six under way");
        if self.eager {
            assert!(
                self.tried_in_race.insert(attempt.addr),
                "tried twice in one race"
            );
            assert!(self.now < self.deadline, "began after the deadline");
            match self.last {
                None => self.check_first(attempt.addr),
                Some(last) => self.check_gap(last),
            }
        }
        self.failed_since = false;
        self.last = Some(attempt);
        self.flying.push(attempt);
    }

    /// I4.1.
    fn check_gap(&self, last: Attempt) {
        let gap = self.now - last.at;
        assert!(gap >= MIN_GAP, "{gap:?} after the last attempt");
        // What was learned of an address may shorten its delay, to 100 ms.
        let bound = Duration::from_millis(if self.known.is_empty() { 250 } else { 100 });
        assert!(
            self.failed_since || gap >= bound,
            "{gap:?} without a failure"
        );
    }

    /// I4.4.
    fn check_first(&self, addr: IpAddr) {
        if !self.answered.split {
            return;
        }
        assert!(
            addr.is_ipv6() || !self.answered.good_v6,
            "IPv6 was there and {addr} went first"
        );
        if addr.is_ipv4() && !self.answered.v6_settled {
            let waited = self.answered.v4.map(|at| self.now - at);
            assert!(
                waited >= Some(Duration::from_millis(50)),
                "did not wait for AAAA"
            );
        }
    }
}
