//! What ends a session and what does not: the tables of POLICIES 5.4.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

use std::time::Duration;

use fulmar_core::fault::{Fault, FaultKind, Phase};
use fulmar_core::session::{
    Action, CloseAction, CloseTable, Config, Connect, ConnectFailure, Delivery, DropReason, Event,
    Loss, Outgoing, Pace, State, StopReason,
};
use fulmar_core::ws::{CloseCode, Connection, HandshakeError, Limits, Negotiated, Violation};
use fulmar_tests::durable::Bench;
use fulmar_tests::websocket::{at, frame, quiet};

fn closed_with(code: u16, uptime_millis: u64) -> Bench {
    let mut bench = Bench::open(Config::new());
    bench.receive(&frame(0x82, b"heard"));
    bench.pass_to(at(uptime_millis));
    bench.close_from_server(code, "why");
    bench
}

fn delay(bench: &mut Bench) -> Option<Duration> {
    let events = bench.events();
    events.iter().find_map(|event| match event {
        Event::Backoff { delay, .. } => Some(*delay),
        _ => None,
    })
}

#[test]
fn close_codes_that_end_the_session() {
    let mut bench = closed_with(1000, 1000);
    assert_eq!(
        bench.session.stopped(),
        Some(&StopReason::Ended(CloseCode::NORMAL))
    );
    assert!(bench.events().contains(&Event::Stopped {
        reason: StopReason::Ended(CloseCode::NORMAL),
        unsent: 0
    }));
    for code in [1002, 1003, 1007, 1008, 1010, 3003] {
        let bench = closed_with(code, 1000);
        assert!(
            matches!(bench.session.stopped(), Some(StopReason::Fatal(Loss::Closed(closed)))
                if closed.code.0 == code),
            "{code}"
        );
    }
}

#[test]
fn close_codes_that_reconnect() {
    for code in [1001, 1011, 1014, 3008, 3001, 4000, 4999] {
        let mut bench = closed_with(code, 1000);
        assert_eq!(bench.session.state(), State::Backoff, "{code}");
        let delay = delay(&mut bench).unwrap();
        assert!(delay <= Duration::from_secs(5), "{code}: {delay:?}");
    }
    let mut empty = Bench::open(Config::new());
    empty.receive(&frame(0x88, b""));
    empty.written();
    empty.drop_connection();
    assert_eq!(empty.session.state(), State::Backoff, "1005");
    let mut abnormal = Bench::open(Config::new());
    abnormal.drop_connection();
    assert_eq!(abnormal.session.state(), State::Backoff, "1006");
}

#[test]
fn a_protocol_error_after_a_stable_time_is_tried_once_more() {
    for code in [1002, 1007] {
        assert_eq!(
            closed_with(code, 30_000).session.state(),
            State::Backoff,
            "{code}"
        );
        assert_eq!(
            closed_with(code, 29_900).session.state(),
            State::Stopped,
            "{code}"
        );
    }
    for code in [1003, 1010] {
        assert_eq!(
            closed_with(code, 30_000).session.state(),
            State::Stopped,
            "{code}"
        );
    }
    let mut ours = Bench::open(Config::new());
    ours.receive(b"\x83\x00");
    assert_eq!(ours.written()[0].payload[..2], 1002_u16.to_be_bytes());
    ours.drop_connection();
    assert!(matches!(
        ours.session.stopped(),
        Some(StopReason::Fatal(Loss::Closed(closed)))
            if closed.cause == fulmar_core::ws::Cause::Violation(Violation::Opcode(3))
    ));
}

#[test]
fn what_this_side_closes_for_is_in_the_table_too() {
    let table = CloseTable::default().rule(1002..=1002, CloseAction::Reconnect(Pace::Usual));
    let mut bench = Bench::open(Config::new().closes(table));
    bench.receive(b"\x83\x00");
    bench.written();
    bench.drop_connection();
    assert_eq!(bench.session.state(), State::Backoff);
}

#[test]
fn a_message_of_the_server_that_is_too_big_drops_none_of_this_side_and_is_fatal_the_second_time() {
    let mut bench = Bench::new(Config::new());
    bench.connection = quiet().limits(Limits::new().frame(100).message(100));
    bench.connect();
    bench.send(Outgoing {
        delivery: Delivery::AtLeastOnce,
        ..Outgoing::from("innocent")
    });
    for state in [State::Backoff, State::Stopped] {
        assert_eq!(bench.texts(), ["innocent"]);
        bench.receive(&frame(0x82, &[0; 101]));
        let close = bench.written().pop().unwrap();
        assert_eq!(close.payload[..2], 1009_u16.to_be_bytes());
        bench.drop_connection();
        assert_eq!(bench.session.state(), state);
        if state == State::Backoff {
            bench.reconnect();
        }
    }
    assert_eq!(bench.session.take_unsent().len(), 1);
}

#[test]
fn what_fails_in_tls_has_the_code_1015() {
    for (kind, phase, code) in [
        (FaultKind::Certificate, Phase::Tls, CloseCode::TLS),
        (FaultKind::Reset, Phase::Tls, CloseCode::TLS),
        (FaultKind::Reset, Phase::Connect, CloseCode::ABNORMAL),
    ] {
        assert_eq!(Loss::Fault(Fault::new(kind, phase)).code(), code);
    }
}

#[test]
fn a_restart_waits_5_to_30_s_however_many_attempts_there_were() {
    for seed in 0..100 {
        let mut bench = Bench::seeded(Config::new(), seed);
        if seed % 2 == 0 {
            bench.refuse(status(503));
            bench.wait();
        }
        bench.connect();
        bench.events();
        bench.close_from_server(1012, "");
        let delay = delay(&mut bench).unwrap();
        assert!((5..=30).contains(&delay.as_secs()), "{delay:?}");
    }
}

#[test]
fn try_again_goes_elsewhere_at_once_or_waits_longer() {
    let mut bench = Bench::new(Config::new());
    bench.asked();
    let ws = Connection::new(bench.now, &quiet(), &Negotiated::default(), &mut bench.rng);
    bench.session.handle_connected(bench.now, ws, true);
    bench.close_from_server(1013, "");
    let connect = bench.asked();
    assert!(connect.elsewhere);
    let ws = Connection::new(bench.now, &quiet(), &Negotiated::default(), &mut bench.rng);
    bench.session.handle_connected(bench.now, ws, true);
    bench.close_from_server(1013, "");
    assert_eq!(bench.session.state(), State::Backoff, "not twice at once");
    let mut most = Duration::ZERO;
    for seed in 0..200 {
        let mut alone = Bench::seeded(Config::new().max_elapsed(None), seed);
        alone.connect();
        for _ in 0..6 {
            alone.close_from_server(1013, "");
            alone.reconnect();
        }
        alone.events();
        alone.close_from_server(1013, "");
        most = most.max(delay(&mut alone).unwrap());
    }
    assert!(
        most > Duration::from_secs(45) && most <= Duration::from_secs(60),
        "{most:?}"
    );
}

#[test]
fn where_the_other_address_cannot_be_had_the_first_is_left_alone_for_longer() {
    let longest = |failure: fn() -> ConnectFailure| {
        let delay = |seed| {
            let mut bench = Bench::seeded(Config::new(), seed);
            bench.asked();
            let ws = Connection::new(bench.now, &quiet(), &Negotiated::default(), &mut bench.rng);
            bench.session.handle_connected(bench.now, ws, true);
            bench.close_from_server(1013, "");
            bench.events();
            bench.refuse(failure());
            let delay = delay(&mut bench).unwrap();
            bench.wait();
            assert!(!bench.asked().elsewhere, "it may be the only one left");
            delay
        };
        (0..200).map(delay).max().unwrap().as_secs()
    };
    let refused = || ConnectFailure::Fault(Fault::new(FaultKind::Refused, Phase::Connect));
    assert!((8..=10).contains(&longest(refused)));
    assert!(longest(|| status(503)) < 2, "it was had");
}

#[test]
fn an_unauthorized_close_refreshes_credentials_once() {
    let mut bench = closed_with(3000, 1000);
    let connect = bench.reconnect();
    assert!(connect.refresh_auth);
    bench.close_from_server(3000, "");
    assert_eq!(bench.session.state(), State::Stopped);
}

#[test]
fn a_reason_hook_and_rules_of_the_user_come_before_the_table() {
    let config = Config::new().reason_hook(|code, reason| {
        (code == CloseCode::POLICY && reason == "token expired").then_some(CloseAction::RefreshAuth)
    });
    let mut bench = Bench::open(config);
    bench.close_from_server(1008, "token expired");
    assert!(bench.reconnect().refresh_auth);
    bench.close_from_server(1008, "banned");
    assert_eq!(bench.session.state(), State::Stopped);
    let table = CloseTable::default().rule(1000..=1000, CloseAction::Reconnect(Pace::Usual));
    let mut bench = Bench::open(Config::new().closes(table));
    bench.close_from_server(1000, "");
    assert_eq!(bench.session.state(), State::Backoff);
}

#[test]
fn too_big_drops_the_largest_unread_message_once() {
    let mut bench = Bench::open(Config::new());
    let kept = |len: usize| Outgoing {
        delivery: Delivery::AtLeastOnce,
        ..Outgoing::from(vec![0; len])
    };
    let small = bench.send(kept(10));
    let large = bench.send(kept(5000));
    bench.written();
    bench.close_from_server(1009, "");
    let reason = DropReason::TooBig;
    assert!(
        bench
            .events()
            .contains(&Event::Dropped { id: large, reason })
    );
    bench.reconnect();
    let again: Vec<_> = bench
        .written()
        .iter()
        .map(|frame| frame.payload.len())
        .collect();
    assert_eq!(again, [10]);
    assert!(bench.session.ack(small));
    bench.close_from_server(1009, "");
    assert_eq!(bench.session.state(), State::Stopped);
}

#[test]
fn too_big_drops_nothing_that_is_no_larger_than_what_the_server_has_read() {
    let kept = |len: usize| Outgoing {
        delivery: Delivery::AtLeastOnce,
        ..Outgoing::from(vec![0; len])
    };
    for is_acked in [true, false] {
        let mut bench = Bench::open(Config::new());
        if is_acked {
            let large = bench.send(kept(5000));
            bench.written();
            assert!(bench.session.ack(large));
        } else {
            bench.send(vec![0; 5000]);
            bench.written();
            assert!(bench.session.ping());
            let ping = bench.written().pop().unwrap();
            bench.receive(&frame(0x8a, &ping.payload));
        }
        bench.send(kept(5000));
        bench.written();
        bench.close_from_server(1009, "");
        bench.reconnect();
        assert_eq!(bench.written().len(), 1, "it was not that one");
        bench.send(kept(5001));
        bench.written();
        bench.close_from_server(1009, "");
        assert_eq!(bench.session.state(), State::Stopped, "once");
    }
}

fn status(status: u16) -> ConnectFailure {
    ConnectFailure::Status {
        status,
        retry_after: None,
    }
}

fn failed(failure: ConnectFailure) -> Bench {
    let mut bench = Bench::new(Config::new());
    bench.refuse(failure);
    bench
}

#[test]
fn handshake_statuses_that_end_the_session() {
    for code in [200, 204, 400, 403, 404, 405, 406, 410, 414, 426, 431] {
        let bench = failed(status(code));
        let fatal = StopReason::Fatal(Loss::Status(code));
        assert_eq!(bench.session.stopped(), Some(&fatal));
    }
    for failure in [
        ConnectFailure::Redirect,
        ConnectFailure::Invalid,
        ConnectFailure::Fault(Fault::new(FaultKind::Certificate, Phase::Tls)),
        ConnectFailure::Fault(Fault::new(FaultKind::Handshake, Phase::Tls)),
        ConnectFailure::Fault(Fault::new(FaultKind::InvalidAddress, Phase::Connect)),
        ConnectFailure::Handshake {
            error: HandshakeError::Accept,
            through_proxy: false,
        },
    ] {
        assert_eq!(
            failed(failure.clone()).session.state(),
            State::Stopped,
            "{failure:?}"
        );
    }
}

#[test]
fn handshake_statuses_and_faults_that_are_tried_again() {
    for code in [408, 421, 425, 429, 500, 502, 503, 504, 520, 529] {
        assert_eq!(
            failed(status(code)).session.state(),
            State::Backoff,
            "{code}"
        );
    }
    for kind in [
        FaultKind::NameFailed,
        FaultKind::Refused,
        FaultKind::TimedOut,
        FaultKind::HandshakeAborted,
        FaultKind::Reset,
    ] {
        let fault = ConnectFailure::Fault(Fault::new(kind, Phase::Connect));
        assert_eq!(failed(fault).session.state(), State::Backoff, "{kind:?}");
    }
    let mut misdirected = failed(status(421));
    assert!(misdirected.reconnect().fresh);
    assert!(!failed(status(503)).reconnect().fresh);
}

#[test]
fn a_401_refreshes_credentials_once_until_a_connection_was_stable() {
    for code in [401, 407] {
        let mut bench = failed(status(code));
        bench.wait();
        assert!(bench.asked().refresh_auth);
        bench
            .session
            .handle_connect_failed(bench.now, status(code), &mut bench.rng);
        assert_eq!(bench.session.state(), State::Stopped);
        let mut bench = failed(status(code));
        bench.reconnect();
        bench.receive(&frame(0x82, b""));
        let later = bench.now + Duration::from_secs(30);
        bench.pass_to(later);
        bench.drop_connection();
        bench.wait();
        bench.refuse(status(code));
        assert_eq!(bench.session.state(), State::Backoff, "stable in between");
    }
}

#[test]
fn new_credentials_and_a_fresh_connection_are_asked_for_until_the_server_has_answered() {
    let refused = || ConnectFailure::Fault(Fault::new(FaultKind::Refused, Phase::Connect));
    let mut bench = failed(status(401));
    for _ in 0..3 {
        bench.wait();
        assert!(bench.asked().refresh_auth);
        let (now, rng) = (bench.now, &mut bench.rng);
        bench.session.handle_connect_failed(now, refused(), rng);
    }
    bench.wait();
    bench.refuse(status(503));
    bench.wait();
    assert!(!bench.asked().refresh_auth);

    let mut bench = failed(status(421));
    bench.wait();
    bench.refuse(refused());
    assert!(bench.reconnect().fresh);
    bench.drop_connection();
    assert!(!bench.reconnect().fresh);
}

#[test]
fn a_mangled_response_through_a_proxy_is_tried_once_more() {
    let mangled = ConnectFailure::Handshake {
        error: HandshakeError::Upgrade,
        through_proxy: true,
    };
    let mut bench = failed(mangled.clone());
    bench.wait();
    bench.refuse(mangled);
    assert_eq!(
        bench.session.stopped(),
        Some(&StopReason::Fatal(Loss::Handshake(HandshakeError::Upgrade)))
    );
}

#[test]
fn a_404_is_tried_again_as_often_as_configured() {
    let mut bench = Bench::new(Config::new().not_found_retries(2));
    for _ in 0..2 {
        bench.refuse(status(404));
        bench.wait();
    }
    bench.refuse(status(404));
    assert_eq!(bench.session.state(), State::Stopped);
}

#[test]
fn under_an_open_connection_tls_ends_a_session_by_its_certificate_alone() {
    for (kind, state) in [
        (FaultKind::Certificate, State::Stopped),
        (FaultKind::Record, State::Backoff),
        (FaultKind::Reset, State::Backoff),
    ] {
        let mut bench = Bench::open(Config::new());
        let (now, rng) = (bench.now, &mut bench.rng);
        bench.session.handle_fault(now, kind, rng);
        assert_eq!(bench.session.state(), state, "{kind:?}");
    }
}

#[test]
fn retry_after_is_a_least_delay_with_a_spread_whatever_the_status() {
    let statuses = [408, 421, 425, 429, 500, 502, 503, 504, 520, 529];
    for (seed, status) in statuses.into_iter().cycle().take(50).enumerate() {
        let mut bench = Bench::seeded(Config::new(), seed as u64);
        bench.refuse(ConnectFailure::Status {
            status,
            retry_after: Some(Duration::from_secs(40)),
        });
        let delay = delay(&mut bench).unwrap();
        assert!((40..=44).contains(&delay.as_secs()), "{delay:?}");
    }
}

#[test]
fn a_late_answer_to_an_attempt_that_is_over_changes_nothing() {
    let mut bench = Bench::new(Config::new());
    bench
        .session
        .close(bench.now, Duration::ZERO, CloseCode::NORMAL, "")
        .unwrap();
    assert_eq!(
        bench.session.poll_action(),
        Some(Action::Connect(Connect::default()))
    );
    assert_eq!(bench.session.poll_action(), Some(Action::Disconnect));
    let ws = Connection::new(bench.now, &quiet(), &Negotiated::default(), &mut bench.rng);
    bench.session.handle_connected(bench.now, ws, false);
    assert_eq!(bench.session.poll_action(), Some(Action::Disconnect));
    assert_eq!(bench.session.state(), State::Stopped);
    bench
        .session
        .handle_connect_failed(bench.now, status(503), &mut bench.rng);
    assert_eq!(bench.session.state(), State::Stopped);
}

#[test]
fn a_reason_hook_that_panics_loses_no_message() {
    let hook = |_: CloseCode, _: &str| panic!("on purpose");
    let mut bench = Bench::open(Config::new().reason_hook(hook));
    let id = bench.send(Outgoing {
        delivery: Delivery::AtLeastOnce,
        ..Outgoing::from("kept")
    });
    bench.written();
    let lost = std::panic::AssertUnwindSafe(|| bench.close_from_server(1008, "expired"));
    std::panic::catch_unwind(lost).unwrap_err();
    let gone = Fault::new(FaultKind::RuntimeGone, Phase::Body);
    bench.session.abandon(Loss::Fault(gone));
    let unsent = bench.session.take_unsent();
    assert_eq!(unsent.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [id]);
}
