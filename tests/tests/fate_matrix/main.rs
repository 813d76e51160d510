//! Every fault times every kind of request times every kind of body: the outcome, the fate, and
//! the bytes that the server saw are those of the table.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

mod body;
mod cell;
mod flaky;
mod oracle;
mod run;
mod tls;

use cell::{Cell, How, Kind, Place, cells};
use oracle::expected;
use run::run;

fn assert_as_the_table_says(places: &[Place], least: usize) {
    let cells = cells(places);
    assert!(cells.len() >= least, "{}", cells.len());
    for cell in cells {
        let seen = run(cell);
        assert_eq!(seen.told, expected(cell), "{cell:?}: {seen:?}");
    }
}

#[test]
fn every_fault_of_a_dial_ends_as_the_table_says() {
    assert_as_the_table_says(&[Place::Dns, Place::Connect, Place::Tls], 1_200);
}

#[test]
fn every_fault_of_a_request_on_its_way_out_ends_as_the_table_says() {
    assert_as_the_table_says(&[Place::Write, Place::WriteLater], 1_440);
}

#[test]
fn every_fault_of_a_response_head_ends_as_the_table_says() {
    assert_as_the_table_says(&[Place::FirstByte, Place::Head], 1_920);
}

#[test]
fn every_fault_of_a_response_body_ends_as_the_table_says() {
    assert_as_the_table_says(&[Place::BodyStart, Place::Body], 1_760);
}

#[test]
fn every_status_ends_as_the_table_says() {
    assert_as_the_table_says(&[Place::Answer], 3_120);
}

/// What may not be repeated unless it was not processed.
fn is_unsafe(cell: &Cell) -> bool {
    matches!(
        cell.kind,
        Kind::Post | Kind::Patch | Kind::Unknown | Kind::LowerPut
    )
}

/// Whether the peer said that it did not act on the request: by its status (RFC 9110 sections
/// 15.5.9 and 15.5.20, RFC 8470 section 5.2), or by when to come again (RFC 6585 section 4).
fn is_disclaimed(cell: &Cell) -> bool {
    matches!(
        cell.how,
        How::Status(408 | 421 | 425, _) | How::Status(429, true)
    )
}

#[test]
fn i1_1_what_is_unsafe_to_repeat_is_seen_twice_only_where_the_peer_disclaimed_the_first() {
    let (mut twice, mut once) = (0, 0);
    for cell in cells(&Place::ALL).into_iter().filter(is_unsafe) {
        let seen = run(cell);
        match seen.requests.len() {
            0 => {}
            1 => once += 1,
            2 if is_disclaimed(&cell) => twice += 1,
            _ => panic!("{cell:?}: {seen:?}"),
        }
    }
    assert!(once > 2_000 && twice > 50, "{once} {twice}");
}

#[test]
fn i1_6_an_attempt_repeats_the_bytes_of_the_one_before_it() {
    let mut repeated = 0;
    for cell in cells(&Place::ALL) {
        // With one attempt only the free ones are repeated, which are among the others, too.
        if cell.attempts == 1 {
            continue;
        }
        let seen = run(cell);
        if let [first, second] = &seen.requests[..] {
            repeated += 1;
            assert!(second.starts_with(first), "{cell:?}: {seen:?}");
            let is_whole = !matches!(cell.place, Place::WriteLater);
            assert!(!is_whole || first == second, "{cell:?}: {seen:?}");
        }
    }
    assert!(repeated > 1_000, "{repeated}");
}
