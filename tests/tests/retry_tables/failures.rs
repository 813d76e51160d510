//! Failures, by the phase they happened in.

use std::time::Duration;

use fulmar_core::call::{Again, Verdict};
use fulmar_core::fault::{Fate, Fault, FaultKind, Phase};
use fulmar_core::retry::{
    AttemptFacts, Cause, GoAwayCode, Retry, StopReason, StreamFault, Violation,
};

use Fate::{MaybeProcessed as Maybe, NotProcessed as Never, Processed as Yes};

use crate::Then::{Again as Counted, Costly, Fatal, Free, Throttled};
use crate::{ANYONE, Columns, HARMLESS, SAFE, Scene, requests};

fn fault(phase: Phase, kind: FaultKind) -> AttemptFacts {
    AttemptFacts::new(Cause::Fault(Fault::new(kind, phase)))
}

fn timeout(phase: Phase) -> AttemptFacts {
    AttemptFacts::new(Cause::Timeout(phase))
}

fn protocol(violation: Violation) -> AttemptFacts {
    sent(AttemptFacts::new(Cause::Protocol(violation)))
}

fn stream(fault: StreamFault) -> AttemptFacts {
    sent(AttemptFacts::new(Cause::Stream(fault)))
}

/// The request went out, or a part of it.
fn sent(facts: AttemptFacts) -> AttemptFacts {
    AttemptFacts {
        accepted: 80,
        ..facts
    }
}

fn reused(facts: AttemptFacts) -> AttemptFacts {
    AttemptFacts {
        reused: true,
        idle_for: Duration::from_secs(3),
        ..facts
    }
}

/// Some of the response came.
fn answered(facts: AttemptFacts) -> AttemptFacts {
    AttemptFacts {
        response_bytes: 30,
        ..sent(facts)
    }
}

/// Some of the response went to the caller.
fn delivered(facts: AttemptFacts) -> AttemptFacts {
    AttemptFacts {
        delivered: 10,
        ..answered(facts)
    }
}

#[track_caller]
fn check(policy: &Retry, rows: &[(AttemptFacts, Fate, Columns)]) {
    for (facts, fate, columns) in rows {
        for (request, then) in requests().into_iter().zip(columns) {
            let mut scene = Scene::new(request, policy);
            let verdict = scene.failure(facts);
            assert_eq!(
                (scene.call.fate(), scene.then(&verdict)),
                (*fate, *then),
                "{request:?} after {facts:?}"
            );
        }
    }
}

#[test]
fn waiting_for_a_connection_in_vain_is_not_repeated_unless_asked_for() {
    let queue_full = || AttemptFacts::new(Cause::QueueFull);
    check(
        &Retry::default(),
        &[
            (timeout(Phase::Pool), Never, ANYONE(Fatal)),
            (queue_full(), Never, ANYONE(Fatal)),
        ],
    );
    check(
        &Retry::default().retry_pool(true),
        &[
            (timeout(Phase::Pool), Never, ANYONE(Costly)),
            (queue_full(), Never, ANYONE(Counted)),
        ],
    );
}

#[test]
fn a_name_that_does_not_exist_is_final_and_a_resolver_that_fails_is_not() {
    use FaultKind as K;
    let dns = |kind| fault(Phase::Dns, kind);
    check(
        &Retry::default(),
        &[
            (dns(K::NameNotFound), Never, ANYONE(Fatal)),
            (dns(K::NameFailed), Never, ANYONE(Counted)),
            (dns(K::Unreachable), Never, ANYONE(Counted)),
            (timeout(Phase::Dns), Never, ANYONE(Costly)),
        ],
    );
    check(
        &Retry::default().retry_nxdomain(true),
        &[(dns(K::NameNotFound), Never, ANYONE(Counted))],
    );
}

#[test]
fn connecting_is_repeated_for_any_request_unless_it_is_forbidden() {
    use FaultKind as K;
    let connect = |kind| fault(Phase::Connect, kind);
    check(
        &Retry::default(),
        &[
            (connect(K::Refused), Never, ANYONE(Counted)),
            (connect(K::Unreachable), Never, ANYONE(Counted)),
            (connect(K::TimedOut), Never, ANYONE(Costly)),
            (timeout(Phase::Connect), Never, ANYONE(Costly)),
            (connect(K::OutOfDescriptors), Never, ANYONE(Counted)),
            (connect(K::AddressExhausted), Never, ANYONE(Counted)),
            (connect(K::Forbidden), Never, ANYONE(Fatal)),
            (connect(K::InvalidAddress), Never, ANYONE(Fatal)),
        ],
    );
}

#[test]
fn a_shortage_on_this_side_waits_a_while_and_closes_an_idle_connection() {
    for kind in [FaultKind::OutOfDescriptors, FaultKind::AddressExhausted] {
        let mut scene = Scene::new(requests()[0], &Retry::default());
        let facts = fault(Phase::Connect, kind);
        let Verdict::Retry(again) = scene.failure(&facts) else {
            panic!("no other attempt");
        };
        assert!(again.evict_oldest && !again.transparent);
        assert_eq!(again.at - scene.now, Duration::from_millis(250));
    }
}

#[test]
fn a_tunnel_is_asked_for_again_only_where_the_proxy_is_in_trouble() {
    use FaultKind as K;
    let proxy = |kind| fault(Phase::Proxy, kind);
    check(
        &Retry::default(),
        &[
            (proxy(K::TunnelRefused), Never, ANYONE(Fatal)),
            (proxy(K::TunnelUnavailable), Never, ANYONE(Counted)),
            (proxy(K::Eof), Never, ANYONE(Counted)),
            (timeout(Phase::Proxy), Never, ANYONE(Costly)),
        ],
    );
}

#[test]
fn a_handshake_is_repeated_unless_it_cannot_succeed() {
    use FaultKind as K;
    let tls = |kind| fault(Phase::Tls, kind);
    check(
        &Retry::default(),
        &[
            (tls(K::Certificate), Never, ANYONE(Fatal)),
            (tls(K::Handshake), Never, ANYONE(Fatal)),
            (tls(K::Eof), Never, ANYONE(Counted)),
            (tls(K::Reset), Never, ANYONE(Counted)),
            (timeout(Phase::Tls), Never, ANYONE(Costly)),
            (tls(K::HandshakeAborted), Never, ANYONE(Counted)),
        ],
    );
}

#[test]
fn a_request_of_which_no_byte_went_out_is_sent_again_and_for_free_on_a_reused_connection() {
    for kind in [
        FaultKind::BrokenPipe,
        FaultKind::Reset,
        FaultKind::Eof,
        FaultKind::Aborted,
        FaultKind::Other,
    ] {
        let unsent = || fault(Phase::Write, kind);
        let late = AttemptFacts {
            response_bytes: 30,
            ..reused(unsent())
        };
        check(
            &Retry::default(),
            &[
                (unsent(), Never, ANYONE(Counted)),
                (reused(unsent()), Never, ANYONE(Free)),
                // Say, a 408 that was sent before: it is no answer to this request.
                (late, Never, ANYONE(Free)),
            ],
        );
        check(
            &Retry::default().transparent(false),
            &[(reused(unsent()), Never, ANYONE(Counted))],
        );
    }
}

#[test]
fn a_request_that_went_out_in_part_is_repeated_where_that_is_harmless() {
    let write = |kind| sent(fault(Phase::Write, kind));
    check(
        &Retry::default(),
        &[
            (write(FaultKind::BrokenPipe), Maybe, HARMLESS(Counted)),
            (write(FaultKind::Other), Maybe, HARMLESS(Counted)),
            (sent(timeout(Phase::Write)), Maybe, HARMLESS(Costly)),
            (timeout(Phase::Write), Never, ANYONE(Costly)),
        ],
    );
}

#[test]
fn the_end_before_a_response_is_free_to_repeat_only_on_a_reused_connection() {
    use FaultKind as K;
    let wait = |kind| sent(fault(Phase::FirstByte, kind));
    check(
        &Retry::default(),
        &[
            (reused(wait(K::Eof)), Maybe, HARMLESS(Free)),
            (reused(wait(K::Reset)), Maybe, HARMLESS(Free)),
            (
                reused(protocol(Violation::Incomplete)),
                Maybe,
                HARMLESS(Free),
            ),
            (wait(K::Eof), Maybe, HARMLESS(Counted)),
            (wait(K::Reset), Maybe, HARMLESS(Counted)),
            (protocol(Violation::Incomplete), Maybe, HARMLESS(Counted)),
            (sent(timeout(Phase::FirstByte)), Maybe, HARMLESS(Costly)),
            (
                reused(sent(timeout(Phase::FirstByte))),
                Maybe,
                HARMLESS(Costly),
            ),
            // An interim response came: the connection was alive.
            (reused(answered(wait(K::Eof))), Maybe, HARMLESS(Counted)),
        ],
    );
}

#[test]
fn a_head_that_breaks_off_may_be_repeated_and_a_malformed_one_never() {
    let incomplete = || answered(protocol(Violation::Incomplete));
    let reset = || answered(fault(Phase::Head, FaultKind::Reset));
    check(
        &Retry::default(),
        &[
            (protocol(Violation::Malformed), Maybe, ANYONE(Fatal)),
            (protocol(Violation::Limit), Maybe, ANYONE(Fatal)),
            (incomplete(), Maybe, HARMLESS(Counted)),
            (reused(incomplete()), Maybe, HARMLESS(Counted)),
            (reset(), Maybe, HARMLESS(Counted)),
            (answered(timeout(Phase::Head)), Maybe, HARMLESS(Costly)),
            (sent(timeout(Phase::Attempt)), Maybe, HARMLESS(Costly)),
            (timeout(Phase::Attempt), Never, ANYONE(Costly)),
        ],
    );
}

#[test]
fn a_body_that_breaks_off_is_repeated_for_readers_before_a_byte_was_delivered() {
    let reset = || answered(fault(Phase::Body, FaultKind::Reset));
    let incomplete = || answered(protocol(Violation::BodyIncomplete));
    let slow = || answered(timeout(Phase::Body));
    check(
        &Retry::default(),
        &[
            (reset(), Yes, SAFE(Counted)),
            (incomplete(), Yes, SAFE(Counted)),
            (reused(incomplete()), Yes, SAFE(Counted)),
            (slow(), Yes, SAFE(Costly)),
            (delivered(reset()), Yes, ANYONE(Fatal)),
            (delivered(incomplete()), Yes, ANYONE(Fatal)),
            (delivered(slow()), Yes, ANYONE(Fatal)),
        ],
    );
}

#[test]
fn a_body_that_cannot_be_decoded_is_final_except_once_for_its_digest() {
    check(
        &Retry::default(),
        &[
            (protocol(Violation::BodyMalformed), Yes, ANYONE(Fatal)),
            (protocol(Violation::BodyLimit), Yes, ANYONE(Fatal)),
            (protocol(Violation::Digest), Yes, SAFE(Counted)),
        ],
    );
    let mut scene = Scene::new(requests()[0], &Retry::default());
    assert!(matches!(
        scene.failure(&protocol(Violation::Digest)),
        Verdict::Retry(_)
    ));
    scene.call.begin_attempt(scene.now);
    let second = scene.failure(&protocol(Violation::Digest));
    assert_eq!(scene.then(&second), Fatal);
}

#[test]
fn a_stream_is_repeated_by_what_its_peer_said_of_it() {
    use StreamFault as S;
    let beyond = |first_stream, code| S::GoAwayBeyond { first_stream, code };
    let calm = GoAwayCode::EnhanceYourCalm;
    check(
        &Retry::default(),
        &[
            (stream(S::Refused), Never, ANYONE(Free)),
            (
                stream(beyond(false, GoAwayCode::NoError)),
                Never,
                ANYONE(Free),
            ),
            (
                stream(beyond(true, GoAwayCode::NoError)),
                Never,
                ANYONE(Free),
            ),
            (
                stream(beyond(false, GoAwayCode::Other)),
                Never,
                ANYONE(Free),
            ),
            (stream(beyond(false, calm)), Never, ANYONE(Free)),
            (
                stream(beyond(true, GoAwayCode::Other)),
                Never,
                ANYONE(Counted),
            ),
            (stream(beyond(true, calm)), Never, ANYONE(Throttled)),
            (stream(S::Unsent), Never, ANYONE(Free)),
            (stream(S::GoAwayWithin), Maybe, HARMLESS(Counted)),
            (stream(S::ConnectionLost), Maybe, HARMLESS(Counted)),
            (stream(S::Internal), Maybe, HARMLESS(Counted)),
            (stream(S::EnhanceYourCalm), Maybe, HARMLESS(Throttled)),
            (stream(S::Http11Required), Never, ANYONE(Counted)),
            (stream(S::Protocol), Maybe, ANYONE(Fatal)),
        ],
    );
    let mut scene = Scene::new(requests()[2], &Retry::default());
    let first = scene.failure(&stream(S::Http11Required));
    assert!(matches!(first, Verdict::Retry(Again { http1: true, .. })));
    scene.call.begin_attempt(scene.now);
    let second = scene.failure(&stream(S::Http11Required));
    assert_eq!(scene.then(&second), Fatal, "once");
}

#[test]
fn what_the_user_or_the_client_ended_is_final() {
    let ended = |cause| sent(AttemptFacts::new(cause));
    check(
        &Retry::default(),
        &[
            (ended(Cause::Closed), Maybe, ANYONE(Fatal)),
            (ended(Cause::RequestBody), Maybe, ANYONE(Fatal)),
            (AttemptFacts::new(Cause::Closed), Never, ANYONE(Fatal)),
        ],
    );
    for request in requests() {
        let mut scene = Scene::new(request, &Retry::default());
        let verdict = scene.failure(&sent(timeout(Phase::Total)));
        let reason = StopReason::DeadlineExpired;
        assert_eq!(
            verdict,
            Verdict::Stop {
                reason,
                fate: Maybe
            }
        );
        let mut scene = Scene::new(request, &Retry::default());
        scene.call.cancel();
        let verdict = scene.failure(&fault(Phase::Connect, FaultKind::Refused));
        let reason = StopReason::Cancelled;
        assert_eq!(
            verdict,
            Verdict::Stop {
                reason,
                fate: Never
            }
        );
    }
}
