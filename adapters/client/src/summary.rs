//! How the call of a response went, in few bytes: every response has it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fulmar_core::fault::Fate;
use fulmar_core::retry::StopReason;
use fulmar_core::time::Instant;
use http::Method;

use crate::error::Error;
use crate::url::Url;

/// The methods that a byte stands for, the usual ones first.
static KNOWN: [Method; 9] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::HEAD,
    Method::DELETE,
    Method::PATCH,
    Method::OPTIONS,
    Method::CONNECT,
    Method::TRACE,
];

/// How the call went.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    elapsed: u64,
    pub(crate) peer: Option<Arc<SocketAddr>>,
    rare: Option<Box<Rare>>,
    pub(crate) attempts: u32,
    pub(crate) stop: Option<StopReason>,
    pub(crate) reused: bool,
    /// What the answer says of the request, together with the attempts before it.
    pub(crate) fate: Fate,
    /// Its place among those known, or beyond them.
    method: u8,
}

/// What most responses have not.
#[derive(Clone, Debug, Default)]
struct Rare {
    /// One that is not known.
    method: Option<Method>,
    retry_after: Option<Duration>,
}

#[inline(never)]
fn place_of(method: &Method) -> (u8, Option<Box<Rare>>) {
    if let Some(place) = KNOWN.iter().position(|known| known == method) {
        return (place as u8, None);
    }
    let rare = Rare {
        method: Some(method.clone()),
        retry_after: None,
    };
    (KNOWN.len() as u8, Some(Box::new(rare)))
}

impl Summary {
    // Where it is called, once a request, the call would cost as much as the rest.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(crate) fn new(
        method: &Method,
        (started, now): (Instant, Instant),
        attempts: u32,
        reused: bool,
        (stop, peer): (Option<StopReason>, Option<Arc<SocketAddr>>),
    ) -> Self {
        // Most are of the first: that is all they cost.
        let (method, rare) = match *method {
            Method::GET => (0, None),
            _ => place_of(method),
        };
        Self {
            elapsed: now.as_nanos().saturating_sub(started.as_nanos()),
            peer,
            rare,
            attempts,
            stop,
            reused,
            fate: Fate::Processed,
            method,
        }
    }

    pub(crate) fn set_retry_after(&mut self, wait: Option<Duration>) {
        if wait.is_some() {
            self.rare.get_or_insert_default().retry_after = wait;
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.elapsed)
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.rare.as_ref()?.retry_after
    }

    /// An error, with what is known of the call.
    pub(crate) fn error(&self, url: &Url, error: Error) -> Error {
        let own = self.rare.as_ref().and_then(|rare| rare.method.as_ref());
        let method = own.or(KNOWN.get(usize::from(self.method)));
        error
            .with_peer(self.peer.as_deref())
            .with_fate(self.fate)
            .of_request(method.unwrap_or(&Method::GET), url.as_str())
            // A response that no rule would ask for again is the end of it.
            .with_history(
                self.attempts,
                &[],
                self.stop.or(Some(StopReason::NotRetryable)),
            )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn a_summary_takes_forty_bytes_and_knows_every_method() {
        assert!(size_of::<Summary>() <= 40, "{}", size_of::<Summary>());
        let url = Url::parse("http://api.test/").unwrap();
        let own = Method::from_bytes(b"PURGE").unwrap();
        for method in KNOWN.iter().chain([&own]) {
            let mut summary = Summary::new(
                method,
                (Instant::ORIGIN, Instant::MAX),
                1,
                false,
                (None, None),
            );
            assert_eq!(summary.rare.is_some(), *method == own);
            summary.set_retry_after(Some(Duration::from_secs(2)));
            let error = summary.error(&url, Error::new(Kind::Status));
            assert_eq!(error.method(), Some(method));
            assert_eq!(summary.retry_after(), Some(Duration::from_secs(2)));
        }
    }
}
