//! What is left of the deadline, told to origins that were named for it.

use fulmar_core::deadline::DeadlineHeader;
use fulmar_core::time::Instant;
use http::{HeaderName, HeaderValue};

use crate::request::Parts;
use crate::shared::Shared;
use crate::url::Url;

/// Which origins are told, and how. Nobody, unless the user says so.
#[derive(Debug, Default)]
pub(crate) struct Propagation(Vec<(Url, DeadlineHeader)>);

impl Propagation {
    pub(crate) fn add(&mut self, origin: Url, header: DeadlineHeader) {
        self.0.push((origin, header));
    }

    fn header_for(&self, url: &Url) -> Option<DeadlineHeader> {
        let is_it = |(origin, _): &&(Url, _)| origin.origin() == url.origin();
        self.0.iter().find(is_it).map(|(_, header)| *header)
    }
}

impl Parts {
    /// Writes what is left at the start of this attempt into the request. False: nothing is.
    pub(crate) fn stamp_deadline(
        &mut self,
        shared: &Shared,
        now: Instant,
        deadline: Option<Instant>,
    ) -> bool {
        let (Some(header), Some(deadline)) =
            (shared.settings.propagation.header_for(&self.url), deadline)
        else {
            return true;
        };
        let value = header.value(now, deadline).map(HeaderValue::try_from);
        let Some(Ok(value)) = value else {
            return false;
        };
        let name = HeaderName::from_static(header.name());
        self.headers_mut().insert(name, value);
        true
    }
}
