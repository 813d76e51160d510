//! One call on its way: which stage its attempt is in, and since when.

use std::sync::Arc;
use std::time::Duration;

use fulmar_core::fault::Phase;
use fulmar_core::time::Instant;
use fulmar_core::trace::{Event, Record};

use crate::timeline::Stage;

/// What an attempt is busy with: a light companion of the timeline's reader, which keeps it all.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) host: Arc<str>,
    /// `None` between attempts.
    stage: Option<(Stage, Instant)>,
    has_ended: bool,
}

impl Track {
    pub(super) fn new(host: Arc<str>) -> Self {
        Self {
            host,
            stage: None,
            has_ended: false,
        }
    }

    /// Whether nothing more is to be heard of the call: it has ended, and no body is being read.
    pub(super) fn is_over(&self) -> bool {
        self.has_ended && self.stage.is_none()
    }

    /// The stage that ends with this event, and how long it took.
    pub(super) fn handle(&mut self, record: &Record) -> Option<(Stage, Duration)> {
        let at = record.at;
        match &record.event {
            Event::AttemptStarted { .. } => self.enter(at, Some(Stage::Ask)),
            Event::Waiting => self.enter(at, Some(Stage::Queue)),
            Event::DialStarted => self.enter(at, Some(Stage::Connect)),
            Event::Resolved { .. } => self.resolve(at),
            Event::DialFailed { fault } if fault.phase == Phase::Dns => self.resolve(at),
            Event::Leased { .. } => self.enter(at, Some(Stage::Send)),
            Event::RequestWritten { .. } => self.enter(at, Some(Stage::FirstByte)),
            Event::HeadReceived { .. } => self.enter(at, Some(Stage::Body)),
            Event::AttemptFailed { .. } | Event::BodyEnded { .. } => self.enter(at, None),
            // The body of a response that is given up is nobody's.
            Event::RetryScheduled { .. } => {
                self.stage = None;
                None
            }
            Event::CallEnded { .. } => {
                self.has_ended = true;
                // A body may go on behind its head; nothing else does behind the call's end.
                match self.stage {
                    Some((Stage::Body, _)) => None,
                    _ => self.enter(at, None),
                }
            }
            _ => None,
        }
    }

    fn enter(&mut self, at: Instant, next: Option<Stage>) -> Option<(Stage, Duration)> {
        let ended = std::mem::replace(&mut self.stage, next.map(|next| (next, at)));
        let (stage, since) = ended?;
        // To ask the pool takes no time, and nothing ends twice.
        (stage != Stage::Ask).then(|| (stage, at - since))
    }

    /// A dial begins with its look-up, which only its end names. The answers for both address
    /// families may come apart: the first one ends it.
    fn resolve(&mut self, at: Instant) -> Option<(Stage, Duration)> {
        match self.stage {
            Some((Stage::Connect, since)) => {
                self.stage = Some((Stage::Connect, at));
                Some((Stage::Lookup, at - since))
            }
            _ => None,
        }
    }
}
