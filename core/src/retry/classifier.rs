//! A rule of the user's own over the built-in ones.

use std::fmt;
use std::sync::Arc;

use crate::fault::{Fate, Phase};

use super::classify::{Class, Repeat, Retryable};
use super::facts::{Cause, Request};
use super::policy::Retry;

/// What a rule is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Seen<'a> {
    /// A response with this status.
    Status(u16),
    /// An attempt that ended without a complete response head.
    Failure(&'a Cause),
}

impl Seen<'_> {
    /// Where the attempt was when it failed. `None` for a response, and where the client was shut
    /// down or a stream of a shared connection failed: those belong to no phase.
    pub const fn phase(&self) -> Option<Phase> {
        match self {
            Self::Status(_) => None,
            Self::Failure(cause) => cause.phase(),
        }
    }
}

/// What a rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ruling {
    /// It is to be tried again, where that is safe: the origin did not act on the request, or a
    /// repeat is harmless.
    Retry,
    /// As `Retry`, with the longer delays for an origin that is asked for too much.
    Throttle,
    /// It is to be tried again **although the origin may have acted on it**, whatever the method.
    RetryUnsafe,
    /// It is not to be tried again.
    Fatal,
    /// It is what was wanted.
    Success,
}

type Rule = dyn Fn(&Seen<'_>, Request) -> Option<Ruling> + Send + Sync;

/// A rule, shared by copies of its policy.
#[derive(Clone)]
pub(super) struct Classifier(Arc<Rule>);

impl Classifier {
    pub(super) fn new(
        rule: impl Fn(&Seen<'_>, Request) -> Option<Ruling> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(rule))
    }
}

impl PartialEq for Classifier {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Classifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Classifier")
    }
}

impl Retry {
    pub(crate) fn has_classifier(&self) -> bool {
        self.classifier.is_some()
    }

    /// What the user's rule says, if there is one.
    pub(crate) fn ask(&self, request: Request, seen: Seen<'_>) -> Option<Ruling> {
        let Classifier(rule) = self.classifier.as_ref()?;
        if let Seen::Failure(Cause::Closed | Cause::RequestBody | Cause::BodyTooLarge) = seen {
            return None;
        }
        rule(&seen, request)
    }
}

impl Ruling {
    /// The class after the user's rule has spoken.
    pub(crate) fn overrule(self, class: Class) -> Class {
        let fate = class.fate();
        let safely = match fate {
            Fate::NotProcessed => Repeat::Any,
            Fate::MaybeProcessed | Fate::Processed => Repeat::Harmless,
        };
        // What the built-in rule knows besides (a cost, an eviction) stays known, but not that it
        // is good for one attempt only: the user says otherwise.
        let terms = |repeat| match class {
            Class::Retryable { terms, .. } => Retryable {
                repeat,
                once: None,
                ..terms
            },
            Class::Success { .. } | Class::Fatal { .. } => Retryable::new(repeat),
        };
        match self {
            Self::Retry => Class::retryable(fate, terms(safely)),
            Self::Throttle => {
                let throttle = true;
                let terms = Retryable {
                    throttle,
                    ..terms(safely)
                };
                Class::retryable(fate, terms)
            }
            Self::RetryUnsafe => Class::retryable(fate, terms(Repeat::Any)),
            Self::Fatal => Class::Fatal { fate },
            Self::Success => Class::Success { fate },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::{StreamFault, Violation};
    use super::*;
    use crate::fault::{Fault, FaultKind};

    #[test]
    fn a_failure_is_of_the_phase_that_it_happened_in() {
        for (cause, phase) in [
            (
                Cause::Fault(Fault::new(FaultKind::Refused, Phase::Connect)),
                Some(Phase::Connect),
            ),
            (Cause::Timeout(Phase::FirstByte), Some(Phase::FirstByte)),
            (Cause::TooSlow(Phase::Write), Some(Phase::Write)),
            (Cause::Protocol(Violation::Malformed), Some(Phase::Head)),
            (Cause::Protocol(Violation::Limit), Some(Phase::Head)),
            (Cause::Protocol(Violation::Incomplete), Some(Phase::Head)),
            (Cause::Protocol(Violation::BodyLimit), Some(Phase::Body)),
            (Cause::Protocol(Violation::Digest), Some(Phase::Body)),
            (Cause::QueueFull, Some(Phase::Pool)),
            (Cause::RequestBody, Some(Phase::Write)),
            (Cause::Stream(StreamFault::Refused), None),
            (Cause::Closed, None),
        ] {
            assert_eq!(Seen::Failure(&cause).phase(), phase, "{cause:?}");
        }
        assert_eq!(Seen::Status(503).phase(), None);
    }
}
