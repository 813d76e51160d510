//! Who dials, or asks for a name first, goes away while others wait for the same.

use std::future::Future;
use std::pin::Pin;

use fulmar_sim::{Fault, Limits, Sim};

use crate::support::{PollTimes, assert_quiet, builder, join_all, ms, secs, text};
use crate::world::everything;

/// Plays it; says how many addresses were dialled.
fn ten_wait(base: &'static str, polls: usize) -> u64 {
    let mut sim = Sim::seeded(3);
    everything(&sim);
    let limits = Limits::default().per_origin(1);
    let client = builder(&sim)
        .tls(fulmar_tests::toy_tls::ToyConnector)
        .limits(limits)
        .build()
        .unwrap();
    let handle = sim.handle();
    let run = sim.run(async move {
        let get = |path| {
            let (client, url) = (client.clone(), format!("{base}{path}"));
            async move { text(&client, &url).await }
        };
        let dialler = PollTimes::new(polls, get("/first"));
        let mut all: Vec<Pin<Box<dyn Future<Output = bool>>>> = Vec::new();
        all.push(Box::pin(async move {
            dialler.await;
            false
        }));
        for _ in 0..10 {
            let other = get("/other");
            all.push(Box::pin(async move { other.await.is_ok() }));
        }
        let served = join_all(all).await;
        assert_eq!(served.into_iter().filter(|one| *one).count(), 10);
        // The dialler's own answer may still be read to its end.
        handle.sleep(secs(1)).await;
        assert_quiet(client.gauges());
    });
    run.expect();
    assert_eq!(run.leaks(), [""; 0], "{base}, {polls} polls");
    run.stats().connections
}

#[test]
fn ten_waiters_are_served_whenever_the_dialler_goes() {
    for base in ["http://api.test", "https://api.test", "http://many.test"] {
        let dials: Vec<_> = (0..6).map(|polls| ten_wait(base, polls)).collect();
        // The dial that it began serves the others, as one of their own does where it was never
        // polled; a connection that it was given is closed with it, and is the only one.
        assert_eq!(dials[1], dials[0], "{base}: {dials:?}");
        let most = dials[0] + 1;
        assert!(dials.iter().all(|one| *one <= most), "{base}: {dials:?}");
    }
}

/// There is a place for each: each dials for itself, and all wait for one lookup.
#[test]
fn ten_who_share_a_lookup_are_served_whenever_the_one_who_asked_goes() {
    for polls in 0..6 {
        let mut sim = Sim::seeded(3);
        everything(&sim);
        sim.between(.., Fault::dns_slow("api.test", ms(300)));
        let limits = Limits::default().per_origin(11);
        let client = builder(&sim).limits(limits).build().unwrap();
        let handle = sim.handle();
        let run = sim.run(async move {
            let asker = PollTimes::new(polls, text(&client, "http://api.test/first"));
            let mut all: Vec<Pin<Box<dyn Future<Output = bool>>>> = Vec::new();
            all.push(Box::pin(async move {
                asker.await;
                false
            }));
            for _ in 0..10 {
                let other = text(&client, "http://api.test/other");
                all.push(Box::pin(async move { other.await.is_ok() }));
            }
            let served = join_all(all).await;
            assert_eq!(served.into_iter().filter(|one| *one).count(), 10);
            handle.sleep(secs(1)).await;
            assert_quiet(client.gauges());
        });
        run.expect();
        let lookups = run.trace().matches("resolves api.test").count();
        assert_eq!(lookups, 1, "{polls} polls");
        assert!(
            run.elapsed() < secs(2),
            "{polls} polls: {:?}",
            run.elapsed()
        );
        assert_eq!(run.leaks(), [""; 0], "{polls} polls");
    }
}

/// The same of clients that share the names, where the one who asked goes with its client.
#[test]
fn clients_that_share_a_lookup_are_served_though_the_client_that_asked_has_gone() {
    let mut sim = Sim::seeded(3);
    everything(&sim);
    sim.between(.., Fault::dns_slow("api.test", ms(300)));
    let names = fulmar_sim::Dns::new();
    let client = || builder(&sim).dns(&names).build().unwrap();
    let (first, others) = (client(), [(); 10].map(|()| client()));
    let run = sim.run(async move {
        PollTimes::new(1, text(&first, "http://api.test/first")).await;
        let others: Vec<_> = others
            .iter()
            .map(|c| Box::pin(text(c, "http://api.test/a")))
            .collect();
        drop(first);
        for served in join_all(others).await {
            assert_eq!(served.unwrap(), "/a");
        }
    });
    run.expect();
    assert!(run.elapsed() < secs(2), "{:?}", run.elapsed());
    assert_eq!(run.leaks(), [""; 0]);
}
