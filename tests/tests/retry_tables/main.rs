//! What follows a failure or a status: every row of the two tables, for each kind of request.

mod failures;
mod statuses;

use std::sync::Arc;
use std::time::Duration;

use fulmar_core::budget::Budget;
use fulmar_core::call::{Again, Call, Request, Verdict};
use fulmar_core::retry::{AttemptFacts, HeadFacts, MethodClass, Replay, Retry, StopReason};
use fulmar_core::time::Instant;
use fulmar_tests::properties::backoff::Words;

use Then::{Again as Counted, Costly, Fatal, Free, Success, Throttled, Unsafe};

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    /// At once and for nothing.
    Free,
    /// After a backoff, for one token.
    Again,
    /// After a backoff, for two tokens.
    Costly,
    /// After a longer backoff, for one token.
    Throttled,
    /// Nothing: it is no failure.
    Success,
    /// Nothing: another attempt would be no better.
    Fatal,
    /// Nothing: another attempt could do harm.
    Unsafe,
}

/// The columns: `GET`, `PUT`, `POST`, and `POST` with a key. All bodies can be sent again.
type Columns = [Then; 4];

const ANYONE: fn(Then) -> Columns = |then| [then; 4];
const HARMLESS: fn(Then) -> Columns = |then| [then, then, Unsafe, then];
const SAFE: fn(Then) -> Columns = |then| [then, Unsafe, Unsafe, Unsafe];

fn requests() -> [Request; 4] {
    let request = |method| Request {
        replay: Replay::Bytes,
        ..Request::new(method)
    };
    let post = request(MethodClass::Unsafe);
    [
        request(MethodClass::Safe),
        request(MethodClass::Idempotent),
        post,
        Request {
            keyed: true,
            ..post
        },
    ]
}

/// The first attempt of a call, and what the decision is made of.
struct Scene {
    call: Call,
    budget: Budget,
    now: Instant,
}

impl Scene {
    fn new(request: Request, policy: &Retry) -> Self {
        let now = Instant::from_nanos(0);
        let mut call = Call::new(request, Arc::new(policy.clone()));
        call.begin_attempt(now);
        Self {
            call,
            budget: Budget::new(now),
            now,
        }
    }

    /// A draw at the upper end tells backoffs apart: 100 ms and 1 s at first.
    fn failure(&mut self, facts: &AttemptFacts) -> Verdict {
        let rng = &mut Words::at(1.0);
        self.call
            .handle_failure(self.now, facts, None, &mut self.budget, rng)
    }

    fn head(&mut self, head: &HeadFacts) -> Verdict {
        let rng = &mut Words::at(1.0);
        self.call
            .handle_head(self.now, head, None, &mut self.budget, rng)
    }

    fn then(&self, verdict: &Verdict) -> Then {
        let paid = 3_000 - self.budget.tokens();
        match (verdict, self.call.stop_reason()) {
            (Verdict::Retry(again), None) => self.terms(again, paid),
            (Verdict::Deliver { exhausted: None }, None) => Success,
            (_, Some(StopReason::NotRetryable)) => Fatal,
            (_, Some(StopReason::MaybeProcessed)) => Unsafe,
            other => panic!("{other:?}"),
        }
    }

    fn terms(&self, again: &Again, paid: u32) -> Then {
        let delay = again.at - self.now;
        match paid {
            0 => {
                assert!(again.transparent && delay == Duration::ZERO);
                Free
            }
            1_000 if delay >= Duration::from_millis(900) => Throttled,
            1_000 => Counted,
            _ => Costly,
        }
    }
}
