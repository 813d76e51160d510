//! A response that the caller has, and whose body then fails.

use crate::fault::{Fate, Phase};
use crate::retry::{AttemptFacts, Cause, StopReason};
use crate::time::Instant;

use super::{Call, Outcome};

impl Call {
    /// Notes that the body of the response failed whose head the caller has, and returns why nothing
    /// follows: there is no silent restart. Neither the budget nor the user's rule is asked.
    ///
    /// The attempt's record says so; where its status was recorded before, it is the same record. A
    /// reason for which there was no other attempt stays the call's.
    pub fn handle_lost_body(
        &mut self,
        now: Instant,
        facts: &AttemptFacts,
        overall: Option<Instant>,
    ) -> StopReason {
        self.fate = Fate::Processed;
        self.record(
            now,
            facts.reused,
            (facts.accepted, facts.response_bytes),
            Outcome::Failed(facts.cause.clone()),
            Fate::Processed,
        );
        let is_expired = facts.cause == Cause::Timeout(Phase::Total)
            || overall.is_some_and(|overall| now >= overall);
        let reason = match self.reason {
            Some(reason) => reason,
            None if is_expired => StopReason::DeadlineExpired,
            None => StopReason::NotRetryable,
        };
        self.reason = Some(reason);
        self.is_stopped = true;
        reason
    }
}
