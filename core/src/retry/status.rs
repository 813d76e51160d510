//! What a response's status says of the request, and whether another attempt may follow.
//!
//! | status | fate | then |
//! |---|---|---|
//! | 408 | not processed | once, any request, new connection (RFC 9110 section 15.5.9) |
//! | 417 | not processed | once, without `Expect` (RFC 9110 section 10.1.1) |
//! | 421 | not processed | once, any request, fresh connection (RFC 9110 section 15.5.20) |
//! | 425 | not processed | once, any request (RFC 8470 section 5.2) |
//! | 409 | maybe | again if keyed: the original is still running |
//! | 429 | not processed | again if harmless, or told when; longer delays |
//! | 500 | processed | once, if safe: one that always comes makes retries pure load |
//! | 502, 504 | maybe | again if harmless |
//! | 503 | maybe, or not if told when | again if harmless; longer delays |
//! | 520 to 524, 529 | maybe | as 502, if the policy says so |

use crate::fault::Fate;

use super::classify::{Class, Once, Repeat, Retryable};
use super::facts::{HeadFacts, Request};
use super::policy::Retry;

/// Whether no rule looks at this status: its response goes to the caller at once.
pub const fn is_plain(status: u16) -> bool {
    // The first compare settles what is common.
    status < 408 || (status < 500 && !matches!(status, 408 | 409 | 417 | 421 | 425 | 429))
}

/// Classifies a response head.
pub fn classify_status(request: Request, head: &HeadFacts, policy: &Retry) -> Class {
    let told = head.retry_after.is_some();
    let once = |rule| Retryable {
        once: Some(rule),
        ..Retryable::new(Repeat::Any)
    };
    let throttle = |repeat| Retryable {
        throttle: true,
        ..Retryable::new(repeat)
    };
    let (fate, terms) = match head.status {
        408 => (Fate::NotProcessed, once(Once::RequestTimeout)),
        417 if head.expected => (Fate::NotProcessed, once(Once::ExpectationFailed)),
        421 => (Fate::NotProcessed, once(Once::Misdirected)),
        425 => (Fate::NotProcessed, once(Once::TooEarly)),
        409 if request.keyed => (Fate::MaybeProcessed, throttle(Repeat::Harmless)),
        429 => (
            Fate::NotProcessed,
            throttle(if told { Repeat::Any } else { Repeat::Harmless }),
        ),
        500 => {
            let once = Some(Once::ServerError);
            (
                Fate::Processed,
                Retryable {
                    once,
                    ..Retryable::new(Repeat::Safe)
                },
            )
        }
        502 | 504 => (Fate::MaybeProcessed, Retryable::new(Repeat::Harmless)),
        503 if told => {
            let repeat = if policy.trust_503 {
                Repeat::Any
            } else {
                Repeat::Harmless
            };
            (Fate::NotProcessed, throttle(repeat))
        }
        503 => (Fate::MaybeProcessed, throttle(Repeat::Harmless)),
        520..=524 | 529 if policy.extended_5xx => {
            (Fate::MaybeProcessed, Retryable::new(Repeat::Harmless))
        }
        status => {
            return Class::Success {
                fate: fate_of(status),
            };
        }
    };
    Class::retryable(fate, terms)
}

/// The fate behind a status that is not retried: an answer is the result of processing, except
/// that of an intermediary that got none.
const fn fate_of(status: u16) -> Fate {
    match status {
        520..=524 | 529 => Fate::MaybeProcessed,
        _ => Fate::Processed,
    }
}
