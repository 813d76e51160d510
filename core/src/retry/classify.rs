//! What a failed attempt says of the request, and whether another may follow.
//!
//! | where | what | fate | then |
//! |---|---|---|---|
//! | pool | timeout, queue full | not processed | stop (another wait is the same wait) |
//! | dns | no such name | not processed | stop |
//! | dns, connect, tunnel, TLS | passing | not processed | any request again |
//! | dns, connect, tunnel, TLS | lasting: certificate, not permitted, refused tunnel | not processed | stop |
//! | write, first byte | no byte accepted | not processed | any request again |
//! | write, first byte, head | else | maybe | again if a repeat is harmless |
//! | head | malformed, beyond a limit | maybe | stop |
//! | body | ended early, nothing delivered | processed | again if safe |
//! | body | ended early, a byte delivered | processed | stop: never a silent restart |
//! | body | malformed | processed | stop |
//!
//! On a connection that had served before, its end without a byte of a response is most likely
//! older than the request: such a *stale* connection is worth a free attempt at once.

use crate::budget::Cost;
use crate::fault::{Fate, Fault, FaultKind, Phase};

use super::facts::{AttemptFacts, Cause, GoAwayCode, MethodClass, Request, StreamFault, Violation};
use super::policy::Retry;

/// Which requests another attempt is harmless for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Any: the origin did not act on this one.
    Any,
    /// Those that may be repeated: idempotent, keyed or declared so.
    Harmless,
    /// Those that only read.
    Safe,
}

impl Repeat {
    /// Whether the request is one of them.
    pub const fn allows(self, request: Request) -> bool {
        match self {
            Self::Any => true,
            Self::Harmless => request.repeat_ok(),
            Self::Safe => matches!(request.method, MethodClass::Safe),
        }
    }
}

/// Reasons that are good for one more attempt in a call, and no second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Once {
    /// 408 (Request Timeout).
    RequestTimeout,
    /// 417 (Expectation Failed).
    ExpectationFailed,
    /// 421 (Misdirected Request).
    Misdirected,
    /// 425 (Too Early).
    TooEarly,
    /// 500 (Internal Server Error).
    ServerError,
    /// The digest of a body did not match.
    Digest,
    /// The peer wants HTTP/1.1.
    Http11,
}

impl Once {
    /// A bit of its own.
    pub(crate) const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A failure after which another attempt may succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent traits, named where they are set"
)]
pub struct Retryable {
    /// For which requests.
    pub repeat: Repeat,
    /// Whether it is free and at once, while such attempts last.
    pub transparent: bool,
    /// Whether the connection had died while idle, and its siblings likely have.
    pub stale: bool,
    /// Whether the peer asks for less load: longer delays.
    pub throttle: bool,
    /// Whether this side is short of something: a least delay, and an idle connection to close.
    pub local: bool,
    /// What it takes from the budget.
    pub cost: Cost,
    /// Whether it is good for a single attempt.
    pub once: Option<Once>,
}

impl Retryable {
    /// Of requests that `repeat` allows; counted, at the lower cost.
    pub const fn new(repeat: Repeat) -> Self {
        Self {
            repeat,
            transparent: false,
            stale: false,
            throttle: false,
            local: false,
            cost: Cost::Fast,
            once: None,
        }
    }
}

/// What became of the request in an attempt, and what may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A response that no rule would retry.
    Success {
        /// Whether the origin acted on it.
        fate: Fate,
    },
    /// Another attempt would be no better.
    Fatal {
        /// Whether the origin acted on it.
        fate: Fate,
    },
    /// Another attempt may be.
    Retryable {
        /// Whether the origin acted on it.
        fate: Fate,
        /// On which terms.
        terms: Retryable,
    },
}

impl Class {
    /// Whether the origin acted on the request.
    pub const fn fate(&self) -> Fate {
        match *self {
            Self::Success { fate } | Self::Fatal { fate } | Self::Retryable { fate, .. } => fate,
        }
    }

    pub(super) const fn retryable(fate: Fate, terms: Retryable) -> Self {
        Self::Retryable { fate, terms }
    }
}

/// Classifies a failed attempt of a request.
pub fn classify(request: Request, facts: &AttemptFacts, policy: &Retry) -> Class {
    if facts.delivered > 0 {
        // The caller has a part of this response: another one cannot take its place.
        return Class::Fatal {
            fate: Fate::Processed,
        };
    }
    match &facts.cause {
        Cause::Fault(fault) => of_fault(request, facts, fault, policy),
        Cause::Timeout(phase) => of_timeout(facts, *phase, policy),
        // The whole body again would be as slow, and all that has come be lost.
        Cause::TooSlow(phase) => Class::Fatal {
            fate: fate_in(*phase, facts),
        },
        Cause::Protocol(violation) => of_violation(request, facts, *violation, policy),
        Cause::Stream(fault) => of_stream(facts, *fault),
        Cause::QueueFull => of_pool(policy, Cost::Fast),
        Cause::Closed | Cause::RequestBody | Cause::BodyTooLarge => Class::Fatal {
            fate: sent_fate(facts),
        },
    }
}

fn of_fault(request: Request, facts: &AttemptFacts, fault: &Fault, policy: &Retry) -> Class {
    let fate = fate_in(fault.phase, facts);
    if is_lasting(fault.kind) && !(fault.kind == FaultKind::NameNotFound && policy.nxdomain) {
        return Class::Fatal { fate };
    }
    let mut terms = terms_of(fate);
    if fault.kind == FaultKind::TimedOut {
        terms.cost = Cost::Timeout;
    }
    terms.local = matches!(
        fault.kind,
        FaultKind::OutOfDescriptors | FaultKind::AddressExhausted
    );
    if is_exchange(fault.phase) && facts.reused {
        let is_stale = facts.response_bytes == 0 && is_end(fault.kind);
        terms.stale = is_stale && (facts.accepted == 0 || request.repeat_ok());
        // What came before a byte of the request went out was no answer to it.
        terms.transparent = terms.stale || (fault.phase == Phase::Write && facts.accepted == 0);
    }
    Class::retryable(fate, terms)
}

fn of_timeout(facts: &AttemptFacts, phase: Phase, policy: &Retry) -> Class {
    match phase {
        Phase::Pool => of_pool(policy, Cost::Timeout),
        Phase::Total => Class::Fatal {
            fate: sent_fate(facts),
        },
        _ => {
            let fate = fate_in(phase, facts);
            // The origin may still be at work on an attempt that was given up.
            Class::retryable(
                fate,
                Retryable {
                    cost: Cost::Timeout,
                    ..terms_of(fate)
                },
            )
        }
    }
}

fn of_pool(policy: &Retry, cost: Cost) -> Class {
    let fate = Fate::NotProcessed;
    if policy.pool {
        Class::retryable(
            fate,
            Retryable {
                cost,
                ..Retryable::new(Repeat::Any)
            },
        )
    } else {
        Class::Fatal { fate }
    }
}

fn of_violation(
    request: Request,
    facts: &AttemptFacts,
    violation: Violation,
    policy: &Retry,
) -> Class {
    let ended = |phase| of_fault(request, facts, &Fault::new(FaultKind::Eof, phase), policy);
    match violation {
        Violation::Malformed | Violation::Limit => Class::Fatal {
            fate: sent_fate(facts),
        },
        Violation::Incomplete if facts.response_bytes == 0 => ended(Phase::FirstByte),
        Violation::Incomplete => ended(Phase::Head),
        Violation::BodyIncomplete => ended(Phase::Body),
        Violation::BodyMalformed | Violation::BodyLimit => Class::Fatal {
            fate: Fate::Processed,
        },
        Violation::Digest => {
            let once = Some(Once::Digest);
            let terms = Retryable {
                once,
                ..Retryable::new(Repeat::Safe)
            };
            Class::retryable(Fate::Processed, terms)
        }
    }
}

fn of_stream(facts: &AttemptFacts, fault: StreamFault) -> Class {
    // A peer that has answered has processed the request, whatever it says afterwards.
    let answered = facts.response_bytes > 0;
    let fate = match fault {
        StreamFault::Refused
        | StreamFault::GoAwayBeyond { .. }
        | StreamFault::Unsent
        | StreamFault::Http11Required
            if !answered =>
        {
            Fate::NotProcessed
        }
        _ => Fate::MaybeProcessed,
    };
    let mut terms = terms_of(fate);
    match fault {
        StreamFault::Protocol => return Class::Fatal { fate },
        StreamFault::Refused | StreamFault::Unsent => terms.transparent = !answered,
        StreamFault::GoAwayBeyond { first_stream, code } => {
            // A new connection would likely be rejected as well.
            let rejected = first_stream && code != GoAwayCode::NoError;
            terms.transparent = !answered && !rejected;
            terms.throttle = code == GoAwayCode::EnhanceYourCalm;
        }
        StreamFault::EnhanceYourCalm => terms.throttle = true,
        StreamFault::Http11Required => terms.once = Some(Once::Http11),
        StreamFault::GoAwayWithin | StreamFault::ConnectionLost | StreamFault::Internal => {}
    }
    Class::retryable(fate, terms)
}

/// The terms on which a passing failure with that fate may be tried again.
const fn terms_of(fate: Fate) -> Retryable {
    Retryable::new(match fate {
        Fate::NotProcessed => Repeat::Any,
        Fate::MaybeProcessed => Repeat::Harmless,
        Fate::Processed => Repeat::Safe,
    })
}

fn fate_in(phase: Phase, facts: &AttemptFacts) -> Fate {
    match phase {
        Phase::Pool | Phase::Dns | Phase::Connect | Phase::Proxy | Phase::Tls => Fate::NotProcessed,
        Phase::Write | Phase::FirstByte | Phase::Head | Phase::Attempt | Phase::Total => {
            sent_fate(facts)
        }
        Phase::Body => Fate::Processed,
    }
}

/// The fate of a request whose response is not complete up to its head.
const fn sent_fate(facts: &AttemptFacts) -> Fate {
    if facts.accepted == 0 {
        Fate::NotProcessed
    } else {
        Fate::MaybeProcessed
    }
}

const fn is_exchange(phase: Phase) -> bool {
    matches!(phase, Phase::Write | Phase::FirstByte | Phase::Head)
}

/// Whether the failure will be the same next time.
const fn is_lasting(kind: FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::NameNotFound
            | FaultKind::Forbidden
            | FaultKind::InvalidAddress
            | FaultKind::Certificate
            | FaultKind::Handshake
            | FaultKind::Record
            | FaultKind::TunnelRefused
    )
}

/// Whether the connection was gone: what an idle one that its peer has closed looks like.
const fn is_end(kind: FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::Eof
            | FaultKind::Reset
            | FaultKind::BrokenPipe
            | FaultKind::Aborted
            | FaultKind::RuntimeGone
    )
}
