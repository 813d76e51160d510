//! The table (retries by phase and by status, stale connections), for the faults of this matrix.
//!
//! All follows from the place and kind of the fault and from what was asked: nothing here looks at
//! a run.

use fulmar_sim::{Fate, Kind as ErrorKind, Phase, StopReason};

use Fate::{MaybeProcessed as Maybe, NotProcessed as Never, Processed as Yes};

use super::body::Body;
use super::cell::{Cell, How, Kind, Place};
use super::flaky::{BODY, DELIVERED, WRITTEN};
use super::run::{Outcome, Saw, Told};

/// Of which requests a row of the table lets another attempt follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    Nobody,
    Readers,
    Harmless,
    Anybody,
}

/// What the row says of the request, and who may try again. `None`: it is no fault.
fn row(cell: Cell) -> Option<(Fate, Again)> {
    Some(match (cell.place, cell.how) {
        // What does not speak TLS will not the next time either.
        (_, How::Lasting) | (Place::Tls, How::Malformed) => (Never, Again::Nobody),
        (Place::Dns | Place::Connect | Place::Tls | Place::Write, _) => (Never, Again::Anybody),
        (Place::FirstByte | Place::Head, How::Malformed) => (Maybe, Again::Nobody),
        (Place::WriteLater | Place::FirstByte | Place::Head, _) => (Maybe, Again::Harmless),
        // The caller has the head, if not a byte of the body: there is no silent restart.
        (Place::BodyStart | Place::Body, _) => (Yes, Again::Nobody),
        (Place::Answer, How::Status(status, told)) => return of_status(cell.kind, status, told),
        (Place::Answer, how) => unreachable!("{how:?}"),
    })
}

fn of_status(kind: Kind, status: u16, told: bool) -> Option<(Fate, Again)> {
    Some(match (status, told) {
        (408 | 421 | 425, _) | (429, true) => (Never, Again::Anybody),
        (409, _) if kind == Kind::KeyedPost => (Maybe, Again::Harmless),
        (429, false) | (503, true) => (Never, Again::Harmless),
        (500, _) => (Yes, Again::Readers),
        (502..=504, _) => (Maybe, Again::Harmless),
        // Among them 417 to a request that expected nothing.
        _ => return None,
    })
}

/// RFC 9110 sections 9.2.1 and 9.2.2; a key, or a promise.
fn may(kind: Kind, again: Again) -> bool {
    let (reads, harmless) = match kind {
        Kind::Get | Kind::Head | Kind::Options | Kind::Query => (true, true),
        Kind::Put | Kind::Delete | Kind::KeyedPost | Kind::PromisedPatch => (false, true),
        Kind::Post | Kind::Patch | Kind::Unknown | Kind::LowerPut => (false, false),
    };
    match again {
        Again::Nobody => false,
        Again::Readers => reads,
        Again::Harmless => harmless,
        Again::Anybody => true,
    }
}

/// Whether the attempt took from a stream that can be sent once: not while there is no connection,
/// and behind the head only what is there. What was late is not when the head fails.
fn is_body_gone(cell: Cell) -> bool {
    let is_head_through = !matches!(cell.place, Place::Write | Place::WriteLater);
    match cell.body {
        Body::Empty | Body::Bytes | Body::Factory | Body::Spooled => false,
        Body::OneShot | Body::Committed => !cell.place.is_dial(),
        Body::Late => !cell.place.is_dial() && is_head_through,
    }
}

/// An end without a byte of a response on a used connection: it was stale, and one more is free.
fn is_free(cell: Cell) -> bool {
    let is_answerless = matches!(
        cell.place,
        Place::Write | Place::WriteLater | Place::FirstByte
    );
    cell.reused && is_answerless && matches!(cell.how, How::Fin | How::Rst)
}

/// Why there is no other attempt, if there is none.
fn stop(cell: Cell, again: Again) -> Option<StopReason> {
    if again == Again::Nobody {
        Some(StopReason::NotRetryable)
    } else if !may(cell.kind, again) {
        Some(StopReason::MaybeProcessed)
    } else if is_body_gone(cell) {
        Some(StopReason::BodyNotReplayable)
    } else if cell.attempts == 1 && !is_free(cell) {
        Some(StopReason::MaxAttempts)
    } else {
        None
    }
}

fn phase(cell: Cell) -> Phase {
    match cell.place {
        Place::Dns => Phase::Dns,
        Place::Connect => Phase::Connect,
        Place::Tls => Phase::Tls,
        Place::Write | Place::WriteLater => Phase::Write,
        // What is malformed there is the head.
        Place::FirstByte if cell.how == How::Malformed => Phase::Head,
        Place::FirstByte => Phase::FirstByte,
        Place::Head => Phase::Head,
        Place::BodyStart | Place::Body | Place::Answer => Phase::Body,
    }
}

fn error_kind(cell: Cell) -> ErrorKind {
    match cell.how {
        How::Silence => ErrorKind::Timeout,
        _ if cell.place.is_dial() => ErrorKind::Connect,
        How::Malformed => ErrorKind::Protocol,
        _ => ErrorKind::Io,
    }
}

/// What the server saw of the request that met the fault.
fn first_request(cell: Cell) -> Option<Saw> {
    match cell.place {
        Place::Dns | Place::Connect | Place::Tls | Place::Write => None,
        Place::WriteLater => Some(Saw::Bytes(WRITTEN)),
        _ => Some(Saw::Whole),
    }
}

pub(crate) fn expected(cell: Cell) -> Told {
    let row = row(cell);
    let end = row.and_then(|(fate, again)| stop(cell, again).map(|reason| (fate, reason)));
    let first = first_request(cell);
    match (cell.how, row, end) {
        (How::Status(status, _), _, Some((_, stop))) => answered(status, Some(stop), first),
        (How::Status(status, _), None, None) => answered(status, None, first),
        (_, _, Some((fate, stop))) => Told {
            outcome: Outcome::Failed {
                kind: error_kind(cell),
                phase: Some(phase(cell)),
                fate,
                stop: Some(stop),
            },
            delivered: if cell.place == Place::Body {
                DELIVERED
            } else {
                0
            },
            saw: first.into_iter().collect(),
        },
        (_, _, None) => Told {
            outcome: Outcome::Answered {
                status: 200,
                attempts: 2,
                stop: None,
            },
            delivered: if cell.kind == Kind::Head { 0 } else { BODY },
            saw: first.into_iter().chain([Saw::Whole]).collect(),
        },
    }
}

/// The response with the status goes to the caller.
fn answered(status: u16, stop: Option<StopReason>, first: Option<Saw>) -> Told {
    Told {
        outcome: Outcome::Answered {
            status,
            attempts: 1,
            stop,
        },
        delivered: 0,
        saw: first.into_iter().collect(),
    }
}
