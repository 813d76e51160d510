//! Bytes read as requests, policies and the ends of attempts.

use std::time::Duration;

use fulmar_core::backoff::{Backoff, Jitter};
use fulmar_core::call::Request;
use fulmar_core::fault::{Fault, FaultKind, Phase};
use fulmar_core::retry::{
    AttemptFacts, Cause, GoAwayCode, HeadFacts, MethodClass, Replay, StreamFault, Violation,
};
use fulmar_core::time::Instant;

use super::super::backoff::number;
use super::super::script::Script;
use super::model::{End, Rules};

const KINDS: [FaultKind; 21] = [
    FaultKind::NameNotFound,
    FaultKind::NameFailed,
    FaultKind::Refused,
    FaultKind::Unreachable,
    FaultKind::TimedOut,
    FaultKind::OutOfDescriptors,
    FaultKind::AddressExhausted,
    FaultKind::Forbidden,
    FaultKind::InvalidAddress,
    FaultKind::Eof,
    FaultKind::Reset,
    FaultKind::BrokenPipe,
    FaultKind::Aborted,
    FaultKind::Certificate,
    FaultKind::Handshake,
    FaultKind::HandshakeAborted,
    FaultKind::Record,
    FaultKind::TunnelUnavailable,
    FaultKind::TunnelRefused,
    FaultKind::RuntimeGone,
    FaultKind::Other,
];

const VIOLATIONS: [Violation; 7] = [
    Violation::Malformed,
    Violation::Limit,
    Violation::Incomplete,
    Violation::BodyMalformed,
    Violation::BodyLimit,
    Violation::BodyIncomplete,
    Violation::Digest,
];

/// Every status of the table, some that no rule looks at, and some that no server should send.
const STATUSES: [u16; 40] = [
    200, 204, 301, 304, 400, 401, 403, 404, 407, 408, 409, 410, 417, 421, 422, 425, 428, 429, 451,
    500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511, 520, 521, 522, 523, 524, 525, 529, 599,
    408, 503,
];

/// Time that passes: often none, and up to fifteen seconds.
pub(super) fn pause(script: &mut Script<'_>) -> Duration {
    match script.below(4) {
        0 => Duration::ZERO,
        1 => Duration::from_millis(script.below(256) as u64),
        2 => Duration::from_millis(script.below(256) as u64 * 50),
        _ => Duration::from_secs(script.below(16) as u64),
    }
}

pub(super) fn request(script: &mut Script<'_>) -> Request {
    let bits = script.byte();
    let method = [
        MethodClass::Safe,
        MethodClass::Idempotent,
        MethodClass::Unsafe,
    ][script.below(3)];
    Request {
        keyed: bits.is_multiple_of(4),
        declared_idempotent: (bits / 4).is_multiple_of(4),
        replay: [
            Replay::Empty,
            Replay::Bytes,
            Replay::Factory,
            Replay::Spooled,
            Replay::OneShot,
        ][script.below(5)],
        ..Request::new(method)
    }
}

pub(super) fn rules(script: &mut Script<'_>) -> Rules {
    let bits = script.byte();
    let short = |script: &mut Script<'_>| Duration::from_millis(script.below(256) as u64 * 5);
    let base = short(script);
    let jitter = [
        Jitter::Full,
        Jitter::Decorrelated,
        Jitter::Equal,
        Jitter::None,
    ][script.below(4)];
    let waits = [0, 1, 60, 60, 600, u64::MAX];
    Rules {
        max_attempts: [0, 1, 2, 3, 3, 5, 40, u32::MAX][script.below(8)],
        backoff: Backoff::exponential(base).jitter(jitter),
        throttle: Backoff::exponential(Duration::from_secs(1)).max(Duration::from_secs(20)),
        transparent: bits & 7 != 0,
        retry_after_max: Duration::from_secs(waits[script.below(6)]),
        gate_max: Duration::from_secs(waits[script.below(6)]),
        min_attempt_budget: short(script),
        nxdomain: bits & 16 != 0,
        pool: bits & 32 != 0,
        extended_5xx: bits & 64 != 0,
        trust_503: bits & 128 != 0,
    }
}

pub(super) fn overall(script: &mut Script<'_>, now: Instant) -> Option<Instant> {
    match script.below(4) {
        0 => None,
        1 => Some(now + Duration::from_millis(script.below(256) as u64 * 20)),
        2 => Some(now + Duration::from_secs(script.below(256) as u64)),
        _ => Some(Instant::MAX),
    }
}

pub(super) fn end(script: &mut Script<'_>) -> End {
    if script.below(5) < 2 {
        End::Head(head(script))
    } else {
        End::Failure(failure(script))
    }
}

fn head(script: &mut Script<'_>) -> HeadFacts {
    let status = match script.below(64) {
        0 => 100 + script.below(900) as u16,
        place => STATUSES[place % STATUSES.len()],
    };
    let bits = script.byte();
    let retry_after = match bits & 7 {
        0 => Some(Duration::ZERO),
        1 => Some(Duration::from_secs(script.below(8) as u64)),
        2 => Some(Duration::from_secs(script.below(256) as u64)),
        3 if script.below(4) == 0 => Some(Duration::MAX),
        _ => None,
    };
    HeadFacts {
        retry_after,
        reused: bits & 8 != 0,
        expected: bits & 16 != 0,
        body_pulled: bits & 32 != 0,
        body_committed: bits & 64 != 0,
        ..HeadFacts::new(status)
    }
}

fn failure(script: &mut Script<'_>) -> AttemptFacts {
    let bits = script.byte();
    // Mostly nothing yet, as that is where most rules are.
    let count = |script: &mut Script<'_>, some: bool| if some { number(script) } else { 0 };
    AttemptFacts {
        reused: bits & 3 != 0,
        idle_for: Duration::from_millis(u64::from(script.byte())),
        accepted: count(script, bits & 4 != 0),
        response_bytes: count(script, bits & 0x18 == 0),
        delivered: count(script, bits & 0x60 == 0),
        body_pulled: bits & 128 != 0,
        body_committed: bits.count_ones().is_multiple_of(2),
        ..AttemptFacts::new(cause(script))
    }
}

/// A failure after a head that was delivered: what is told of it says so.
pub(super) fn body_failure(script: &mut Script<'_>) -> AttemptFacts {
    let cause = match script.below(6) {
        0 | 1 => {
            let kind = KINDS[script.below(KINDS.len())];
            Cause::Fault(Fault::new(kind, Phase::Body))
        }
        2 => Cause::Timeout(Phase::Body),
        3 => Cause::Timeout(Phase::Total),
        4 => Cause::Protocol(VIOLATIONS[script.below(VIOLATIONS.len())].in_body()),
        _ => Cause::Stream(stream_fault(script)),
    };
    let facts = failure(script);
    AttemptFacts {
        accepted: facts.accepted.max(1),
        response_bytes: facts.response_bytes.max(1),
        cause,
        ..facts
    }
}

fn cause(script: &mut Script<'_>) -> Cause {
    match script.below(16) {
        0..=5 => {
            let kind = KINDS[script.below(KINDS.len())];
            Cause::Fault(Fault::new(kind, Phase::ALL[script.below(Phase::COUNT)]))
        }
        6 | 7 => Cause::Timeout(Phase::ALL[script.below(Phase::COUNT)]),
        8 | 9 => Cause::Protocol(VIOLATIONS[script.below(VIOLATIONS.len())]),
        10..=12 => Cause::Stream(stream_fault(script)),
        13 => Cause::QueueFull,
        14 => Cause::Closed,
        _ => Cause::RequestBody,
    }
}

fn stream_fault(script: &mut Script<'_>) -> StreamFault {
    match script.below(12) {
        0 => StreamFault::Refused,
        1 => StreamFault::GoAwayWithin,
        2 => StreamFault::Unsent,
        3 => StreamFault::ConnectionLost,
        4 => StreamFault::Internal,
        5 => StreamFault::EnhanceYourCalm,
        6 | 7 => StreamFault::Http11Required,
        8 => StreamFault::Protocol,
        _ => StreamFault::GoAwayBeyond {
            first_stream: script.below(2) == 0,
            code: [
                GoAwayCode::NoError,
                GoAwayCode::EnhanceYourCalm,
                GoAwayCode::Other,
            ][script.below(3)],
        },
    }
}
