//! Happy eyeballs, to the nanosecond.

mod driver;
mod vectors;

use std::time::Duration;

use fulmar_core::dial::{Action, Config, Dial, Known, Lookup, Record};
use fulmar_core::fault::{Fault, FaultKind, Phase};
use fulmar_core::time::Instant;

use driver::Input::{Answer, Connected, Failed, NoAnswer};
use driver::{A_30, AAAA_20, Driver, PORT, addr, addrs, at, refused};

#[test]
fn the_lookups_go_out_together_and_aaaa_first() {
    let driver = Driver::by_name(Lookup::Split);
    let asked: Vec<_> = driver.log.iter().map(|(_, line)| line.as_str()).collect();
    assert_eq!(asked, ["resolve V6", "resolve V4"]);
}

#[test]
fn failures_in_a_burst_still_leave_ten_milliseconds_between_attempts() {
    let inputs = [
        AAAA_20,
        A_30,
        (31, refused("a6")),
        (32, refused("c4")),
        (42, refused("b6")),
    ];
    let driver = Driver::by_name(Lookup::Split).run(&inputs);
    let starts = [
        (20, "SYN a6"),
        (31, "SYN c4"),
        (41, "SYN b6"),
        (51, "SYN d4"),
    ];
    let starts = starts.map(|(ms, line)| (at(ms), line.to_owned()));
    assert_eq!(driver.log[2..6], starts);
}

#[test]
fn no_aaaa_address_means_no_wait_for_one() {
    for nothing in [
        Answer(Record::V6, &[]),
        NoAnswer(Record::V6, FaultKind::NameFailed),
    ] {
        let first = [(5, nothing), (10, Answer(Record::V4, &["c4"]))];
        let driver = Driver::by_name(Lookup::Split).run(&first);
        assert_eq!(driver.log[2], (at(10), "SYN c4".to_owned()));
        let second = [(10, Answer(Record::V4, &["c4"])), (25, nothing)];
        let driver = Driver::by_name(Lookup::Split).run(&second);
        assert_eq!(driver.log[2], (at(25), "SYN c4".to_owned()));
    }
}

#[test]
fn an_answer_after_all_known_addresses_failed_starts_at_once() {
    let inputs = [
        (20, Answer(Record::V6, &["a6"])),
        (30, refused("a6")),
        (700, Answer(Record::V4, &["c4"])),
        (720, Connected("c4")),
    ];
    let won = [(20, "SYN a6"), (700, "SYN c4"), (720, "won c4")];
    Driver::by_name(Lookup::Split).run(&inputs).expect(&won);
}

#[test]
fn lookups_that_fail_both_tell_the_resolver_apart_from_the_name() {
    let inputs = [
        (20, NoAnswer(Record::V6, FaultKind::NameNotFound)),
        (30, NoAnswer(Record::V4, FaultKind::NameFailed)),
    ];
    let failed = [(30, "failed dns: name resolution failed")];
    Driver::by_name(Lookup::Split).run(&inputs).expect(&failed);
    let inputs = [(20, Answer(Record::Any, &[]))];
    let driver = Driver::by_name(Lookup::Only(Record::Any)).run(&inputs);
    driver.expect(&[(20, "failed dns: no such host")]);
}

#[test]
fn a_resolver_that_never_answers_is_given_up_at_the_deadline() {
    let driver = Driver::by_name(Lookup::Split).run(&[]);
    driver.expect(&[(5000, "failed dns: timed out by the system")]);
}

#[test]
fn one_answer_with_both_families_is_raced_in_the_resolvers_order() {
    let inputs = [(20, Answer(Record::Any, &["c4", "d4", "a6", "b6"]))];
    let driver = Driver::by_name(Lookup::Only(Record::Any)).run(&inputs);
    let starts = [
        (20, "SYN c4"),
        (270, "SYN a6"),
        (520, "SYN d4"),
        (770, "SYN b6"),
    ];
    let starts = starts.map(|(ms, line)| (at(ms), line.to_owned()));
    assert_eq!(driver.log[1..5], starts);
}

#[test]
fn a_literal_is_connected_to_at_once_and_needs_no_timer() {
    let config = Config::default();
    let dial = Dial::to(Instant::ORIGIN, &[addr("c4")], PORT, None, config, &[]);
    let driver = Driver::new(dial);
    assert_eq!(driver.dial.poll_timeout(), None);
    driver
        .run(&[(7, refused("c4"))])
        .expect(&[(0, "SYN c4"), (7, "failed connect: connection refused")]);
}

#[test]
fn at_most_six_attempts_are_under_way() {
    let names: &[&str] = &["a4", "b4", "c4", "d4", "e4", "f4", "g4", "h4"];
    let inputs = [(0, Answer(Record::V4, names)), (2000, refused("b4"))];
    let driver = Driver::by_name(Lookup::Only(Record::V4)).run(&inputs);
    let starts = driver
        .log
        .iter()
        .filter(|(_, line)| line.starts_with("SYN"));
    let starts: Vec<_> = starts.map(|(at, _)| at.as_nanos() / 1_000_000).collect();
    assert_eq!(starts, [0, 250, 500, 750, 1000, 1250, 2000]);
}

#[test]
fn a_broken_handshake_goes_on_with_the_untried_and_then_the_abandoned() {
    let reset = |name| Failed(name, FaultKind::Reset, Phase::Tls);
    let inputs = [
        AAAA_20,
        A_30,
        (300, Connected("a6")),
        (400, reset("a6")),
        (420, refused("b6")),
        (440, refused("d4")),
        (460, Connected("c4")),
    ];
    Driver::by_name(Lookup::Split).run(&inputs).expect(&[
        (20, "SYN a6"),
        (270, "SYN c4"),
        (300, "close c4"),
        (300, "won a6"),
        (400, "SYN b6"),
        (420, "SYN d4"),
        (440, "SYN c4"),
        (460, "won c4"),
    ]);
}

#[test]
fn a_rejected_certificate_stops_the_dial() {
    let rejected = Failed("a6", FaultKind::Certificate, Phase::Tls);
    let inputs = [AAAA_20, A_30, (100, Connected("a6")), (150, rejected)];
    let driver = Driver::by_name(Lookup::Split).run(&inputs);
    driver.expect(&[
        (20, "SYN a6"),
        (100, "won a6"),
        (150, "failed tls: certificate rejected"),
    ]);
    assert_eq!(driver.dial.failures().len(), 1);
}

#[test]
fn a_handshake_that_breaks_after_the_deadline_starts_nothing() {
    let reset = Failed("a6", FaultKind::Reset, Phase::Tls);
    let inputs = [AAAA_20, A_30, (100, Connected("a6")), (5000, reset)];
    let driver = Driver::by_name(Lookup::Split).run(&inputs);
    assert_eq!(
        driver
            .log
            .iter()
            .filter(|(_, line)| line.starts_with("SYN"))
            .count(),
        1
    );
    assert_eq!(
        driver.dial.fault().map(|fault| fault.kind),
        Some(FaultKind::TimedOut)
    );
}

#[test]
fn the_delay_follows_what_is_known_of_the_address() {
    let mut driver = Driver::by_name(Lookup::Split);
    driver
        .dial
        .remember(&[Known::within(addr("a6"), Duration::from_millis(80))]);
    let driver = driver.run(&[AAAA_20, A_30]);
    assert_eq!(
        driver.log[2..4],
        [(at(20), "SYN a6".into()), (at(140), "SYN c4".into())]
    );
}

#[test]
fn an_attempt_the_driver_has_not_heard_of_is_taken_back_silently() {
    let config = Config::default();
    let addrs = addrs(&["a6", "c4"]);
    let mut dial = Dial::to(Instant::ORIGIN, &addrs, PORT, None, config, &[]);
    let Some(Action::Connect(first, _)) = dial.poll_action() else {
        panic!("nothing to connect to");
    };
    dial.handle_timeout(at(250));
    dial.handle_connected(at(250), first);
    assert_eq!(dial.poll_action(), Some(Action::Won(first)));
    assert_eq!((dial.poll_action(), dial.winner()), (None, Some(first)));
}

#[test]
fn reports_on_abandoned_attempts_and_late_timers_change_nothing() {
    let mut driver = Driver::by_name(Lookup::Split).run(&[AAAA_20, A_30, (300, Connected("a6"))]);
    let before = driver.log.len();
    let late = driver.id("c4");
    driver.dial.handle_connected(at(301), late);
    driver
        .dial
        .handle_failed(at(302), late, Fault::new(FaultKind::Reset, Phase::Connect));
    driver
        .dial
        .handle_answer(at(303), Record::V4, Ok(addrs(&["e4"])));
    driver.dial.handle_timeout(at(9000));
    driver.drain(at(9000));
    assert_eq!(driver.log.len(), before);
    assert_eq!(driver.dial.winner(), Some(driver.id("a6")));
}

#[test]
fn a_deadline_that_never_comes_needs_no_timer() {
    let lookup = Lookup::Only(Record::Any);
    let dial = Dial::by_name(at(0), 443, lookup, Some(Instant::MAX), Config::default());
    assert_eq!(dial.poll_timeout(), None);
}

#[test]
fn an_address_to_avoid_is_left_out_unless_the_lookups_name_no_other() {
    let avoiding = || {
        let avoid = Some(addr("c4"));
        let config = Config {
            avoid,
            ..Config::default()
        };
        Driver::configured(Lookup::Split, config)
    };
    let c4 = Answer(Record::V4, &["c4"]);
    let nothing = NoAnswer(Record::V6, FaultKind::NameNotFound);
    let alone = avoiding().run(&[(20, c4), (700, nothing), (720, Connected("c4"))]);
    alone.expect(&[(700, "SYN c4"), (720, "won c4")]);
    let inputs = [
        (20, c4),
        (300, Answer(Record::V6, &["a6"])),
        (320, refused("a6")),
    ];
    let failed = [(300, "SYN a6"), (320, "failed connect: connection refused")];
    avoiding().run(&inputs).expect(&failed);
    let inputs = [
        (20, Answer(Record::V4, &["c4", "d4"])),
        (900, refused("d4")),
    ];
    let driver = avoiding().run(&inputs);
    assert_eq!(driver.log[2], (at(70), "SYN d4".to_owned()));
    assert_eq!(driver.dial.addresses(), 2);
}
