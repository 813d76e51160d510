//! What a response that opened no WebSocket means for the next attempt.

use std::ops::RangeInclusive;

/// What to do after a handshake got that answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HandshakeAction {
    /// Give up.
    Fatal,
    /// Try again after the backoff, and not before `Retry-After`.
    Retry,
    /// Try again on a fresh connection (RFC 9110 section 15.5.20).
    RetryFresh,
    /// Get new credentials once, then give up.
    RefreshAuth,
    /// Follow `Location`, at most [`MAX_REDIRECTS`] times, where
    /// [`is_redirect_allowed`] lets it.
    Redirect,
    /// As many more attempts as the session's configuration says, then give up.
    NotFound,
}

/// Redirects that a handshake follows.
pub const MAX_REDIRECTS: u32 = 5;

/// Whether a handshake may follow a redirect: to `ws` or `wss` (or what they stand for), and never
/// from TLS to plain.
pub fn is_redirect_allowed(from_secure: bool, to_scheme: &str) -> bool {
    match to_scheme {
        "wss" | "https" => true,
        "ws" | "http" => !from_secure,
        _ => false,
    }
}

/// The action for each status: rules over ranges, of which the last that fits counts.
///
/// It is data, because servers differ in what they mean: see [`rule`](Self::rule).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandshakeTable {
    rules: Vec<(RangeInclusive<u16>, HandshakeAction)>,
}

impl Default for HandshakeTable {
    /// Fatal, but for: 301, 302, 303, 307 and 308 (redirect); 401 and 407 (refresh credentials);
    /// 404 (see the configuration); 408, 425, 429, 500, 502, 503, 504 and 520 to 529 (retry); 421
    /// (retry on a fresh connection).
    fn default() -> Self {
        use HandshakeAction::{NotFound, Redirect, RefreshAuth, Retry, RetryFresh};
        Self { rules: Vec::new() }
            .rule(301..=303, Redirect)
            .rule(307..=308, Redirect)
            .rule(401..=401, RefreshAuth)
            .rule(407..=407, RefreshAuth)
            .rule(404..=404, NotFound)
            .rule(408..=408, Retry)
            .rule(421..=421, RetryFresh)
            .rule(425..=425, Retry)
            .rule(429..=429, Retry)
            .rule(500..=500, Retry)
            .rule(502..=504, Retry)
            .rule(520..=529, Retry)
    }
}

impl HandshakeTable {
    /// Adds a rule that counts over those before it.
    #[must_use]
    pub fn rule(mut self, statuses: RangeInclusive<u16>, action: HandshakeAction) -> Self {
        self.rules.push((statuses, action));
        self
    }

    /// The action for a status.
    pub fn action(&self, status: u16) -> HandshakeAction {
        let mut rules = self.rules.iter().rev();
        rules
            .find(|(statuses, _)| statuses.contains(&status))
            .map_or(HandshakeAction::Fatal, |(_, action)| *action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_of_the_policy() {
        use HandshakeAction::{Fatal, NotFound, Redirect, RefreshAuth, Retry, RetryFresh};
        let table = HandshakeTable::default();
        for (statuses, action) in [
            (&[200, 204, 206, 300, 304, 305, 306][..], Fatal),
            (&[301, 302, 303, 307, 308], Redirect),
            (&[400, 405, 406, 410, 414, 426, 431, 403, 501, 505], Fatal),
            (&[401, 407], RefreshAuth),
            (&[404], NotFound),
            (&[408, 425, 429, 500, 502, 503, 504, 520, 522, 529], Retry),
            (&[421], RetryFresh),
        ] {
            for status in statuses {
                assert_eq!(table.action(*status), action, "{status}");
            }
        }
    }

    #[test]
    fn a_rule_of_the_user_counts_over_the_defaults() {
        let table = HandshakeTable::default().rule(403..=403, HandshakeAction::Retry);
        assert_eq!(table.action(403), HandshakeAction::Retry);
    }

    #[test]
    fn redirects_never_lead_from_tls_to_plain_or_elsewhere() {
        assert!(is_redirect_allowed(false, "ws") && is_redirect_allowed(false, "wss"));
        assert!(is_redirect_allowed(true, "wss") && is_redirect_allowed(true, "https"));
        assert!(!is_redirect_allowed(true, "ws") && !is_redirect_allowed(true, "http"));
        assert!(!is_redirect_allowed(false, "ftp"));
    }
}
