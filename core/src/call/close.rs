//! A call that ends where no decision about another attempt is asked for: the body of a response
//! fails that the caller has, or this side gives the call up.

use crate::fault::{Fate, Phase};
use crate::retry::{AttemptFacts, Cause, StopReason, classify};
use crate::time::Instant;

use super::{Call, Outcome};

impl Call {
    /// Notes that the body of the response failed whose head the caller has, and returns why nothing
    /// follows: there is no silent restart. Neither the budget nor the user's rule is asked.
    ///
    /// The attempt's record says so; where its status was recorded before, it is the same record, and
    /// what the status said of the request holds. A reason for which there was no other attempt stays
    /// the call's.
    pub fn handle_lost_body(
        &mut self,
        now: Instant,
        facts: &AttemptFacts,
        overall: Option<Instant>,
    ) -> StopReason {
        let rare = self.rare.as_ref();
        let fate = rare.and_then(|rare| rare.history.fate_of(self.number));
        self.break_off(now, facts, fate.unwrap_or(Fate::Processed), overall)
    }

    /// Notes an attempt that ends by this side's doing: the client is shut down, or the request
    /// cannot be sent. Nothing follows, and the user's rule is not asked.
    pub fn handle_broken_off(
        &mut self,
        now: Instant,
        facts: &AttemptFacts,
        overall: Option<Instant>,
    ) -> StopReason {
        let fate = classify(self.request, facts, &self.policy).fate();
        self.break_off(now, facts, fate, overall)
    }

    fn break_off(
        &mut self,
        now: Instant,
        facts: &AttemptFacts,
        fate: Fate,
        overall: Option<Instant>,
    ) -> StopReason {
        self.fate = self.fate.max(fate);
        self.record(
            now,
            facts.reused,
            (facts.accepted, facts.response_bytes),
            Outcome::Failed(facts.cause.clone()),
            fate,
        );
        let is_expired = facts.cause == Cause::Timeout(Phase::Total)
            || overall.is_some_and(|overall| now >= overall);
        self.close(is_expired)
    }

    /// Ends the call between two attempts or before the first: its client is shut down, there is no
    /// room for it, or nothing drives it. Returns why nothing follows; a reason that the call has
    /// stays. `waited_for` is the limit that passed, if it was one.
    pub fn give_up(&mut self, waited_for: Option<Phase>) -> StopReason {
        self.close(waited_for == Some(Phase::Total))
    }

    fn close(&mut self, is_expired: bool) -> StopReason {
        let reason = match self.reason {
            Some(reason) => reason,
            None if self.is_cancelled => StopReason::Cancelled,
            None if is_expired => StopReason::DeadlineExpired,
            None => StopReason::NotRetryable,
        };
        self.reason = Some(reason);
        self.is_stopped = true;
        reason
    }
}
