//! What an attempt tells of its call: what is left of the deadline, to origins that were named for
//! it, and which attempt it is.

use std::net::SocketAddr;

use fulmar_core::deadline::{DeadlineHeader, Telling};
use fulmar_core::time::Instant;
use http::{HeaderName, HeaderValue};

use crate::request::Parts;
use crate::shared::Shared;
use crate::url::Url;

/// Who is told, and how. Nobody, unless the user says so.
#[derive(Debug, Default)]
pub(crate) struct Propagation {
    deadlines: Vec<(Url, DeadlineHeader)>,
    attempt: Option<HeaderName>,
}

impl Propagation {
    pub(crate) fn add(&mut self, origin: Url, header: DeadlineHeader) {
        self.deadlines.push((origin, header));
    }

    pub(crate) fn count_attempts(&mut self, name: HeaderName) {
        self.attempt = Some(name);
    }

    /// Nobody is told anything, as is usual.
    fn is_silent(&self) -> bool {
        self.deadlines.is_empty() && self.attempt.is_none()
    }

    fn header_for(&self, url: &Url) -> Option<DeadlineHeader> {
        let is_it = |(origin, _): &&(Url, _)| origin.origin() == url.origin();
        self.deadlines.iter().find(is_it).map(|(_, header)| *header)
    }
}

impl Parts {
    /// Writes into the request what this attempt tells. False: it has no time left.
    #[inline]
    pub(crate) fn stamp(
        &mut self,
        shared: &Shared,
        now: Instant,
        deadline: Option<Instant>,
        attempt: u32,
        peer: Option<&SocketAddr>,
    ) -> bool {
        shared.settings.propagation.is_silent()
            || self.stamp_all(shared, now, deadline, attempt, peer)
    }

    fn stamp_all(
        &mut self,
        shared: &Shared,
        now: Instant,
        deadline: Option<Instant>,
        attempt: u32,
        peer: Option<&SocketAddr>,
    ) -> bool {
        if let Some(name) = &shared.settings.propagation.attempt {
            self.headers_mut().insert(name.clone(), attempt.into());
        }
        self.stamp_deadline(shared, now, deadline, peer)
    }

    /// Writes what is left at the start of this attempt. False: nothing is.
    fn stamp_deadline(
        &mut self,
        shared: &Shared,
        now: Instant,
        deadline: Option<Instant>,
        peer: Option<&SocketAddr>,
    ) -> bool {
        let (Some(header), Some(deadline)) =
            (shared.settings.propagation.header_for(&self.url), deadline)
        else {
            return true;
        };
        let rtt = peer.and_then(|peer| shared.settings.dns.rtt(*peer));
        let telling = &mut self.options.get_or_insert_default().telling;
        let telling = telling.get_or_insert_with(|| Telling::new(header));
        let value = telling.value(now, deadline, rtt);
        let value = value.map(HeaderValue::try_from);
        let Some(Ok(value)) = value else {
            return false;
        };
        let name = HeaderName::from_static(header.name());
        self.headers_mut().insert(name, value);
        true
    }
}
