//! What a failure or a status means: a naive reading of the two tables, row by row.

use fulmar_core::call::Request;
use fulmar_core::fault::{Fate, FaultKind, Phase};
use fulmar_core::retry::{
    AttemptFacts, Cause, GoAwayCode, HeadFacts, MethodClass, StreamFault, Violation,
};

use super::model::Rules;

/// One row: what became of the request, and what follows by default.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) fate: Fate,
    pub(super) next: Next,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Next {
    Success,
    Fatal,
    Retry(Terms),
}

/// Which requests may be sent again.
#[derive(Clone, Copy, Debug)]
pub(super) enum Who {
    Any,
    RepeatOk,
    Safe,
}

impl Who {
    pub(super) fn includes(self, request: Request) -> bool {
        match self {
            Self::Any => true,
            Self::RepeatOk => repeat_ok(request),
            Self::Safe => request.method == MethodClass::Safe,
        }
    }
}

#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "columns of a table")]
pub(super) struct Terms {
    pub(super) who: Who,
    pub(super) free: bool,
    pub(super) stale: bool,
    pub(super) throttle: bool,
    pub(super) local: bool,
    pub(super) timeout: bool,
    pub(super) fresh: bool,
    pub(super) http1: bool,
    pub(super) without_expect: bool,
    /// A rule that serves once in a call, by its name.
    pub(super) once: Option<&'static str>,
}

pub(super) fn repeat_ok(request: Request) -> bool {
    request.method == MethodClass::Safe
        || request.method == MethodClass::Idempotent
        || request.keyed
        || request.declared_idempotent
}

const fn terms(who: Who) -> Terms {
    Terms {
        who,
        free: false,
        stale: false,
        throttle: false,
        local: false,
        timeout: false,
        fresh: false,
        http1: false,
        without_expect: false,
        once: None,
    }
}

const fn fatal(fate: Fate) -> Row {
    Row {
        fate,
        next: Next::Fatal,
    }
}

const fn retry(fate: Fate, terms: Terms) -> Row {
    Row {
        fate,
        next: Next::Retry(terms),
    }
}

/// Not processed: any; maybe: if a repeat is harmless; processed: only what reads.
const fn usual(fate: Fate) -> Row {
    retry(
        fate,
        terms(match fate {
            Fate::NotProcessed => Who::Any,
            Fate::MaybeProcessed => Who::RepeatOk,
            Fate::Processed => Who::Safe,
        }),
    )
}

impl Row {
    fn but(mut self, change: impl FnOnce(&mut Terms)) -> Self {
        if let Next::Retry(terms) = &mut self.next {
            change(terms);
        }
        self
    }
}

/// Section 1.2, and the rule of 1.4 on stale connections.
pub(super) fn of_failure(request: Request, facts: &AttemptFacts, rules: &Rules) -> Row {
    if facts.delivered > 0 {
        return fatal(Fate::Processed);
    }
    match &facts.cause {
        Cause::Fault(fault) => of_fault(request, facts, fault.phase, fault.kind, rules),
        Cause::Timeout(Phase::Pool) if rules.pool => {
            usual(Fate::NotProcessed).but(|terms| terms.timeout = true)
        }
        Cause::QueueFull if rules.pool => usual(Fate::NotProcessed),
        Cause::Timeout(Phase::Pool) | Cause::QueueFull => fatal(Fate::NotProcessed),
        Cause::Timeout(Phase::Total) => fatal(fate_at(Phase::Total, facts)),
        Cause::Timeout(phase) => usual(fate_at(*phase, facts)).but(|terms| terms.timeout = true),
        Cause::Protocol(violation) => of_violation(request, facts, *violation, rules),
        Cause::Stream(fault) => of_stream(facts, *fault),
        Cause::Closed | Cause::RequestBody | Cause::BodyTooLarge => {
            fatal(fate_at(Phase::Write, facts))
        }
        other => panic!("no row for {other:?}"),
    }
}

/// Up to the handshake never; then by whether a byte went out; the body is an answer's.
fn fate_at(phase: Phase, facts: &AttemptFacts) -> Fate {
    if phase < Phase::Write {
        return Fate::NotProcessed;
    }
    match (phase, facts.accepted) {
        (Phase::Body, _) => Fate::Processed,
        (_, 0) => Fate::NotProcessed,
        _ => Fate::MaybeProcessed,
    }
}

fn of_fault(
    request: Request,
    facts: &AttemptFacts,
    phase: Phase,
    kind: FaultKind,
    rules: &Rules,
) -> Row {
    use FaultKind as K;
    let fate = fate_at(phase, facts);
    match kind {
        K::NameNotFound if rules.nxdomain => {}
        K::NameNotFound
        | K::Forbidden
        | K::InvalidAddress
        | K::Certificate
        | K::Handshake
        | K::Record
        | K::TunnelRefused => return fatal(fate),
        _ => {}
    }
    let gone = [K::Eof, K::Reset, K::BrokenPipe, K::Aborted, K::RuntimeGone].contains(&kind);
    let exchanging = [Phase::Write, Phase::FirstByte, Phase::Head].contains(&phase);
    // Section 1.4.
    let stale = exchanging
        && facts.reused
        && facts.response_bytes == 0
        && gone
        && (facts.accepted == 0 || repeat_ok(request));
    // The first row on writing.
    let unsent = phase == Phase::Write && facts.accepted == 0 && facts.reused;
    usual(fate).but(|terms| {
        terms.stale = stale;
        terms.free = stale || unsent;
        terms.local = kind == K::OutOfDescriptors || kind == K::AddressExhausted;
        terms.timeout = kind == K::TimedOut;
    })
}

fn of_violation(
    request: Request,
    facts: &AttemptFacts,
    violation: Violation,
    rules: &Rules,
) -> Row {
    let eof = |phase| of_fault(request, facts, phase, FaultKind::Eof, rules);
    match violation {
        Violation::Malformed | Violation::Limit => fatal(fate_at(Phase::Head, facts)),
        Violation::Incomplete => eof(Phase::Head),
        Violation::BodyIncomplete => eof(Phase::Body),
        Violation::BodyMalformed | Violation::BodyLimit => fatal(Fate::Processed),
        Violation::Digest => usual(Fate::Processed).but(|terms| terms.once = Some("digest")),
        other => panic!("no row for {other:?}"),
    }
}

fn of_stream(facts: &AttemptFacts, fault: StreamFault) -> Row {
    let never = if facts.response_bytes == 0 {
        usual(Fate::NotProcessed)
    } else {
        // An answer contradicts the claim that nothing was processed; the table's rows on it are
        // about streams without one.
        usual(Fate::MaybeProcessed)
    };
    let free = facts.response_bytes == 0;
    let maybe = usual(Fate::MaybeProcessed);
    match fault {
        StreamFault::Refused | StreamFault::Unsent => never.but(|terms| terms.free = free),
        StreamFault::GoAwayBeyond { first_stream, code } => never.but(|terms| {
            terms.free = free && (!first_stream || code == GoAwayCode::NoError);
            terms.throttle = code == GoAwayCode::EnhanceYourCalm;
        }),
        StreamFault::GoAwayWithin | StreamFault::ConnectionLost | StreamFault::Internal => maybe,
        StreamFault::EnhanceYourCalm => maybe.but(|terms| terms.throttle = true),
        StreamFault::Http11Required => never.but(|terms| {
            terms.once = Some("http/1.1");
            terms.http1 = true;
        }),
        StreamFault::Protocol => fatal(Fate::MaybeProcessed),
        other => panic!("no row for {other:?}"),
    }
}

/// Section 1.3, and 409 by 1.5.
pub(super) fn of_status(request: Request, head: &HeadFacts, rules: &Rules) -> Row {
    let told = head.retry_after.is_some();
    let once = |name| usual(Fate::NotProcessed).but(|terms| terms.once = Some(name));
    let throttled =
        |fate, who| retry(fate, terms(who)).but(|terms: &mut Terms| terms.throttle = true);
    match head.status {
        408 => once("408").but(|terms| terms.fresh = true),
        417 if head.expected => once("417").but(|terms| terms.without_expect = true),
        421 => once("421").but(|terms| terms.fresh = true),
        425 => once("425"),
        409 if request.keyed => throttled(Fate::MaybeProcessed, Who::RepeatOk),
        429 if told => throttled(Fate::NotProcessed, Who::Any),
        429 => throttled(Fate::NotProcessed, Who::RepeatOk),
        500 => usual(Fate::Processed).but(|terms| terms.once = Some("500")),
        502 | 504 => usual(Fate::MaybeProcessed),
        503 if told && rules.trust_503 => throttled(Fate::NotProcessed, Who::Any),
        503 if told => throttled(Fate::NotProcessed, Who::RepeatOk),
        503 => throttled(Fate::MaybeProcessed, Who::RepeatOk),
        520..=524 | 529 if rules.extended_5xx => usual(Fate::MaybeProcessed),
        status => Row {
            fate: match status {
                520..=524 | 529 => Fate::MaybeProcessed,
                _ => Fate::Processed,
            },
            next: Next::Success,
        },
    }
}
