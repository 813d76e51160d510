//! Where the time of calls goes: histograms by host and stage.

mod histogram;
mod track;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fulmar_core::trace::{Event, Record};

use crate::observer::Observer;
use crate::timeline::Stage;

pub use histogram::Histogram;
use track::Track;

/// Hosts that have histograms of their own.
const HOSTS: usize = 1_000;
/// Bodies that are followed to their end at once.
const BODIES: usize = 1_000;
/// Who has none.
const OTHER: &str = "other";

/// An [`Observer`] that counts how long calls take, by host and by stage of their attempts.
///
/// A clone is the same counters: give one to
/// [`ClientBuilder::observer`](crate::ClientBuilder::observer) of one client (calls are told apart
/// by their numbers), keep another, and read it whenever you like.
///
/// A host is what the URL names, with its port if that is written. The first 1,000 have their own
/// histograms, about 1 KB each; all others are counted together as `other`, so that URLs which come
/// from outside cannot fill the memory. Every attempt counts, those that failed with what they had
/// come to. Of a body that is read after its head the time runs until its end comes, the reader's
/// own pauses included; one that is dropped before is not counted, and of more than 1,000 bodies
/// that are open at once the oldest calls' are not.
///
/// ```
/// # use fulmar::{Latencies, timeline::Stage};
/// let latencies = Latencies::new();
/// // Client::builder(net).observer(latencies.clone()) ...
/// for (host, of_host) in latencies.hosts() {
///     let first_byte = of_host.stage(Stage::FirstByte);
///     println!("{host}: {} calls, p99 of the first byte {:?}", of_host.calls().count(),
///         first_byte.quantile(0.99));
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Latencies(Arc<Mutex<Counters>>);

#[derive(Debug, Default)]
struct Counters {
    hosts: BTreeMap<Arc<str>, HostLatencies>,
    /// Calls that run.
    calls: BTreeMap<u64, Track>,
    /// Calls that have ended with a head whose body is still read.
    bodies: BTreeSet<u64>,
}

/// The histograms of one host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostLatencies {
    stages: [Histogram; Stage::ALL.len()],
    calls: Histogram,
}

impl HostLatencies {
    /// How long attempts were in that stage. [`Stage::Ask`] takes no time, and is never counted.
    pub fn stage(&self, stage: Stage) -> &Histogram {
        &self.stages[stage as usize]
    }

    /// How long whole calls took, rests between attempts included, from their start to their
    /// response's head (its end, where the body came with it) or their failure.
    pub fn calls(&self) -> &Histogram {
        &self.calls
    }
}

impl Latencies {
    /// Nothing counted yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The histograms as they are now, by host in alphabetical order.
    pub fn hosts(&self) -> BTreeMap<Arc<str>, HostLatencies> {
        self.lock().hosts.clone()
    }

    /// The histograms of one host as they are now.
    pub fn host(&self, host: &str) -> Option<HostLatencies> {
        self.lock().hosts.get(host).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Counters> {
        // Counters are whole after every step, so a panic elsewhere does not spoil them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Latencies {
    fn event(&self, record: &Record) {
        if record.call != 0 {
            self.lock().handle(record);
        }
    }
}

impl Counters {
    fn handle(&mut self, record: &Record) {
        let call = record.call;
        if let Event::CallStarted { url, .. } = &record.event {
            let host = self.label(host_of(url));
            self.calls.insert(call, Track::new(host));
            return;
        }
        let Some(track) = self.calls.get_mut(&call) else {
            return;
        };
        let ended = track.handle(record);
        let is_over = track.is_over();
        let of_host = self.hosts.entry(track.host.clone()).or_default();
        if let Some((stage, took)) = ended {
            of_host.stages[stage as usize].add(took);
        }
        if let Event::CallEnded { elapsed, .. } = record.event {
            of_host.calls.add(elapsed);
            self.bodies.insert(call);
        }
        if is_over {
            self.forget(call);
        } else if self.bodies.len() > BODIES
            && let Some(oldest) = self.bodies.first().copied()
        {
            self.forget(oldest);
        }
    }

    fn forget(&mut self, call: u64) {
        self.calls.remove(&call);
        self.bodies.remove(&call);
    }

    /// The label of a host: shared by all its calls.
    fn label(&mut self, host: &str) -> Arc<str> {
        if let Some((known, _)) = self.hosts.get_key_value(host) {
            return known.clone();
        }
        let is_full = self.hosts.len() >= HOSTS;
        let label: Arc<str> = if is_full { OTHER } else { host }.into();
        self.hosts.entry(label.clone()).or_default();
        label
    }
}

/// The authority in a URL, which has no credentials here.
fn host_of(url: &str) -> &str {
    let behind = url.split_once("://").map_or(url, |(_, behind)| behind);
    behind.split(['/', '?', '#']).next().unwrap_or(behind)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fulmar_core::time::Instant;
    use fulmar_core::trace::Outcome;

    use super::*;

    fn record(call: u64, millis: u64, event: Event) -> Record {
        let at = Instant::ORIGIN + Duration::from_millis(millis);
        Record { at, call, event }
    }

    fn started(url: &str) -> Event {
        Event::CallStarted {
            method: http::Method::GET,
            url: url.into(),
        }
    }

    fn ended() -> Event {
        Event::CallEnded {
            outcome: Outcome::Status(200),
            elapsed: Duration::from_millis(7),
            attempts: 1,
        }
    }

    #[test]
    fn hosts_beyond_the_first_thousand_are_counted_together() {
        let latencies = Latencies::new();
        for call in 1..=1_200 {
            let url = format!("https://h{call:04}.test:8443/path?a=b");
            latencies.event(&record(call, 0, started(&url)));
            latencies.event(&record(call, 7, ended()));
        }
        let hosts = latencies.hosts();
        assert_eq!(hosts.len(), 1_001);
        assert_eq!(hosts["h0001.test:8443"].calls().count(), 1);
        assert_eq!(hosts["other"].calls().count(), 200);
        assert_eq!(latencies.host("h1200.test:8443"), None);
    }

    #[test]
    fn bodies_that_nobody_reads_to_their_end_do_not_fill_the_memory() {
        let latencies = Latencies::new();
        for call in 1..=5_000 {
            latencies.event(&record(call, 0, started("http://a.test/")));
            latencies.event(&record(call, 0, Event::AttemptStarted { attempt: 1 }));
            latencies.event(&record(call, 7, Event::HeadReceived { status: 200 }));
            latencies.event(&record(call, 7, ended()));
        }
        let counters = latencies.lock();
        assert_eq!(
            (counters.calls.len(), counters.bodies.len()),
            (1_000, 1_000)
        );
    }

    #[test]
    fn a_call_that_failed_is_forgotten_at_its_end() {
        let latencies = Latencies::new();
        latencies.event(&record(1, 0, started("http://a.test")));
        latencies.event(&record(1, 0, Event::AttemptStarted { attempt: 1 }));
        latencies.event(&record(1, 9, ended()));
        // What is heard of it later, of its dial perhaps, is of no call.
        latencies.event(&record(1, 20, Event::Resolved { addresses: 1 }));
        assert!(latencies.lock().calls.is_empty());
        assert!(latencies.lock().bodies.is_empty());
    }
}
