//! The six timelines that are written down as test vectors, whole and to the nanosecond: AAAA and A
//! answer or do not, and an attempt has 250 ms before the next one begins.

use fulmar_core::dial::{Known, Lookup, Record};

use super::driver::Input::{Answer, Connected};
use super::driver::{A_30, AAAA_20, Driver, addr, refused};

#[test]
fn a8_1_silent_addresses_are_tried_in_turn_until_the_deadline() {
    Driver::by_name(Lookup::Split)
        .run(&[AAAA_20, A_30])
        .expect(&[
            (20, "SYN a6"),
            (270, "SYN c4"),
            (520, "SYN b6"),
            (770, "SYN d4"),
            (5000, "close a6"),
            (5000, "close c4"),
            (5000, "close b6"),
            (5000, "close d4"),
            (5000, "failed connect: timed out by the system"),
        ]);
}

#[test]
fn a8_2_ipv4_waits_fifty_milliseconds_for_aaaa() {
    let driver = Driver::by_name(Lookup::Split).run(&[(10, Answer(Record::V4, &["c4"]))]);
    driver.expect(&[
        (60, "SYN c4"),
        (5000, "close c4"),
        (5000, "failed connect: timed out by the system"),
    ]);
}

#[test]
fn a8_3_aaaa_within_the_resolution_delay_goes_first() {
    let inputs = [
        (10, Answer(Record::V4, &["c4"])),
        (40, Answer(Record::V6, &["a6"])),
    ];
    let driver = Driver::by_name(Lookup::Split).run(&inputs);
    driver.expect(&[
        (40, "SYN a6"),
        (290, "SYN c4"),
        (5000, "close a6"),
        (5000, "close c4"),
        (5000, "failed connect: timed out by the system"),
    ]);
}

#[test]
fn a8_4_a_refusal_starts_the_next_address_at_once() {
    let driver = Driver::by_name(Lookup::Split).run(&[AAAA_20, A_30, (60, refused("a6"))]);
    driver.expect(&[
        (20, "SYN a6"),
        (60, "SYN c4"),
        (310, "SYN b6"),
        (560, "SYN d4"),
        (5000, "close c4"),
        (5000, "close b6"),
        (5000, "close d4"),
        (
            5000,
            "failed connect: timed out by the system: [2001:db8::a]:443: connection refused",
        ),
    ]);
}

#[test]
fn a8_5_the_winner_closes_the_others_before_it_is_named() {
    let driver = Driver::by_name(Lookup::Split).run(&[AAAA_20, A_30, (300, Connected("a6"))]);
    let won = [
        (20, "SYN a6"),
        (270, "SYN c4"),
        (300, "close c4"),
        (300, "won a6"),
    ];
    driver.expect(&won);
    assert_eq!(driver.dial.poll_timeout(), None);
}

#[test]
fn a8_6_an_address_that_was_bad_goes_last() {
    let mut driver = Driver::by_name(Lookup::Split);
    driver.dial.remember(&[Known::bad(addr("c4"))]);
    driver.run(&[AAAA_20, A_30]).expect(&[
        (20, "SYN a6"),
        (270, "SYN d4"),
        (520, "SYN b6"),
        (770, "SYN c4"),
        (5000, "close a6"),
        (5000, "close d4"),
        (5000, "close b6"),
        (5000, "close c4"),
        (5000, "failed connect: timed out by the system"),
    ]);
}
