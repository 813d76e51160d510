//! Profiles: what differs for some hosts, inside one client.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fulmar_core::adaptive::Adaptive;
use fulmar_core::deadline::Timeouts;
use fulmar_core::http::EncodedFields;
use fulmar_core::pattern::HostPattern;
use fulmar_core::retry::Retry;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::error::{Error, Kind};
use crate::in_flight::Cap;
use crate::request::append;

/// What differs from the client's settings for the hosts of a pattern. See
/// [`ClientBuilder::profile`](crate::ClientBuilder::profile). What is not set is the client's; what a
/// request sets goes before both.
#[derive(Debug, Default)]
#[must_use = "a profile does nothing until a builder has it"]
pub struct Profile {
    timeouts: Option<Timeouts>,
    retry: Option<Retry>,
    headers: HeaderMap,
    socket: Option<PathBuf>,
    per_origin: Option<u32>,
    in_flight: Option<Cap>,
    mistake: Option<Error>,
}

impl Profile {
    /// Nothing differs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces every timeout of the client, "off" included.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = Some(timeouts);
        self
    }

    /// Replaces the client's retry policy; [`Retry::never`] turns it off.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = Some(retry);
        self
    }

    /// Sends a header field with every request that does not set it itself, instead of the client's
    /// defaults of that name.
    pub fn default_header<K, V>(mut self, name: K, value: V) -> Self
    where
        HeaderName: TryFrom<K>,
        <HeaderName as TryFrom<K>>::Error: Into<http::Error>,
        HeaderValue: TryFrom<V>,
        <HeaderValue as TryFrom<V>>::Error: Into<http::Error>,
    {
        if let Err(error) = append(&mut self.headers, name, value) {
            self.mistake = self.mistake.or(Some(error));
        }
        self
    }

    /// Connects to the unix socket at `path`, as
    /// [`ClientBuilder::unix_socket`](crate::ClientBuilder::unix_socket) does.
    pub fn unix_socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.socket = Some(path.into());
        self
    }

    /// Sets the connections of one origin, from 1 to the client's total.
    pub fn per_origin(mut self, connections: u32) -> Self {
        self.per_origin = Some(connections);
        self
    }

    /// Sets how many calls of the profile are in flight at a time, at least 1, all its origins
    /// together: as [`ClientBuilder::max_in_flight`](crate::ClientBuilder::max_in_flight), which
    /// counts them as well. So hosts that hang hold no place of others. Default: no cap.
    pub fn max_in_flight(mut self, calls: usize) -> Self {
        self.in_flight = Some(Cap::Fixed(calls));
        self
    }

    /// Has that cap find itself, as
    /// [`ClientBuilder::adaptive_in_flight`](crate::ClientBuilder::adaptive_in_flight) does.
    pub fn adaptive_in_flight(mut self, settings: Adaptive) -> Self {
        self.in_flight = Some(Cap::Adaptive(settings));
        self
    }
}

/// A profile that is valid, and its pattern.
pub(crate) struct Manner {
    /// As it was written.
    pub(crate) name: Arc<str>,
    pub(crate) pattern: HostPattern,
    /// From 1: a part of the routes' keys, so that no two profiles share a connection.
    pub(crate) number: u32,
    pub(crate) timeouts: Option<Timeouts>,
    pub(crate) retry: Option<Arc<Retry>>,
    pub(crate) defaults: Option<EncodedFields>,
    pub(crate) socket: Option<Arc<Path>>,
    pub(crate) per_origin: Option<u32>,
    /// Its turnstile, and how many that lets in.
    pub(crate) in_flight: Option<(usize, Cap)>,
}

impl Manner {
    /// Checks a profile; `total` is how many connections the client may have.
    pub(crate) fn new(
        name: &str,
        profile: Profile,
        number: u32,
        turnstile: usize,
        headers: &HeaderMap,
        total: u32,
    ) -> Result<Self, Error> {
        let wrong = |why: String| {
            Error::new(Kind::Builder).because(format!("the profile of {name:?}: {why}"))
        };
        let pattern = name.parse().map_err(|e| wrong(format!("{e}")))?;
        if let Some(mistake) = profile.mistake {
            return Err(wrong(mistake.leaf()));
        }
        if let Some(timeouts) = &profile.timeouts {
            timeouts.validate().map_err(|e| wrong(e.to_string()))?;
        }
        if let Some(retry) = &profile.retry {
            retry.validate().map_err(|e| wrong(e.to_string()))?;
        }
        if profile.per_origin.is_some_and(|n| n == 0 || n > total) {
            let why = format!("per_origin is not from 1 to the client's total of {total}");
            return Err(wrong(why));
        }
        match profile.in_flight {
            Some(Cap::Fixed(0)) => {
                return Err(wrong("max_in_flight is 0, and lets no call through".into()));
            }
            Some(cap) => cap.validate().map_err(|e| wrong(e.to_string()))?,
            None => {}
        }
        let defaults = (!profile.headers.is_empty())
            .then(|| EncodedFields::new(&merged(headers, profile.headers)))
            .transpose();
        Ok(Self {
            name: name.into(),
            pattern,
            number,
            timeouts: profile.timeouts,
            retry: profile.retry.map(Arc::new),
            defaults: defaults.map_err(|e| wrong(e.to_string()))?,
            socket: profile.socket.map(Arc::from),
            per_origin: profile.per_origin,
            in_flight: profile.in_flight.map(|cap| (turnstile, cap)),
        })
    }
}

/// The client's default fields, those of a profile instead of them where both have a name.
fn merged(client: &HeaderMap, own: HeaderMap) -> HeaderMap {
    let mut all = client.clone();
    for name in own.keys() {
        all.remove(name);
    }
    all.extend(own);
    all
}
