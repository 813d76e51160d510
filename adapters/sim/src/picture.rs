//! A run as a picture.

use fulmar::timeline::Timeline;
use fulmar::trace::Record;
use fulmar::{Client, ClientBuilder, Observer};
use fulmar_core::time::Instant;

use crate::record::{Actor, What};
use crate::run::Run;
use crate::sim::Sim;
use crate::world::State;

impl Sim {
    /// Begins to configure a client on that host, observed: what it says of itself is in the
    /// [trace](Run::trace) and in the [timeline](Run::timeline).
    pub fn client(&self, host: &str) -> ClientBuilder {
        Client::builder(self.net(host)).observer(self.observer(host))
    }

    /// An observer that writes what a client of that host says into the trace: for clients that are
    /// built elsewhere than by [`Sim::client`]. Each client needs one of its own.
    pub fn observer(&self, host: &str) -> impl Observer + use<> {
        let (actor, client) = self.world.with(|state| {
            let index = state.host(host);
            state.clients += 1;
            let label = state.hosts.get(index).map_or(0, |host| host.label);
            (Actor::Named(label), state.clients)
        });
        let world = std::sync::Arc::clone(&self.world);
        move |record: &Record| {
            let said = What::Client(client, Box::new(record.clone()));
            world.with(|state| state.record(actor, said));
        }
    }
}

impl<T> Run<T> {
    /// The calls, attempts, connections, waits and faults from the beginning of the simulation to the
    /// end of this run, to be drawn as text or SVG. Of clients, it knows those that are observed; see
    /// [`Sim::client`].
    pub fn timeline(&self) -> Timeline {
        self.world.with(|state| state.timeline(self.end))
    }
}

impl State {
    fn timeline(&self, to: u64) -> Timeline {
        let clients = self.trace.clients(to);
        let is_one = clients.len() == 1;
        let mut whole: Option<Timeline> = None;
        for (host, records) in clients.into_values() {
            let mut timeline = Timeline::of(&records);
            if !is_one {
                for call in &mut timeline.calls {
                    call.request = format!("{host}: {}", call.request);
                }
            }
            whole = Some(match whole {
                Some(whole) => whole.join(timeline),
                None => timeline,
            });
        }
        let now = Instant::from_nanos(self.now);
        let mut whole = whole.unwrap_or_else(|| Timeline::default().spanning(Instant::ORIGIN, now));
        for scheduled in &self.faults {
            let label = format!("{:?}", scheduled.fault);
            let label = label.strip_prefix("Fault::").unwrap_or(&label);
            let from = Instant::from_nanos(scheduled.window.from);
            whole = whole.band(from, Instant::from_nanos(scheduled.window.to), label);
        }
        whole
    }
}
