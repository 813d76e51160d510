//! Every fault times every kind of request times every kind of body: the outcome, the fate, and
//! the bytes that the server saw are those of the table.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

mod cell;
mod flaky;
mod oracle;
mod tls;

use cell::{Body, Cell, Kind, Place, run};
use flaky::End;
use oracle::expected;

fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for place in Place::ALL {
        for end in [End::Fin, End::Rst] {
            for reused in [false, true] {
                if place.is_dial() && (reused || (end == End::Fin && place != Place::Tls)) {
                    continue;
                }
                for kind in Kind::ALL {
                    // The response to HEAD has no body to break off in.
                    if (place, kind) == (Place::Body, Kind::Head) {
                        continue;
                    }
                    for body in Body::ALL {
                        for attempts in [1, 3] {
                            cells.push(Cell {
                                place,
                                end,
                                reused,
                                kind,
                                body,
                                attempts,
                            });
                        }
                    }
                }
            }
        }
    }
    cells
}

#[test]
fn every_fault_of_every_request_ends_as_the_table_says() {
    let cells = cells();
    assert!(cells.len() >= 3_900, "{}", cells.len());
    for cell in cells {
        let seen = run(cell);
        assert_eq!(seen.told, expected(cell, seen.pulled), "{cell:?}: {seen:?}");
    }
}

/// What repeats nothing harmlessly.
fn is_unsafe(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Post | Kind::Patch | Kind::Unknown | Kind::LowerPut
    )
}

#[test]
fn i1_1_what_is_unsafe_to_repeat_is_not_seen_twice_after_its_first_byte() {
    for cell in cells() {
        if is_unsafe(cell.kind) {
            let seen = run(cell);
            assert!(seen.requests.len() <= 1, "{cell:?}: {seen:?}");
        }
    }
}

#[test]
fn i1_6_an_attempt_repeats_the_bytes_of_the_one_before_it() {
    let mut repeated = 0;
    for cell in cells() {
        let seen = run(cell);
        if let [first, second] = &seen.requests[..] {
            repeated += 1;
            assert!(second.starts_with(first), "{cell:?}: {seen:?}");
            let is_whole = !matches!(cell.place, Place::WriteLater);
            assert!(!is_whole || first == second, "{cell:?}: {seen:?}");
        }
    }
    assert!(repeated > 100, "{repeated}");
}
