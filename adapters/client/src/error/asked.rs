//! What can be asked of an error.

use std::net::SocketAddr;
use std::time::Duration;

use fulmar_core::call::AttemptRecord;
use fulmar_core::fault::{Fate, Fault, FaultKind, Phase};
use fulmar_core::retry::StopReason;
use http::{Method, StatusCode};

use super::{Cause, Error, Kind};

/// Which clock ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TimeoutLimit {
    /// The limit of that phase.
    Phase(Phase),
    /// The limit of one attempt, up to its complete head.
    Attempt,
    /// The deadline of the whole call.
    Overall,
}

impl Error {
    /// What kind of thing went wrong.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// What the call was waiting for when it failed, or the limit that passed
    /// ([`Phase::Total`] for the deadline); `None` where it never began.
    pub fn phase(&self) -> Option<Phase> {
        self.0.phase
    }

    /// What the call was waiting for when it failed: [`phase`](Self::phase), but for the limits of a
    /// whole attempt or call the phase in which they passed. `None` where it never began, or was
    /// between two attempts.
    pub fn waiting_for(&self) -> Option<Phase> {
        let is_whole = matches!(self.0.phase, Some(Phase::Attempt | Phase::Total));
        if is_whole {
            self.0.during
        } else {
            self.0.phase
        }
    }

    /// Whether the origin acted on the request, in any of its attempts, as far as this side can know.
    /// [`Fate`] has the table of which failure says what.
    ///
    /// ```
    /// # use fulmar::{Client, Error, Fate};
    /// # async fn example(client: Client) -> Result<(), Error> {
    /// if let Err(error) = client.post("http://api.test/orders").body("one").send().await {
    ///     match error.fate() {
    ///         Fate::NotProcessed => println!("not ordered: {error}"),
    ///         // To order again might order twice.
    ///         Fate::MaybeProcessed => println!("look whether it is there: {error}"),
    ///         Fate::Processed => println!("ordered, and the answer is lost: {error}"),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn fate(&self) -> Fate {
        self.0.fate
    }

    /// Whether the origin has acted on the request, or may have: false only where it provably did
    /// not, in no attempt. Then a repeat is harmless whatever the method.
    pub fn maybe_processed(&self) -> bool {
        self.0.fate != Fate::NotProcessed
    }

    /// The attempts that failed, oldest first; of many, the first 4 and the last 12.
    pub fn attempts(&self) -> &[AttemptRecord] {
        &self.0.attempts
    }

    /// How many attempts were made, transparent ones included.
    pub fn tries(&self) -> u32 {
        self.0.tried
    }

    /// Whether another attempt would have been made, had attempts, budget and time allowed.
    pub fn retry_exhausted(&self) -> bool {
        self.0.stop.is_some_and(StopReason::is_exhausted)
    }

    /// Why there was no further attempt. Every call that ends in an error has a reason; `None` where
    /// there was no call: of the builder, or of a body of one's own.
    pub fn retry_stop_reason(&self) -> Option<StopReason> {
        self.0.stop
    }

    /// Whether a timeout or the deadline passed.
    pub fn is_timeout(&self) -> bool {
        self.0.kind == Kind::Timeout
    }

    /// Whether that clock ran out: a phase's, one attempt's ([`Phase::Attempt`]) or the whole call's
    /// ([`Phase::Total`]). A dial has one limit for all of it, [`Phase::Connect`], and narrower ones
    /// that are told apart; [`is_connect`](Self::is_connect) is true of all of them.
    pub fn timed_out_in(&self, phase: Phase) -> bool {
        self.is_timeout() && self.0.phase == Some(phase)
    }

    /// Whether no connection was free in time: the pool's timeout, and not the pool's full queue,
    /// which is [`Kind::PoolFull`].
    pub fn is_pool_timeout(&self) -> bool {
        self.timed_out_in(Phase::Pool)
    }

    /// Which clock ran out; `None` where none did. Of those that are due at the same instant the
    /// widest counts.
    pub fn timeout_limit(&self) -> Option<TimeoutLimit> {
        let phase = self.0.phase.filter(|_| self.is_timeout())?;
        Some(match phase {
            Phase::Total => TimeoutLimit::Overall,
            Phase::Attempt => TimeoutLimit::Attempt,
            phase => TimeoutLimit::Phase(phase),
        })
    }

    /// Whether the overall deadline passed: the caller's, not a phase's.
    pub fn is_deadline(&self) -> bool {
        self.is_timeout() && self.0.phase == Some(Phase::Total)
    }

    /// Bytes a second, where a body moved more slowly than
    /// [`Timeouts::min_speed`](fulmar_core::deadline::Timeouts::min_speed) asks for.
    pub fn too_slow(&self) -> Option<u64> {
        match self.0.cause {
            Cause::Slow(rate) => Some(rate),
            _ => None,
        }
    }

    /// Whether no connection could be made (timeouts of the dial included).
    pub fn is_connect(&self) -> bool {
        let dialling = |phase| (Phase::Dns..=Phase::Tls).contains(&phase);
        self.0.kind == Kind::Connect || self.0.phase.is_some_and(dialling)
    }

    /// Whether this side ran out of something, and the origin had no part in it: descriptors or
    /// buffers (`EMFILE`, `ENFILE`, `ENOBUFS`), or local ports (`EADDRNOTAVAIL`).
    ///
    /// Each retry closes the connection that has idled longest, and waits 250 ms at least: where
    /// that did not help, others took the place, or there was none to close. Then it takes a higher
    /// limit of the process (`ulimit -n`), a lower
    /// [`Limits::total`](fulmar_core::pool::Limits::total), or more local addresses.
    pub fn is_resource_exhausted(&self) -> bool {
        let kind = self.fault().map(|fault| fault.kind);
        let exhausted = [FaultKind::OutOfDescriptors, FaultKind::AddressExhausted];
        kind.is_some_and(|kind| exhausted.contains(&kind))
    }

    /// Whether the client's settings contradict each other.
    pub fn is_builder(&self) -> bool {
        self.0.kind == Kind::Builder
    }

    /// Whether the request cannot be sent as it is, or its body not [again](Kind::BodyReplayMismatch).
    pub fn is_request(&self) -> bool {
        matches!(self.0.kind, Kind::Request | Kind::BodyReplayMismatch)
    }

    /// Whether the response's body failed, by the connection, a timeout, its framing or its size.
    pub fn is_body(&self) -> bool {
        self.0.phase == Some(Phase::Body) && self.0.kind != Kind::Decode
    }

    /// Whether the body came whole and is not what the caller asked for.
    pub fn is_decode(&self) -> bool {
        self.0.kind == Kind::Decode
    }

    /// Whether it is a status that the caller asked to be an error; [`Error::status`] has it.
    pub fn is_status(&self) -> bool {
        self.0.kind == Kind::Status
    }

    /// The status that is the error.
    pub fn status(&self) -> Option<StatusCode> {
        self.0.status
    }

    /// How long the origin asked to wait, from when its response came (`Retry-After`, RFC 9110 section
    /// 10.2.3): of an error that is a status, where it said so and the value is valid.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether the caller gave the call up, which says nothing of the peer. To drop a call's future
    /// is to cancel it, and then nobody is left to be told: such an error exists only where a call is
    /// given up and waited for all the same. Who watches sees
    /// [`Outcome::Cancelled`](crate::trace::Outcome::Cancelled).
    pub fn is_cancelled(&self) -> bool {
        self.0.stop == Some(StopReason::Cancelled)
    }

    /// Whether the client was shut down.
    pub fn is_closed(&self) -> bool {
        self.0.kind == Kind::Closed
    }

    /// The method of the request; `None`, as the URL is, where there was no request: its URL is
    /// invalid, or a setting of the client's.
    pub fn method(&self) -> Option<&Method> {
        self.0.method.as_ref()
    }

    /// The URL of the request, without user information.
    pub fn url(&self) -> Option<&str> {
        self.0.url.as_deref()
    }

    /// The peer of the connection that failed.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.0.peer
    }

    /// The failure below, where it was one.
    pub fn fault(&self) -> Option<&Fault> {
        match &self.0.cause {
            Cause::Fault(fault) => Some(fault),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_was_given_up_is_told_from_one_that_failed() {
        let ended = |stop| Error::new(Kind::Io).with_history(1, &[], Some(stop));
        assert!(ended(StopReason::Cancelled).is_cancelled());
        assert!(!ended(StopReason::DeadlineExpired).is_cancelled());
        assert!(!Error::new(Kind::Closed).is_cancelled());
    }
}
