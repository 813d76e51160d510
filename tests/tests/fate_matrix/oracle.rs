//! The table (retries by phase, stale connections), for the faults of this matrix.

use fulmar_sim::{Fate, StopReason};

use super::cell::{Cell, Kind, Place, Told};
use super::flaky::WRITTEN;

pub(crate) fn expected(cell: Cell, pulled: bool) -> Told {
    let fate = match cell.place {
        Place::Dns | Place::Connect | Place::Tls | Place::Write => Fate::NotProcessed,
        Place::WriteLater | Place::FirstByte | Place::Head => Fate::MaybeProcessed,
        Place::Body => Fate::Processed,
    };
    // RFC 9110 section 9.2.2, a key, or a promise.
    let repeatable = !matches!(
        cell.kind,
        Kind::Post | Kind::Patch | Kind::Unknown | Kind::LowerPut
    );
    let first = match cell.place {
        Place::Dns | Place::Connect | Place::Tls | Place::Write => None,
        Place::WriteLater => Some(Some(WRITTEN)),
        Place::FirstByte | Place::Head | Place::Body => Some(None),
    };
    let stops = |reason| Told {
        outcome: Err((fate, Some(reason))),
        saw: first.into_iter().collect(),
    };
    if cell.place == Place::Body {
        // The caller has the head: there is no silent restart.
        return stops(StopReason::NotRetryable);
    }
    if fate != Fate::NotProcessed && !repeatable {
        return stops(StopReason::MaybeProcessed);
    }
    if pulled {
        return stops(StopReason::BodyNotReplayable);
    }
    // Without a byte of a response a used connection was stale: one more, for free.
    let is_free = cell.reused
        && matches!(
            cell.place,
            Place::Write | Place::WriteLater | Place::FirstByte
        );
    if cell.attempts == 1 && !is_free {
        return stops(StopReason::MaxAttempts);
    }
    Told {
        outcome: Ok(2),
        saw: first.into_iter().chain([None]).collect(),
    }
}
